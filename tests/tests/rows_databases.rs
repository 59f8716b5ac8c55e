//! Rows of the checklist about databases: what a RedisEnterpriseDatabase says, what comes of it, and how clients reach it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::checklist;
use stepwright_tests::databases::{self, apply, bdb, nodes_are_up, remove, settled};
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World, redis};

/// Pods are labelled anew, and so Services follow, within this after the cluster moved an endpoint.
const FOLLOWS: Duration = Duration::from_secs(2);
/// How long a hundred databases may take to be there: each is a process of its own here.
const MANY: Duration = Duration::from_secs(600);
/// How long a hundred databases are watched at rest.
const REST: Duration = Duration::from_secs(15);
const PORT: u16 = 19621;

fn main() {
    let rows = vec![
        row!(48, row_48_a_database_is_made),
        row!(49, row_49_fields_reach_the_database)
            .instead("modules are not simulated: how they reach the call is a golden test of the step"),
        row!(50, row_50_status),
        row!(51, row_51_name_of_the_secret),
        row!(52, row_52_keys_of_the_secret),
        row!(53, row_53_a_secret_made_beforehand),
        row!(54, row_54_login),
        row!(55, row_55_a_changed_password_leaves_open_connections),
        row!(56, row_56_services),
        row!(57, row_57_kinds_of_services),
        row!(58, row_58_pods_are_labelled_and_services_follow_a_failover),
        row!(59, row_59_through_a_port_forward),
        row!(60, row_60_updates_keep_data),
        row!(62, row_62_an_illegal_eviction_policy_is_refused),
        row!(66, row_66_a_cluster_elsewhere_is_refused),
        row!(74, row_74_data_outlives_pods),
        row!(76, row_76_from_a_client_within_the_cluster).instead(
            "the development cluster has no DNS: the client in a pod takes the address from the EndpointSlice",
        ),
        row!(97, row_97_a_hundred_databases_at_rest),
    ];
    checklist::main("rows_databases", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    // With room for a hundred databases of the least size there is: nodes of the simulator have what they are told to claim.
    let sample = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    let mut cluster: Value = serde_yaml_ng::from_str(&sample).unwrap();
    cluster["spec"]["extraEnvVars"] = json!([{"name": "SIM_MEMORY", "value": (8_u64 << 30).to_string()}]);
    world.kubectl_with_input(&["apply", "-f", "-"], &cluster.to_string()).unwrap();
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    databases::license(world, 400).await;
    world.sample_database().await.unwrap();
    world.kubectl(&["wait", "--for=condition=Ready", "redb/mydb", "--timeout=180s"]).unwrap();
}

async fn row_48_a_database_is_made(world: &World) {
    let started = Instant::now();
    apply(world, "row48", json!({"memorySize": "100MB"}));
    let redb = settled(world, "row48").await;
    assert!(started.elapsed() < Duration::from_secs(60), "it took {:?}", started.elapsed());
    assert_eq!((&redb["status"]["status"], &redb["status"]["specStatus"]), (&json!("active"), &json!("Valid")));
    // Found by itself: the only cluster of the namespace.
    assert_eq!(redb["status"]["redisEnterpriseCluster"], "rec");
    assert!(bdb(world, "row48").is_some());
    remove(world, "row48").await;
    assert!(bdb(world, "row48").is_none(), "the resource is gone and the database is not");
}

async fn row_49_fields_reach_the_database(world: &World) {
    let fields = json!({
        "memorySize": "0.2GB", "shardCount": 2, "replication": true, "shardsPlacement": "sparse",
        "persistence": "snapshotEvery6Hour", "evictionPolicy": "allkeys-lfu", "proxyPolicy": "all-master-shards",
        "databasePort": 12012,
    });
    apply(world, "row49", fields);
    settled(world, "row49").await;
    let found = bdb(world, "row49").unwrap();
    let wanted = json!({
        "memory_size": 214_748_364, "shards_count": 2, "sharding": true, "replication": true,
        "shards_placement": "sparse", "data_persistence": "snapshot", "snapshot_policy": [{"secs": 21_600, "writes": 1}],
        "eviction_policy": "allkeys-lfu", "proxy_policy": "all-master-shards", "port": 12_012,
    });
    for (field, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&found[field], wanted, "{field} of {found}");
    }
    assert_eq!(found["shard_list"].as_array().map(Vec::len), Some(4), "{found}");
    // And what is changed later.
    apply(
        world,
        "row49",
        json!({"memorySize": "300MB", "shardCount": 2, "persistence": "aofEverySecond", "databasePort": 12012}),
    );
    settled(world, "row49").await;
    let found = bdb(world, "row49").unwrap();
    assert_eq!(found["memory_size"], 314_572_800, "{found}");
    assert_eq!((&found["data_persistence"], &found["aof_policy"]), (&json!("aof"), &json!("appendfsync-every-sec")));
    assert_eq!((&found["replication"], &found["eviction_policy"]), (&json!(false), &json!("volatile-lru")));
    remove(world, "row49").await;
}

