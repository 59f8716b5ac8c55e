//! Rows 68 to 73, 75, 77 and 80 of the checklist: where pods run, what their volumes are, the way in from outside.
//!
//! Each row makes the cluster that it needs and takes it away again, with its volumes. Nodes are Node objects here: what is
//! said of them is what a real scheduler sees.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;

use anyhow::bail;
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::checklist;
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};

const PODS: &str = "redis.io/cluster=rec,redis.io/role=node";
const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

fn main() {
    let rows = vec![
        row!(68, row_68_one_pod_on_a_node),
        row!(69, row_69_tolerations),
        row!(70, row_70_node_selector),
        row!(71, row_71_racks_reach_the_nodes),
        row!(72, row_72_storage_class),
        row!(73, row_73_persistence_off_is_warned_of),
        row!(75, row_75_without_volumes_data_is_lost)
            .instead("the folder of a node stands for its data: a file in it is gone with the pod"),
        row!(77, row_77_ingress_for_the_api),
        row!(80, row_80_volumes_grow_without_a_restart),
    ];
    checklist::main("rows_placement", |_| Box::pin(async {}), rows);
}

/// Applies a cluster `rec` of three nodes with these fields of its spec.
fn make(world: &World, spec: Value) {
    let mut whole = json!({"nodes": 3, "persistentSpec": {"enabled": true, "volumeSize": "20Gi"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let cluster = json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
        "metadata": {"name": "rec", "labels": {"app": "redis-enterprise"}}, "spec": whole,
    });
    world.kubectl_with_input(&["apply", "-f", "-"], &cluster.to_string()).unwrap();
}

/// Takes the cluster away, and all that it leaves behind.
async fn unmake(world: &World) {
    world.kubectl(&["delete", "rec", "rec", "--wait=true"]).unwrap();
    until("the pods to go", SETTLES, || async {
        match world.list("pods", PODS)?.len() {
            0 => Ok(()),
            some => bail!("{some} pods"),
        }
    })
    .await;
    world.kubectl(&["delete", "pvc", "--selector", PODS, "--wait=true"]).unwrap();
}

fn patch(world: &World, kind: &str, name: &str, change: &Value) -> anyhow::Result<String> {
    world.kubectl(&["patch", kind, name, "--type=merge", "-p", &change.to_string()])
}

async fn running(world: &World) {
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
}

/// Waits until the pods are as many and as placed as `right` says. By pod, the node, or why it has none.
async fn placed(world: &World, what: &str, right: impl Fn(&BTreeMap<String, String>) -> bool) {
    until(what, SETTLES, || async {
        let mut places = BTreeMap::new();
        for pod in world.list("pods", PODS)? {
            let node = pod["spec"]["nodeName"].as_str().map(str::to_owned);
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let unscheduled = conditions.iter().any(|it| it["type"] == "PodScheduled" && it["status"] == "False");
            let place = node.unwrap_or_else(|| if unscheduled { "unschedulable" } else { "undecided" }.to_owned());
            places.insert(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), place);
        }
        if right(&places) { Ok(()) } else { bail!("{places:?}") }
    })
    .await;
}

/// The pods are on exactly these nodes, one on each.
fn are_on(places: &BTreeMap<String, String>, nodes: &[&str]) -> bool {
    let mut found: Vec<&str> = places.values().map(String::as_str).collect();
    found.sort_unstable();
    found == nodes
}

/// Waits for an Event of the cluster with this reason whose text holds `words`. Those of an earlier cluster of the same name
/// do not count.
async fn told(world: &World, reason: &str, words: &str) {
    until(&format!("an Event {reason} that says {words}"), SETTLES, || async {
        let uid = world.get("rec", "rec")?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let selector = format!("--field-selector=reason={reason},involvedObject.uid={uid}");
        let events =
            world.kubectl(&["get", "events", &selector, "-o", "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}"])?;
        if events.contains(words) { Ok(()) } else { bail!("{events:?}") }
    })
    .await;
}

