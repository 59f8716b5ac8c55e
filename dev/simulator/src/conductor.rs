//! What the master node does of itself: notices nodes that are gone, lets replicas take over, ends state machines.
//!
//! [`decide`] is pure: it is given the state and what the nodes report, and returns commands. It is asked again and
//! again, so it remembers nothing, and a new master goes on where the old one stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tracing::{debug, warn};

use crate::{
    clock::Millis,
    faults::Kind,
    node::Node,
    peers::{self, NodeReport},
    resharding,
    state::{
        BdbStatus, ClusterState, Command, NodeRecord, NodeStatus, ShardRole, bdbs::BdbCommand, crdb::CrdbCommand,
        migration::MigrationCommand, nodes::NodeCommand,
    },
    transferring,
};

/// How often the master looks around.
const LOOK: Duration = Duration::from_millis(60);

/// What the master sees.
pub struct View<'a> {
    /// The time.
    pub now: Millis,
    /// The master itself.
    pub own: u32,
    /// How long ago each node was heard of, and its report.
    pub reports: &'a BTreeMap<u32, (Duration, NodeReport)>,
    /// Nodes that have the newest state on disk.
    pub caught_up: &'a BTreeSet<u32>,
    /// A node not heard of for so long is down.
    pub down_after: Duration,
    /// For how long this node has been master: it must have had time to hear of the others.
    pub leading_for: Duration,
}

/// Faults that bear on state machines, asked when one would end.
pub trait Fate {
    /// What becomes of a state machine about to end: `None` = nothing, it is stuck; an error = it fails.
    fn of(&self, creating: bool) -> Option<Result<(), String>>;

    /// Whether tasks, such as the removal of a node, stand still.
    fn stuck(&self) -> bool;

    /// Whether the shards of a node that is to go fit nowhere else.
    fn no_room(&self) -> bool;
}

/// The commands that are due.
pub fn decide(state: &ClusterState, view: &View<'_>, fate: &impl Fate) -> Vec<Command> {
    let mut commands = Vec::new();
    watch_nodes(state, view, &mut commands);
    for bdb in state.bdbs.values() {
        watch_shards(state, view, bdb, &mut commands);
        watch_bdb(state, view, fate, bdb, &mut commands);
        commands.extend(transferring::step(view, bdb).map(Command::Bdb));
    }
    watch_migrations(state, view, fate, &mut commands);
    watch_crdbs(state, &mut commands);
    if !fate.stuck() {
        watch_departures(state, view, fate, &mut commands);
    }
    commands
}

fn watch_nodes(state: &ClusterState, view: &View<'_>, commands: &mut Vec<Command>) {
    let mut promoted = false;
    for node in state.nodes.values().filter(|node| node.uid != view.own) {
        let uid = node.uid;
        let fresh = view.reports.get(&uid).filter(|(ago, _)| *ago < view.down_after);
        let Some((_, report)) = fresh else {
            if node.is_up() && node.voter && view.leading_for > view.down_after {
                commands.push(Command::Node(NodeCommand::Down { uid }));
            }
            continue;
        };
        if (&report.addr, &report.hostname, &report.software_version)
            != (&node.addr, &node.hostname, &node.software_version)
        {
            commands.push(Command::Node(NodeCommand::Announce {
                uid,
                addr: report.addr.clone(),
                hostname: report.hostname.clone(),
                software_version: report.software_version.clone(),
            }));
        }
        if !node.voter {
            // One at a time, and only one that has everything.
            if !promoted && view.caught_up.contains(&uid) {
                promoted = true;
                commands.push(Command::Node(NodeCommand::Promote { uid }));
            }
        } else if node.status == NodeStatus::Down {
            commands.push(Command::Node(NodeCommand::Up { uid }));
        }
    }
    // The master's own address and version may have changed with its pod.
    if let (Some(node), Some((_, report))) = (state.nodes.get(&view.own), view.reports.get(&view.own)) {
        if (&report.addr, &report.hostname, &report.software_version)
            != (&node.addr, &node.hostname, &node.software_version)
        {
            commands.push(Command::Node(NodeCommand::Announce {
                uid: node.uid,
                addr: report.addr.clone(),
                hostname: report.hostname.clone(),
                software_version: report.software_version.clone(),
            }));
        }
        if node.status == NodeStatus::Down {
            commands.push(Command::Node(NodeCommand::Up { uid: node.uid }));
        }
    }
}

