//! Failures of nodes: one is lost, most are lost, one cannot join, one cannot leave, files are lost.

use anyhow::bail;
use serde_json::json;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, OPERATOR, SETTLES, World, redis_at};

use crate::{PODS, bdb, event, events, heal, inject, resize, told, well};

const PORT: u16 = 19621;

/// The pod of the node that leads, by the cluster's own list.
pub(crate) fn master(world: &World) -> String {
    let all = world.rest("GET", "/v1/nodes/status", None).unwrap();
    let leads = all.as_object().unwrap().values().find(|node| node["role"] == "master").unwrap();
    leads["hostname"].as_str().unwrap().to_owned()
}

/// What a client reads from whichever proxy serves the database.
fn read(world: &World, key: &str) -> anyhow::Result<String> {
    let password = world.secret("redb-mydb", "password")?;
    for pod in PODS {
        let said = redis_at(world.address(pod)?, PORT, &password, &["GET", key])?;
        if !said.contains("refused") {
            return Ok(said);
        }
    }
    bail!("no proxy serves the database")
}

fn write(world: &World, key: &str, value: &str) {
    let password = world.secret("redb-mydb", "password").unwrap();
    let mut said =
        PODS.iter().map(|pod| redis_at(world.address(pod).unwrap(), PORT, &password, &["SET", key, value]).unwrap());
    assert!(said.any(|said| said == "OK"), "no proxy serves the database");
}

pub(crate) async fn f03_a_new_master_is_found_without_a_word(world: &World) {
    let before = events(world);
    let old = master(world);
    let new = PODS.iter().find(|pod| **pod != old).unwrap();
    let nodes = world.rest("GET", "/v1/nodes?fields=uid,hostname", None).unwrap();
    let uid =
        nodes.as_array().unwrap().iter().find(|node| node["hostname"] == *new).map(|node| node["uid"].to_string());
    let body = json!({"node_uid": uid});
    world.rest("POST", "/v1/cluster/actions/change_master", Some(&body)).unwrap();
    until("the other to lead", SETTLES, || async {
        let all = world.rest("GET", "/v1/nodes/status", None)?;
        let leads =
            all.as_object().into_iter().flatten().any(|(_, node)| node["role"] == "master" && node["hostname"] == *new);
        if leads { Ok(()) } else { bail!("{all}") }
    })
    .await;
    resize(world, "mydb", "205MB");
    until("the change", SETTLES, || async {
        let bdb = bdb(world);
        if bdb["memory_size"] == 205u64 << 20 { Ok(()) } else { Err(bdb) }
    })
    .await;
    well(world).await;
    let news = events(world).into_iter().filter(|event| event.0 != "DatabaseUpdated" && !before.contains(event));
    assert_eq!(news.collect::<Vec<_>>(), []);
}

pub(crate) async fn f01_a_lost_node_is_named_and_comes_back(world: &World) {
    write(world, "f01", "kept");
    let lost = master(world);
    let machine = world.kubectl(&["get", "pod", &lost, "-o", "jsonpath={.spec.nodeName}"]).unwrap();
    world.cluster.set_node_power(&machine, false).await.unwrap();
    let words = told(world, "rec/rec", &lost).await;
    println!("{words}");
    until("the data elsewhere", SETTLES, || async {
        let said = read(world, "f01")?;
        if said == "kept" { Ok(()) } else { bail!("{said}") }
    })
    .await;
    // The master itself is gone, and the database can be changed all the same.
    world.cluster.set_node_power(&machine, true).await.unwrap();
    well(world).await;
    assert_eq!(read(world, "f01").unwrap(), "kept");
}

pub(crate) async fn f02_a_lost_quorum_is_told_with_what_helps(world: &World) {
    write(world, "f02", "kept");
    inject(world, &PODS, &json!({"kind": "isolate"}));
    world.field("rec", "rec", "/status/state", "Error", SETTLES).await;
    // Nodes that run are not lost: to recover them would help nobody. Rows 86 and 87 lose them.
    let words = told(world, "rec/rec", "look at the network between the pods").await;
    assert!(words.contains("the cluster does not answer") && words.contains("no_quorum"), "{words}");
    event(world, "rec/rec", "QuorumLost", "look at the network between the pods").await;
    told(world, "redb/mydb", "cluster `rec` is Error, not Running").await;
    assert_eq!(read(world, "f02").unwrap(), "kept", "the data path lives");
    let pods = world.uids("pods", "redis.io/role=node").unwrap();
    heal(world, &PODS);
    well(world).await;
    assert_eq!(world.uids("pods", "redis.io/role=node").unwrap(), pods, "no pod was replaced for it");
}

