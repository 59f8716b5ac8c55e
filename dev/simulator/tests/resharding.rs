//! Databases grow from one shard to two to four while clients write (REST reference, 6.9 and 16.9).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are no #[test]")]

mod common;

use std::collections::BTreeSet;

use common::{
    Node, Nodes, until,
    writer::{Writer, fill, missing},
};
use redis_enterprise_simulator::resp::Connection;
use serde_json::{Value, json};

/// The rules of the product's documentation.
fn rules() -> Value {
    json!([{"regex": ".*\\{(?<tag>.*)\\}.*"}, {"regex": "(?<tag>.*)"}])
}

fn to_shards(count: u64) -> Value {
    json!({"shards_count": count, "sharding": true, "shard_key_regex": rules()})
}

/// Asks for more shards; says what the reply promised.
async fn grow(node: &Node, uid: u64, count: u64) -> String {
    let (status, bdb) = node.call("PUT", &format!("/v1/bdbs/{uid}"), &to_shards(count)).await;
    assert_eq!((status, &bdb["status"]), (200, &json!("active-change-pending")), "{bdb}");
    bdb["action_uid"].as_str().unwrap().to_owned()
}

/// Keys that each master says it holds, once it says the same twice: reports are a moment old.
async fn keys_of_masters(node: &Node, uid: u64) -> Vec<u64> {
    let (_, shards) = node.get(&format!("/v1/bdbs/{uid}/shards")).await;
    let masters = shards.as_array().unwrap().iter().filter(|shard| shard["role"] == "master");
    masters.map(|shard| shard["redis_info"]["keys"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_keeps_its_connection_and_every_write_from_one_to_two_to_four_shards() {
    let mut nodes = Nodes::cluster(241, 2).await;
    let node = &nodes.all[0];
    node.license().await;
    let body = json!({
        "name": "grow", "memory_size": 419_430_400, "port": 14100, "data_persistence": "aof", "proxy_policy": "all-nodes",
        "shards_placement": "sparse"
    });
    let uid = node.create_bdb(&body).await;
    fill(&node.host, 14100, "old", 6_000).await;
    let mut subscriber = Connection::open(&node.host, 14100).await.unwrap();
    subscriber.demand(&["SUBSCRIBE", "news"]).await.unwrap();
    // Many at once, through proxies that hear of each stage at different times.
    let writers: Vec<Writer> = ["a", "b", "c", "d"]
        .into_iter()
        .enumerate()
        .map(|(index, prefix)| Writer::start(vec![nodes.all[index % 2].host.clone()], 14100, prefix, false))
        .collect();
    let writer = &writers[0];
    writer.more(200).await;
    for count in [2u64, 4] {
        let action = grow(node, uid, count).await;
        let (status, refused) = node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"maxclients": 100})).await;
        assert_eq!((status, &refused["error_code"]), (409, &json!("busy")), "one change at a time");
        let (_, running) = node.get(&format!("/v1/actions/{action}")).await;
        assert_eq!((&running["name"], &running["object_name"]), (&json!("SMUpdateBDB"), &json!("bdb:1")));
        // What clients are shown never grows by what shards hold twice.
        let mut seen = BTreeSet::new();
        let bdb = until("the new shards in service", async || {
            let before = keys_shown(node).await;
            seen.insert(before.1);
            assert_eq!(before.0, before.1, "SCAN and KEYS agree on the keys that were there before");
            let (_, bdb) = node.get(&format!("/v1/bdbs/{uid}")).await;
            (bdb["status"] == "active").then_some(bdb)
        })
        .await;
        assert_eq!(seen, BTreeSet::from([6_000]), "foreign keys are hidden");
        assert_eq!((&bdb["shards_count"], bdb["shard_list"].as_array().unwrap().len() as u64), (&json!(count), count));
        assert_eq!(node.get(&format!("/v1/actions/{action}")).await.1["status"], "completed");
        assert_eq!(node.maxmemory(14100, "").await, 419_430_400 / count);
        writer.more(200).await;
    }
    let mut all = 6_000;
    for writer in writers {
        let written = writer.stop().await;
        assert_eq!(written.reconnected, 0, "the writer was held, not cut off");
        assert_eq!(missing(&node.host, 14100, &written.keys).await, Vec::<String>::new());
        all += written.keys.len();
    }
    assert_eq!(node.redis_cli(14100, &["DBSIZE"]).trim(), all.to_string());
    until("shards that hold their own keys only", async || {
        let keys = keys_of_masters(node, uid).await;
        let even = keys.iter().all(|keys| *keys * 5 > all as u64);
        (even && keys.iter().sum::<u64>() == all as u64).then_some(())
    })
    .await;
    let metrics = node.rladmin(&["status", "shards"]);
    let metrics = String::from_utf8_lossy(&metrics.stdout);
    assert!(metrics.contains("0-4095") && metrics.contains("12288-16383"), "{metrics}");
    // A subscriber is still one.
    assert_eq!(node.redis_cli(14100, &["PUBLISH", "news", "word"]).trim(), "1");
    assert!(String::from_utf8_lossy(&subscriber.reply().await.unwrap()).contains("word"));

    // The files hold what was moved, too.
    nodes.all.iter_mut().for_each(Node::kill);
    nodes.all.iter_mut().for_each(Node::start);
    until("the keys from the files", async || {
        let size = nodes.all[0].redis(14100, "", &["DBSIZE"]).await.ok()?;
        (size == format!(":{all}\r\n")).then_some(())
    })
    .await;
}

