//! Nodes for tests: real processes on loopback addresses of their own, ended and cleaned up whatever happens.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is test code, though not in a #[test]")]

pub mod crdb;
pub mod writer;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use redis_enterprise_simulator::{
    resp::{Connection, text_of},
    rest_client::{self, Answer, Target},
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const USER: &str = "demo@redis.com";
pub const PASSWORD: &str = "s3cret-word";
pub const CLUSTER: &str = "rec.ns.svc.cluster.local";
const BINARY: &str = env!("CARGO_BIN_EXE_redis-enterprise-simulator");

/// Asks until there is an answer, and fails with the name of what never came.
pub async fn until<T, F: AsyncFnMut() -> Option<T>>(what: &str, mut ask: F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// Where a node binds.
pub fn host(net: u8, index: u8) -> String {
    // The process id keeps runs of the same test apart, the net keeps tests of one run apart.
    format!("127.{net}.{}.{index}", std::process::id() % 250 + 1)
}

/// One node.
pub struct Node {
    pub host: String,
    pub address: String,
    pub data: PathBuf,
    /// Version that it claims from its next start on.
    pub version: Option<&'static str>,
    /// Further words of its command line.
    pub more: Vec<String>,
    /// FQDN of the cluster that it founds.
    pub cluster: &'static str,
    name: String,
    child: Option<Child>,
}

impl Node {
    fn new(folder: &Path, net: u8, index: u8) -> Self {
        let host = host(net, index);
        let address = host.replacen("127.", "10.", 1);
        Self {
            host,
            address,
            data: folder.join(format!("node-{index}")),
            version: None,
            more: Vec::new(),
            cluster: CLUSTER,
            name: format!("rec-{}", index - 1),
            child: None,
        }
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.data.with_extension("log")).unwrap();
        // Under guard, so that not even a test that is killed leaves a node behind.
        let child = Command::new(BINARY)
            .args(["guard", "--parent", &std::process::id().to_string(), "--", BINARY, "node", "--scale", "0.01"])
            .args(["--bind", &self.host, "--address", &self.address, "--hostname", &self.name])
            .arg("--data")
            .arg(&self.data)
            .args(self.version.iter().flat_map(|version| ["--software-version", version]))
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The same volume in a new pod: another address, and what was outside the volume is gone.
    pub fn restart_elsewhere(&mut self) {
        self.kill();
        let (net, last) = self.host.rsplit_once('.').unwrap();
        let last: u8 = last.parse().unwrap();
        self.host = format!("{net}.{}", last + 100);
        self.address = self.host.replacen("127.", "10.", 1);
        std::fs::remove_dir_all(self.data.join("etc")).unwrap();
        self.start();
    }

    /// As a crash: nothing is put in order.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As Kubernetes does it.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            Command::new("kill").arg(child.id().to_string()).status().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<Answer> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        rest_client::send(&Target::plain(&self.host, 8080), method, path, headers, body).await.ok()
    }

    /// With credentials.
    pub async fn call_as(&self, user: &str, password: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        match self.raw(method, path, &[("authorization", &basic)], body).await {
            Some(answer) => (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)),
            None => (0, Value::Null),
        }
    }

