//! Every field counts: each leaf of a remote cluster's spec changes what this step says, or what the step of Active-Active databases sends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stepwright_reaadb::Reaadb;
use stepwright_rerc::Rerc;
use stepwright_sdk::testing::schema::{changes, leaves, place};
use stepwright_sdk::testing::{Given, readable};

const SCHEMA: &str = include_str!("../../../crds/redisenterpriseremoteclusters.yaml");
/// Longest text of a change that the golden file shows.
const SHOWN: usize = 200;

fn remote(name: &str, local: bool, spec: &Value) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
        "metadata": {"name": name, "generation": 1}, "spec": spec, "status": {"status": "Active", "local": local}})
}

/// What is said of the cluster while it does not answer as expected, and how a database on it would be made.
fn read(spec: &Value) -> Value {
    let secret = json!({"kind": "Secret", "metadata": {"name": "redis-enterprise-far", "resourceVersion": "1"}});
    let said = Given::new::<Rerc>(&remote("far", false, spec))
        .object("credentials", &secret)
        .fact("cluster", &json!({"name": "rec-far.ns-far.svc.cluster.local"}));
    let said = match said.run::<Rerc>() {
        Ok(plan) => readable(&plan)["progress"].clone(),
        Err(failure) => serde_json::to_value(failure).unwrap(),
    };
    let task = "00000000-0000-4000-8000-100000000001";
    let database = json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
        "metadata": {"name": "aa", "generation": 1}, "status": {"lastTaskUid": task},
        "spec": {"participatingClusters": [{"name": "far"}]}});
    let rec = json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
        "status": {"state": "Running"}});
    let near = json!({"recName": "rec", "recNamespace": "ns", "apiFqdnUrl": "api.example.com"});
    let made = Given::new::<Reaadb>(&database)
        .object("clusters", &rec)
        .object("remote-clusters", &remote("near", true, &near))
        .object("remote-clusters", &remote("far", false, spec))
        .fact("crdbs", &json!([]))
        .reply("task", 404, &json!({}))
        .reply("list", 200, &json!([]));
    let made = readable(&made.run::<Reaadb>().unwrap())["calls"][0]["body"].clone();
    json!({"said": said, "cluster": made["instances"][0]["cluster"], "tls": made["default_db_config"]["tls_mode"]})
}

#[test]
fn every_leaf_has_an_effect() {
    let schema: Value = serde_yaml_ng::from_str(SCHEMA).unwrap();
    let wanted = leaves(&schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    let before = json!({"recName": "rec-far", "recNamespace": "ns-far", "apiFqdnUrl": "api-far.example.com"});
    let samples = [
        ("apiFqdnUrl", json!("api.elsewhere.com")),
        ("apiPort", json!(8443)),
        ("dbFqdnSuffix", json!(".db.example.com")),
        ("recName", json!("other")),
        ("recNamespace", json!("elsewhere")),
        ("secretName", json!("mine")),
    ];
    let mut golden = BTreeMap::new();
    for (leaf, value) in samples {
        let mut after = before.clone();
        *place(&mut after, leaf) = value;
        let found = changes("", &read(&before), &read(&after), SHOWN);
        assert!(!found.is_empty(), "nothing reads {leaf}");
        golden.insert(leaf.to_owned(), found);
    }
    assert_eq!(golden.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    insta::assert_yaml_snapshot!(golden);
}
