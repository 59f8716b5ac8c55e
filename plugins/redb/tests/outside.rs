//! Clients of the OSS cluster API that come from outside: where they begin is in the database's Secret.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, plan, world};
use serde_json::{Value, json};

/// What the Secret is to hold beside the password, with nodes that have these addresses outside.
fn secret(external: bool, outside: &[&str]) -> Value {
    let inside = json!({"uid": "1:1", "dns_name": "redis-19621.rec.ns.svc.cluster.local", "port": 19621,
        "addr": ["10.0.0.5"], "addr_type": "internal"});
    let mut endpoints = vec![inside];
    if !outside.is_empty() {
        endpoints.push(json!({"uid": "1:1", "port": 19621, "addr": outside, "addr_type": "external"}));
    }
    let redb =
        active_redb(&json!({"spec": {"ossCluster": true, "ossClusterSettings": {"enableExternalAccess": external}}}));
    let plan = plan(&world(&redb, &json!([bdb(&json!({"oss_cluster": true, "endpoints": endpoints}))])));
    let all = plan["desired"].as_array().unwrap();
    let secret = all.iter().find(|it| it["id"] == "v1 Secret ns/redb-mydb").unwrap();
    assert_eq!(secret["body"]["stringData"]["port"], "19621");
    secret["body"]["stringData"]["oss_startup_nodes"].clone()
}

#[test]
fn they_begin_at_the_addresses_that_nodes_have_outside() {
    assert_eq!(secret(true, &["192.0.2.1", "192.0.2.2"]), "192.0.2.1:19621,192.0.2.2:19621");
}

#[test]
fn nothing_is_told_before_there_are_any_or_when_nobody_is_meant() {
    assert_eq!(secret(true, &[]), Value::Null);
    assert_eq!(secret(false, &["192.0.2.1"]), Value::Null);
}