/// Starts pods with nobody there who would have them join at once.
pub(crate) async fn f19_a_node_whose_clock_is_off_is_named_and_joins_later(world: &World) {
    world.kubectl(&["scale", "deployment", OPERATOR, "--replicas=0"]).unwrap();
    until("the operator to go", SETTLES, || async {
        if world.operator_pod().is_err() { Ok(()) } else { Err("it runs") }
    })
    .await;
    world.kubectl(&["scale", "sts", "rec", "--replicas=5"]).unwrap();
    world.patch("rec", "rec", &json!({"spec": {"nodes": 5}})).unwrap();
    let clock = json!({"kind": "clock-skew"});
    until("the new node", SETTLES, || async {
        let address = world.address("rec-3")?;
        stepwright_tests::world::http(address, 3399, "POST", "/_sim/faults", None, Some(&clock)).map(drop)
    })
    .await;
    world.kubectl(&["scale", "deployment", OPERATOR, "--replicas=1"]).unwrap();
    let words = told(world, "rec/rec", "rec-3").await;
    println!("{words}");
    event(world, "rec/rec", "BootstrapFailed", "rec-3: time_not_sync").await;
    told(world, "rec/rec", "time_not_sync").await;
    heal(world, &["rec-3"]);
    well(world).await;
    let nodes = world.rest("GET", "/v1/nodes?fields=status", None).unwrap();
    assert_eq!(
        nodes,
        json!([{"status": "active"}, {"status": "active"}, {"status": "active"}, {"status": "active"}, {"status": "active"}])
    );
}

/// Of five nodes, as F19 leaves them.
pub(crate) async fn f20_a_node_whose_shards_fit_nowhere_stays(world: &World) {
    world.patch("rec", "rec", &json!({"spec": {"nodes": 5}})).unwrap();
    well(world).await;
    let pods = ["rec-0", "rec-1", "rec-2", "rec-3", "rec-4"];
    inject(world, &pods, &json!({"kind": "no-room"}));
    world.patch("rec", "rec", &json!({"spec": {"nodes": 3, "allowScaleDown": true}})).unwrap();
    let words = told(world, "rec/rec", "rec-4 could not leave the cluster: insufficient_resources").await;
    assert!(words.contains("set spec.nodes back, or make room"), "{words}");
    event(world, "rec/rec", "ScaleDownBlocked", "rec-4 could not leave the cluster").await;
    let nodes = world.rest("GET", "/v1/nodes?fields=status", None).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 5, "the node stays");
    assert!(world.get("pod", "rec-4").is_ok());
    heal(world, &pods);
    // By itself, once there is room.
    until("two pods to go", FORMS, || async {
        let pods = world.uids("pods", "redis.io/role=node")?;
        if pods.len() == 3 { Ok(()) } else { bail!("{pods:?}") }
    })
    .await;
    well(world).await;
}

pub(crate) async fn f15_a_database_without_its_files_waits_in_recovery(world: &World) {
    write(world, "f15", "kept");
    // Every process is lost at once, and comes again under another address: the nodes do not find each other.
    world.kubectl(&["delete", "pods", "-l", "redis.io/role=node", "--grace-period=0", "--force"]).unwrap();
    world.field("rec", "rec", "/status/state", "Error", FORMS).await;
    world.patch("rec", "rec", &json!({"spec": {"clusterRecovery": true}})).unwrap();
    event(world, "rec/rec", "RecoveryCompleted", "rladmin recover all").await;
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    told(world, "redb/mydb", "database `mydb` is recovery").await;
    inject(world, &PODS, &json!({"kind": "missing-files"}));
    until("missing files", SETTLES, || async {
        let list = world.rladmin("rec-0", "recover list")?;
        if list.trim_end().ends_with("missing-files") { Ok(()) } else { bail!("{list}") }
    })
    .await;
    // What is asked for cannot be had; nothing is made up instead.
    let refused = world.rladmin("rec-0", "recover all");
    println!("{refused:?}");
    world.field("redb", "mydb", "/status/status", "recovery", SETTLES).await;
    heal(world, &PODS);
    until("the files", SETTLES, || async {
        let list = world.rladmin("rec-0", "recover list")?;
        if list.trim_end().ends_with("ready") { Ok(()) } else { bail!("{list}") }
    })
    .await;
    world.rladmin("rec-0", "recover all").unwrap();
    world.patch("rec", "rec", &json!({"spec": {"clusterRecovery": false}})).unwrap();
    well(world).await;
    until("the data", SETTLES, || async {
        let said = read(world, "f15")?;
        if said == "kept" { Ok(()) } else { bail!("{said}") }
    })
    .await;
}
