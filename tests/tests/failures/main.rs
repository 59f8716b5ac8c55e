//! Failures F1 to F20 of the REST reference (16.7) on a whole cluster: what the operator does and what the user sees. What the
//! API itself shows is in the simulator's tests of the same numbers; `docs/failures.md` has both side by side.
//!
//! One cluster and one database, failure by failure. Each function takes its failure back and leaves both well, with one
//! database, one password and nobody locked out. F16 is with Active-Active.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod answers;
mod copies;
mod databases;
mod nodes;

use anyhow::bail;
use serde_json::{Value, json};
use stepwright_tests::checklist::{Shows, once_on};
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World, http};

/// Enough for five nodes, each on a machine of its own.
const MACHINES: usize = 5;

macro_rules! failures {
    ($($function:path),* $(,)?) => { vec![$((stringify!($function), |world| Box::pin($function(world)))),*] };
}

fn main() {
    let functions: Vec<(&'static str, Shows)> = failures![
        databases::f05_a_stuck_change_is_told_and_waited_for,
        databases::f06_a_change_that_fails_is_told_once_and_not_sent_again,
        databases::f07_a_database_that_cannot_be_made_is_made_anew_once_the_spec_changes,
        databases::f08_no_memory_is_told_with_what_would_do_and_tried_again,
        databases::f09_an_expired_license_holds_changes_back_and_nothing_else,
        databases::f10_a_busy_database_is_waited_for,
        databases::f11_a_lost_reply_makes_no_second_database,
        copies::f14_a_refused_backup_is_told_and_tried_again_when_due,
        copies::f17_a_broken_link_to_a_source_is_told_and_caught_up_with,
        answers::f12_answers_of_a_broken_gateway_are_no_answers,
        answers::f18_an_older_version_is_no_reason_to_change_anything,
        answers::f13_a_certificate_of_another_name_gets_no_password,
        answers::f04_a_refused_password_is_not_tried_until_it_locks_the_account,
        nodes::f03_a_new_master_is_found_without_a_word,
        nodes::f01_a_lost_node_is_named_and_comes_back,
        nodes::f02_a_lost_quorum_is_told_with_what_helps,
        nodes::f19_a_node_whose_clock_is_off_is_named_and_joins_later,
        nodes::f20_a_node_whose_shards_fit_nowhere_stays,
        nodes::f15_a_database_without_its_files_waits_in_recovery,
    ];
    once_on(MACHINES, |world| Box::pin(prepare(world)), &functions);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    database(world, "mydb", &json!({"replication": true, "persistence": "aofEverySecond", "databasePort": 19621}));
    well(world).await;
    world
        .rest("POST", "/v1/users", Some(&json!({"email": SECOND, "password": SECOND_PASSWORD, "role": "admin"})))
        .unwrap();
}

/// Another administrator, to look at what has become of the operator's user.
const SECOND: &str = "second@example.com";
const SECOND_PASSWORD: &str = "second-word";
const PODS: [&str; 3] = ["rec-0", "rec-1", "rec-2"];

/// Applies a database; what is given is added to its spec.
fn database(world: &World, name: &str, more: &Value) {
    let mut spec = json!({"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "200MB", "shardCount": 1});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let manifest = json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": name}, "spec": spec});
    world.kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()).unwrap();
}

/// Has these nodes suffer a fault.
fn inject(world: &World, pods: &[&str], fault: &Value) {
    for pod in pods {
        let (status, answer) =
            http(world.address(pod).unwrap(), 3399, "POST", "/_sim/faults", None, Some(fault)).unwrap();
        assert_eq!(status, 200, "{answer}");
    }
}

/// Takes all faults back.
fn heal(world: &World, pods: &[&str]) {
    for pod in pods {
        let answer = http(world.address(pod).unwrap(), 3399, "DELETE", "/_sim/faults", None, None).unwrap();
        assert_eq!(answer, (200, "[]".to_owned()));
    }
}

/// Waits until the user reads these words as the reason why a resource is not `Ready`, and returns them whole.
async fn told(world: &World, resource: &str, words: &str) -> String {
    until(&format!("{resource} to say {words:?}"), SETTLES, || async {
        let (kind, name) = resource.split_once('/').unwrap();
        let [status, reason, message] = world.condition(kind, name, "Ready")?;
        if status == "False" && message.contains(words) && !reason.is_empty() {
            Ok(message)
        } else {
            bail!("{status} {reason}: {message}")
        }
    })
    .await
}

/// Waits for an Event with these words.
async fn event(world: &World, resource: &str, reason: &str, words: &str) {
    until(&format!("{resource} to have an Event {reason} with {words:?}"), SETTLES, || async {
        let (kind, name) = resource.split_once('/').unwrap();
        let events = world.events(kind, name)?;
        if events.iter().any(|(one, message)| one == reason && message.contains(words)) {
            Ok(())
        } else {
            bail!("{events:#?}")
        }
    })
    .await;
}

/// Events of both resources so far.
fn events(world: &World) -> Vec<(String, String)> {
    [("rec", "rec"), ("redb", "mydb")].into_iter().flat_map(|(kind, name)| world.events(kind, name).unwrap()).collect()
}

/// Waits until cluster and database are well, and looks that nothing was written wrongly on the way.
async fn well(world: &World) {
    until("cluster and database to be well", FORMS, || async {
        for (kind, name, pointer, wanted) in
            [("rec", "rec", "/status/state", "Running"), ("redb", "mydb", "/status/status", "active")]
        {
            let [status, reason, message] = world.condition(kind, name, "Ready")?;
            let object = world.get(kind, name)?;
            let state = object.pointer(pointer).cloned().unwrap_or_default();
            if state != wanted || status != "True" {
                bail!("{kind}/{name} is {state}, {reason}: {message}");
            }
        }
        Ok(())
    })
    .await;
    let bdbs = world.rest("GET", "/v1/bdbs", None).unwrap();
    let bdbs = bdbs.as_array().unwrap();
    assert_eq!(bdbs.len(), 1, "{:?}", bdbs.iter().map(|bdb| &bdb["name"]).collect::<Vec<_>>());
    assert_eq!((&bdbs[0]["uid"], &bdbs[0]["name"]), (&json!(1), &json!("mydb")), "another database took its place");
    let password = world.secret("redb-mydb", "password").unwrap();
    assert_eq!(bdbs[0]["authentication_redis_pass"], password.as_str());
    let users = world.rest("GET", "/v1/users", None).unwrap();
    assert!(users.as_array().unwrap().iter().all(|user| user["status"] == "active"), "{users}");
}

/// The database as the cluster has it.
fn bdb(world: &World) -> Value {
    world.rest("GET", "/v1/bdbs/1", None).unwrap()
}

/// Asks for another size.
fn resize(world: &World, name: &str, size: &str) {
    world.patch("redb", name, &json!({"spec": {"memorySize": size}})).unwrap();
}
