//! One node: bootstrap, a database that answers, its settings, and what is refused.

mod common;

use common::{CLUSTER, Nodes, PASSWORD, USER, info_field, redis_servers, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_answers_through_its_endpoint_and_takes_changes() {
    let nodes = Nodes::cluster(201, 1).await;
    let node = &nodes.all[0];
    let uid = node
        .create_bdb(
            &json!({"name": "mydb", "memory_size": 268_435_456u64, "port": 19621, "authentication_redis_pass": "pw-1"}),
        )
        .await;
    let (_, bdb) = node.get(&format!("/v1/bdbs/{uid}")).await;
    assert_eq!(bdb["endpoints"][0]["dns_name"], json!(format!("redis-19621.{CLUSTER}")));
    assert_eq!(bdb["endpoints"][0]["addr"], json!([node.address]));
    assert!(bdb.as_object().unwrap().len() > 100);

    assert_eq!(node.redis(19621, "", &["PING"]).await.unwrap_err(), "NOAUTH Authentication required.");
    assert!(node.redis(19621, "wrong", &["PING"]).await.unwrap_err().starts_with("WRONGPASS"));
    assert_eq!(node.redis(19621, "pw-1", &["PING"]).await.unwrap(), "+PONG\r\n");
    let info = node.redis(19621, "pw-1", &["INFO"]).await.unwrap();
    assert_eq!(info_field(&info, "role"), "master");
    assert_eq!(json!(info_field(&info, "redis_version")), bdb["version"]);
    assert_eq!(node.maxmemory(19621, "pw-1").await, 268_435_456);
    assert!(node.redis(19621, "pw-1", &["CONFIG", "SET", "maxmemory", "1"]).await.unwrap_err().starts_with("NOPERM"));

    let change = json!({"memory_size": 536_870_912u64, "eviction_policy": "allkeys-lru", "data_persistence": "aof"});
    let (status, changed) = node.call("PUT", &format!("/v1/bdbs/{uid}"), &change).await;
    assert_eq!((status, &changed["status"]), (200, &json!("active-change-pending")));
    // One state machine at a time.
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &change).await.0, 409);
    node.active(uid).await;
    assert_eq!(node.maxmemory(19621, "pw-1").await, 536_870_912);
    let (_, action) = node.get(&format!("/v1/actions/{}", changed["action_uid"].as_str().unwrap())).await;
    assert_eq!((&action["status"], &action["name"]), (&json!("completed"), &json!("SMUpdateBDB")));

    // Two passwords overlap, then the first goes (6.5).
    let passwords = format!("/v1/bdbs/{uid}/passwords");
    assert_eq!(node.call("POST", &passwords, &json!({"password": "pw-2"})).await.0, 200);
    node.active(uid).await;
    assert!(node.redis(19621, "pw-1", &["PING"]).await.is_ok() && node.redis(19621, "pw-2", &["PING"]).await.is_ok());
    assert_eq!(node.call("DELETE", &passwords, &json!({"password": "pw-1"})).await.0, 200);
    node.active(uid).await;
    assert!(node.redis(19621, "pw-1", &["PING"]).await.is_err() && node.redis(19621, "pw-2", &["PING"]).await.is_ok());

    assert_eq!(node.call("DELETE", &format!("/v1/bdbs/{uid}"), &Value::Null).await.0, 200);
    until("a deleted database", async || (node.get(&format!("/v1/bdbs/{uid}")).await.0 == 404).then_some(())).await;
    until("no redis-server", async || redis_servers(&node.data).is_empty().then_some(())).await;
    assert!(node.redis(19621, "pw-2", &["PING"]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_data_survives_a_killed_node_and_no_redis_server_is_left() {
    let mut nodes = Nodes::cluster(202, 1).await;
    let node = &mut nodes.all[0];
    let body = json!({
        "name": "kept", "memory_size": 104_857_600, "port": 12000, "data_persistence": "aof", "aof_policy": "appendfsync-always"
    });
    let uid = node.create_bdb(&body).await;
    node.redis(12000, "", &["SET", "k", "v"]).await.unwrap();
    assert_eq!(redis_servers(&node.data).len(), 1);
    node.kill();
    until("no redis-server after kill -9", async || redis_servers(&node.data).is_empty().then_some(())).await;

    node.start();
    node.bootstrapped().await;
    node.active(uid).await;
    let value = until("the database again", async || node.redis(12000, "", &["GET", "k"]).await.ok()).await;
    assert_eq!(value, "$1\r\nv\r\n");
    node.terminate();
    assert!(redis_servers(&node.data).is_empty(), "SIGTERM leaves no redis-server");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_lock_the_user() {
    let nodes = Nodes::cluster(203, 1).await;
    let node = &nodes.all[0];
    let answer = node.raw("GET", "/v1/cluster", &[], &Value::Null).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers["www-authenticate"], format!("Basic realm=\"{CLUSTER}\"").as_str());
    // A second administrator, to look at the first.
    let second = json!({"email": "other@redis.com", "password": "other-word", "role": "admin"});
    assert_eq!(node.call("POST", "/v1/users", &second).await.0, 200);
    for _ in 0..4 {
        assert_eq!(node.call_as(USER, "wrong", "GET", "/v1/cluster", &Value::Null).await.0, 401);
    }
    assert_eq!(node.get("/v1/cluster").await.0, 200, "four are not enough");
    assert_eq!(node.call_as(USER, "wrong", "GET", "/v1/cluster", &Value::Null).await.0, 401);
    assert_eq!(node.get("/v1/cluster").await.0, 401, "the right password does not help any more");
    let (status, user) = node.call_as("other@redis.com", "other-word", "GET", "/v1/users/1", &Value::Null).await;
    assert_eq!((status, &user["status"]), (200, &json!("locked")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_the_documented_codes() {
    let nodes = Nodes::cluster(204, 1).await;
    let node = &nodes.all[0];
    node.create_bdb(&json!({"name": "one", "memory_size": 104_857_600, "port": 12001})).await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "two", "memory_size": 104_857_600});
        body[field] = value;
        body
    };
    for (body, status, code) in [
        (json!({"memory_size": 1}), 406, "missing_db_name"),
        (json!({"name": "two"}), 406, "missing_memory_size"),
        (with("uid", json!(1)), 409, "uid_exists"),
        (with("port", json!(12001)), 406, "port_unavailable"),
        (with("port", json!(9443)), 406, "port_unavailable"),
        (with("memory_size", json!(1u64 << 50)), 406, "insufficient_resources"),
        (with("shards_count", json!(2)), 406, "invalid_sharding"),
        (with("sharding", json!(true)), 406, "invalid_sharding"),
        (with("replication", json!(true)), 406, "invalid_replication"),
        (with("rack_aware", json!(true)), 406, "not_rack_aware"),
        (with("backup", json!(true)), 406, "missing_backup_interval"),
        (with("eviction_policy", json!("allkeys-lrm")), 406, "eviction_policy_violation"),
        (with("tags", json!([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}])), 406, "invalid_bdb_tags"),
        (with("memory_sise", json!(1)), 400, "unknown_field"),
        (with("replication", json!("yes")), 400, "bad_request"),
    ] {
        let (got, error) = node.call("POST", "/v1/bdbs", &body).await;
        assert_eq!((got, error["error_code"].as_str()), (status, Some(code)), "{body} -> {error}");
    }
    assert_eq!(node.get("/v1/bdbs").await.1.as_array().unwrap().len(), 1, "nothing was created");
    assert_eq!(node.get("/v1/endpoints").await.0, 404);
    assert_eq!(node.get("/v1/bdbs/7").await.0, 404);
    // A duplicate name is no error (16.11), and port 0 reads back for a chosen one.
    let (status, twin) = node.call("POST", "/v1/bdbs", &json!({"name": "one", "memory_size": 104_857_600})).await;
    assert_eq!((status, &twin["port"]), (200, &json!(0)));
    let port = twin["endpoints"][0]["port"].as_u64().unwrap();
    assert!((10_000..20_000).contains(&port));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trial_license_permits_four_shards() {
    let nodes = Nodes::cluster(205, 1).await;
    let node = &nodes.all[0];
    let sharded = json!({
        "name": "four", "memory_size": 209_715_200, "shards_count": 4, "sharding": true, "port": 12002,
        "shard_key_regex": [{"regex": ".*\\{(?<tag>.*)\\}.*"}, {"regex": "(?<tag>.*)"}]
    });
    node.create_bdb(&sharded).await;
    // Commands find their shards, and the allowed ones span them.
    node.redis(12002, "", &["MSET", "a", "1", "b", "2", "c", "3", "d", "4"]).await.unwrap();
    assert_eq!(node.redis(12002, "", &["MGET", "a", "d", "x"]).await.unwrap(), "*3\r\n$1\r\n1\r\n$1\r\n4\r\n$-1\r\n");
    assert_eq!(node.redis(12002, "", &["DBSIZE"]).await.unwrap(), ":4\r\n");
    assert_eq!(node.redis(12002, "", &["DEL", "a", "b", "x"]).await.unwrap(), ":2\r\n");
    assert!(node.redis(12002, "", &["RENAME", "c", "d"]).await.unwrap_err().starts_with("CROSSSLOT"));
    assert!(node.redis(12002, "", &["MONITOR"]).await.is_err());

    let (status, error) = node.call("POST", "/v1/bdbs", &json!({"name": "fifth", "memory_size": 104_857_600})).await;
    assert_eq!(status, 406);
    assert_eq!(
        error["message"],
        "Total shards count exceeds amount of total shards permitted by license. License permits 4 total shards, but there are 5 total shards in use."
    );
    let (_, license) = node.get("/v1/license").await;
    assert_eq!(
        (&license["shards_limit"], &license["ram_shards_in_use"], &license["owner"]),
        (&json!(4), &json!(4), &Value::Null)
    );
    let text = "----- LICENSE START -----\nanything\n----- LICENSE END -----\n";
    assert_eq!(node.call("PUT", "/v1/license", &json!({"license": text})).await.0, 200);
    assert_eq!(node.call("PUT", "/v1/license", &json!({"license": "nothing"})).await.0, 406);
    node.create_bdb(&json!({"name": "fifth", "memory_size": 104_857_600})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rladmin_prints_what_the_product_prints() {
    let nodes = Nodes::start(206, 1);
    let node = &nodes.all[0];
    until("a node that answers", async || node.raw("GET", "/v1/bootstrap", &[], &Value::Null).await).await;
    let before = node.rladmin(&["status", "nodes"]);
    assert_eq!(before.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&before.stderr).contains("not bootstrapped"));
    node.found().await;
    node.create_bdb(&json!({"name": "mydb", "memory_size": 104_857_600, "port": 12003})).await;
    let text = |words: &[&str]| {
        let output = node.rladmin(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let status = text(&["status"]);
    let heads: Vec<&str> = status.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(heads, ["CLUSTER NODES:", "DATABASES:", "ENDPOINTS:", "SHARDS:"]);
    let line = |start: &str| {
        status.lines().find(|line| line.starts_with(start)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    let own = line("*node:1");
    assert_eq!((own[1], own[2], own[3], own[4]), ("master", node.address.as_str(), "rec-0", "1/100"));
    assert_eq!((own[own.len() - 2], own[own.len() - 1]), ("8.0.20-44-simulator", "OK"));
    let endpoint = format!("redis-12003.{CLUSTER}:12003");
    assert_eq!(line("db:1"), ["db:1", "mydb", "redis", "active", "1", "dense", "disabled", "disabled", &endpoint]);
    assert!(status.contains("endpoint:1:1  *node:1  single  No") && status.contains("0-16383"));
    let extra = text(&["status", "extra", "all"]);
    assert!(extra.contains(&format!("OK. Cluster master: 1 ({})", node.address)) && extra.contains("RACK-ID"));
    assert_eq!(text(&["cluster", "master"]), "Node 1 is the cluster master node\n");
    assert_eq!(text(&["recover", "list"]), "No recoverable databases found\n");
    let wrong = node.rladmin(&["node", "9", "remove"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&wrong.stderr), "ERROR: Object does not exist: node:9\n");
    assert_eq!(std::fs::read_to_string(node.data.join("etc/node.id")).unwrap(), "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_users_overlap_and_roles_limit() {
    let nodes = Nodes::cluster(207, 1).await;
    let node = &nodes.all[0];
    let change =
        |method: &'static str, body: Value| async move { node.call(method, "/v1/users/password", &body).await.0 };
    assert_eq!(change("POST", json!({"username": USER, "new_password": "next-word"})).await, 200);
    assert_eq!(node.call_as(USER, "next-word", "GET", "/v1/cluster", &Value::Null).await.0, 200);
    assert_eq!(change("DELETE", json!({"username": USER, "old_password": "next-word"})).await, 200);
    assert_eq!(change("DELETE", json!({"username": USER, "old_password": PASSWORD})).await, 400);
    let viewer = json!({"email": "v@redis.com", "name": "v", "password": "viewer-word", "role": "db_viewer"});
    assert_eq!(node.call("POST", "/v1/users", &viewer).await.0, 200);
    assert_eq!(node.call("POST", "/v1/users", &viewer).await.1["error_code"], "email_already_exists");
    let as_viewer = |method: &'static str| node.call_as("v", "viewer-word", method, "/v1/bdbs", &Value::Null);
    assert_eq!((as_viewer("GET").await.0, as_viewer("POST").await.0), (200, 403));
    let (_, token) = node.call("POST", "/v1/users/authorize", &json!({"ttl": 60})).await;
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let with_token = node.raw("GET", "/v1/cluster", &[("authorization", &bearer)], &Value::Null).await.unwrap();
    assert_eq!(with_token.status, 200);
    assert_eq!(node.call("DELETE", "/v1/redis_acls/1", &Value::Null).await.0, 409);
    assert_eq!(
        node.call("DELETE", "/v1/users/1", &Value::Null).await.1["error_code"],
        "change_last_admin_role_not_allowed"
    );
}
