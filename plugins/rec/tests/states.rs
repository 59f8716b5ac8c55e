//! The state of a cluster, and rules of the spec.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use serde_json::{Value, json};
use stepwright_sdk::Failure;
use world::{World, answers, says, statefulset};

#[test]
fn an_unreachable_cluster_is_never_running() {
    let mut world = World::running();
    world.facts.clear();
    assert_eq!(world.state(), "Error");
    assert!(world.plan()["progress"]["waiting"].to_string().contains("does not answer: not reachable"));
    world.status["state"] = json!("Initializing");
    assert_eq!(world.state(), "Initializing", "it never served, so it is a beginning and no error");
}

#[test]
fn a_license_that_is_about_to_expire_is_told_once_a_day() {
    // It expires on 2026-01-31.
    let events = |today: &str, kept: Option<&str>| {
        let mut world = World::running();
        world.facts.push(("today".into(), json!(today)));
        let board = |told| {
            let metadata = json!({ "name": "rec-bulletin-board" });
            json!({ "kind": "ConfigMap", "metadata": metadata, "data": { "license-expiring-told": told } })
        };
        world.configmaps = kept.into_iter().map(board).collect();
        let plan = world.plan();
        let desired = plan["desired"].as_array().unwrap().iter();
        let mut data =
            desired.filter(|it| it["id"] == "v1 ConfigMap ns/rec-bulletin-board").map(|it| &it["body"]["data"]);
        assert_eq!(plan["progress"], "done", "the cluster is well all the same");
        (plan["events"].clone(), data.next().unwrap()["license-expiring-told"].clone())
    };
    assert_eq!(events("2026-01-23", None), (Value::Null, Value::Null));
    let told = |days: &str, date: &str| {
        let text = format!(
            "Warning LicenseExpiring: the license expires in {days}, on 2026-01-31T00:00:00Z: from then on no database can be made or changed, and the cluster cannot be upgraded; install another by spec.license or spec.licenseSecretName"
        );
        (json!([text]), json!(date))
    };
    assert_eq!(events("2026-01-24", None), told("7 days", "2026-01-24"));
    assert_eq!(events("2026-01-24", Some("2026-01-24")), (Value::Null, json!("2026-01-24")));
    assert_eq!(events("2026-01-30", Some("2026-01-24")), told("1 day", "2026-01-30"));
    assert_eq!(events("2026-02-01", Some("2026-01-30")).0, Value::Null, "the cluster says when it has");
    assert_eq!(events("no date", None), (Value::Null, Value::Null));
    // With calls in the same pass it is told in the round that notes it.
    let mut world = World::running();
    world.facts.push(("today".into(), json!("2026-01-24")));
    world.spec["license"] = json!("another one");
    let plan = world.plan();
    assert!(plan["calls"].to_string().contains("/v1/license"));
    assert!(plan["events"].to_string().contains("LicenseExpiring"));
}

#[test]
fn a_scaled_statefulset_is_no_rolling_update() {
    let mut world = World::running();
    let mut set = statefulset(3);
    // `kubectl scale`, not looked at by the controller yet.
    set["metadata"]["generation"] = json!(2);
    set["spec"]["replicas"] = json!(4);
    world.statefulset = Some(set);
    let plan = world.plan();
    assert_eq!((&plan["status"]["state"], &plan["events"]), (&json!("Running"), &Value::Null));
    assert_eq!(plan["progress"]["waiting"], "the changed StatefulSet is being read");
    // Put back, and read: as before.
    world.statefulset = Some(statefulset(3));
    assert_eq!(world.plan()["events"], Value::Null);
    // A change of the pods that is under way stays one.
    let mut world = World::running();
    world.status["state"] = json!("RunningRollingUpdate");
    let mut set = statefulset(3);
    set["metadata"]["generation"] = json!(2);
    world.statefulset = Some(set);
    assert_eq!(world.state(), "RunningRollingUpdate");
}

#[test]
fn a_rolling_statefulset_is_a_rolling_update() {
    let mut world = World::running();
    let mut set = statefulset(2);
    set["status"]["updateRevision"] = json!("b");
    world.statefulset = Some(set);
    assert_eq!(world.state(), "RunningRollingUpdate");
    world.status["state"] = json!("RunningRollingUpdate");
    world.statefulset = Some(statefulset(3));
    assert_eq!(world.state(), "Running");
}

#[test]
fn a_missing_pod_or_an_inactive_node_is_not_running() {
    let mut world = World::running();
    world.pods.truncate(2);
    assert_eq!(world.state(), "Initializing");
    let mut world = World::running();
    world.facts = answers(0..2);
    assert_eq!(world.state(), "Initializing");
    let mut world = World::running();
    world.statefulset = Some(statefulset(2));
    assert_eq!(world.state(), "Initializing");
}

