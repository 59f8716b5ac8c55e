//! Databases: their configuration, their shards, and the life between `pending` and gone (REST reference, 6 and 16.4).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shared::Shared;
use super::{
    ClusterState, Object, Refusal, digest,
    reshard::{Reshard, Stage},
    transfer::{Transfer, TransferKind},
};
use crate::clock::{Millis, iso};

/// Status words (REST reference, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BdbStatus {
    /// Being created.
    Pending,
    /// In service.
    Active,
    /// In service, a change is being carried out.
    ActiveChangePending,
    /// In service, its data is being replaced.
    ImportPending,
    /// Could not be created.
    CreationFailed,
    /// Being deleted.
    DeletePending,
    /// Waiting to be recovered, or being recovered.
    Recovery,
}

impl BdbStatus {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::ActiveChangePending => "active-change-pending",
            Self::ImportPending => "import-pending",
            Self::CreationFailed => "creation-failed",
            Self::DeletePending => "delete-pending",
            Self::Recovery => "recovery",
        }
    }
}

/// Master or replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardRole {
    /// Takes writes.
    Master,
    /// Copies its master.
    Slave,
}

/// One redis-server process, as the cluster wants it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shard {
    /// Number.
    pub uid: u32,
    /// Node that runs it.
    pub node: u32,
    /// Master or replica.
    pub role: ShardRole,
    /// Its port.
    pub port: u16,
    /// Which part of the database it holds.
    pub group: u32,
    /// Slots of that part.
    pub slots: (u16, u16),
    /// Whether, as a replica, it has caught up with its master since it last started.
    pub synced: bool,
    /// The launch that is allowed: a shard starts only when told, because a master that restarts empty beside a
    /// living replica would have the replica empty itself.
    pub start: Option<String>,
    /// Whether it was ever told to start.
    pub born: bool,
    /// Whether the launch allowed is its first.
    pub fresh: bool,
    /// How often it was told to flush.
    pub flushes: u32,
}

/// Where clients connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoint {
    /// The port.
    pub port: u16,
    /// Nodes whose proxies listen.
    pub nodes: Vec<u32>,
}

/// What a change replaces, until it is carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rollback {
    pub(super) config: Shared<Object>,
    pub(super) passwords: Vec<String>,
    pub(super) shards: Vec<Shard>,
}

impl Rollback {
    pub(super) fn is_sharded(&self) -> bool {
        self.config.get("sharding").and_then(Value::as_bool).unwrap_or(false)
    }
}

/// A database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bdb {
    /// Number.
    pub uid: u32,
    /// Configuration fields, complete.
    pub config: Shared<Object>,
    /// Status.
    pub status: BdbStatus,
    /// Grows with every change that processes must carry out.
    pub version: u64,
    /// Shards.
    pub shards: Vec<Shard>,
    /// Endpoint.
    pub endpoint: Endpoint,
    /// Passwords of the default user.
    pub passwords: Vec<String>,
    /// The action under way or the last one.
    pub action: Option<String>,
    /// When it was created.
    pub created: Millis,
    /// When it last changed.
    pub changed: Millis,
    /// The action does not end before this time.
    pub due: Millis,
    /// What a failed change goes back to.
    pub rollback: Option<Rollback>,
    /// Alert settings and states.
    pub alerts: Shared<Object>,
    /// Whether an administrator stopped the traffic.
    pub traffic_stopped: bool,
    /// Whether a recovery was started.
    pub recovering: bool,
    /// The resharding under way.
    #[serde(default)]
    pub reshard: Option<Reshard>,
    /// The backup, export or import under way.
    #[serde(default)]
    pub transfer: Option<Transfer>,
    /// When the last scheduled backup began.
    #[serde(default)]
    pub backup_tried: Millis,
}

/// Changes to databases.
#[derive(Debug, Clone)]
pub enum BdbCommand {
    /// `POST /v1/bdbs`.
    Create { body: Object },
    /// `PUT /v1/bdbs/{uid}`.
    Update { uid: u32, patch: Object, flush: bool },
    /// `PUT …/passwords`, `POST`, `DELETE`.
    Passwords { uid: u32, change: PasswordChange },
    /// `DELETE /v1/bdbs/{uid}`.
    Delete { uid: u32 },
    /// What was asked for is there.
    Finish { uid: u32 },
    /// It cannot be had.
    Fail { uid: u32, error: String },
    /// Nothing of it runs any more.
    Forget { uid: u32 },
    /// `POST /v1/bdbs/alerts/{uid}`.
    Alerts { uid: u32, alerts: Object },
    /// `POST …/actions/stop_traffic` and `resume_traffic`.
    Traffic { uid: u32, stopped: bool },
    /// `POST …/actions/recover`; the shards named have files.
    Recover { uid: u32, with_files: Vec<u32>, without_data: bool },
    /// A launch is allowed.
    Start { shard: u32, token: String },
    /// A replica caught up, or is known not to have.
    Synced { shard: u32, synced: bool },
    /// `POST …/upgrade`.
    Upgrade { uid: u32, body: Object },
    /// A backup, export or import begins.
    Transfer { uid: u32, kind: TransferKind, places: Vec<Value> },
    /// It is so far, in percent.
    TransferAt { uid: u32, percent: u32 },
    /// It is over; with the word of the REST API for why it failed.
    TransferEnd { uid: u32, failure: Option<String> },
    /// `PUT …/actions/backup_reset_status` and its like.
    TransferReset { uid: u32, kind: TransferKind },
    /// A resharding goes on to a stage, or with none is over.
    Reshard { uid: u32, stage: Option<Stage> },
    /// The replica of a master takes over.
    Failover { shard: u32, track: bool },
}

