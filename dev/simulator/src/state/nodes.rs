//! Nodes of the cluster: joining, going down and coming back, leaving (REST reference, 5 and 16.2).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ActionKind, ClusterState, Context, Object, Refusal, ShardRole};
use crate::{bootstrap::Identity, clock::Millis, settings::SOFTWARE_VERSION};

/// Share of a node's memory that databases may take.
const PROVISIONAL_SHARE: (u64, u64) = (82, 100);

/// How the cluster sees a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// Joined, not yet a voter.
    Provisioning,
    /// A member in good health.
    Active,
    /// Not heard of.
    Down,
    /// Being removed.
    Decommissioning,
}

/// A node as the cluster remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Number, never given again.
    pub uid: u32,
    /// Address.
    pub addr: String,
    /// Addresses for clients outside.
    pub external_addr: Vec<String>,
    /// Host name.
    pub hostname: String,
    /// Rack.
    pub rack_id: String,
    /// Whether it may hold shards.
    pub accept_servers: bool,
    /// Whether its vote counts; a node votes once it has the whole state.
    pub voter: bool,
    /// Health.
    pub status: NodeStatus,
    /// Since when it is down.
    pub down_since: Option<Millis>,
    /// Memory in bytes.
    pub total_memory: u64,
    /// Cores.
    pub cores: u32,
    /// Version it runs.
    pub software_version: String,
    /// The redis-server it runs.
    pub redis_version: String,
    /// Most shards it takes.
    pub max_redis_servers: u32,
    /// Most endpoints it takes.
    pub max_listeners: u32,
    /// Extra directory for recovery.
    pub recovery_path: String,
    /// Where its volume is.
    pub persistent_path: String,
    /// When it joined.
    pub joined: Millis,
    /// Name and time of the maintenance snapshot, while in maintenance.
    pub maintenance: Option<(String, Millis)>,
    /// Master shards that the snapshot tells of.
    #[serde(default)]
    pub snapshot_masters: Vec<u32>,
    /// The removal or maintenance action under way.
    pub action: Option<String>,
}

impl NodeRecord {
    /// A node that wants to become a member.
    pub fn new(addr: &str, hostname: &str, memory: u64, cores: u32, redis_version: &str, identity: &Identity) -> Self {
        Self {
            uid: 0,
            addr: addr.to_owned(),
            external_addr: identity.external_addr.clone(),
            hostname: hostname.to_owned(),
            rack_id: identity.rack_id.clone(),
            accept_servers: identity.accept_servers,
            voter: false,
            status: NodeStatus::Provisioning,
            down_since: None,
            total_memory: memory,
            cores,
            software_version: SOFTWARE_VERSION.to_owned(),
            redis_version: redis_version.to_owned(),
            max_redis_servers: identity.max_redis_servers,
            max_listeners: identity.max_listeners,
            recovery_path: String::new(),
            persistent_path: String::new(),
            joined: 0,
            maintenance: None,
            snapshot_masters: Vec::new(),
            action: None,
        }
    }

    /// Memory that databases may take.
    pub fn provisional_memory(&self) -> u64 {
        if self.accepts_shards() { self.total_memory / PROVISIONAL_SHARE.1 * PROVISIONAL_SHARE.0 } else { 0 }
    }

    /// Whether new shards may be placed here.
    pub fn accepts_shards(&self) -> bool {
        self.accept_servers
            && self.maintenance.is_none()
            && matches!(self.status, NodeStatus::Active | NodeStatus::Down)
    }

    /// Whether it is up as far as the cluster knows.
    pub fn is_up(&self) -> bool {
        self.status != NodeStatus::Down
    }
}

/// Changes to nodes.
#[derive(Debug, Clone)]
pub enum NodeCommand {
    /// A node asks to join; `replaces` is the uid of a dead one whose place it takes.
    Join { node: Box<NodeRecord>, replaces: Option<u32> },
    /// It has the state and may vote.
    Promote { uid: u32 },
    /// It says that its address or version changed.
    Announce { uid: u32, addr: String, hostname: String, software_version: String },
    /// It was not heard of for too long.
    Down { uid: u32 },
    /// It was heard of again.
    Up { uid: u32 },
    /// `PUT /v1/nodes/{uid}`.
    Update { uid: u32, patch: Object },
    /// Begin to remove it.
    Remove { uid: u32 },
    /// It holds nothing any more: forget it.
    Forget { uid: u32 },
    /// Begin maintenance.
    MaintenanceOn { uid: u32, overwrite: bool },
    /// Its shards are away.
    MaintenanceReached { uid: u32 },
    /// End maintenance.
    MaintenanceOff { uid: u32 },
    /// Give up a removal or maintenance.
    Abandon { uid: u32, error: String, cancelled: bool },
    /// What is kept of an action that has ended is cleared.
    ForgetAction { uid: u32, name: String },
    /// One round of moving shards off it.
    Drain { uid: u32 },
}