async fn row_50_status(world: &World) {
    let redb = world.get("redb", "mydb").unwrap();
    let status = &redb["status"];
    let found = bdb(world, "mydb").unwrap();
    assert_eq!(status["databaseUID"], found["uid"].to_string());
    assert_eq!(status["internalEndpoints"], json!([{"host": "redis-19621.rec.redis.svc.cluster.local", "port": PORT}]));
    assert_eq!((&status["redisEnterpriseCluster"], &status["shardStatuses"]), (&json!("rec"), &json!({"active": 1})));
    assert_eq!(status["observedGeneration"], redb["metadata"]["generation"]);
    assert_eq!((&status["createdTime"], &status["version"]), (&found["created_time"], &found["version"]));
    assert_eq!(status["lastUpdated"], found["last_changed_time"]);
    assert_eq!((&status["lastActionUid"], &status["lastActionStatus"]), (&found["action_uid"], &json!("completed")));
    assert_eq!(redb["metadata"]["finalizers"], json!(["finalizer.redisenterprisedatabases.app.redislabs.com"]));
    let row = world.kubectl(&["get", "redb", "mydb", "--no-headers"]).unwrap();
    assert!(row.contains("19621") && row.contains("active") && row.contains("Valid"), "{row}");
}

async fn row_51_name_of_the_secret(world: &World) {
    let name = world.kubectl(&["get", "redb", "mydb", "-o", "jsonpath={.spec.databaseSecretName}"]).unwrap();
    assert_eq!(name, "redb-mydb");
}

async fn row_52_keys_of_the_secret(world: &World) {
    let secret = world.get("secret", "redb-mydb").unwrap();
    let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["password", "port", "service_names"]);
    assert_eq!(world.secret("redb-mydb", "port").unwrap(), "19621");
    assert_eq!(world.secret("redb-mydb", "service_names").unwrap(), "mydb,mydb-headless");
    assert!(world.secret("redb-mydb", "password").unwrap().len() >= 16);
    // Deleted, it is made again with the same content: the password is the database's own.
    world.kubectl(&["delete", "secret", "redb-mydb"]).unwrap();
    until("the Secret to be made again", SETTLES, || async { world.secret("redb-mydb", "service_names") }).await;
    settled(world, "mydb").await;
    let password = world.secret("redb-mydb", "password").unwrap();
    let forward = world.database("service/mydb", PORT, &password).await;
    assert_eq!(redis(forward.port, &password, &["PING"]).unwrap(), "PONG");
}

async fn row_53_a_secret_made_beforehand(world: &World) {
    world.kubectl(&["create", "secret", "generic", "row53-login", "--from-literal=password=of-the-user"]).unwrap();
    apply(world, "row53", json!({"databaseSecretName": "row53-login", "databasePort": 12053}));
    settled(world, "row53").await;
    assert_eq!(world.secret("row53-login", "password").unwrap(), "of-the-user");
    assert_eq!(world.secret("row53-login", "service_names").unwrap(), "row53,row53-headless");
    assert!(world.get("secret", "redb-row53").is_err(), "a second Secret was made");
    let forward = world.database("service/row53", 12053, "of-the-user").await;
    drop(forward);
    remove(world, "row53").await;
    // It is the user's, and stays.
    assert_eq!(world.secret("row53-login", "password").unwrap(), "of-the-user");
    world.kubectl(&["delete", "secret", "row53-login"]).unwrap();
}