/// Waits until the condition `Ready` is false with these words.
async fn waits_with(world: &World, words: &[&str]) {
    until(&format!("a condition that says {words:?}"), SETTLES, || async {
        let cluster = world.get("rec", "rec")?;
        let conditions = cluster["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|it| it["type"] == "Ready" && it["status"] == "False");
        let message = ready.and_then(|it| it["message"].as_str()).unwrap_or_default();
        if words.iter().all(|it| message.contains(it)) { Ok(()) } else { bail!("{conditions:?}") }
    })
    .await;
}

async fn row_68_one_pod_on_a_node(world: &World) {
    world.kubectl(&["cordon", "worker-3"]).unwrap();
    make(world, json!({}));
    let two = ["unschedulable", "worker-1", "worker-2"];
    placed(world, "two pods on two nodes and one that is pending", |places| are_on(places, &two)).await;
    world.kubectl(&["uncordon", "worker-3"]).unwrap();
    placed(world, "one pod on each of three nodes", |places| are_on(places, &WORKERS)).await;
    unmake(world).await;
}

async fn row_69_tolerations(world: &World) {
    for node in WORKERS {
        world.kubectl(&["taint", "node", node, "db=rec:NoSchedule"]).unwrap();
    }
    make(world, json!({}));
    placed(world, "three pods that are pending", |places| are_on(places, &["unschedulable"; 3])).await;
    // The mistake is put right in the same resource.
    let tolerations = json!([{"key": "db", "operator": "Equal", "value": "rec", "effect": "NoSchedule"}]);
    patch(world, "rec", "rec", &json!({"spec": {"podTolerations": tolerations}})).unwrap();
    placed(world, "a pod on each tainted node", |places| are_on(places, &WORKERS)).await;
    unmake(world).await;
    for node in WORKERS {
        world.kubectl(&["taint", "node", node, "db-"]).unwrap();
    }
}

async fn row_70_node_selector(world: &World) {
    let chosen = ["worker-1", "worker-2", "worker-4"];
    add_node(world, "worker-4");
    for node in chosen {
        world.kubectl(&["label", "node", node, "memory=high"]).unwrap();
    }
    make(world, json!({"nodeSelector": {"memory": "high"}}));
    placed(world, "pods on the chosen nodes only", |places| are_on(places, &chosen)).await;
    unmake(world).await;
    for node in chosen {
        world.kubectl(&["label", "node", node, "memory-"]).unwrap();
    }
    world.kubectl(&["delete", "node", "worker-4"]).unwrap();
}

/// A further node; the node agent makes it ready.
fn add_node(world: &World, name: &str) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
    });
    world.kubectl_with_input(&["apply", "-f", "-"], &node.to_string()).unwrap();
    let resources = json!({"cpu": "32", "memory": "128Gi", "pods": "110"});
    let status = json!({"status": {"capacity": resources, "allocatable": resources}}).to_string();
    world.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status]).unwrap();
}

async fn row_71_racks_reach_the_nodes(world: &World) {
    let racks = [("worker-1", "a"), ("worker-2", "b"), ("worker-3", "c")];
    let label =
        |node: &str, rack: &str| world.kubectl(&["label", "node", node, &format!("example.com/rack={rack}")]).unwrap();
    for (node, rack) in &racks[..2] {
        label(node, rack);
    }
    let keys = ["kubernetes.io/hostname"];
    make(world, json!({"rackAwarenessNodeLabel": "example.com/rack", "antiAffinityAdditionalTopologyKeys": keys}));
    let role = "ClusterRole `redis-enterprise-operator-racks`";
    waits_with(world, &["nodes is forbidden", role, "deploy/rack-awareness.yaml"]).await;
    told(world, "RackUnknown", role).await;
    let terms =
        "{.spec.template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[*].topologyKey}";
    let terms = world.kubectl(&["get", "sts", "rec", "-o", &format!("jsonpath={terms}")]).unwrap();
    assert_eq!(terms, "example.com/rack kubernetes.io/hostname");

    let rights = repository().join("deploy/rack-awareness.yaml").display().to_string();
    world.kubectl(&["apply", "-f", &rights]).unwrap();
    waits_with(world, &["the Kubernetes node `worker-3`, which has no label `example.com/rack`"]).await;
    label(racks[2].0, racks[2].1);
    running(world).await;

    let table = world.kubectl(&["exec", "rec-0", "--", "bash", "-lc", "rladmin status nodes extra all"]).unwrap();
    let mut lines = table.lines().skip_while(|line| !line.contains("RACK-ID"));
    let column = lines.next().and_then(|head| head.find("RACK-ID")).unwrap_or_else(|| panic!("no racks in {table}"));
    let mut shown: Vec<&str> =
        lines.filter_map(|line| line.get(column..)).filter_map(|rest| rest.split_whitespace().next()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["a", "b", "c"], "{table}");
    for pod in world.list("pods", PODS).unwrap() {
        let (name, node) = (pod["metadata"]["name"].as_str().unwrap(), pod["spec"]["nodeName"].as_str().unwrap());
        let rack = racks.iter().find(|(worker, _)| *worker == node).unwrap().1;
        let nodes = world.rest("GET", "/v1/nodes", None).unwrap();
        let address = pod["status"]["podIP"].as_str().unwrap();
        let member = nodes.as_array().unwrap().iter().find(|it| it["addr"] == address).unwrap();
        assert_eq!(member["rack_id"], rack, "{name} on {node}");
    }
    until("a policy that knows of racks", SETTLES, || async {
        let policy = world.rest("GET", "/v1/cluster/policy", None)?;
        if policy["rack_aware"] == true { Ok(()) } else { bail!("{policy}") }
    })
    .await;

    unmake(world).await;
    world.kubectl(&["delete", "-f", &rights]).unwrap();
    for (node, _) in racks {
        world.kubectl(&["label", "node", node, "example.com/rack-"]).unwrap();
    }
}

