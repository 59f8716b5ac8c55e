//! A database in another namespace than its cluster.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, plan, redb, secret, violation};
use serde_json::{Value, json};
use stepwright_redb::Redb;
use stepwright_sdk::testing::Given;

/// The same world with the cluster in namespace `clusters`; its databases are known.
fn guest(redb: &Value, services_rigger: &Value, bdbs: &Value) -> Given {
    let mut rec = common::with(&common::rec("Running"), &json!({ "spec": { "servicesRiggerSpec": services_rigger } }));
    rec["metadata"]["namespace"] = json!("clusters");
    let given = Given::new::<Redb>(redb)
        .object("clusters", &rec)
        .fact("bdbs", bdbs)
        .fact("license", &json!({ "expired": false, "shards_limit": 4 }))
        .fact("cluster", &json!({ "mask_bdb_credentials": false }));
    secret(given, "redb-mydb", Some("fp:1111"), true)
}

fn service(plan: &Value) -> Option<&Value> {
    let desired = plan["desired"].as_array()?;
    desired.iter().find(|it| it["id"] == "v1 Service ns/mydb").map(|it| &it["body"])
}

#[test]
fn it_is_made_there_and_found_here() {
    let made = plan(&guest(&redb(&json!({})), &json!({}), &json!([])));
    assert_eq!(made["calls"][0]["id"], "create");
    assert_eq!(made["calls"][0]["body"]["tags"][2], json!({ "key": "redb_namespace", "value": "ns" }));
    assert_eq!(service(&made), None, "before there is a port there is nothing to point at");

    let plan = plan(&guest(&active_redb(&json!({})), &json!({}), &json!([bdb(&json!({}))])));
    let spec = &service(&plan).unwrap()["spec"];
    assert_eq!(spec["type"], "ExternalName");
    assert_eq!(spec["externalName"], "redis-19621.clusters.svc.cluster.local");
    assert_eq!(spec["ports"], json!([{ "name": "redis", "port": 19621, "protocol": "TCP" }]));
    let of_secret = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 Secret ns/redb-mydb").unwrap();
    assert_eq!(of_secret["body"]["stringData"]["service_names"], "mydb", "kinds of Services have no effect here");
}

#[test]
fn the_port_is_that_of_the_service_that_it_points_at() {
    let policy = json!({ "databaseServicePortPolicy": "RedisDefaultPort" });
    let port = |redb: &Value| {
        let tagged = json!({ "tags": [
            { "key": "managed_by", "value": "stepwright" }, { "key": "redb_name", "value": "mydb" },
            { "key": "redb_namespace", "value": "ns" },
        ] });
        service(&plan(&guest(redb, &policy, &json!([bdb(&tagged)])))).unwrap()["spec"]["ports"][0]["port"].clone()
    };
    assert_eq!(port(&active_redb(&json!({}))), 6379);
    assert_eq!(port(&active_redb(&json!({ "spec": { "databaseServicePort": 7000 } }))), 7000);
}

#[test]
fn a_wrong_name_is_answered_with_what_there_is_at_the_operator() {
    let wrong = redb(&json!({ "spec": { "redisEnterpriseCluster": { "name": "other" } } }));
    assert_eq!(
        violation(&guest(&wrong, &json!({}), &json!([]))).message,
        "RedisEnterpriseCluster `other` not found in namespace `clusters`, which has `rec`: make it, or name another"
    );
}

#[test]
fn beside_its_cluster_it_makes_no_service() {
    let plan = plan(&common::world(&active_redb(&json!({})), &json!([bdb(&json!({}))])));
    assert_eq!(service(&plan), None);
}
