//! Failures of what the cluster is asked to do with a database.

use anyhow::bail;
use serde_json::json;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};

use crate::{PODS, bdb, database, event, events, heal, inject, resize, told, well};

pub(crate) async fn f05_a_stuck_change_is_told_and_waited_for(world: &World) {
    inject(world, &PODS, &json!({"kind": "stuck-actions"}));
    resize(world, "mydb", "210MB");
    told(world, "redb/mydb", "database `mydb` is active-change-pending").await;
    world.field("redb", "mydb", "/status/status", "active-change-pending", SETTLES).await;
    // A further change waits for its turn instead of failing.
    resize(world, "mydb", "220MB");
    told(world, "redb/mydb", "active-change-pending").await;
    heal(world, &PODS);
    well(world).await;
    assert_eq!(bdb(world)["memory_size"], 220u64 << 20);
}

pub(crate) async fn f06_a_change_that_fails_is_told_once_and_not_sent_again(world: &World) {
    let before = bdb(world)["memory_size"].clone();
    inject(world, &PODS, &json!({"kind": "fail-update"}));
    resize(world, "mydb", "230MB");
    let words = told(world, "redb/mydb", "was accepted and failed").await;
    assert!(words.contains("memory_size") && words.contains("change the spec to try again"), "{words}");
    event(world, "redb/mydb", "DatabaseFailed", "was accepted and failed").await;
    let (_, sent) = world.system_requests().unwrap();
    assert_eq!(bdb(world)["memory_size"], before, "the old configuration stays");
    // Another resource's change has the operator look again, and it still does not send what failed.
    world.kubectl(&["annotate", "redb", "mydb", "example.com/look=again", "--overwrite"]).unwrap();
    told(world, "redb/mydb", "was accepted and failed").await;
    assert_eq!(world.system_requests().unwrap().1, sent, "what failed was sent again");
    heal(world, &PODS);
    resize(world, "mydb", "240MB");
    well(world).await;
    assert_eq!(bdb(world)["memory_size"], 240u64 << 20);
}

pub(crate) async fn f07_a_database_that_cannot_be_made_is_made_anew_once_the_spec_changes(world: &World) {
    inject(world, &PODS, &json!({"kind": "fail-creation"}));
    database(world, "unlucky", &json!({}));
    told(world, "redb/unlucky", "could not make database `unlucky`: change the spec to try again").await;
    world.field("redb", "unlucky", "/status/status", "creation-failed", SETTLES).await;
    event(world, "redb/unlucky", "DatabaseFailed", "could not make database `unlucky`").await;
    heal(world, &PODS);
    resize(world, "unlucky", "110MB");
    world.field("redb", "unlucky", "/status/status", "active", SETTLES).await;
    world.kubectl(&["wait", "--for=condition=Ready", "redb/unlucky", "--timeout=180s"]).unwrap();
    let names = world.rest("GET", "/v1/bdbs?fields=name", None).unwrap();
    assert_eq!(names, json!([{"name": "mydb"}, {"name": "unlucky"}]), "the failed one is gone");
    world.kubectl(&["delete", "redb", "unlucky"]).unwrap();
    well(world).await;
}

pub(crate) async fn f08_no_memory_is_told_with_what_would_do_and_tried_again(world: &World) {
    let before = bdb(world)["memory_size"].clone();
    inject(world, &PODS, &json!({"kind": "no-memory"}));
    resize(world, "mydb", "250MB");
    let words = told(world, "redb/mydb", "stays as it was, the change of memory_size was refused").await;
    assert!(
        words.contains("Not enough resources") && words.contains("spec.memorySize, shardCount, replication: less"),
        "{words}"
    );
    event(world, "redb/mydb", "DatabaseFailed", "Not enough resources").await;
    assert_eq!(bdb(world)["memory_size"], before);
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
    heal(world, &PODS);
    well(world).await;
    assert_eq!(bdb(world)["memory_size"], 250u64 << 20);
}

pub(crate) async fn f09_an_expired_license_holds_changes_back_and_nothing_else(world: &World) {
    inject(world, &PODS, &json!({"kind": "license-expired"}));
    // The license is read again once a minute, and at once when anything in the cluster was changed.
    world.rest("PUT", "/v1/cluster", Some(&json!({"email_alerts": true}))).unwrap();
    world.field("rec", "rec", "/status/licenseStatus/licenseState", "Expired", SETTLES).await;
    let before = bdb(world)["memory_size"].clone();
    resize(world, "mydb", "260MB");
    let words = told(world, "redb/mydb", "the cluster's license has expired").await;
    assert!(words.contains("install another"), "{words}");
    assert_eq!(bdb(world)["memory_size"], before);
    assert_eq!(world.get("rec", "rec").unwrap()["status"]["state"], "Running", "the cluster serves on");
    heal(world, &PODS);
    world.rest("PUT", "/v1/cluster", Some(&json!({"email_alerts": false}))).unwrap();
    well(world).await;
    assert_eq!(bdb(world)["memory_size"], 260u64 << 20);
    world.field("rec", "rec", "/status/licenseStatus/licenseState", "Valid", SETTLES).await;
}

pub(crate) async fn f10_a_busy_database_is_waited_for(world: &World) {
    let before = events(world);
    inject(world, &PODS, &json!({"kind": "busy"}));
    resize(world, "mydb", "270MB");
    told(world, "redb/mydb", "database `mydb` is busy; memory_size has to wait").await;
    heal(world, &PODS);
    well(world).await;
    assert_eq!(bdb(world)["memory_size"], 270u64 << 20);
    let failed = events(world).into_iter().filter(|event| event.0 == "DatabaseFailed" && !before.contains(event));
    assert_eq!(failed.collect::<Vec<_>>(), [], "to be busy is no failure");
}

pub(crate) async fn f11_a_lost_reply_makes_no_second_database(world: &World) {
    inject(world, &PODS, &json!({"kind": "lose-reply", "path": "/v1/bdbs"}));
    database(world, "silent", &json!({}));
    world.field("redb", "silent", "/status/status", "active", SETTLES).await;
    // A change whose reply is lost too is made, once.
    resize(world, "silent", "110MB");
    until("the change", SETTLES, || async {
        let bdbs = world.rest("GET", "/v1/bdbs?fields=name,memory_size,status", None)?;
        let silent: Vec<_> = bdbs.as_array().into_iter().flatten().filter(|bdb| bdb["name"] == "silent").collect();
        assert_eq!(silent.len(), 1, "{bdbs}");
        if silent[0]["memory_size"] == 110u64 << 20 && silent[0]["status"] == "active" {
            Ok(())
        } else {
            bail!("{bdbs}")
        }
    })
    .await;
    heal(world, &PODS);
    world.kubectl(&["wait", "--for=condition=Ready", "redb/silent", "--timeout=180s"]).unwrap();
    world.kubectl(&["delete", "redb", "silent"]).unwrap();
    well(world).await;
}