/// Waits until every part of the database takes writes. (`WAIT 1` cannot be had of parts whose replica is dead.)
async fn serves_again(node: &Node, port: u16) {
    until("writes to all slots", async || {
        let keys: Vec<String> = (0..16).map(|number| format!("after{number}")).collect();
        let mut words = vec!["MSET"];
        words.extend(keys.iter().flat_map(|key| [key.as_str(), "v"]));
        node.redis(port, "", &words).await.ok()
    })
    .await;
}

/// How many of the keys from before are seen by SCAN and by KEYS.
async fn keys_shown(node: &Node) -> (usize, usize) {
    let scan = node.redis_cli(14100, &["--scan", "--pattern", "old*"]);
    let scanned: BTreeSet<&str> = scan.lines().filter(|line| line.starts_with("old")).collect();
    let keys = node.redis_cli(14100, &["KEYS", "old*"]);
    (scanned.len(), keys.lines().filter(|line| line.starts_with("old")).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_never_shrinks_and_grows_by_whole_factors_only() {
    let nodes = Nodes::cluster(242, 1).await;
    let node = &nodes.all[0];
    let mut body = to_shards(2);
    body.as_object_mut()
        .unwrap()
        .extend(json!({"name": "two", "memory_size": 104_857_600}).as_object().unwrap().clone());
    let uid = node.create_bdb(&body).await;
    let path = format!("/v1/bdbs/{uid}");
    for (patch, code) in [
        (json!({"shards_count": 3}), "bad_shards_blueprint"),
        (json!({"shards_count": 1}), "bad_shards_blueprint"),
        (json!({"shards_count": 1, "sharding": false}), "bad_shards_blueprint"),
        (json!({"shards_count": 6}), "insufficient_resources"),
    ] {
        let (status, error) = node.call("PUT", &path, &patch).await;
        assert_eq!((status, error["error_code"].as_str()), (406, Some(code)), "{patch} -> {error}");
    }
    assert_eq!(node.get(&path).await.1["status"], "active", "nothing was begun");
    // F6: a change that fails leaves the old shards, and the next attempt is free.
    node.control("POST", "/_sim/faults", &json!({"kind": "fail-update", "times": 1})).await;
    let action = grow(node, uid, 4).await;
    let bdb = node.active(uid).await;
    assert_eq!((&bdb["shards_count"], bdb["shard_list"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(node.get(&format!("/v1/actions/{action}")).await.1["status"], "failed");
    grow(node, uid, 4).await;
    assert_eq!(node.active(uid).await["shard_list"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_stay_whole_over_many_shards() {
    let nodes = Nodes::cluster(243, 1).await;
    let node = &nodes.all[0];
    let uid = node.create_bdb(&json!({"name": "tx", "memory_size": 104_857_600, "port": 14101})).await;
    let mut open = Connection::open(&node.host, 14101).await.unwrap();
    let mut idle = Connection::open(&node.host, 14101).await.unwrap();
    open.demand(&["CLIENT", "SETNAME", "tx"]).await.unwrap();
    idle.demand(&["MULTI"]).await.unwrap();
    grow(node, uid, 2).await;
    node.active(uid).await;
    assert!(idle.ask(&["GET", "a"]).await.is_err(), "what is open when the map is swapped is cut off");
    for words in [&["WATCH", "{a}1"][..], &["MULTI"], &["SET", "{a}1", "x"], &["INCR", "{a}2"]] {
        assert!(!open.ask(words).await.unwrap().starts_with(b"-"), "{words:?}");
    }
    assert_eq!(open.ask(&["EXEC"]).await.unwrap(), b"*2\r\n+OK\r\n:1\r\n");
    open.demand(&["MULTI"]).await.unwrap();
    open.demand(&["SET", "a", "y"]).await.unwrap();
    assert!(open.ask(&["SET", "b", "y"]).await.unwrap().starts_with(b"-CROSSSLOT"));
    assert!(open.ask(&["EXEC"]).await.unwrap().starts_with(b"-EXECABORT"));
    assert_eq!(open.ask(&["EXISTS", "a", "b"]).await.unwrap(), b":0\r\n");
    assert_eq!(open.ask(&["WAIT", "0", "10"]).await.unwrap(), b":0\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replication_the_new_shards_have_replicas_that_take_over() {
    let mut nodes = Nodes::cluster(244, 3).await;
    nodes.all[0].license().await;
    let hosts: Vec<String> = nodes.all.iter().map(|node| node.host.clone()).collect();
    let body = json!({
        "name": "ha", "memory_size": 419_430_400, "port": 14102, "proxy_policy": "all-nodes", "replication": true,
        "data_persistence": "snapshot", "snapshot_policy": [{"secs": 3600, "writes": 1}], "shards_placement": "sparse"
    });
    let uid = nodes.all[0].create_bdb(&body).await;
    fill(&hosts[0], 14102, "old", 5_000).await;
    let writer = Writer::start(hosts.clone(), 14102, "new", true);
    writer.more(50).await;
    for count in [2, 4] {
        grow(&nodes.all[0], uid, count).await;
        let bdb = nodes.all[0].active(uid).await;
        assert_eq!(bdb["shard_list"].as_array().unwrap().len() as u64, 2 * count);
        writer.more(20).await;
    }
    // A node that dies takes masters along whose replicas were made by the resharding.
    let (_, shards) = nodes.all[0].get(&format!("/v1/bdbs/{uid}/shards")).await;
    let youngest = shards
        .as_array()
        .unwrap()
        .iter()
        .filter(|shard| shard["role"] == "master")
        .max_by_key(|shard| shard["uid"].as_str().unwrap().parse::<u64>().unwrap());
    let victim = youngest.unwrap()["node_uid"].as_str().unwrap().parse::<usize>().unwrap() - 1;
    nodes.all[victim].kill();
    let witness = &nodes.all[(victim + 1) % 3];
    serves_again(witness, 14102).await;
    let written = writer.stop().await;
    let witness = &witness.host;
    let mut keys = written.keys;
    keys.extend((0..5_000).map(|number| format!("old{number}")));
    assert_eq!(missing(witness, 14102, &keys).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_the_midst_leaves_the_old_shards_or_the_new_ones_and_every_write() {
    for (net, kill_master) in [(245, false), (246, true)] {
        let mut nodes = Nodes::cluster(net, 3).await;
        nodes.all[0].license().await;
        let port = 14103;
        let hosts: Vec<String> = nodes.all.iter().map(|node| node.host.clone()).collect();
        let body = json!({
            "name": "mid", "memory_size": 419_430_400, "port": port, "proxy_policy": "all-nodes", "replication": true,
            "shards_placement": "sparse"
        });
        let uid = nodes.all[0].create_bdb(&body).await;
        fill(&hosts[0], port, "old", 5_000).await;
        let writer = Writer::start(hosts.clone(), port, "new", true);
        writer.more(50).await;
        let (_, shards) = nodes.all[0].get(&format!("/v1/bdbs/{uid}/shards")).await;
        let master = shards.as_array().unwrap().iter().find(|shard| shard["role"] == "master").unwrap().clone();
        let home = master["node_uid"].as_str().unwrap().parse::<usize>().unwrap() - 1;
        grow(&nodes.all[0], uid, 2).await;
        let victim = if kill_master { home } else { (home + 1) % 3 };
        nodes.all[victim].kill();
        let leader = nodes.master().await;
        let bdb = nodes.all[leader].active(uid).await;
        let count = bdb["shards_count"].as_u64().unwrap();
        let (_, shards) = nodes.all[leader].get(&format!("/v1/bdbs/{uid}/shards")).await;
        let masters = shards.as_array().unwrap().iter().filter(|shard| shard["role"] == "master");
        let slots: Vec<_> = masters.map(|shard| shard["assigned_slots"].as_str().unwrap().to_owned()).collect();
        assert_eq!(slots.len() as u64, count, "{slots:?}");
        serves_again(&nodes.all[leader], port).await;
        let mut keys = writer.stop().await.keys;
        keys.extend((0..5_000).map(|number| format!("old{number}")));
        let witness = &hosts[leader];
        assert_eq!(missing(witness, port, &keys).await, Vec::<String>::new(), "{slots:?}");
        // The node comes back, and the growth that did not happen can.
        nodes.all[victim].start();
        until("the growth", async || {
            let (status, _) = nodes.all[leader].call("PUT", &format!("/v1/bdbs/{uid}"), &to_shards(2)).await;
            (status == 200).then_some(())
        })
        .await;
        let bdb = nodes.all[leader].active(uid).await;
        assert_eq!(bdb["shard_list"].as_array().unwrap().len(), 4);
        assert_eq!(missing(witness, port, &keys).await, Vec::<String>::new());
    }
}
