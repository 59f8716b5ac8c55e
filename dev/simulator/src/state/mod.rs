//! Everything that the nodes of a cluster agree on, as plain data, and the commands that change it.
//!
//! No I/O and no clock: [`ClusterState::apply`] is given the time. What only one node knows (processes, sockets,
//! reports of others) is not here.

pub mod actions;
mod bdb_life;
mod bdb_rescue;
mod bdb_rules;
pub mod bdbs;
pub mod command;
pub mod crdb;
pub mod defaults;
pub mod license;
pub mod migration;
mod modules;
pub mod nodes;
pub mod optional;
pub mod placement;
pub mod refusal;
pub mod reshard;
pub mod shared;
#[cfg(test)]
pub(crate) mod testing;
pub mod transfer;
pub mod users;
pub mod versions;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use self::{
    actions::{Action, ActionKind, ActionStatus},
    bdbs::{Bdb, BdbStatus, Endpoint, Shard, ShardRole},
    command::Command,
    license::License,
    nodes::{NodeRecord, NodeStatus},
    refusal::Refusal,
    users::{Acl, Role, User},
};
use crate::clock::{Millis, iso};

/// A JSON object.
pub type Object = Map<String, Value>;

/// What a command sees of the world outside the state.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time.
    pub now: Millis,
    /// The factor of simulated durations.
    pub scale: f64,
    /// The seed of identifiers.
    pub seed: u64,
}

impl Context {
    /// When something that takes `ms` documented milliseconds from now is due.
    pub fn due(&self, ms: u64) -> Millis {
        self.now + u64::try_from(std::time::Duration::from_millis(ms).mul_f64(self.scale).as_millis()).unwrap_or(0)
    }
}

/// Numbers that are never given twice.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Last node uid.
    pub node: u32,
    /// Last database uid.
    pub bdb: u32,
    /// Last shard uid.
    pub shard: u32,
    /// Last user uid.
    pub user: u32,
    /// Last role uid; the product numbers custom ones from 17 (REST reference, 9).
    pub role: u32,
    /// Last ACL uid.
    pub acl: u32,
    /// Identifiers generated so far.
    pub ids: u64,
}

/// A named certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM certificate.
    pub certificate: String,
    /// PEM key; absent for trusted certificates of others.
    pub key: Option<String>,
}

/// The state of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterState {
    /// Identity of this cluster; a recovered cluster has a new one, so that nodes of the old cannot vote in it.
    pub incarnation: String,
    /// FQDN.
    pub name: String,
    /// When it was created.
    pub created: Millis,
    /// Numbers given out.
    pub counters: Counters,
    /// Nodes by uid.
    pub nodes: BTreeMap<u32, NodeRecord>,
    /// Databases by uid.
    pub bdbs: BTreeMap<u32, Bdb>,
    /// Users by uid.
    pub users: BTreeMap<u32, User>,
    /// Roles by uid.
    pub roles: BTreeMap<u32, Role>,
    /// Redis ACLs by uid.
    pub acls: BTreeMap<u32, Acl>,
    /// Cluster settings (REST reference, 4.1).
    pub settings: Object,
    /// Cluster policy (4.2).
    pub policy: Object,
    /// License (4.3).
    pub license: License,
    /// Certificates by name (4.4).
    pub certificates: BTreeMap<String, Certificate>,
    /// Optional parts of the configuration (4.5).
    #[serde(default)]
    pub parts: optional::Parts,
    /// Shards on their way to another node (8).
    #[serde(default)]
    pub migrations: Vec<migration::Migration>,
    /// Modules beside those that come with the product.
    #[serde(default)]
    pub modules: Vec<Value>,
    /// Active-Active databases by their identifier (11).
    #[serde(default)]
    pub crdbs: BTreeMap<String, crdb::Crdb>,
    /// Tasks on them.
    #[serde(default)]
    pub crdb_tasks: BTreeMap<String, crdb::CrdbTask>,
    /// Actions, running and finished (7).
    pub actions: Vec<Action>,
    /// Event log (4.5), newest last.
    pub log: Vec<Value>,
    /// Secret that signs access tokens and opens shards to the cluster's own proxies.
    pub secret: String,
}

/// Finished actions are forgotten after this time (REST reference, 16.5).
const ACTION_RETENTION_MS: u64 = 600_000;

/// Events kept.
const LOG_LENGTH: usize = 1000;

/// What a new cluster is made from.
#[derive(Debug, Clone)]
pub struct Founding {
    /// FQDN.
    pub name: String,
    /// The first admin's name.
    pub username: String,
    /// The first admin's password.
    pub password: String,
    /// License text, if one was given.
    pub license: Option<String>,
    /// Random text that makes this cluster unlike any other.
    pub entropy: String,
    /// Certificate used under every name until replaced.
    pub certificate: Certificate,
    /// The first node.
    pub node: NodeRecord,
}

