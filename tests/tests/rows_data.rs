//! Rows 61, 67, 84 and 85 of the checklist: databases grow, are kept apart and are upgraded while clients write.
//!
//! On a cluster that knows of racks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::databases::{self, States, apply, bdb, number, remove, settled};
use stepwright_tests::life::next_version;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World, redis};
use stepwright_tests::writer::Writer;
use stepwright_tests::{checklist, row};

/// Before a change, and after it: so many writes are seen to go through.
const SOME: u64 = 50;
const RACK: &str = "example.com/rack";

fn main() {
    let rows = vec![
        row!(61, row_61_shards_multiply_under_load),
        row!(67, row_67_replicas_are_on_other_racks),
        row!(84, row_84_an_upgrade_of_a_database_keeps_what_was_written),
        row!(85, row_85_databases_are_frozen_while_their_cluster_is_upgraded),
    ];
    checklist::main("rows_data", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    for (worker, rack) in [("worker-1", "a"), ("worker-2", "b"), ("worker-3", "c")] {
        world.kubectl(&["label", "node", worker, &format!("{RACK}={rack}")]).unwrap();
    }
    world.kubectl(&["apply", "-f", &repository().join("deploy/rack-awareness.yaml").display().to_string()]).unwrap();
    let cluster = json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
        "metadata": {"name": "rec", "labels": {"app": "redis-enterprise"}},
        "spec": {"nodes": 3, "persistentSpec": {"enabled": true, "volumeSize": "20Gi"}, "rackAwarenessNodeLabel": RACK},
    });
    world.kubectl_with_input(&["apply", "-f", "-"], &cluster.to_string()).unwrap();
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    databases::license(world, 400).await;
}

fn spec(world: &World, name: &str, change: &Value) {
    world.patch("redb", name, &json!({"spec": change})).unwrap();
}

async fn row_61_shards_multiply_under_load(world: &World) {
    apply(world, "row61", json!({"memorySize": "400MB", "databasePort": 12061}));
    settled(world, "row61").await;
    let password = world.secret("redb-row61", "password").unwrap();
    let writer = Writer::alone(world, number(world, "row61"), 12061, &password, "row61-").unwrap();
    writer.goes_on(SOME).await;
    for shards in [2, 4] {
        spec(world, "row61", &json!({"shardCount": shards}));
        let redb = settled(world, "row61").await;
        assert_eq!(redb["status"]["shardStatuses"]["active"], shards, "{redb}");
        assert_eq!(bdb(world, "row61").unwrap()["shards_count"], shards);
        writer.goes_on(SOME).await;
    }
    let written = writer.stop().unwrap();
    println!("{} writes, the longest gap {:?}", written.acknowledged.len(), written.longest_gap);
    let lost = written.lost(world, number(world, "row61"), 12061, &password).unwrap();
    assert!(lost.is_empty(), "{} acknowledged writes were lost: {lost:?}", lost.len());
    // Shards cannot be merged.
    let back = world.patch("redb", "row61", &json!({"spec": {"shardCount": 1}})).unwrap_err().to_string();
    assert!(back.contains("shards cannot be merged"), "{back}");
    assert_eq!(bdb(world, "row61").unwrap()["shards_count"], 4);
    remove(world, "row61").await;
}

/// Of each shard of a database in `rladmin status shards extra rack_id`: its slots, and its role and rack.
fn places(world: &World, name: &str) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let table = world.rladmin("rec-0", "status shards extra rack_id").unwrap();
    let mut lines = table.lines().skip_while(|line| !line.contains("RACK-ID"));
    let head: Vec<&str> = lines.next().unwrap_or_else(|| panic!("no racks in {table}")).split_whitespace().collect();
    let column = |name: &str| head.iter().position(|it| *it == name).unwrap_or_else(|| panic!("no {name} in {table}"));
    let (named, role, slots, rack) = (column("NAME"), column("ROLE"), column("SLOTS"), column("RACK-ID"));
    let mut places: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for cells in lines.map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        if cells.get(named) == Some(&name) {
            let place = (cells[role].to_owned(), cells[rack].to_owned());
            places.entry(cells[slots].to_owned()).or_default().insert(place);
        }
    }
    places
}

/// A master and a replica for all slots, on two racks.
fn are_apart(places: &BTreeMap<String, BTreeSet<(String, String)>>, shards: usize) {
    assert_eq!(places.len(), shards, "{places:?}");
    for pair in places.values() {
        let roles: BTreeSet<&str> = pair.iter().map(|(role, _)| role.as_str()).collect();
        let racks: BTreeSet<&str> = pair.iter().map(|(_, rack)| rack.as_str()).collect();
        assert_eq!((roles.len(), racks.len()), (2, 2), "{places:?}");
        assert!(racks.is_subset(&BTreeSet::from(["a", "b", "c"])), "{places:?}");
    }
}

async fn row_67_replicas_are_on_other_racks(world: &World) {
    let spec_of = |shards: u32| json!({"memorySize": "400MB", "replication": true, "rackAware": true, "shardCount": shards, "databasePort": 12067});
    apply(world, "row67", spec_of(2));
    settled(world, "row67").await;
    assert_eq!(bdb(world, "row67").unwrap()["rack_aware"], true);
    are_apart(&places(world, "row67"), 2);
    // New ones too.
    apply(world, "row67", spec_of(4));
    settled(world, "row67").await;
    are_apart(&places(world, "row67"), 4);
    // Somebody else's hand is put right.
    let uid = number(world, "row67");
    world.rest("PUT", &format!("/v1/bdbs/{uid}"), Some(&json!({"rack_aware": false}))).unwrap();
    until("racks to be minded again", SETTLES, || async {
        let found = bdb(world, "row67").unwrap();
        if found["rack_aware"] == true && found["status"] == "active" { Ok(()) } else { Err(found) }
    })
    .await;
    remove(world, "row67").await;
}

