//! Who forms the cluster, who joins, and what is waited for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use serde_json::{Value, json};
use world::{BEFORE, World, answers, credentials, ip, says};

const CREATE: &str = "POST /v1/bootstrap/create_cluster to rec-0";

fn call(world: &World, index: usize) -> Value {
    world.plan()["calls"][index]["body"].clone()
}

fn silent() -> Value {
    json!({ "error": "connection refused" })
}

#[track_caller]
fn waits(world: &World, words: &str) {
    assert_eq!(world.requests(), [""; 0]);
    let why = world.plan()["progress"]["waiting"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains(words), "`{why}` lacks `{words}`");
}

#[test]
fn the_first_node_forms_the_cluster_with_the_credentials_by_reference() {
    let world = World::pods_up();
    assert_eq!(world.requests(), [CREATE]);
    let body = call(&world, 0);
    assert_eq!(body["cluster"]["name"], "rec.ns.svc.cluster.local");
    assert_eq!(body["node"]["identity"]["addr"], ip(0));
    assert_eq!(body["credentials"]["password"], json!({ "$secretKeyRef": { "name": "rec", "key": "password" } }));
    assert_eq!(body.get("license"), None);
}

#[test]
fn a_license_goes_along() {
    let mut world = World::pods_up();
    world.spec["license"] = json!("text");
    assert_eq!(call(&world, 0)["license"], "text");
}

#[test]
fn young_nodes_that_are_late_do_not_hold_up_the_first() {
    let mut world = World::pods_up();
    world.says(1, silent());
    world.pods.truncate(2);
    world.claims.truncate(2);
    assert_eq!(world.requests(), [CREATE]);
}

#[test]
fn an_old_volume_that_cannot_be_asked_holds_up_the_first() {
    let mut world = World::pods_up();
    world.says(2, silent());
    world.claims[2].1 = BEFORE.to_owned();
    waits(&world, "may belong to a cluster");
    world.says(2, says("idle"));
    assert_eq!(world.requests(), [CREATE]);
}

#[test]
fn volumes_of_an_older_cluster_are_named_with_the_remedy() {
    let mut world = World::pods_up();
    (0..3).for_each(|ordinal| world.says(ordinal, says("joining_cluster")));
    // Young volumes: the nodes are about to join this cluster.
    waits(&world, "busy");
    world.claims.iter_mut().for_each(|claim| claim.1 = BEFORE.to_owned());
    waits(&world, "delete the claims (redis-enterprise-storage-rec-0, ");
    assert_eq!(world.state(), "Error");
    assert!(world.plan()["events"].to_string().contains("VolumesOfAnOlderCluster"));
}

#[test]
fn a_first_node_that_lost_its_volume_joins_as_its_former_self() {
    let mut world = World::running();
    world.says(0, says("idle"));
    world.facts = answers(1..3);
    world.facts[0].1.as_array_mut().unwrap().push(json!({ "uid": 1, "addr": "10.9.0.99", "status": "down" }));
    world.facts[1].1["1"] = json!({ "hostname": "rec-0", "node_status": "down" });
    assert_eq!(world.requests(), ["POST /v1/bootstrap/join_cluster to rec-0"]);
    let body = call(&world, 0);
    assert_eq!(body["cluster"]["nodes"], json!([ip(1)]));
    assert_eq!(body["node"]["identity"], json!({ "addr": ip(0), "uid": 1 }));
    assert_eq!(world.run().unwrap().calls.len(), 1);
}

#[test]
fn a_first_node_that_lost_its_volume_never_forms_a_second_cluster() {
    let mut world = World::running();
    world.facts.clear();
    world.says(0, says("idle"));
    world.says(1, silent());
    world.says(2, silent());
    waits(&world, "no member of the cluster answers");
}

#[test]
fn when_every_volume_is_lost_a_person_must_say_so() {
    let mut world = World::running();
    world.facts.clear();
    (0..3).for_each(|ordinal| world.says(ordinal, says("idle")));
    waits(&world, "volumes are gone");
    assert_eq!(world.state(), "Error");
    assert!(world.plan()["events"].to_string().contains("ClusterLost"));
}

#[test]
fn facts_of_different_age_are_no_loss() {
    let mut world = World::pods_up();
    world.facts = answers(0..1);
    waits(&world, "have not said yet");
    assert_eq!(world.state(), "Initializing");
}

#[test]
fn nodes_join_one_at_a_time() {
    let mut world = World::formed(1);
    assert_eq!(world.requests(), ["POST /v1/bootstrap/join_cluster to rec-1"]);
    world.says(1, says("joining_cluster"));
    waits(&world, "rec-1 is busy");
    world.says(1, says("completed"));
    waits(&world, "rec-1 is a member, but not active yet");
    world.facts = answers(0..2);
    assert_eq!(world.requests(), ["POST /v1/bootstrap/join_cluster to rec-2"]);
}