impl ClusterState {
    /// The node, or the refusal that names it.
    pub fn node(&self, uid: u32) -> Result<&NodeRecord, Refusal> {
        self.nodes.get(&uid).ok_or_else(|| Refusal::not_found("node_not_found", format!("node {uid} does not exist")))
    }

    fn node_mut(&mut self, uid: u32) -> Result<&mut NodeRecord, Refusal> {
        self.nodes
            .get_mut(&uid)
            .ok_or_else(|| Refusal::not_found("node_not_found", format!("node {uid} does not exist")))
    }

    pub(super) fn apply_node(&mut self, command: NodeCommand, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            NodeCommand::Join { node, replaces } => self.join(*node, replaces, ctx),
            NodeCommand::Promote { uid } => {
                let node = self.node_mut(uid)?;
                node.voter = true;
                node.status = NodeStatus::Active;
                node.down_since = None;
                self.event(ctx, "cluster_node_joined", json!({"node_uid": uid}));
                self.rebind_endpoints();
                Ok(Value::Null)
            }
            NodeCommand::Announce { uid, addr, hostname, software_version } => {
                let node = self.node_mut(uid)?;
                (node.addr, node.hostname, node.software_version) = (addr, hostname, software_version);
                Ok(Value::Null)
            }
            NodeCommand::Down { uid } => {
                let now = ctx.now;
                let node = self.node_mut(uid)?;
                node.status = NodeStatus::Down;
                node.down_since = Some(now);
                self.event(ctx, "node_failed", json!({"node_uid": uid}));
                self.promote_replicas_of(uid);
                self.rebind_endpoints();
                Ok(Value::Null)
            }
            NodeCommand::Up { uid } => {
                let node = self.node_mut(uid)?;
                node.status = NodeStatus::Active;
                node.down_since = None;
                self.event(ctx, "node_recovered", json!({"node_uid": uid}));
                self.rebind_endpoints();
                Ok(Value::Null)
            }
            NodeCommand::Update { uid, patch } => self.update_node(uid, &patch),
            NodeCommand::Remove { uid } => self.begin_removal(uid, ctx),
            NodeCommand::Forget { uid } => {
                let action = self.node(uid)?.action.clone();
                self.nodes.remove(&uid);
                if let Some(action) = action {
                    self.end(ctx, &action, None);
                }
                self.event(ctx, "cluster_node_remove_completed", json!({"node_uid": uid}));
                self.rebind_endpoints();
                Ok(Value::Null)
            }
            NodeCommand::MaintenanceOn { uid, overwrite } => self.begin_maintenance(uid, overwrite, ctx),
            NodeCommand::MaintenanceReached { uid } => {
                if let Some(action) = self.node_mut(uid)?.action.take() {
                    self.end(ctx, &action, None);
                }
                Ok(Value::Null)
            }
            NodeCommand::MaintenanceOff { uid } => {
                if self.node_mut(uid)?.maintenance.take().is_none() {
                    return Err(Refusal::new(
                        406,
                        "node_not_in_maintenance",
                        format!("node {uid} is not in maintenance"),
                    ));
                }
                self.bring_masters_back(uid)?;
                let task = self.begin(ctx, ActionKind::Task, "maintenance_off", format!("node:{uid}"));
                self.end(ctx, &task, None);
                self.rebind_endpoints();
                Ok(json!({"status": "queued", "task_id": task}))
            }
            NodeCommand::Abandon { uid, error, cancelled } => {
                let node = self.node_mut(uid)?;
                node.maintenance = None;
                if node.status == NodeStatus::Decommissioning {
                    node.status = NodeStatus::Active;
                }
                let action = node.action.take();
                if let Some(uid) = action {
                    self.end(ctx, &uid, Some(error));
                    if let Some(action) = self.actions.iter_mut().find(|action| action.uid == uid && cancelled) {
                        action.status = super::ActionStatus::Cancelled;
                    }
                }
                Ok(Value::Null)
            }
            NodeCommand::ForgetAction { uid, name } => {
                let object = format!("node:{uid}");
                let kept = self.actions.len();
                self.actions.retain(|one| one.object != object || one.name != name || one.ended.is_none());
                if self.actions.len() == kept {
                    return Err(Refusal::not_found(
                        "action_not_found",
                        format!("nothing is kept of {name} on {object}"),
                    ));
                }
                Ok(Value::Null)
            }
            NodeCommand::Drain { uid } => self.drain(uid).map(|()| Value::Null),
        }
    }

    fn join(&mut self, mut node: NodeRecord, replaces: Option<u32>, ctx: &Context) -> Result<Value, Refusal> {
        let known = self.nodes.values().find(|other| other.addr == node.addr && Some(other.uid) != replaces);
        if let Some(known) = known.filter(|known| known.is_up() && known.voter) {
            return Err(Refusal::new(406, "config_error", format!("node {} already has this address", known.uid)));
        }
        let uid = match replaces {
            Some(uid) => {
                let old = self.node(uid)?;
                if old.is_up() && old.voter {
                    return Err(Refusal::new(
                        406,
                        "config_error",
                        format!("node {uid} is alive and cannot be replaced"),
                    ));
                }
                uid
            }
            None => {
                self.counters.node += 1;
                self.counters.node
            }
        };
        (node.uid, node.voter, node.status, node.joined) = (uid, false, NodeStatus::Provisioning, ctx.now);
        self.nodes.insert(uid, node);
        Ok(json!({"uid": uid}))
    }

    fn update_node(&mut self, uid: u32, patch: &Object) -> Result<Value, Refusal> {
        let populated = self.bdbs.values().any(|bdb| bdb.shards.iter().any(|shard| shard.node == uid));
        let node = self.node_mut(uid)?;
        for (key, value) in patch {
            let text = || {
                value.as_str().map(str::to_owned).ok_or_else(|| Refusal::bad_request(format!("{key} must be a string")))
            };
            let number = || {
                value
                    .as_u64()
                    .and_then(|n| u32::try_from(n).ok())
                    .ok_or_else(|| Refusal::bad_request(format!("{key} must be a number")))
            };
            match key.as_str() {
                "addr" if node.is_up() => {
                    return Err(Refusal::new(406, "node_not_offline", "the address of a live node cannot be set"));
                }
                "addr" => node.addr = text()?,
                "external_addr" => {
                    node.external_addr =
                        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
                }
                "rack_id" if populated => {
                    return Err(Refusal::new(406, "node_already_populated", "the node holds shards"));
                }
                "rack_id" => node.rack_id = text()?,
                "accept_servers" => {
                    node.accept_servers =
                        value.as_bool().ok_or_else(|| Refusal::bad_request("accept_servers must be a boolean"))?;
                }
                "recovery_path" => node.recovery_path = text()?,
                "max_redis_servers" => node.max_redis_servers = number()?,
                "max_listeners" => node.max_listeners = number()?,
                _ => return Err(Refusal::bad_request(format!("unknown or read-only node field {key}"))),
            }
        }
        Ok(Value::Null)
    }

    fn no_action_of(&self, name: &str) -> Result<(), Refusal> {
        match self.actions.iter().find(|action| action.name == name && action.ended.is_none()) {
            Some(action) => Err(Refusal::busy(format!("{name} already runs on {}", action.object))),
            None => Ok(()),
        }
    }

    fn begin_removal(&mut self, uid: u32, ctx: &Context) -> Result<Value, Refusal> {
        self.no_action_of("remove_node")?;
        self.node(uid)?;
        let voters = self.nodes.values().filter(|node| node.voter && node.is_up() && node.uid != uid).count();
        if voters == 0 {
            return Err(Refusal::new(406, "insufficient_resources", "the last node cannot be removed"));
        }
        let task = self.begin(ctx, ActionKind::Task, "remove_node", format!("node:{uid}"));
        let node = self.node_mut(uid)?;
        if node.is_up() {
            node.status = NodeStatus::Decommissioning;
        }
        node.action = Some(task.clone());
        Ok(json!({"status": "queued", "task_id": task}))
    }

    fn begin_maintenance(&mut self, uid: u32, overwrite: bool, ctx: &Context) -> Result<Value, Refusal> {
        self.no_action_of("maintenance_on")?;
        let node = self.node(uid)?;
        if !node.is_up() {
            return Err(Refusal::new(406, "node_down", format!("node {uid} is down")));
        }
        let snapshot = match (&node.maintenance, overwrite) {
            (Some(kept), false) => kept.clone(),
            _ => (format!("maintenance_mode_{uid}_{}", ctx.now / 1000), ctx.now),
        };
        let task = self.begin(ctx, ActionKind::Task, "maintenance_on", format!("node:{uid}"));
        let masters = self.bdbs.values().flat_map(|bdb| &bdb.shards);
        let masters = masters.filter(|shard| shard.node == uid && shard.role == ShardRole::Master);
        let masters: Vec<u32> = masters.map(|shard| shard.uid).collect();
        let node = self.node_mut(uid)?;
        if node.maintenance.is_none() || overwrite {
            node.snapshot_masters = masters;
        }
        node.maintenance = Some(snapshot);
        node.action = Some(task.clone());
        self.rebind_endpoints();
        Ok(json!({"status": "queued", "task_id": task}))
    }

    /// What was master here before the maintenance is master again, where its replica here is in sync.
    fn bring_masters_back(&mut self, uid: u32) -> Result<(), Refusal> {
        let masters = std::mem::take(&mut self.node_mut(uid)?.snapshot_masters);
        for bdb in self.bdbs.values_mut() {
            for master in &masters {
                let Some(shard) = bdb.shards.iter().find(|shard| shard.uid == *master && shard.node == uid) else {
                    continue;
                };
                let (group, back) = (shard.group, shard.role == ShardRole::Slave && shard.synced);
                let other = bdb.shards.iter().find(|other| other.group == group && other.role == ShardRole::Master);
                if let Some(other) = other.map(|other| other.uid).filter(|_| back) {
                    bdb.swap_roles(other, *master);
                }
            }
        }
        Ok(())
    }

    /// Takes one step of every database towards having no shard on `uid`. Called until none is left; waits, by doing
    /// nothing, for replicas to catch up.
    fn drain(&mut self, uid: u32) -> Result<(), Refusal> {
        let leaves = self.node(uid)?.maintenance.is_none();
        let ids: Vec<u32> = self.bdbs.keys().copied().collect();
        for id in ids {
            let Some(mut bdb) = self.bdbs.remove(&id) else { continue };
            let result = self.drain_bdb(&mut bdb, uid, leaves);
            self.bdbs.insert(id, bdb);
            result?;
        }
        let left = self.bdbs.values().flat_map(|bdb| &bdb.shards).filter(|shard| shard.node == uid).count();
        let action = self.node(uid)?.action.clone();
        if let Some(action) = self.actions.iter_mut().find(|one| Some(&one.uid) == action.as_ref()) {
            action.progress = if left == 0 { 80 } else { 35 };
        }
        self.rebind_endpoints();
        Ok(())
    }

    fn drain_bdb(&mut self, bdb: &mut super::Bdb, uid: u32, leaves: bool) -> Result<(), Refusal> {
        // One that is being resharded is moved when that is over.
        if bdb.reshard.is_some() {
            return Ok(());
        }
        let here: Vec<u32> = bdb.shards.iter().filter(|shard| shard.node == uid).map(|shard| shard.uid).collect();
        for shard_uid in here {
            let Some(shard) = bdb.shards.iter().find(|shard| shard.uid == shard_uid).cloned() else { continue };
            let twin = bdb.shards.iter().find(|other| other.group == shard.group && other.uid != shard_uid).cloned();
            match (shard.role, twin) {
                (ShardRole::Master, Some(twin))
                    if twin.synced && self.nodes.get(&twin.node).is_some_and(NodeRecord::is_up) =>
                {
                    bdb.swap_roles(shard_uid, twin.uid);
                }
                (ShardRole::Master, Some(_)) => {}
                (ShardRole::Master, None) => {
                    if !self.node(uid)?.is_up() {
                        return Err(Refusal::new(
                            406,
                            "internal_error",
                            format!("shard {shard_uid} has no living copy"),
                        ));
                    }
                    self.add_replica(bdb, shard.group, &[uid])?;
                }
                // Maintenance leaves replicas in place (REST reference, 5.3).
                (ShardRole::Slave, _) if !leaves && bdb.replication() => {}
                (ShardRole::Slave, _) => {
                    bdb.shards.retain(|other| other.uid != shard_uid);
                    if bdb.replication() {
                        self.add_replica(bdb, shard.group, &[uid])?;
                    }
                    bdb.version += 1;
                }
            }
        }
        Ok(())
    }
}
