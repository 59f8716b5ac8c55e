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

/// A side: a cluster, and the port of its database.
pub struct Side<'a> {
    pub nodes: &'a Nodes,
    pub guid: &'a str,
    pub port: u16,
}

impl<'a> Side<'a> {
    pub async fn new(nodes: &'a Nodes, guid: &'a str) -> Self {
        let port = bdb(nodes, guid).await["endpoints"][0]["port"].as_u64().unwrap();
        Self { nodes, guid, port: u16::try_from(port).unwrap() }
    }

    /// One command, at whichever node the endpoint is on.
    pub async fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let mut last = Err("no node".to_owned());
        for node in &self.nodes.all {
            last = node.redis(self.port, "", words).await;
            if !matches!(&last, Err(error) if error.contains("refused")) {
                break;
            }
        }
        last.map(|reply| reply.trim_end().replace("\r\n", " "))
    }

    pub async fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).await.unwrap()
    }

    pub async fn reads(&self, words: &[&str], expected: &str) {
        let mut seen = String::new();
        until(&format!("{expected} for {words:?}, not {seen}"), async || {
            seen = self.try_ask(words).await.unwrap_or_else(|error| error);
            (seen == expected).then_some(())
        })
        .await;
    }

    /// All that clients can see.
    pub async fn everything(&self) -> Vec<String> {
        let mut all = Vec::new();
        for key in self.list(&["KEYS", "*"]).await {
            let kind = self.ask(&["TYPE", &key]).await;
            let value = match kind.as_str() {
                "+string" => vec![self.ask(&["GET", &key]).await],
                "+set" => self.list(&["SMEMBERS", &key]).await,
                "+hash" => {
                    let flat = self.words(&["HGETALL", &key]).await;
                    let mut pairs: Vec<String> = flat.chunks(2).map(|pair| pair.join("=")).collect();
                    pairs.sort();
                    pairs
                }
                "+list" => self.words(&["LRANGE", &key, "0", "-1"]).await,
                _ => self.words(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await,
            };
            all.push(format!("{key} {kind} {value:?}"));
        }
        all
    }

    pub async fn words(&self, words: &[&str]) -> Vec<String> {
        let reply = self.ask(words).await;
        reply.split(' ').filter(|word| !word.starts_with(['$', '*'])).map(str::to_owned).collect()
    }

    pub async fn list(&self, words: &[&str]) -> Vec<String> {
        let mut all = self.words(words).await;
        all.sort();
        all
    }

    pub async fn in_sync(&self) {
        until("links that are up", async || {
            let (_, report) = get(self.nodes, &format!("/v1/crdbs/{}/health_report", self.guid)).await;
            let up =
                report.as_array()?.iter().all(|one| one["connections"][0]["replication_links"][0]["status"] == "up");
            up.then_some(())
        })
        .await;
        assert_eq!(bdb(self.nodes, self.guid).await["crdt_sources"][0]["status"], "in-sync");
    }

    pub async fn cut(&self, on: bool) {
        let method = if on { "POST" } else { "DELETE" };
        let fault = if on { json!({"kind": "crdb-peer"}) } else { Value::Null };
        self.nodes.all[0].control(method, "/_sim/faults?all", &fault).await;
        if on {
            until("links that are down", async || {
                let status = &bdb(self.nodes, self.guid).await["crdt_sources"][0]["status"];
                (*status == "out-of-sync").then_some(())
            })
            .await;
        }
    }
}

pub async fn equal(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let mut seen = Vec::new();
    until("the same data on both sides", async || {
        seen = a.everything().await;
        (seen == b.everything().await).then_some(())
    })
    .await;
    seen
}
