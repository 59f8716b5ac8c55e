//! Failures on demand on one node, as the API shows them; numbers as in the REST reference, 16.7. What the operator makes of
//! them is in `tests/tests/failures.rs`. F14 and F17 are with backups and Replica Of.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod common;

use common::{CLUSTER, Node, Nodes, PASSWORD, USER, until};
use serde_json::{Value, json};

async fn inject(node: &Node, fault: Value) {
    node.control("POST", "/_sim/faults?all", &fault).await;
}

async fn heal(node: &Node) {
    assert_eq!(node.control("DELETE", "/_sim/faults?all", &Value::Null).await, json!([]));
}

fn small(name: &str) -> Value {
    json!({"name": name, "memory_size": 104_857_600})
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_refused_login_is_401_and_the_fifth_locks_the_user() {
    let nodes = Nodes::cluster(223, 1).await;
    let node = &nodes.all[0];
    // On demand, whatever the password; not counted as a wrong one.
    inject(node, json!({"kind": "refuse-logins", "times": 6})).await;
    for _ in 0..6 {
        let basic = "Basic ZGVtb0ByZWRpcy5jb206czNjcmV0LXdvcmQ=";
        let answer = node.raw("GET", "/v1/cluster", &[("authorization", basic)], &Value::Null).await.unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.headers["www-authenticate"], format!("Basic realm=\"{CLUSTER}\"").as_str());
    }
    assert_eq!(node.get("/v1/cluster").await.0, 200);
    // By itself: a password that was rotated.
    let rotated = json!({"username": USER, "new_password": "another-word"});
    assert_eq!(node.call("PUT", "/v1/users/password", &rotated).await.0, 200);
    let as_root = async |path: &str| node.call_as(USER, "another-word", "GET", path, &Value::Null).await;
    for _ in 0..4 {
        assert_eq!(node.call_as(USER, PASSWORD, "GET", "/v1/cluster", &Value::Null).await.0, 401);
    }
    assert_eq!(as_root("/v1/users/1").await.1["status"], "active");
    assert_eq!(node.call_as(USER, PASSWORD, "GET", "/v1/cluster", &Value::Null).await.0, 401);
    assert_eq!(as_root("/v1/users/1").await.0, 401, "the right password does not help any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_stuck_action_keeps_the_database_pending_and_raises_an_alert() {
    let nodes = Nodes::cluster(224, 1).await;
    let node = &nodes.all[0];
    let uid = node.create_bdb(&small("db")).await;
    let path = format!("/v1/bdbs/{uid}");
    let alerts = format!("/v1/bdbs/alerts/{uid}");
    let (status, all) = node.call("POST", &alerts, &json!({"bdb_long_running_action": {"enabled": true}})).await;
    assert_eq!((status, &all["bdb_long_running_action"]["enabled"]), (200, &json!(true)));
    inject(node, json!({"kind": "stuck-actions"})).await;
    let (_, bdb) = node.call("PUT", &path, &json!({"memory_size": 209_715_200})).await;
    let action = format!("/v1/actions/{}", bdb["action_uid"].as_str().unwrap());
    until("the change to reach redis-server", async || {
        let report = node.control("GET", "/_sim/report", &Value::Null).await;
        (report["shards"]["1"]["version"] == 2).then_some(())
    })
    .await;
    let progress = node.get(&action).await.1["progress"].clone();
    until("the alert", async || {
        let alert = node.get(&format!("{alerts}/bdb_long_running_action")).await.1;
        (alert["state"] == true && alert["severity"] == "WARNING").then_some(())
    })
    .await;
    assert_eq!(node.get(&path).await.1["status"], "active-change-pending");
    let (_, stuck) = node.get(&action).await;
    assert_eq!((&stuck["status"], &stuck["progress"]), (&json!("active"), &progress), "frozen");
    assert_eq!(node.call("PUT", &path, &json!({"memory_size": 104_857_600})).await.0, 409);
    heal(node).await;
    node.active(uid).await;
    assert_eq!(node.get(&alerts).await.1["bdb_long_running_action"]["state"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_change_that_fails_leaves_the_old_configuration_and_says_why() {
    let nodes = Nodes::cluster(225, 1).await;
    let node = &nodes.all[0];
    let uid = node.create_bdb(&small("db")).await;
    inject(node, json!({"kind": "fail-update", "times": 1})).await;
    let (status, bdb) = node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"memory_size": 209_715_200})).await;
    assert_eq!((status, &bdb["memory_size"]), (200, &json!(209_715_200)), "accepted");
    assert_eq!(node.active(uid).await["memory_size"], 104_857_600);
    for version in ["v1", "v2"] {
        let (_, action) = node.get(&format!("/{version}/actions/{}", bdb["action_uid"].as_str().unwrap())).await;
        let error = action.get("error").or_else(|| action.pointer("/additional_info/error"));
        assert_eq!((&action["status"], error), (&json!("failed"), Some(&json!("failed on demand"))), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_creation_that_fails_can_be_deleted() {
    let nodes = Nodes::cluster(226, 1).await;
    let node = &nodes.all[0];
    inject(node, json!({"kind": "fail-creation", "times": 1})).await;
    let (status, bdb) = node.call("POST", "/v1/bdbs", &small("unlucky")).await;
    assert_eq!(status, 200);
    let unlucky = format!("/v1/bdbs/{}", bdb["uid"]);
    until("creation-failed", async || (node.get(&unlucky).await.1["status"] == "creation-failed").then_some(())).await;
    assert_eq!(node.get(&unlucky).await.1["endpoints"], json!([]));
    assert_eq!(node.call("DELETE", &unlucky, &Value::Null).await.0, 200);
    until("it is gone", async || (node.get(&unlucky).await.0 == 404).then_some(())).await;
    node.create_bdb(&small("unlucky")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_without_memory_changes_are_refused_and_a_full_database_refuses_writes() {
    let nodes = Nodes::cluster(227, 1).await;
    let node = &nodes.all[0];
    // Before any change of state: by the node's own memory, and on demand.
    let (status, error) = node.call("POST", "/v1/bdbs", &json!({"name": "huge", "memory_size": 1u64 << 40})).await;
    assert_eq!((status, &error["error_code"]), (406, &json!("insufficient_resources")));
    let body = json!({"name": "db", "memory_size": 104_857_600, "port": 14008, "eviction_policy": "noeviction"});
    let uid = node.create_bdb(&body).await;
    let path = format!("/v1/bdbs/{uid}");
    inject(node, json!({"kind": "no-memory"})).await;
    for (method, path) in [("PUT", path.as_str()), ("POST", "/v1/bdbs")] {
        let (status, error) = node.call(method, path, &small("more")).await;
        assert_eq!((status, &error["error_code"]), (406, &json!("insufficient_resources")), "{method}");
    }
    heal(node).await;
    assert_eq!(node.get("/v1/bdbs?fields=uid").await.1, json!([{"uid": uid}]));

    // The data path, with a real redis-server at its limit.
    let alerts = format!("/v1/bdbs/alerts/{uid}");
    node.call("POST", &alerts, &json!({"bdb_size": {"enabled": true, "threshold": "80"}})).await;
    assert_eq!(node.call("PUT", &path, &json!({"memory_size": 4_194_304})).await.0, 200);
    node.active(uid).await;
    let value = "x".repeat(100_000);
    let error = until("a write that does not fit", async || {
        let key = format!("k{}", number_of(&node.redis(14008, "", &["DBSIZE"]).await.unwrap()));
        node.redis(14008, "", &["SET", &key, &value]).await.err()
    })
    .await;
    assert!(error.contains("OOM command not allowed when used memory > 'maxmemory'."), "{error}");
    assert!(node.redis(14008, "", &["GET", "k0"]).await.unwrap().len() > value.len(), "reads go on");
    until("the alert", async || (node.get(&alerts).await.1["bdb_size"]["state"] == true).then_some(())).await;
}

/// The number in a reply such as `:3`.
fn number_of(reply: &str) -> u64 {
    reply.trim().trim_start_matches(':').parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_an_expired_license_refuses_only_writes_of_databases_and_so_does_a_full_one() {
    let nodes = Nodes::cluster(228, 1).await;
    let node = &nodes.all[0];
    let uid = node.create_bdb(&small("db")).await;
    let path = format!("/v1/bdbs/{uid}");
    inject(node, json!({"kind": "license-expired"})).await;
    assert_eq!(node.call("PUT", &path, &json!({})).await.0, 403);
    assert_eq!(node.call("POST", "/v1/bdbs", &small("more")).await.0, 403);
    assert_eq!(node.get("/v1/license").await.1["expired"], true);
    assert_eq!(node.get("/v4/cluster/health").await.1["license"]["expired"], true);
    assert_eq!(node.get("/v1/cluster/alerts/cluster_license_about_to_expire").await.1["state"], true);
    assert_eq!(node.get(&path).await.0, 200);
    assert_eq!(node.call("PUT", "/v1/cluster", &json!({"email_alerts": true})).await.0, 200);
    heal(node).await;
    assert_eq!(node.get("/v1/license").await.1["expired"], false);
    // The limit of the trial: four shards.
    let sharded = json!({
        "name": "five", "memory_size": 209_715_200, "shards_count": 4, "sharding": true,
        "shard_key_regex": [{"regex": ".*\\{(?<tag>.*)\\}.*"}, {"regex": "(?<tag>.*)"}]
    });
    let (status, error) = node.call("POST", "/v1/bdbs", &sharded).await;
    assert_eq!(status, 406);
    assert!(error["message"].as_str().unwrap().contains("permitted by license"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_busy_database_answers_409_for_a_while() {
    let nodes = Nodes::cluster(229, 1).await;
    let node = &nodes.all[0];
    let uid = node.create_bdb(&small("db")).await;
    inject(node, json!({"kind": "busy", "times": 2})).await;
    let put = async || node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"eviction_policy": "noeviction"})).await;
    assert_eq!((put().await.0, put().await.0, put().await.0), (409, 409, 200));
    assert_eq!(node.active(uid).await["eviction_policy"], "noeviction");
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_reply_is_lost_after_the_change_was_made() {
    let nodes = Nodes::cluster(234, 1).await;
    let node = &nodes.all[0];
    inject(node, json!({"kind": "lose-reply", "path": "/v1/bdbs", "times": 1})).await;
    assert_eq!(node.call("POST", "/v1/bdbs", &small("silent")).await.0, 0, "the connection is cut");
    assert_eq!(node.get("/v1/bdbs?fields=name").await.1, json!([{"name": "silent"}]));
    // Names are not unique: whoever sends it again has two.
    assert_eq!(node.call("POST", "/v1/bdbs", &small("silent")).await.0, 200);
    assert_eq!(node.get("/v1/bdbs?fields=name").await.1, json!([{"name": "silent"}, {"name": "silent"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_the_gateway_answers_with_pages_nothing_or_half_of_it() {
    let nodes = Nodes::cluster(235, 1).await;
    let node = &nodes.all[0];
    let basic = [("authorization", "Basic ZGVtb0ByZWRpcy5jb206czNjcmV0LXdvcmQ=")];
    for (form, status, html) in
        [("html502", 502, true), ("html504", 504, true), ("empty", 200, true), ("truncated", 200, false)]
    {
        inject(node, json!({"kind": "gateway", "form": form, "path": "/v1/cluster", "times": 1})).await;
        let answer = node.raw("GET", "/v1/cluster", &basic, &Value::Null).await.unwrap();
        assert_eq!(answer.status, status, "{form}");
        assert_eq!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"), html, "{form}");
        assert_eq!(answer.body.is_empty(), form == "empty");
        assert!(serde_json::from_slice::<Value>(&answer.body).is_err(), "{form}");
        assert!(node.get("/v1/cluster").await.1.is_object());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_an_older_version_lacks_paths_and_fields() {
    let nodes = Nodes::cluster(236, 1).await;
    let node = &nodes.all[0];
    let uid =
        node.create_bdb(&json!({"name": "db", "memory_size": 104_857_600, "eviction_policy": "allkeys-lru"})).await;
    let paths = ["/v2/actions", "/v4/cluster/health", "/v1/metrics_config"];
    for path in paths {
        assert_eq!(node.get(path).await.0, 200, "{path}");
    }
    let newest = node.active(uid).await;
    inject(node, json!({"kind": "old-version"})).await;
    for path in paths {
        assert_eq!(node.get(path).await.0, 404, "{path}");
    }
    let older = node.active(uid).await;
    let (newest, older) = (newest.as_object().unwrap(), older.as_object().unwrap());
    assert!(older.len() * 2 < newest.len(), "{} of {}", older.len(), newest.len());
    assert!(
        newest.contains_key("oss_cluster") && !older.contains_key("oss_cluster"),
        "what has its default is left out"
    );
    for key in ["uid", "name", "status", "memory_size", "endpoints", "shard_list", "eviction_policy"] {
        assert_eq!(older[key], newest[key], "{key}");
    }
    assert_eq!(node.get("/v1/bdbs").await.1, json!([older]));
    assert!(node.get("/v1/actions").await.1["state-machines"].is_array());
}
