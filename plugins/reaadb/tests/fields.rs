//! Every field counts: each leaf of an Active-Active database's spec changes something in a plan, is refused, or is named as not
//! supported, with a reason. Samples of `globalConfigurations` are those of databases; a leaf of the schema without one fails here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{FIRST, crdb, reaadb, remote, with, world};
use serde::Deserialize;
use serde_json::{Value, json};
use stepwright_reaadb::Reaadb;
use stepwright_sdk::testing::schema::{changes, leaves, place};
use stepwright_sdk::testing::{Given, readable};

const SCHEMA: &str = include_str!("../../../crds/redisenterpriseactiveactivedatabases.yaml");
const SAMPLES: &str = include_str!("../../redb/tests/fields.yaml");
/// Longest text of a change that the golden file shows.
const SHOWN: usize = 160;
const GLOBAL: &str = "globalConfigurations.";

#[derive(Deserialize)]
struct Sample {
    /// The rest of the spec.
    #[serde(default)]
    given: Value,
    /// Leaf to value. The leaf is absent before, unless `given` has it.
    leaves: BTreeMap<String, Value>,
}

/// Whatever Secret a field may name, and a third cluster.
fn everything(primary: &Value) -> Given {
    let mut given = world(primary).object("remote-clusters", &remote("third", false, "Active"));
    let second = json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
        "metadata": {"name": "second"}, "status": {"state": "Initializing"}});
    given = given.object("clusters", &second);
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AccountName", "AccountKey", "CLIENT_ID", "PRIVATE_KEY"];
    let more = ["PRIVATE_KEY_ID", "CLIENT_EMAIL", "Key", "User", "username", "cert", "key", "uri", "password"];
    for name in ["secret-a", "secret-b", "redb-mydb"] {
        let data: serde_json::Map<String, Value> =
            keys.iter().chain(&more).map(|key| ((*key).to_owned(), json!(format!("fp:{key}")))).collect();
        given = given.object("secrets", &json!({"kind": "Secret", "metadata": {"name": name}, "data": data}));
    }
    given
}

/// What is sent or refused for a new one, and what is said not to be supported, of a new one and of one that is there.
fn read(spec: &Value) -> (Value, Vec<Value>) {
    let over = json!({"spec": spec, "status": {"lastTaskUid": FIRST, "redisEnterpriseCluster": "rec"}});
    let mut primary = with(&reaadb(&json!({})), &over);
    if !spec["globalConfigurations"].is_null() {
        primary["spec"]["globalConfigurations"] = spec["globalConfigurations"].clone();
    }
    let new = everything(&primary).reply("task", 404, &json!({})).reply("list", 200, &json!([]));
    let there = everything(&primary).fact("crdbs", &json!([crdb()]));
    let plan = |given: &Given| match given.run::<Reaadb>() {
        Ok(plan) => readable(&plan),
        Err(failure) => json!({"refused": serde_json::to_value(failure).unwrap()}),
    };
    let (mut new, there) = (plan(&new), plan(&there));
    let notes = [&new, &there]
        .into_iter()
        .flat_map(|plan| plan["notes"]["unsupported"].as_array().cloned().unwrap_or_default());
    let notes = notes.collect();
    // What is agreed upon holds the whole spec. Lists of named things become maps, so that one more shifts none.
    let named = |list: Option<&mut Value>, key: &str, value: &str| {
        let Some(list) = list else { return };
        let all = list
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it.pointer(key).unwrap().as_str().unwrap().to_owned(), it.pointer(value).unwrap().clone()));
        let mut all: serde_json::Map<String, Value> = all.collect();
        all.remove("global_configurations_spec");
        *list = Value::Object(all);
    };
    named(new.pointer_mut("/calls/0/body/default_db_config/tags"), "/key", "/value");
    named(new.pointer_mut("/calls/0/body/instances"), "/cluster/name", "");
    let waits = new["calls"].is_null().then(|| new["progress"]["waiting"].clone());
    (json!({"body": new["calls"][0]["body"], "refused": new["refused"], "waits": waits}), notes)
}

fn entry(before: &Value, after: &Value, leaf: &str) -> Option<Value> {
    let ((old, _), (new, notes)) = (read(before), read(after));
    if !new["refused"].is_null() {
        let text = new["refused"].to_string();
        return Some(json!({"refused": text.chars().take(SHOWN).collect::<String>()}));
    }
    let field = format!("spec.{}", leaf.replace("[]", "").trim_end_matches("{}"));
    let named =
        |note: &&Value| note["field"].as_str().is_some_and(|it| field == it || field.starts_with(&format!("{it}.")));
    let reason = notes.iter().find(named).map(|note| note["reason"].clone());
    let found = changes("new", &old, &new, SHOWN);
    match (found.is_empty(), reason) {
        (true, None) => None,
        (true, Some(reason)) => Some(json!({"not supported": reason})),
        (false, None) => Some(json!(found)),
        (false, Some(reason)) => Some(json!({"changes": found, "but": reason})),
    }
}

#[test]
fn every_leaf_has_an_effect_or_a_reason() {
    let schema: Value = serde_yaml_ng::from_str(SCHEMA).unwrap();
    let version = &schema["spec"]["versions"][0];
    let wanted = leaves(&version["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    assert!(wanted.len() > 100, "the walk found next to nothing: {wanted:?}");

    let mut cases: Vec<(String, Value, Value)> = Vec::new();
    for sample in serde_yaml_ng::from_str::<Vec<Sample>>(SAMPLES).unwrap() {
        for (leaf, value) in sample.leaves {
            let given = if sample.given.is_null() { json!({}) } else { sample.given.clone() };
            // Where the sample of databases is what copies are like anyhow.
            let value = match leaf.as_str() {
                "evictionPolicy" => json!("allkeys-lru"),
                "replication" | "shardingEnabled" => json!(false),
                _ => value,
            };
            cases.push((format!("{GLOBAL}{leaf}"), json!({"globalConfigurations": given}), value));
        }
    }
    let third = json!({"participatingClusters": [{"name": "near"}]});
    for (leaf, value) in [
        ("participatingClusters[].name", json!("third")),
        ("participatingClusters[].namespace", json!("elsewhere")),
        ("participatingClusters[].externalReplicationPort", json!(12_000)),
        ("redisEnterpriseCluster.name", json!("second")),
    ] {
        cases.push((leaf.to_owned(), third.clone(), value));
    }
    let (mut golden, mut silent) = (BTreeMap::new(), Vec::new());
    for (leaf, before, value) in cases {
        let mut after = before.clone();
        *place(&mut after, &leaf) = value;
        match entry(&before, &after, &leaf) {
            Some(entry) => {
                golden.insert(leaf, entry);
            }
            None => silent.push(leaf),
        }
    }
    let sampled: BTreeSet<String> = golden.keys().chain(&silent).cloned().collect();
    let missing: Vec<&String> = wanted.difference(&sampled).collect();
    let unknown: Vec<&String> = sampled.difference(&wanted).collect();
    assert!(missing.is_empty(), "leaves of the schema without a sample: {missing:?}");
    assert!(unknown.is_empty(), "samples of fields that the schema does not have: {unknown:?}");
    assert!(silent.is_empty(), "fields that nothing reads and no reason is given for: {silent:?}");
    insta::assert_yaml_snapshot!(golden);
}
