//! The data of Active-Active databases: what is written on one simulated cluster is read on the other, and conflicts end equal.

mod common;

use common::{
    Nodes, PASSWORD, USER,
    crdb::{CRDBS, Side, bdb, body, equal, get, made, task, two},
    host, until,
};
use redis_enterprise_simulator::resp::text_of;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_on_one_side_is_read_on_the_other() {
    let (one, other) = two(221).await;
    let guid = made(&one, &other, "aa").await;
    let (a, b) = (Side::new(&one, &guid).await, Side::new(&other, &guid).await);
    a.in_sync().await;
    a.ask(&["SET", "k", "from-a"]).await;
    b.reads(&["GET", "k"], "$6 from-a").await;
    b.ask(&["APPEND", "k", "-b"]).await;
    a.reads(&["GET", "k"], "$8 from-a-b").await;
    for words in [
        &["HSET", "h", "f", "1", "g", "2"][..],
        &["SADD", "s", "x", "y"],
        &["RPUSH", "l", "1", "2", "3"],
        &["ZADD", "z", "1", "m", "2", "n"],
        &["MSET", "m1", "1", "m2", "2"],
        &["EVAL", "return redis.call('SET', KEYS[1], 'by-script')", "1", "e"],
        &["SET", "short", "v", "PX", "700"],
        &["SET", "long", "v", "EX", "1000"],
    ] {
        a.ask(words).await;
    }
    b.reads(&["GET", "short"], "$1 v").await;
    b.reads(&["GET", "e"], "$9 by-script").await;
    assert!(equal(&a, &b).await.len() >= 9);
    let life: i64 = b.ask(&["TTL", "long"]).await.trim_start_matches(':').parse().unwrap();
    assert!((900..=1000).contains(&life), "{life}");
    for side in [&a, &b] {
        side.reads(&["EXISTS", "short"], ":0").await;
    }
    // A value after one that expired is a new one, without its end.
    b.ask(&["SADD", "short", "w"]).await;
    a.reads(&["SMEMBERS", "short"], "*1 $1 w").await;
    a.reads(&["TTL", "short"], ":-1").await;
    b.ask(&["DEL", "l", "z"]).await;
    b.ask(&["PERSIST", "long"]).await;
    b.ask(&["HDEL", "h", "f"]).await;
    a.reads(&["EXISTS", "l", "z"], ":0").await;
    a.reads(&["HGETALL", "h"], "*2 $1 g $1 2").await;
    a.reads(&["TTL", "long"], ":-1").await;
    // Another type takes a name over.
    a.ask(&["SET", "s", "no-set-any-more"]).await;
    b.reads(&["GET", "s"], "$15 no-set-any-more").await;
    // What is in a transaction counts too, and what a client may not do it may not do here either.
    let mut client = redis_enterprise_simulator::resp::Connection::open(&one.all[0].host, a.port).await.ok();
    if client.is_none() {
        client = redis_enterprise_simulator::resp::Connection::open(&one.all[1].host, a.port).await.ok();
    }
    let mut client = client.unwrap();
    for words in [&["MULTI"][..], &["SET", "t", "1"], &["INCR", "t"], &["EXEC"]] {
        client.demand(words).await.unwrap();
    }
    b.reads(&["GET", "t"], "$1 2").await;
    assert!(a.try_ask(&["FLUSHALL"]).await.unwrap_err().contains("/flush"));
    assert!(a.try_ask(&["INCR", "s"]).await.unwrap_err().contains("not an integer"));
    assert_eq!(task(&one, "PUT", &format!("/v1/crdbs/{guid}/flush"), &Value::Null).await["status"], "finished");
    for side in [&a, &b] {
        side.reads(&["DBSIZE"], ":0").await;
    }
    a.ask(&["SET", "after", "1"]).await;
    b.reads(&["GET", "after"], "$1 1").await;
    assert_eq!(equal(&a, &b).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_what_both_sides_change_meanwhile_ends_equal() {
    let (one, other) = two(223).await;
    let guid = made(&one, &other, "aa").await;
    let (a, b) = (Side::new(&one, &guid).await, Side::new(&other, &guid).await);
    a.in_sync().await;
    for words in [
        &["SET", "counter", "10"][..],
        &["SADD", "set", "kept", "lost"],
        &["HSET", "hash", "f", "0", "n", "1"],
        &["SET", "deleted", "v"],
        &["SET", "old", "v"],
    ] {
        a.ask(words).await;
    }
    equal(&a, &b).await;
    b.cut(true).await;
    let both = [
        (&a, &["INCRBY", "counter", "5"][..]),
        (&b, &["INCRBY", "counter", "7"]),
        (&b, &["DECR", "counter"]),
        // A counter that neither knew.
        (&a, &["INCR", "new"]),
        (&b, &["INCRBY", "new", "2"]),
        // The later one wins, on whichever side it was.
        (&a, &["SET", "last", "a-first"]),
        (&b, &["SET", "last", "b-then"]),
        (&b, &["SET", "late", "b-first"]),
        (&a, &["SET", "late", "a-then"]),
        // What was added meanwhile was not meant by the removal, even if it was there before.
        (&a, &["SREM", "set", "kept", "lost"]),
        (&b, &["SADD", "set", "kept", "more"]),
        (&a, &["HSET", "hash", "f", "a"]),
        (&b, &["HSET", "hash", "g", "b"]),
        (&a, &["HINCRBY", "hash", "n", "10"]),
        (&b, &["HINCRBY", "hash", "n", "100"]),
        (&a, &["DEL", "deleted"]),
        (&b, &["DEL", "old"]),
        (&a, &["SET", "old", "again"]),
        // Two types at once.
        (&a, &["SADD", "either", "m"]),
        (&b, &["SET", "either", "string"]),
        (&a, &["RPUSH", "list", "a"]),
        (&b, &["RPUSH", "list", "b"]),
    ];
    for (side, words) in both {
        side.ask(words).await;
    }
    assert_eq!((a.ask(&["GET", "counter"]).await, b.ask(&["GET", "counter"]).await), ("$2 15".into(), "$2 16".into()));
    let (_, report) = get(&one, &format!("/v1/crdbs/{guid}/health_report")).await;
    assert_eq!(report[0]["connections"][0]["replication_links"][0]["status"], "down", "{report}");
    assert!(report[1]["connection_error"].is_string(), "{report}");
    b.cut(false).await;
    a.in_sync().await;
    let seen = equal(&a, &b).await;
    for expected in [
        r#"counter +string ["$2 21"]"#,
        r#"either +string ["$6 string"]"#,
        r#"hash +hash ["f=a", "g=b", "n=111"]"#,
        r#"last +string ["$6 b-then"]"#,
        r#"late +string ["$6 a-then"]"#,
        r#"list +list ["b"]"#,
        r#"new +string ["$1 3"]"#,
        r#"old +string ["$5 again"]"#,
        r#"set +set ["kept", "more"]"#,
    ] {
        assert!(seen.iter().any(|one| one == expected), "{expected} is not in {seen:#?}");
    }
    assert_eq!(seen.len(), 9, "{seen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_both_sides_lose_nothing_over_restarts() {
    let (one, other) = two(225).await;
    one.all[one.master().await].license().await;
    other.all[other.master().await].license().await;
    let mut wanted = body("aa", &one, &other);
    wanted["default_db_config"]["shards_count"] = json!(2);
    // Shards as a cluster likes them: two here, one there stays allowed.
    let done = task(&one, "POST", CRDBS, &wanted).await;
    assert_eq!(done["status"], "finished", "{done}");
    let guid = done["crdb_guid"].as_str().unwrap().to_owned();
    let (a, b) = (Side::new(&one, &guid).await, Side::new(&other, &guid).await);
    a.in_sync().await;
    let write = async |side: &Side<'_>, name: &str, from: u32| {
        for i in from..from + 60 {
            side.ask(&["INCR", &format!("counter-{}", i % 4)]).await;
            side.ask(&["SADD", "set", &format!("{name}-{i}")]).await;
            side.ask(&["HSET", "hash", "last", &format!("{name}-{i}"), name, &i.to_string()]).await;
            side.ask(&["SET", &format!("key-{}", i % 7), &format!("{name}-{i}")]).await;
        }
    };
    tokio::join!(write(&a, "a", 0), write(&b, "b", 0));
    let seen = equal(&a, &b).await;
    assert!(seen.contains(&r#"counter-0 +string ["$2 30"]"#.to_owned()), "{seen:#?}");
    assert_eq!(a.ask(&["SCARD", "set"]).await, ":120");

    // Shards are added on both sides meanwhile.
    let grow = async {
        let change = json!({"default_db_config": {"shards_count": 4}});
        task(&one, "PATCH", &format!("{CRDBS}/{guid}"), &change).await
    };
    let (_, _, grown) = tokio::join!(write(&a, "a", 300), write(&b, "b", 300), grow);
    assert_eq!(grown["status"], "finished", "{grown}");
    equal(&a, &b).await;
    assert_eq!(b.ask(&["SCARD", "set"]).await, ":240");
    assert_eq!(bdb(&other, &guid).await["shard_list"].as_array().unwrap().len(), 8);

    // A replica takes over on one side while the other writes.
    let uid = bdb(&other, &guid).await["uid"].as_u64().unwrap();
    let (_, shards) = get(&other, &format!("/v1/bdbs/{uid}/shards")).await;
    let master = shards.as_array().unwrap().iter().find(|shard| shard["role"] == "master").unwrap()["uid"].clone();
    let path = format!("/v1/shards/{}/actions/failover", master.as_str().unwrap());
    let failover = async { other.all[other.master().await].call("POST", &path, &json!({})).await };
    let (_, (status, answer)) = tokio::join!(write(&a, "a", 100), failover);
    assert_eq!(status, 200, "{answer}");
    equal(&a, &b).await;
    assert_eq!(b.ask(&["SCARD", "set"]).await, ":300");

    // All of one side is away, and catches up.
    let mut other = other;
    other.all.iter_mut().for_each(common::Node::kill);
    let a = Side::new(&one, &guid).await;
    write(&a, "a", 200).await;
    other.all.iter_mut().for_each(common::Node::start);
    other.master().await;
    let b = Side::new(&other, &guid).await;
    b.reads(&["SCARD", "set"], ":360").await;
    equal(&a, &b).await;
    b.ask(&["INCRBY", "counter-0", "1000"]).await;
    a.reads(&["GET", "counter-0"], "$4 1090").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_reach_each_other_by_name_and_over_tls() {
    let (net_a, net_b) = (227, 228);
    let mut rules = Vec::new();
    for (name, net) in [("a", net_a), ("b", net_b)] {
        rules.push(format!("api-{name}.example.com:443:{}:9443", host(net, 1)));
        rules.push(format!("*.{name}.example.com:443:{}:12100", host(net, 2)));
    }
    let more = ["--resolve".to_owned(), rules.join(",")];
    let (one, other) = tokio::join!(
        Nodes::cluster_with("a.example", net_a, 2, &more),
        Nodes::cluster_with("b.example", net_b, 2, &more)
    );
    let client = redis_enterprise_simulator::tls::self_signed("client", &[]).unwrap();
    let part = |name: &str| {
        json!({"db_config": {"port": 12100, "proxy_policy": "all-nodes"}, "cluster": {
            "name": format!("{name}.example"), "url": format!("https://api-{name}.example.com:443"),
            "credentials": {"username": USER, "password": PASSWORD},
            "replication_endpoint": format!("aa.{name}.example.com:443"), "replication_tls_sni": format!("aa.{name}.example.com"),
        }})
    };
    let wanted = json!({
        // Whoever connects must show a certificate; the clusters know each other's.
        "default_db_config": {
            "name": "aa", "memory_size": 100 << 20, "tls_mode": "enabled",
            "enforce_client_authentication": "enabled", "authentication_ssl_client_certs": [{"client_cert": client.certificate}],
        },
        "instances": [part("a"), part("b")],
    });
    let done = task(&one, "POST", CRDBS, &wanted).await;
    assert_eq!(done["status"], "finished", "{done}");
    let guid = done["crdb_guid"].as_str().unwrap();
    let (a, b) = (Side::new(&one, guid).await, Side::new(&other, guid).await);
    a.in_sync().await;
    let (_, crdb) = get(&other, &format!("{CRDBS}/{guid}")).await;
    assert_eq!(crdb["instances"][0]["cluster"]["replication_tls_sni"], "aa.a.example.com");

    // A new certificate is known to the others once they are told.
    let new = redis_enterprise_simulator::tls::self_signed("b.example", &[]).unwrap();
    let new = json!({"certificates": [{"name": "syncer", "certificate": new.certificate, "key": new.key}]});
    let (status, answer) = other.all[other.master().await].call("PUT", "/v1/cluster/certificates", &new).await;
    assert_eq!(status, 200, "{answer}");
    until("a link that is refused", async || {
        let status = &bdb(&other, guid).await["crdt_sources"][0]["status"];
        (*status == "out-of-sync").then_some(())
    })
    .await;
    let forced = task(&one, "POST", &format!("{CRDBS}/{guid}/updates"), &json!({"force_update": true})).await;
    assert_eq!(forced["status"], "finished", "{forced}");
    b.in_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_do_what_their_roles_permit() {
    let nodes = Nodes::cluster_named("a.example", 235, 2).await;
    let node = &nodes.all[nodes.master().await];
    let mut ids = Vec::new();
    for (path, body) in [
        ("/v1/redis_acls", json!({"name": "apps", "acl": "~app:* +@read +set"})),
        ("/v1/roles", json!({"name": "apps", "management": "db_viewer"})),
    ] {
        let (status, made) = node.call("POST", path, &body).await;
        assert_eq!(status, 200, "{made}");
        ids.push(made["uid"].clone());
    }
    let user = json!({"email": "app@b.c", "name": "app", "password": "pw-pw-pw", "role_uids": [ids[1]]});
    assert_eq!(node.call("POST", "/v1/users", &user).await.0, 200);
    let mut wanted = body("aa", &nodes, &nodes);
    wanted["instances"].as_array_mut().unwrap().pop();
    wanted["default_db_config"]["authentication_redis_pass"] = json!("secret");
    wanted["instances"][0]["db_config"] = json!({"roles_permissions": [{"role_uid": ids[1], "redis_acl_uid": ids[0]}]});
    let done = task(&nodes, "POST", CRDBS, &wanted).await;
    assert_eq!(done["status"], "finished", "{done}");
    let side = Side::new(&nodes, done["crdb_guid"].as_str().unwrap()).await;
    assert!(side.try_ask(&["SET", "k", "v"]).await.unwrap_err().starts_with("NOAUTH"));
    let mut clients = Vec::new();
    for node in &nodes.all {
        clients.extend(redis_enterprise_simulator::resp::Connection::open(&node.host, side.port).await.ok());
    }
    let mut client = clients.pop().unwrap();
    let mut ask = async |words: &[&str]| text_of(&client.ask(words).await.unwrap());
    assert!(ask(&["AUTH", "wrong"]).await.starts_with("WRONGPASS"));
    assert!(ask(&["SET", "k", "v"]).await.starts_with("NOAUTH"));
    assert_eq!(ask(&["AUTH", "app@b.c", "pw-pw-pw"]).await, "OK");
    assert_eq!(ask(&["SET", "app:1", "v"]).await, "OK");
    assert_eq!(ask(&["GET", "app:1"]).await, "v");
    for refused in [&["SET", "k", "v"][..], &["DEL", "app:1"], &["EVAL", "return 1", "1", "app:1"]] {
        let reply = ask(refused).await;
        assert!(reply.starts_with("NOPERM"), "{refused:?}: {reply}");
    }
    assert_eq!(ask(&["AUTH", "secret"]).await, "OK");
    assert_eq!(ask(&["SET", "k", "v"]).await, "OK");
    assert_eq!(ask(&["WAIT", "1", "10000"]).await, "1");
    assert_eq!(client.ask(&["SPOP", "none"]).await.unwrap(), b"$-1\r\n");
    client.demand(&["HELLO", "3"]).await.unwrap();
    assert_eq!(client.ask(&["SPOP", "none"]).await.unwrap(), b"_\r\n", "nothing, as the newer protocol says it");
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A command on one of few keys, of any type.
    fn command(&mut self) -> Vec<String> {
        let (key, other) = (format!("k{}", self.roll(6)), format!("k{}", self.roll(6)));
        let (name, value) = (format!("m{}", self.roll(4)), self.roll(1000).to_string());
        let words: Vec<&str> = match self.roll(24) {
            0 => vec!["SET", &key, &value],
            1 => vec!["SETNX", &key, &value],
            2 => vec!["APPEND", &key, &value],
            3 | 4 => vec!["INCRBY", &key, &value],
            5 => vec!["DECR", &key],
            6 | 7 => vec!["SADD", &key, &name, &value],
            8 => vec!["SREM", &key, &name],
            9 => vec!["SPOP", &key],
            10 | 11 => vec!["HSET", &key, &name, &value],
            12 => vec!["HINCRBY", &key, &name, &value],
            13 => vec!["HDEL", &key, &name],
            14 => vec!["RPUSH", &key, &value],
            15 => vec!["ZADD", &key, &value, &name],
            16 | 17 => vec!["DEL", &key],
            18 => vec!["RENAME", &key, &other],
            19 => vec!["PEXPIRE", &key, "1"],
            20 => vec!["EXPIRE", &key, "1000"],
            21 => vec!["PERSIST", &key],
            22 => vec!["SUNIONSTORE", &key, &other, &key],
            _ => vec!["EVAL", "return redis.call('DEL', KEYS[1])", "1", &key],
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_both_sides_do_ends_equal() {
    let (one, other) = two(229).await;
    let guid = made(&one, &other, "aa").await;
    let (a, b) = (Side::new(&one, &guid).await, Side::new(&other, &guid).await);
    let mut dice = Dice(7);
    for round in 0..6 {
        // Apart in every other round.
        b.cut(round % 2 == 0).await;
        for _ in 0..150 {
            let side = if dice.roll(2) == 0 { &a } else { &b };
            let words = dice.command();
            // Many are for another type than the key has.
            let _ = side.try_ask(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        b.cut(false).await;
        a.in_sync().await;
        b.in_sync().await;
        let seen = equal(&a, &b).await;
        assert!(!seen.is_empty(), "round {round}");
        for key in 0..6 {
            let key = format!("k{key}");
            let ends = a.ask(&["PEXPIRETIME", &key]).await;
            assert_eq!(ends, b.ask(&["PEXPIRETIME", &key]).await, "{key} in round {round}");
        }
    }
}
