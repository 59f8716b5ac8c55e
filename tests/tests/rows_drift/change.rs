//! Changes of the spec of a cluster that runs (reference, 3.11 to 3.13).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, OPERATOR, SETTLES, World};
use stepwright_tests::writer::Writer;

use crate::NODES;
use crate::steady::{Steady, answers, at_rest};

pub(crate) async fn row_44_more_nodes(world: &World) {
    let before = world.uids("pods", NODES).unwrap();
    world.patch("rec", "rec", &json!({"spec": {"nodes": 5}})).unwrap();
    at_rest(world, 5).await;
    let after = world.uids("pods", NODES).unwrap();
    assert!(before.iter().all(|(name, uid)| after.get(name) == Some(uid)), "pods that were there were replaced");
    let places: BTreeSet<String> = world
        .list("pods", NODES)
        .unwrap()
        .iter()
        .map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(places.len(), 5, "two pods share a node: {places:?}");
    let nodes = world.rest("GET", "/v1/nodes", None).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 5);
    answers(world).await;
    // Back, which needs a word of its own.
    let refused = world.patch("rec", "rec", &json!({"spec": {"nodes": 3}})).unwrap_err().to_string();
    assert!(refused.contains("spec.nodes must not shrink") && refused.contains("allowScaleDown"), "{refused}");
    world.patch("rec", "rec", &json!({"spec": {"nodes": 3, "allowScaleDown": true}})).unwrap();
    at_rest(world, 3).await;
    assert_eq!(world.uids("pods", NODES).unwrap(), before);
    world.patch("rec", "rec", &json!({"spec": {"allowScaleDown": null}})).unwrap();
    at_rest(world, 3).await;
    until("the volumes of the removed nodes to go", SETTLES, || async {
        let claims = world.uids("pvc", "redis.io/cluster=rec")?;
        if claims.len() == 3 { Ok(()) } else { anyhow::bail!("{claims:?}") }
    })
    .await;
}

/// A database that survives the loss of a node.
const SAFE: &str = "
apiVersion: app.redislabs.com/v1alpha1
kind: RedisEnterpriseDatabase
metadata: {name: safe}
spec: {memorySize: 200MB, replication: true, persistence: aofEverySecond}
";

/// The most pods that were not ready at once, from a watch that prints a pod's name and whether it is ready.
fn most_missing(lines: &[String], names: usize) -> usize {
    let mut ready: BTreeMap<&str, bool> = BTreeMap::new();
    let mut most = 0;
    for line in lines {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["DELETED", name, ..] => drop(ready.insert(name, false)),
            [_, name, word] => drop(ready.insert(name, *word == "true")),
            _ => panic!("{line:?}"),
        }
        // Until all were named there is nothing to count.
        if ready.len() == names {
            most = most.max(ready.values().filter(|ready| !**ready).count());
        }
    }
    most
}

pub(crate) async fn row_45_changed_resources_one_pod_after_the_other(world: &World) {
    world.kubectl_with_input(&["apply", "-f", "-"], SAFE).unwrap();
    let redb = world.field("redb", "safe", "/status/status", "active", SETTLES).await;
    let uid = redb["status"]["databaseUID"].as_str().unwrap().to_owned();
    let port = redb["status"]["internalEndpoints"][0]["port"].as_u64().unwrap();
    let password = world.secret("redb-safe", "password").unwrap();
    let before = world.uids("pods", NODES).unwrap();
    let columns = "custom-columns=T:type,N:object.metadata.name,R:object.status.containerStatuses[0].ready";
    let watch = world
        .watch(&["get", "pods", "-l", NODES, "--watch", "--output-watch-events", "--no-headers", "-o", columns])
        .unwrap();
    until("the watch to name all pods", SETTLES, || async {
        let lines = watch.lines();
        if lines.len() >= 3 { Ok(()) } else { Err(lines) }
    })
    .await;
    let (bdb, port) = (uid.parse().unwrap(), u16::try_from(port).unwrap());
    let writer = Writer::start(world, bdb, port, &password, "row-45:").unwrap();
    let resources = |memory: &str| json!({"cpu": 2, "memory": memory});
    let patch = |memory: &str| {
        let both = json!({"limits": resources(memory), "requests": resources(memory)});
        world.patch("rec", "rec", &json!({"spec": {"redisEnterpriseNodeResources": both}})).unwrap();
    };
    patch("5Gi");
    let all_have = |memory: &'static str| {
        until("all pods to have the new resources", FORMS, move || async move {
            let pods = world.list("pods", NODES)?;
            let has = |pod: &&Value| pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == memory;
            let have = pods.iter().filter(has).count();
            if have == 3 { Ok(()) } else { anyhow::bail!("{have} of {}", pods.len()) }
        })
    };
    all_have("5Gi").await;
    at_rest(world, 3).await;
    let after = world.uids("pods", NODES).unwrap();
    assert!(before.iter().all(|(name, uid)| after.get(name).is_some_and(|now| now != uid)), "{before:?} {after:?}");
    let written = writer.stop().unwrap();
    assert!(written.acknowledged.len() > 20, "only {} writes were acknowledged", written.acknowledged.len());
    assert_eq!(written.lost(world, bdb, port, &password).unwrap(), Vec::<u64>::new(), "acknowledged writes are lost");
    let lines = watch.lines();
    assert_eq!(most_missing(&lines, 3), 1, "{lines:?}");
    let events = world.events("rec", "rec").unwrap();
    assert!(events.iter().any(|(_, text)| text == "Running -> RunningRollingUpdate"), "{events:?}");
    drop(watch);
    world.kubectl(&["delete", "redb", "safe", "--timeout=180s"]).unwrap();
    world.apply_sample("rec.yaml").unwrap();
    all_have("4Gi").await;
    at_rest(world, 3).await;
    answers(world).await;
}

