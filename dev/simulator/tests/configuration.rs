//! Optional parts of a cluster's configuration, a change of version node by node, and the failures that go with nodes
//! that come and go (REST reference, 4.5, 5.3 and 16.7).

mod common;

use common::{Nodes, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn optional_parts_are_kept_shown_and_judged() {
    let mut nodes = Nodes::cluster(241, 1).await;
    let node = &nodes.all[0];
    let ldap = json!({
        "uris": ["ldap://a:389"], "bind_dn": "cn=admin", "bind_pass": "word", "user_dn_template": "cn=%u",
        "dn_group_attr": "memberOf", "control_plane": true,
    });
    assert_eq!(node.get("/v1/cluster/ldap").await.1["uris"], json!([]));
    assert_eq!(node.call("PUT", "/v1/cluster/ldap", &ldap).await.0, 200);
    let (_, shown) = node.get("/v1/cluster/ldap").await;
    assert_eq!(
        (&shown["bind_dn"], &shown["bind_pass"], &shown["cache_ttl"]),
        (&json!("cn=admin"), &json!("***"), &json!(300))
    );
    let both = json!({"user_dn_query": {"base": "dc=a", "filter": "(uid=%u)", "scope": "subtree"}});
    assert_eq!(node.call("PUT", "/v1/cluster/ldap", &both).await.1["error_code"], "illegal_fields_combination");
    assert_eq!(node.call("PUT", "/v1/cluster/ldap", &json!({"uri": []})).await.0, 400);

    let on = json!({"control_plane": true, "issuer": {"id": "a", "login_url": "https://a"}});
    assert_eq!(node.call("PUT", "/v1/cluster/sso", &on).await.1["error_code"], "missing_certificate");
    let metadata = "/v1/cluster/sso/saml/metadata/idp";
    assert_eq!(node.call("POST", metadata, &json!({"idp_metadata": "no"})).await.0, 400);
    // `<md entityID="urn:idp"/>`
    let good = json!({"idp_metadata": "PG1kIGVudGl0eUlEPSJ1cm46aWRwIi8+"});
    assert_eq!(node.call("POST", metadata, &good).await.1["issuer"]["id"], "urn:idp");
    let provider = node.raw("GET", "/v1/cluster/sso/saml/metadata/sp", &[], &Value::Null).await.unwrap();
    assert_eq!(provider.status, 401, "it needs credentials");

    assert_eq!(node.call("PUT", "/v1/ocsp", &json!({"query_frequency": 1})).await.0, 400);
    assert_eq!(node.call("PUT", "/v1/ocsp", &json!({"ocsp_functionality": true})).await.1["query_frequency"], 3600);
    let services = "/v1/cluster/services_configuration";
    let off = json!({"crdb_worker": {"operating_mode": "disabled"}});
    let (_, shown) = node.call("PUT", services, &off).await;
    assert_eq!(
        (&shown["crdb_worker"], &shown["cm_server"]),
        (&off["crdb_worker"], &json!({"operating_mode": "enabled"}))
    );
    assert_eq!(node.call("PUT", services, &json!({"saslauthd": {"operating_mode": "disabled"}})).await.0, 400);
    let audit = json!({"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": 12345});
    assert_eq!(node.call("PUT", "/v1/cluster/auditing/db_conns", &audit).await.1["audit_reconnect_interval"], 1);
    assert_eq!(node.call("PUT", "/v1/metrics_config", &json!({})).await.0, 400);
    assert_eq!(
        node.call("PUT", "/v1/metrics_config", &json!({"expose_db_tags": true})).await.1["max_requests_in_flight"],
        2
    );

    // F18: an older version has none of the newer paths.
    node.control("POST", "/_sim/faults", &json!({"kind": "old-version"})).await;
    for path in ["/v1/metrics_config", "/v2/actions", "/v4/cluster/health"] {
        assert_eq!(node.get(path).await.0, 404, "{path}");
    }
    node.control("DELETE", "/_sim/faults", &Value::Null).await;

    // All of it is part of the state, and survives the process.
    let node = &mut nodes.all[0];
    node.kill();
    node.start();
    node.bootstrapped().await;
    assert_eq!(node.get("/v1/cluster/ldap").await.1["uris"], json!(["ldap://a:389"]));
    assert_eq!(node.call("DELETE", "/v1/cluster/ldap", &Value::Null).await.0, 200);
    assert_eq!(node.get("/v1/cluster/ldap").await.1["uris"], json!([]));
    assert_eq!(node.call("DELETE", "/v1/ocsp", &Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_image_has_another_version_and_its_masters_come_back() {
    let mut nodes = Nodes::cluster(242, 3).await;
    let body = json!({"name": "ha", "memory_size": 209_715_200, "replication": true, "port": 13000, "proxy_policy": "all-nodes"});
    let uid = nodes.all[0].create_bdb(&body).await;
    let shards = format!("/v1/bdbs/{uid}/shards");
    let (_, all) = nodes.all[0].get(&shards).await;
    let home = |all: &Value, role: &str| {
        let shard = all.as_array().unwrap().iter().find(|shard| shard["role"] == role).cloned().unwrap();
        shard["node_uid"].as_str().unwrap().parse::<usize>().unwrap()
    };
    let old = home(&all, "master");
    let master = nodes.master().await;
    let action = |name: &str| format!("/v1/nodes/{old}/actions/{name}");
    assert_eq!(nodes.all[master].call("POST", &action("maintenance_on"), &json!({})).await.0, 200);
    until("the master to be elsewhere", async || {
        (home(&nodes.all[master].get(&shards).await.1, "master") != old).then_some(())
    })
    .await;

    let node = &mut nodes.all[old - 1];
    node.terminate();
    node.version = Some("8.0.20-50");
    // Until the others have missed it, they tell what was true before.
    until("the node to be missed", async || {
        let list = nodes.all[nodes.master().await].get("/v1/nodes").await.1;
        list.as_array()?.iter().any(|node| node["uid"] == json!(old) && node["status"] == "down").then_some(())
    })
    .await;
    nodes.all[old - 1].start();
    let ask = async |path: &str| nodes.all[nodes.master().await].get(path).await.1;
    until("the new version in the list of nodes", async || {
        let list = ask("/v1/nodes").await;
        let node = list.as_array()?.iter().find(|node| node["uid"] == json!(old))?.clone();
        (node["software_version"] == "8.0.20-50" && node["status"] == "active").then_some(())
    })
    .await;
    until("a replica in sync", async || {
        let all = ask(&shards).await;
        let replica = all.as_array()?.iter().find(|shard| shard["role"] == "slave")?.clone();
        (replica["status"] == "active" && replica["sync"]["status"] == "idle").then_some(())
    })
    .await;
    let master = nodes.master().await;
    assert_eq!(nodes.all[master].call("POST", &action("maintenance_off"), &json!({})).await.0, 200);
    until("the master to be back", async || (home(&ask(&shards).await, "master") == old).then_some(())).await;
}
