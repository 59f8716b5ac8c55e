//! The checks on requests as the API server sends them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use stepwright_sdk::{Admission as _, Judged, Object, ObjectRef, ObjectSet, Question, RawFact, judge};

use super::*;

struct Asked(Question);

/// What the API server asks about an object; every object set is there and empty, no fact is known.
fn asked(check: &str, kind: &str, object: &Value) -> Asked {
    let version = if kind == "RedisEnterpriseCluster" { "v1" } else { "v1alpha1" };
    let kind = json!({"group": "app.redislabs.com", "version": version, "kind": kind});
    let request = json!({"uid": "u", "kind": kind, "operation": "CREATE", "namespace": "ns", "object": object, "oldObject": null});
    let manifest = serde_json::to_value(Rules::manifest()).unwrap();
    let of_check = manifest["steps"].as_array().unwrap().iter().find(|it| it["name"] == check).unwrap();
    let names = |path: &str, field: Option<&str>| -> Vec<String> {
        let all = of_check[path].as_array().unwrap().iter();
        all.map(|it| field.map_or(it, |field| &it[field]).as_str().unwrap().to_owned()).collect()
    };
    let objects = names("observes", Some("name")).into_iter().map(|name| ObjectSet { name, objects: Vec::new() });
    let unknown = || Err("not reachable".to_owned());
    let facts = names("facts", None).into_iter().map(|name| RawFact { name, value: unknown() });
    Asked(Question {
        check: check.to_owned(),
        request: request.to_string(),
        objects: objects.collect(),
        facts: facts.collect(),
        settings: "{}".to_owned(),
    })
}

impl Asked {
    fn set(mut self, set: &str, name: &str, body: &Value) -> Self {
        let id =
            ObjectRef { api_version: "v1".into(), kind: "x".into(), namespace: Some("ns".into()), name: name.into() };
        let set = self.0.objects.iter_mut().find(|it| it.name == set).unwrap();
        set.objects.push(Object { id, body: body.to_string() });
        self
    }

    fn fact(mut self, name: &str, value: &Value) -> Self {
        self.0.facts.iter_mut().find(|it| it.name == name).unwrap().value = Ok(value.to_string());
        self
    }

    fn instead_of(mut self, old: &Value) -> Self {
        let mut request: Value = serde_json::from_str(&self.0.request).unwrap();
        request["oldObject"] = old.clone();
        request["operation"] = json!("UPDATE");
        self.0.request = request.to_string();
        self
    }

    #[track_caller]
    fn check(self, violations: &[(&str, &str)], warnings: usize) {
        let judged: Judged = judge::<Rules>(&self.0);
        let found: Vec<&str> = judged.violations.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(found, violations.iter().map(|(field, _)| *field).collect::<Vec<_>>(), "{judged:?}");
        for (violation, (_, part)) in judged.violations.iter().zip(violations) {
            assert!(violation.message.contains(part), "{violation:?} has no {part:?}");
        }
        assert_eq!(judged.warnings.len(), warnings, "{judged:?}");
    }
}

fn database(spec: Value) -> Value {
    json!({"metadata": {"name": "db", "namespace": "ns"}, "spec": spec})
}

fn redb(spec: Value) -> Asked {
    asked(DATABASE, "RedisEnterpriseDatabase", &database(spec))
}

fn running(asked: Asked) -> Asked {
    asked.set("clusters", "rec", &json!({"status": {"state": "Running"}})).fact("bdbs", &json!([]))
}

#[test]
fn a_database_is_judged_before_there_is_a_cluster() {
    redb(json!({"memorySize": "100MB"})).check(&[], 1);
    redb(json!({"evictionPolicy": "illegal", "redisEnterpriseCluster": {"name": "rec"}}))
        .check(&[("spec.evictionPolicy", "Possible values are ['volatile-lru', ")], 1);
}

#[test]
fn a_database_is_judged_on_its_cluster() {
    running(redb(json!({"memorySize": "100MB"}))).check(&[], 0);
    running(redb(json!({"redisEnterpriseCluster": {"name": "other"}})))
        .check(&[("spec.redisEnterpriseCluster.name", "`ns`, which has `rec`: make it, or name another")], 0);
    running(redb(json!({"isRof": true, "memorySize": "1GB"})))
        .check(&[("spec.isRof", "set spec.redisOnFlashSpec there")], 0);
    running(redb(json!({"databasePort": 12000})))
        .fact("bdbs", &json!([{"uid": 1, "name": "db", "endpoints": [{"port": 12000, "addr_type": "internal"}]}]))
        .check(&[("metadata.name", "has another database `db`"), ("spec.databasePort", "12000 is the port of")], 0);
    running(redb(json!({"shardCount": 4, "replication": true})))
        .fact("license", &json!({"shards_limit": 4}))
        .check(&[("spec.replication", "License permits 4 total shards")], 0);
}