pub(crate) fn fresh<'a>(view: &View<'a>, node: u32) -> Option<&'a NodeReport> {
    view.reports.get(&node).filter(|(ago, _)| *ago < view.down_after).map(|(_, report)| report)
}

fn watch_shards(state: &ClusterState, view: &View<'_>, bdb: &crate::state::Bdb, commands: &mut Vec<Command>) {
    if !bdb.runs() {
        return;
    }
    for shard in &bdb.shards {
        let Some(report) = fresh(view, shard.node).and_then(|report| report.shards.get(&shard.uid)) else { continue };
        if let Some(token) = report.wants.as_ref().filter(|token| shard.start.as_ref() != Some(token)) {
            let heir = bdb.shards.iter().find(|other| {
                other.group == shard.group
                    && other.role == ShardRole::Slave
                    && other.synced
                    && bdb.parent_group(other).is_none()
                    && state.nodes.get(&other.node).is_some_and(NodeRecord::is_up)
                    && fresh(view, other.node)
                        .and_then(|report| report.shards.get(&other.uid))
                        .is_some_and(|one| one.running)
            });
            if shard.role == ShardRole::Master && heir.is_some() {
                commands.push(Command::Bdb(BdbCommand::Failover { shard: shard.uid, track: false }));
            } else {
                commands.push(Command::Bdb(BdbCommand::Start { shard: shard.uid, token: token.clone() }));
            }
            continue;
        }
        let follows =
            report.running && report.role == Some(ShardRole::Slave) && report.version == bdb.version && report.link_up;
        if shard.role == ShardRole::Slave && follows && !shard.synced {
            commands.push(Command::Bdb(BdbCommand::Synced { shard: shard.uid, synced: true }));
        }
    }
}

fn watch_bdb(
    state: &ClusterState,
    view: &View<'_>,
    fate: &impl Fate,
    bdb: &crate::state::Bdb,
    commands: &mut Vec<Command>,
) {
    let uid = bdb.uid;
    if !bdb.busy() || view.now < bdb.due || bdb.status == BdbStatus::ImportPending {
        return;
    }
    let up = |node: u32| state.nodes.get(&node).is_some_and(NodeRecord::is_up);
    if bdb.status == BdbStatus::DeletePending {
        let runs_somewhere = bdb.shards.iter().any(|shard| {
            up(shard.node) && fresh(view, shard.node).is_none_or(|report| report.shards.contains_key(&shard.uid))
        });
        if !runs_somewhere {
            commands.push(Command::Bdb(BdbCommand::Forget { uid }));
        }
        return;
    }
    if let Some(reshard) = &bdb.reshard {
        commands.extend(resharding::step(state, view, fate, bdb, reshard).map(Command::Bdb));
        return;
    }
    let creating = bdb.status == BdbStatus::Pending;
    let shards_ready = bdb.shards.iter().all(|shard| {
        // A replica on a dead node is not waited for; a master is, since without it nothing works.
        let waited_for = up(shard.node) || shard.role == ShardRole::Master;
        let carried_out =
            fresh(view, shard.node).and_then(|report| report.shards.get(&shard.uid)).is_some_and(|report| {
                report.running && report.version == bdb.version && (shard.role == ShardRole::Master || shard.synced)
            });
        !waited_for || carried_out
    });
    let mut endpoints_ready = true;
    for node in &bdb.endpoint.nodes {
        let endpoint = fresh(view, *node).and_then(|report| report.endpoints.get(&uid));
        if let Some(error) = endpoint.and_then(|endpoint| endpoint.error.clone()).filter(|_| creating) {
            commands.push(Command::Bdb(BdbCommand::Fail { uid, error: format!("port_unavailable: {error}") }));
            return;
        }
        endpoints_ready &= bdb.traffic_stopped || !up(*node) || endpoint.is_some_and(|endpoint| endpoint.bound);
    }
    if shards_ready && endpoints_ready {
        match fate.of(creating) {
            Some(Ok(())) => commands.push(Command::Bdb(BdbCommand::Finish { uid })),
            Some(Err(error)) => commands.push(Command::Bdb(BdbCommand::Fail { uid, error })),
            None => {}
        }
    }
}

