//! Active-Active databases of two clusters.

use serde_json::{Value, json};

use super::{Nodes, PASSWORD, USER, until};

pub const CRDBS: &str = "/v1/crdbs";

/// Two clusters of two nodes each, since such a database needs replicas.
pub async fn two(net: u8) -> (Nodes, Nodes) {
    tokio::join!(Nodes::cluster_named("a.example", net, 2), Nodes::cluster_named("b.example", net + 1, 2))
}

pub fn instance(name: &str, nodes: &Nodes) -> Value {
    json!({"cluster": {
        "name": name, "url": format!("https://{}:9443", nodes.all[1].host),
        "credentials": {"username": USER, "password": PASSWORD},
    }})
}

pub fn body(name: &str, a: &Nodes, b: &Nodes) -> Value {
    json!({
        "name": name, "default_db_config": {"name": name, "memory_size": 100 << 20},
        "instances": [instance("a.example", a), instance("b.example", b)],
    })
}

/// Sends a change to the cluster's master and follows its task to the end.
pub async fn task(nodes: &Nodes, method: &str, path: &str, body: &Value) -> Value {
    let node = &nodes.all[nodes.master().await];
    let (status, queued) = node.call(method, path, body).await;
    assert_eq!((status, &queued["status"]), (200, &json!("queued")), "{queued}");
    ended(nodes, queued["id"].as_str().unwrap()).await
}

pub async fn ended(nodes: &Nodes, id: &str) -> Value {
    until("the end of a task", async || {
        let node = &nodes.all[nodes.master().await];
        let (status, task) = node.get(&format!("/v1/crdb_tasks/{id}")).await;
        assert_ne!(status, 404, "the task is forgotten already");
        (task["status"] == "finished" || task["status"] == "failed").then_some(task)
    })
    .await
}

pub async fn get(nodes: &Nodes, path: &str) -> (u16, Value) {
    nodes.all[nodes.master().await].get(path).await
}

pub async fn made(a: &Nodes, b: &Nodes, name: &str) -> String {
    let task = task(a, "POST", CRDBS, &body(name, a, b)).await;
    assert_eq!(task["status"], "finished", "{task}");
    task["crdb_guid"].as_str().unwrap().to_owned()
}

pub async fn bdb(nodes: &Nodes, guid: &str) -> Value {
    let (_, crdb) = get(nodes, &format!("/v1/crdbs/{guid}")).await;
    let uid = crdb["local_databases"][0]["bdb_uid"].as_str().unwrap().to_owned();
    get(nodes, &format!("/v1/bdbs/{uid}")).await.1
}