#[test]
fn what_is_not_known_now_keeps_its_last_value() {
    let mut world = World::running();
    let status = world.plan()["status"].clone();
    world.status = status.clone();
    world.facts.clear();
    let later = world.plan()["status"].clone();
    for field in ["licenseStatus", "modules", "bundledDatabaseVersions", "redisEnterpriseIPFamily"] {
        assert_eq!(later[field], status[field], "{field}");
    }
}

#[test]
fn a_version_that_a_node_lacks_is_not_offered() {
    let mut world = World::running();
    world.facts[0].1[1]["supported_database_versions"] = json!([{ "db_type": "redis", "version": "7.4.2" }]);
    assert_eq!(world.plan()["status"]["bundledDatabaseVersions"], json!([]));
}

#[test]
fn an_expired_license_is_told() {
    let mut world = World::running();
    world.facts[3].1["expired"] = json!(true);
    assert_eq!(world.plan()["status"]["licenseStatus"]["licenseState"], "Expired");
}

#[test]
fn whoever_began_keeps_the_namespace() {
    let rival = |name: &str, created: &str, state: &str| {
        let metadata = json!({ "name": name, "creationTimestamp": created });
        json!({ "kind": "RedisEnterpriseCluster", "metadata": metadata, "status": { "state": state } })
    };
    let mut world = World::default();
    world.rivals = vec![rival("rec", world::BORN, ""), rival("zz", world::BORN, "PendingCreation")];
    assert_eq!(world.state(), "PendingCreation", "equally old, but first by name");
    world.rivals = vec![rival("zz", world::BORN, "BootstrappingFirstPod")];
    assert_eq!(world.state(), "Invalid", "the other has begun");
    let mut world = World::running();
    world.rivals = vec![rival("aa", world::BEFORE, "")];
    assert_eq!(world.state(), "Running", "this one has begun");
}

#[track_caller]
fn refused(spec: Value, running: bool, field: &str, words: &str) {
    let mut world = if running { World::running() } else { World::default() };
    world.spec = spec;
    let Err(Failure::Invalid(violations)) = world.run() else { panic!("must be refused") };
    let found = violations.iter().any(|violation| violation.field == field && violation.message.contains(words));
    assert!(found, "{violations:?}");
}

#[test]
fn broken_rules_are_named() {
    refused(json!({ "nodes": 4 }), false, "spec.nodes", "odd and at least 3");
    refused(json!({ "nodes": 1 }), true, "spec.nodes", "odd and at least 3");
    refused(json!({ "license": "a", "licenseSecretName": "b" }), false, "spec.license", "excludes");
    let both = json!({ "activeActive": {}, "ingressOrRouteSpec": { "method": "ingress" } });
    refused(both.clone(), false, "spec.activeActive", "excludes");
    refused(both, false, "spec.ingressOrRouteSpec.ingressAnnotations", "kubernetes.io/ingress.class");
    let other = json!({ "clusterCredentialSecretName": "other" });
    refused(other, true, "spec.clusterCredentialSecretName", "set it back to `rec`");
    refused(json!({ "persistentSpec": { "enabled": false } }), true, "spec.persistentSpec.enabled", "switched off");
    let class = json!({ "persistentSpec": { "storageClassName": "new" } });
    refused(class, true, "spec.persistentSpec.storageClassName", "the default class");
    let size = |size: &str| json!({ "persistentSpec": { "volumeSize": size } });
    refused(size("10Gi"), true, "spec.persistentSpec.volumeSize", "cannot shrink");
    refused(size("40Gi"), true, "spec.persistentSpec.volumeSize", "enablePersistentVolumeResize");
    refused(size("much"), false, "spec.persistentSpec.volumeSize", "is not a size");
    let ldap = json!({ "ldap": { "authenticationQuery": { "template": "a" }, "authorizationQuery": {} } });
    refused(ldap, false, "spec.ldap.authorizationQuery", "exactly one");
}

#[test]
fn equal_sizes_in_another_notation_are_no_change() {
    let mut world = World::running();
    world.spec = json!({ "persistentSpec": { "volumeSize": "20480Mi" } });
    assert_eq!(world.state(), "Running");
}

fn claim(ordinal: u32, asked: &str, has: &str) -> Value {
    json!({
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": format!("redis-enterprise-storage-rec-{ordinal}"), "creationTimestamp": world::BORN },
        "spec": { "resources": { "requests": { "storage": asked } } },
        "status": { "phase": "Bound", "capacity": { "storage": has } },
    })
}

fn growing(sizes: [&str; 3]) -> World {
    let mut world = World::running();
    world.spec["persistentSpec"] = json!({ "enablePersistentVolumeResize": true, "volumeSize": "40Gi" });
    world.claims.clear();
    world.sized_claims = (0..).zip(sizes).map(|(ordinal, has)| claim(ordinal, "40Gi", has)).collect();
    world
}

