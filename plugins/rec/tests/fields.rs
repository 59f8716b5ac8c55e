//! Every field counts: each leaf of a cluster's spec changes something in the plan of some step, or is named as not
//! supported, with a reason. The samples are in `fields.yaml`; a leaf of the schema without one fails here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepwright_sdk::testing::schema::{changes, leaves, place};
use stepwright_sdk::testing::{Given, readable};
use stepwright_sdk::{Failure, Plan};
use stepwright_services_rigger::ServicesRigger;
use stepwright_upgrade::Upgrade;
use world::World;

const SCHEMA: &str = include_str!("../../../crds/redisenterpriseclusters.yaml");
const SAMPLES: &str = include_str!("fields.yaml");
/// Longest text of a change that the golden file shows.
const SHOWN: usize = 160;

/// Fields that are looked at over one and the same spec.
#[derive(Deserialize)]
struct Sample {
    /// The rest of the spec.
    #[serde(default)]
    given: Value,
    /// Leaf to value. The leaf is absent before, unless `given` has it.
    leaves: BTreeMap<String, Value>,
}

fn secret(name: &str) -> Value {
    let keys = ["cert", "key", "dn", "username", "password", "license", "idp_metadata"];
    let data: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), json!(format!("fp:{name}-{key}")))).collect();
    json!({ "kind": "Secret", "metadata": { "name": name }, "data": data })
}

fn rec_world(mut world: World, spec: &Value) -> World {
    world.spec = spec.clone();
    world.racks = vec!["a".into(), "b".into(), "c".into()];
    world.secrets.extend([secret("secret-a"), secret("secret-b")]);
    world.facts.push(("policy".into(), json!({ "rack_aware": false, "slave_ha_grace_period": 900 })));
    let parts = ["auditing", "certificates", "ldap", "metrics", "ocsp", "services", "sso"];
    world.facts.extend(parts.map(|part| (part.into(), json!({}))));
    world
}

/// Plans of all steps at several stations of a cluster's life.
fn plans(spec: &Value) -> BTreeMap<&'static str, Value> {
    let read = |plan: Result<Plan, Failure>| match plan {
        Ok(plan) => readable(&plan),
        Err(failure) => json!({ "refused": serde_json::to_value(failure).unwrap() }),
    };
    let running = rec_world(World::running(), spec);
    let first = read(running.run());
    let mut second = rec_world(World::running(), spec);
    for call in first["calls"].as_array().into_iter().flatten() {
        let empty = (call["id"].as_str().unwrap().to_owned(), 200, json!({}));
        second.replies.push(empty);
    }
    second.round = 1;
    let cluster = json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" }, "spec": spec,
        "status": { "redisEnterpriseVersion": "8.0.18-11" },
    });
    let bdb = json!([{
        "uid": 1, "name": "mydb", "port": 0, "crdt": true,
        "endpoints": [{ "port": 19621, "addr": ["10.9.0.10"], "addr_type": "internal" }],
    }]);
    let mut rigger = Given::new::<ServicesRigger>(&cluster).fact("bdbs", &bdb);
    if spec.get("ossClusterSettings").is_some() {
        // There is somebody for whom clients outside are served.
        let mut outside = bdb.clone();
        outside[0]["oss_cluster"] = json!(true);
        outside[0]["oss_cluster_api_preferred_ip_type"] = json!("external");
        let pod = json!({ "kind": "Pod", "metadata": { "name": "rec-0" }, "status": { "podIP": "10.9.0.10" } });
        rigger = rigger.fact("bdbs", &outside).object("pods", &pod);
    }
    let mut larger = rec_world(World::running(), spec);
    for ordinal in 3..5 {
        larger.pods.push((format!("rec-{ordinal}"), Some(world::ip(ordinal)), world::says("completed")));
    }
    larger.facts = world::answers(0..5);
    larger.facts.push(("bdbs".into(), json!([])));
    larger.statefulset = Some(world::statefulset(5));
    larger.statefulset.as_mut().unwrap()["spec"]["replicas"] = json!(5);
    let mut lost = rec_world(World::running(), spec);
    lost.facts.clear();
    lost.status["state"] = json!("Error");
    (0..3).for_each(|ordinal| lost.says(ordinal, world::says("joining_cluster")));
    let mut apart = rec_world(World::running(), spec);
    apart.facts.push(("host".into(), world::host()));
    let broker = json!({ "kind": "ServiceAccount", "metadata": { "name": "redis-enterprise-service-broker" } });
    apart.broker_accounts.push(broker);
    apart.accounts.push(world::account());
    BTreeMap::from([
        ("9 the rigger runs apart", read(apart.run())),
        ("7 five nodes run", read(larger.run())),
        ("8 quorum lost", read(lost.run())),
        ("1 new cluster", read(rec_world(World::default(), spec).run())),
        ("2 second node joins", read(rec_world(World::formed(1), spec).run())),
        ("3 running", first),
        ("4 running, next round", read(second.run())),
        ("5 upgrade", read(Given::new::<Upgrade>(&cluster).run::<Upgrade>())),
        ("6 services-rigger", read(rigger.run::<ServicesRigger>())),
    ])
}

