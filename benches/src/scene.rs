//! A running cluster of five nodes: its objects as the API server has them, and what its REST API answers, with the fields
//! and sizes that a real one shows (REST reference, 4.1, 4.3, 5.1, 5.2 and 10).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwright_core::manifest::StepManifest;
use stepwright_core::mask::mask;
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::observation::{Fact, ObjectSet, Observation};

pub const NODES: u32 = 5;
/// When everything was made.
const BORN: &str = "2026-01-01T00:00:10Z";
const IMAGE: &str = "redislabs/redis:8.0.20-44.23";

fn labels() -> Value {
    json!({"app": "redis-enterprise", "redis.io/cluster": "rec", "redis.io/role": "node"})
}

fn ip(ordinal: u32) -> String {
    format!("10.9.0.{}", 10 + ordinal)
}

/// The RedisEnterpriseCluster, with the fields that people set.
pub fn cluster() -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
        "metadata": {"name": "rec", "labels": {"app": "redis-enterprise"}},
        "spec": {
            "nodes": NODES, "username": "admin@example.com",
            "persistentSpec": {"enabled": true, "volumeSize": "20Gi"},
            "redisEnterpriseNodeResources": {
                "requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
            "extraLabels": {"team": "data", "environment": "production"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "podTolerations": [{"key": "dedicated", "operator": "Equal", "value": "redis", "effect": "NoSchedule"}],
            "redisEnterprisePodAnnotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8070"},
            "extraEnvVars": [{"name": "ZONE", "value": "a"}],
        },
    })
}

/// A pod of the cluster, as the kubelet reports it.
pub fn pod(ordinal: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("rec-{ordinal}"), "labels": labels()},
        "spec": {"containers": [{"name": "redis-enterprise-node", "image": IMAGE}]},
        "status": {
            "phase": "Running", "podIP": ip(ordinal), "podIPs": [{"ip": ip(ordinal)}], "startTime": BORN,
            "containerStatuses": [{
                "name": "redis-enterprise-node", "ready": true, "started": true, "restartCount": 0,
                "image": format!("docker.io/{IMAGE}"),
                "imageID": format!("docker.io/redislabs/redis@sha256:{}", "5f".repeat(32)),
                "containerID": format!("containerd://{}", "a7".repeat(32)),
                "state": {"running": {"startedAt": BORN}}, "lastState": {},
                "allocatedResources": {"cpu": "2", "memory": "4Gi"},
                "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "2", "memory": "4Gi"}},
            }],
        },
    })
}

/// The claim of a pod.
pub fn claim(ordinal: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": format!("redis-enterprise-storage-rec-{ordinal}"), "labels": labels()},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}},
        "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "20Gi"}},
    })
}

/// A database of the cluster, as its user wrote it.
pub fn database(number: usize) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": format!("orders-{number}")},
        "spec": {"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "256MB"},
    })
}

/// What the StatefulSet's controller reports when all pods are ready.
pub fn statefulset_status() -> Value {
    json!({
        "observedGeneration": 1, "replicas": NODES, "readyReplicas": NODES, "currentReplicas": NODES,
        "updatedReplicas": NODES, "availableReplicas": NODES,
        "currentRevision": "rec-7c9d8b6f5", "updateRevision": "rec-7c9d8b6f5",
    })
}

/// The StatefulSet; only what steps look at.
fn statefulset() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "rec"},
        "spec": {"volumeClaimTemplates": [{
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "redis-enterprise-storage", "labels": labels()},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}, "volumeMode": "Filesystem"},
            "status": {"phase": "Pending"}}]},
        "status": statefulset_status(),
    })
}

/// The Secret with credentials, as steps see it: fingerprints instead of values.
fn secret() -> Value {
    let fingerprint = |digit: &str| format!("fp:{}", digit.repeat(32));
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rec"},
        "data": {"username": fingerprint("1"), "password": fingerprint("2"), "license": fingerprint("3")},
    })
}