fn watch_departures(state: &ClusterState, view: &View<'_>, fate: &impl Fate, commands: &mut Vec<Command>) {
    for node in state.nodes.values().filter(|node| node.action.is_some()) {
        let uid = node.uid;
        let leaves = node.maintenance.is_none();
        if leaves && fate.no_room() {
            let error = "insufficient_resources".to_owned();
            commands.push(Command::Node(NodeCommand::Abandon { uid, error, cancelled: false }));
            continue;
        }
        let here = || state.bdbs.values().flat_map(|bdb| &bdb.shards).filter(|shard| shard.node == uid);
        // Maintenance leaves replicas where they are (REST reference, 5.3).
        let occupied =
            if leaves { here().count() } else { here().filter(|shard| shard.role == ShardRole::Master).count() };
        if occupied > 0 {
            commands.push(Command::Node(NodeCommand::Drain { uid }));
        } else if !leaves {
            commands.push(Command::Node(NodeCommand::MaintenanceReached { uid }));
        } else if uid != view.own && fresh(view, uid).is_none_or(|report| report.shards.is_empty()) {
            commands.push(Command::Node(NodeCommand::Forget { uid }));
        }
    }
}

/// What was agreed on with other clusters is carried out when nothing else works on the database.
fn watch_crdbs(state: &ClusterState, commands: &mut Vec<Command>) {
    for (guid, crdb) in &state.crdbs {
        let free =
            state.bdbs.get(&crdb.bdb).is_some_and(|bdb| bdb.status == BdbStatus::Active && bdb.transfer.is_none());
        if free && crdb.agreed.version > crdb.carried && !state.migrates(crdb.bdb) {
            commands.push(Command::Crdb(CrdbCommand::Carry { guid: guid.clone() }));
        }
    }
}

/// A shard that moves takes its next step when its copy has caught up, or has taken over.
fn watch_migrations(state: &ClusterState, view: &View<'_>, fate: &impl Fate, commands: &mut Vec<Command>) {
    for migration in &state.migrations {
        let bdb = state.bdbs.get(&migration.bdb).filter(|bdb| bdb.runs());
        let find = |uid: u32| bdb.and_then(|bdb| bdb.shards.iter().find(|shard| shard.uid == uid));
        let shard = migration.shard;
        let (Some(bdb), Some(old), Some(copy)) = (bdb, find(shard), find(migration.copy)) else {
            let error = "the shard or its copy is gone".to_owned();
            commands.push(Command::Migration(MigrationCommand::GiveUp { shard, error }));
            continue;
        };
        if !state.nodes.get(&copy.node).is_some_and(NodeRecord::is_up) {
            let error = format!("node {} is down", copy.node);
            commands.push(Command::Migration(MigrationCommand::GiveUp { shard, error }));
            continue;
        }
        let serves = |one: &crate::state::Shard| {
            fresh(view, one.node).and_then(|report| report.shards.get(&one.uid)).is_some_and(|report| {
                report.running && report.role == Some(ShardRole::Master) && report.version == bdb.version
            })
        };
        // The shard goes only once its successor serves, so that what the proxy still sends finds somebody.
        let due = match old.role {
            ShardRole::Master => copy.synced,
            ShardRole::Slave => {
                bdb.master(old.group).is_some_and(serves) && (copy.synced || copy.role == ShardRole::Master)
            }
        };
        if due && !fate.stuck() {
            commands.push(Command::Migration(MigrationCommand::Step { shard }));
        }
    }
}