#[test]
fn nobody_joins_before_the_status_remembers_the_cluster() {
    let mut world = World::formed(1);
    world.status = json!({ "state": "BootstrappingFirstPod" });
    waits(&world, "has formed the cluster");
    assert_eq!(world.plan()["status"]["clusterCredentialSecretName"], "rec");
}

#[test]
fn a_failed_node_is_tried_again_and_told() {
    let mut world = World::formed(1);
    let error =
        json!({ "state": "error", "error_code": "time_not_sync", "error_details": { "message": "clock is off" } });
    world.says(1, json!({ "bootstrap_status": error }));
    assert_eq!(world.requests(), ["POST /v1/bootstrap/join_cluster to rec-1"]);
    assert_eq!(world.plan()["events"], json!(["Warning BootstrapFailed: rec-1: time_not_sync clock is off"]));
    // Also while another one is busy, so that nothing is asked of it now.
    world.says(2, json!({ "bootstrap_status": { "state": "joining_cluster" } }));
    assert_eq!(world.requests(), [""; 0]);
    assert_eq!(world.plan()["events"], json!(["Warning BootstrapFailed: rec-1: time_not_sync clock is off"]));
    // It is told once, and while the next attempt runs the condition still says why there is one.
    let board = json!({ "failed": "rec-1: time_not_sync clock is off" });
    world.configmaps =
        vec![json!({ "kind": "ConfigMap", "metadata": { "name": "rec-bulletin-board" }, "data": board })];
    assert_eq!(world.plan()["events"], Value::Null);
    world.says(1, json!({ "bootstrap_status": { "state": "joining_cluster" } }));
    waits(&world, "its last attempt failed: rec-1: time_not_sync clock is off");
    world.says(1, says("completed"));
    assert!(!world.plan().to_string().contains("time_not_sync"));
}

#[test]
fn refused_credentials_are_not_tried_again() {
    let mut world = World::formed(1);
    world.says(1, json!({ "bootstrap_status": { "state": "error", "error_code": "access_denied" } }));
    waits(&world, "correct the credentials Secret");
    assert_eq!(world.state(), "Error");
}

#[test]
fn a_later_round_asks_nothing_and_tells_what_was_refused() {
    let mut world = World::pods_up();
    world.replies = vec![("rec-0".into(), 400, json!({ "error_code": "config_error", "message": "no" }))];
    waits(&world, "rec-0 did not begin to bootstrap: HTTP status 400, config_error: no");
    world.replies = vec![("rec-0".into(), 409, json!({}))];
    waits(&world, "rec-0 is to form the cluster");
}

#[test]
fn without_the_credentials_nothing_is_asked() {
    let mut world = World::pods_up();
    world.secrets.clear();
    assert_eq!(world.requests(), [""; 0]);
}

#[test]
fn lost_credentials_are_an_error_and_not_made_again() {
    let mut world = World::running();
    world.secrets.clear();
    assert_eq!(world.state(), "Error");
    let plan = world.plan();
    assert!(plan["events"].to_string().contains("CredentialsLost"));
    assert!(!plan["desired"].to_string().contains("$generate"));
    world.secrets = vec![credentials()];
    assert_eq!(world.state(), "Running");
}

#[test]
fn redirects_are_switched_on() {
    let mut world = World::formed(1);
    world.facts[2].1 = json!({ "handle_redirects": false });
    let requests = world.requests();
    assert_eq!(requests, ["PUT /v1/cluster to -", "POST /v1/bootstrap/join_cluster to rec-1"]);
    assert_eq!(call(&world, 0), json!({ "handle_redirects": true }));
}

#[test]
fn a_license_is_put_when_the_cluster_has_another() {
    let mut world = World::running();
    world.spec["license"] = json!("--- a\nb ---\n");
    assert_eq!(world.requests(), ["PUT /v1/license to -"]);
    world.facts[3].1["license"] = json!("--- a\nb ---");
    assert_eq!(world.requests(), [""; 0]);
    world.facts[3].1["license"] = json!("fp:3");
    assert_eq!(world.requests(), [""; 0], "the fingerprint of the copy in the credentials Secret");
}

#[test]
fn a_license_from_a_secret_is_put_by_reference() {
    let mut world = World::running();
    world.spec["licenseSecretName"] = json!("mine");
    assert!(world.plan()["progress"]["waiting"].to_string().contains("does not exist"));
    world.secrets.push(json!({ "kind": "Secret", "metadata": { "name": "mine" }, "data": { "license": "fp:9" } }));
    assert_eq!(world.requests(), ["PUT /v1/license to -"]);
    assert_eq!(call(&world, 0)["license"], json!({ "$secretKeyRef": { "name": "mine", "key": "license" } }));
    world.facts[3].1["license"] = json!("fp:9");
    assert_eq!(world.requests(), [""; 0]);
}
