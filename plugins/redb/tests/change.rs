//! Drift, changes of the spec, and passwords.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, events, plan, secret, violation, world};
use insta::assert_yaml_snapshot;
use serde_json::{Value, json};

/// The one call that is planned over a database that differs so.
#[track_caller]
fn change(redb: &Value, over: &Value) -> Value {
    let plan = plan(&world(&active_redb(redb), &json!([bdb(over)])));
    assert_eq!(plan["calls"].as_array().map(Vec::len), Some(1), "{plan}");
    json!([plan["calls"][0]["id"], plan["calls"][0]["request"], plan["calls"][0]["body"]])
}

#[track_caller]
fn untouched(redb: &Value, over: &Value) {
    let plan = plan(&world(&active_redb(redb), &json!([bdb(over)])));
    assert_eq!(plan["calls"], Value::Null, "{plan}");
    assert_eq!(plan["progress"], "done");
}

#[test]
fn memory_that_somebody_changed_is_put_right() {
    assert_eq!(
        change(&json!({}), &json!({ "memory_size": 999, "action_uid": "theirs" })),
        json!(["update:memory_size", "PUT /v1/bdbs/1 to -", { "memory_size": 268_435_456 }])
    );
}

#[test]
fn settings_without_a_field_are_left_alone() {
    untouched(
        &json!({}),
        &json!({ "max_connections": 77, "conns": 9, "resp3": false, "slave_ha": true, "enforce_client_authentication": "enabled" }),
    );
    untouched(
        &json!({}),
        &json!({ "tags": [
        { "key": "theirs", "value": "x" }, { "key": "redb_namespace", "value": "ns" }, { "key": "redb_name", "value": "mydb" },
        { "key": "managed_by", "value": "someone" },
    ] }),
    );
}

#[test]
fn what_a_database_does_not_show_has_its_default() {
    untouched(
        &json!({}),
        &json!({
            "replication": null, "rack_aware": null, "eviction_policy": null, "tls_mode": null, "data_persistence": null,
            "shards_count": null, "sharding": null, "shards_placement": null, "proxy_policy": null, "oss_cluster": null,
            "default_user": null, "bigstore": null, "authentication_redis_pass": null,
        }),
    );
}

#[test]
fn the_change_of_the_walkthrough() {
    let spec = json!({ "metadata": { "generation": 3 }, "spec": { "memorySize": "512MB", "replication": true } });
    assert_eq!(
        change(&spec, &json!({})),
        json!(["update:memory_size,replication", "PUT /v1/bdbs/1 to -", { "memory_size": 536_870_912, "replication": true }])
    );
    let accepted = bdb(&json!({
        "status": "active-change-pending", "memory_size": 536_870_912, "replication": true, "action_uid": "a-2",
    }));
    let given = world(&active_redb(&spec), &json!([accepted])).reply("update:memory_size,replication", 200, &accepted);
    assert_yaml_snapshot!("accepted", plan(&given));
    let changing = json!({ "status": {
        "status": "active-change-pending", "observedGeneration": 3, "lastActionUid": "a-2", "lastActionStatus": "running",
    } });
    let now =
        bdb(&json!({ "memory_size": 536_870_912, "replication": true, "action_uid": "a-2", "shard_list": [1, 2] }));
    assert_yaml_snapshot!("finished", plan(&world(&common::with(&active_redb(&spec), &changing), &json!([now]))));
}

#[test]
fn a_spec_that_changes_during_a_change_is_not_observed_yet() {
    let spec = json!({ "metadata": { "generation": 3 }, "spec": { "memorySize": "512MB" } });
    let busy = plan(&world(&active_redb(&spec), &json!([bdb(&json!({ "status": "active-change-pending" }))])));
    assert_eq!(busy["calls"], Value::Null);
    assert_eq!(busy["status"]["observedGeneration"], 2);
    assert_eq!(busy["progress"]["waiting"], "database `mydb` is active-change-pending");
    assert_eq!(
        (&busy["progress"]["again"], &busy["progress"]["word"]),
        (&json!("Some(1s)"), &json!("ActiveChangePending"))
    );
}