struct Faulty<'a>(&'a Node);

impl Fate for Faulty<'_> {
    fn of(&self, creating: bool) -> Option<Result<(), String>> {
        let faults = &self.0.faults;
        if faults.stands(&Kind::StuckActions) {
            return None;
        }
        let kind = if creating { Kind::FailCreation } else { Kind::FailUpdate };
        Some(if faults.strikes(&kind) { Err("failed on demand".to_owned()) } else { Ok(()) })
    }

    fn stuck(&self) -> bool {
        self.0.faults.stands(&Kind::StuckActions)
    }

    fn no_room(&self) -> bool {
        self.0.faults.stands(&Kind::NoRoom)
    }
}

/// Runs for as long as the process; does something only while this node is the master.
pub async fn run(node: Arc<Node>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(leading_for) = node.leading_for() else { continue };
        let Some(snapshot) = node.snapshot() else { continue };
        let mut commands = {
            let (reports, caught_up) = (node.observed(), node.caught_up());
            let view = View {
                now: crate::clock::now(),
                own: snapshot.uid,
                reports: &reports,
                caught_up: &caught_up,
                down_after: node.settings.down_after(),
                leading_for,
            };
            decide(&snapshot.state, &view, &Faulty(&node))
        };
        // State machines that end in the same look are one change, where all can end.
        let ends = |command: &Command| matches!(command, Command::Bdb(BdbCommand::Finish { .. }));
        let ended: Vec<Command> = commands.iter().filter(|command| ends(command)).cloned().collect();
        if ended.len() > 1 && node.propose(ended).await.is_ok() {
            commands.retain(|command| !ends(command));
        }
        let mut leaving = Vec::new();
        for command in commands {
            // Each on its own, so that one that is refused holds up no other.
            debug!(?command, "due");
            let departing = match &command {
                Command::Node(NodeCommand::Forget { uid }) => {
                    snapshot.state.nodes.get(uid).map(|node| node.addr.clone())
                }
                _ => None,
            };
            let drained = match &command {
                Command::Node(NodeCommand::Drain { uid }) => Some(*uid),
                _ => None,
            };
            match node.propose_one(command).await {
                Ok(_) => leaving.extend(departing),
                Err(refusal) => {
                    warn!(%refusal, "a step of the master was refused");
                    if let Some(uid) = drained.filter(|_| refusal.status == 406) {
                        let error = refusal.code.to_owned();
                        let _ = node
                            .propose_one(Command::Node(NodeCommand::Abandon { uid, error, cancelled: false }))
                            .await;
                    }
                }
            }
        }
        for address in leaving {
            let _ =
                peers::ask::<_, bool>(&address, "/peer/removed", &snapshot.state.incarnation, Duration::from_secs(1))
                    .await;
        }
        hand_over_if_leaving(&node, &snapshot.state, snapshot.uid).await;
    }
}

/// A master that is to be removed, and holds nothing any more, first lets another lead.
async fn hand_over_if_leaving(node: &Arc<Node>, state: &ClusterState, own: u32) {
    let leaving = state.nodes.get(&own).is_some_and(|node| node.status == NodeStatus::Decommissioning);
    let empty = state.bdbs.values().flat_map(|bdb| &bdb.shards).all(|shard| shard.node != own);
    if leaving && empty {
        let heir = state.nodes.values().find(|node| node.uid != own && node.voter && node.status == NodeStatus::Active);
        if let Some(heir) = heir {
            hand_over(node, &heir.addr.clone()).await;
        }
    }
}

