//! The data of Active-Active databases: what is written on one simulated cluster is read on the other, and conflicts end equal.

mod common;

use common::{
    Nodes, PASSWORD, USER,
    crdb::{CRDBS, bdb, body, get, made, task, two},
    host, until,
};
use serde_json::{Value, json};

/// A side: a cluster, and the port of its database.
struct Side<'a> {
    nodes: &'a Nodes,
    guid: &'a str,
    port: u16,
}

impl<'a> Side<'a> {
    async fn new(nodes: &'a Nodes, guid: &'a str) -> Self {
        let port = bdb(nodes, guid).await["endpoints"][0]["port"].as_u64().unwrap();
        Self { nodes, guid, port: u16::try_from(port).unwrap() }
    }

    /// One command, at whichever node the endpoint is on.
    async fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let mut last = Err("no node".to_owned());
        for node in &self.nodes.all {
            last = node.redis(self.port, "", words).await;
            if !matches!(&last, Err(error) if error.contains("refused")) {
                break;
            }
        }
        last.map(|reply| reply.trim_end().replace("\r\n", " "))
    }

    async fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    async fn reads(&self, words: &[&str], expected: &str) {
        let mut seen = String::new();
        until(&format!("{expected} for {words:?}, not {seen}"), async || {
            seen = self.try_ask(words).await.unwrap_or_else(|error| error);
            (seen == expected).then_some(())
        })
        .await;
    }

    /// All that clients can see.
    async fn everything(&self) -> Vec<String> {
        let mut all = Vec::new();
        for key in self.list(&["KEYS", "*"]).await {
            let kind = self.ask(&["TYPE", &key]).await;
            let value = match kind.as_str() {
                "+string" => vec![self.ask(&["GET", &key]).await],
                "+set" => self.list(&["SMEMBERS", &key]).await,
                "+hash" => {
                    let flat = self.words(&["HGETALL", &key]).await;
                    let mut pairs: Vec<String> = flat.chunks(2).map(|pair| pair.join("=")).collect();
                    pairs.sort();
                    pairs
                }
                "+list" => self.words(&["LRANGE", &key, "0", "-1"]).await,
                _ => self.words(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await,
            };
            all.push(format!("{key} {kind} {value:?}"));
        }
        all
    }

    async fn words(&self, words: &[&str]) -> Vec<String> {
        let reply = self.ask(words).await;
        reply.split(' ').filter(|word| !word.starts_with(['$', '*'])).map(str::to_owned).collect()
    }

    async fn list(&self, words: &[&str]) -> Vec<String> {
        let mut all = self.words(words).await;
        all.sort();
        all
    }

    async fn in_sync(&self) {
        until("links that are up", async || {
            let (_, report) = get(self.nodes, &format!("/v1/crdbs/{}/health_report", self.guid)).await;
            let up =
                report.as_array()?.iter().all(|one| one["connections"][0]["replication_links"][0]["status"] == "up");
            up.then_some(())
        })
        .await;
        assert_eq!(bdb(self.nodes, self.guid).await["crdt_sources"][0]["status"], "in-sync");
    }

    async fn cut(&self, on: bool) {
        let method = if on { "POST" } else { "DELETE" };
        let fault = if on { json!({"kind": "crdb-peer"}) } else { Value::Null };
        self.nodes.all[0].control(method, "/_sim/faults?all", &fault).await;
        if on {
            until("links that are down", async || {
                let status = &bdb(self.nodes, self.guid).await["crdt_sources"][0]["status"];
                (*status == "out-of-sync").then_some(())
            })
            .await;
        }
    }
}

async fn equal(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let mut seen = Vec::new();
    until("the same data on both sides", async || {
        seen = a.everything().await;
        (seen == b.everything().await).then_some(())
    })
    .await;
    seen
}

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

    // A replica takes over on one side while the other writes.
    let uid = bdb(&other, &guid).await["uid"].as_u64().unwrap();
    let (_, shards) = get(&other, &format!("/v1/bdbs/{uid}/shards")).await;
    let master = shards.as_array().unwrap().iter().find(|shard| shard["role"] == "master").unwrap()["uid"].clone();
    let path = format!("/v1/shards/{}/actions/failover", master.as_str().unwrap());
    let failover = async { other.all[other.master().await].call("POST", &path, &json!({})).await };
    let (_, (status, answer)) = tokio::join!(write(&a, "a", 100), failover);
    assert_eq!(status, 200, "{answer}");
    equal(&a, &b).await;
    assert_eq!(b.ask(&["SCARD", "set"]).await, ":180");
    drop((a, b));

    // All of one side is away, and catches up.
    let mut other = other;
    other.all.iter_mut().for_each(common::Node::kill);
    let a = Side::new(&one, &guid).await;
    write(&a, "a", 200).await;
    other.all.iter_mut().for_each(common::Node::start);
    other.master().await;
    let b = Side::new(&other, &guid).await;
    b.reads(&["SCARD", "set"], ":240").await;
    equal(&a, &b).await;
    b.ask(&["INCRBY", "counter-0", "1000"]).await;
    a.reads(&["GET", "counter-0"], "$4 1060").await;
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
            "name": "aa", "memory_size": 100 << 20, "tls_mode": "enabled", "enforce_client_authentication": "disabled",
        },
        "instances": [part("a"), part("b")],
    });
    let done = task(&one, "POST", CRDBS, &wanted).await;
    assert_eq!(done["status"], "finished", "{done}");
    let guid = done["crdb_guid"].as_str().unwrap();
    Side::new(&one, guid).await.in_sync().await;
    assert_eq!(
        get(&other, &format!("/v1/crdbs/{guid}")).await.1["instances"][0]["cluster"]["replication_tls_sni"],
        "aa.a.example.com"
    );
}