/// What the REST API answers, by the name of the fact.
pub fn facts() -> BTreeMap<String, Value> {
    let all = || 0..NODES;
    let bootstrap = all().map(|ordinal| (format!("rec-{ordinal}"), bootstrapped(ordinal)));
    let status = all().map(|ordinal| ((ordinal + 1).to_string(), node_status(ordinal)));
    BTreeMap::from([
        ("bootstrap".to_owned(), Value::Object(bootstrap.collect())),
        ("nodes".to_owned(), all().map(node).collect()),
        ("nodes-status".to_owned(), Value::Object(status.collect())),
        ("cluster".to_owned(), settings()),
        ("license".to_owned(), license()),
        ("modules".to_owned(), ["search", "bf", "ReJSON", "timeseries"].into_iter().map(module).collect()),
        ("bdbs".to_owned(), json!([])),
    ])
}

fn bootstrapped(ordinal: u32) -> Value {
    let time = "2026-01-01T00:01:22Z";
    json!({
        "bootstrap_status": {"state": "completed", "start_time": time, "end_time": time},
        "local_node_info": {
            "software_version": "8.0.20-44", "os_version": "Red Hat Enterprise Linux 9.6 (Plow)", "cores": 2,
            "total_memory": 4_294_967_296_u64, "architecture": "x86_64", "uid": (ordinal + 1).to_string(),
            "available_addrs": [{"address": ip(ordinal), "format": "ipv4", "if_name": "eth0", "private": true}],
        },
    })
}

fn node(ordinal: u32) -> Value {
    json!({
        "uid": ordinal + 1, "addr": ip(ordinal), "status": "active", "software_version": "8.0.20-44",
        "accept_servers": true, "architecture": "x86_64", "available_addrs": [ip(ordinal)],
        "bigredis_storage_path": "/var/opt/redislabs/flash", "bigstore_driver": "", "bigstore_size": 21_474_836_480_u64, "cores": 2,
        "ephemeral_storage_path": "/var/opt/redislabs/tmp", "ephemeral_storage_size": 21_474_836_480_u64,
        "external_addr": [], "max_listeners": 100, "max_redis_servers": 100,
        "os_version": "Red Hat Enterprise Linux 9.6 (Plow)", "persistent_storage_path": "/var/opt/redislabs/persist",
        "persistent_storage_size": 21_474_836_480_u64, "public_addr": "", "rack_id": "", "recovery_path": "",
        "shard_count": 0, "shard_list": [], "system_time": BORN, "total_memory": 4_294_967_296_u64, "uptime": 86400,
        "supported_database_versions": [
            {"db_type": "memcached", "version": "1.4.17"},
            {"db_type": "redis", "redis_version": "7.4", "version": "7.4.3", "major": true},
            {"db_type": "redis", "redis_version": "8.0", "version": "8.0.2", "major": true}],
    })
}

fn node_status(ordinal: u32) -> Value {
    json!({
        "hostname": format!("rec-{ordinal}"), "node_status": "active", "role": if ordinal == 0 { "master" } else { "slave" },
        "ip_address": ip(ordinal), "cores": 2, "node_overbooking_depth": 0, "software_version": "8.0.20-44",
        "free_provisional_ram": 3_221_225_472_u64, "total_provisional_memory": 3_221_225_472_u64, "total_memory": 4_294_967_296_u64,
    })
}

fn settings() -> Value {
    json!({
        "name": "rec.redis.svc.cluster.local", "handle_redirects": true, "created_time": BORN, "email_alerts": false,
        "bigstore_driver": "", "cm_port": 8443, "cnm_http_port": 8080, "cnm_https_port": 9443, "control_cipher_suites": "HIGH:!aNULL",
        "data_cipher_list": "HIGH:!3DES:!aNULL", "encrypt_pkeys": false, "envoy_max_downstream_connections": 1024,
        "http_support": true, "login_lockout_counter_reset_after": 900, "login_lockout_duration": 1800, "login_lockout_threshold": 5,
        "min_control_TLS_version": "1.2", "min_data_TLS_version": "1.2", "password_complexity": false, "rack_aware": false,
        "reserved_ports": [], "s3_url": "", "sentinel_tls_mode": "allowed", "slave_ha": false, "slave_ha_grace_period": 600,
        "mtls_certificate_authentication": false, "upgrade_mode": false, "wait_command": true,
        "alert_settings": {"cluster_certs_about_to_expire": {"enabled": true, "threshold": "45"},
            "node_memory": {"enabled": true, "threshold": "80"}, "node_persistent_storage": {"enabled": true, "threshold": "80"}},
    })
}

