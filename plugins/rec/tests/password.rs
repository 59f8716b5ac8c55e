//! The administrator's password changes by an edit of its Secret, and nobody is locked out on the way.

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

fn secret(name: &str, data: Value) -> Value {
    json!({ "kind": "Secret", "metadata": { "name": name }, "data": data })
}

/// A running cluster whose Secret says this password, with these copies of what is in force.
fn with(password: &str, in_force: Value) -> World {
    let mut world = World::running();
    let login = json!({ "username": "fp:u", "password": password, "license": "fp:3" });
    world.secrets = vec![secret("rec", login), secret("rec-in-force", in_force)];
    world
}

fn in_force(world: &World) -> Value {
    let plan = world.plan();
    let secret = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 Secret ns/rec-in-force");
    secret.unwrap()["body"]["stringData"].clone()
}

fn reference(name: &str, key: &str) -> Value {
    json!({ "$secretKeyRef": { "name": name, "key": key } })
}

fn replied(mut world: World, id: &str, status: u16, body: Value) -> World {
    world.round = 1;
    world.replies = vec![(id.into(), status, body)];
    world
}

#[test]
fn the_login_that_works_is_kept() {
    let mut world = World::running();
    assert_eq!(in_force(&world)["credentials.password"], reference("rec", "password"));
    world.facts.clear();
    let text = world.plan()["desired"].to_string();
    assert!(!text.contains("credentials.password"), "what the cluster does not answer to is not in force");
}

#[test]
fn a_new_password_is_added_then_used_then_the_old_one_is_dropped() {
    let before = json!({ "credentials.username": "fp:u", "credentials.password": "fp:old" });
    let world = with("fp:new", before.clone());
    assert_eq!(world.requests(), ["POST /v1/users/password to -"]);
    let body = world.plan()["calls"][0]["body"].clone();
    assert_eq!(body["new_password"], reference("rec", "password"));
    assert_eq!(in_force(&world)["credentials.password"], reference("rec-in-force", "credentials.password"), "not yet");

    let world = replied(with("fp:new", before), "add password", 200, json!({}));
    let copies = in_force(&world);
    assert_eq!(copies["credentials.password"], reference("rec", "password"));
    assert_eq!(copies["credentials.previous"], reference("rec-in-force", "credentials.password"));

    let both = json!({
        "credentials.username": "fp:u", "credentials.password": "fp:new", "credentials.previous": "fp:old",
    });
    let world = with("fp:new", both.clone());
    assert_eq!(world.requests(), ["DELETE /v1/users/password to -"]);
    assert_eq!(world.plan()["calls"][0]["body"]["old_password"], reference("rec-in-force", "credentials.previous"));
    let world = replied(with("fp:new", both.clone()), "drop password", 200, json!({}));
    assert_eq!(in_force(&world).get("credentials.previous"), None);
    assert_eq!(world.requests(), [""; 0]);

    let mut silent = with("fp:new", both);
    silent.facts.clear();
    assert_eq!(silent.requests(), [""; 0], "the old one stays until the cluster answers to the new one");
}

#[test]
fn a_refused_password_leaves_the_old_one_in_force() {
    let before = json!({ "credentials.username": "fp:u", "credentials.password": "fp:old" });
    let refusal = json!({ "error_code": "password_not_complex", "message": "too short" });
    let world = replied(with("fp:new", before), "add password", 400, refusal);
    assert_eq!(in_force(&world)["credentials.password"], reference("rec-in-force", "credentials.password"));
    let events = world.plan()["events"].to_string();
    assert!(events.contains("PasswordRefused") && events.contains("password_not_complex"), "{events}");
}

#[test]
fn what_people_did_by_hand_before_is_taken_as_done() {
    let before = json!({ "credentials.username": "fp:u", "credentials.password": "fp:old" });
    let there = json!({ "error_code": "new_password_same_as_current" });
    let world = replied(with("fp:new", before), "add password", 400, there);
    assert_eq!(in_force(&world)["credentials.password"], reference("rec", "password"));
    let both = json!({
        "credentials.username": "fp:u", "credentials.password": "fp:new", "credentials.previous": "fp:old",
    });
    let world = with("fp:old", both.clone());
    assert_eq!(world.requests(), [""; 0], "it still works, so that it need not be added");
    assert_eq!(in_force(&world)["credentials.password"], reference("rec", "password"));
    let world = replied(with("fp:new", both), "drop password", 404, json!({ "error_code": "user_not_exist" }));
    assert_eq!(in_force(&world).get("credentials.previous"), None);
}

#[test]
fn a_password_that_was_changed_past_us_is_taken_from_the_secret() {
    let before = json!({ "credentials.username": "fp:u", "credentials.password": "fp:old" });
    let mut world = with("fp:new", before.clone());
    world.facts.clear();
    assert_eq!(in_force(&world)["credentials.password"], reference("rec-in-force", "credentials.password"), "not yet");
    world.unknown = Some("the user name or password in Secret `rec` was refused; it is not tried again".into());
    let copies = in_force(&world);
    assert_eq!(copies["credentials.password"], reference("rec", "password"));
    assert_eq!(copies["credentials.previous"], reference("rec-in-force", "credentials.password"));
    assert_eq!(world.requests(), [""; 0]);
    // Nothing else is known that could be tried.
    let mut world = with("fp:old", before);
    world.facts.clear();
    world.unknown = Some("the user name or password in Secret `rec` was refused; it is not tried again".into());
    assert_eq!(in_force(&world)["credentials.password"], reference("rec-in-force", "credentials.password"));
}

#[test]
fn a_deleted_secret_is_made_again_as_it_was() {
    let mut world = with("", json!({ "credentials.username": "fp:u", "credentials.password": "fp:old" }));
    world.secrets.remove(0);
    let plan = world.plan();
    let made = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 Secret ns/rec").unwrap();
    assert_eq!(made["body"]["stringData"]["password"], reference("rec-in-force", "credentials.password"));
    assert_eq!(made["body"]["stringData"]["username"], reference("rec-in-force", "credentials.username"));
}
