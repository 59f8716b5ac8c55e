//! A namespace with a running cluster and a database resource, said in few words.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod admitted;

use serde_json::{Value, json};
use stepwright_redb::Redb;
pub(crate) use stepwright_sdk::testing::merged as with;
use stepwright_sdk::testing::{Given, readable};
use stepwright_sdk::{Failure, Violation};

/// The database of the walkthrough, after its Secret was made.
pub(crate) fn redb(over: &Value) -> Value {
    let base = json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": { "name": "mydb", "generation": 2 },
        "spec": {
            "redisEnterpriseCluster": { "name": "rec" }, "memorySize": "256MB", "shardCount": 1, "replication": false,
            "databasePort": 19621, "databaseSecretName": "redb-mydb",
        },
    });
    with(&base, over)
}

/// The same, with what its status says once it is active.
pub(crate) fn active_redb(over: &Value) -> Value {
    let status = json!({ "status": {
        "status": "active", "specStatus": "Valid", "databaseUID": "1", "observedGeneration": 2,
        "createdTime": "2026-06-20T10:05:00Z", "lastUpdated": "2026-06-20T10:05:04Z", "version": "8.0.2",
        "internalEndpoints": [{ "host": "redis-19621.rec.ns.svc.cluster.local", "port": 19621 }],
        "redisEnterpriseCluster": "rec", "shardStatuses": { "active": 1 },
        "lastActionUid": "a-1", "lastActionStatus": "completed",
    } });
    with(&redb(&status), over)
}

pub(crate) fn rec(state: &str) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" },
        "status": { "state": state },
    })
}

/// As the cluster lists it, with settings that nobody manages.
pub(crate) fn bdb(over: &Value) -> Value {
    let base = json!({
        "uid": 1, "name": "mydb", "status": "active", "type": "redis", "memory_size": 268_435_456, "shards_count": 1,
        "sharding": false, "replication": false, "rack_aware": false, "shards_placement": "dense",
        "data_persistence": "disabled", "aof_policy": "appendfsync-every-sec", "snapshot_policy": [],
        "eviction_policy": "volatile-lru", "tls_mode": "disabled", "default_user": true, "proxy_policy": "single",
        "oss_cluster": false, "authentication_redis_pass": "fp:1111", "port": 19621, "max_connections": 0,
        "conns": 5, "resp3": true, "shard_list": [1], "action_uid": "a-1", "version": "8.0.2", "bigstore": false,
        "created_time": "2026-06-20T10:05:00Z", "last_changed_time": "2026-06-20T10:05:04Z",
        "endpoints": [{
            "uid": "1:1", "dns_name": "redis-19621.rec.ns.svc.cluster.local", "port": 19621, "addr": ["10.0.0.5"],
            "addr_type": "internal",
        }],
        "tags": [
            { "key": "managed_by", "value": "stepwright" }, { "key": "redb_name", "value": "mydb" },
            { "key": "redb_namespace", "value": "ns" },
        ],
        "backup_status": "", "backup_interval": 0, "last_backup_time": "", "backup_failure_reason": "",
    });
    with(&base, over)
}

/// A running cluster without a Secret or databases.
pub(crate) fn bare(redb: &Value) -> Given {
    Given::new::<Redb>(redb)
        .object("clusters", &rec("Running"))
        .object("statefulsets", &json!({ "kind": "StatefulSet", "metadata": { "name": "rec" } }))
        .fact("bdbs", &json!([]))
        .fact(
            "license",
            &json!({ "expired": false, "shards_limit": 4, "ram_shards_limit": null, "license": "fp:9999" }),
        )
        .fact("cluster", &json!({ "mask_bdb_credentials": false }))
}

/// Adds the Secret, made by us unless adopted, with this fingerprint as its password.
pub(crate) fn secret(given: Given, name: &str, password: Option<&str>, ours: bool) -> Given {
    let mut data = json!({ "port": "fp:2222", "service_names": "fp:3333" });
    if let Some(password) = password {
        data["password"] = json!(password);
    }
    let given = given.object("secrets", &json!({ "kind": "Secret", "metadata": { "name": name }, "data": data }));
    let own = json!({ "kind": "Secret", "metadata": { "name": name } });
    if ours { given.object("own-secrets", &own) } else { given }
}

/// A running cluster, our Secret, and these databases.
pub(crate) fn world(redb: &Value, bdbs: &Value) -> Given {
    secret(bare(redb), "redb-mydb", Some("fp:1111"), true).fact("bdbs", bdbs)
}

/// The plan as a value, after the checks that hold for every plan. A look whether the name is free finds that it is.
pub(crate) fn plan(given: &Given) -> Value {
    let mut planned = given.run::<Redb>().unwrap();
    if planned.calls.iter().any(|call| call.id == "look") {
        planned = given.clone().reply("look", 200, &json!([])).run::<Redb>().unwrap();
    }
    admitted::check::<Redb>(&planned, &given.observation().primary.id);
    let plan = readable(&planned);
    assert!(!plan.to_string().contains("fp:"), "a fingerprint must not leave: {plan}");
    plan
}

/// The one rule that is broken.
pub(crate) fn violation(given: &Given) -> Violation {
    match given.run::<Redb>() {
        Err(Failure::Invalid(violations)) if violations.len() == 1 => violations.into_iter().next().unwrap(),
        other => unreachable!("expected one violation, got {other:?}"),
    }
}

pub(crate) fn events(plan: &Value) -> Vec<&str> {
    plan["events"].as_array().into_iter().flatten().map(|event| event.as_str().unwrap()).collect()
}
