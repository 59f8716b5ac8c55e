//! A remote cluster's resource: what is said of the cluster, when it stays, and what it begins.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use stepwright_rerc::Rerc;
use stepwright_sdk::Failure;
use stepwright_sdk::testing::{Given, readable};

fn rerc(status: &Value) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
        "metadata": {"name": "far", "namespace": "ns", "generation": 3},
        "spec": {"recName": "rec-far", "recNamespace": "ns-far", "apiFqdnUrl": "api-far.example.com"},
        "status": status,
    })
}

fn near(status: &Value) -> Value {
    let mut near = rerc(status);
    near["metadata"]["name"] = json!("near");
    near["spec"] = json!({"recName": "rec", "recNamespace": "ns", "apiFqdnUrl": "api.example.com"});
    near
}

fn secret(name: &str, version: &str, password: &str) -> Value {
    json!({"kind": "Secret", "metadata": {"name": name, "resourceVersion": version},
        "data": {"username": "fp:u", "password": password}})
}

fn with_secret(rerc: &Value) -> Given {
    let name = format!("redis-enterprise-{}", rerc["metadata"]["name"].as_str().unwrap());
    Given::new::<Rerc>(rerc).object("credentials", &secret(&name, "77", "fp:p"))
}

fn beside(given: Given) -> Given {
    let rec =
        json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"}});
    given.object("clusters", &rec)
}

fn plan(given: &Given) -> Value {
    readable(&given.run::<Rerc>().unwrap())
}

fn named(name: &str) -> Value {
    json!({"name": name})
}

#[test]
fn one_that_answers_is_active() {
    let given = with_secret(&rerc(&json!({}))).fact("cluster", &named("rec-far.ns-far.svc.cluster.local"));
    insta::assert_yaml_snapshot!(plan(&given));
    // What is so already is told no more.
    let again = with_secret(&rerc(&json!({"status": "Active"}))).fact("cluster", &named("rec-far.ns-far.svc.other"));
    let plan = plan(&again);
    assert_eq!((&plan["progress"], &plan["events"]), (&json!("done"), &Value::Null));
    assert_eq!(plan["status"]["clusterName"], "rec-far.ns-far.svc.other");
}

#[test]
fn one_that_does_not_answer_says_why_and_keeps_its_name() {
    let was = json!({"status": "Active", "clusterName": "rec-far.ns-far.svc.cluster.local"});
    let given = with_secret(&rerc(&was)).unknown("cluster", "api-far.example.com:443 is not reachable: timed out");
    insta::assert_yaml_snapshot!(plan(&given));
    let silent = with_secret(&rerc(&json!({"status": "Error"}))).unknown("cluster", "no");
    assert_eq!(plan(&silent)["events"], Value::Null);
}

#[test]
fn without_its_secret_nothing_else_is_said() {
    let given = Given::new::<Rerc>(&rerc(&json!({}))).unknown("cluster", "whatever");
    let waiting = plan(&given)["progress"]["waiting"].to_string();
    assert!(waiting.contains("Secret `redis-enterprise-far` does not exist: make it"), "{waiting}");
}

#[test]
fn another_cluster_than_is_meant_is_found_out() {
    let given = with_secret(&rerc(&json!({}))).fact("cluster", &named("rec.ns.svc.cluster.local"));
    let waiting = plan(&given)["progress"]["waiting"].to_string();
    assert!(waiting.contains("is cluster `rec.ns.svc.cluster.local`, not cluster `rec-far`"), "{waiting}");
}

#[test]
fn the_cluster_beside_it_is_local_and_must_be_given_out_with_its_own_login() {
    let own = named("rec.ns.svc.cluster.local");
    let local = beside(with_secret(&near(&json!({})))).fact("cluster", &own);
    let good = plan(&local.clone().object("logins", &secret("rec", "1", "fp:p")));
    assert_eq!((&good["status"]["local"], &good["status"]["status"]), (&json!(true), &json!("Active")));
    let bad = plan(&local.object("logins", &secret("rec", "1", "fp:other")));
    assert_eq!(bad["status"]["status"], "Error");
    let waiting = bad["progress"]["waiting"].to_string();
    assert!(waiting.contains("has another login than Secret `rec`"), "{waiting}");
}

#[test]
fn rules_name_field_and_remedy() {
    let mut bad = rerc(&json!({}));
    bad["spec"]["secretName"] = json!("mine");
    bad["spec"]["apiFqdnUrl"] = json!("https://api");
    let Err(Failure::Invalid(broken)) = with_secret(&bad).run::<Rerc>() else { unreachable!("it was taken") };
    let fields: Vec<&str> = broken.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["spec.secretName", "spec.apiFqdnUrl"]);
}

#[test]
fn it_stays_for_as_long_as_a_database_lists_it() {
    let gone = with_secret(&rerc(&json!({"status": "Active"}))).deleting();
    assert_eq!(plan(&gone)["progress"], "done");
    let database = |names: Value| {
        json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
            "metadata": {"name": "aa", "namespace": "apps"}, "spec": {"participatingClusters": names}})
    };
    let other = gone.clone().object("databases", &database(json!([{"name": "near"}])));
    assert_eq!(plan(&other)["progress"], "done");
    let listed = gone.object("databases", &database(json!([{"name": "near"}, {"name": "far"}])));
    insta::assert_yaml_snapshot!(plan(&listed));
}

#[test]
fn the_local_one_begins_the_resources_of_databases_that_were_made_elsewhere() {
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let participants = r#"[{"name":"far","namespace":"ns-far"},{"name":"near","namespace":"apps"}]"#;
    let tags = json!([
        tag("redb_resource", "reaadb"),
        tag("redb_resource_name", "aa"),
        tag("participating_clusters_spec", participants),
        tag("global_configurations_spec", r#"{"memorySize":"1GB"}"#),
    ]);
    let crdbs = json!([
        {"guid": "g-1", "name": "aa", "default_db_config": {"tags": tags}},
        {"guid": "g-2", "name": "by-hand", "default_db_config": {}},
    ]);
    let local = beside(with_secret(&near(&json!({"status": "Active", "local": true}))))
        .fact("cluster", &named("rec.ns.svc.cluster.local"))
        .fact("crdbs", &crdbs);
    assert_eq!(plan(&local)["calls"][0]["request"], "GET /v1/crdbs to -");
    insta::assert_yaml_snapshot!(plan(&local.clone().reply("list", 200, &crdbs))["desired"]);
    // One that is gone by now is begun by nobody.
    assert_eq!(plan(&local.clone().reply("list", 200, &json!([])))["desired"], Value::Null);
    let there = json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
        "metadata": {"name": "aa", "namespace": "apps"}});
    assert_eq!(plan(&local.object("databases", &there))["calls"], Value::Null);
    // One that stands for another cluster has nothing to do with it.
    let far = with_secret(&rerc(&json!({}))).fact("cluster", &named("rec-far.ns-far.x")).fact("crdbs", &crdbs);
    assert_eq!(plan(&far)["desired"], Value::Null);
}