#[test]
fn what_was_stored_before_a_rule_was_there_can_be_worked_on() {
    let broken = json!({"evictionPolicy": "illegal"});
    redb(broken.clone()).instead_of(&database(broken.clone())).check(&[], 0);
    running(redb(broken)).instead_of(&database(json!({}))).check(&[("spec.evictionPolicy", "illegal")], 0);
}

fn cluster(spec: Value) -> Asked {
    let object = json!({"metadata": {"name": "rec", "creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": spec});
    asked(CLUSTER, "RedisEnterpriseCluster", &object)
}

#[test]
fn a_cluster_is_judged() {
    cluster(json!({"nodes": 3})).check(&[], 0);
    cluster(json!({"nodes": 4})).check(&[("spec.nodes", "set 3, 5, 7")], 0);
    cluster(json!({"nodes": 3, "redisEnterpriseImageSpec": {"digestHash": "sha256:1"}}))
        .check(&[("spec.redisEnterpriseImageSpec.digestHash", "versionTag")], 0);
    cluster(json!({"nodes": 3}))
        .set(
            "rivals",
            "first",
            &json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"state": "Running"}}),
        )
        .check(&[("metadata.name", "`first` is there already")], 0);
    let small = json!({"nodes": 3, "redisEnterpriseNodeResources": {"limits": {"memory": "1Gi"}}});
    cluster(small).check(&[], 1);
    let set = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "redis-enterprise-storage"},
        "spec": {"resources": {"requests": {"storage": "10Gi"}}}}]}});
    cluster(json!({"nodes": 3, "persistentSpec": {"volumeSize": "5Gi"}}))
        .set("statefulsets", "rec", &set)
        .check(&[("spec.persistentSpec.volumeSize", "cannot shrink")], 0);
}

#[test]
fn an_active_active_database_is_judged() {
    let object = |spec: Value| json!({"metadata": {"name": "aa"}, "spec": spec});
    let bare = |spec| asked(ACTIVE_ACTIVE, "RedisEnterpriseActiveActiveDatabase", &object(spec));
    let ask = |spec| bare(spec).set("remote-clusters", "one", &json!({})).set("clusters", "rec", &json!({}));
    let global = |global: Value| json!({"participatingClusters": [{"name": "one"}], "globalConfigurations": global});
    ask(global(json!({"memorySize": "100MB", "shardingEnabled": true}))).check(&[], 0);
    ask(global(json!({"evictionPolicy": "illegal"}))).check(
        &[("spec.globalConfigurations.evictionPolicy", "'illegal' is an invalid value for 'eviction_policy'")],
        0,
    );
    ask(json!({"participatingClusters": [{"name": "one"}, {"name": "two"}]}))
        .check(&[("spec.participatingClusters.name", "`two` not found in namespace `ns`, which has one")], 0);
    // Without a cluster nobody knows where they would be.
    bare(json!({"participatingClusters": [{"name": "two"}]})).check(&[], 1);
}

#[test]
fn a_remote_cluster_is_judged() {
    let object = |spec: Value| json!({"metadata": {"name": "far"}, "spec": spec});
    let ask = |spec| asked(REMOTE_CLUSTER, "RedisEnterpriseRemoteCluster", &object(spec));
    ask(json!({"apiFqdnUrl": "api.example.com"})).check(&[], 1);
    ask(json!({"apiFqdnUrl": "https://api.example.com", "secretName": "mine"}))
        .set("credentials", "redis-enterprise-far", &json!({}))
        .check(&[("spec.secretName", "`redis-enterprise-far`"), ("spec.apiFqdnUrl", "without scheme")], 0);
}

#[test]
fn a_check_asks_for_no_more_than_its_step() {
    let manifest = serde_json::to_value(Rules::manifest()).unwrap();
    for check in manifest["steps"].as_array().unwrap() {
        assert_eq!((&check["writes"], &check["calls"]), (&json!([]), &json!([])), "{check}");
    }
    let sets = |check: usize| manifest["steps"][check]["observes"].as_array().unwrap().len();
    assert_eq!((sets(0), sets(1)), (3, 1));
}