async fn row_54_login(world: &World) {
    let password = world.secret("redb-mydb", "password").unwrap();
    let forward = world.database("service/mydb", PORT, &password).await;
    assert_eq!(redis(forward.port, &password, &["PING"]).unwrap(), "PONG");
    let refused = redis(forward.port, "", &["PING"]).unwrap();
    assert!(refused.contains("NOAUTH"), "without a password: {refused:?}");
    let refused = redis(forward.port, "wrong", &["PING"]).unwrap();
    assert!(refused.contains("WRONGPASS"), "with a wrong one: {refused:?}");
}

async fn row_55_a_changed_password_leaves_open_connections(world: &World) {
    let before = world.secret("redb-mydb", "password").unwrap();
    let address = listening(world, "mydb").unwrap().into_iter().next().unwrap();
    let mut open = Session::open(address, PORT);
    assert_eq!(open.say(&format!("AUTH {before}")), "+OK");
    let states = databases::States::of(world, "mydb");
    let set = |password: &str| {
        let patch = json!({"stringData": {"password": password}}).to_string();
        world.kubectl(&["patch", "secret", "redb-mydb", "--type=merge", "-p", &patch]).unwrap();
    };
    set("another-one");
    let forward = world.database("service/mydb", PORT, "another-one").await;
    let refused = redis(forward.port, &before, &["PING"]).unwrap();
    assert!(refused.contains("WRONGPASS"), "with the old one: {refused:?}");
    assert_eq!(open.say("PING"), "+PONG", "the connection that was open");
    until("the states that the change goes through", SETTLES, || async {
        let seen = states.seen();
        let pending = seen.iter().position(|state| state == "active-change-pending");
        match pending.map(|at| seen[at..].iter().any(|state| state == "active")) {
            Some(true) => Ok(()),
            _ => Err(seen),
        }
    })
    .await;
    set(&before);
    drop(world.database("service/mydb", PORT, &before).await);
    settled(world, "mydb").await;
}

async fn row_56_services(world: &World) {
    let uid = bdb(world, "mydb").unwrap()["uid"].to_string();
    let selector = json!({format!("redis.io/bdb-{uid}"): uid});
    for name in ["mydb", "mydb-headless"] {
        let service = world.get("service", name).unwrap();
        let port = &service["spec"]["ports"][0];
        assert_eq!((&port["name"], &port["port"], &port["targetPort"]), (&json!("redis"), &json!(PORT), &json!(PORT)));
        assert_eq!(service["spec"]["selector"], selector);
        assert_eq!(service["spec"]["type"], "ClusterIP");
        assert_eq!(service["spec"]["clusterIP"] == "None", name == "mydb-headless");
        assert_eq!(service["metadata"]["ownerReferences"][0]["name"], "rec", "{service}");
    }
    // The port of the Services changes at will, that of the database never.
    let spec = |port: Value| json!({"spec": {"databaseServicePort": port}}).to_string();
    world.kubectl(&["patch", "redb", "mydb", "--type=merge", "-p", &spec(json!(7000))]).unwrap();
    service_port(world, "mydb", 7000).await;
    world.kubectl(&["patch", "redb", "mydb", "--type=merge", "-p", &spec(Value::Null)]).unwrap();
    service_port(world, "mydb", PORT).await;
    settled(world, "mydb").await;
}

async fn service_port(world: &World, name: &str, wanted: u16) {
    until("the Service's port", SETTLES, || async {
        let service = world.get("service", name).unwrap();
        let port = &service["spec"]["ports"][0];
        if port["port"] == wanted && port["targetPort"] == PORT { Ok(()) } else { Err(port.clone()) }
    })
    .await;
}

