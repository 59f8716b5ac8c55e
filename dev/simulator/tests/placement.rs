//! Where shards are: racks, a shard that moves alone, nodes in maintenance.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod common;

use common::{CLUSTER, Nodes, PASSWORD, USER, until};
use serde_json::{Value, json};

async fn shards(nodes: &Nodes) -> Value {
    nodes.all[nodes.master().await].get("/v1/shards").await.1
}

fn of_role<'a>(shards: &'a Value, role: &str) -> &'a Value {
    shards.as_array().unwrap().iter().find(|shard| shard["role"] == role).unwrap()
}

fn node_of(shard: &Value) -> u64 {
    shard["node_uid"].as_str().unwrap().parse().unwrap()
}

async fn in_sync(nodes: &Nodes) -> Value {
    until("a replica in sync", async || {
        let shards = shards(nodes).await;
        let fine = |shard: &Value| shard["role"] == "master" || shard["sync"]["status"] == "idle";
        (shards.as_array()?.len() == 2 && shards.as_array()?.iter().all(fine)).then_some(shards)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_moves_alone_and_takes_its_data_along() {
    let nodes = Nodes::cluster(245, 3).await;
    let master = nodes.master().await;
    let node = &nodes.all[master];
    let body = json!({"name": "db", "memory_size": 209_715_200, "replication": true, "port": 14101, "proxy_policy": "all-nodes"});
    let uid = node.create_bdb(&body).await;
    node.redis(14101, "", &["SET", "k", "v"]).await.unwrap();
    let before = in_sync(&nodes).await;
    let (first, replica) = (of_role(&before, "master").clone(), of_role(&before, "slave").clone());
    let free = (1..=3).find(|uid| *uid != node_of(&first) && *uid != node_of(&replica)).unwrap();
    let migrate =
        async |path: &str, body: Value| node.call("POST", &format!("/v1/shards{path}/actions/migrate"), &body).await;

    // Where it cannot go.
    assert_eq!(migrate("/99", json!({"target_node_uid": free})).await.0, 404);
    assert_eq!(migrate("/1", json!({"target_node_uid": 99})).await.0, 404);
    assert_eq!(migrate("/1", json!({})).await.0, 400);
    assert_eq!(migrate("", json!({"target_node_uid": free})).await.1["error_code"], "shard_uids_required");
    let taken = json!({"target_node_uid": node_of(&replica)});
    assert_eq!(
        migrate(&format!("/{}", first["uid"].as_str().unwrap()), taken).await.1["error_code"],
        "invalid_target_node"
    );

    // The master moves and stays one; meanwhile the database takes no other change, and serves.
    let body = json!({"shard_uids": [first["uid"]], "target_node_uid": free, "preserve_roles": true});
    let mut rehearsal = body.clone();
    rehearsal["dry_run"] = json!(true);
    assert_eq!(migrate("", rehearsal).await.0, 200);
    assert_eq!(shards(&nodes).await.as_array().unwrap().len(), 2, "a rehearsal changes nothing");
    node.control("POST", "/_sim/faults?all", &json!({"kind": "stuck-actions"})).await;
    let (status, answer) = migrate("", body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"memory_size": 104_857_600})).await.0, 409);
    node.control("DELETE", "/_sim/faults?all", &Value::Null).await;
    let action = format!("/v1/actions/{}", answer["action_uid"].as_str().unwrap());
    until("the end of the migration", async || (node.get(&action).await.1["status"] == "completed").then_some(()))
        .await;
    let after = in_sync(&nodes).await;
    assert_eq!((node_of(of_role(&after, "master")), node_of(of_role(&after, "slave"))), (free, node_of(&replica)));
    let value = until("the key", async || node.redis(14101, "", &["GET", "k"]).await.ok()).await;
    assert_eq!(value, "$1\r\nv\r\n");

    // The replica moves to where the master was; without roles kept, a master moves by its replica taking over.
    let target = json!({"target_node_uid": node_of(&first)});
    assert_eq!(migrate(&format!("/{}", replica["uid"].as_str().unwrap()), target).await.0, 200);
    until("the replica elsewhere", async || {
        let now = in_sync(&nodes).await;
        (node_of(of_role(&now, "slave")) == node_of(&first)).then_some(())
    })
    .await;
    let now = in_sync(&nodes).await;
    let moved = of_role(&now, "master")["uid"].as_str().unwrap().to_owned();
    assert_eq!(migrate(&format!("/{moved}"), json!({"target_node_uid": node_of(&replica)})).await.0, 200);
    until("the roles to have changed", async || {
        let now = in_sync(&nodes).await;
        let (master, slave) = (node_of(of_role(&now, "master")), node_of(of_role(&now, "slave")));
        ((master, slave) == (node_of(&first), node_of(&replica))).then_some(())
    })
    .await;
    let value = until("the key", async || node.redis(14101, "", &["GET", "k"]).await.ok()).await;
    assert_eq!(value, "$1\r\nv\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn master_and_replica_are_on_different_racks_and_stay_so() {
    let nodes = Nodes::start(246, 3);
    let join = async |index: usize, action: &str, rack: &str| {
        let node = &nodes.all[index];
        until("a node that answers", async || node.raw("GET", "/v1/bootstrap", &[], &Value::Null).await).await;
        let cluster = if index == 0 { json!({"name": CLUSTER}) } else { json!({"nodes": [nodes.all[0].address]}) };
        let body = json!({
            "action": action, "cluster": cluster, "node": {"identity": {"addr": node.address, "rack_id": rack}},
            "credentials": {"username": USER, "password": PASSWORD}
        });
        assert_eq!(node.raw("POST", &format!("/v1/bootstrap/{action}"), &[], &body).await.unwrap().status, 200);
        node.bootstrapped().await;
    };
    join(0, "create_cluster", "zone-a").await;
    let node = &nodes.all[0];
    assert_eq!(node.call("PUT", "/v1/cluster/policy", &json!({"rack_aware": true})).await.0, 200);
    join(1, "join_cluster", "zone-a").await;
    let body = json!({"name": "db", "memory_size": 209_715_200, "replication": true, "rack_aware": true});
    let (status, error) = node.call("POST", "/v1/bdbs", &body).await;
    assert_eq!((status, &error["error_code"]), (406, &json!("rack_awareness_violation")));
    join(2, "join_cluster", "zone-b").await;
    let uid = node.create_bdb(&body).await;
    let now = in_sync(&nodes).await;
    let homes = [node_of(of_role(&now, "master")), node_of(of_role(&now, "slave"))];
    assert!(homes.contains(&3), "one of the two is in zone-b: {homes:?}");
    let table = String::from_utf8(node.rladmin(&["status", "shards", "extra", "rack_id"]).stdout).unwrap();
    let head: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(head.ends_with(&["RACK-ID", "STATUS"]), "{table}");
    assert!(table.contains(" zone-a ") && table.contains(" zone-b "), "{table}");
    let table = String::from_utf8(node.rladmin(&["status", "nodes", "extra", "all"]).stdout).unwrap();
    assert!(table.lines().any(|line| line.contains("rec-2") && line.contains("zone-b")), "{table}");
    assert!(!node.rladmin(&["status", "extra", "nonsense"]).status.success());

    // The one in zone-a may go to the other node there, the one in zone-b may not.
    let other = (1..=2).find(|uid| !homes.contains(uid)).unwrap();
    let at = |home: u64| {
        let shard = now.as_array().unwrap().iter().find(|shard| node_of(shard) == home).unwrap();
        shard["uid"].as_str().unwrap().to_owned()
    };
    let migrate = async |shard: String| {
        let body = json!({"target_node_uid": other, "preserve_roles": true});
        node.call("POST", &format!("/v1/shards/{shard}/actions/migrate"), &body).await
    };
    assert_eq!(migrate(at(3)).await.1["error_code"], "rack_awareness_violation");
    // Removed from its node, a copy goes where the rack allows it: nowhere for zone-b, so that the node stays.
    let master = nodes.master().await;
    let path = "/v1/nodes/3/actions/remove";
    assert_eq!(nodes.all[master].call("POST", path, &json!({})).await.0, 200);
    until("the removal to fail", async || {
        let (_, action) = nodes.all[nodes.master().await].get(path).await;
        (action["status"] == "failed" && action["error"] == "insufficient_resources").then_some(())
    })
    .await;
    nodes.all[nodes.master().await].active(uid).await;
    let now = in_sync(&nodes).await;
    let here = homes.into_iter().find(|home| *home != 3).unwrap();
    let shard = now.as_array().unwrap().iter().find(|shard| node_of(shard) == here).unwrap();
    assert_eq!(migrate(shard["uid"].as_str().unwrap().to_owned()).await.0, 200);
    until("the shard on the other node of zone-a", async || {
        let now = in_sync(&nodes).await;
        let homes = [node_of(of_role(&now, "master")), node_of(of_role(&now, "slave"))];
        (homes.contains(&other) && homes.contains(&3)).then_some(())
    })
    .await;
}