    pub async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.call_as(USER, PASSWORD, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, &Value::Null).await
    }

    pub async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = rest_client::send(&Target::plain(&self.host, 3399), method, path, &[], body).await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub async fn bootstrapped(&self) {
        until("a bootstrap that is completed", async || {
            let (_, status) = self.get("/v1/bootstrap").await;
            let state = status.pointer("/bootstrap_status/state")?.as_str()?.to_owned();
            assert_ne!(state, "error", "{status}");
            (state == "completed").then_some(())
        })
        .await;
    }

    pub async fn found(&self) {
        until("a node that answers", async || self.raw("GET", "/v1/bootstrap", &[], &Value::Null).await).await;
        let body = json!({
            "action": "create_cluster", "cluster": {"name": self.cluster}, "node": {"identity": {"addr": self.address}},
            "credentials": {"username": USER, "password": PASSWORD}
        });
        let answer = self.raw("POST", "/v1/bootstrap/create_cluster", &[], &body).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        self.bootstrapped().await;
    }

    pub async fn join(&self, address: &str, replaces: Option<u32>) {
        until("a node that answers", async || self.raw("GET", "/v1/bootstrap", &[], &Value::Null).await).await;
        let body = json!({
            "action": "join_cluster", "cluster": {"nodes": [address]},
            "node": {"identity": {"addr": self.address, "uid": replaces}},
            "credentials": {"username": USER, "password": PASSWORD}
        });
        let answer = self.raw("POST", "/v1/bootstrap/join_cluster", &[], &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        self.bootstrapped().await;
    }

    pub async fn create_bdb(&self, body: &Value) -> u64 {
        let (status, bdb) = self.call("POST", "/v1/bdbs", body).await;
        assert_eq!(status, 200, "{bdb}");
        assert_eq!(bdb["status"], "pending");
        let uid = bdb["uid"].as_u64().unwrap();
        self.active(uid).await;
        uid
    }

    pub async fn active(&self, uid: u64) -> Value {
        until("an active database", async || {
            let (status, bdb) = self.get(&format!("/v1/bdbs/{uid}")).await;
            (status == 200 && bdb["status"] == "active").then_some(bdb)
        })
        .await
    }

    /// One command at an endpoint, after AUTH.
    pub async fn redis(&self, port: u16, password: &str, words: &[&str]) -> Result<String, String> {
        let mut connection = Connection::open(&self.host, port).await.map_err(|error| error.to_string())?;
        if !password.is_empty() {
            connection.demand(&["AUTH", password]).await.map_err(|error| error.to_string())?;
        }
        connection
            .demand(words)
            .await
            .map(|reply| String::from_utf8_lossy(&reply).into_owned())
            .map_err(|error| error.to_string())
    }

    pub async fn maxmemory(&self, port: u16, password: &str) -> u64 {
        let reply = self.redis(port, password, &["CONFIG", "GET", "maxmemory"]).await.unwrap();
        reply.lines().last().unwrap().parse().unwrap()
    }

    /// A license that permits many shards.
    pub async fn license(&self) {
        let text = "----- LICENSE START -----\nanything\n----- LICENSE END -----\n";
        assert_eq!(self.call("PUT", "/v1/license", &json!({"license": text})).await.0, 200);
    }

    /// The real command line client, at an endpoint.
    pub fn redis_cli(&self, port: u16, words: &[&str]) -> String {
        let output = Command::new("timeout")
            .args(["60", "redis-cli", "-h", &self.host, "-p", &port.to_string()])
            .args(words)
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    pub fn rladmin(&self, words: &[&str]) -> Output {
        self.tool("rladmin", words)
    }

    /// A command line tool of the node.
    pub fn tool(&self, name: &str, words: &[&str]) -> Output {
        // A command that waits for what never comes must not hold up the tests.
        Command::new("timeout")
            .args(["60", BINARY, name])
            .args(words)
            .env("STEPWRIGHT_DEV_BIND", &self.host)
            .env("SIM_DATA", &self.data)
            .env_remove("STEPWRIGHT_DEV_ROOT")
            .output()
            .unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(25).collect();
            eprintln!("--- the last of {}:\n{}", self.name, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Nodes that share a folder. Dropped in this order: processes, then files.
pub struct Nodes {
    pub all: Vec<Node>,
    _folder: TempDir,
}

impl Nodes {
    /// Starts processes; no cluster yet.
    pub fn start(net: u8, count: u8) -> Self {
        Self::start_with(net, count, &[])
    }

    /// The same, with further words on their command lines.
    pub fn start_with(net: u8, count: u8, more: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all: Vec<Node> = (1..=count).map(|index| Node::new(folder.path(), net, index)).collect();
        for node in &mut all {
            node.more = more.to_vec();
            node.start();
        }
        Self { all, _folder: folder }
    }

    /// A cluster of all of them.
    pub async fn cluster(net: u8, count: u8) -> Self {
        Self::cluster_named(CLUSTER, net, count).await
    }

    /// The same under another name.
    pub async fn cluster_named(name: &'static str, net: u8, count: u8) -> Self {
        Self::cluster_with(name, net, count, &[]).await
    }

    /// The same, with further words on the command lines.
    pub async fn cluster_with(name: &'static str, net: u8, count: u8, more: &[String]) -> Self {
        let mut nodes = Self::start_with(net, count, more);
        nodes.all[0].cluster = name;
        nodes.all[0].found().await;
        for node in &nodes.all[1..] {
            node.join(&nodes.all[0].address, None).await;
        }
        nodes
    }

    /// The node that leads now, among those that answer.
    pub async fn master(&self) -> usize {
        until("a master", async || {
            for (index, node) in self.all.iter().enumerate() {
                if node.get("/v1/cluster").await.0 == 200 {
                    return Some(index);
                }
            }
            None
        })
        .await
    }
}

/// Processes of redis-server below a folder.
pub fn redis_servers(folder: &Path) -> Vec<i32> {
    let folder = folder.canonicalize().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let here = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if here && name.starts_with("redis-server") {
            found.push(pid);
        }
    }
    found
}

/// A field of INFO.
pub fn info_field(info: &str, name: &str) -> String {
    let info = text_of(info.as_bytes());
    info.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or_default().trim().to_owned()
}
