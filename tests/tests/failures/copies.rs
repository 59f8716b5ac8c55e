//! Failures of what goes on beside a database: its backups, and the link to its source.

use anyhow::bail;
use serde_json::json;
use stepwright_tests::databases::{number, remove, settled};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};
use stepwright_tests::writer::Session;

use crate::{PODS, database, event, heal, inject, well};

/// Databases serve on, whatever fails beside them: nobody is to be woken because `Ready` is not `True`.
fn still_ready(world: &World, name: &str) {
    let [status, reason, message] = world.condition("redb", name, "Ready").unwrap();
    assert_eq!(status, "True", "{reason}: {message}");
    assert_eq!(world.get("redb", name).unwrap()["status"]["status"], "active");
}

pub(crate) async fn f14_a_refused_backup_is_told_and_tried_again_when_due(world: &World) {
    let backup = |it| world.patch("redb", "mydb", &json!({"spec": {"backup": it}})).unwrap();
    let status = "/status/backupInfo/backupStatus";
    backup(json!({"interval": 4, "mount": {"path": "/opt/persistent"}}));
    world.field("redb", "mydb", status, "succeeded", SETTLES).await;
    inject(world, &PODS, &json!({"kind": "backup-refused"}));
    event(world, "redb/mydb", "BackupFailed", "failed: no-permission: let the credentials of spec.backup").await;
    world.field("redb", "mydb", "/status/backupInfo/backupFailureReason", "no-permission", SETTLES).await;
    still_ready(world, "mydb");
    heal(world, &PODS);
    world.field("redb", "mydb", status, "succeeded", SETTLES).await;
    // Not by a backup of the time before the failure: the reason is gone too.
    assert!(world.get("redb", "mydb").unwrap().pointer("/status/backupInfo/backupFailureReason").is_none());
    backup(json!(null));
    settled(world, "mydb").await;
    well(world).await;
}

pub(crate) async fn f17_a_broken_link_to_a_source_is_told_and_caught_up_with(world: &World) {
    let sources = json!([{"replicaSourceType": "REDB", "replicaSourceName": "mydb"}]);
    database(world, "mirror", &json!({"databasePort": 19622, "replicaSources": sources}));
    settled(world, "mirror").await;
    let status = "/status/replicaSourceStatuses/0/status";
    world.field("redb", "mirror", status, "in-sync", SETTLES).await;
    event(world, "redb/mirror", "ReplicaInSync", "follows its source").await;
    let session = |name: &str, port| {
        let password = world.secret(&format!("redb-{name}"), "password").unwrap();
        Session::open(world, number(world, name), port, &password)
    };
    inject(world, &PODS, &json!({"kind": "replica-link"}));
    event(world, "redb/mirror", "ReplicaOutOfSync", "the link was cut on demand; it serves what it has").await;
    world.field("redb", "mirror", status, "out-of-sync", SETTLES).await;
    still_ready(world, "mirror");
    assert_eq!(session("mydb", 19621).unwrap().ask(&["SET", "meanwhile", "v"]).unwrap(), "+OK");
    assert_eq!(session("mirror", 19622).unwrap().ask(&["GET", "meanwhile"]).unwrap(), "(nil)", "the link is not cut");
    heal(world, &PODS);
    world.field("redb", "mirror", status, "in-sync", SETTLES).await;
    until("what was missed", SETTLES, || async {
        let found = session("mirror", 19622)?.ask(&["GET", "meanwhile"])?;
        if found == "v" { Ok(()) } else { bail!("{found}") }
    })
    .await;
    remove(world, "mirror").await;
    well(world).await;
}
