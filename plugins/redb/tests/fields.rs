//! Every field counts: each leaf of a database's spec changes something in a plan, or is named as not supported, with a
//! reason. The samples are in `fields.yaml`; a leaf of the schema without one fails here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{active_redb, bdb, redb, with};
use serde::Deserialize;
use serde_json::{Value, json};
use stepwright_redb::Redb;
use stepwright_sdk::testing::schema::{changes, leaves, place};
use stepwright_sdk::testing::{Given, readable};

const SCHEMA: &str = include_str!("../../../crds/redisenterprisedatabases.yaml");
const SAMPLES: &str = include_str!("fields.yaml");
/// Longest text of a change that the golden file shows.
const SHOWN: usize = 240;

/// Fields that are looked at over one and the same spec.
#[derive(Deserialize)]
struct Sample {
    /// The rest of the spec.
    #[serde(default)]
    given: Value,
    /// What the database has that is there already, beside what the walkthrough's has.
    #[serde(default)]
    bdb: Value,
    /// Leaf to value. The leaf is absent before, unless `given` has it.
    leaves: BTreeMap<String, Value>,
}

/// A cluster on which every field may be used, and whatever Secret a field may name.
fn world(redb: &Value, bdbs: &Value) -> Given {
    let rec = with(
        &common::rec("Running"),
        &json!({
            "spec": { "rackAwarenessNodeLabel": "zone", "redisOnFlashSpec": {} },
            "status": {
                "modules": [{ "name": "search", "versions": ["2.8.4"] }],
                "bundledDatabaseVersions": [
                    { "dbType": "Redis", "version": "7.2.9", "major": true },
                    { "dbType": "Redis", "version": "8.0.2", "major": true },
                    { "dbType": "Redis", "version": "8.2.1", "major": false },
                ],
            },
        }),
    );
    let mut given = Given::new::<Redb>(redb)
        .object("clusters", &rec)
        .object("statefulsets", &json!({ "kind": "StatefulSet", "metadata": { "name": "rec" } }))
        .fact("bdbs", bdbs)
        .fact("policy", &json!({ "redis_upgrade_policy": "latest", "default_provisioned_redis_version": "8.0" }))
        .fact("license", &json!({ "expired": false, "shards_limit": 40 }))
        .fact("cluster", &json!({ "mask_bdb_credentials": false }));
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AccountName", "AccountKey", "CLIENT_ID", "PRIVATE_KEY"];
    let more = ["PRIVATE_KEY_ID", "CLIENT_EMAIL", "Key", "User", "username", "cert", "key", "uri"];
    for name in ["secret-a", "secret-b"] {
        let data: serde_json::Map<String, Value> =
            keys.iter().chain(&more).map(|key| ((*key).to_owned(), json!(format!("fp:{name}-{key}")))).collect();
        let secret = json!({ "kind": "Secret", "metadata": { "name": name }, "data": with(&json!(data), &json!({ "password": "fp:1111" })) });
        given = given.object("secrets", &secret);
    }
    common::secret(given, "redb-mydb", Some("fp:1111"), true)
}

fn read(given: &Given) -> Value {
    let looks = |plan: &stepwright_sdk::Plan| plan.calls.iter().any(|call| call.id == "look");
    let planned = match given.run::<Redb>() {
        Ok(plan) if looks(&plan) => given.clone().reply("look", 200, &json!([])).run::<Redb>(),
        planned => planned,
    };
    match planned {
        Ok(planned) => {
            common::admitted::check::<Redb>(&planned, &given.observation().primary.id);
            readable(&planned)
        }
        Err(failure) => json!({ "refused": serde_json::to_value(failure).unwrap() }),
    }
}

/// Plans at several stations of a database's life.
fn plans(spec: &Value, there: &Value) -> BTreeMap<&'static str, Value> {
    let spec = json!({ "spec": spec });
    let first = world(&with(&redb(&json!({})), &spec), &json!([]));
    let kept = world(&with(&active_redb(&json!({})), &spec), &json!([with(&bdb(&json!({})), there)]));
    let roles = json!([{ "uid": 17, "name": "readers" }, { "uid": 18, "name": "writers" }]);
    let acls = json!([{ "uid": 2, "name": "Read Only" }, { "uid": 20, "name": "cache" }]);
    let kept = kept.fact("alerts", &json!({})).fact("roles", &roles).fact("redis-acls", &acls);
    BTreeMap::from([("1 new", read(&first)), ("2 there", read(&kept))])
}

/// Lists of named things as maps, so that one more shifts none.
fn keyed(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let name = |item: &Value| ["id", "key"].iter().find_map(|key| item[*key].as_str().map(str::to_owned));
            let named: Option<serde_json::Map<String, Value>> =
                items.iter().map(|item| Some((name(item)?, keyed(item)))).collect();
            named
                .filter(|named| !named.is_empty() && named.len() == items.len())
                .map_or_else(|| items.iter().map(keyed).collect(), Value::Object)
        }
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), keyed(field))).collect(),
        other => other.clone(),
    }
}