#[test]
fn volumes_grow_by_their_claims_and_the_statefulset_stays_as_it_is() {
    let mut world = growing(["40Gi", "20Gi", "20Gi"]);
    let plan = world.plan();
    let amended = plan["amended"].as_array().unwrap();
    assert_eq!(amended.len(), 3);
    assert_eq!(amended[2]["id"], "v1 PersistentVolumeClaim ns/redis-enterprise-storage-rec-2");
    assert_eq!(amended[2]["body"], json!({ "spec": { "resources": { "requests": { "storage": "40Gi" } } } }));
    assert_eq!(plan["status"]["persistenceStatus"], json!({ "status": "Resizing", "succeeded": "1/3" }));
    assert!(plan["events"].to_string().contains("PVCResizing"));
    let template =
        plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "apps/v1 StatefulSet ns/rec").unwrap();
    let claim = &template["body"]["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "20Gi");

    world.status["persistenceStatus"] = json!({ "status": "Resizing" });
    world.sized_claims = (0..3).map(|ordinal| self::claim(ordinal, "40Gi", "40Gi")).collect();
    let plan = world.plan();
    assert_eq!(plan["status"]["persistenceStatus"], json!({ "status": "Provisioned", "succeeded": "3/3" }));
    assert!(plan["events"].to_string().contains("PVCResized"));
}

#[test]
fn a_volume_that_cannot_grow_is_told() {
    let mut world = growing(["20Gi"; 3]);
    world.sized_claims[1]["status"]["conditions"] =
        json!([{ "type": "ControllerResizeError", "status": "True", "message": "class does not allow it" }]);
    let plan = world.plan();
    assert_eq!(plan["status"]["persistenceStatus"]["status"], "ResizeFailed");
    assert!(plan["events"].to_string().contains("redis-enterprise-storage-rec-1: class does not allow it"));
}

#[test]
fn a_larger_size_that_the_api_server_refuses_is_told() {
    let mut world = growing(["20Gi"; 3]);
    world.sized_claims = (0..3).map(|ordinal| claim(ordinal, "20Gi", "20Gi")).collect();
    assert_eq!(world.plan()["status"]["persistenceStatus"], json!({ "status": "Resizing", "succeeded": "0/3" }));
    let name = "redis-enterprise-storage-rec-0";
    world.refused =
        Some(["PersistentVolumeClaim", name, "Forbidden", "only dynamically provisioned pvc can be resized"]);
    let plan = world.plan();
    assert_eq!(plan["status"]["persistenceStatus"], json!({ "status": "ResizeFailed", "succeeded": "0/3" }));
    let told = plan["events"].to_string();
    assert!(told.contains(&format!("{name}: only dynamically")) && told.contains("allowVolumeExpansion"), "{told}");
    assert_eq!(plan["amended"].as_array().unwrap().len(), 3, "it is tried again");
}

#[test]
fn claims_that_have_grown_are_asked_for_their_size_from_then_on() {
    for spec in [json!({ "volumeSize": "40Gi" }), json!({})] {
        let mut world = growing(["40Gi"; 3]);
        world.spec["persistentSpec"] = spec;
        let plan = world.plan();
        assert_eq!(plan["amended"].as_array().unwrap().len(), 3);
        assert_eq!(plan["amended"][0]["body"]["spec"]["resources"]["requests"]["storage"], "40Gi");
        assert_eq!(plan["status"]["persistenceStatus"]["status"], "Provisioned");
    }
}

#[test]
fn volumes_that_have_grown_cannot_shrink_to_the_template() {
    let mut world = growing(["40Gi"; 3]);
    world.spec["persistentSpec"]["volumeSize"] = json!("30Gi");
    let Err(Failure::Invalid(violations)) = world.run() else { panic!("must be refused") };
    assert_eq!(violations[0].message, "cannot shrink: the volumes have 40Gi; set it back");
}

#[test]
fn nodes_that_are_members_cannot_be_taken_away_but_scaled_pods_can() {
    let mut world = World::running();
    world.pods.push(("rec-3".into(), Some("10.9.0.13".into()), says("idle")));
    assert_eq!(world.state(), "Running", "a pod of somebody's `kubectl scale` is no member");
    world.pods[3].2 = says("completed");
    let Err(Failure::Invalid(violations)) = world.run() else { panic!("must be refused") };
    assert!(violations[0].message.contains("rec-3 is a member"), "{violations:?}");
}

#[test]
fn a_cluster_that_goes_away_is_not_judged() {
    let mut world = World::running();
    world.spec = json!({ "nodes": 4 });
    world.deleting = true;
    assert_eq!(world.state(), "Deleting");
}
