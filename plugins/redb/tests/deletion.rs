//! The database goes with its resource, and only then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, events, plan, rec, redb, world};
use insta::assert_yaml_snapshot;
use serde_json::{Value, json};
use stepwright_redb::Redb;
use stepwright_sdk::Failure;
use stepwright_sdk::testing::Given;

fn done(plan: &Value) -> bool {
    plan["progress"] == "done" && plan["desired"] == Value::Null && plan["calls"] == Value::Null
}

#[test]
fn a_database_is_deleted_and_waited_for() {
    let asked = world(&active_redb(&json!({})), &json!([bdb(&json!({}))])).deleting();
    assert_yaml_snapshot!("asked", plan(&asked));
    let going = bdb(&json!({ "status": "delete-pending", "action_uid": "a-3" }));
    let accepted = world(&active_redb(&json!({})), &json!([going]))
        .reply("delete", 200, &json!({ "action_uid": "a-3" }))
        .deleting();
    assert_yaml_snapshot!("accepted_deletion", plan(&accepted));
    let gone = plan(&world(&active_redb(&json!({})), &json!([])).deleting());
    assert!(done(&gone));
    assert_eq!(events(&gone), ["Normal DatabaseDeleted: database `mydb` was deleted"]);
}

#[test]
fn a_list_that_cannot_be_read_proves_nothing() {
    let plan = plan(&world(&active_redb(&json!({})), &json!([])).unknown("bdbs", "no node answers").deleting());
    assert!(!done(&plan));
    assert_eq!(plan["status"]["status"], "delete-pending");
    assert!(plan["progress"]["waiting"].as_str().unwrap().ends_with("no node answers"));
}

#[test]
fn a_database_that_is_not_ours_is_left_alone() {
    let theirs = bdb(&json!({ "uid": 7, "tags": [] }));
    assert!(done(&plan(&world(&active_redb(&json!({})), &json!([theirs])).deleting())));
}

#[test]
fn a_reply_that_did_not_come_is_no_end() {
    for status in [0, 404, 409, 503] {
        let given =
            world(&active_redb(&json!({})), &json!([bdb(&json!({}))])).reply("delete", status, &json!("")).deleting();
        let plan = plan(&given);
        assert!(!done(&plan) && plan["calls"] == Value::Null && events(&plan).is_empty(), "{status}: {plan}");
    }
    let refused =
        world(&active_redb(&json!({})), &json!([bdb(&json!({}))])).reply("delete", 403, &json!("no")).deleting();
    assert!(events(&plan(&refused))[0].starts_with("Warning DatabaseFailed"));
}

#[test]
fn a_cluster_that_is_gone_took_the_database_along() {
    assert!(done(&plan(&Given::new::<Redb>(&active_redb(&json!({}))).deleting())));
    let mut going = rec("Deleting");
    going["metadata"]["deletionTimestamp"] = json!("2026-06-20T11:00:00Z");
    let with_pods = Given::new::<Redb>(&active_redb(&json!({})))
        .object("clusters", &going)
        .object("statefulsets", &json!({ "kind": "StatefulSet", "metadata": { "name": "rec" } }))
        .deleting();
    assert!(!done(&plan(&with_pods)));
    assert!(done(&plan(&Given::new::<Redb>(&active_redb(&json!({}))).object("clusters", &going).deleting())));
}

#[test]
fn a_cluster_that_never_ran_has_no_database() {
    let forming = Given::new::<Redb>(&redb(&json!({}))).object("clusters", &rec("BootstrappingFirstPod")).deleting();
    assert!(done(&plan(&forming)));
    let remembered =
        Given::new::<Redb>(&active_redb(&json!({}))).object("clusters", &rec("BootstrappingFirstPod")).deleting();
    assert!(!done(&plan(&remembered)));
}

#[test]
fn rules_do_not_hold_a_deletion_back() {
    let broken = active_redb(&json!({ "spec": { "memorySize": "lots", "databasePort": 12_000 } }));
    assert_eq!(plan(&world(&broken, &json!([bdb(&json!({}))])).deleting())["calls"][0]["id"], "delete");
    let unreadable = active_redb(&json!({ "spec": { "memorySize": 5 } }));
    let answer = world(&unreadable, &json!([bdb(&json!({}))])).deleting().run::<Redb>();
    assert!(matches!(answer, Err(Failure::Transient(_))), "`invalid` would let the finalizer go: {answer:?}");
}

#[test]
fn a_secret_that_is_gone_is_not_made_again() {
    let given = common::bare(&active_redb(&json!({}))).fact("bdbs", &json!([bdb(&json!({}))])).deleting();
    assert_eq!(plan(&given)["desired"], Value::Null);
}