async fn row_57_kinds_of_services(world: &World) {
    let rigger = |spec: Value| {
        let patch = json!({"spec": {"servicesRiggerSpec": spec}}).to_string();
        world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &patch]).unwrap();
    };
    rigger(json!({"databaseServiceType": "cluster_ip,headless,load_balancer"}));
    let balancer = until("the third Service", SETTLES, || async { world.get("service", "mydb-load-balancer") }).await;
    assert_eq!(balancer["spec"]["type"], "LoadBalancer");
    // What others write on it stays.
    world.kubectl(&["annotate", "service", "mydb", "example.com/foreign=kept"]).unwrap();
    rigger(json!({"databaseServiceType": "cluster_ip,headless", "databaseServicePortPolicy": "RedisDefaultPort"}));
    world.gone("service", "mydb-load-balancer").await;
    service_port(world, "mydb", 6379).await;
    let service = world.get("service", "mydb").unwrap();
    assert_eq!(service["metadata"]["annotations"]["example.com/foreign"], "kept");
    rigger(
        json!({"databaseServiceType": "cluster_ip", "databaseServicePortPolicy": null, "serviceNaming": "redis-port"}),
    );
    world.gone("service", "mydb").await;
    world.gone("service", "mydb-headless").await;
    until("the Service by port", SETTLES, || async { world.get("service", "redis-19621") }).await;
    rigger(Value::Null);
    world.gone("service", "redis-19621").await;
    until("both again", SETTLES, || async {
        world.get("service", "mydb")?;
        world.get("service", "mydb-headless")
    })
    .await;
    settled(world, "mydb").await;
}

/// Addresses at which a database's proxies listen, as the cluster says.
fn listening(world: &World, name: &str) -> Option<BTreeSet<Ipv4Addr>> {
    let found = bdb(world, name)?;
    let all = found["endpoints"].as_array()?.iter().flat_map(|it| it["addr"].as_array().cloned().unwrap_or_default());
    Some(all.map(|address| stepwright_dev_cluster::loopback(address.as_str().unwrap().parse().unwrap())).collect())
}

/// Addresses of the pods that are labelled as serving a database.
fn labelled(world: &World, uid: u64) -> anyhow::Result<BTreeSet<Ipv4Addr>> {
    let pods = world.list("pods", &format!("redis.io/bdb-{uid}={uid}"))?;
    let address = |pod: &Value| stepwright_dev_cluster::loopback(pod["status"]["podIP"].as_str()?.parse().ok()?).into();
    Ok(pods.iter().filter_map(address).collect())
}

async fn row_58_pods_are_labelled_and_services_follow_a_failover(world: &World) {
    apply(world, "row58", json!({"replication": true, "databasePort": 12058}));
    settled(world, "row58").await;
    let uid = bdb(world, "row58").unwrap()["uid"].as_u64().unwrap();
    let follow = async |listening: &BTreeSet<Ipv4Addr>| {
        until("the labels to follow the proxy", SETTLES, || async {
            let found = labelled(world, uid)?;
            if &found == listening { Ok(()) } else { anyhow::bail!("{found:?}") }
        })
        .await;
    };
    let before = listening(world, "row58").unwrap();
    assert_eq!(before.len(), 1);
    follow(&before).await;
    // Once without a word to Kubernetes, and once more back.
    for _ in 0..2 {
        let before = listening(world, "row58").unwrap();
        // Refused until the replica is in sync.
        until("the failover", SETTLES, || async {
            let shards = world.rest("GET", "/v1/shards", None)?;
            let mut shards = shards.as_array().into_iter().flatten();
            let master = shards.find(|shard| shard["bdb_uid"] == uid && shard["role"] == "master");
            let master = master.and_then(|shard| shard["uid"].as_str()).unwrap_or_default().to_owned();
            world.rest("POST", &format!("/v1/shards/{master}/actions/failover"), Some(&json!({})))
        })
        .await;
        let after = until("the proxy to move", SETTLES, || async {
            let after = listening(world, "row58").unwrap();
            if after == before { Err(after) } else { Ok(after) }
        })
        .await;
        let moved = Instant::now();
        follow(&after).await;
        assert!(moved.elapsed() < FOLLOWS, "the Services followed after {:?}", moved.elapsed());
        until("the failover to be over", SETTLES, || async {
            let bdb = bdb(world, "row58").unwrap();
            if bdb["status"] == "active" { Ok(()) } else { Err(bdb) }
        })
        .await;
    }
    let password = world.secret("redb-row58", "password").unwrap();
    drop(world.database("service/row58", 12058, &password).await);
    remove(world, "row58").await;
    assert_eq!(labelled(world, uid).unwrap(), BTreeSet::new(), "a label outlived its database");
}

