//! Versions of databases and modules of clusters (REST reference, 6.6 and 10).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are no #[test]")]

mod common;

use common::{
    Nodes, redis_servers, until,
    writer::{Writer, fill, missing},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_replaces_the_processes_and_keeps_what_was_written() {
    let nodes = Nodes::cluster(187, 2).await;
    let node = &nodes.all[0];
    node.license().await;
    let (_, info) = node.get("/v1/nodes/1").await;
    let offered: Vec<&str> = info["supported_database_versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["redis_version"].as_str().unwrap())
        .collect();
    assert!(offered.contains(&"7.2") && offered.contains(&"7.4"), "{offered:?}");
    let body = json!({
        "name": "up", "memory_size": 209_715_200, "port": 14500, "replication": true, "proxy_policy": "all-nodes",
        "redis_version": "7.2"
    });
    let uid = node.create_bdb(&body).await;
    let path = format!("/v1/bdbs/{uid}");
    fill(&node.host, 14500, "old", 2_000).await;
    let before = node.get(&path).await.1;
    assert_eq!((&before["redis_version"], &before["version"]), (&json!("7.2"), &json!("7.2.0")));
    for (body, status, code) in [
        (json!({"redis_version": "7.0"}), 406, "invalid_version"),
        (json!({"redis_version": "7.2"}), 406, "invalid_version"),
        (json!({"redis_version": "9.9"}), 406, "invalid_version"),
        (json!({"redis_vers": "7.4"}), 400, "bad_request"),
    ] {
        let (got, error) = node.call("POST", &format!("{path}/upgrade"), &body).await;
        assert_eq!((got, error["error_code"].as_str()), (status, Some(code)), "{body}");
    }
    assert_eq!(node.call("PUT", &path, &json!({"redis_version": "7.4"})).await.0, 406);
    let writers: Vec<Writer> = ["a", "b"]
        .iter()
        .enumerate()
        .map(|(at, name)| Writer::start(vec![nodes.all[at].host.clone()], 14500, name, false))
        .collect();
    writers[0].more(50).await;
    let (status, bdb) = node.call("POST", &format!("{path}/upgrade"), &json!({"redis_version": "7.4.0"})).await;
    assert_eq!((status, &bdb["status"]), (200, &json!("active-change-pending")), "{bdb}");
    let (_, action) = node.get(&format!("/v1/actions/{}", bdb["action_uid"].as_str().unwrap())).await;
    assert_eq!(action["name"], "SMUpgradeBDB");
    let after = node.active(uid).await;
    assert_eq!((&after["redis_version"], &after["version"]), (&json!("7.4"), &json!("7.4.0")));
    let list = |bdb: &Value| bdb["shard_list"].as_array().unwrap().clone();
    assert_eq!(list(&after).len(), 2);
    assert!(list(&after).iter().all(|shard| !list(&before).contains(shard)), "all processes are new");
    for writer in writers {
        writer.more(50).await;
        let written = writer.stop().await;
        assert_eq!(missing(&node.host, 14500, &written.keys).await, Vec::<String>::new());
    }
    let old: Vec<String> = (0..2_000).map(|number| format!("old{number}")).collect();
    assert_eq!(missing(&node.host, 14500, &old).await, Vec::<String>::new());
    until("the old processes to be gone", async || {
        (nodes.all.iter().map(|node| redis_servers(&node.data).len()).sum::<usize>() == 2).then_some(())
    })
    .await;

    // What could be lost is not upgraded unless that is said.
    let bare = node.create_bdb(&json!({"name": "bare", "memory_size": 104_857_600, "port": 14501})).await;
    let (status, error) = node.call("POST", &format!("/v1/bdbs/{bare}/upgrade"), &json!({})).await;
    assert_eq!((status, &error["error_code"]), (406, &json!("may_discard_data_required")));
    let (status, _) = node.call("POST", &format!("/v1/bdbs/{bare}/upgrade"), &json!({"may_discard_data": true})).await;
    assert_eq!(status, 200);
    assert_eq!(node.active(bare).await["redis_version"], *offered.last().unwrap(), "the newest unless one is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_name_modules_that_the_cluster_has() {
    let nodes = Nodes::cluster(188, 1).await;
    let node = &nodes.all[0];
    let (_, modules) = node.get("/v1/modules").await;
    let search = modules.as_array().unwrap().iter().find(|one| one["module_name"] == "search").unwrap().clone();
    assert_eq!(node.get(&format!("/v1/modules/{}", search["uid"].as_str().unwrap())).await.1, search);
    assert_eq!(node.get("/v1/modules/none").await.0, 404);
    let with = |list: Value| json!({"name": "db", "memory_size": 104_857_600, "module_list": list});
    let own = json!([{"module_name": "own", "semantic_version": "1.2.3", "module_args": ""}]);
    for list in [own.clone(), json!([{"module_name": "search", "semantic_version": "0.0.1"}]), json!([{}])] {
        let (status, error) = node.call("POST", "/v1/bdbs", &with(list)).await;
        assert_eq!((status, &error["error_code"]), (406, &json!("missing_module")));
    }
    let description = json!({"module_name": "own", "semantic_version": "1.2.3"});
    assert_eq!(node.call("POST", "/v2/modules", &json!({"module_name": "own"})).await.0, 400);
    let (status, module) = node.call("POST", "/v2/modules", &description).await;
    assert_eq!((status, &module["version"], &module["is_bundled"]), (200, &json!(10_203), &json!(false)));
    assert_eq!(node.call("POST", "/v2/modules/user-defined", &description).await.0, 409);
    let uid = node.create_bdb(&with(own.clone())).await;
    let path = format!("/v1/bdbs/{uid}");
    assert_eq!(node.get(&path).await.1["module_list"], own);
    assert_eq!(node.call("PUT", &path, &json!({"module_list": []})).await.0, 406);

    // memcached
    for (body, code) in [
        (json!({"module_list": [{"module_name": "search"}]}), "memcached_cannot_use_modules"),
        (json!({"authentication_sasl_uname": "u"}), "invalid_sasl_credentials"),
        (json!({}), "invalid_type"),
    ] {
        let mut memcached = json!({"name": "mc", "memory_size": 104_857_600, "type": "memcached"});
        memcached.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let (status, error) = node.call("POST", "/v1/bdbs", &memcached).await;
        assert_eq!((status, error["error_code"].as_str()), (406, Some(code)));
    }
}