fn storage_class(world: &World, name: &str) {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "stepwright.dev/folder", "volumeBindingMode": "WaitForFirstConsumer",
    });
    world.kubectl_with_input(&["apply", "-f", "-"], &class.to_string()).unwrap();
}

async fn row_72_storage_class(world: &World) {
    storage_class(world, "fast");
    make(world, json!({"persistentSpec": {"enabled": true, "volumeSize": "20Gi", "storageClassName": "fast"}}));
    until("three bound volumes of the class", SETTLES, || async {
        let claims = world.list("pvc", PODS)?;
        let right = |it: &&Value| it["spec"]["storageClassName"] == "fast" && it["status"]["phase"] == "Bound";
        if claims.len() == 3 && claims.iter().filter(right).count() == 3 { Ok(()) } else { bail!("{claims:?}") }
    })
    .await;
    unmake(world).await;
    world.kubectl(&["delete", "storageclass", "fast"]).unwrap();
}

async fn row_73_persistence_off_is_warned_of(world: &World) {
    make(world, json!({"persistentSpec": {"enabled": false}}));
    told(world, "PersistenceDisabled", "there is no recovery").await;
    let refused = patch(world, "rec", "rec", &json!({"spec": {"clusterRecovery": true}})).unwrap_err().to_string();
    assert!(refused.contains("spec.clusterRecovery needs volumes to recover from"), "{refused}");
    assert_eq!(world.list("pvc", PODS).unwrap().len(), 0);
    unmake(world).await;
}

async fn row_75_without_volumes_data_is_lost(world: &World) {
    make(world, json!({"persistentSpec": {"enabled": false}}));
    told(world, "PersistenceDisabled", "a pod that is lost takes its data with it").await;
    running(world).await;
    let shell = |script: &str| world.kubectl(&["exec", "rec-2", "--", "bash", "-lc", script]);
    let file = "$STEPWRIGHT_DEV_ROOT/opt/persistent/marker";
    shell(&format!("touch {file} && test -e {file}")).unwrap();
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    let before = uid(&world.get("pod", "rec-2").unwrap());
    world.kubectl(&["delete", "pod", "rec-2"]).unwrap();
    until("the pod to be another one that runs", SETTLES, || async {
        let pod = world.get("pod", "rec-2")?;
        let other = uid(&pod) != before && pod["status"]["phase"] == "Running";
        if other { shell("true").map(drop) } else { bail!("{}", pod["status"]) }
    })
    .await;
    let missing = shell(&format!("test -d $(dirname {file}) && test ! -e {file}"));
    assert!(missing.is_ok(), "the file outlived its pod");
    // The node takes the place of its former self; what it held is gone.
    let all = |nodes: &Value| {
        nodes.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|it| it["status"] == "active"))
    };
    until("three nodes again", FORMS, || async {
        let nodes = world.rest("GET", "/v1/nodes", None)?;
        if all(&nodes) { Ok(()) } else { bail!("{nodes}") }
    })
    .await;
    running(world).await;
    unmake(world).await;
}

async fn row_77_ingress_for_the_api(world: &World) {
    let annotations =
        json!({"kubernetes.io/ingress.class": "nginx", "nginx.ingress.kubernetes.io/ssl-passthrough": "true"});
    let routing = json!({
        "method": "ingress", "apiFqdnUrl": "api.rec.example.com", "dbFqdnSuffix": "-db.rec.example.com",
        "ingressAnnotations": annotations,
    });
    make(world, json!({"ingressOrRouteSpec": routing}));
    let ingress = until("the Ingress", SETTLES, || async { world.get("ingress", "rec") }).await;
    for (key, value) in annotations.as_object().unwrap() {
        assert_eq!(ingress["metadata"]["annotations"][key], *value);
    }
    let rule = &ingress["spec"]["rules"][0];
    assert_eq!(rule["host"], "api.rec.example.com");
    let backend = &rule["http"]["paths"][0]["backend"]["service"];
    assert_eq!(backend["name"], "rec");
    let service = until("the Service", SETTLES, || async { world.get("service", "rec") }).await;
    let ports = service["spec"]["ports"].as_array().unwrap();
    let port =
        ports.iter().find(|port| port["name"] == backend["port"]["name"] || port["port"] == backend["port"]["number"]);
    assert_eq!(port.unwrap()["port"], 9443);
    unmake(world).await;
}

