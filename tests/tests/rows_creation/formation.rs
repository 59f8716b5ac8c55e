//! How a cluster comes to be: its states, the Events about them, its nodes.

use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};

use crate::{NODES, at_rest};

/// States on the way to a cluster that runs (reference, 3.5).
const ORDER: [&str; 4] = ["PendingCreation", "BootstrappingFirstPod", "Initializing", "Running"];

/// A line of `rladmin status nodes`.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) host: String,
    pub(crate) status: String,
}

/// What `rladmin status nodes` prints.
pub(crate) fn nodes(text: &str) -> Vec<Node> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("NODE:ID"));
    let headers: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let lines = lines.filter(|line| line.starts_with("node:") || line.starts_with("*node:"));
    // EXTERNAL_ADDRESS, the fourth, is empty here.
    let at = |name: &str| {
        let place = headers.iter().position(|header| *header == name).unwrap_or_else(|| panic!("no {name}: {text}"));
        if place > 3 { place - 1 } else { place }
    };
    let node = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let cell = |name: &str| cells[at(name)].to_owned();
        let id = cells[0].trim_start_matches('*').to_owned();
        Node { id, role: cell("ROLE"), host: cell("HOSTNAME"), status: cell("STATUS") }
    };
    lines.map(node).collect()
}

/// The changes of state that Events tell of, oldest first.
fn told(world: &World) -> Vec<(String, String)> {
    let events = world.events("rec", "rec").unwrap();
    let changes = events.iter().filter(|(reason, _)| reason == "StatusChange");
    changes
        .map(|(_, message)| {
            let (from, to) = message.split_once(" -> ").unwrap_or_else(|| panic!("{message}"));
            (from.to_owned(), to.to_owned())
        })
        .collect()
}

/// The states of a new cluster's Events, from the first on to the first `Running`.
fn birth(told: &[(String, String)]) -> Vec<String> {
    let mut states = vec!["None".to_owned()];
    for (from, to) in told {
        assert_eq!(Some(from), states.last(), "Events do not follow each other: {told:?}");
        states.push(to.clone());
        if to == "Running" {
            break;
        }
    }
    states.remove(0);
    states
}

/// Whether states are some of those of [`ORDER`], in order, each once, and end with the last.
fn in_order(states: &[String]) -> bool {
    let places: Option<Vec<usize>> = states.iter().map(|state| ORDER.iter().position(|known| known == state)).collect();
    places.is_some_and(|places| places.is_sorted_by(|a, b| a < b) && places.last() == Some(&3))
}

pub(crate) async fn row_29_events_of_each_change_of_state(world: &World) {
    let told = told(world);
    let states = birth(&told);
    assert!(in_order(&states) && states.len() > 1, "{told:?}");
    assert!(told.iter().all(|(from, to)| from != to), "{told:?}");
    let state = world.get("rec", "rec").unwrap()["status"]["state"].clone();
    assert_eq!(state, "Running");
}

pub(crate) async fn row_30_the_cluster_is_formed(world: &World) {
    for pod in ["rec-0", "rec-1", "rec-2"] {
        let status = world.rladmin(pod, "status nodes").unwrap();
        let nodes = nodes(&status);
        assert_eq!(nodes.len(), 3, "{status}");
        assert_eq!(nodes.iter().filter(|node| node.role == "master").count(), 1, "{status}");
        assert!(nodes.iter().all(|node| node.status == "OK"), "{status}");
    }
    let cluster = world.rest("GET", "/v1/cluster", None).unwrap();
    assert_eq!(cluster["name"], "rec.redis.svc.cluster.local");
}

pub(crate) async fn row_31_states_in_their_order(world: &World) {
    world.kubectl(&["delete", "redb", "mydb"]).unwrap();
    world.kubectl(&["delete", "rec", "rec"]).unwrap();
    until("the pods to go", SETTLES, || async {
        let pods = world.uids("pods", NODES)?;
        if pods.is_empty() { Ok(()) } else { anyhow::bail!("{pods:?}") }
    })
    .await;
    world.kubectl(&["delete", "pvc", "--all"]).unwrap();
    let path = "jsonpath={.status.state}{\"\\n\"}";
    world.apply_sample("rec.yaml").unwrap();
    let watch = world.watch(&["get", "rec", "rec", "--watch", "-o", path]).unwrap();
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    let mut states = until("the watch to tell of Running", SETTLES, || async {
        let lines = watch.lines();
        if lines.last().is_some_and(|line| line == "Running") { Ok(lines) } else { Err(lines) }
    })
    .await;
    states.retain(|state| !state.is_empty());
    states.dedup();
    assert!(in_order(&states) && states.len() >= 2, "{states:?}");
    // The Events tell the same, and miss nothing of it.
    let told = birth(&told(world));
    assert!(states.iter().all(|state| told.contains(state)), "seen {states:?}, told {told:?}");
    world.sample_database().await.unwrap();
    at_rest(world).await;
}
