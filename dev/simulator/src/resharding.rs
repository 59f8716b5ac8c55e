//! When a resharding goes on to its next stage (REST reference, 16.9). Pure, like [`crate::conductor`], of which it is a part.

use crate::{
    clock::Millis,
    conductor::{Fate, View, fresh},
    peers::ShardReport,
    state::{
        Bdb, ClusterState, NodeRecord, Shard, ShardRole,
        bdbs::BdbCommand,
        reshard::{Reshard, Stage},
    },
};

/// Clients are held no longer than this before the swap; then the resharding takes a new run-up.
const LONGEST_HOLD_MS: Millis = 5_000;

/// The step that is due.
pub(crate) fn step(
    state: &ClusterState,
    view: &View<'_>,
    fate: &impl Fate,
    bdb: &Bdb,
    reshard: &Reshard,
) -> Option<BdbCommand> {
    let uid = bdb.uid;
    let to = |stage: Stage| Some(BdbCommand::Reshard { uid, stage: Some(stage) });
    let up = |node: u32| state.nodes.get(&node).is_some_and(NodeRecord::is_up);
    let report = |shard: &Shard| fresh(view, shard.node)?.shards.get(&shard.uid);
    // What the process itself says after it was told the newest.
    let current = |shard: &Shard| report(shard).filter(|one| one.running && one.version == bdb.version);
    let incoming = || bdb.shards.iter().filter(|shard| bdb.parent_group(shard).is_some());
    let masters = || bdb.shards.iter().filter(|shard| shard.role == ShardRole::Master);
    if let Some(lost) = incoming().find(|shard| !up(shard.node)) {
        let error = format!("node {} went down, on which shard {} was being made", lost.node, lost.uid);
        return Some(BdbCommand::Fail { uid, error });
    }
    if reshard.stage == Stage::Copy {
        let copied = |shard: &Shard| {
            shard.synced && current(shard).is_some_and(|one: &ShardReport| one.link_up && one.persisted)
        };
        if !incoming().all(copied) || !masters().all(|shard| up(shard.node) && current(shard).is_some()) {
            return None;
        }
        return match fate.of(false)? {
            Ok(()) => to(Stage::Hold),
            Err(error) => Some(BdbCommand::Fail { uid, error }),
        };
    }
    if matches!(reshard.stage, Stage::Hold | Stage::Drain) {
        let broken = incoming().any(|shard| !shard.synced) || masters().any(|shard| !up(shard.node));
        if broken || view.now > reshard.since + LONGEST_HOLD_MS {
            return to(Stage::Copy);
        }
    }
    match reshard.stage {
        Stage::Copy => None,
        Stage::Hold => {
            let held = |node: &u32| {
                fresh(view, *node)
                    .and_then(|report| report.endpoints.get(&uid))
                    .is_some_and(|endpoint| endpoint.held == Some(reshard.hold))
            };
            (bdb.traffic_stopped || bdb.endpoint.nodes.iter().all(held)).then(|| to(Stage::Drain))?
        }
        Stage::Drain => {
            // The parent's report is of this stage, so nothing was written after it.
            let caught_up = |shard: &Shard| {
                let parent = bdb.parent_group(shard).and_then(|group| bdb.master(group)).and_then(current);
                let (Some(own), Some(parent)) = (current(shard), parent) else { return false };
                own.link_up && own.offset >= parent.offset
            };
            incoming().all(caught_up).then(|| to(Stage::Cut))?
        }
        Stage::Cut => {
            let promoted = |shard: &Shard| {
                !up(shard.node) || current(shard).is_some_and(|one| one.role == Some(ShardRole::Master))
            };
            masters().all(promoted).then(|| to(Stage::Trim))?
        }
        Stage::Trim => {
            let trimmed =
                |shard: &Shard| current(shard).is_some_and(|one| one.role == Some(ShardRole::Master) && !one.trimming);
            masters().all(trimmed).then_some(BdbCommand::Reshard { uid, stage: None })
        }
    }
}
