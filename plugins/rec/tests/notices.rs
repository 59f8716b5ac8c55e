//! What is told though nothing waits for it: once, and again when it changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use serde_json::{Value, json};
use world::World;

/// The Events of a cluster that is well, and what the board keeps under a key.
#[track_caller]
fn told(world: &World, key: &str) -> (Value, Value) {
    let plan = world.plan();
    assert_eq!(plan["progress"], "done", "nothing waits for it");
    let desired = plan["desired"].as_array().unwrap().iter();
    let mut board = desired.filter(|it| it["id"] == "v1 ConfigMap ns/rec-bulletin-board");
    (plan["events"].clone(), board.next().unwrap()["body"]["data"][key].clone())
}

/// The board as the last plan left it.
fn keep(world: &mut World, key: &str) -> Value {
    let (events, kept) = told(world, key);
    world.configmaps =
        vec![json!({ "kind": "ConfigMap", "metadata": { "name": "rec-bulletin-board" }, "data": { (key): kept } })];
    events
}

const BUDGETS: &str = "told-budgets";

#[test]
fn a_users_budget_over_the_same_pods_is_told() {
    let overlaps = |selector: Value| {
        let mut world = World::running();
        world.labels = vec![("rec-1".into(), "role".into())];
        world.budgets = vec![("rec".into(), json!({})), ("theirs".into(), selector)];
        let (events, kept) = told(&world, BUDGETS);
        assert_eq!(events.is_null(), kept.is_null());
        !events.is_null()
    };
    for selector in [
        json!({}),
        json!({ "matchLabels": { "role": "" } }),
        json!({ "matchExpressions": [{ "key": "role", "operator": "In", "values": ["", "x"] }] }),
        json!({ "matchExpressions": [{ "key": "role", "operator": "Exists" }] }),
        json!({ "matchExpressions": [{ "key": "other", "operator": "DoesNotExist" }] }),
        json!({ "matchExpressions": [{ "key": "role", "operator": "NotIn", "values": ["x"] }] }),
    ] {
        assert!(overlaps(selector.clone()), "{selector}");
    }
    for selector in [
        Value::Null,
        json!({ "matchLabels": { "role": "x" } }),
        json!({ "matchLabels": { "role": "", "other": "" } }),
        json!({ "matchExpressions": [{ "key": "role", "operator": "In", "values": ["x"] }] }),
        json!({ "matchExpressions": [{ "key": "other", "operator": "Exists" }] }),
        json!({ "matchLabels": { "role": "" }, "matchExpressions": [{ "key": "role", "operator": "DoesNotExist" }] }),
    ] {
        assert!(!overlaps(selector.clone()), "{selector}");
    }

    let mut world = World::running();
    world.budgets = vec![("rec".into(), json!({})), ("theirs".into(), json!({}))];
    insta::assert_yaml_snapshot!(keep(&mut world, BUDGETS));
    assert_eq!(keep(&mut world, BUDGETS), Value::Null, "told once");
    world.budgets.push(("another".into(), json!({})));
    assert!(keep(&mut world, BUDGETS)[0].to_string().contains("`another`"), "and again when it changes");
    world.budgets.truncate(1);
    assert_eq!(told(&world, BUDGETS), (Value::Null, Value::Null));
}

const RACKS: &str = "told-racks";

/// Nodes that joined in the racks `a`, `b`, `c`, and run in these.
fn racked(now: [&str; 3]) -> World {
    let mut world = World::running();
    world.spec["rackAwarenessNodeLabel"] = json!("topology.kubernetes.io/zone");
    world.facts.push(("policy".into(), json!({ "rack_aware": true })));
    world.racks = now.map(str::to_owned).to_vec();
    for (name, fact) in &mut world.facts {
        for (node, rack) in fact.as_array_mut().filter(|_| name == "nodes").into_iter().flatten().zip(["a", "b", "c"]) {
            node["rack_id"] = json!(rack);
        }
    }
    world
}

#[test]
fn a_pod_that_moved_to_another_rack_is_told() {
    assert_eq!(told(&racked(["a", "b", "c"]), RACKS), (Value::Null, Value::Null));
    let mut world = racked(["a", "b", "a"]);
    insta::assert_yaml_snapshot!(keep(&mut world, RACKS));
    assert_eq!(keep(&mut world, RACKS), Value::Null, "told once");
    // What is not known is no news, and what was told is not forgotten.
    let known = std::mem::take(&mut world.facts);
    let board = world.plan()["desired"].to_string();
    assert!(board.contains("joined the cluster in rack"), "{board}");
    world.facts = known;
    world.racks = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(told(&world, RACKS), (Value::Null, Value::Null));
    // Without racks in the spec nobody asks for them.
    world.racks[2] = "a".into();
    world.spec = json!({ "nodes": 3 });
    world.configmaps.clear();
    assert_eq!(told(&world, RACKS), (Value::Null, Value::Null));
}