fn license() -> Value {
    json!({
        "license": "", "owner": null, "cluster_name": null, "expired": false, "key": null, "features": ["trial", "bigstore"],
        "activation_date": "2026-01-01T00:00:00Z", "expiration_date": "2026-01-31T00:00:00Z",
        "shards_limit": 4, "ram_shards_limit": 4, "ram_shards_in_use": 0, "flash_shards_limit": 4, "flash_shards_in_use": 0,
    })
}

fn module(name: &str) -> Value {
    json!({
        "uid": "c3".repeat(16), "module_name": name, "display_name": format!("Redis {name}"), "semantic_version": "8.2.0",
        "version": 80_200, "author": "RedisLabs", "architecture": "x86_64", "os": "rhel9",
        "module_file": format!("redis-{name}.so"), "min_redis_version": "8.0", "compatible_redis_version": "8.0",
        "min_redis_pack_version": "8.0", "is_bundled": true, "crdb_supported": true,
        "capabilities": ["types", "hash_policy", "flash"], "command_line_args": "", "config_command": "",
        "description": format!("{name} for Redis"), "license": "Redis Source Available License",
        "homepage": "https://redis.io", "email": "info@redis.com", "sha256": "e1".repeat(32),
    })
}

/// What the step `rec` observes of all this when the cluster runs: through the masks of its manifest, as the operator makes
/// it, and with so many databases that at least `bytes` cross into the sandbox.
pub fn observation(step: &StepManifest, bytes: usize) -> Observation {
    let mut primary = cluster();
    set(&mut primary, "status", json!({"state": "Running", "clusterCredentialSecretName": "rec"}));
    let of = |set: &str| -> Vec<Value> {
        match set {
            "pods" => (0..NODES).map(pod).collect(),
            "claims" => (0..NODES).map(claim).collect(),
            "statefulsets" => vec![statefulset()],
            "secrets" => vec![secret()],
            "rivals" => vec![primary.clone()],
            _ => Vec::new(),
        }
    };
    let sets = step.observes.iter().map(|observe| {
        let objects = of(&observe.name).into_iter().map(|value| observed(value, &observe.fields));
        ObjectSet { name: observe.name.clone(), objects: objects.collect() }
    });
    let known = facts();
    let facts = step.facts.iter().map(|name| {
        let value = known.get(name).map(Value::to_string).ok_or_else(|| "not known".to_owned());
        Fact { name: name.clone(), value }
    });
    let image = json!({"image": IMAGE, "tag": "8.0.20-44.23", "pullPolicy": "IfNotPresent"});
    let mut observation = Observation {
        step: step.name.clone(),
        objects: sets.collect(),
        primary: observed(primary.clone(), &step.primary),
        deleting: false,
        facts: facts.collect(),
        replies: Vec::new(),
        notes: vec![("upgrade".to_owned(), image.to_string())],
        settings: "{}".to_owned(),
        round: 0,
        now: "2026-01-02T00:00:00Z".to_owned(),
    };
    let fields = step.observes.iter().find(|observe| observe.name == "databases").map(|observe| observe.fields.clone());
    let mut number = 0;
    while let (true, Some(fields)) = (observation.size() < bytes, &fields) {
        let object = observed(database(number), fields);
        observation
            .objects
            .iter_mut()
            .filter(|set| set.name == "databases")
            .for_each(|set| set.objects.push(object.clone()));
        number += 1;
    }
    observation
}

/// The object as the operator would show it.
fn observed(mut value: Value, fields: &[String]) -> Object {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("/metadata/name");
    let id = ObjectRef {
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        namespace: Some("redis".to_owned()),
        name: name.clone(),
    };
    if let Some(metadata) = value.get_mut("metadata") {
        set(metadata, "namespace", json!("redis"));
        set(metadata, "uid", json!("3f1e5a52-6d1c-4f0e-9a53-0f6a1c2b7d10"));
        set(metadata, "generation", json!(1));
        set(metadata, "creationTimestamp", json!(BORN));
    }
    Object { id, body: mask(&value, fields).to_string() }
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}
