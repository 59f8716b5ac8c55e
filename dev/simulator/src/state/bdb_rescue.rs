//! How databases live on after a loss: replicas take over, and whole databases come back from files (REST reference, 8 and 12).

use serde_json::{Value, json};

use super::{ActionKind, BdbStatus, ClusterState, Context, Refusal, Shard, ShardRole};

impl ClusterState {
    pub(super) fn recover_bdb(
        &mut self,
        uid: u32,
        with_files: &[u32],
        without_data: bool,
        ctx: &Context,
    ) -> Result<Value, Refusal> {
        let mut bdb = self.bdb(uid)?.clone();
        if bdb.status != BdbStatus::Recovery || bdb.recovering {
            return Err(Refusal::new(409, "not_recoverable", format!("database {uid} is not waiting for recovery")));
        }
        let persistent = bdb.text("data_persistence") != "disabled";
        for group in 0..bdb.groups() {
            let alive = |shard: &&mut Shard| {
                shard.group == group && self.nodes.get(&shard.node).is_some_and(|node| node.is_up())
            };
            let mut chosen: Option<(u32, bool)> = None;
            for shard in bdb.shards.iter_mut().filter(alive) {
                let has_files = with_files.contains(&shard.uid);
                if chosen.is_none_or(|(_, files)| has_files && !files) {
                    chosen = Some((shard.uid, has_files));
                }
            }
            let master = match chosen {
                Some((master, files)) if files || without_data || !persistent => master,
                _ if !persistent || without_data => {
                    return Err(Refusal::new(
                        409,
                        "not_recoverable",
                        format!("no node of shard group {group} is alive"),
                    ));
                }
                _ => {
                    return Err(Refusal::new(
                        409,
                        "missing_files",
                        format!("files of shard group {group} are missing"),
                    ));
                }
            };
            for shard in bdb.shards.iter_mut().filter(|shard| shard.group == group) {
                shard.role = if shard.uid == master { ShardRole::Master } else { ShardRole::Slave };
            }
        }
        if without_data {
            // New numbers mean new, empty folders.
            let old = std::mem::take(&mut bdb.shards);
            for shard in old {
                bdb.shards.push(self.new_shard(shard.node, shard.role, shard.group, bdb.groups()));
            }
        }
        bdb.recovering = true;
        bdb.version += 1;
        bdb.due = ctx.due(1500);
        let action = self.begin(ctx, ActionKind::StateMachine, "SMRecoverBDB", format!("bdb:{uid}"));
        bdb.action = Some(action.clone());
        bdb.endpoint.nodes = self.endpoint_nodes(&bdb);
        self.bdbs.insert(uid, bdb);
        Ok(json!({"action_uid": action}))
    }

    pub(super) fn failover(&mut self, shard: u32, track: bool, ctx: &Context) -> Result<Value, Refusal> {
        let bdb = self.bdb_of_shard(shard)?;
        let uid = bdb.uid;
        if track && bdb.busy() {
            return Err(Refusal::new(409, "db_busy", format!("database {uid} is busy")));
        }
        let Some(master) = bdb.shards.iter().find(|one| one.uid == shard && one.role == ShardRole::Master) else {
            return Err(Refusal::new(406, "shard_is_slave", format!("shard {shard} is a replica")));
        };
        let ready = |one: &&Shard| {
            one.group == master.group
                && one.role == ShardRole::Slave
                && one.synced
                && bdb.parent_group(one).is_none()
                && self.nodes.get(&one.node).is_some_and(|node| node.is_up())
        };
        let Some(replica) = bdb.shards.iter().find(ready).map(|one| one.uid) else {
            return Err(Refusal::new(409, "db_busy", format!("shard {shard} has no replica that could take over")));
        };
        self.bdb_mut(uid)?.swap_roles(shard, replica);
        self.rebind_endpoints();
        self.event(ctx, "bdb_failover", json!({"bdb_uid": uid.to_string(), "shard_uid": shard.to_string()}));
        let action = self.begin(ctx, ActionKind::Task, "failover_shard", format!("bdb:{uid}"));
        self.end(ctx, &action, None);
        Ok(json!({"action_uid": action, "description": "Fail-over of the shards"}))
    }

    /// Lets replicas take over from masters on a node that went down.
    pub(super) fn promote_replicas_of(&mut self, node: u32) {
        let up = |uid: u32| self.nodes.get(&uid).is_some_and(|node| node.is_up());
        let pairs: Vec<(u32, u32, u32)> = self
            .bdbs
            .values()
            .filter(|bdb| bdb.runs())
            .flat_map(|bdb| {
                let masters = bdb.shards.iter().filter(|shard| shard.node == node && shard.role == ShardRole::Master);
                masters.filter_map(|master| {
                    let ready = |one: &&Shard| {
                        one.group == master.group
                            && one.role == ShardRole::Slave
                            && one.synced
                            && bdb.parent_group(one).is_none()
                            && up(one.node)
                    };
                    bdb.shards.iter().find(ready).map(|replica| (bdb.uid, master.uid, replica.uid))
                })
            })
            .collect();
        for (bdb, master, replica) in pairs {
            if let Some(bdb) = self.bdbs.get_mut(&bdb) {
                bdb.swap_roles(master, replica);
            }
        }
    }
}
