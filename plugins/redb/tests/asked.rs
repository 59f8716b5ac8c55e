//! Roles, ACLs and alerts, which are facts, and upgrades of the version.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, events, plan, violation, with, world};
use insta::assert_yaml_snapshot;
use serde_json::{Value, json};
use stepwright_sdk::testing::Given;

fn roles() -> Value {
    json!([{ "uid": 4, "name": "DB Member", "management": "db_member" }, { "uid": 17, "name": "readers" }])
}

fn acls() -> Value {
    json!([{ "uid": 1, "name": "Full Access", "acl": "+@all ~*" }, { "uid": 2, "name": "Read Only" }])
}

fn wants_roles(over: &Value) -> Value {
    let spec = json!({ "spec": { "rolesPermissions": [{ "type": "redis-enterprise", "role": "readers", "acl": "Read Only" }] } });
    active_redb(&with(&spec, over))
}

fn with_roles(redb: &Value, bdbs: &Value) -> Given {
    world(redb, bdbs).fact("roles", &roles()).fact("redis-acls", &acls())
}

#[test]
fn roles_are_read_by_name_and_sent_by_uid() {
    let sent = plan(&with_roles(&wants_roles(&json!({})), &json!([bdb(&json!({}))])));
    assert_yaml_snapshot!(sent["calls"]);
    let given = bdb(&json!({ "roles_permissions": [{ "role_uid": 17, "redis_acl_uid": 2 }] }));
    let settled = plan(&with_roles(&wants_roles(&json!({})), &json!([given])));
    assert_eq!((&settled["calls"], &settled["progress"]), (&Value::Null, &json!("done")));
    assert_eq!(settled["status"]["managedFields"], json!(["rolesPermissions"]));

    // Somebody made the role anew, and it has another uid by now.
    let anew = json!([{ "uid": 4, "name": "DB Member" }, { "uid": 19, "name": "readers" }]);
    let given = bdb(&json!({ "roles_permissions": [{ "role_uid": 17, "redis_acl_uid": 2 }] }));
    let again =
        plan(&world(&wants_roles(&json!({})), &json!([given])).fact("roles", &anew).fact("redis-acls", &acls()));
    assert_eq!(again["calls"][0]["body"], json!({ "roles_permissions": [{ "role_uid": 19, "redis_acl_uid": 2 }] }));
}

#[test]
fn a_role_that_is_not_there_is_waited_for() {
    let spec = json!({ "spec": { "rolesPermissions": [{ "role": "nobody", "acl": "Read Only" }] } });
    let plan = plan(&with_roles(&wants_roles(&spec), &json!([bdb(&json!({}))])));
    let text = "spec.rolesPermissions.role: the cluster has no role `nobody`; it has DB Member, readers";
    assert_eq!(plan["progress"], json!({ "waiting": text, "again": "None", "word": "MissingRoleUIDs" }));
    assert_eq!(events(&plan), [format!("Warning MissingRoleUIDs: {text}")]);
    assert_eq!(plan["calls"], Value::Null);
}

#[test]
fn roles_that_others_gave_are_left_alone_unless_they_were_ours() {
    let theirs = json!([bdb(&json!({ "roles_permissions": [{ "role_uid": 4, "redis_acl_uid": 1 }] }))]);
    assert_eq!(plan(&world(&active_redb(&json!({})), &theirs))["calls"], Value::Null);
    let ours = active_redb(&json!({ "status": { "managedFields": ["rolesPermissions"] } }));
    assert_eq!(plan(&world(&ours, &theirs))["calls"][0]["body"], json!({ "roles_permissions": [] }));
}

#[test]
fn roles_that_are_not_known_are_waited_for() {
    let plan = plan(&world(&wants_roles(&json!({})), &json!([bdb(&json!({}))])).fact("roles", &roles()));
    let text = plan["progress"]["waiting"].as_str().unwrap();
    assert!(text.starts_with("roles and ACLs of the cluster are not known: "), "{text}");
    assert_eq!(plan["calls"], Value::Null);
}

