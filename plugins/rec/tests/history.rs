//! A cluster through random histories: pods come and go, volumes are lost, the operator is killed between two effects.
//! Whatever happens, there are never two clusters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use proptest::prelude::*;
use serde_json::{Value, json};
use stepwright_sdk::testing::readable;
use world::{BEFORE, BORN, World, credentials, ip, statefulset};

const NODES: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Happening {
    PodAppears(usize),
    PodGoes(usize),
    Silence(usize),
    Answers(usize),
    VolumeLost(usize),
    BootstrapEnds(usize),
    Pass,
    /// The operator is killed after the calls of a pass, before its status.
    PassKilled,
}

#[derive(Debug, Clone, Default)]
struct Node {
    pod: bool,
    silent: bool,
    /// Which cluster its volume belongs to.
    cluster: Option<u32>,
    /// What it is about to become a member of.
    joining: Option<u32>,
    claim: Option<&'static str>,
}

#[derive(Debug, Default)]
struct History {
    nodes: [Node; NODES],
    status: Value,
    clusters: u32,
}

impl History {
    fn world(&self, round: u32) -> World {
        let mut world =
            World { statefulset: Some(statefulset(0)), secrets: vec![credentials()], round, ..World::default() };
        world.status = self.status.clone();
        let mut members = Vec::new();
        for (ordinal, node) in self.nodes.iter().enumerate() {
            let ordinal = u32::try_from(ordinal).unwrap();
            if let Some(time) = node.claim {
                world.claims.push((ordinal, time.to_owned()));
            }
            if !node.pod {
                continue;
            }
            let answer = match (node.silent, node.joining, node.cluster) {
                (true, _, _) => json!({ "error": "connection refused" }),
                (_, Some(_), _) => world::says("joining_cluster"),
                (_, _, Some(_)) => world::says("completed"),
                _ => world::says("idle"),
            };
            if !node.silent && node.cluster.is_some() {
                members.push(ordinal);
            }
            world.pods.push((format!("rec-{ordinal}"), Some(ip(ordinal)), answer));
        }
        if !members.is_empty() {
            world.facts = world::answers(members);
        }
        world
    }

    /// One request, as the node carries it out.
    fn carry_out(&mut self, method_and_path: &str, target: &str, body: &Value) -> Result<(), TestCaseError> {
        let ordinal: usize = target.trim_start_matches("rec-").parse().unwrap();
        let alive: Vec<_> = self.nodes.iter().filter_map(|node| node.cluster.or(node.joining)).collect();
        if method_and_path.ends_with("create_cluster") {
            prop_assert_eq!(ordinal, 0, "only the first node forms a cluster");
            prop_assert!(alive.is_empty(), "a second cluster beside {:?}", alive);
            self.clusters += 1;
            self.nodes[ordinal].joining = Some(self.clusters);
        } else {
            let via = body["cluster"]["nodes"][0].as_str().unwrap_or_default();
            let via = (0..NODES).find(|other| ip(u32::try_from(*other).unwrap()) == via).unwrap();
            prop_assert!(self.nodes[via].cluster.is_some(), "joins a node that is no member");
            self.nodes[ordinal].joining = self.nodes[via].cluster;
        }
        Ok(())
    }

    fn pass(&mut self, killed: bool) -> Result<(), TestCaseError> {
        for round in 0..8 {
            let world = self.world(round);
            let plan = readable(&world.run().map_err(|error| TestCaseError::fail(format!("{error:?}")))?);
            prop_assert_eq!(&plan, &world.plan(), "the same observation gives the same plan");
            let calls = plan["calls"].as_array().cloned().unwrap_or_default();
            let bootstraps: Vec<_> =
                calls.iter().filter(|call| call["request"].as_str().unwrap().starts_with("POST")).collect();
            prop_assert!(bootstraps.len() <= 1, "more than one node at a time");
            for call in bootstraps {
                let (request, target) = call["request"].as_str().unwrap().split_once(" to ").unwrap();
                self.carry_out(request, target, &call["body"])?;
            }
            if killed {
                return Ok(());
            }
            if calls.is_empty() {
                self.status = plan["status"].clone();
                return Ok(());
            }
        }
        Err(TestCaseError::fail("the step never comes to an end of its calls"))
    }