/// The versions of Redis that the cluster offers, oldest first.
fn versions(world: &World) -> Vec<String> {
    let rec = world.get("rec", "rec").unwrap();
    let all = rec["status"]["bundledDatabaseVersions"].as_array().cloned().unwrap_or_default();
    let all = all.iter().filter(|it| it["dbType"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("redis")));
    let mut all: Vec<String> = all.filter_map(|it| Some(it["version"].as_str()?.to_owned())).collect();
    let numbers = |version: &String| version.split('.').filter_map(|it| it.parse().ok()).collect::<Vec<u64>>();
    all.sort_by_key(numbers);
    all
}

async fn row_84_an_upgrade_of_a_database_keeps_what_was_written(world: &World) {
    let versions = until("versions of databases", SETTLES, || async {
        let all = versions(world);
        if all.len() > 1 { Ok(all) } else { Err(all) }
    })
    .await;
    let (old, new) = (&versions[0], &versions[1]);
    apply(world, "row84", json!({"replication": true, "redisVersion": old, "databasePort": 12084}));
    let redb = settled(world, "row84").await;
    let has = |redb: &Value, wanted: &str| redb["status"]["version"].as_str().is_some_and(|it| it.starts_with(wanted));
    assert!(has(&redb, old), "{redb}");
    let password = world.secret("redb-row84", "password").unwrap();
    let writer = Writer::start(world, number(world, "row84"), 12084, &password, "row84-").unwrap();
    writer.goes_on(SOME).await;
    let states = States::of(world, "row84");
    spec(world, "row84", &json!({"redisVersion": new}));
    let redb = until("the new version", FORMS, || async {
        let redb = settled(world, "row84").await;
        if has(&redb, new) { Ok(redb) } else { Err(redb) }
    })
    .await;
    assert!(states.seen().iter().any(|state| state == "active-change-pending"), "{:?}", states.seen());
    assert_eq!(redb["status"]["lastActionStatus"], "completed", "{redb}");
    writer.goes_on(SOME).await;
    let written = writer.stop().unwrap();
    println!("{} writes, the longest gap {:?}", written.acknowledged.len(), written.longest_gap);
    let lost = written.lost(world, number(world, "row84"), 12084, &password).unwrap();
    assert!(lost.is_empty(), "{} acknowledged writes were lost: {lost:?}", lost.len());
    // No way back.
    spec(world, "row84", &json!({"redisVersion": old}));
    let redb = world.field("redb", "row84", "/status/specStatus", "Invalid", SETTLES).await;
    let said = databases::condition(&redb, "Ready");
    assert!(said["message"].as_str().unwrap().contains("a database is never downgraded"), "{said}");
    assert!(has(&redb, new), "{redb}");
    remove(world, "row84").await;
}

async fn row_85_databases_are_frozen_while_their_cluster_is_upgraded(world: &World) {
    apply(world, "row85", json!({"memorySize": "200MB", "replication": true, "databasePort": 12085}));
    settled(world, "row85").await;
    let password = world.secret("redb-row85", "password").unwrap();
    let forward = world.database("service/row85", 12085, &password).await;
    assert_eq!(redis(forward.port, &password, &["SET", "row85", "kept"]).unwrap(), "OK");
    drop(forward);
    let before = bdb(world, "row85").unwrap()["memory_size"].clone();
    let version = next_version(world);
    world.patch("rec", "rec", &json!({"spec": {"redisEnterpriseImageSpec": {"versionTag": version}}})).unwrap();
    world.field("rec", "rec", "/status/state", "Upgrade", SETTLES).await;
    spec(world, "row85", &json!({"memorySize": "300MB"}));
    let frozen = "cluster `rec` is Upgrade, not Running: its databases are frozen until the upgrade is done";
    until("the reason of the delay", SETTLES, || async {
        let [status, reason, message] = world.condition("redb", "row85", "Ready")?;
        let told = status == "False" && !reason.is_empty() && message.contains(frozen);
        if told { Ok(()) } else { anyhow::bail!("{status} {reason}: {message}") }
    })
    .await;
    // A new one waits as well.
    apply(world, "row85-new", json!({"databasePort": 12185}));
    until("the new one to wait", SETTLES, || async {
        let [_, _, message] = world.condition("redb", "row85-new", "Ready")?;
        if message.contains(frozen) { Ok(()) } else { anyhow::bail!("{message}") }
    })
    .await;
    // What is asked now is answered by a cluster that is still being upgraded.
    let found = bdb(world, "row85").unwrap()["memory_size"].clone();
    let (made, state) = (bdb(world, "row85-new"), world.get("rec", "rec").unwrap()["status"]["state"].clone());
    assert_eq!(state, "Upgrade", "the upgrade was over before anybody could look");
    assert_eq!(found, before, "a database was changed during the upgrade");
    assert!(made.is_none(), "a database was made during the upgrade");
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    assert_eq!(world.get("rec", "rec").unwrap()["status"]["redisEnterpriseVersion"], version.as_str());
    settled(world, "row85").await;
    settled(world, "row85-new").await;
    assert_eq!(bdb(world, "row85").unwrap()["memory_size"], 300u64 << 20);
    let forward = world.database("service/row85", 12085, &password).await;
    assert_eq!(redis(forward.port, &password, &["GET", "row85"]).unwrap(), "kept");
    drop(forward);
    remove(world, "row85").await;
    remove(world, "row85-new").await;
    world.patch("rec", "rec", &json!({"spec": {"redisEnterpriseImageSpec": null}})).unwrap();
}