/// Hands the mastership to the node at `address`.
pub async fn hand_over(node: &Arc<Node>, address: &str) {
    node.abdicate();
    if let Err(error) = peers::ask::<_, bool>(address, "/peer/take-over", &true, Duration::from_secs(3)).await {
        warn!(%error, "failed to hand the mastership over");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        peers::ShardReport,
        state::{Context, ShardRole, object, testing},
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

    /// Two nodes and a database with a replica in sync.
    fn replicated() -> ClusterState {
        let mut state = testing::two_nodes();
        let body = object(json!({"name": "db", "memory_size": 1 << 20, "replication": true}));
        state.apply(Command::Bdb(BdbCommand::Create { body }), &CTX).unwrap();
        let replica = state.bdbs[&1].shards.iter().find(|shard| shard.role == ShardRole::Slave).unwrap().uid;
        state.apply(Command::Bdb(BdbCommand::Synced { shard: replica, synced: true }), &CTX).unwrap();
        state.apply(Command::Bdb(BdbCommand::Finish { uid: 1 }), &CTX).unwrap();
        state
    }

    fn reports(state: &ClusterState) -> BTreeMap<u32, (Duration, NodeReport)> {
        let node = |node: &NodeRecord| {
            let shards = state.bdbs.values().flat_map(|bdb| &bdb.shards).filter(|shard| shard.node == node.uid);
            let report = |shard: &crate::state::Shard| ShardReport {
                running: true,
                wants: None,
                version: 1,
                role: Some(shard.role),
                link_up: shard.role == ShardRole::Slave,
                ..ShardReport::default()
            };
            NodeReport {
                addr: node.addr.clone(),
                hostname: node.hostname.clone(),
                software_version: node.software_version.clone(),
                shards: shards.map(|shard| (shard.uid, report(shard))).collect(),
                ..NodeReport::default()
            }
        };
        state.nodes.values().map(|one| (one.uid, (Duration::ZERO, node(one)))).collect()
    }

    fn decided(state: &ClusterState, reports: &BTreeMap<u32, (Duration, NodeReport)>, leading: u64) -> Vec<String> {
        let view = View {
            now: CTX.now,
            own: 1,
            reports,
            caught_up: &BTreeSet::new(),
            down_after: Duration::from_secs(2),
            leading_for: Duration::from_secs(leading),
        };
        decide(state, &view, &Well).iter().map(|command| format!("{command:?}")).collect()
    }

    #[test]
    fn at_rest_nothing_is_decided() {
        let state = replicated();
        assert_eq!(decided(&state, &reports(&state), 60), Vec::<String>::new());
    }

    #[test]
    fn a_silent_node_is_down_but_not_before_the_master_had_time_to_listen() {
        let state = replicated();
        let mut reports = reports(&state);
        reports.remove(&2);
        assert!(decided(&state, &reports, 1).is_empty());
        assert_eq!(decided(&state, &reports, 60), ["Node(Down { uid: 2 })"]);
    }

    #[test]
    fn a_dead_master_shard_is_replaced_if_its_replica_lives_and_restarted_if_not() {
        let mut state = replicated();
        let master = state.bdbs[&1].master(0).unwrap().clone();
        let mut reports = reports(&state);
        let report = reports.get_mut(&master.node).unwrap().1.shards.get_mut(&master.uid).unwrap();
        (report.running, report.wants) = (false, Some("boot-1".into()));
        assert_eq!(decided(&state, &reports, 60), [format!("Bdb(Failover {{ shard: {}, track: false }})", master.uid)]);
        let replica = state.bdbs[&1].shards.iter().find(|shard| shard.role == ShardRole::Slave).unwrap().uid;
        state.apply(Command::Bdb(BdbCommand::Synced { shard: replica, synced: false }), &CTX).unwrap();
        let all = decided(&state, &reports, 60);
        assert_eq!(
            all[0],
            format!("Bdb(Start {{ shard: {}, token: \"boot-1\" }})", master.uid),
            "an unsynced replica is no heir"
        );
    }

    #[test]
    fn the_replica_takes_over_when_its_masters_node_goes_down() {
        let mut state = replicated();
        let before = state.bdbs[&1].master(0).unwrap().clone();
        state.apply(Command::Node(NodeCommand::Down { uid: before.node }), &CTX).unwrap();
        let after = state.bdbs[&1].master(0).unwrap();
        assert_ne!(after.node, before.node);
        assert_eq!(state.bdbs[&1].endpoint.nodes, [after.node], "the endpoint follows");
    }
}
