//! Failures that need several nodes, as the API shows them (REST reference, 16.7). Those of one node are in `faults`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod common;

use common::{Nodes, redis_servers, until};
use serde_json::{Value, json};

/// Asks whoever leads.
async fn ask(nodes: &Nodes, path: &str) -> Value {
    nodes.all[nodes.master().await].get(path).await.1
}

fn home(shards: &Value, role: &str) -> usize {
    let shard = shards.as_array().unwrap().iter().find(|shard| shard["role"] == role).unwrap();
    shard["node_uid"].as_str().unwrap().parse::<usize>().unwrap() - 1
}

async fn in_sync(nodes: &Nodes) -> Value {
    until("a replica in sync", async || {
        let shards = ask(nodes, "/v1/shards").await;
        let fine = |shard: &Value| shard["role"] == "master" || shard["sync"]["status"] == "idle";
        (shards.as_array()?.len() == 2 && shards.as_array()?.iter().all(fine)).then_some(shards)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_killed_node_is_down_its_shards_fail_over_and_it_comes_back() {
    let mut nodes = Nodes::cluster(237, 3).await;
    let body = json!({"name": "db", "memory_size": 209_715_200, "replication": true, "port": 14001, "proxy_policy": "all-nodes"});
    nodes.all[0].create_bdb(&body).await;
    let lost = home(&in_sync(&nodes).await, "master");
    // As `kill -9`, by the control API: the connection ends without an answer.
    let target = redis_enterprise_simulator::rest_client::Target::plain(&nodes.all[lost].host, 3399);
    let killed = redis_enterprise_simulator::rest_client::send(&target, "POST", "/_sim/kill", &[], Vec::new()).await;
    assert!(killed.is_err());
    until("nobody to listen", async || {
        nodes.all[lost].raw("GET", "/v1/bootstrap", &[], &Value::Null).await.is_none().then_some(())
    })
    .await;
    until("the node to be down, and its shard elsewhere", async || {
        let list = ask(&nodes, "/v1/nodes").await;
        let node = list.as_array()?.iter().find(|node| node["uid"] == json!(lost + 1))?.clone();
        (node["status"] == "down" && home(&ask(&nodes, "/v1/shards").await, "master") != lost).then_some(())
    })
    .await;
    let alert = ask(&nodes, &format!("/v1/nodes/alerts/{}/node_failed", lost + 1)).await;
    assert_eq!((&alert["state"], &alert["severity"]), (&json!(true), &json!("CRITICAL")));
    assert_eq!(ask(&nodes, "/v1/cluster/alerts/cluster_multiple_nodes_down").await["state"], false);
    let log = ask(&nodes, "/v1/logs?order=desc").await;
    assert!(log.as_array().unwrap().iter().any(|entry| entry["type"] == "node_failed"), "{log}");
    nodes.all[lost].kill();
    nodes.all[lost].start();
    in_sync(&nodes).await;
    assert_eq!(ask(&nodes, &format!("/v1/nodes/alerts/{}", lost + 1)).await["node_failed"]["state"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_a_cluster_cut_apart_says_no_quorum_and_its_data_path_lives() {
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
        assert_eq!(node.get("/v1/local/node/master_healthcheck").await.1["status"], "inactive");
        assert_eq!(node.redis(14000, "", &["GET", "k"]).await.unwrap(), "$1\r\nv\r\n");
    }
    nodes.all[0].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    let master = nodes.master().await;
    assert_eq!(nodes.all[master].get(&format!("/v1/bdbs/{uid}/availability")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_the_master_moves_and_the_old_one_redirects() {
    let nodes = Nodes::cluster(238, 3).await;
    let old = nodes.master().await;
    let new = (old + 1) % 3;
    let body = json!({"node_uid": (new + 1).to_string()});
    assert_eq!(nodes.all[old].call("POST", "/v1/cluster/actions/change_master", &body).await.0, 200);
    until("the other to lead", async || (nodes.all[new].get("/v1/cluster").await.0 == 200).then_some(())).await;
    let basic = [("authorization", "Basic ZGVtb0ByZWRpcy5jb206czNjcmV0LXdvcmQ=")];
    let answer = nodes.all[old].raw("GET", "/v1/bdbs", &basic, &Value::Null).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(answer.headers["location"], format!("https://{}:9443/v1/bdbs", nodes.all[new].address).as_str());
    assert_eq!(ask(&nodes, "/v1/nodes/status").await[(new + 1).to_string()]["role"], "master");
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_database_without_its_files_stays_in_recovery_unless_told_to_go_without() {
    let mut nodes = Nodes::cluster(239, 1).await;
    let body = json!({"name": "saved", "memory_size": 104_857_600, "port": 14015, "data_persistence": "aof"});
    let uid = nodes.all[0].create_bdb(&body).await;
    nodes.all[0].redis(14015, "", &["SET", "k", "v"]).await.unwrap();
    let plan = format!("/v1/bdbs/{uid}/actions/recover");
    assert_eq!(nodes.all[0].get(&plan).await.0, 409, "it is not in recovery");
    // A new process beside the old configuration, as in a new pod of a recovery.
    nodes.all[0].terminate();
    let file = nodes.all[0].data.join("ccs/ccs-redis.rdb");
    let kept = nodes.all[0].data.join("kept.rdb");
    std::fs::rename(&file, &kept).unwrap();
    nodes.all[0].start();
    let node = &nodes.all[0];
    until("a node that answers", async || node.raw("GET", "/v1/bootstrap", &[], &Value::Null).await).await;
    node.control("POST", "/_sim/faults", &json!({"kind": "missing-files"})).await;
    let body = json!({"action": "recover_cluster", "recovery_filename": "/opt/persistent/kept.rdb"});
    assert_eq!(node.raw("POST", "/v1/bootstrap/recover_cluster", &[], &body).await.unwrap().status, 200);
    node.bootstrapped().await;
    assert_eq!(node.get(&format!("/v1/bdbs/{uid}")).await.1["status"], "recovery");
    let (_, found) = node.get(&plan).await;
    assert_eq!((&found["status"], &found["data_files"]), (&json!("missing-files"), &json!([])));
    let list = String::from_utf8(node.rladmin(&["recover", "list"]).stdout).unwrap();
    assert!(list.trim_end().ends_with("missing-files"), "{list}");
    let (status, error) = node.call("POST", &plan, &json!({})).await;
    assert_eq!((status, &error["error_code"]), (409, &json!("missing_files")));
    assert_eq!(node.get(&format!("/v1/bdbs/{uid}")).await.1["status"], "recovery", "nothing was done");

    // The files are found again, or the data is given up.
    node.control("DELETE", "/_sim/faults", &Value::Null).await;
    until("the files", async || (node.get(&plan).await.1["status"] == "ready").then_some(())).await;
    node.control("POST", "/_sim/faults", &json!({"kind": "missing-files"})).await;
    until("no files", async || (node.get(&plan).await.1["status"] == "missing-files").then_some(())).await;
    assert_eq!(node.call("POST", &plan, &json!({"recover_without_data": true})).await.0, 200);
    node.active(uid).await;
    assert_eq!(node.redis(14015, "", &["GET", "k"]).await.unwrap(), "$-1\r\n", "empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_a_node_whose_clock_is_off_cannot_join_and_may_try_again() {
    let nodes = Nodes::start(243, 2);
    nodes.all[0].found().await;
    let (first, second) = (&nodes.all[0], &nodes.all[1]);
    until("a node that answers", async || second.raw("GET", "/v1/bootstrap", &[], &Value::Null).await).await;
    second.control("POST", "/_sim/faults", &json!({"kind": "clock-skew", "times": 1})).await;
    let body = json!({
        "action": "join_cluster", "cluster": {"nodes": [first.address]},
        "credentials": {"username": common::USER, "password": common::PASSWORD}
    });
    assert_eq!(second.raw("POST", "/v1/bootstrap/join_cluster", &[], &body).await.unwrap().status, 200);
    until("time_not_sync", async || {
        let answer = second.raw("GET", "/v1/bootstrap", &[], &Value::Null).await?;
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        (status["bootstrap_status"]["error_code"] == "time_not_sync").then_some(())
    })
    .await;
    assert_eq!(first.get("/v1/nodes?fields=uid").await.1, json!([{"uid": 1}]));
    second.join(&first.address, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_a_node_whose_shards_fit_nowhere_else_is_not_removed() {
    let nodes = Nodes::cluster(244, 3).await;
    let master = nodes.master().await;
    let uid =
        nodes.all[master].create_bdb(&json!({"name": "db", "memory_size": 209_715_200, "replication": true})).await;
    let shards = in_sync(&nodes).await;
    let holder =
        (0..3).find(|node| *node != master && (home(&shards, "master") == *node || home(&shards, "slave") == *node));
    let holder = holder.unwrap() + 1;
    let path = format!("/v1/nodes/{holder}/actions/remove");
    let failed = async || {
        assert_eq!(nodes.all[master].call("POST", &path, &json!({})).await.0, 200);
        let action = until("the removal to fail", async || {
            let (_, action) = nodes.all[master].get(&path).await;
            (action["status"] == "failed").then_some(action)
        })
        .await;
        assert_eq!(action["error"], "insufficient_resources");
        assert_eq!(nodes.all[master].get(&format!("/v1/nodes/{holder}")).await.1["status"], "active");
        assert_eq!(nodes.all[master].active(uid).await["shard_list"].as_array().unwrap().len(), 2);
        // What is kept of the attempt can be cleared, once.
        assert_eq!(nodes.all[master].call("DELETE", &path, &Value::Null).await.0, 200);
        assert_eq!(nodes.all[master].get(&path).await.0, 404);
        assert_eq!(nodes.all[master].call("DELETE", &path, &Value::Null).await.0, 404);
    };
    // On demand, and because the third node takes no shards.
    nodes.all[master].control("POST", "/_sim/faults?all", &json!({"kind": "no-room"})).await;
    failed().await;
    nodes.all[master].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    let third =
        (1..=3).find(|node| home(&shards, "master") + 1 != *node && home(&shards, "slave") + 1 != *node).unwrap();
    let third = format!("/v1/nodes/{third}");
    assert_eq!(nodes.all[master].call("PUT", &third, &json!({"accept_servers": false})).await.0, 200);
    failed().await;
    // With room it goes, and its progress can be followed.
    assert_eq!(nodes.all[master].call("PUT", &third, &json!({"accept_servers": true})).await.0, 200);
    nodes.all[master].control("POST", "/_sim/faults?all", &json!({"kind": "stuck-actions"})).await;
    assert_eq!(nodes.all[master].call("POST", &path, &json!({})).await.0, 200);
    let (_, action) = nodes.all[master].get(&path).await;
    assert_eq!((&action["status"], &action["progress"]), (&json!("running"), &json!(0)), "{action}");
    assert_eq!(nodes.all[master].get(&format!("/v1/nodes/{holder}")).await.1["status"], "decommissioning");
    nodes.all[master].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    until("the node to be gone", async || {
        (nodes.all[master].get(&format!("/v1/nodes/{holder}")).await.0 == 404).then_some(())
    })
    .await;
    nodes.all[master].active(uid).await;
    assert_eq!(in_sync(&nodes).await.as_array().unwrap().len(), 2);
    until("nothing left on it", async || redis_servers(&nodes.all[holder - 1].data).is_empty().then_some(())).await;
}