pub(crate) async fn row_46_a_change_while_the_operator_was_away(world: &World) {
    let steady = Steady::of(world);
    let scale = |replicas: &str| {
        world.kubectl(&["scale", "deployment", OPERATOR, &format!("--replicas={replicas}")]).unwrap();
    };
    scale("0");
    until("the operator to be gone", SETTLES, || async {
        let pods = world.uids("pods", &format!("name={OPERATOR}"))?;
        if pods.is_empty() { Ok(()) } else { anyhow::bail!("{pods:?}") }
    })
    .await;
    // A change of the spec, a new field, and drift.
    let spec = json!({"uiServiceType": "NodePort", "services": {"apiService": {"type": "LoadBalancer"}}});
    world.patch("rec", "rec", &json!({"spec": spec})).unwrap();
    world.patch("redb", "mydb", &json!({"spec": {"memorySize": "300MB"}})).unwrap();
    world.kubectl(&["delete", "role", "rec"]).unwrap();
    answers(world).await;
    assert_eq!(world.get("service", "rec-ui").unwrap()["spec"]["type"], "ClusterIP", "somebody else did it");
    scale("1");
    world.operator_ready().await;
    world.field("service", "rec-ui", "/spec/type", "NodePort", SETTLES).await;
    world.field("service", "rec", "/spec/type", "LoadBalancer", SETTLES).await;
    until("the Role", SETTLES, || async { world.get("role", "rec").map(drop) }).await;
    until("the larger database", SETTLES, || async {
        let size = world.rest("GET", "/v1/bdbs/1", None)?["memory_size"].clone();
        if size == 300 * 1024 * 1024 { Ok(()) } else { anyhow::bail!("{size}") }
    })
    .await;
    world.patch("rec", "rec", &json!({"spec": {"uiServiceType": null, "services": null}})).unwrap();
    world.apply_sample("redb.yaml").unwrap();
    world.field("service", "rec-ui", "/spec/type", "ClusterIP", SETTLES).await;
    world.field("service", "rec", "/spec/type", "ClusterIP", SETTLES).await;
    at_rest(world, 3).await;
    steady.check(world).await;
}

pub(crate) async fn row_47_a_bad_image_is_told_and_heals(world: &World) {
    let before = world.uids("pods", NODES).unwrap();
    let steady = Steady::of(world);
    let event = |reason: &'static str, words: &'static str| {
        until("the Event", FORMS, move || async move {
            let events = world.events("rec", "rec")?;
            let told = events.iter().any(|(why, text)| why == reason && text.contains(words));
            if told { Ok(()) } else { anyhow::bail!("{events:?}") }
        })
    };
    // A tag that is no version is not even tried.
    world.patch("rec", "rec", &json!({"spec": {"redisEnterpriseImageSpec": {"versionTag": "newest"}}})).unwrap();
    event("UpgradeBlocked", "`newest` is not a version").await;
    world.field("rec", "rec", "/status/state", "InvalidUpgrade", SETTLES).await;
    steady.check(world).await;
    // An image that cannot be pulled costs one pod, and the cluster goes on without it.
    let image = json!({"repository": "example.com/nowhere", "versionTag": null});
    world.patch("rec", "rec", &json!({"spec": {"redisEnterpriseImageSpec": image}})).unwrap();
    event("RolloutStuck", "rec-2 does not start: ").await;
    world.kubectl(&["wait", "--for=condition=Ready=False", "rec/rec", "--timeout=180s"]).unwrap();
    let ready = |pod: &str| world.get("pod", pod).unwrap()["status"]["containerStatuses"][0]["ready"] == true;
    assert!(ready("rec-0") && ready("rec-1"));
    let now = world.uids("pods", NODES).unwrap();
    for pod in ["rec-0", "rec-1"] {
        assert_eq!(now.get(pod), before.get(pod), "{pod} was replaced, too");
    }
    answers(world).await;
    let [_, _, message] = world.condition("rec", "rec", "Ready").unwrap();
    assert!(message.contains("rec-2 does not start"), "{message}");
    // Taken back, it heals by itself.
    world.patch("rec", "rec", &json!({"spec": {"redisEnterpriseImageSpec": null}})).unwrap();
    at_rest(world, 3).await;
    answers(world).await;
    let now = world.uids("pods", NODES).unwrap();
    for pod in ["rec-0", "rec-1"] {
        assert_eq!(now.get(pod), before.get(pod), "{pod} was replaced, too");
    }
}