#[test]
fn alerts_are_set_kept_and_turned_off() {
    let spec = json!({ "spec": { "alertSettings": {
        "bdb_size": { "enabled": true, "threshold": "70" }, "bdb_high_latency": { "enabled": true, "threshold": 3000 },
        "bdb_long_running_action": { "enabled": false },
    } } });
    let shown = json!({
        "1": { "bdb_size": { "threshold": "80" }, "bdb_high_latency": { "threshold": "3000" }, "bdb_ram_values": { "threshold": "80" } },
        "2": { "bdb_long_running_action": { "threshold": null } },
    });
    let bdbs = json!([bdb(&json!({}))]);
    let unknown = plan(&world(&active_redb(&spec), &bdbs));
    assert_eq!(unknown["calls"], Value::Null);
    assert!(
        unknown["progress"]["waiting"].as_str().unwrap().starts_with("alerts of the cluster are not known"),
        "{unknown}"
    );
    let given = |redb: &Value| world(redb, &bdbs).fact("alerts", &shown);
    let sent = plan(&given(&active_redb(&spec)));
    assert_eq!(sent["calls"][0]["request"], "POST /v1/bdbs/alerts/1 to -");
    assert_eq!(sent["calls"][0]["body"], json!({ "bdb_size": { "enabled": true, "threshold": "70" } }));
    // Told once, though the fact is of before.
    let after = plan(&given(&active_redb(&spec)).reply("alerts:bdb_size", 200, &json!({})));
    assert_eq!((&after["calls"], &after["progress"]), (&Value::Null, &json!("done")));
    let managed =
        json!(["alertSettings.bdb_high_latency", "alertSettings.bdb_long_running_action", "alertSettings.bdb_size"]);
    assert_eq!(after["status"]["managedFields"], managed);
    // What somebody turned off is turned on again, what somebody turned on off.
    let theirs = json!({ "1": { "bdb_high_latency": { "threshold": "3000" }, "bdb_long_running_action": { "threshold": null } } });
    let back = plan(&world(&active_redb(&spec), &bdbs).fact("alerts", &theirs));
    assert_eq!(
        back["calls"][0]["body"],
        json!({ "bdb_size": { "enabled": true, "threshold": "70" }, "bdb_long_running_action": { "enabled": false } })
    );

    // Out of the spec: off, but not those that others turned on.
    let without = active_redb(&json!({ "status": { "managedFields": managed } }));
    let off = plan(&given(&without));
    assert_eq!(
        off["calls"][0]["body"],
        json!({ "bdb_high_latency": { "enabled": false }, "bdb_size": { "enabled": false } })
    );
    let settled = plan(&given(&without).reply("alerts:bdb_high_latency,bdb_size", 200, &json!({})));
    assert_eq!(settled["status"]["managedFields"], Value::Null);
}

#[test]
fn alerts_that_still_have_to_be_turned_off_are_not_forgotten_by_another_change() {
    let without = active_redb(&json!({
        "spec": { "memorySize": "512MB" }, "status": { "managedFields": ["alertSettings.bdb_size"] },
    }));
    let changing = bdb(&json!({ "memory_size": 536_870_912, "status": "active-change-pending", "action_uid": "a-2" }));
    let plan = plan(&world(&without, &json!([changing])).reply("update:memory_size", 200, &changing));
    assert_eq!(plan["status"]["managedFields"], json!(["alertSettings.bdb_size"]));
}

/// A cluster with these versions and this policy.
fn versions(redb: &Value, bdbs: &Value, policy: &str) -> Given {
    let version = |version: &str, major: bool| json!({ "dbType": "Redis", "version": version, "major": major });
    let rec = with(
        &common::rec("Running"),
        &json!({ "status": { "bundledDatabaseVersions": [
            version("7.2", true), version("7.4", true), version("8.0", true), version("8.10", true), version("8.12", false),
            { "dbType": "memcached", "version": "99", "major": true },
        ] } }),
    );
    let given = Given::new::<stepwright_redb::Redb>(redb)
        .object("clusters", &rec)
        .fact("bdbs", bdbs)
        .fact("policy", &json!({ "redis_upgrade_policy": policy }));
    common::secret(given, "redb-mydb", Some("fp:1111"), true)
}

