//! Failures on demand, seen from outside (REST reference, 16.7). F1 and F4 are in the other files.

mod common;

use common::{Nodes, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_shows_its_effect_and_passes() {
    let nodes = Nodes::cluster(221, 1).await;
    let node = &nodes.all[0];
    let inject = |fault: Value| async move { node.control("POST", "/_sim/faults?all", &fault).await };
    let small = |name: &str| json!({"name": name, "memory_size": 104_857_600});
    let uid = node.create_bdb(&small("db")).await;
    let path = format!("/v1/bdbs/{uid}");

    // F5: a change does not end until the fault is taken back.
    inject(json!({"kind": "stuck-actions"})).await;
    assert_eq!(node.call("PUT", &path, &json!({"memory_size": 209_715_200})).await.0, 200);
    until("the change to reach redis-server", async || {
        let report = node.control("GET", "/_sim/report", &Value::Null).await;
        (report["shards"]["1"]["version"] == 2).then_some(())
    })
    .await;
    assert_eq!(node.get(&path).await.1["status"], "active-change-pending");
    assert_eq!(node.control("DELETE", "/_sim/faults", &Value::Null).await, json!([]));
    node.active(uid).await;

    // F6: active again with the old configuration, and the action says why.
    inject(json!({"kind": "fail-update", "times": 1})).await;
    let (_, bdb) = node.call("PUT", &path, &json!({"memory_size": 104_857_600})).await;
    assert_eq!(node.active(uid).await["memory_size"], 209_715_200);
    let (_, action) = node.get(&format!("/v1/actions/{}", bdb["action_uid"].as_str().unwrap())).await;
    assert_eq!((&action["status"], &action["error"]), (&json!("failed"), &json!("failed on demand")));

    // F7: the creation fails after it was accepted; it can be deleted.
    inject(json!({"kind": "fail-creation", "times": 1})).await;
    let (status, bdb) = node.call("POST", "/v1/bdbs", &small("unlucky")).await;
    assert_eq!(status, 200);
    let unlucky = format!("/v1/bdbs/{}", bdb["uid"]);
    until("creation-failed", async || (node.get(&unlucky).await.1["status"] == "creation-failed").then_some(())).await;
    assert_eq!(node.call("DELETE", &unlucky, &Value::Null).await.0, 200);
    until("it is gone", async || (node.get(&unlucky).await.0 == 404).then_some(())).await;

    // F8, F9: no memory; the license has expired, and only writes of databases are refused.
    inject(json!({"kind": "no-memory"})).await;
    assert_eq!(node.call("PUT", &path, &json!({})).await.1["error_code"], "insufficient_resources");
    node.control("DELETE", "/_sim/faults", &Value::Null).await;
    inject(json!({"kind": "license-expired"})).await;
    assert_eq!(node.call("PUT", &path, &json!({})).await.0, 403);
    assert_eq!(node.get("/v1/license").await.1["expired"], true);
    assert_eq!(node.get(&path).await.0, 200);
    node.control("DELETE", "/_sim/faults", &Value::Null).await;

    // F10: busy twice, then not.
    inject(json!({"kind": "busy", "times": 2})).await;
    let noeviction = json!({"eviction_policy": "noeviction"});
    let put = || node.call("PUT", &path, &noeviction);
    assert_eq!((put().await.0, put().await.0, put().await.0), (409, 409, 200));
    node.active(uid).await;

    // F11: the reply is lost, the database is there.
    inject(json!({"kind": "lose-reply", "path": "/v1/bdbs", "times": 1})).await;
    assert_eq!(node.call("POST", "/v1/bdbs", &small("silent")).await.0, 0);
    let names = node.get("/v1/bdbs?fields=name").await.1;
    assert_eq!(names, json!([{"name": "db"}, {"name": "silent"}]));

    // F12: the gateway.
    for (form, status) in [("html502", 502), ("html504", 504), ("empty", 200), ("truncated", 200)] {
        inject(json!({"kind": "gateway", "form": form, "path": "/v1/bdbs", "times": 1})).await;
        assert_eq!(node.get("/v1/bdbs").await, (status, Value::Null), "{form}");
        assert!(node.get("/v1/bdbs").await.1.is_array());
    }

    // F4, from the side of the server.
    inject(json!({"kind": "refuse-logins", "times": 1})).await;
    assert_eq!((node.get("/v1/cluster").await.0, node.get("/v1/cluster").await.0), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_cut_apart_says_no_quorum_and_its_data_path_lives() {
    let nodes = Nodes::cluster(222, 3).await;
    let uid = nodes.all[0]
        .create_bdb(&json!({"name": "db", "memory_size": 104_857_600, "port": 14000, "proxy_policy": "all-nodes"}))
        .await;
    nodes.all[0].redis(14000, "", &["SET", "k", "v"]).await.unwrap();
    nodes.all[0].control("POST", "/_sim/faults?all", &json!({"kind": "isolate"})).await;
    for node in &nodes.all {
        until("503 on every node", async || (node.get("/v1/bdbs").await.0 == 503).then_some(())).await;
        let (status, error) = node.get(&format!("/v1/bdbs/{uid}/availability")).await;
        assert_eq!((status, &error["error_code"]), (503, &json!("no_quorum")));
        assert_eq!(node.redis(14000, "", &["GET", "k"]).await.unwrap(), "$1\r\nv\r\n");
    }
    nodes.all[0].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    let master = nodes.master().await;
    assert_eq!(nodes.all[master].get(&format!("/v1/bdbs/{uid}/availability")).await.0, 200);
}
