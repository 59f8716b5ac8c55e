//! The service broker: made where the spec asks for it and an admin made its account, and told what it waits for otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use insta::assert_yaml_snapshot as golden;
use serde_json::{Value, json};
use world::{World, host};

fn with(spec: Value, accounts: bool) -> World {
    let mut world = World::running();
    world.spec = json!({ "nodes": 3, "serviceBrokerSpec": spec });
    world.facts.push(("host".into(), host()));
    if accounts {
        world
            .broker_accounts
            .push(json!({ "kind": "ServiceAccount", "metadata": { "name": "redis-enterprise-service-broker" } }));
    }
    world
}

fn desired(world: &World) -> Vec<Value> {
    let plan = world.plan();
    let all = plan["desired"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|it| it["id"].to_string().contains("rec-service-broker")).collect()
}

#[test]
fn its_objects() {
    golden!(desired(&with(json!({ "enabled": true }), true)));
}

#[test]
fn without_account_or_image_it_waits_and_nothing_is_made() {
    let world = with(json!({ "enabled": true }), false);
    assert!(desired(&world).is_empty());
    let progress = world.plan()["progress"].to_string();
    assert!(progress.contains("deploy/service-broker.yaml"), "{progress}");
    let mut world = with(json!({ "enabled": true }), true);
    world.facts.retain(|(name, _)| name != "host");
    assert!(desired(&world).is_empty());
    let progress = world.plan()["progress"].to_string();
    assert!(progress.contains("spec.serviceBrokerSpec.imageSpec"), "{progress}");
}

#[test]
fn not_enabled_there_is_none() {
    assert!(desired(&with(json!({ "enabled": false, "resources": {} }), true)).is_empty());
}
