//! What nodes say to each other, over plain HTTP on the internal port.
//!
//! Not authenticated: the simulator binds on loopback. Never part of the REST API.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    crdt,
    dataset::syncer::LinkId,
    rest_client::{self, Target},
    settings::{PEER_PORT, dial},
    state::{ClusterState, NodeRecord, ShardRole},
    store::Stamp,
};

/// The master's word to a follower: a heartbeat, with the state when the follower lacks it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Append {
    /// Which cluster.
    pub incarnation: String,
    /// The master's term.
    pub term: u64,
    /// The master.
    pub leader: u32,
    /// Where it is.
    pub leader_addr: String,
    /// Who is meant.
    pub to: u32,
    /// Stamp of the master's newest state.
    pub entry: Stamp,
    /// Newest generation agreed upon.
    pub commit: u64,
    /// The state, if the follower is thought to lack it.
    pub state: Option<ClusterState>,
}

/// A follower's answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct AppendReply {
    /// Its term.
    pub term: u64,
    /// Stamp of the state it has on disk.
    pub accepted: Stamp,
    /// What runs on it.
    pub report: NodeReport,
}

/// A request for a vote. A preliminary one changes nothing and asks only whether an election makes sense; it also
/// tells where the asking node is now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Vote {
    /// Which cluster.
    pub incarnation: String,
    /// The term asked for.
    pub term: u64,
    /// Who asks.
    pub candidate: u32,
    /// Where it is.
    pub addr: String,
    /// Stamp of its state.
    pub last: Stamp,
    /// Whether this is preliminary.
    pub preliminary: bool,
    /// Whether the present master asked for the election.
    pub transfer: bool,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct VoteReply {
    /// The term of the node that answers.
    pub term: u64,
    /// Whether it agrees.
    pub granted: bool,
    /// Whether the asking node was removed from the cluster.
    pub removed: bool,
}

/// A request to join.
#[derive(Debug, Serialize, Deserialize)]
pub struct Join {
    /// Credentials of an admin.
    pub username: String,
    /// Credentials of an admin.
    pub password: String,
    /// The node.
    pub node: NodeRecord,
    /// The dead node whose place it takes.
    pub replaces: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum JoinReply {
    /// The node is in; this is the state.
    Accepted {
        /// Its number.
        uid: u32,
        /// Stamp of the state.
        entry: Stamp,
        /// The state.
        state: Box<ClusterState>,
    },
    /// Ask there.
    Redirect(String),
    /// No.
    Refused {
        /// Code of section 3.4.
        code: String,
        /// Words.
        message: String,
    },
}

/// What runs on a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeReport {
    /// Where the node is.
    pub addr: String,
    /// Its host name.
    pub hostname: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// Its version.
    pub software_version: String,
    /// Its shards.
    pub shards: BTreeMap<u32, ShardReport>,
    /// Its proxies.
    pub endpoints: BTreeMap<u32, EndpointReport>,
    /// Its parts of backups, exports and imports: by transfer, shard, and how each is.
    #[serde(default)]
    pub transfers: Vec<(String, u32, TransferReport)>,
    /// Its links to sources of Replica Of.
    #[serde(default)]
    pub syncs: Vec<(LinkId, SyncReport)>,
    /// Its links to other instances of Active-Active databases.
    #[serde(default)]
    pub links: Vec<(crdt::link::LinkId, SyncReport)>,
    /// Data files found for shards, by shard.
    pub files: BTreeMap<u32, Vec<DataFile>>,
}

/// A part of a backup, export or import.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransferReport {
    /// How far it is, in percent.
    pub percent: u32,
    /// How it ended; an error is the word of the REST API.
    pub outcome: Option<Result<(), String>>,
}

/// A link to a source of Replica Of, in the words of the REST API.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SyncReport {
    /// `out-of-sync`, `syncing` or `in-sync`.
    pub status: String,
    /// Milliseconds that the last change took from here to its shard.
    pub lag: u64,
    /// Why the link is broken.
    pub last_error: String,
    /// When something last came.
    pub last_update: String,
    /// Bytes of the first copy.
    pub rdb_size: u64,
    /// Of which came so far.
    pub rdb_transferred: u64,
}

/// A file with a shard's data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DataFile {
    /// Name below the shard's folder.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// Modification time in milliseconds.
    pub modified: u64,
}

/// One shard process, as its keeper sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ShardReport {
    /// Whether it answers.
    pub running: bool,
    /// The launch it asks permission for, when it does not run.
    pub wants: Option<String>,
    /// Configuration version that it carries out.
    pub version: u64,
    /// What it is.
    pub role: Option<ShardRole>,
    /// As a replica: whether it is connected and has the data.
    pub link_up: bool,
    /// Why it does not run.
    pub error: Option<String>,
    /// Bytes used.
    pub used_memory: u64,
    /// Keys held.
    pub keys: u64,
    /// Clients connected.
    pub clients: u64,
    /// Operations per second.
    pub ops: u64,
    /// Position in the stream of changes.
    #[serde(default)]
    pub offset: u64,
    /// As a copy in the making: whether its files hold what it was given, where it has to have any.
    #[serde(default)]
    pub persisted: bool,
    /// Whether keys that are foreign to it are still to be removed.
    #[serde(default)]
    pub trimming: bool,
    /// Keys removed as foreign since it started.
    #[serde(default)]
    pub trimmed: u64,
}

/// One proxy listener.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EndpointReport {
    /// Whether it listens.
    pub bound: bool,
    /// Why it does not.
    pub error: Option<String>,
    /// Clients connected.
    pub connections: u64,
    /// The hold that is kept: no command is under way.
    #[serde(default)]
    pub held: Option<u64>,
}

/// Asks a peer. An error is text for the log; a peer that cannot be reached is an everyday thing.
pub async fn ask<Q: Serialize, A: DeserializeOwned>(
    address: &str,
    path: &str,
    question: &Q,
    limit: Duration,
) -> Result<A, String> {
    let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let target = Target::plain(&dial(address), PEER_PORT);
    let answer = tokio::time::timeout(limit, rest_client::send(&target, "POST", path, &[], body)).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}
