//! A name stands for one database on a cluster, whoever made it, and whatever becomes of the replies to its creation; and
//! what the cluster refuses reaches the user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use serde_json::{Value, json};
use stepwright_tests::checklist;
use stepwright_tests::databases::{self, apply, bdb, condition, nodes_are_up, remove, settled};
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, http};

const PODS: [&str; 3] = ["rec-0", "rec-1", "rec-2"];

fn main() {
    let rows = vec![
        row!(48, row_48_a_lost_reply_makes_no_second_database),
        row!(48, row_48_killed_between_the_call_and_its_reply),
        row!(48, row_48_while_the_master_changes),
        row!(48, row_48_while_the_majority_is_lost),
        row!(56, row_56_a_database_made_through_the_api_gets_services_and_is_not_adopted),
        row!(48, row_48_a_name_that_is_taken_is_refused),
        row!(49, row_49_a_port_that_is_taken_is_refused),
        row!(49, row_49_memory_that_does_not_fit_is_told),
        row!(93, row_93_a_licence_that_is_used_up_is_told),
    ];
    checklist::main("rows_names", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
}

/// Makes something go wrong on every node, until it is taken back.
fn fault(world: &World, fault: &Value) {
    sim(world, PODS[0], "POST", "/_sim/faults?all", Some(fault));
}

fn no_faults(world: &World) {
    sim(world, PODS[0], "DELETE", "/_sim/faults?all", None);
}

fn sim(world: &World, pod: &str, method: &str, path: &str, body: Option<&Value>) {
    let (status, text) = http(world.address(pod).unwrap(), 3399, method, path, None, body).unwrap();
    assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
}

/// Databases of this name, and the greatest uid of any database: each creation takes one.
fn census(world: &World, name: &str) -> (usize, u64) {
    let all = world.rest("GET", "/v1/bdbs", None).unwrap();
    let all = all.as_array().unwrap();
    let uid = |bdb: &Value| bdb["uid"].as_u64().unwrap();
    (all.iter().filter(|bdb| bdb["name"] == name).count(), all.iter().map(uid).max().unwrap_or(0))
}

/// A database whose creation is disturbed is there once in the end, and its creation was carried out once.
async fn made_once(world: &World, name: &str) {
    let redb = settled(world, name).await;
    let (count, newest) = census(world, name);
    assert_eq!(count, 1, "databases of name {name}");
    assert_eq!(redb["status"]["databaseUID"], newest.to_string(), "another database was made");
    let marker = format!("{name}-next");
    apply(world, &marker, json!({}));
    let next = settled(world, &marker).await;
    assert_eq!(next["status"]["databaseUID"], (newest + 1).to_string(), "a database was made in between");
    remove(world, &marker).await;
    remove(world, name).await;
}

async fn row_48_a_lost_reply_makes_no_second_database(world: &World) {
    let forms = [
        json!({"kind": "lose-reply", "path": "/v1/bdbs", "times": 1}),
        json!({"kind": "gateway", "form": "html504", "path": "/v1/bdbs", "times": 5}),
        json!({"kind": "gateway", "form": "truncated", "path": "/v1/bdbs", "times": 5}),
        json!({"kind": "gateway", "form": "empty", "path": "/v1/bdbs", "times": 5}),
        json!({"kind": "busy", "times": 2}),
    ];
    for (number, form) in forms.iter().enumerate() {
        let name = format!("lost-{number}");
        fault(world, form);
        apply(world, &name, json!({}));
        until("the creation to get through", SETTLES, || async {
            match world.rest("GET", "/v1/bdbs", None) {
                Ok(all) if all.as_array().into_iter().flatten().any(|bdb| bdb["name"] == name.as_str()) => Ok(()),
                other => Err(other),
            }
        })
        .await;
        no_faults(world);
        made_once(world, &name).await;
    }
}

async fn row_48_killed_between_the_call_and_its_reply(world: &World) {
    fault(world, &json!({"kind": "lose-reply", "path": "/v1/bdbs", "times": 1}));
    apply(world, "killed", json!({}));
    until("the cluster to have it", SETTLES, || async {
        let all = world.rest("GET", "/v1/bdbs", None)?;
        let there = all.as_array().into_iter().flatten().any(|bdb| bdb["name"] == "killed");
        if there { Ok(()) } else { anyhow::bail!("{all}") }
    })
    .await;
    world.kill_operator().unwrap();
    world.operator_ready().await;
    no_faults(world);
    made_once(world, "killed").await;
}

/// The node that leads answers, and nobody else: the others say 307.
async fn row_48_while_the_master_changes(world: &World) {
    apply(world, "redirected", json!({}));
    let nodes = world.rest("GET", "/v1/nodes/status", None).unwrap();
    let other = nodes.as_object().unwrap().iter().find(|(_, node)| node["role"] != "master").unwrap().0.clone();
    let body = json!({"node_uid": other});
    until("another master", SETTLES, || async { world.rest("POST", "/v1/cluster/actions/change_master", Some(&body)) })
        .await;
    made_once(world, "redirected").await;
}

/// Without a majority every node says 503.
async fn row_48_while_the_majority_is_lost(world: &World) {
    for pod in PODS {
        sim(world, pod, "POST", "/_sim/faults", Some(&json!({"kind": "isolate"})));
    }
    until("the cluster to fall silent", SETTLES, || async {
        match world.rest("GET", "/v1/bdbs", None) {
            Ok(all) => Err(all),
            Err(_) => Ok(()),
        }
    })
    .await;
    apply(world, "silent", json!({}));
    until("the database to wait", SETTLES, || async {
        let redb = world.get("redb", "silent")?;
        if condition(&redb, "Ready")["status"] == "False" { Ok(()) } else { anyhow::bail!("{redb}") }
    })
    .await;
    for pod in PODS {
        sim(world, pod, "DELETE", "/_sim/faults", None);
    }
    nodes_are_up(world).await;
    made_once(world, "silent").await;
}

async fn row_56_a_database_made_through_the_api_gets_services_and_is_not_adopted(world: &World) {
    let body = json!({"name": "by-hand", "memory_size": 104_857_600, "port": 12_056});
    until("the API to take it", SETTLES, || async { world.rest("POST", "/v1/bdbs", Some(&body)) }).await;
    for name in ["by-hand", "by-hand-headless"] {
        until("its Services", SETTLES, || async { world.get("service", name) }).await;
    }
    // A resource of that name does not take it over, and says whose it is.
    apply(world, "by-hand", json!({}));
    told(world, "by-hand", &["metadata.name", "no resource made it"]).await;
    world.kubectl(&["delete", "redb", "by-hand", "--timeout=180s"]).unwrap();
    let found = bdb(world, "by-hand").expect("the resource took the database along");
    assert_eq!(found["tags"].as_array().map_or(0, Vec::len), 0, "{found}");
    until("it to go", SETTLES, || async { world.rest("DELETE", &format!("/v1/bdbs/{}", found["uid"]), None) }).await;
    world.gone("service", "by-hand").await;
    world.gone("service", "by-hand-headless").await;
}

async fn row_48_a_name_that_is_taken_is_refused(world: &World) {
    // Whether of two resources with one name, or of one that was told so and then got its way.
    let body = json!({"name": "taken", "memory_size": 104_857_600});
    until("the API to take it", SETTLES, || async { world.rest("POST", "/v1/bdbs", Some(&body)) }).await;
    // The operator has seen it.
    until("its Service", SETTLES, || async { world.get("service", "taken") }).await;
    apply(world, "taken", json!({}));
    world.field("redb", "taken", "/status/specStatus", "Invalid", SETTLES).await;
    let uid = bdb(world, "taken").unwrap()["uid"].clone();
    until("it to go", SETTLES, || async { world.rest("DELETE", &format!("/v1/bdbs/{uid}"), None) }).await;
    let redb = settled(world, "taken").await;
    assert_ne!(redb["status"]["databaseUID"], uid.to_string());
    remove(world, "taken").await;
}

/// Waits until a resource says something, and whether it counts as invalid; an Event says it too.
async fn told(world: &World, name: &str, words: &[&str]) {
    until(&format!("{name} to say {words:?}"), SETTLES, || async {
        let redb = world.get("redb", name)?;
        let ready = condition(&redb, "Ready");
        let message = ready["message"].as_str().unwrap_or_default();
        if words.iter().all(|word| message.contains(word)) { Ok(()) } else { anyhow::bail!("{}", redb["status"]) }
    })
    .await;
    until("an Event", SETTLES, || async {
        let selector = format!("--field-selector=involvedObject.name={name},type=Warning");
        let events = world.kubectl(&["get", "events", &selector])?;
        if words.iter().all(|word| events.contains(word)) { Ok(()) } else { anyhow::bail!("{events}") }
    })
    .await;
}

async fn row_49_a_port_that_is_taken_is_refused(world: &World) {
    apply(world, "port-first", json!({"databasePort": 12_111}));
    settled(world, "port-first").await;
    apply(world, "port-second", json!({"databasePort": 12_111}));
    told(world, "port-second", &["spec.databasePort", "`port-first`", "choose another"]).await;
    remove(world, "port-first").await;
    // What stood in the way is gone.
    settled(world, "port-second").await;
    remove(world, "port-second").await;
    // One that only the cluster knows to be reserved, in its own words and ours.
    let reserve = |ports: Value| world.rest("PUT", "/v1/cluster", Some(&json!({"reserved_ports": ports})));
    until("the reservation", SETTLES, || async { reserve(json!(["12112"])) }).await;
    apply(world, "port-reserved", json!({"databasePort": 12_112}));
    told(world, "port-reserved", &["port_unavailable", "spec.databasePort: a free port"]).await;
    // The port of a resource never changes, so it is the reservation that has to go.
    until("no reservation", SETTLES, || async { reserve(json!([])) }).await;
    settled(world, "port-reserved").await;
    remove(world, "port-reserved").await;
}

async fn row_49_memory_that_does_not_fit_is_told(world: &World) {
    apply(world, "too-large", json!({"memorySize": "900GB"}));
    told(world, "too-large", &["insufficient_resources", "spec.memorySize"]).await;
    apply(world, "too-large", json!({"memorySize": "100MB"}));
    settled(world, "too-large").await;
    // A change that does not fit leaves the database as it was.
    apply(world, "too-large", json!({"memorySize": "900GB"}));
    told(world, "too-large", &["stays as it was", "spec.memorySize"]).await;
    let found = bdb(world, "too-large").unwrap();
    assert_eq!((&found["status"], &found["memory_size"]), (&json!("active"), &json!(104_857_600)));
    apply(world, "too-large", json!({"memorySize": "150MB"}));
    settled(world, "too-large").await;
    remove(world, "too-large").await;
}

async fn row_93_a_licence_that_is_used_up_is_told(world: &World) {
    databases::license(world, 4).await;
    apply(world, "many-shards", json!({"shardCount": 5}));
    told(world, "many-shards", &["License permits 4 total shards", "spec.shardCount"]).await;
    assert!(bdb(world, "many-shards").is_none());
    databases::license(world, 8).await;
    settled(world, "many-shards").await;
    // Expired, and said by the cluster: what is there stays, what would change waits.
    fault(world, &json!({"kind": "license-expired"}));
    apply(world, "many-shards", json!({"shardCount": 5, "memorySize": "600MB"}));
    until("the word of the license", SETTLES, || async {
        let redb = world.get("redb", "many-shards")?;
        let ready = condition(&redb, "Ready");
        if ready["message"].as_str().unwrap_or_default().contains("license") {
            Ok(())
        } else {
            anyhow::bail!("{ready}")
        }
    })
    .await;
    no_faults(world);
    settled(world, "many-shards").await;
    remove(world, "many-shards").await;
    databases::license(world, 4).await;
}
