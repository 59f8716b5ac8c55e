//! A database that is a copy of another resource's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, plan, redb, violation, with, world};
use serde_json::{Value, json};
use stepwright_core::manifest::Select;
use stepwright_core::select::Selection;
use stepwright_sdk::Plugin as _;
use stepwright_sdk::testing::Given;

fn mirror(over: &Value) -> Value {
    let spec = json!({"spec": {"replicaSources": [{"replicaSourceType": "REDB", "replicaSourceName": "origin"}]}});
    active_redb(&with(&spec, over))
}

/// The other resource's database.
fn origin(over: &Value) -> Value {
    let base = json!({
        "uid": 2, "name": "origin", "port": 12000, "authentication_redis_pass": "fp:2222",
        "endpoints": [{"uid": "2:1", "dns_name": "redis-12000.rec.ns.svc.cluster.local", "port": 12000, "addr_type": "internal"}],
        "tags": [
            {"key": "managed_by", "value": "stepwright"}, {"key": "redb_name", "value": "origin"},
            {"key": "redb_namespace", "value": "ns"},
        ],
    });
    bdb(&with(&base, over))
}

fn address() -> Value {
    let word = json!({"$secretKeyRef": {"name": "redb-origin", "key": "password"}});
    let parts = json!(["redis://:", word, "@redis-12000.rec.ns.svc.cluster.local:12000"]);
    json!({"$join": {"parts": parts, "encoding": "uri"}})
}

/// The database once it follows the other, and what it was given of the other's password.
fn following(origin: &Value, given: &str) -> Given {
    let shown = bdb(&json!({"replica_sync": "enabled", "replica_sources": [
        {"uid": 1, "uri": "redis://:fp:0@redis-12000.rec.ns.svc.cluster.local:12000", "status": "in-sync"}]}));
    let copies = json!({"replica_sources.redb-origin.password": given});
    let in_force = json!({"kind": "Secret", "metadata": {"name": "redb-mydb-in-force"}, "data": copies});
    let redb = mirror(&json!({"status": {"managedFields": ["replicaSources"]}}));
    world(&redb, &json!([shown, origin])).object("secrets", &in_force)
}

#[test]
fn the_address_is_put_together_of_the_list_and_the_others_secret() {
    let plan = plan(&world(&mirror(&json!({})), &json!([bdb(&json!({})), origin(&json!({}))])));
    let body = json!({"replica_sync": "enabled", "replica_sources": [{"uri": address()}]});
    assert_eq!(
        (&plan["calls"][0]["id"], &plan["calls"][0]["body"]),
        (&json!("update:replica_sync,replica_sources"), &body)
    );
}

#[test]
fn a_source_that_is_not_there_is_waited_for_and_the_rest_is_made() {
    let elsewhere = origin(&json!({"tags": [
        {"key": "managed_by", "value": "stepwright"}, {"key": "redb_name", "value": "origin"},
        {"key": "redb_namespace", "value": "other"}]}));
    let waiting = plan(&world(&mirror(&json!({})), &json!([bdb(&json!({})), elsewhere])));
    let said = waiting["progress"]["waiting"].as_str().unwrap();
    assert!(said.starts_with("spec.replicaSources names database `origin`, which the cluster does not have"), "{said}");
    assert_eq!(waiting["calls"], Value::Null);
    let fresh =
        redb(&json!({"spec": {"replicaSources": [{"replicaSourceType": "REDB", "replicaSourceName": "origin"}]}}));
    let made = plan(&world(&fresh, &json!([])));
    assert_eq!(made["calls"][0]["id"], "create");
    assert_eq!(made["calls"][0]["body"].get("replica_sources"), None);
}

#[test]
fn a_source_into_which_its_password_does_not_lead_is_told() {
    let closed = origin(&json!({"default_user": false}));
    let plan = plan(&world(&mirror(&json!({})), &json!([bdb(&json!({})), closed])));
    let said = plan["progress"]["waiting"].as_str().unwrap();
    assert!(said.contains("defaultUser is false") && said.contains("replicaSourceType SECRET"), "{said}");
    assert_eq!(plan["calls"], Value::Null);
}

#[test]
fn at_rest_nothing_is_sent_and_a_new_password_of_the_source_is_given_on() {
    let at_rest = plan(&following(&origin(&json!({})), "fp:2222"));
    assert_eq!((&at_rest["calls"], &at_rest["progress"]), (&Value::Null, &json!("done")));
    let rotated = plan(&following(&origin(&json!({"authentication_redis_pass": "fp:3333"})), "fp:2222"));
    assert_eq!(rotated["calls"][0]["body"], json!({"replica_sources": [{"uri": address()}]}));
    // Masked passwords are all the same word, and say nothing.
    let masked = following(&origin(&json!({"authentication_redis_pass": "fp:9999"})), "fp:2222")
        .fact("cluster", &json!({"mask_bdb_credentials": true}));
    assert_eq!(plan(&masked)["calls"], Value::Null);
}

