//! What the cluster refuses reaches the user: in its own words, with the field and what would be accepted.

use serde_json::json;
use stepwright_tests::databases::{self, apply, bdb, remove, settled};
use stepwright_tests::world::{SETTLES, World};

use crate::{spec, told};

pub(crate) async fn memory_that_does_not_fit_is_told_with_what_would(world: &World) {
    apply(world, "large", json!({"memorySize": "900GB", "databasePort": 14011}));
    let words = ["Not enough resources in cluster", "spec.memorySize", "or more memory and nodes for the cluster"];
    told(world, "large", &words).await;
    assert!(bdb(world, "large").is_none());
    let events = world.events("redb", "large").unwrap();
    assert!(events.iter().any(|(reason, text)| reason == "DatabaseFailed" && text.contains(words[0])), "{events:?}");
    // Put right, it is made.
    spec(world, "large", &json!({"memorySize": "200MB"}));
    settled(world, "large").await;
    // A change that does not fit leaves the database as it was.
    spec(world, "large", &json!({"memorySize": "900GB"}));
    told(world, "large", &["stays as it was, the change of memory_size was refused", words[1]]).await;
    assert_eq!(bdb(world, "large").unwrap()["memory_size"], 200u64 << 20);
    spec(world, "large", &json!({"memorySize": "200MB"}));
    settled(world, "large").await;
    remove(world, "large").await;
}

pub(crate) async fn a_port_that_is_taken_is_told_with_its_owner(world: &World) {
    apply(world, "first", json!({"databasePort": 14012}));
    settled(world, "first").await;
    apply(world, "second", json!({"databasePort": 14012}));
    told(world, "second", &["spec.databasePort", "14012 is the port of database `first`", "choose another"]).await;
    world.field("redb", "second", "/status/specStatus", "Invalid", SETTLES).await;
    assert!(bdb(world, "second").is_none());
    // The other goes: its port is free, and nobody has to say anything.
    remove(world, "first").await;
    settled(world, "second").await;
    assert_eq!(bdb(world, "second").unwrap()["endpoints"][0]["port"], 14012);
    remove(world, "second").await;
}

pub(crate) async fn a_license_that_is_used_up_is_told_with_what_is_left(world: &World) {
    databases::license(world, 3).await;
    apply(world, "licensed", json!({"shardCount": 2, "memorySize": "200MB", "databasePort": 14013}));
    settled(world, "licensed").await;
    apply(world, "beyond", json!({"shardCount": 2, "memorySize": "200MB", "databasePort": 14014}));
    let words =
        "Total shards count exceeds amount of total shards permitted by license. License permits 3 total shards";
    told(world, "beyond", &[words, "spec.shardCount", "ask for at most 1 of them, or install a larger license"]).await;
    assert!(bdb(world, "beyond").is_none());
    // A change, too.
    spec(world, "licensed", &json!({"replication": true}));
    told(world, "licensed", &[words, "spec.replication"]).await;
    assert_eq!(bdb(world, "licensed").unwrap()["replication"], false);
    databases::license(world, 400).await;
    settled(world, "licensed").await;
    settled(world, "beyond").await;
    assert_eq!(bdb(world, "licensed").unwrap()["replication"], true);
    remove(world, "licensed").await;
    remove(world, "beyond").await;
}