impl ClusterState {
    /// A cluster of one node.
    pub fn found(founding: Founding, ctx: &Context) -> Result<Self, Refusal> {
        let Founding { name, username, password, license, entropy, certificate, mut node } = founding;
        let mut state = Self {
            incarnation: digest(&[&entropy, "incarnation"]),
            name: name.clone(),
            created: ctx.now,
            counters: Counters { node: 1, user: 1, role: 16, acl: 16, ..Counters::default() },
            nodes: BTreeMap::new(),
            bdbs: BTreeMap::new(),
            users: BTreeMap::new(),
            roles: users::built_in_roles(),
            acls: users::built_in_acls(),
            settings: defaults::cluster(&name),
            policy: defaults::policy(),
            license: License::trial(ctx.now),
            certificates: ["api", "cm", "proxy", "syncer", "metrics_exporter"]
                .into_iter()
                .map(|name| (name.to_owned(), certificate.clone()))
                .collect(),
            parts: optional::Parts::new(),
            modules: Vec::new(),
            migrations: Vec::new(),
            crdbs: BTreeMap::new(),
            crdb_tasks: BTreeMap::new(),
            actions: Vec::new(),
            log: Vec::new(),
            secret: digest(&[&entropy, "secret"]),
        };
        if let Some(text) = license {
            state.license = License::parse(&text, &name, ctx.now)?;
        }
        node.uid = 1;
        node.voter = true;
        node.status = NodeStatus::Active;
        state.nodes.insert(1, node);
        state.users.insert(1, User::first_admin(&username, &password, ctx.now));
        state.event(ctx, "cluster_node_joined", json!({"node_uid": 1}));
        Ok(state)
    }

    /// What is left of a cluster whose majority was lost: one node, and every database waiting to be recovered
    /// (REST reference, 12).
    pub fn recovered(mut self, survivor: NodeRecord, entropy: &str, ctx: &Context) -> Self {
        self.incarnation = digest(&[entropy, "incarnation"]);
        for node in self.nodes.values_mut() {
            node.voter = false;
            node.status = NodeStatus::Down;
            node.down_since = Some(ctx.now);
        }
        for bdb in self.bdbs.values_mut() {
            bdb.enter_recovery();
        }
        self.actions.clear();
        self.migrations.clear();
        let uid = survivor.uid;
        self.nodes.insert(uid, NodeRecord { voter: true, status: NodeStatus::Active, down_since: None, ..survivor });
        self.event(ctx, "cluster_recovered", json!({"node_uid": uid}));
        self
    }

    /// A deterministic identifier in the form of a UUID.
    pub fn next_id(&mut self, ctx: &Context) -> String {
        self.counters.ids += 1;
        let text = digest(&[&ctx.seed.to_string(), &self.incarnation, &self.counters.ids.to_string()]);
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
    }

    /// Adds an entry to the event log.
    pub fn event(&mut self, ctx: &Context, kind: &str, details: Value) {
        let mut entry = json!({"time": iso(ctx.now), "type": kind, "severity": "INFO"});
        if let (Some(entry), Value::Object(details)) = (entry.as_object_mut(), details) {
            entry.extend(details);
        }
        self.log.push(entry);
        let surplus = self.log.len().saturating_sub(LOG_LENGTH);
        self.log.drain(..surplus);
    }

    /// Forgets actions that ended long ago.
    pub(crate) fn forget_old_actions(&mut self, ctx: &Context) {
        self.actions.retain(|action| action.ended.is_none_or(|ended| ended + ACTION_RETENTION_MS > ctx.now));
    }

    /// How many votes decide.
    pub fn majority(&self) -> usize {
        self.nodes.values().filter(|node| node.voter).count() / 2 + 1
    }

    /// A setting of the cluster that is a flag.
    pub fn flag(&self, name: &str) -> bool {
        self.settings.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A number of the policy.
    pub fn policy_number(&self, name: &str, default: u64) -> u64 {
        self.policy.get(name).and_then(Value::as_u64).unwrap_or(default)
    }

    /// Shards in use as the license counts them: replicas too.
    pub fn shards_in_use(&self) -> usize {
        self.bdbs.values().map(|bdb| bdb.shards.len()).sum()
    }
}

/// Hex SHA-256 of the parts.
pub fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}

/// Hex SHA-256 of a password alone, the form that Redis ACLs take after `#`.
pub fn password_hash(password: &str) -> String {
    hex::encode(Sha256::digest(password.as_bytes()))
}

/// The members of an object; nothing for any other value.
pub fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}
