//! A database that is a copy of another resource's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, plan, redb, violation, with, world};
use serde_json::{Value, json};
use stepwright_sdk::testing::Given;

fn mirror(over: &Value) -> Value {
    let spec = json!({"spec": {"replicaSources": [{"replicaSourceType": "REDB", "replicaSourceName": "origin"}]}});
    active_redb(&with(&spec, over))
}

/// The other resource's database.
fn origin(over: &Value) -> Value {
    let base = json!({
        "uid": 2, "name": "origin", "port": 12000, "authentication_redis_pass": "fp:2222",
        "endpoints": [{"uid": "2:1", "dns_name": "redis-12000.rec.ns.svc.cluster.local", "port": 12000, "addr_type": "internal"}],
        "tags": [
            {"key": "managed_by", "value": "stepwright"}, {"key": "redb_name", "value": "origin"},
            {"key": "redb_namespace", "value": "ns"},
        ],
    });
    bdb(&with(&base, over))
}

fn address() -> Value {
    let word = json!({"$secretKeyRef": {"name": "redb-origin", "key": "password"}});
    let parts = json!(["redis://:", word, "@redis-12000.rec.ns.svc.cluster.local:12000"]);
    json!({"$join": {"parts": parts, "encoding": "uri"}})
}

/// The database once it follows the other, and what it was given of the other's password.
fn following(origin: &Value, given: &str) -> Given {
    let shown = bdb(&json!({"replica_sync": "enabled", "replica_sources": [
        {"uid": 1, "uri": "redis://:fp:0@redis-12000.rec.ns.svc.cluster.local:12000", "status": "in-sync"}]}));
    let copies = json!({"replica_sources.redb-origin.password": given});
    let in_force = json!({"kind": "Secret", "metadata": {"name": "redb-mydb-in-force"}, "data": copies});
    let redb = mirror(&json!({"status": {"managedFields": ["replicaSources"]}}));
    world(&redb, &json!([shown, origin])).object("secrets", &in_force)
}

#[test]
fn the_address_is_put_together_of_the_list_and_the_others_secret() {
    let plan = plan(&world(&mirror(&json!({})), &json!([bdb(&json!({})), origin(&json!({}))])));
    let body = json!({"replica_sync": "enabled", "replica_sources": [{"uri": address()}]});
    assert_eq!(
        (&plan["calls"][0]["id"], &plan["calls"][0]["body"]),
        (&json!("update:replica_sync,replica_sources"), &body)
    );
}

#[test]
fn a_source_that_is_not_there_is_waited_for_and_the_rest_is_made() {
    let elsewhere = origin(&json!({"tags": [
        {"key": "managed_by", "value": "stepwright"}, {"key": "redb_name", "value": "origin"},
        {"key": "redb_namespace", "value": "other"}]}));
    let waiting = plan(&world(&mirror(&json!({})), &json!([bdb(&json!({})), elsewhere])));
    let said = waiting["progress"]["waiting"].as_str().unwrap();
    assert!(said.starts_with("spec.replicaSources names database `origin`, which the cluster does not have"), "{said}");
    assert_eq!(waiting["calls"], Value::Null);
    let fresh =
        redb(&json!({"spec": {"replicaSources": [{"replicaSourceType": "REDB", "replicaSourceName": "origin"}]}}));
    let made = plan(&world(&fresh, &json!([])));
    assert_eq!(made["calls"][0]["id"], "create");
    assert_eq!(made["calls"][0]["body"].get("replica_sources"), None);
}

#[test]
fn at_rest_nothing_is_sent_and_a_new_password_of_the_source_is_given_on() {
    let at_rest = plan(&following(&origin(&json!({})), "fp:2222"));
    assert_eq!((&at_rest["calls"], &at_rest["progress"]), (&Value::Null, &json!("done")));
    let rotated = plan(&following(&origin(&json!({"authentication_redis_pass": "fp:3333"})), "fp:2222"));
    assert_eq!(rotated["calls"][0]["body"], json!({"replica_sources": [{"uri": address()}]}));
    // Masked passwords are all the same word, and say nothing.
    let masked = following(&origin(&json!({"authentication_redis_pass": "fp:9999"})), "fp:2222")
        .fact("cluster", &json!({"mask_bdb_credentials": true}));
    assert_eq!(plan(&masked)["calls"], Value::Null);
}

#[test]
fn a_source_that_has_moved_is_followed() {
    let moved =
        json!({"endpoints": [{"uid": "2:1", "dns_name": "redis-12001.rec.ns.svc.cluster.local", "port": 12001}]});
    let plan = plan(&following(&origin(&moved), "fp:2222"));
    let parts = &plan["calls"][0]["body"]["replica_sources"][0]["uri"]["$join"]["parts"];
    assert_eq!(parts[2], "@redis-12001.rec.ns.svc.cluster.local:12001");
}

#[test]
fn no_database_is_a_copy_of_itself() {
    let own = json!({"spec": {"replicaSources": [{"replicaSourceType": "REDB", "replicaSourceName": "mydb"}]}});
    let broken = violation(&world(&active_redb(&own), &json!([bdb(&json!({}))])));
    assert_eq!(broken.field, "spec.replicaSources.replicaSourceName");
}
