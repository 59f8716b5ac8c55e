//! Several nodes: forming, leading, failing over, leaving, and coming back.

mod common;

use common::{Nodes, redis_servers, until};
use redis_enterprise_simulator::resp::Connection;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_redirect_and_elect_again() {
    let mut nodes = Nodes::cluster(211, 3).await;
    let (status, list) = nodes.all[0].get("/v1/nodes").await;
    assert_eq!(status, 200);
    let addresses: Vec<_> = list.as_array().unwrap().iter().map(|node| node["addr"].clone()).collect();
    assert_eq!(addresses, nodes.all.iter().map(|node| json!(node.address)).collect::<Vec<_>>());

    // A follower redirects to the internal address of the master, with path and query.
    let basic = "Basic ZGVtb0ByZWRpcy5jb206czNjcmV0LXdvcmQ=";
    let answer =
        nodes.all[1].raw("GET", "/v1/bdbs?fields=uid", &[("authorization", basic)], &Value::Null).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(
        answer.headers["location"],
        format!("https://{}:9443/v1/bdbs?fields=uid", nodes.all[0].address).as_str()
    );
    // With handle_redirects it proxies instead.
    assert_eq!(nodes.all[0].call("PUT", "/v1/cluster", &json!({"handle_redirects": true})).await.0, 200);
    until("a follower that proxies", async || (nodes.all[1].get("/v1/bdbs").await.0 == 200).then_some(())).await;
    nodes.all[0].call("PUT", "/v1/cluster", &json!({"handle_redirects": false})).await;

    let uid =
        nodes.all[0].create_bdb(&json!({"name": "db", "memory_size": 104_857_600, "data_persistence": "aof"})).await;
    nodes.all[0].kill();
    let master = nodes.master().await;
    assert_ne!(master, 0);
    until("the dead node is seen to be down", async || {
        let (_, status) = nodes.all[master].get("/v1/nodes/status").await;
        (status["1"]["node_status"] == "down" && status[&(master + 1).to_string()]["role"] == "master").then_some(())
    })
    .await;
    let other = 3 - master;
    assert_eq!(nodes.all[other].get("/v1/cluster").await.0, 307);
    let lines = String::from_utf8(nodes.all[other].rladmin(&["status", "nodes"]).stdout).unwrap();
    assert!(lines.lines().any(|line| line.starts_with("node:1 ") && line.contains("DOWN, last seen")), "{lines}");

    // It comes back by itself, under its number.
    nodes.all[0].start();
    until("the node is active again", async || {
        let (_, status) = nodes.all[master].get("/v1/nodes/status").await;
        (status["1"]["node_status"] == "active").then_some(())
    })
    .await;

    // All at once: what was agreed upon is still there.
    let (_, before) = nodes.all[master].get(&format!("/v1/bdbs/{uid}")).await;
    nodes.all.iter_mut().for_each(|node| node.kill());
    nodes.all.iter_mut().for_each(|node| node.start());
    let master = nodes.master().await;
    let after = nodes.all[master].active(uid).await;
    for key in ["uid", "name", "memory_size", "endpoints", "shard_list", "data_persistence"] {
        assert_eq!(before[key], after[key], "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_write_survives_the_node_of_its_master_shard() {
    let mut nodes = Nodes::cluster(212, 3).await;
    let body = json!({
        "name": "ha", "memory_size": 209_715_200, "replication": true, "port": 13000, "proxy_policy": "all-nodes",
        "authentication_redis_pass": "pw"
    });
    let uid = nodes.all[0].create_bdb(&body).await;
    assert_eq!(nodes.all[1].maxmemory(13000, "pw").await, 104_857_600, "half for the replica");
    let (_, shards) = nodes.all[0].get(&format!("/v1/bdbs/{uid}/shards")).await;
    let node_of = |shards: &Value, role: &str| {
        let shard = shards.as_array().unwrap().iter().find(|shard| shard["role"] == role).cloned().unwrap();
        assert!(shard["uid"].is_string() && shard["bdb_uid"].is_u64());
        shard["node_uid"].as_str().unwrap().parse::<usize>().unwrap()
    };
    let (old, replica) = (node_of(&shards, "master"), node_of(&shards, "slave"));
    assert_ne!(old, replica);
    let witness = (1..=3).find(|node| *node != old).unwrap();
    let mut connection = Connection::open(&nodes.all[witness - 1].host, 13000).await.unwrap();
    connection.demand(&["AUTH", "pw"]).await.unwrap();
    for number in 0..200 {
        connection.demand(&["SET", &format!("k{number}"), "v"]).await.unwrap();
    }
    assert_eq!(connection.demand(&["WAIT", "1", "5000"]).await.unwrap(), b":1\r\n");
    nodes.all[old - 1].kill();
    until("the replica to take over", async || {
        nodes.all[witness - 1].redis(13000, "pw", &["SET", "after", "v"]).await.ok()
    })
    .await;
    assert_eq!(nodes.all[witness - 1].redis(13000, "pw", &["DBSIZE"]).await.unwrap(), ":201\r\n");

    // The node returns as the replica's home, and nothing is lost by that either.
    nodes.all[old - 1].start();
    let master = nodes.master().await;
    until("a replica that is in sync again", async || {
        let (_, shards) = nodes.all[master].get("/v1/shards").await;
        let shards = shards.as_array()?.clone();
        let healed = shards
            .iter()
            .any(|shard| shard["role"] == "slave" && shard["sync"]["status"] == "idle" && shard["status"] == "active");
        healed.then_some(())
    })
    .await;
    assert_eq!(nodes.all[witness - 1].redis(13000, "pw", &["DBSIZE"]).await.unwrap(), ":201\r\n");
    let master = nodes.master().await;
    let availability =
        nodes.all[master].raw("GET", &format!("/v1/bdbs/{uid}/availability"), &[], &Value::Null).await.unwrap();
    assert_eq!(availability.status, 401, "availability needs credentials");
    assert_eq!(nodes.all[master].get(&format!("/v1/bdbs/{uid}/availability")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_comes_and_goes_at_run_time() {
    let nodes = Nodes::cluster(213, 3).await;
    let node = &nodes.all[0];
    let uid = node
        .create_bdb(&json!({"name": "grow", "memory_size": 104_857_600, "port": 13001, "proxy_policy": "all-nodes"}))
        .await;
    node.redis(13001, "", &["SET", "k", "v"]).await.unwrap();
    let change = json!({"replication": true, "memory_size": 209_715_200});
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &change).await.0, 200);
    assert_eq!(node.active(uid).await["shard_list"].as_array().unwrap().len(), 2);
    assert_eq!(node.redis(13001, "", &["WAIT", "1", "5000"]).await.unwrap(), ":1\r\n");
    let (_, shards) = node.get("/v1/shards").await;
    let master = shards.as_array().unwrap().iter().find(|shard| shard["role"] == "master").unwrap();
    let failover = format!("/v1/shards/{}/actions/failover", master["uid"].as_str().unwrap());
    assert_eq!(node.call("POST", &failover, &json!({})).await.0, 200);
    assert_eq!(node.call("POST", &failover, &json!({})).await.1["error_code"], "shard_is_slave");
    until("the key behind the new master", async || {
        (node.redis(13001, "", &["GET", "k"]).await.ok()? == "$1\r\nv\r\n"
            && node.redis(13001, "", &["SET", "l", "v"]).await.is_ok())
        .then_some(())
    })
    .await;
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"replication": false})).await.0, 200);
    assert_eq!(node.active(uid).await["shard_list"].as_array().unwrap().len(), 1);
    until("one redis-server in all", async || {
        (nodes.all.iter().map(|node| redis_servers(&node.data).len()).sum::<usize>() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_takes_no_data_along() {
    let nodes = Nodes::cluster(214, 3).await;
    let uid = nodes.all[0]
        .create_bdb(&json!({"name": "stay", "memory_size": 104_857_600, "port": 13002, "proxy_policy": "all-nodes"}))
        .await;
    nodes.all[0].redis(13002, "", &["SET", "k", "v"]).await.unwrap();
    let (_, shards) = nodes.all[0].get("/v1/shards").await;
    let holder: usize = shards[0]["node_uid"].as_str().unwrap().parse().unwrap();
    // The master of the cluster too may be removed; here whichever node holds the data.
    let output = nodes.all[holder - 1].rladmin(&["node", &holder.to_string(), "remove"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .ends_with(&format!("Performing remove action on node:{holder}: 100%\nOK\n"))
    );
    let rest: Vec<usize> = (0..3).filter(|index| index + 1 != holder).collect();
    let master = until("a master among the others", async || {
        for index in &rest {
            if nodes.all[*index].get("/v1/cluster").await.0 == 200 {
                return Some(*index);
            }
        }
        None
    })
    .await;
    until("two nodes", async || {
        let (_, list) = nodes.all[master].get("/v1/nodes").await;
        (list.as_array()?.len() == 2).then_some(())
    })
    .await;
    nodes.all[master].active(uid).await;
    let value = until("the key elsewhere", async || nodes.all[master].redis(13002, "", &["GET", "k"]).await.ok()).await;
    assert_eq!(value, "$1\r\nv\r\n");
    until("a removed node that says so", async || {
        let answer = nodes.all[holder - 1].raw("GET", "/v1/bootstrap", &[], &Value::Null).await?;
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        (status["bootstrap_status"]["error_code"] == "node_config_mismatch").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_is_recovered_from_one_volume() {
    let mut nodes = Nodes::cluster(215, 3).await;
    let body = json!({
        "name": "saved", "memory_size": 104_857_600, "replication": true, "port": 13003, "proxy_policy": "all-nodes",
        "data_persistence": "aof", "aof_policy": "appendfsync-always"
    });
    let uid = nodes.all[0].create_bdb(&body).await;
    let (_, shards) = nodes.all[0].get("/v1/shards").await;
    let survivor: usize = shards[0]["node_uid"].as_str().unwrap().parse::<usize>().unwrap() - 1;
    nodes.all[survivor].redis(13003, "", &["SET", "k", "v"]).await.unwrap();
    nodes.all.iter_mut().for_each(|node| node.kill());
    for index in (0..3).filter(|index| *index != survivor) {
        std::fs::remove_dir_all(&nodes.all[index].data).unwrap();
    }
    nodes.all.iter_mut().for_each(|node| node.start());
    let node = &nodes.all[survivor];
    let status =
        until("a node that looks for its cluster", async || node.raw("GET", "/v1/bootstrap", &[], &Value::Null).await)
            .await;
    assert_eq!(status.status, 200);
    assert_eq!(node.get("/v1/bdbs").await.0, 503, "no majority");
    let body = json!({"action": "recover_cluster", "recovery_filename": "/opt/persistent/ccs/ccs-redis.rdb"});
    assert_eq!(node.raw("POST", "/v1/bootstrap/recover_cluster", &[], &body).await.unwrap().status, 200);
    node.bootstrapped().await;
    assert_eq!(node.get(&format!("/v1/bdbs/{uid}")).await.1["status"], "recovery");
    for index in (0..3).filter(|index| *index != survivor) {
        nodes.all[index].join(&node.address, Some(u32::try_from(index + 1).unwrap())).await;
    }
    let list = String::from_utf8(node.rladmin(&["recover", "list"]).stdout).unwrap();
    assert!(
        list.starts_with("DATABASES IN RECOVERY STATE:\nDB:ID")
            && list.contains("saved")
            && list.trim_end().ends_with("ready"),
        "{list}"
    );
    let output = node.rladmin(&["recover", "all"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("100% [ 1 recovered | 0 failed ]"), "{output:?}");
    let value = until("the key", async || node.redis(13003, "", &["GET", "k"]).await.ok()).await;
    assert_eq!(value, "$1\r\nv\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_a_new_pod_tells_its_new_address() {
    let mut nodes = Nodes::cluster(216, 3).await;
    let body = json!({
        "name": "moved", "memory_size": 209_715_200, "replication": true, "port": 13004, "proxy_policy": "all-nodes",
        "data_persistence": "aof"
    });
    let uid = nodes.all[0].create_bdb(&body).await;
    nodes.all[0].redis(13004, "", &["SET", "k", "v"]).await.unwrap();
    // One after the other, a follower first, the master in the end: a rolling restart.
    for index in [2, 1, 0] {
        nodes.all[index].restart_elsewhere();
        let own = json!(nodes.all[index].address);
        until("the new address in the list of nodes", async || {
            let master = nodes.master().await;
            let (_, list) = nodes.all[master].get("/v1/nodes").await;
            let node = list.as_array()?.iter().find(|node| node["uid"] == json!(index + 1))?.clone();
            (node["addr"] == own && node["status"] == "active").then_some(())
        })
        .await;
        until("all shards in service", async || {
            let master = nodes.master().await;
            let (_, shards) = nodes.all[master].get("/v1/shards").await;
            let fine = |shard: &Value| {
                shard["status"] == "active" && (shard["role"] == "master" || shard["sync"]["status"] == "idle")
            };
            shards.as_array()?.iter().all(fine).then_some(())
        })
        .await;
    }
    for node in &nodes.all {
        let value =
            until("the key through every proxy", async || node.redis(13004, "", &["GET", "k"]).await.ok()).await;
        assert_eq!(value, "$1\r\nv\r\n");
    }
    let master = nodes.master().await;
    let (_, bdb) = nodes.all[master].get(&format!("/v1/bdbs/{uid}")).await;
    assert_eq!(bdb["endpoints"][0]["addr"], nodes.all.iter().map(|node| json!(node.address)).collect::<Value>());
    assert_eq!(std::fs::read_to_string(nodes.all[1].data.join("etc/node.id")).unwrap(), "2\n");
}
