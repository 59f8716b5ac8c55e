//! Active-Active databases as one of their clusters knows them (REST reference, 11).
//!
//! What all clusters agree on is [`Agreed`], the same on every side. The rest is each cluster's own: its database, a change that is
//! prepared and not decided, and what it last saw of the others. How clusters speak to each other is in [`crate::crdb`].

mod life;
mod own;
mod rules;
mod tasks;
mod view;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    own::check_crdt_change,
    rules::{changed, featureset, first},
    tasks::{CrdbTask, TaskStatus, Trouble, Work},
};
use super::{ClusterState, Object, Refusal};
use crate::clock::Millis;

/// One cluster's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Number; never given again to another cluster.
    pub id: u32,
    /// FQDN of the cluster.
    pub name: String,
    /// Where its REST API is.
    pub url: String,
    /// Who opens it.
    pub username: String,
    /// What opens it. Never shown.
    pub password: String,
    /// Where its database is reached by the others: host and port. None = at its own endpoint.
    pub replication_endpoint: Option<String>,
    /// The name asked for there.
    pub replication_tls_sni: Option<String>,
    /// Level of compression between clusters; stored and shown.
    pub compression: u64,
    /// What differs there from the common configuration.
    pub db_config: Object,
}

/// What all participating clusters have agreed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    /// Identifier.
    pub guid: String,
    /// Grows with every change; 0 before the first.
    pub version: u64,
    /// Name; never changes.
    pub name: String,
    /// `default_db_config`.
    pub config: Object,
    /// Flags such as `causal_consistency`: stored and shown.
    pub more: Object,
    /// The participants.
    pub instances: Vec<Instance>,
    /// Last number given to one.
    pub last_instance: u32,
    /// How often all data was flushed. What was written before a flush does not come back from another cluster.
    pub flushes: u32,
    /// What opens the databases of the others for replication.
    pub secret: String,
    /// Certificates (PEM) of the syncers, by instance, as last told.
    pub certificates: BTreeMap<u32, String>,
}

/// A change that is prepared: decided by the cluster that was asked, or given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The task that wants it.
    pub task: String,
    /// The database.
    pub guid: String,
    /// The cluster that decides.
    pub coordinator: String,
    /// The version that it would be.
    pub version: u64,
    /// What would be agreed; none = the database goes.
    pub next: Option<Agreed>,
}

/// What was last seen of another participant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Where its proxies are in its own network.
    pub endpoints: Vec<(String, u16)>,
    /// Whether they want TLS.
    pub tls: bool,
    /// Why it cannot be reached; empty if it can.
    pub error: String,
}

/// An Active-Active database on one cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Crdb {
    /// What is agreed.
    pub agreed: Agreed,
    /// This cluster's instance.
    pub own: u32,
    /// Its database.
    pub bdb: u32,
    /// A change that is not decided.
    pub pending: Option<Proposal>,
    /// When that came.
    pub pending_since: Millis,
    /// The version that the database has been told of.
    pub carried: u64,
    /// What it was told last, where that is not what is agreed.
    pub before: Option<Agreed>,
    /// The others.
    pub peers: BTreeMap<u32, Peer>,
}

/// Changes.
#[derive(Debug, Clone)]
pub enum CrdbCommand {
    /// A task is taken on.
    Queue(Box<CrdbTask>),
    /// It goes on: status, progress of each cluster, and whether it can no longer be given up.
    Progress { task: String, cluster: Option<String>, percent: u32, committed: bool },
    /// It is over.
    End { task: String, troubles: Vec<Trouble> },
    /// Somebody wants it to end.
    Cancel { task: String, force: bool },
    /// A change is prepared.
    Prepare(Box<Proposal>),
    /// It is decided.
    Commit { guid: String, version: u64 },
    /// It is given up.
    Abort { guid: String, version: u64 },
    /// A decision that was missed is taken over from another cluster.
    Adopt(Box<Agreed>),
    /// The database is told of what was agreed.
    Carry { guid: String },
    /// The others were looked at.
    Peers { guid: String, peers: BTreeMap<u32, Peer> },
    /// What is left on a cluster that takes part no more is removed.
    Purge { guid: String },
}

impl Agreed {
    /// The part of a cluster.
    pub fn of_cluster(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// The configuration of an instance's database.
    pub fn config_of(&self, instance: &Instance) -> Object {
        let mut config = self.config.clone();
        config.extend(instance.db_config.clone());
        config.retain(|_, value| !value.is_null());
        config.insert("name".to_owned(), Value::String(self.name.clone()));
        config
    }
}

impl Crdb {
    /// This cluster's part, unless it takes part no more.
    pub fn own_instance(&self) -> Option<&Instance> {
        self.agreed.instances.iter().find(|instance| instance.id == self.own)
    }

    /// The parts of the others.
    pub fn others(&self) -> impl Iterator<Item = &Instance> {
        self.agreed.instances.iter().filter(|instance| instance.id != self.own)
    }

    /// Whether the database is there and knows all that was agreed.
    pub fn settled(&self, state: &ClusterState) -> bool {
        let told = self.agreed.version == 0 || self.carried == self.agreed.version;
        told && state.bdbs.get(&self.bdb).is_some_and(|bdb| bdb.status == super::BdbStatus::Active)
    }
}

impl ClusterState {
    /// The Active-Active database, or the refusal that names it.
    pub fn crdb(&self, guid: &str) -> Result<&Crdb, Refusal> {
        self.crdbs.get(guid).ok_or_else(|| {
            Refusal::not_found(
                "crdb_not_found",
                format!("Active-Active database {guid} does not exist on this cluster"),
            )
        })
    }

    fn crdb_mut(&mut self, guid: &str) -> Result<&mut Crdb, Refusal> {
        let missing = || Refusal::not_found("crdb_not_found", format!("Active-Active database {guid} does not exist"));
        self.crdbs.get_mut(guid).ok_or_else(missing)
    }

    /// The Active-Active database that a database is a part of.
    pub fn crdb_of(&self, bdb: u32) -> Option<&Crdb> {
        self.crdbs.values().find(|crdb| crdb.bdb == bdb)
    }
}
