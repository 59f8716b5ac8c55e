//! Shards that move to another node one by one (REST reference, 8): a copy is made there, and once it is in sync it takes
//! the place of the one that goes. [`crate::conductor`] says when a step is due; here it is carried out.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ActionKind, Bdb, ClusterState, Context, NodeRecord, Refusal, ShardRole};

/// One shard on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Migration {
    /// The database.
    pub bdb: u32,
    /// The shard that goes.
    pub shard: u32,
    /// Its copy on the other node.
    pub copy: u32,
    /// Whether a master stays one, though another replica could take over.
    pub preserve_roles: bool,
    /// The task that tells of it; the shards of one request share it.
    pub action: String,
}

/// Changes to migrations.
#[derive(Debug, Clone)]
pub enum MigrationCommand {
    /// `POST /v1/shards/actions/migrate`.
    Begin {
        /// The shards that go.
        shards: Vec<u32>,
        /// Where they go.
        target: u32,
        /// Master and replica may end on one rack.
        override_rack: bool,
        /// Masters stay masters.
        preserve_roles: bool,
    },
    /// The next step of the migration of this shard.
    Step {
        /// The shard that goes.
        shard: u32,
    },
    /// It cannot be had any more.
    GiveUp {
        /// The shard that stays.
        shard: u32,
        /// Why.
        error: String,
    },
}

impl ClusterState {
    pub(super) fn apply_migration(&mut self, command: MigrationCommand, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            MigrationCommand::Begin { shards, target, override_rack, preserve_roles } => {
                self.begin_migration(&shards, target, override_rack, preserve_roles, ctx)
            }
            MigrationCommand::Step { shard } => {
                self.step_migration(shard, ctx);
                Ok(Value::Null)
            }
            MigrationCommand::GiveUp { shard, error } => {
                let Some(migration) = self.forget_migration(shard) else { return Ok(Value::Null) };
                if let Some(bdb) = self.bdbs.get_mut(&migration.bdb) {
                    let stays = bdb.shards.iter().any(|one| one.uid == shard);
                    // A copy that has become the only one is no copy any more.
                    bdb.shards.retain(|one| one.uid != migration.copy || !stays || one.role == ShardRole::Master);
                    bdb.version += 1;
                }
                self.end(ctx, &migration.action, Some(error));
                Ok(Value::Null)
            }
        }
    }

    /// Whether a shard of the database is on its way.
    pub fn migrates(&self, bdb: u32) -> bool {
        self.migrations.iter().any(|migration| migration.bdb == bdb)
    }

    fn begin_migration(
        &mut self,
        shards: &[u32],
        target: u32,
        override_rack: bool,
        preserve_roles: bool,
        ctx: &Context,
    ) -> Result<Value, Refusal> {
        let node = self.node(target)?;
        if !(node.is_up() && node.voter && node.accepts_shards()) {
            return Err(Refusal::new(409, "node_not_active", format!("node {target} takes no shards now")));
        }
        let action = self.begin(ctx, ActionKind::Task, "migrate_shard", String::new());
        let mut database = 0;
        for uid in shards {
            let mut bdb = self.bdb_of_shard(*uid)?.clone();
            database = bdb.uid;
            if bdb.busy() || self.migrates_elsewhere(bdb.uid, &action) {
                return Err(Refusal::new(409, "db_busy", format!("database {} is busy", bdb.uid)));
            }
            let Some(shard) = bdb.shards.iter().find(|shard| shard.uid == *uid).cloned() else { continue };
            self.may_move(&bdb, shard.uid, shard.group, target, override_rack)?;
            let copy = self.new_shard(target, ShardRole::Slave, shard.group, bdb.groups());
            self.migrations.push(Migration {
                bdb: bdb.uid,
                shard: *uid,
                copy: copy.uid,
                preserve_roles,
                action: action.clone(),
            });
            bdb.shards.push(copy);
            bdb.version += 1;
            self.bdbs.insert(bdb.uid, bdb);
        }
        if let Some(task) = self.actions.iter_mut().find(|one| one.uid == action) {
            task.object = format!("bdb:{database}");
        }
        Ok(json!({"action_uid": action, "description": format!("Migration of the shards to node {target}")}))
    }

    fn migrates_elsewhere(&self, bdb: u32, action: &str) -> bool {
        self.migrations.iter().any(|migration| migration.bdb == bdb && migration.action != action)
    }

    fn may_move(&self, bdb: &Bdb, uid: u32, group: u32, target: u32, override_rack: bool) -> Result<(), Refusal> {
        let node = self.node(target)?;
        let family: Vec<u32> = bdb.shards.iter().filter(|shard| shard.group == group).map(|shard| shard.node).collect();
        if family.contains(&target) {
            let why = format!("node {target} holds this shard, its master or its replica already");
            return Err(Refusal::new(409, "invalid_target_node", why));
        }
        let others = bdb.shards.iter().filter(|shard| shard.group == group && shard.uid != uid);
        let mut racks = others.filter_map(|shard| self.nodes.get(&shard.node)).map(|other| &other.rack_id);
        if bdb.flag("rack_aware") && !override_rack && racks.any(|rack| *rack == node.rack_id) {
            let why = format!("node {target} is on the rack of the other copy");
            return Err(Refusal::new(409, "rack_awareness_violation", why));
        }
        if self.free_provisional(node) < bdb.shard_memory() {
            return Err(Refusal::new(
                409,
                "insufficient_resources",
                format!("node {target} has no room for the shard"),
            ));
        }
        Ok(())
    }

    /// A master first hands over to the copy, or to a replica that it has; then the shard goes.
    fn step_migration(&mut self, shard: u32, ctx: &Context) {
        let Some(migration) = self.migrations.iter().find(|one| one.shard == shard).cloned() else { return };
        let Some(mut bdb) = self.bdbs.remove(&migration.bdb) else { return };
        let old = bdb.shards.iter().find(|one| one.uid == shard).cloned();
        match old {
            Some(old) if old.role == ShardRole::Master => {
                let up = |node: u32| self.nodes.get(&node).is_some_and(NodeRecord::is_up);
                let takes_over = |one: &&super::Shard| {
                    one.group == old.group && one.role == ShardRole::Slave && one.synced && up(one.node)
                };
                let mut heirs: Vec<u32> = bdb.shards.iter().filter(takes_over).map(|one| one.uid).collect();
                // The copy, or rather not the copy.
                heirs.sort_by_key(|uid| (*uid == migration.copy) != migration.preserve_roles);
                if let Some(heir) = heirs.first() {
                    bdb.swap_roles(shard, *heir);
                }
                self.bdbs.insert(bdb.uid, bdb);
            }
            _ => {
                bdb.shards.retain(|one| one.uid != shard);
                bdb.version += 1;
                self.bdbs.insert(bdb.uid, bdb);
                self.forget_migration(shard);
                if !self.migrations.iter().any(|one| one.action == migration.action) {
                    self.end(ctx, &migration.action, None);
                }
            }
        }
        self.rebind_endpoints();
    }

    fn forget_migration(&mut self, shard: u32) -> Option<Migration> {
        let index = self.migrations.iter().position(|one| one.shard == shard)?;
        Some(self.migrations.remove(index))
    }
}
