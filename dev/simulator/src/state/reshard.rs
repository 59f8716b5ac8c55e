//! Resharding upwards (REST reference, 6.9 and 16.9): what the stages of it mean for the shards of a database.
//!
//! The new shards copy the whole of their parent as its replicas, proxies hold their clients for a moment, the slot map
//! is swapped, and what is foreign to a shard is trimmed. When which stage is reached is decided in
//! [`crate::resharding`]. Not shown: the product copies only the slots that move.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bdb, ClusterState, Context, Refusal, Shard, ShardRole, placement::Wish};
use crate::{clock::Millis, slots};

/// How far a resharding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// New shards copy their parents. Clients notice nothing.
    Copy,
    /// Proxies let commands under way end and begin no more.
    Hold,
    /// Nothing is written any more: new shards take in the rest.
    Drain,
    /// New shards are masters and the slot map is the new one; clients are still held.
    Cut,
    /// Clients go on; each shard removes what is foreign to it.
    Trim,
}

/// A resharding under way. The database's `shards_count` is already the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshard {
    /// How many shard groups there were.
    pub from: u32,
    /// How far it is.
    pub stage: Stage,
    /// Names the hold that is in force, so that a proxy's report of an earlier one is not taken for it.
    pub hold: u64,
    /// When the stage began.
    pub since: Millis,
    /// The shards that it brings. As many groups as before means that they take the places of the old ones.
    pub incoming: Vec<u32>,
}

impl Reshard {
    /// Whether the old slot map is in force.
    pub fn before_cut(&self) -> bool {
        matches!(self.stage, Stage::Copy | Stage::Hold | Stage::Drain)
    }

    /// The hold that proxies keep now.
    pub fn held(&self) -> Option<u64> {
        matches!(self.stage, Stage::Hold | Stage::Drain | Stage::Cut).then_some(self.hold)
    }
}

impl Bdb {
    /// How many groups come of one.
    fn factor(&self, reshard: &Reshard) -> u32 {
        (self.groups() / reshard.from.max(1)).max(1)
    }

    /// The group whose data a shard copies, if it is one that resharding brings and that has not taken over its slots yet.
    pub fn parent_group(&self, shard: &Shard) -> Option<u32> {
        let reshard = self.reshard.as_ref().filter(|reshard| reshard.before_cut())?;
        let own = reshard.incoming.contains(&shard.uid);
        own.then(|| shard.group - shard.group % self.factor(reshard))
    }

    /// Where a shard gets its data from; `None` for masters.
    pub fn source_of(&self, shard: &Shard) -> Option<&Shard> {
        if shard.role == ShardRole::Master {
            return None;
        }
        match self.parent_group(shard) {
            Some(parent) => {
                let head = self.head_of(shard.group)?;
                if head.uid == shard.uid { self.master(parent) } else { Some(head) }
            }
            None => self.master(shard.group),
        }
    }

    /// The first of the shards that a resharding brings to a group: the master to be.
    fn head_of(&self, group: u32) -> Option<&Shard> {
        self.shards.iter().find(|one| one.group == group && self.parent_group(one).is_some())
    }

    /// `maxmemory` that a shard's process has now: while a resharding goes on, each may hold what its parent held.
    pub fn shard_limit(&self) -> u64 {
        match &self.reshard {
            Some(reshard) => self.shard_memory() * u64::from(self.factor(reshard)),
            None => self.shard_memory(),
        }
    }

    /// Takes back a resharding of which clients have seen nothing; one that is further goes on.
    pub(super) fn undo_reshard(&mut self) {
        let Some(reshard) = self.reshard.clone().filter(Reshard::before_cut) else { return };
        let factor = self.factor(&reshard);
        self.shards.retain(|shard| !reshard.incoming.contains(&shard.uid));
        self.shards.iter_mut().for_each(|shard| shard.group /= factor);
        self.reshard = None;
        self.version += 1;
        if let Some(old) = self.rollback.take() {
            (self.config, self.passwords) = (old.config, old.passwords);
            if !self.replication() {
                self.shards.retain(|shard| shard.role == ShardRole::Master);
            }
        }
    }
}

impl ClusterState {
    /// Adds the shards that `shards_count` asks for. The database is not in the state now.
    pub(super) fn begin_reshard(&mut self, bdb: &mut Bdb, from: u32, ctx: &Context) -> Result<(), Refusal> {
        let mut reshard = Reshard { from, stage: Stage::Copy, hold: 0, since: ctx.now, incoming: Vec::new() };
        let factor = bdb.factor(&reshard);
        bdb.shards.iter_mut().for_each(|shard| shard.group *= factor);
        let more = bdb.groups() - from;
        self.license_has_room(bdb.shards.len() + more as usize * if bdb.replication() { 2 } else { 1 })?;
        // In the state while room is looked for, so that its present shards count.
        self.bdbs.insert(bdb.uid, bdb.clone());
        let placed = self.place(&Wish {
            groups: more,
            replication: bdb.replication(),
            shard_memory: bdb.shard_memory(),
            dense: bdb.text("shards_placement") != "sparse",
            rack_aware: bdb.flag("rack_aware"),
            use_nodes: &[],
            avoid_nodes: &[],
        });
        let new_groups = (0..bdb.groups()).filter(|group| !group.is_multiple_of(factor));
        for (group, (head, replica)) in new_groups.zip(placed?) {
            for node in [Some(head), replica].into_iter().flatten() {
                let shard = self.new_shard(node, ShardRole::Slave, group, bdb.groups());
                reshard.incoming.push(shard.uid);
                bdb.shards.push(shard);
            }
        }
        self.bdbs.remove(&bdb.uid);
        bdb.reshard = Some(reshard);
        Ok(())
    }

    /// Goes on to a stage, or with `None` ends the resharding.
    pub(super) fn reshard_to(&mut self, uid: u32, stage: Option<Stage>, ctx: &Context) -> Result<Value, Refusal> {
        let bdb = self.bdb_mut(uid)?;
        let Some(mut reshard) = bdb.reshard.clone() else { return Ok(Value::Null) };
        bdb.version += 1;
        let groups = bdb.groups();
        let progress = match stage {
            Some(Stage::Copy) => 10,
            Some(Stage::Hold | Stage::Drain) => 35,
            Some(Stage::Cut) => 50,
            Some(Stage::Trim) => 60,
            None => 80,
        };
        if stage == Some(Stage::Hold) {
            reshard.hold = bdb.version;
        }
        if stage == Some(Stage::Cut) {
            let heads: Vec<u32> = (0..groups).filter_map(|group| bdb.head_of(group)).map(|head| head.uid).collect();
            if reshard.from == groups {
                bdb.shards.retain(|shard| reshard.incoming.contains(&shard.uid));
            }
            for shard in &mut bdb.shards {
                shard.slots = slots::range(shard.group, groups);
                if heads.contains(&shard.uid) {
                    (shard.role, shard.synced) = (ShardRole::Master, false);
                }
            }
            // From here on there is no way back.
            bdb.rollback = None;
        }
        bdb.reshard = stage.map(|stage| Reshard { stage, since: ctx.now, ..reshard });
        let action = bdb.action.clone();
        if let Some(action) = self.actions.iter_mut().find(|one| Some(&one.uid) == action.as_ref()) {
            action.progress = progress;
        }
        if stage == Some(Stage::Cut) {
            self.rebind_endpoints();
        }
        Ok(Value::Null)
    }
}
