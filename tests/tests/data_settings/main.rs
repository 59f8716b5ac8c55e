//! What a database's resource says and no data shows: who may do what, alerts, tags, modules, where shards and proxies are; what
//! the REST API refuses, in whose words; and the ways in from outside. What somebody changes behind the operator's back is put back.
//!
//! One cluster; each function makes the databases that it needs and takes them away again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod fields;
mod outside;
mod refusals;

use serde_json::{Value, json};
use stepwright_tests::checklist::{Shows, once_on};
use stepwright_tests::databases::{self, bdb, number};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};

macro_rules! functions {
    ($($function:path),* $(,)?) => { vec![$((stringify!($function), |world| Box::pin($function(world)))),*] };
}

fn main() {
    let functions: Vec<(&'static str, Shows)> = functions![
        fields::roles_and_acls_decide_who_may_do_what,
        fields::alerts_are_set_and_put_back,
        fields::tags_modules_and_places_are_set_and_put_back,
        refusals::memory_that_does_not_fit_is_told_with_what_would,
        refusals::a_port_that_is_taken_is_told_with_its_owner,
        refusals::a_license_that_is_used_up_is_told_with_what_is_left,
        outside::istio_leads_to_the_api,
        outside::clients_of_the_oss_cluster_api_come_from_outside,
    ];
    once_on(3, |world| Box::pin(prepare(world)), &functions);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    databases::license(world, 400).await;
}

fn spec(world: &World, name: &str, change: &Value) {
    world.patch("redb", name, &json!({ "spec": change })).unwrap();
}

/// Waits until a field of a database is so in the REST API, and nothing is under way.
async fn shows(world: &World, name: &str, field: &str, wanted: &Value) {
    until(&format!("{field} of {name} to be {wanted}"), SETTLES, || async {
        let found = bdb(world, name).unwrap_or_default();
        if &found[field] == wanted && found["status"] == "active" { Ok(()) } else { Err(found[field].clone()) }
    })
    .await;
}

/// Somebody changes a database past the operator; the field goes back to what it was.
async fn put_back(world: &World, name: &str, field: &str, theirs: Value) {
    let before = bdb(world, name).unwrap()[field].clone();
    assert_ne!(before, theirs, "{field} is so already");
    let (path, change) = (format!("/v1/bdbs/{}", number(world, name)), json!({ field: theirs }));
    until("the change to be taken", SETTLES, || async { world.rest("PUT", &path, Some(&change)) }).await;
    shows(world, name, field, &before).await;
}

/// Waits until the user reads all these words as the reason why a database is not `Ready`.
async fn told(world: &World, name: &str, words: &[&str]) {
    until(&format!("{name} to say {words:?}"), SETTLES, || async {
        let [status, reason, message] = world.condition("redb", name, "Ready")?;
        let said = status == "False" && !reason.is_empty() && words.iter().all(|word| message.contains(word));
        if said { Ok(()) } else { anyhow::bail!("{status} {reason}: {message}") }
    })
    .await;
}