async fn row_59_through_a_port_forward(world: &World) {
    let password = world.secret("redb-mydb", "password").unwrap();
    let forward = world.database("service/mydb", PORT, &password).await;
    assert_eq!(redis(forward.port, &password, &["SET", "row59", "yes"]).unwrap(), "OK");
    assert_eq!(redis(forward.port, &password, &["GET", "row59"]).unwrap(), "yes");
    let info = redis(forward.port, &password, &["INFO"]).unwrap();
    assert!(info.contains("role:master") && info.contains("redis_version:"), "{info}");
    assert_eq!(redis(forward.port, &password, &["DEL", "row59"]).unwrap(), "1");
}

async fn row_60_updates_keep_data(world: &World) {
    apply(world, "row60", json!({"memorySize": "256MB", "databasePort": 12060}));
    settled(world, "row60").await;
    let password = world.secret("redb-row60", "password").unwrap();
    let forward = world.database("service/row60", 12060, &password).await;
    assert_eq!(redis(forward.port, &password, &["SET", "kept", "yes"]).unwrap(), "OK");
    let limit = async |wanted: &str| {
        until("the memory limit of the shard", SETTLES, || async {
            let found = redis(forward.port, &password, &["CONFIG", "GET", "maxmemory"]).unwrap();
            if found.lines().nth(1) == Some(wanted) { Ok(()) } else { Err(found) }
        })
        .await;
    };
    limit("268435456").await;
    apply(world, "row60", json!({"memorySize": "512MB", "replication": true, "databasePort": 12060}));
    let redb = settled(world, "row60").await;
    assert_eq!(redb["status"]["shardStatuses"]["active"], 2);
    // Over a master and a replica.
    limit("268435456").await;
    apply(world, "row60", json!({"memorySize": "1GB", "persistence": "aofEverySecond", "databasePort": 12060}));
    settled(world, "row60").await;
    limit("1073741824").await;
    assert_eq!(redis(forward.port, &password, &["GET", "kept"]).unwrap(), "yes");
    drop(forward);
    remove(world, "row60").await;
}

async fn row_62_an_illegal_eviction_policy_is_refused(world: &World) {
    let illegal = databases::manifest("row62", json!({"evictionPolicy": "illegal"}));
    let refused = world.kubectl_with_input(&["apply", "-f", "-"], &illegal.to_string()).unwrap_err().to_string();
    for policy in ["volatile-lru", "allkeys-lfu", "noeviction"] {
        assert!(refused.contains(policy), "{refused}");
    }
    assert!(world.get("redb", "row62").is_err());
}

async fn row_66_a_cluster_elsewhere_is_refused(world: &World) {
    apply(world, "row66", json!({"redisEnterpriseCluster": {"name": "elsewhere"}}));
    let redb = world.field("redb", "row66", "/status/specStatus", "Invalid", SETTLES).await;
    let ready = databases::condition(&redb, "Ready");
    assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("False"), Some("InvalidConfiguration")));
    for word in ["spec.redisEnterpriseCluster.name", "`elsewhere` not found", "`rec`"] {
        assert!(ready["message"].as_str().unwrap().contains(word), "{ready}");
    }
    until("an Event", SETTLES, || async {
        let events = world.kubectl(&["get", "events", "--field-selector=involvedObject.name=row66"]).unwrap();
        if events.contains("elsewhere") { Ok(()) } else { Err(events) }
    })
    .await;
    assert!(bdb(world, "row66").is_none());
    world.kubectl(&["delete", "redb", "row66"]).unwrap();
}

async fn row_74_data_outlives_pods(world: &World) {
    apply(
        world,
        "row74",
        json!({"persistence": "aofAlways", "shardCount": 2, "shardsPlacement": "sparse", "databasePort": 12074}),
    );
    settled(world, "row74").await;
    let password = world.secret("redb-row74", "password").unwrap();
    {
        let forward = world.database("service/row74", 12074, &password).await;
        for key in 0..20 {
            assert_eq!(redis(forward.port, &password, &["SET", &format!("key-{key}"), "kept"]).unwrap(), "OK");
        }
    }
    for pod in ["rec-0", "rec-1", "rec-2"] {
        let uid = world.get("pod", pod).unwrap()["metadata"]["uid"].clone();
        world.kubectl(&["delete", "pod", pod]).unwrap();
        until("the pod to be another one", SETTLES, || async {
            let now = world.get("pod", pod)?;
            if now["metadata"]["uid"] != uid { Ok(()) } else { anyhow::bail!("still the old one") }
        })
        .await;
        nodes_are_up(world).await;
    }
    settled(world, "row74").await;
    let forward = world.database("service/row74", 12074, &password).await;
    for key in 0..20 {
        let key = format!("key-{key}");
        until("the key", SETTLES, || async {
            let found = redis(forward.port, &password, &["GET", &key]).unwrap();
            if found == "kept" { Ok(()) } else { Err(found) }
        })
        .await;
    }
    drop(forward);
    remove(world, "row74").await;
    world.field("rec", "rec", "/status/state", "Running", FORMS).await;
    settled(world, "mydb").await;
}

