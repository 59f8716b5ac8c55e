//! The OSS cluster API: proxies that play nodes of a Redis cluster (REST reference, 16.8).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are no #[test]")]

mod common;

use common::{Nodes, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_client_is_told_where_slots_are_and_sent_there() {
    let nodes = Nodes::cluster(186, 2).await;
    let node = &nodes.all[0];
    let body = json!({
        "name": "oss", "memory_size": 104_857_600, "port": 14400, "shards_count": 4, "sharding": true,
        "shard_key_regex": [{"regex": ".*\\{(?<tag>.*)\\}.*"}, {"regex": "(?<tag>.*)"}], "shards_placement": "sparse",
        "proxy_policy": "all-master-shards", "oss_cluster": true, "authentication_redis_pass": "pw"
    });
    for (field, value) in [
        ("proxy_policy", json!("single")),
        ("hash_slots_policy", json!("legacy")),
        ("shard_key_regex", json!([{"regex": "(?<tag>..)"}])),
        ("oss_cluster_api_preferred_ip_type", json!("any")),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let (status, error) = node.call("POST", "/v1/bdbs", &wrong).await;
        assert_eq!((status, &error["error_code"]), (406, &json!("invalid_oss_cluster_configuration")), "{field}");
    }
    let uid = node.create_bdb(&body).await;
    let slots = node.redis(14400, "pw", &["CLUSTER", "SLOTS"]).await.unwrap();
    assert!(nodes.all.iter().all(|one| slots.contains(&one.address)), "addresses inside: {slots}");
    assert!(node.redis(14400, "", &["CLUSTER", "SLOTS"]).await.unwrap_err().starts_with("NOAUTH"));

    // Clients outside are told the addresses outside; here those that this machine can reach.
    for (index, one) in nodes.all.iter().enumerate() {
        let body = json!({"external_addr": [one.host]});
        assert_eq!(node.call("PUT", &format!("/v1/nodes/{}", index + 1), &body).await.0, 200);
    }
    let patch = json!({"oss_cluster_api_preferred_ip_type": "external"});
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &patch).await.0, 200);
    let bdb = node.active(uid).await;
    assert_eq!(bdb["endpoints"][0]["oss_cluster_api_preferred_ip_type"], "external");
    assert_eq!(
        (&bdb["endpoints"][0]["addr_type"], &bdb["endpoints"][1]["addr_type"]),
        (&json!("internal"), &json!("external"))
    );
    assert_eq!(bdb["endpoints"][1]["addr"], json!(nodes.all.iter().map(|one| &one.host).collect::<Vec<_>>()));
    let cli = |words: &[&str]| node.redis_cli(14400, &[&["-a", "pw", "--no-auth-warning"], words].concat());
    let table = until("addresses outside", async || {
        let table = cli(&["CLUSTER", "NODES"]);
        nodes.all.iter().all(|one| table.contains(&one.host)).then_some(table)
    })
    .await;
    assert!(table.contains("myself,master") && table.contains("connected 0-"), "{table}");
    assert!(cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    assert_eq!(cli(&["CLUSTER", "SHARDS"]).matches("online").count(), 2);
    let mut moved = 0;
    for number in 0..40 {
        let key = format!("k{number}");
        let answer = cli(&["SET", &key, &key]);
        assert!(answer.trim() == "OK" || answer.starts_with("MOVED "), "{answer}");
        moved += usize::from(answer.starts_with("MOVED "));
        assert_eq!(cli(&["-c", "SET", &key, &key]).trim(), "OK", "a client that follows");
        assert_eq!(cli(&["-c", "GET", &key]).trim(), key);
    }
    assert!(0 < moved && moved < 40, "{moved} of 40 keys are elsewhere");
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"oss_cluster": false})).await.0, 200);
    node.active(uid).await;
    until("a database that is no cluster", async || {
        (cli(&["GET", "k0"]).trim() == "k0" && cli(&["GET", "k1"]).trim() == "k1").then_some(())
    })
    .await;
}
