//! Two clusters that answer, and an Active-Active database resource, said in few words.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]
#![allow(dead_code, reason = "each test file uses its part")]

use serde_json::{Value, json};
use stepwright_reaadb::Reaadb;
pub(crate) use stepwright_sdk::testing::merged as with;
use stepwright_sdk::testing::{Given, readable};

pub(crate) const UID: &str = "0b4b4d3c-9f53-4a1c-8d20-5a6f5d2f7e11";
pub(crate) const FIRST: &str = "0b4b4d3c-9f53-4a1c-8d20-100000000001";
/// The id of the first change after that.
pub(crate) const SECOND: &str = "0b4b4d3c-9f53-4a1c-8d20-200000000002";

pub(crate) fn reaadb(over: &Value) -> Value {
    let base = json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
        "metadata": {"name": "aa", "namespace": "ns", "generation": 2, "uid": UID},
        "spec": {
            "participatingClusters": [{"name": "near"}, {"name": "far", "namespace": "ns-far"}],
            "globalConfigurations": {"memorySize": "200MB", "databaseSecretName": "aa-password"},
        },
    });
    with(&base, over)
}

pub(crate) fn remote(name: &str, local: bool, status: &str) -> Value {
    let far = || (format!("rec-{name}"), format!("ns-{name}"));
    let (rec, namespace) = if local { ("rec".to_owned(), "ns".to_owned()) } else { far() };
    json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
        "metadata": {"name": name},
        "spec": {"recName": rec, "recNamespace": namespace, "apiFqdnUrl": format!("api-{name}.example.com"),
            "dbFqdnSuffix": format!(".db-{name}.example.com")},
        "status": {"status": status, "local": local, "clusterName": format!("{rec}.{namespace}.svc.cluster.local"),
            "conditions": [{"type": "Ready", "message": format!("{name} is not reachable: timed out")}]},
    })
}

/// Both clusters, without a database.
pub(crate) fn world(reaadb: &Value) -> Given {
    let rec = json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
        "status": {"state": "Running", "certificatesStatus": {"generation": 1}},
    });
    Given::new::<Reaadb>(reaadb)
        .object("clusters", &rec)
        .object("remote-clusters", &remote("near", true, "Active"))
        .object("remote-clusters", &remote("far", false, "Active"))
        .object(
            "secrets",
            &json!({"kind": "Secret", "metadata": {"name": "aa-password"}, "data": {"password": "fp:1111"}}),
        )
        .fact("crdbs", &json!([]))
        .fact("bdbs", &json!([]))
        .fact("crdb-health", &json!({}))
        .fact("cluster", &json!({"mask_bdb_credentials": false}))
        .now("2026-01-01T00:01:00Z")
}

/// A task as it is looked up.
pub(crate) fn task(status: &str) -> Value {
    json!({"id": "x", "status": status, "progress": {"clusters": [{"name": "rec.ns.svc.cluster.local", "progress": 35}]},
        "errors": [], "ended": "2026-01-01T00:00:50Z"})
}

/// The database as the resource above makes it.
pub(crate) fn crdb() -> Value {
    let created = world(&reaadb(&json!({"status": {"lastTaskUid": FIRST}}))).reply("task", 404, &json!({})).reply(
        "list",
        200,
        &json!([]),
    );
    let plan = plan(&created);
    let body = plan["calls"][0]["body"].clone();
    let mut config = body["default_db_config"].clone();
    config["authentication_redis_pass"] = json!("fp:1111");
    let mut instances = body["instances"].clone();
    for (number, instance) in instances.as_array_mut().unwrap().iter_mut().enumerate() {
        instance["id"] = json!(number + 1);
        instance["cluster"].as_object_mut().unwrap().remove("credentials");
    }
    json!({"guid": "g-1", "name": "aa", "default_db_config": config, "instances": instances})
}

/// What both clusters say of the links.
pub(crate) fn health(status: &str) -> Value {
    let link = |to: &str| json!([{"name": to, "status": "connected", "replication_links": [{"link_uid": "1:1", "status": status}]}]);
    let (near, far) = ("rec.ns.svc.cluster.local", "rec-far.ns-far.svc.cluster.local");
    json!({"g-1": [
        {"cluster_name": near, "connections": link(far), "connection_error": null},
        {"cluster_name": far, "connections": link(near), "connection_error": null},
    ]})
}

/// What the status says once the database is there, as the resource above is.
pub(crate) fn active() -> Value {
    let agreed = r#"{"globalConfigurations":{"databaseSecretName":"aa-password","memorySize":"200MB"},"participatingClusters":[{"name":"far","namespace":"ns-far"},{"name":"near","namespace":"ns"}]}"#;
    json!({"status": "active", "specStatus": "Valid", "guid": "g-1", "lastTaskUid": FIRST, "observedGeneration": 2,
        "redisEnterpriseCluster": "rec", "clusterCertificatesGeneration": 1, "globalConfigurations": agreed})
}

/// The same once a change was decided, and its id written down.
pub(crate) fn changing(over: &Value, crdb: &Value) -> Given {
    settled(&with(&json!({"status": {"lastTaskUid": SECOND}}), over), crdb)
}

/// A database at rest.
pub(crate) fn settled(over: &Value, crdb: &Value) -> Given {
    let status = json!({"status": active()});
    let given = world(&with(&reaadb(&status), over)).fact("crdbs", &json!([crdb])).fact("crdb-health", &health("up"));
    let copy = json!({"kind": "Secret", "metadata": {"name": "reaadb-aa-in-force"}, "data": {"password": "fp:1111"}});
    given.object("secrets", &copy)
}

pub(crate) fn plan(given: &Given) -> Value {
    let plan = readable(&given.run::<Reaadb>().unwrap());
    assert!(!plan.to_string().contains("fp:"), "a fingerprint must not leave: {plan}");
    plan
}

/// The same after the task was looked for and the databases were listed.
pub(crate) fn looked(given: &Given, task: Option<&Value>, listed: &Value) -> Given {
    let calls = plan(given)["calls"].clone();
    assert_eq!(calls[0]["id"], "task", "{calls}");
    let given = match task {
        Some(task) => given.clone().reply("task", 200, task),
        None => given.clone().reply("task", 404, &json!({})),
    };
    given.reply("list", 200, listed)
}

pub(crate) fn waiting(plan: &Value) -> &str {
    plan["progress"]["waiting"].as_str().unwrap_or_else(|| unreachable!("it does not wait: {plan}"))
}