async fn row_80_volumes_grow_without_a_restart(world: &World) {
    storage_class(world, "growing");
    patch(world, "storageclass", "growing", &json!({"allowVolumeExpansion": true})).unwrap();
    let volumes = |more: Value| {
        let mut spec = json!({"enabled": true, "storageClassName": "growing"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"spec": {"persistentSpec": spec}})
    };
    make(world, volumes(json!({"volumeSize": "20Gi"}))["spec"].clone());
    running(world).await;
    let uids = |kind: &str| -> Vec<Value> {
        world.list(kind, PODS).unwrap().iter().map(|it| it["metadata"]["uid"].clone()).collect()
    };
    let (pods, set) = (uids("pods"), world.get("sts", "rec").unwrap()["metadata"]["uid"].clone());
    let statuses = watch(world);

    // Not without the flag.
    let refused = patch(world, "rec", "rec", &volumes(json!({"volumeSize": "30Gi"}))).unwrap_err().to_string();
    assert!(refused.contains("set enablePersistentVolumeResize: true"), "{refused}");

    let grow = |size: &str| {
        let larger = json!({"volumeSize": size, "enablePersistentVolumeResize": true});
        patch(world, "rec", "rec", &volumes(larger)).unwrap();
    };
    grow("30Gi");
    assert_eq!(statuses.until(&["Resizing 0/3", "Provisioned 3/3"]), Ok(()));
    assert_eq!(sizes(world), ["30Gi"; 3]);
    told(world, "PVCResizing", "no pod restarts").await;
    told(world, "PVCResized", "30Gi").await;

    // A storage class that forbids it: said, and tried again until it does not.
    patch(world, "storageclass", "growing", &json!({"allowVolumeExpansion": false})).unwrap();
    grow("40Gi");
    assert_eq!(statuses.until(&["ResizeFailed 0/3"]), Ok(()));
    told(world, "PVCResizeFailed", "allowVolumeExpansion").await;
    assert_eq!(sizes(world), ["30Gi"; 3]);
    patch(world, "storageclass", "growing", &json!({"allowVolumeExpansion": true})).unwrap();
    assert_eq!(statuses.until(&["Provisioned 3/3"]), Ok(()));
    assert_eq!(sizes(world), ["40Gi"; 3]);
    running(world).await;

    // Nothing was restarted, and nothing made anew.
    assert_eq!((uids("pods"), world.get("sts", "rec").unwrap()["metadata"]["uid"].clone()), (pods, set));
    unmake(world).await;
    world.kubectl(&["delete", "storageclass", "growing"]).unwrap();
}

/// What the three volumes have.
fn sizes(world: &World) -> Vec<String> {
    let claims = world.list("pvc", PODS).unwrap();
    claims.iter().map(|it| it["status"]["capacity"]["storage"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Every state of the volumes that the status goes through: word and count.
struct Statuses {
    child: Child,
    lines: mpsc::Receiver<String>,
}

fn watch(world: &World) -> Statuses {
    let path = "jsonpath={.status.persistenceStatus.status} {.status.persistenceStatus.succeeded}{\"\\n\"}";
    let mut command = world.cluster.kubectl().unwrap().into_std();
    let command = command.args(["get", "rec", "rec", "--watch", "-o", path]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    // Ends with the pipe, and so the process.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    Statuses { child, lines }
}

impl Statuses {
    /// Waits for these, one after the other; what was seen, if they do not come.
    fn until(&self, wanted: &[&str]) -> Result<(), Vec<String>> {
        let (mut seen, mut left) = (Vec::new(), wanted.iter());
        let mut next = left.next();
        while let Some(word) = next {
            let Ok(line) = self.lines.recv_timeout(SETTLES) else { return Err(seen) };
            if line == **word {
                next = left.next();
            }
            seen.push(line);
        }
        Ok(())
    }
}

impl Drop for Statuses {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