async fn row_76_from_a_client_within_the_cluster(world: &World) {
    let password = world.secret("redb-mydb", "password").unwrap();
    let address = until("an address behind the Service", SETTLES, || async {
        let slices = world.list("endpointslices", "kubernetes.io/service-name=mydb")?;
        let address = slices.iter().find_map(|slice| slice["endpoints"][0]["addresses"][0].as_str());
        let address = address.ok_or_else(|| anyhow::anyhow!("{slices:?}"))?;
        Ok::<_, anyhow::Error>(stepwright_dev_cluster::loopback(address.parse()?))
    })
    .await;
    let ping = format!("REDISCLI_AUTH={password} redis-cli -h {address} -p {PORT} PING");
    for pod in ["rec-0", "rec-1", "rec-2"] {
        assert_eq!(world.kubectl(&["exec", pod, "--", "bash", "-lc", &ping]).unwrap().trim(), "PONG");
    }
}

async fn row_97_a_hundred_databases_at_rest(world: &World) {
    let names: Vec<String> = (0..100).map(|number| format!("row97-{number}")).collect();
    let all: Vec<Value> = names.iter().map(|name| databases::manifest(name, json!({"memorySize": "100MB"}))).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string();
    world.kubectl_with_input(&["apply", "-f", "-"], &list).unwrap();
    let path = "jsonpath={range .items[*]}{.status.status}{\"\\n\"}{end}";
    until("a hundred databases", MANY, || async {
        let states = world.kubectl(&["get", "redb", "-o", path]).unwrap();
        let active = states.lines().filter(|state| *state == "active").count();
        if active == 101 { Ok(()) } else { Err(active) }
    })
    .await;
    let calm = until("them to come to rest", MANY, || async {
        let before = writes(world)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = writes(world)?;
        if before == after { Ok(after) } else { anyhow::bail!("{before:?} {after:?}") }
    })
    .await;
    let (reads, changes) = world.system_requests().unwrap();
    tokio::time::sleep(REST).await;
    assert_eq!(writes(world).unwrap(), calm, "the operator wrote at rest");
    let (reads_after, changes_after) = world.system_requests().unwrap();
    assert_eq!(changes_after, changes, "the operator changed something at rest");
    // No more than one database would cost: the number does not grow with them.
    assert!(reads_after - reads < 100.0, "{} reads of the REST API in {REST:?}", reads_after - reads);
    let mut delete = vec!["delete", "redb", "--wait=false"];
    delete.extend(names.iter().map(String::as_str));
    world.kubectl(&delete).unwrap();
    until("them to be gone", MANY, || async {
        let left = world.rest("GET", "/v1/bdbs", None)?.as_array().map_or(0, Vec::len);
        let resources = world.kubectl(&["get", "redb", "-o", "name"])?.lines().count();
        let services = world.list("services", "app=redis-enterprise")?;
        let services =
            services.iter().filter(|it| it["metadata"]["name"].as_str().is_some_and(|it| it.starts_with("row97")));
        match (left, resources, services.count()) {
            (1, 1, 0) => Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    })
    .await;
}

/// Writes of the operator to the API server, by its own count.
fn writes(world: &World) -> anyhow::Result<BTreeMap<String, f64>> {
    let address = world.address(&world.operator_pod()?)?;
    let (_, text) = stepwright_tests::world::http(address, 8080, "GET", "/metrics", None, None)?;
    let lines = text.lines().filter(|line| line.starts_with("stepwright_writes_total{"));
    let series = lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    Ok(series.collect())
}

/// A connection to a database that stays open.
struct Session(BufReader<TcpStream>);

impl Session {
    fn open(address: Ipv4Addr, port: u16) -> Self {
        let stream = TcpStream::connect((address, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    /// One command; the first line of the answer.
    fn say(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
