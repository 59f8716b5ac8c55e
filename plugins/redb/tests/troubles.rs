//! Backups and sources that fail are told, once for each turn, and are no reason to touch the database.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, plan, with, world};
use serde_json::{Value, json};
use stepwright_sdk::testing::Given;

/// A database that is copied to a folder each day.
fn backed_up(over: &Value) -> Value {
    let shown = json!({
        "backup": true, "backup_interval": 86400, "backup_location": {"type": "mount_point", "path": "/backups"},
    });
    bdb(&with(&shown, over))
}

fn spec() -> Value {
    active_redb(&json!({
        "spec": {"backup": {"mount": {"path": "/backups"}}}, "status": {"managedFields": ["backup"]},
    }))
}

/// What a pass that changes nothing tells, as `severity reason: message`, and the resource afterwards.
fn turn(redb: &Value, given: &Given) -> (Vec<String>, Value) {
    let plan = plan(given);
    assert_eq!(plan["calls"], Value::Null, "{plan}");
    let events = plan["events"].as_array().into_iter().flatten();
    (events.map(|event| event.as_str().unwrap().to_owned()).collect(), with(redb, &json!({"status": plan["status"]})))
}

#[test]
fn each_backup_that_fails_is_told_with_what_to_do() {
    let turn = |redb: &Value, over: Value| turn(redb, &world(redb, &json!([backed_up(&over)])));
    let failed = |why: &str| json!({"backup_status": "failed", "backup_failure_reason": why});
    let (events, redb) = turn(&spec(), json!({"backup_status": "succeeded"}));
    assert_eq!(events, [""; 0]);
    let (events, redb) = turn(&redb, failed("no-permission"));
    assert!(
        events[0].starts_with("Warning BackupFailed: ") && events[0].contains("no-permission: let the"),
        "{events:?}"
    );
    let (events, redb) = turn(&redb, failed("no-permission"));
    assert_eq!(events, [""; 0], "told already");
    let (events, redb) = turn(&redb, failed("wrong-file-path"));
    assert!(events[0].contains("name a place in spec.backup that exists"), "{events:?}");
    let (events, redb) = turn(&redb, json!({"backup_status": "exporting"}));
    assert_eq!(events, [""; 0]);
    let (events, _) = turn(&redb, failed("wrong-file-path"));
    assert_eq!(events.len(), 1, "another one failed");
}

#[test]
fn a_source_that_is_lost_and_found_is_told() {
    let sources = json!([{"replicaSourceType": "SECRET", "replicaSourceName": "far"}]);
    let redb = active_redb(&json!({
        "spec": {"replicaSources": sources}, "status": {"managedFields": ["replicaSources"]},
    }));
    let secret = |name: &str, data: Value| json!({"kind": "Secret", "metadata": {"name": name}, "data": data});
    let turn = |redb: &Value, status: &str, why: &str| {
        let shown = bdb(&json!({"replica_sync": "enabled", "replica_sources": [
            {"uid": 1, "uri": "redis://:fp:0@far.example.com:6379", "status": status, "last_error": why}]}));
        let given = world(redb, &json!([shown]))
            .object("secrets", &secret("far", json!({"uri": "fp:u"})))
            .object("secrets", &secret("redb-mydb-in-force", json!({"replica_sources.far.uri": "fp:u"})));
        turn(redb, &given)
    };
    let (events, redb) = turn(&redb, "out-of-sync", "");
    assert_eq!(events, [""; 0], "it was not reached for yet");
    let (events, redb) = turn(&redb, "in-sync", "");
    assert!(events[0].starts_with("Normal ReplicaInSync: "), "{events:?}");
    let (events, redb) = turn(&redb, "out-of-sync", "failed to connect");
    assert!(events[0].starts_with("Warning ReplicaOutOfSync: "), "{events:?}");
    assert!(events[0].contains("far.example.com:6379: failed to connect") && !events[0].contains("fp:0"), "{events:?}");
    let (events, redb) = turn(&redb, "out-of-sync", "failed to connect again");
    assert_eq!(events, [""; 0], "told already");
    let (events, redb) = turn(&redb, "syncing", "");
    assert_eq!(events, [""; 0]);
    assert!(turn(&redb, "in-sync", "").0[0].starts_with("Normal ReplicaInSync: "));
}