#[test]
fn a_source_that_has_moved_is_followed() {
    let moved =
        json!({"endpoints": [{"uid": "2:1", "dns_name": "redis-12001.rec.ns.svc.cluster.local", "port": 12001}]});
    let plan = plan(&following(&origin(&moved), "fp:2222"));
    let parts = &plan["calls"][0]["body"]["replica_sources"][0]["uri"]["$join"]["parts"];
    assert_eq!(parts[2], "@redis-12001.rec.ns.svc.cluster.local:12001");
}

#[test]
fn no_database_is_a_copy_of_itself() {
    let own = json!({"spec": {"replicaSources": [{"replicaSourceType": "REDB", "replicaSourceName": "mydb"}]}});
    let broken = violation(&world(&active_redb(&own), &json!([bdb(&json!({}))])));
    assert_eq!(broken.field, "spec.replicaSources.replicaSourceName");
}

#[test]
fn an_address_in_a_secret_is_waited_for_and_given_again_when_it_is_another() {
    let spec = json!({"spec": {"replicaSources": [{"replicaSourceType": "SECRET", "replicaSourceName": "elsewhere"}]}});
    let bare = world(&active_redb(&spec), &json!([bdb(&json!({}))]));
    let waiting = plan(&bare);
    assert_eq!(waiting["calls"], Value::Null);
    let said = waiting["progress"]["waiting"].as_str().unwrap();
    assert!(said.starts_with("spec.replicaSources names Secret `elsewhere`, which does not exist: make it"), "{said}");
    let secret = |value: &str| json!({"kind": "Secret", "metadata": {"name": "elsewhere"}, "data": {"uri": value}});
    let first = plan(&bare.clone().object("secrets", &secret("fp:a")));
    assert_eq!(first["calls"][0]["id"], "update:replica_sync,replica_sources");
    // Once given, it is known, and another one is noticed.
    let shown = bdb(&json!({"replica_sync": "enabled", "replica_sources": [{"uid": 1, "uri": "redis://:fp:0@h:1"}]}));
    let copies = json!({"replica_sources.elsewhere.uri": "fp:a"});
    let in_force = json!({"kind": "Secret", "metadata": {"name": "redb-mydb-in-force"}, "data": copies});
    let kept = world(&active_redb(&spec), &json!([shown])).object("secrets", &in_force);
    assert_eq!(plan(&kept.clone().object("secrets", &secret("fp:a")))["calls"], Value::Null);
    assert_eq!(plan(&kept.clone().object("secrets", &secret("fp:b")))["calls"][0]["id"], "update:replica_sources");
    assert_eq!(plan(&kept)["calls"], Value::Null, "it follows on when the Secret is gone");
}

#[test]
fn a_certificate_of_clients_is_waited_for_and_given_again_when_it_is_another() {
    let spec = json!({"spec": {"tlsMode": "enabled", "clientAuthenticationCertificates": ["client"]}});
    let held = plan(&world(&redb(&spec), &json!([])));
    assert_eq!(held["calls"], Value::Null, "without it anybody, or nobody, could log in");
    let said = "spec.clientAuthenticationCertificates names Secret `client`, which does not exist: make it";
    assert_eq!(held["progress"]["waiting"], said);
    let secret = |value: &str| json!({"kind": "Secret", "metadata": {"name": "client"}, "data": {"cert": value}});
    let made = plan(&world(&redb(&spec), &json!([])).object("secrets", &secret("fp:a")));
    assert_eq!(made["calls"][0]["id"], "create");
    let shown = bdb(&json!({"tls_mode": "enabled", "enforce_client_authentication": "enabled",
        "authentication_ssl_client_certs": [{"client_cert": "x"}]}));
    let copies = json!({"authentication_ssl_client_certs.client.cert": "fp:a"});
    let in_force = json!({"kind": "Secret", "metadata": {"name": "redb-mydb-in-force"}, "data": copies});
    let kept = world(&active_redb(&spec), &json!([shown])).object("secrets", &in_force);
    assert_eq!(plan(&kept.clone().object("secrets", &secret("fp:a")))["calls"], Value::Null);
    let renewed = plan(&kept.object("secrets", &secret("fp:b")));
    assert_eq!(renewed["calls"][0]["id"], "update:authentication_ssl_client_certs");
}

#[test]
fn secrets_that_stand_in_lists_of_the_spec_are_watched() {
    let manifest = serde_json::to_value(stepwright_redb::Redb::manifest()).unwrap();
    let observes = manifest["steps"][0]["observes"].as_array().unwrap();
    let secrets = observes.iter().find(|it| it["name"] == "secrets").unwrap();
    let templates: Vec<String> = serde_json::from_value(secrets["select"]["names"].clone()).unwrap();
    let redb = redb(&json!({"spec": {
        "clientAuthenticationCertificates": ["one", "two"],
        "replicaSources": [
            {"replicaSourceType": "SECRET", "replicaSourceName": "elsewhere", "serverCertSecret": "theirs", "clientKeySecret": "ours"},
            {"replicaSourceType": "REDB", "replicaSourceName": "origin"},
        ],
    }}));
    let selection = Selection::resolve(&Select::Names(templates), &redb);
    for name in ["one", "two", "elsewhere", "theirs", "ours", "redb-mydb", "redb-mydb-in-force"] {
        assert!(selection.matches(name, None), "{name} of {selection:?}");
    }
    assert!(!selection.matches("three", None) && !selection.matches("", None));
}
