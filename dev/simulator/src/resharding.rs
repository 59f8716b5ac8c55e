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

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        time::Duration,
    };

    use serde_json::json;

    use super::*;
    use crate::{
        conductor::decide,
        peers::{EndpointReport, NodeReport},
        state::{Certificate, Command, Context, Founding, object},
    };

    struct Well;

    impl Fate for Well {
        fn of(&self, _: bool) -> Option<Result<(), String>> {
            Some(Ok(()))
        }

        fn stuck(&self) -> bool {
            false
        }

        fn no_room(&self) -> bool {
            false
        }
    }

    const CTX: Context = Context { now: 1_000_000, scale: 0.0, seed: 1 };

    /// One node, and a database that grows from one shard to two.
    fn growing() -> ClusterState {
        let identity = crate::bootstrap::Identity {
            uid: None,
            external_addr: Vec::new(),
            rack_id: String::new(),
            accept_servers: true,
            max_redis_servers: 100,
            max_listeners: 100,
        };
        let founding = Founding {
            name: "c".into(),
            username: "u".into(),
            password: "p".into(),
            license: None,
            entropy: "e".into(),
            certificate: Certificate { certificate: String::new(), key: None },
            node: NodeRecord::new("10.0.0.1", "rec-0", 4 << 30, 2, "7.0.15", &identity),
        };
        let mut state = ClusterState::found(founding, &CTX).unwrap();
        let body = object(json!({"name": "db", "memory_size": 1 << 20}));
        state.apply(Command::Bdb(BdbCommand::Create { body }), &CTX).unwrap();
        state.apply(Command::Bdb(BdbCommand::Finish { uid: 1 }), &CTX).unwrap();
        let patch = object(json!({"shards_count": 2, "sharding": true, "shard_key_regex": [{"regex": "(.*)"}]}));
        state.apply(Command::Bdb(BdbCommand::Update { uid: 1, patch, flush: false }), &CTX).unwrap();
        state
    }

    /// All shards run and carry out the newest; then what the test changes.
    fn decided(state: &ClusterState, change: impl Fn(&mut NodeReport)) -> Vec<String> {
        let bdb = &state.bdbs[&1];
        let shard = |shard: &Shard| ShardReport {
            running: true,
            version: bdb.version,
            role: Some(shard.role),
            link_up: shard.role == ShardRole::Slave,
            offset: 100,
            persisted: true,
            ..ShardReport::default()
        };
        let mut report = NodeReport {
            addr: "10.0.0.1".into(),
            hostname: "rec-0".into(),
            software_version: state.nodes[&1].software_version.clone(),
            shards: bdb.shards.iter().map(|one| (one.uid, shard(one))).collect(),
            endpoints: BTreeMap::from([(1, EndpointReport { bound: true, ..EndpointReport::default() })]),
            ..NodeReport::default()
        };
        change(&mut report);
        let view = View {
            now: CTX.now,
            own: 1,
            reports: &BTreeMap::from([(1, (Duration::ZERO, report))]),
            caught_up: &BTreeSet::new(),
            down_after: Duration::from_secs(2),
            leading_for: Duration::from_secs(60),
        };
        decide(state, &view, &Well).iter().map(|command| format!("{command:?}")).collect()
    }

    fn to(stage: &str) -> Vec<String> {
        vec![format!("Bdb(Reshard {{ uid: 1, stage: {stage} }})")]
    }

    #[test]
    fn no_stage_begins_before_the_one_before_it_is_carried_out() {
        let mut state = growing();
        let child = state.bdbs[&1].shards[1].uid;
        let go = |state: &mut ClusterState, stage: Option<Stage>| {
            state.apply(Command::Bdb(BdbCommand::Reshard { uid: 1, stage }), &CTX).unwrap();
        };
        assert!(decided(&state, |report| report.shards.get_mut(&child).unwrap().link_up = false).is_empty());
        state.apply(Command::Bdb(BdbCommand::Synced { shard: child, synced: true }), &CTX).unwrap();
        assert!(decided(&state, |report| report.shards.get_mut(&child).unwrap().persisted = false).is_empty());
        assert_eq!(decided(&state, |_| {}), to("Some(Hold)"));

        go(&mut state, Some(Stage::Hold));
        let hold = state.bdbs[&1].reshard.clone().unwrap().hold;
        let held = |by: u64| move |report: &mut NodeReport| report.endpoints.get_mut(&1).unwrap().held = Some(by);
        assert!(decided(&state, |_| {}).is_empty(), "a proxy still lets commands through");
        assert!(decided(&state, held(hold - 1)).is_empty(), "an earlier hold does not count");
        assert_eq!(decided(&state, held(hold)), to("Some(Drain)"));

        go(&mut state, Some(Stage::Drain));
        let child_at =
            |offset: u64| move |report: &mut NodeReport| report.shards.get_mut(&child).unwrap().offset = offset;
        assert!(decided(&state, child_at(99)).is_empty(), "the copy lacks the last write");
        let stale = |report: &mut NodeReport| report.shards.values_mut().for_each(|shard| shard.version -= 1);
        assert!(decided(&state, stale).is_empty(), "offsets from before the drain say nothing");
        assert_eq!(decided(&state, child_at(100)), to("Some(Cut)"));
        let mut lost = state.clone();
        lost.apply(Command::Bdb(BdbCommand::Synced { shard: child, synced: false }), &CTX).unwrap();
        assert!(decided(&lost, |_| {}).contains(&to("Some(Copy)")[0]), "a copy that was lost is made again");

        go(&mut state, Some(Stage::Cut));
        let slots: Vec<_> = state.bdbs[&1].shards.iter().map(|shard| (shard.role, shard.slots)).collect();
        assert_eq!(slots, [(ShardRole::Master, (0, 8191)), (ShardRole::Master, (8192, 16383))]);
        let still_copy = |report: &mut NodeReport| report.shards.get_mut(&child).unwrap().role = Some(ShardRole::Slave);
        assert!(decided(&state, still_copy).is_empty(), "it would refuse writes");
        assert_eq!(decided(&state, |_| {}), to("Some(Trim)"));

        go(&mut state, Some(Stage::Trim));
        let trimming = |report: &mut NodeReport| report.shards.get_mut(&child).unwrap().trimming = true;
        assert!(decided(&state, trimming).is_empty());
        assert_eq!(decided(&state, |_| {}), to("None"));
        go(&mut state, None);
        assert_eq!(decided(&state, |_| {}), ["Bdb(Finish { uid: 1 })"]);
    }
}
