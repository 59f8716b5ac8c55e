//! What tests of a cluster's life share: a cluster with a database that must not lose anything, what is looked at of it,
//! and what is done to it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwright_dev_cluster::repository;

use crate::wait::until;
use crate::world::{FORMS, SETTLES, World, http, redis};

/// Of pods of nodes.
pub const NODES: &str = "redis.io/role=node";

/// Port of the database.
pub const PORT: u16 = 19621;

pub async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    database(world).await;
}

/// The sample database with a replica, every write on disk.
pub async fn database(world: &World) {
    let text = std::fs::read_to_string(repository().join("deploy/samples/redb.yaml")).unwrap();
    let text = text.replace("replication: false", "replication: true\n  persistence: aofAlways");
    world.kubectl_with_input(&["apply", "-f", "-"], &text).unwrap();
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
}

pub fn patch(world: &World, kind: &str, name: &str, body: &Value) {
    world.kubectl(&["patch", kind, name, "--type=merge", "-p", &body.to_string()]).unwrap();
}

pub fn spec(world: &World, body: &Value) {
    patch(world, "rec", "rec", &json!({ "spec": body }));
}

/// What happened to an object of this name: `reason message` of each Event.
pub fn events(world: &World, name: &str) -> String {
    let path = "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}";
    let selector = format!("--field-selector=involvedObject.name={name}");
    world.kubectl(&["get", "events", &selector, "-o", path]).unwrap()
}

pub async fn event(world: &World, name: &str, words: &[&str]) {
    until(&format!("an Event with {words:?}"), SETTLES, || async {
        let all = events(world, name);
        if all.lines().any(|line| words.iter().all(|word| line.contains(word))) { Ok(()) } else { Err(all) }
    })
    .await;
}

/// Waits for a cluster that is well: `Running`, and everything reached.
pub async fn well(world: &World) {
    until("the cluster to be well", FORMS, || async {
        let rec = world.get("rec", "rec").unwrap();
        let ready = condition(&rec, "Ready");
        let fresh = ready["observedGeneration"] == rec["metadata"]["generation"];
        if rec["status"]["state"] == "Running" && ready["status"] == "True" && fresh {
            Ok(())
        } else {
            Err(rec["status"].clone())
        }
    })
    .await;
}

pub fn condition(object: &Value, type_: &str) -> Value {
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["type"] == type_).unwrap_or_default()
}

/// UID by name, of the objects with a label.
pub fn uids(world: &World, kind: &str, label: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = world.list(kind, label).unwrap();
    all.iter().map(|it| (text(&it["metadata"]["name"]), text(&it["metadata"]["uid"]))).collect()
}

pub fn volumes(world: &World) -> BTreeMap<String, String> {
    let volumes = uids(world, "pvc", "redis.io/cluster=rec");
    assert!(volumes.len() >= 3, "{volumes:?}");
    volumes
}

pub async fn put_key(world: &World, key: &str, value: &str) {
    let password = world.secret("redb-mydb", "password").unwrap();
    let forward = world.database("service/mydb", PORT, &password).await;
    assert_eq!(redis(forward.port, &password, &["SET", key, value]).unwrap(), "OK");
}

pub async fn key_is(world: &World, key: &str, value: &str) {
    let password = world.secret("redb-mydb", "password").unwrap();
    until(&format!("the key {key}"), SETTLES, || async {
        let forward = world.database("service/mydb", PORT, &password).await;
        let found = redis(forward.port, &password, &["GET", key]).unwrap();
        if found == value { Ok(()) } else { Err(found) }
    })
    .await;
}

/// The next version after the one that runs: its last number, plus one.
pub fn next_version(world: &World) -> String {
    let rec = world.get("rec", "rec").unwrap();
    let now = rec["status"]["redisEnterpriseVersion"].as_str().unwrap();
    let (stem, last) = now.rsplit_once('.').unwrap();
    format!("{stem}.{}", last.parse::<u32>().unwrap() + 1)
}

/// Lists the states of the cluster as they pass, by a watch.
pub struct States {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl States {
    pub fn watch(world: &World) -> Self {
        use std::io::BufRead as _;
        let mut command = world.cluster.kubectl().unwrap().into_std();
        command.args(["get", "rec", "rec", "--watch", "-o", "jsonpath={.status.state}{\"\\n\"}"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let reader = std::io::BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Those that passed so far, without repetitions.
    pub fn seen(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        self.seen.dedup();
        &self.seen
    }
}

impl Drop for States {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn cordon(world: &World, verb: &str) {
    let nodes = world.kubectl(&["get", "nodes", "-o", "name"]).unwrap();
    for node in nodes.split_whitespace() {
        world.kubectl(&[verb, node]).unwrap();
    }
}

/// Two of three nodes go, and nothing lets them come back; the cluster says what helps.
pub async fn lose_two(world: &World) {
    cordon(world, "cordon");
    world.kubectl(&["delete", "pod", "rec-1", "rec-2", "--wait=false"]).unwrap();
    let rec = world.field("rec", "rec", "/status/state", "Error", FORMS).await;
    let command = r#"kubectl -n redis patch rec rec --type merge -p '{"spec":{"clusterRecovery":true}}'"#;
    until("the command that helps", SETTLES, || async {
        let ready = condition(&world.get("rec", "rec").unwrap(), "Ready");
        let said = ready["message"].as_str().unwrap_or_default().contains(command) && ready["status"] == "False";
        if said { Ok(()) } else { Err(ready) }
    })
    .await;
    event(world, "rec", &["QuorumLost", command]).await;
    assert_ne!(rec["spec"]["clusterRecovery"], true, "nothing begins by itself");
}

/// The databases come back with the vendor's command, with what was in them.
pub async fn databases_come_back(world: &World) {
    world.field("redb", "mydb", "/status/status", "recovery", SETTLES).await;
    let list = world.kubectl(&["exec", "rec-0", "--", "bash", "-lc", "rladmin recover list"]).unwrap();
    assert!(list.contains("mydb") && list.contains("ready"), "{list}");
    let said = world.kubectl(&["exec", "rec-0", "--", "bash", "-lc", "rladmin recover all"]).unwrap();
    assert!(said.contains("100% [ 1 recovered | 0 failed ]"), "{said}");
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
}

pub fn in_order(seen: &[String], wanted: &[&str]) -> bool {
    let mut left = wanted.iter().peekable();
    for state in seen {
        if left.peek().is_some_and(|next| *next == state) {
            left.next();
        }
    }
    left.peek().is_none()
}

pub fn login(world: &World) -> (String, String) {
    (world.secret("rec", "username").unwrap(), world.secret("rec", "password").unwrap())
}

/// The status of a request with these credentials, from whichever node leads.
pub fn status_with(world: &World, user: &str, password: &str) -> u16 {
    for pod in ["rec-0", "rec-1", "rec-2"] {
        let address = world.address(pod).unwrap();
        match http(address, 8080, "GET", "/v1/cluster", Some((user, password)), None) {
            Ok((307 | 503, _)) | Err(_) => {}
            Ok((status, _)) => return status,
        }
    }
    0
}

/// Waits until a recovery has begun.
pub async fn reset(states: &mut States) {
    until("the reset of the pods", SETTLES, || {
        let seen = states.seen().to_vec();
        async move { if seen.iter().any(|state| state == "RecoveryReset") { Ok(()) } else { Err(seen) } }
    })
    .await;
}