#[test]
fn a_busy_cluster_is_asked_again_without_news() {
    let drifted = json!([bdb(&json!({ "memory_size": 999, "action_uid": "theirs" }))]);
    let given =
        world(&active_redb(&json!({})), &drifted).reply("update:memory_size", 409, &json!({ "error_code": "busy" }));
    let plan = plan(&given);
    assert_eq!((events(&plan).len(), &plan["calls"]), (0, &Value::Null));
    assert_eq!(plan["progress"]["again"], "Some(1s)");
}

#[test]
fn a_refused_change_is_told_and_the_status_stays() {
    let spec = json!({ "metadata": { "generation": 3 }, "spec": { "memorySize": "900GB" } });
    let refusal = json!({ "error_code": "insufficient_resources", "message": "Not enough resources in cluster to host the database" });
    let given = world(&active_redb(&spec), &json!([bdb(&json!({}))])).reply("update:memory_size", 406, &refusal);
    let plan = plan(&given);
    assert_eq!(plan["status"], active_redb(&json!({}))["status"]);
    assert_eq!(plan["calls"], Value::Null);
    assert_eq!(
        events(&plan),
        [
            "Warning DatabaseFailed: database `mydb` stays as it was, the change of memory_size was refused: HTTP status 406, \
         insufficient_resources: Not enough resources in cluster to host the database (spec.memorySize, shardCount, \
         replication: less, or more memory and nodes for the cluster)"
        ]
    );
}

#[test]
fn a_change_that_fails_later_is_told_once_and_not_sent_for_ever() {
    let spec = json!({ "metadata": { "generation": 3 }, "spec": { "memorySize": "512MB" }, "status": {
        "status": "active-change-pending", "observedGeneration": 3, "lastActionUid": "a-2", "lastActionStatus": "running",
    } });
    let old = json!([bdb(&json!({ "action_uid": "a-2" }))]);
    let failed = plan(&world(&active_redb(&spec), &old));
    assert_eq!(failed["calls"], Value::Null);
    assert_eq!(failed["status"]["lastActionStatus"], "failed");
    assert!(events(&failed)[0].contains("accepted and failed"));
    let known =
        common::with(&active_redb(&spec), &json!({ "status": { "status": "active", "lastActionStatus": "failed" } }));
    let known_plan = plan(&world(&known, &old));
    assert_eq!((events(&known_plan).len(), &known_plan["calls"]), (0, &Value::Null));
    let again = common::with(&known, &json!({ "metadata": { "generation": 4 } }));
    assert_eq!(plan(&world(&again, &old))["calls"][0]["id"], "update:memory_size");
}

#[test]
fn what_others_are_changing_is_put_right_when_they_are_done() {
    let theirs = bdb(&json!({ "memory_size": 999, "action_uid": "theirs", "status": "active-change-pending" }));
    let during = plan(&world(&active_redb(&json!({})), &json!([theirs])));
    assert_eq!(during["status"]["lastActionUid"], "a-1");
    let seen = common::with(&active_redb(&json!({})), &json!({ "status": during["status"] }));
    let after = bdb(&json!({ "memory_size": 999, "action_uid": "theirs" }));
    assert_eq!(plan(&world(&seen, &json!([after])))["calls"][0]["id"], "update:memory_size");
}

#[test]
fn another_password_in_the_secret_is_sent_by_reference() {
    assert_eq!(
        change(&json!({}), &json!({ "authentication_redis_pass": "fp:8888" })),
        json!(["update:authentication_redis_pass", "PUT /v1/bdbs/1 to -",
            { "authentication_redis_pass": { "$secretKeyRef": { "name": "redb-mydb", "key": "password" } } }])
    );
    let busy = bdb(&json!({ "status": "active-change-pending" }));
    let given = world(&active_redb(&json!({})), &json!([busy])).reply("update:authentication_redis_pass", 200, &busy);
    assert_eq!(
        events(&plan(&given)),
        ["Normal PasswordRotated: database `mydb` got the password of Secret `redb-mydb`"]
    );
}

#[test]
fn a_deleted_secret_is_made_again_and_the_database_follows() {
    let given = common::bare(&active_redb(&json!({}))).fact("bdbs", &json!([bdb(&json!({}))]));
    let made = plan(&given);
    assert_eq!(made["calls"], Value::Null);
    assert_eq!(made["desired"][0]["body"]["stringData"]["password"], json!({ "$generate": { "length": 32 } }));
    assert!(events(&made)[0].starts_with("Normal SecretCreated"));
    let followed = plan(&secret(given, "redb-mydb", Some("fp:7777"), true));
    assert_eq!(followed["calls"][0]["id"], "update:authentication_redis_pass");
}