/// What the leaf changes in a new database, and at the first station where it changes anything in one that is there; and why
/// it is not supported, if it is not.
fn effect(before: &Value, after: &Value, there: &Value, leaf: &str) -> (Vec<String>, Option<String>) {
    let (before, after) = (plans(before, there), plans(after, there));
    let field = format!("spec.{}", leaf.replace("[]", "").trim_end_matches("{}"));
    let mut reason = None;
    for plan in after.values() {
        for entry in plan["notes"]["unsupported"].as_array().into_iter().flatten() {
            let named = entry["field"].as_str().unwrap();
            if field == named || field.starts_with(&format!("{named}.")) {
                reason = entry["reason"].as_str().map(str::to_owned);
            }
        }
    }
    let (mut all, mut changed) = (Vec::new(), false);
    for (station, plan) in &after {
        // What is sent, or refused. Words for people, and reads, are no effect.
        let effects = |plan: &Value| {
            let mut calls = plan["calls"].clone();
            if let Some(calls) = calls.as_array_mut() {
                calls.retain(|call| !call["id"].as_str().is_some_and(|id| id.starts_with("read ")));
                // The id of a change names what it changes; as a name of the change it would hide the change.
                for call in calls {
                    let id = call["id"].as_str().unwrap().split(':').next().unwrap().to_owned();
                    call["id"] = json!(id);
                }
            }
            let calls = if calls == json!([]) { Value::Null } else { keyed(&calls) };
            if !plan["refused"].is_null() {
                return json!({ "refused": plan["refused"] });
            }
            json!({
                "calls": calls, "desired": plan["desired"], "amended": plan["amended"],
                "defaults": plan["defaults"],
            })
        };
        let (old, new) = (effects(&before[station]), effects(plan));
        let mut found = Vec::new();
        match &new["refused"] {
            Value::Null => found.extend(changes(station, &old, &new, SHOWN)),
            refused if old["refused"] == *refused => {}
            refused => found.push(format!("{station}: refused: {refused}")),
        }
        let of_new = station.starts_with('1');
        if of_new || !changed {
            changed |= !of_new && !found.is_empty();
            all.append(&mut found);
        }
    }
    (all, reason)
}

#[test]
fn every_leaf_has_an_effect_or_a_reason() {
    let schema: Value = serde_yaml_ng::from_str(SCHEMA).unwrap();
    let version = &schema["spec"]["versions"][0];
    let wanted = leaves(&version["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    assert!(wanted.len() > 100, "the walk found next to nothing: {wanted:?}");

    let samples: Vec<Sample> = serde_yaml_ng::from_str(SAMPLES).unwrap();
    let mut golden: BTreeMap<String, Value> = BTreeMap::new();
    let mut silent = Vec::new();
    let (mut acted_on, mut partly, mut unsupported) = (0, 0, 0);
    for sample in &samples {
        for (leaf, value) in &sample.leaves {
            let given = if sample.given.is_null() { json!({}) } else { sample.given.clone() };
            let there = if sample.bdb.is_null() { json!({}) } else { sample.bdb.clone() };
            let mut after = given.clone();
            *place(&mut after, leaf) = value.clone();
            let entry = match effect(&given, &after, &there, leaf) {
                (changes, None) if changes.is_empty() => {
                    silent.push(leaf.clone());
                    continue;
                }
                (changes, Some(reason)) if changes.is_empty() => {
                    unsupported += 1;
                    json!({ "not supported": reason })
                }
                (changes, None) => {
                    acted_on += 1;
                    json!(changes)
                }
                (changes, Some(reason)) => {
                    partly += 1;
                    json!({ "changes": changes, "but": reason })
                }
            };
            assert!(golden.insert(leaf.clone(), entry).is_none(), "two samples of {leaf}");
        }
    }
    let sampled: BTreeSet<String> = golden.keys().chain(&silent).cloned().collect();
    let missing: Vec<&String> = wanted.difference(&sampled).collect();
    let unknown: Vec<&String> = sampled.difference(&wanted).collect();
    assert!(missing.is_empty(), "leaves of the schema without a sample in fields.yaml: {missing:?}");
    assert!(unknown.is_empty(), "samples of fields that the schema does not have: {unknown:?}");
    assert!(silent.is_empty(), "fields that nothing reads and no reason is given for: {silent:?}");
    golden.insert(
        "(count)".to_owned(),
        json!({ "acted on": acted_on, "acted on in part": partly, "not supported": unsupported }),
    );
    insta::assert_yaml_snapshot!(golden);
}