    fn happen(&mut self, happening: Happening) -> Result<(), TestCaseError> {
        match happening {
            Happening::PodAppears(ordinal) => {
                let node = &mut self.nodes[ordinal];
                node.pod = true;
                node.claim.get_or_insert(BORN);
            }
            Happening::PodGoes(ordinal) => {
                let node = &mut self.nodes[ordinal];
                (node.pod, node.joining) = (false, None);
            }
            Happening::Silence(ordinal) => self.nodes[ordinal].silent = true,
            Happening::Answers(ordinal) => self.nodes[ordinal].silent = false,
            // Its claim is made anew when the pod comes back.
            Happening::VolumeLost(ordinal) => self.nodes[ordinal] = Node::default(),
            Happening::BootstrapEnds(ordinal) => {
                let node = &mut self.nodes[ordinal];
                node.cluster = node.joining.take().or(node.cluster);
            }
            Happening::Pass => self.pass(false)?,
            Happening::PassKilled => self.pass(true)?,
        }
        Ok(())
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = || 0..NODES;
    prop_oneof![
        4 => node().prop_map(Happening::PodAppears),
        1 => node().prop_map(Happening::PodGoes),
        1 => node().prop_map(Happening::Silence),
        2 => node().prop_map(Happening::Answers),
        1 => node().prop_map(Happening::VolumeLost),
        4 => node().prop_map(Happening::BootstrapEnds),
        6 => Just(Happening::Pass),
        1 => Just(Happening::PassKilled),
    ]
}

#[test]
fn an_operator_killed_while_nodes_join_leaves_no_member_that_is_not_remembered() {
    use Happening::{BootstrapEnds, Pass, PassKilled, PodAppears, Silence, VolumeLost};

    let mut history = History { status: json!({}), ..History::default() };
    let before =
        [PodAppears(0), PodAppears(1), PodAppears(2), PassKilled, BootstrapEnds(0), PassKilled, BootstrapEnds(1)];
    let after = [VolumeLost(0), Silence(1), PodAppears(0), Pass];
    for happening in before.into_iter().chain(after) {
        history.happen(happening).unwrap();
    }
    let members: Vec<_> = history.nodes.iter().filter_map(|node| node.cluster.or(node.joining)).collect();
    assert_eq!(members, [2], "nobody joined the first cluster, so a second one is the only one");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_are_never_two_clusters(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut history = History { status: json!({}), ..History::default() };
        for happening in happenings {
            history.happen(happening)?;
        }
    }

    #[test]
    fn volumes_of_an_earlier_cluster_are_respected(
        members in prop::collection::vec(any::<bool>(), NODES),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut history = History { status: json!({}), clusters: 1, ..History::default() };
        for (node, member) in history.nodes.iter_mut().zip(members) {
            (node.claim, node.cluster) = (Some(BEFORE), member.then_some(1));
        }
        for happening in happenings {
            history.happen(happening)?;
        }
    }

    #[test]
    fn undisturbed_it_always_ends_running(order in Just((0..NODES).collect::<Vec<_>>()).prop_shuffle()) {
        let mut history = History { status: json!({}), ..History::default() };
        for ordinal in order {
            history.happen(Happening::PodAppears(ordinal))?;
            history.pass(false)?;
        }
        for _ in 0..4 * NODES {
            (0..NODES).try_for_each(|ordinal| history.happen(Happening::BootstrapEnds(ordinal)))?;
            history.pass(false)?;
        }
        let mut world = history.world(0);
        world.statefulset = Some(statefulset(3));
        prop_assert_eq!(world.state(), "Running");
    }
}