/// How the list of passwords changes (REST reference, 6.5).
#[derive(Debug, Clone)]
pub enum PasswordChange {
    /// One instead of all.
    Replace(String),
    /// One more.
    Add(String),
    /// One less.
    Remove(String),
}

impl Bdb {
    /// A text field of the configuration.
    pub fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number of the configuration.
    pub fn number(&self, key: &str) -> u64 {
        self.config.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    /// A flag of the configuration.
    pub fn flag(&self, key: &str) -> bool {
        self.config.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// Whether each shard has a replica.
    pub fn replication(&self) -> bool {
        self.flag("replication")
    }

    /// How many masters.
    pub fn groups(&self) -> u32 {
        u32::try_from(self.number("shards_count")).unwrap_or(1).max(1)
    }

    /// `maxmemory` of each shard: `memory_size / (shards × (1 + replication))`, 0 = unlimited.
    pub fn shard_memory(&self) -> u64 {
        self.number("memory_size") / u64::from(self.groups()) / if self.replication() { 2 } else { 1 }
    }

    /// Whether its shards should run.
    pub fn runs(&self) -> bool {
        match self.status {
            BdbStatus::DeletePending => false,
            BdbStatus::Recovery => self.recovering,
            _ => true,
        }
    }

    /// Whether a state machine works on it.
    pub fn busy(&self) -> bool {
        let word = self.status;
        matches!(
            word,
            BdbStatus::Pending | BdbStatus::ActiveChangePending | BdbStatus::ImportPending | BdbStatus::DeletePending
        ) || self.recovering
    }

    /// The master of a group.
    pub fn master(&self, group: u32) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.group == group && shard.role == ShardRole::Master)
    }

    /// Whether keys are hashed as a Redis cluster does it: by the rules of the product's documentation, or by none of its own.
    pub(super) fn has_standard_rules(&self) -> bool {
        let rules = self.config.get("shard_key_regex").and_then(Value::as_array);
        let mut rules = rules.into_iter().flatten().filter_map(|rule| rule.get("regex")?.as_str());
        rules.all(|rule| [r".*\{(?<tag>.*)\}.*", "(?<tag>.*)"].contains(&rule))
    }

    /// Certificates (PEM) by which clients are accepted; none when they need not show one.
    pub fn trusted_clients(&self, state: &ClusterState) -> Vec<String> {
        if self.text("enforce_client_authentication") != "enabled" || self.text("tls_mode") == "disabled" {
            return Vec::new();
        }
        let listed = self.listed_certificates().map(str::to_owned);
        listed.chain(state.certificates.get("mtls_trusted_ca").map(|one| one.certificate.clone())).collect()
    }

    /// The certificates of clients and of other clusters that its configuration lists.
    pub(super) fn listed_certificates(&self) -> impl Iterator<Item = &str> {
        ["authentication_ssl_client_certs", "authentication_ssl_crdt_certs"]
            .into_iter()
            .filter_map(|key| self.config.get(key).and_then(Value::as_array))
            .flatten()
            .filter_map(|one| one.get("client_cert").and_then(Value::as_str))
    }

    /// Secret by which the cluster itself opens the database's shards.
    pub fn internal_password(&self, state: &ClusterState) -> String {
        digest(&[&state.secret, &self.uid.to_string()])
    }

    pub(super) fn swap_roles(&mut self, master: u32, replica: u32) {
        // Shards in the making start again from the new master.
        let group = self.shards.iter().find(|shard| shard.uid == master).map(|shard| shard.group);
        let orphans: Vec<u32> = self
            .shards
            .iter()
            .filter(|one| group.is_some() && self.parent_group(one) == group)
            .map(|one| one.uid)
            .collect();
        self.shards.iter_mut().filter(|shard| orphans.contains(&shard.uid)).for_each(|shard| shard.synced = false);
        for shard in &mut self.shards {
            if shard.uid == master {
                (shard.role, shard.synced) = (ShardRole::Slave, false);
            } else if shard.uid == replica {
                (shard.role, shard.synced) = (ShardRole::Master, false);
            }
        }
        self.version += 1;
    }