#[test]
fn passwords_that_the_cluster_hides_are_not_compared() {
    let hidden = bdb(&json!({ "authentication_redis_pass": "fp:masked" }));
    let given =
        world(&active_redb(&json!({})), &json!([hidden])).fact("cluster", &json!({ "mask_bdb_credentials": true }));
    let plan = plan(&given);
    assert_eq!(plan["calls"], Value::Null);
    assert_eq!(plan["notes"]["unsupported"][0]["field"], "spec.databaseSecretName");
}

#[test]
fn tags_come_and_go_with_the_spec() {
    let tag = |key: &str, value: &str| json!({ "key": key, "value": value });
    let ours = [tag("managed_by", "stepwright"), tag("redb_name", "mydb"), tag("redb_namespace", "ns")];
    let all = |more: &[Value]| json!([ours.as_slice(), more].concat());
    let spec = json!({ "spec": { "tags": { "team": "x" }, "databaseServicePort": 7000 } });
    let sent = change(&spec, &json!({ "tags": all(&[tag("theirs", "t")]) }));
    assert_eq!(sent[2]["tags"], all(&[tag("theirs", "t"), tag("db_service_port", "7000"), tag("team", "x")]));
    let removed = change(
        &json!({ "status": { "managedTags": ["team"] } }),
        &json!({ "tags": all(&[tag("team", "x"), tag("theirs", "t")]) }),
    );
    assert_eq!(removed[2]["tags"], all(&[tag("theirs", "t")]));
}

#[test]
fn shards_grow_to_a_multiple_and_never_shrink() {
    let grown = change(&json!({ "spec": { "shardCount": 2 } }), &json!({}));
    assert_eq!(grown[0], "update:shards_count,sharding");
    assert_eq!(grown[2]["shard_key_regex"].as_array().map(Vec::len), Some(2));
    for (there, wanted) in [(2, 1), (2, 3)] {
        let redb = active_redb(&json!({ "spec": { "shardCount": wanted } }));
        let violation = violation(&world(&redb, &json!([bdb(&json!({ "shards_count": there, "sharding": true }))])));
        assert_eq!(violation.field, "spec.shardCount");
    }
    untouched(
        &json!({ "spec": { "shardCount": null } }),
        &json!({ "shards_count": 2, "sharding": true, "shard_list": [1, 2] }),
    );
}

#[test]
fn the_port_stays() {
    let redb = active_redb(&json!({ "spec": { "databasePort": 12_000 } }));
    let violation = violation(&world(&redb, &json!([bdb(&json!({}))])));
    assert_eq!(violation.field, "spec.databasePort");
    assert!(violation.message.contains("the database has 19621"));
}

#[test]
fn a_second_database_of_the_name_does_not_stop_the_work_on_ours() {
    let second = bdb(&json!({ "uid": 2, "tags": [], "port": 0, "endpoints": [] }));
    let ours = bdb(&json!({ "memory_size": 999, "action_uid": "theirs" }));
    let plan = plan(&world(&active_redb(&json!({})), &json!([second, ours])));
    assert_eq!(plan["calls"][0]["request"], "PUT /v1/bdbs/1 to -");
}

#[test]
fn a_database_that_vanished_is_made_again() {
    let plan = plan(&world(&active_redb(&json!({})), &json!([])));
    assert_eq!(plan["calls"][0]["id"], "create");
}

#[test]
fn a_module_is_added_to_those_that_are_there() {
    let there = json!({ "module_list": [{ "module_name": "bf", "module_args": "", "semantic_version": "8.0.1" }] });
    let added =
        change(&json!({ "spec": { "modulesList": [{ "name": "bf" }, { "name": "search", "config": "X" }] } }), &there);
    assert_eq!(
        added[2]["module_list"],
        json!([
            { "module_name": "bf", "module_args": "", "semantic_version": "8.0.1" },
            { "module_name": "search", "module_args": "X" },
        ])
    );
    untouched(&json!({ "spec": { "modulesList": [{ "name": "bf" }] } }), &there);
}