/// Lists of named things as maps, so that one more shifts none.
fn keyed(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let name = |item: &Value| {
                ["id", "name", "mountPath"].iter().rev().find_map(|key| item[*key].as_str().map(str::to_owned))
            };
            let named: Option<Map<String, Value>> = items.iter().map(|item| Some((name(item)?, keyed(item)))).collect();
            named
                .filter(|named| !named.is_empty() && named.len() == items.len())
                .map_or_else(|| items.iter().map(keyed).collect(), Value::Object)
        }
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), keyed(field))).collect(),
        other => other.clone(),
    }
}

/// What the leaf changes at the first station where it changes anything, and why it is not supported, if it is not.
fn effect(before: &Value, after: &Value, leaf: &str) -> (Vec<String>, Option<String>) {
    let (before, after) = (plans(before), plans(after));
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
    for (station, plan) in &after {
        let without_notes = |plan: &Value| {
            let mut plan = plan.clone();
            if let Some(notes) = plan["notes"].as_object_mut() {
                notes.remove("unsupported");
            }
            keyed(&plan)
        };
        let mut found = Vec::new();
        found.extend(changes(station, &without_notes(&before[station]), &without_notes(plan), SHOWN));
        if !found.is_empty() {
            return (found, reason);
        }
    }
    (Vec::new(), reason)
}

#[test]
fn every_leaf_has_an_effect_or_a_reason() {
    let schema: Value = serde_yaml_ng::from_str(SCHEMA).unwrap();
    let version =
        schema["spec"]["versions"].as_array().unwrap().iter().find(|version| version["name"] == "v1").unwrap();
    let wanted = leaves(&version["schema"]["openAPIV3Schema"]["properties"]["spec"]);

    let samples: Vec<Sample> = serde_yaml_ng::from_str(SAMPLES).unwrap();
    let mut golden: BTreeMap<String, Value> = BTreeMap::new();
    let mut silent = Vec::new();
    let (mut acted_on, mut unsupported) = (0, 0);
    for sample in &samples {
        for (leaf, value) in &sample.leaves {
            let mut before = if sample.given.is_null() { json!({}) } else { sample.given.clone() };
            let mut after = before.clone();
            *place(&mut after, leaf) = value.clone();
            if *place(&mut before, leaf) == Value::Null {
                before = if sample.given.is_null() { json!({}) } else { sample.given.clone() };
            }
            let entry = match effect(&before, &after, leaf) {
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
                    acted_on += 1;
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
    golden.insert("(count)".to_owned(), json!({ "acted on": acted_on, "not supported": unsupported }));
    insta::assert_yaml_snapshot!(golden);
}
