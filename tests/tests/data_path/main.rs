//! Data through every change that a database can go through: a client writes all the while, and what was acknowledged is there
//! afterwards. Then how data gets in and out: import, backup and restore, copies of other databases.
//!
//! One cluster; each function makes the databases that it needs and takes them away again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod changes;
mod copies;
mod places;
mod store;

use serde_json::{Value, json};
use stepwright_tests::checklist::{Shows, once_on};
use stepwright_tests::databases::{self, number};
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};
use stepwright_tests::writer::{Session, Writer};

/// Before a change, and after it: so many writes are seen to go through.
const SOME: u64 = 50;
/// Where the nodes of the cluster see a folder that all of them share.
const SHARED: &str = "/shared";

macro_rules! functions {
    ($($function:path),* $(,)?) => { vec![$((stringify!($function), |world| Box::pin($function(world)))),*] };
}

fn main() {
    let functions: Vec<(&'static str, Shows)> = functions![
        changes::memory_and_eviction_change_under_load,
        changes::persistence_is_switched_under_load,
        changes::replication_is_turned_on_and_off_under_load,
        changes::a_new_password_leaves_connections_that_are_open,
        changes::tls_is_turned_on_and_asks_for_certificates,
        changes::a_lost_node_loses_no_acknowledged_write,
        places::a_backup_to_a_folder_is_restored,
        places::a_backup_to_a_store_is_restored,
        copies::a_copy_follows_a_source_by_its_address,
        copies::a_copy_follows_another_database,
    ];
    once_on(4, |world| Box::pin(prepare(world)), &functions);
}

/// A machine without a node of the cluster: for those who look on while others are lost.
const APART: &str = "worker-4";

/// A cluster whose nodes share a folder, as with a volume that many may mount.
async fn prepare(world: &World) {
    world.kubectl(&["cordon", APART]).unwrap();
    let folder = shared(world);
    std::fs::create_dir_all(&folder).unwrap();
    let cluster = json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
        "metadata": {"name": "rec", "labels": {"app": "redis-enterprise"}},
        "spec": {
            "nodes": 3, "persistentSpec": {"enabled": true, "volumeSize": "20Gi"},
            "volumes": [{"name": "shared", "hostPath": {"path": folder.display().to_string()}}],
            "redisEnterpriseVolumeMounts": [{"name": "shared", "mountPath": SHARED}],
        },
    });
    world.kubectl_with_input(&["apply", "-f", "-"], &cluster.to_string()).unwrap();
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    world.kubectl(&["uncordon", APART]).unwrap();
    databases::license(world, 400).await;
}

/// The shared folder, as it is outside of the cluster. It goes with the cluster's own.
fn shared(world: &World) -> std::path::PathBuf {
    world.cluster.folder().join("shared")
}

fn spec(world: &World, name: &str, change: &Value) {
    world.patch("redb", name, &json!({ "spec": change })).unwrap();
}

fn password(world: &World, name: &str) -> String {
    world.secret(&format!("redb-{name}"), "password").unwrap()
}

/// A client that writes to a database, and counts what the server acknowledges.
async fn writing(world: &World, name: &str, port: u16) -> Writer {
    writing_as("w-", world, name, port).await
}

/// The same, with these letters before its keys.
async fn writing_as(prefix: &str, world: &World, name: &str, port: u16) -> Writer {
    let writer = Writer::alone(world, number(world, name), port, &password(world, name), prefix).unwrap();
    writer.goes_on(SOME).await;
    writer
}

/// Ends it; all that was acknowledged is there.
fn nothing_lost(world: &World, name: &str, port: u16, writer: Writer) {
    let written = writer.stop().unwrap();
    println!("{name}: {} writes, the longest gap {:?}", written.acknowledged.len(), written.longest_gap);
    let lost = written.lost(world, number(world, name), port, &password(world, name)).unwrap();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged writes were lost: {lost:?}",
        lost.len(),
        written.acknowledged.len()
    );
}

/// A connection to a database, as soon as there is one.
async fn session(world: &World, name: &str, port: u16) -> Session {
    let (uid, password) = (number(world, name), password(world, name));
    until("a connection", SETTLES, || async { Session::open(world, uid, port, &password) }).await
}

/// Waits until the database answers a command so.
async fn answers(world: &World, name: &str, port: u16, command: &[&str], wanted: &str) {
    let (uid, password) = (number(world, name), password(world, name));
    until(&format!("{command:?} to be answered with {wanted:?}"), SETTLES, || async {
        let said = Session::open(world, uid, port, &password)?.ask(command)?;
        anyhow::ensure!(said == wanted, "{said:?}");
        anyhow::Ok(())
    })
    .await;
}
