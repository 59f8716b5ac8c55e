//! What the REST API refuses reaches the user in its words and in ours: which field, and what would be accepted.
//! The bodies are those of the REST reference, 2.1 to 2.4.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, events, plan, redb, violation, world};
use serde_json::{Value, json};

/// Of a creation and of a change.
#[track_caller]
fn refused(status: u16, body: &Value, ours: &str) {
    let words = body["message"].as_str().or(body["description"].as_str()).unwrap();
    let creation = world(&redb(&json!({})), &json!([])).reply("create", status, body);
    let drifted = json!([bdb(&json!({ "memory_size": 1, "action_uid": "theirs" }))]);
    let change = world(&active_redb(&json!({})), &drifted).reply("update:memory_size", status, body);
    for given in [creation, change] {
        let plan = plan(&given);
        let told = events(&plan);
        assert_eq!(told.len(), 1, "{plan}");
        assert!(told[0].starts_with("Warning DatabaseFailed: database `mydb`"), "{told:?}");
        assert!(told[0].contains(words) && told[0].contains(ours), "{told:?}");
        assert!(
            told[0].ends_with(plan["progress"]["waiting"].as_str().unwrap()),
            "the condition says the same: {plan}"
        );
        assert_eq!((&plan["calls"], &plan["progress"]["again"]), (&Value::Null, &json!("Some(30s)")));
    }
}

#[test]
fn memory_that_does_not_fit() {
    let body = json!({ "error_code": "insufficient_resources", "message": "Not enough resources in cluster to host the database" });
    refused(406, &body, "spec.memorySize, shardCount, replication: less, or more memory and nodes");
}

#[test]
fn a_port_that_is_taken() {
    let body = json!({ "error_code": "port_unavailable", "message": "Port 12000 is in use" });
    refused(406, &body, "spec.databasePort: a free port from 10000 to 19999, or none");
}

#[test]
fn a_license_that_is_used_up_or_expired() {
    let text = "Total shards count exceeds amount of total shards permitted by license. License permits 4 total shards, but there are 5 total shards in use.";
    for code in ["insufficient_resources", "shards_limit", ""] {
        let body = json!({ "error_code": code, "message": text });
        refused(406, &body, "spec.shardCount, replication: fewer shards, or a larger license");
    }
    let expired = json!({ "error_code": "license_expired", "message": "the license has expired" });
    refused(403, &expired, "the cluster's license: one that has not expired");
    let expired = json!({ "description": "License expired" });
    refused(403, &expired, "the cluster's license: one that has not expired");

    // Before anything is sent, with what is left.
    let other = bdb(&json!({ "uid": 2, "name": "other", "tags": [], "shards_count": 3, "port": 0, "endpoints": [] }));
    let violation = violation(&world(&redb(&json!({ "spec": { "shardCount": 2 } })), &json!([other])));
    assert_eq!(violation.field, "spec.shardCount");
    assert!(violation.message.contains("ask for at most 1 of them"), "{violation:?}");
}

#[test]
fn a_cluster_that_is_being_upgraded_is_frozen() {
    let mut rec = common::rec("Upgrade");
    rec["spec"] = json!({});
    let frozen = |redb: &Value, bdbs: &Value| {
        let given = stepwright_sdk::testing::Given::new::<stepwright_redb::Redb>(redb).object("clusters", &rec);
        plan(&common::secret(given, "redb-mydb", Some("fp:1111"), true).fact("bdbs", bdbs))
    };
    let spec = json!({ "spec": { "memorySize": "512MB" }, "metadata": { "generation": 3 } });
    let drifted = bdb(&json!({ "memory_size": 1, "action_uid": "theirs" }));
    for plan in [frozen(&redb(&json!({})), &json!([])), frozen(&active_redb(&spec), &json!([drifted]))] {
        assert_eq!(
            plan["progress"]["waiting"],
            "cluster `rec` is Upgrade, not Running: its databases are frozen until the upgrade is done"
        );
        assert_eq!(plan["calls"], Value::Null);
        assert_ne!(plan["status"]["observedGeneration"], 3, "the new spec was not sent");
    }
}

/// Every code of the inventory that a spec can run into names a field.
#[test]
fn every_code_of_a_wrong_spec_names_its_field() {
    for (code, field) in [
        ("missing_module", "spec.modulesList"),
        ("invalid_sharding", "spec.shardCount"),
        ("bad_shards_blueprint", "spec.shardCount"),
        ("not_rack_aware", "spec.rackAware"),
        ("rack_awareness_violation", "spec.rackAware"),
        ("invalid_version", "spec.redisVersion"),
        ("invalid_data_persistence", "spec.persistence"),
        ("invalid_proxy_policy", "spec.proxyPolicy"),
        ("invalid_sasl_credentials", "spec.memcachedSaslSecretName"),
        ("invalid_replication", "spec.replication"),
        ("invalid_certificate", "spec.clientAuthenticationCertificates"),
        ("certificate_expired", "spec.clientAuthenticationCertificates"),
        ("duplicated_certs", "spec.clientAuthenticationCertificates"),
        ("replication_violation", "spec.replication"),
        ("eviction_policy_violation", "spec.evictionPolicy"),
        ("invalid_oss_cluster_configuration", "spec.ossCluster"),
        ("memcached_cannot_use_modules", "spec.modulesList"),
        ("missing_backup_interval", "spec.backup.interval"),
        ("invalid_bdb_tags", "spec.tags"),
        ("unsupported_module_capabilities", "spec.modulesList"),
        ("redis_acl_unsupported", "spec.rolesPermissions"),
        ("name_violation", "metadata.name"),
        ("replication_node_violation", "spec.replication"),
        ("replication_size_violation", "spec.memorySize"),
        ("missing_memory_size", "spec.memorySize"),
        ("db_conns_auditing_missing_config", "spec.auditing.dbConnsAuditing"),
        ("not_supported_action_on_crdt", "Active-Active"),
        ("crdt_sharding_violation", "Active-Active"),
    ] {
        refused(406, &json!({ "error_code": code, "message": "no" }), field);
    }
    refused(403, &json!({ "message": "no" }), "the operator's user");
}

#[test]
fn what_nobody_can_explain_is_told_as_it_is() {
    let odd = json!({ "error_code": "brand_new", "message": "not like this" });
    let plan = plan(&world(&redb(&json!({})), &json!([])).reply("create", 406, &odd));
    assert_eq!(
        plan["progress"]["waiting"],
        "database `mydb` could not be made: HTTP status 406, brand_new: not like this"
    );
}

#[test]
fn an_upgrade_or_an_alert_that_is_refused_is_told_too() {
    let spec = active_redb(&json!({ "spec": { "alertSettings": { "bdb_size": { "enabled": true } } } }));
    let told = plan(&world(&spec, &json!([bdb(&json!({}))])).reply(
        "alerts:bdb_size",
        400,
        &json!({ "error_code": "bad_alert", "message": "no such alert" }),
    ));
    assert_eq!(
        events(&told),
        [
            "Warning DatabaseFailed: database `mydb`: the change of alerts was refused: HTTP status 400, bad_alert: no such alert"
        ]
    );
    let spec = active_redb(&json!({ "spec": { "redisVersion": "8.2" } }));
    let told = plan(&world(&spec, &json!([bdb(&json!({}))])).reply(
        "upgrade:redis_version",
        406,
        &json!({ "error_code": "invalid_version", "message": "no such version" }),
    ));
    assert!(events(&told)[0].contains("the change of redis_version was refused: HTTP status 406"), "{told}");
}