#[test]
fn a_version_is_chosen_by_word_or_number() {
    for (word, policy, wanted) in [("7.4", "major", "7.4"), ("major", "major", "8.10"), ("latest", "latest", "8.12")] {
        let spec = json!({ "spec": { "redisVersion": word } });
        let created = plan(&versions(&common::redb(&spec), &json!([]), policy));
        assert_eq!(created["calls"][0]["body"]["redis_version"], wanted, "{word}");
        let there = json!([bdb(&json!({ "version": "7.2.4" }))]);
        let upgraded = plan(&versions(&active_redb(&spec), &there, policy));
        assert_eq!(
            upgraded["calls"],
            json!([{ "id": "upgrade:redis_version", "request": "POST /v1/bdbs/1/upgrade to -", "body": { "redis_version": wanted } }])
        );
        let reached = json!([bdb(&json!({ "version": format!("{wanted}.3") }))]);
        assert_eq!(plan(&versions(&active_redb(&spec), &reached, policy))["progress"], "done", "{word}");
    }
}

#[test]
fn a_version_that_cannot_be_had_is_refused() {
    #[track_caller]
    fn check(word: &str, policy: &str, found: &str, part: &str) {
        let spec = json!({ "spec": { "redisVersion": word } });
        let violation = violation(&versions(&active_redb(&spec), &json!([bdb(&json!({ "version": found }))]), policy));
        assert_eq!(violation.field, "spec.redisVersion");
        assert!(violation.message.contains(part), "{violation:?}");
    }
    check("7.2", "major", "7.4.1", "never downgraded: it has 7.4.1");
    check("9.9", "major", "7.4.1", "does not have `9.9`; it has 7.2, 7.4, 8.0, 8.10, 8.12");
    check("latest", "major", "7.4.1", "redis_upgrade_policy is major");
}

#[test]
fn an_upgrade_that_fails_later_is_not_sent_for_ever() {
    let spec = json!({ "spec": { "redisVersion": "8.0" } });
    let old = bdb(&json!({ "version": "7.4.1", "action_uid": "a-2" }));
    let accepted = bdb(&json!({ "version": "7.4.1", "action_uid": "a-2", "status": "active-change-pending" }));
    let first = plan(&versions(&active_redb(&spec), &json!([accepted]), "major").reply(
        "upgrade:redis_version",
        200,
        &accepted,
    ));
    assert_eq!(first["calls"], Value::Null);
    let during = active_redb(&with(&spec, &json!({ "status": first["status"] })));
    let failed = plan(&versions(&during, &json!([old]), "major"));
    assert_eq!(failed["calls"], Value::Null);
    assert!(events(&failed)[0].contains("redis_version was accepted and failed"), "{failed}");
}

#[test]
fn memcached_without_its_secret_is_not_made() {
    let spec = json!({ "spec": { "type": "memcached", "memcachedSaslSecretName": "sasl" } });
    let held = plan(&world(&common::redb(&spec), &json!([])));
    assert_eq!(held["calls"], Value::Null);
    assert_eq!(
        held["progress"]["waiting"],
        "spec.memcachedSaslSecretName names Secret `sasl`, which does not exist: make it"
    );
    let secret =
        json!({ "kind": "Secret", "metadata": { "name": "sasl" }, "data": { "username": "fp:a", "password": "fp:b" } });
    let made = plan(&world(&common::redb(&spec), &json!([])).object("secrets", &secret));
    let body = &made["calls"][0]["body"];
    assert_eq!((&body["type"], &body["authentication_redis_pass"]), (&json!("memcached"), &Value::Null));
    assert_eq!(body["authentication_sasl_uname"], json!({ "$secretKeyRef": { "name": "sasl", "key": "username" } }));
}

#[test]
fn a_backup_whose_secret_is_missing_holds_nothing_else_up() {
    let spec =
        json!({ "spec": { "backup": { "s3": { "awsSecretName": "aws", "bucketName": "b" } }, "memorySize": "512MB" } });
    let changed = plan(&world(&active_redb(&spec), &json!([bdb(&json!({}))])));
    assert_eq!(changed["calls"][0]["body"], json!({ "memory_size": 536_870_912 }));
    let waiting = plan(&world(&active_redb(&spec), &json!([bdb(&json!({ "memory_size": 536_870_912 }))])));
    assert_eq!(
        waiting["progress"]["waiting"],
        "spec.backup.s3.awsSecretName names Secret `aws`, which does not exist: make it"
    );
}