    pub(super) fn enter_recovery(&mut self) {
        self.undo_reshard();
        self.transfer = None;
        if let Some(reshard) = &mut self.reshard {
            reshard.stage = Stage::Trim;
        }
        self.status = BdbStatus::Recovery;
        self.recovering = false;
        self.rollback = None;
        self.action = None;
        for shard in &mut self.shards {
            (shard.synced, shard.start) = (false, None);
        }
    }

    /// The object as the API shows it: 100 keys and more, `port` 0 when it was chosen (REST reference, 16.11).
    pub fn view(&self, state: &ClusterState) -> Value {
        let mut view = self.config.clone();
        let installed =
            self.shards.iter().find_map(|shard| state.nodes.get(&shard.node)).map(|node| &node.redis_version);
        let version = installed.map(|installed| {
            super::versions::full(installed, self.text("redis_version")).unwrap_or_else(|| installed.clone())
        });
        let own = json!({
            "uid": self.uid, "status": self.status.word(), "action_uid": self.action,
            "shard_list": self.shards.iter().map(|shard| shard.uid).collect::<Vec<_>>(),
            "endpoints": self.endpoints_view(state), "version": version.unwrap_or_default(),
            "created_time": iso(self.created), "last_changed_time": iso(self.changed),
            "authentication_redis_pass": self.passwords.first().cloned().unwrap_or_default(),
            "traffic_manually_disabled": self.traffic_stopped, "topology_epoch": self.version,
        });
        view.extend(super::object(own));
        if self.action.is_none() {
            view.remove("action_uid");
        }
        if state.flag("mask_bdb_credentials") {
            for key in ["authentication_redis_pass", "authentication_admin_pass", "authentication_sasl_pass"] {
                if view.get(key).and_then(Value::as_str).is_some_and(|secret| !secret.is_empty()) {
                    view.insert(key.to_owned(), json!("*****"));
                }
            }
        }
        Value::Object(view.own())
    }

    fn endpoints_view(&self, state: &ClusterState) -> Value {
        if matches!(self.status, BdbStatus::Recovery | BdbStatus::CreationFailed) {
            return json!([]);
        }
        let nodes = || self.endpoint.nodes.iter().filter_map(|uid| state.nodes.get(uid));
        let addresses: Vec<&str> = nodes().map(|node| node.addr.as_str()).collect();
        let outside: Vec<&String> = nodes().flat_map(|node| &node.external_addr).collect();
        let endpoint = |addresses: Value, of: &str| {
            json!({
                "uid": format!("{}:1", self.uid), "dns_name": format!("redis-{}.{}", self.endpoint.port, state.name),
                "port": self.endpoint.port, "addr": addresses, "addr_type": of, "proxy_policy": self.text("proxy_policy"),
                "include_proxies": [], "exclude_proxies": [], "oss_cluster_api_preferred_ip_type": self.text("oss_cluster_api_preferred_ip_type"),
                "oss_cluster_api_preferred_endpoint_type": "ip",
            })
        };
        let mut all = vec![endpoint(json!(addresses), "internal")];
        // Where nodes have addresses outside, each endpoint is listed twice (REST reference, 8).
        if !outside.is_empty() {
            all.push(endpoint(json!(outside), "external"));
        }
        Value::Array(all)
    }
}

impl ClusterState {
    /// The database, or the refusal that names it.
    pub fn bdb(&self, uid: u32) -> Result<&Bdb, Refusal> {
        self.bdbs.get(&uid).ok_or_else(|| Refusal::not_found("db_not_found", format!("database {uid} does not exist")))
    }

    pub(super) fn bdb_mut(&mut self, uid: u32) -> Result<&mut Bdb, Refusal> {
        self.bdbs
            .get_mut(&uid)
            .ok_or_else(|| Refusal::not_found("db_not_found", format!("database {uid} does not exist")))
    }

    /// The database that a shard belongs to.
    pub fn bdb_of_shard(&self, shard: u32) -> Result<&Bdb, Refusal> {
        let of = |bdb: &&Bdb| bdb.shards.iter().any(|one| one.uid == shard);
        self.bdbs
            .values()
            .find(of)
            .ok_or_else(|| Refusal::not_found("shard_not_exist", format!("shard {shard} does not exist")))
    }

    pub(super) fn shard_mut(&mut self, shard: u32) -> Result<&mut Shard, Refusal> {
        let missing = || Refusal::not_found("shard_not_exist", format!("shard {shard} does not exist"));
        self.bdbs.values_mut().flat_map(|bdb| &mut bdb.shards).find(|one| one.uid == shard).ok_or_else(missing)
    }
}
