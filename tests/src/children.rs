//! What the objects of a cluster have in common (reference, 2.2 and 2.9), for rows that look at one of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::World;

/// What an object of the cluster `rec` must carry: its labels, and one owner, which is that very cluster.
///
/// # Panics
/// When it does not.
pub fn assert_child(world: &World, object: &Value) {
    let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
    let rec = world.get("rec", "rec").unwrap();
    let owner = json!([{
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "name": "rec",
        "uid": rec["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }]);
    assert_eq!(object["metadata"]["ownerReferences"], owner, "the owner of {kind} {name}");
    let labels = labels(object);
    assert_eq!(labels.get("app").map(String::as_str), Some("redis-enterprise"), "{kind} {name}: {labels:?}");
    assert_eq!(labels.get("redis.io/cluster").map(String::as_str), Some("rec"), "{kind} {name}: {labels:?}");
}

/// The labels of an object.
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default()
}

/// What of an object stays when it is deleted and made again: all but what the API server hands out.
pub fn content(object: &Value) -> Value {
    let mut content = object.clone();
    let mut take = |at: &str, keys: &[&str]| {
        if let Some(map) = content.pointer_mut(at).and_then(Value::as_object_mut) {
            keys.iter().for_each(|key| drop(map.remove(*key)));
        }
    };
    take("", &["status"]);
    take("/metadata", &["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"]);
    if object["spec"]["clusterIP"] != "None" {
        take("/spec", &["clusterIP", "clusterIPs"]);
    }
    content
}

/// The ports of a Service: name, port, target.
pub fn ports(service: &Value) -> Vec<(String, u64, u64)> {
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let port = |port: &Value| {
        assert_eq!(port["protocol"], "TCP");
        (
            port["name"].as_str().unwrap_or_default().to_owned(),
            port["port"].as_u64().unwrap_or_default(),
            port["targetPort"].as_u64().unwrap_or_default(),
        )
    };
    ports.iter().map(port).collect()
}

/// The pods that a Service leads to, by name, in order.
///
/// # Errors
/// When kubectl fails.
pub fn behind(world: &World, service: &str) -> anyhow::Result<Vec<String>> {
    let slices = world.list("endpointslices", &format!("kubernetes.io/service-name={service}"))?;
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let mut names: Vec<String> =
        ready.map(|endpoint| endpoint["targetRef"]["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    Ok(names)
}
