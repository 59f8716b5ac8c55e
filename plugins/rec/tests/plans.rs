//! The plan at each station of a cluster's life, as a whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use insta::assert_yaml_snapshot as golden;
use serde_json::json;
use world::{BORN, World, answers, says, statefulset};

#[test]
fn fresh() {
    golden!(World::default().plan());
}

#[test]
fn pods_up_and_idle() {
    golden!(World::pods_up().answer());
}

#[test]
fn first_node_completed_is_remembered_before_anybody_joins() {
    let mut world = World::pods_up();
    world.says(0, says("completed"));
    world.facts = answers(0..1);
    golden!(world.answer());
}

#[test]
fn the_second_node_joins() {
    golden!(World::formed(1).answer());
}

#[test]
fn all_joined_is_running() {
    golden!(World::formed(3).answer());
}

#[test]
fn running_changes_nothing() {
    golden!(World::running().answer());
}

#[test]
fn a_second_cluster_is_refused() {
    let mut world = World::default();
    let older = json!({
        "kind": "RedisEnterpriseCluster",
        "metadata": { "name": "first", "creationTimestamp": BORN }, "status": { "state": "Running" },
    });
    world.rivals = vec![older];
    golden!(world.plan());
}

#[test]
fn deletion_waits_for_databases() {
    let mut world = World::running();
    world.deleting = true;
    world.databases = vec![
        json!({ "kind": "RedisEnterpriseDatabase", "metadata": { "name": "mydb" },
            "spec": { "redisEnterpriseCluster": { "name": "rec" } } }),
        json!({ "kind": "RedisEnterpriseDatabase", "metadata": { "name": "nameless" }, "spec": {} }),
        json!({ "kind": "RedisEnterpriseDatabase", "metadata": { "name": "elsewhere" },
            "spec": { "redisEnterpriseCluster": { "name": "other" } } }),
        json!({ "kind": "RedisEnterpriseDatabase", "metadata": { "name": "theirs", "namespace": "team-a" },
            "spec": { "redisEnterpriseCluster": { "name": "rec" } } }),
    ];
    golden!(world.answer());
}

#[test]
fn deletion_without_databases_wants_nothing() {
    let mut world = World::running();
    world.deleting = true;
    golden!(world.plan());
}

#[test]
fn many_fields_reach_the_pods() {
    let spec = json!({
        "nodes": 5,
        "persistentSpec": { "enabled": true, "storageClassName": "fast", "volumeSize": "1.5Gi" },
        "redisEnterpriseNodeResources": { "requests": { "cpu": 2, "memory": "4096Mi" }, "limits": { "cpu": "2000m", "memory": "4Gi" } },
        "username": "admin@example.com",
        "licenseSecretName": "my-license",
        "serviceAccountName": "custom",
        "pullSecrets": [{ "name": "pull" }],
        "extraLabels": { "team": "a", "app": "not-ours", "app.kubernetes.io/managed-by": "me" },
        "podAnnotations": { "a": "1" },
        "redisEnterprisePodAnnotations": { "b": "2" },
        "nodeSelector": { "memory": "high" },
        "podTolerations": [{ "key": "db", "operator": "Exists" }],
        "antiAffinityAdditionalTopologyKeys": ["zone"],
        "priorityClassName": "important",
        "hostAliases": [{ "ip": "1.2.3.4", "hostnames": ["h"] }],
        "containerTimezone": { "timezoneName": "Asia/Tokyo" },
        "extraEnvVars": [{ "name": "X", "value": "y" }],
        "volumes": [{ "name": "scratch", "emptyDir": { "sizeLimit": "1024Mi" } }],
        "redisEnterpriseVolumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
        "sideContainersSpec": [{ "name": "side", "image": "s", "resources": { "limits": { "cpu": 1 } } }],
        "redisEnterpriseAdditionalPodSpecAttributes": { "dnsPolicy": "Default", "affinity": {} },
        "redisEnterpriseTerminationGracePeriodSeconds": 60,
        "enforceIPv4": true,
        "securityContext": { "resourceLimits": { "allowAutoAdjustment": true }, "fips": { "enabled": true } },
        "bootstrapperResources": { "limits": { "cpu": 1 } },
        "slaveHA": { "slaveHAGracePeriod": 1800 },
        "clusterRecovery": false,
    });
    golden!(World { spec, ..World::default() }.plan());
}

#[test]
fn without_persistence() {
    let spec = json!({
        "persistentSpec": { "enabled": false }, "redisEnterpriseNodeResources": { "limits": { "memory": "1Gi" } },
    });
    let plan = World { spec, ..World::default() }.plan();
    let set =
        plan["desired"].as_array().unwrap().iter().find(|object| object["id"] == "apps/v1 StatefulSet ns/rec").unwrap();
    assert_eq!(set["body"]["spec"].get("volumeClaimTemplates"), None);
    let volumes = set["body"]["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.contains(&json!({ "name": "redis-enterprise-storage", "emptyDir": {} })));
    golden!(plan["events"]);
}

#[test]
fn what_the_running_set_has_is_kept() {
    let mut world = World::running();
    let mut set = statefulset(3);
    set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = json!("7Gi");
    world.statefulset = Some(set);
    let text = world.plan().to_string();
    assert!(text.contains(r#""storage":"7Gi""#) && !text.contains("20Gi"), "{text}");
}

/// Kubernetes gives CPUs of its own to a container whose pod is Guaranteed and which asks for a whole number (the kubelet's static
/// CPU policy); the node's processes then see these alone.
#[test]
fn a_node_may_have_cpus_of_its_own() {
    let plan = World::pods_up().plan();
    let set = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "apps/v1 StatefulSet ns/rec").unwrap();
    let containers = set["body"]["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let [node] = containers.as_slice() else { panic!("another container would share them") };
    assert_eq!(node["resources"]["requests"], node["resources"]["limits"]);
    assert!(node["resources"]["limits"]["cpu"].to_string().trim_matches('"').parse::<u32>().is_ok_and(|cpus| cpus > 0));
    assert!(!node["resources"]["limits"]["memory"].is_null());
}
