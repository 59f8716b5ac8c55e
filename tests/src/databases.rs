//! What tests of databases share: resources by their specs, the cluster's own view of them, states as they pass.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::wait::until;
use crate::world::{FORMS, SETTLES, World};

/// A RedisEnterpriseDatabase with this spec.
#[must_use]
pub fn manifest(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase", "metadata": {"name": name}, "spec": spec})
}

/// Applies one; the API server must take it.
#[track_caller]
pub fn apply(world: &World, name: &str, spec: Value) {
    if let Err(error) = world.kubectl_with_input(&["apply", "-f", "-"], &manifest(name, spec).to_string()) {
        panic!("{error:#}");
    }
}

/// Waits until a database is active, its spec sent as a whole, and its resource ready. Returns the resource.
pub async fn settled(world: &World, name: &str) -> Value {
    settled_in(world, crate::world::NAMESPACE, name).await
}

/// The same in another namespace.
pub async fn settled_in(world: &World, namespace: &str, name: &str) -> Value {
    until(&format!("database {namespace}/{name} to settle"), FORMS, || async {
        let redb: Value = serde_json::from_str(&world.kubectl(&["get", "redb", name, "-n", namespace, "-o", "json"])?)?;
        let at_rest = redb["status"]["status"] == "active"
            && redb["status"]["observedGeneration"] == redb["metadata"]["generation"]
            && condition(&redb, "Ready")["status"] == "True"
            && condition(&redb, "Ready")["observedGeneration"] == redb["metadata"]["generation"];
        if at_rest { Ok(redb) } else { anyhow::bail!("{}", redb["status"]) }
    })
    .await
}

/// Deletes a resource and waits until its Services are gone too.
pub async fn remove(world: &World, name: &str) {
    if let Err(error) = world.kubectl(&["delete", "redb", name, "--timeout=180s"]) {
        panic!("{error:#}");
    }
    for service in [name.to_owned(), format!("{name}-headless")] {
        world.gone("service", &service).await;
    }
}

/// A condition of a resource; `Null` if it has none of this type.
#[must_use]
pub fn condition(object: &Value, type_: &str) -> Value {
    let all = object["status"]["conditions"].as_array();
    all.into_iter().flatten().find(|it| it["type"] == type_).cloned().unwrap_or_default()
}

/// A database as the cluster shows it. Panics if the cluster does not answer for a while.
#[must_use]
pub fn bdb(world: &World, name: &str) -> Option<Value> {
    let mut last = None;
    for _ in 0..50 {
        match world.rest("GET", "/v1/bdbs", None) {
            Ok(all) => return all.as_array().into_iter().flatten().find(|bdb| bdb["name"] == name).cloned(),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the cluster does not list its databases: {last:?}")
}

/// The number by which the cluster knows a database.
#[must_use]
pub fn number(world: &World, name: &str) -> u32 {
    let uid = bdb(world, name).and_then(|bdb| bdb["uid"].as_u64()).and_then(|uid| u32::try_from(uid).ok());
    uid.unwrap_or_else(|| panic!("the cluster has no database {name}"))
}

/// Gives the cluster a license for so many shards; only the simulator takes it.
pub async fn license(world: &World, shards: u64) {
    let content = json!({"shards_limit": shards, "expires_in_days": 300}).to_string();
    let text = base64::engine::general_purpose::STANDARD.encode(content);
    let text = format!("----- LICENSE START -----\n{text}\n----- LICENSE END -----\n");
    until("the license", SETTLES, || async { world.rest("PUT", "/v1/license", Some(&json!({"license": text}))) }).await;
}

/// Waits until all three nodes of the cluster serve, and its resource is `Running`.
pub async fn nodes_are_up(world: &World) {
    until("three nodes", FORMS, || async {
        let nodes = world.rest("GET", "/v1/nodes", None)?;
        let active = nodes.as_array().into_iter().flatten().filter(|node| node["status"] == "active").count();
        let pods = world.kubectl(&["get", "sts", "rec", "-o", "jsonpath={.status.readyReplicas}"])?;
        if active == 3 && pods == "3" { Ok(()) } else { anyhow::bail!("{active} active nodes, {pods} ready pods") }
    })
    .await;
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
}

/// Every state that a database's status goes through from now on, by `kubectl get --watch`. Ends with the value.
pub struct States {
    child: Child,
    seen: Arc<Mutex<Vec<String>>>,
}

impl States {
    #[must_use]
    pub fn of(world: &World, name: &str) -> Self {
        let command = ["get", "redb", name, "--watch", "-o", "jsonpath={.status.status}{\"\\n\"}"];
        let child =
            world.cluster.kubectl().map(|kubectl| kubectl.into_std()).and_then(|mut kubectl| {
                Ok(kubectl.args(command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
            });
        let mut child = child.unwrap_or_else(|error| panic!("{error:#}"));
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = child.stdout.take().map(BufReader::new);
        let known = seen.clone();
        // Ends with the pipe, and so the process.
        std::thread::spawn(move || {
            for line in lines.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                known.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let states = Self { child, seen };
        // Nothing is missed once the first one is here.
        for _ in 0..200 {
            if !states.seen().is_empty() {
                return states;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("kubectl shows no state of {name}")
    }

    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for States {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
