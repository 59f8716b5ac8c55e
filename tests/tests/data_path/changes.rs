//! Changes of a database while a client writes to it.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_tests::databases::{apply, nodes_are_up, number, remove, settled};
use stepwright_tests::tls::Tls;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World, redis};
use stepwright_tests::writer::{Session, Writer};

use crate::{APART, SOME, answers, nothing_lost, password, session, spec, writing};

/// A setting of the redis-server behind a database, as the client of its Service reads it.
async fn setting(world: &World, name: &str, port: u16, key: &str, wanted: &str) {
    let password = password(world, name);
    let forward = world.database(&format!("service/{name}"), port, &password).await;
    until(&format!("{key} to be {wanted:?}"), SETTLES, || async {
        let said = redis(forward.port, &password, &["CONFIG", "GET", key])?;
        ensure!(said.lines().nth(1).unwrap_or_default() == wanted, "{said:?}");
        anyhow::Ok(())
    })
    .await;
}

pub(crate) async fn memory_and_eviction_change_under_load(world: &World) {
    apply(world, "memory", json!({"memorySize": "200MB", "evictionPolicy": "noeviction", "databasePort": 13001}));
    settled(world, "memory").await;
    let writer = writing(world, "memory", 13001).await;
    for (size, bytes, policy) in
        [("400MB", 400u64 << 20, "allkeys-lru"), ("150MB", 150 << 20, "volatile-ttl"), ("1GB", 1 << 30, "noeviction")]
    {
        spec(world, "memory", &json!({"memorySize": size, "evictionPolicy": policy}));
        settled(world, "memory").await;
        setting(world, "memory", 13001, "maxmemory", &bytes.to_string()).await;
        setting(world, "memory", 13001, "maxmemory-policy", policy).await;
        writer.goes_on(SOME).await;
    }
    nothing_lost(world, "memory", 13001, writer);
    remove(world, "memory").await;
}

pub(crate) async fn persistence_is_switched_under_load(world: &World) {
    apply(world, "persistent", json!({"databasePort": 13002}));
    settled(world, "persistent").await;
    let writer = writing(world, "persistent", 13002).await;
    for (persistence, key, value) in [
        ("aofEverySecond", "appendfsync", "everysec"),
        ("aofAlways", "appendfsync", "always"),
        ("snapshotEvery6Hour", "save", "21600 1"),
        ("disabled", "save", ""),
        ("aofAlways", "appendonly", "yes"),
    ] {
        spec(world, "persistent", &json!({"persistence": persistence}));
        settled(world, "persistent").await;
        setting(world, "persistent", 13002, key, value).await;
        let appends = if persistence.starts_with("aof") { "yes" } else { "no" };
        setting(world, "persistent", 13002, "appendonly", appends).await;
        writer.goes_on(SOME).await;
    }
    // Each acknowledged write is on a disk by now: the processes may go.
    let written = writer.stop().unwrap();
    let pods = world.list("pods", &format!("redis.io/bdb-{}", number(world, "persistent"))).unwrap();
    let pod = pods[0]["metadata"]["name"].as_str().unwrap();
    world.cluster.kill_container("redis", pod, "redis-enterprise-node").unwrap();
    nodes_are_up(world).await;
    settled(world, "persistent").await;
    let (key, value) = written.keys().last().unwrap();
    answers(world, "persistent", 13002, &["GET", &key], &value).await;
    let lost = written.lost(world, number(world, "persistent"), 13002, &password(world, "persistent")).unwrap();
    assert!(lost.is_empty(), "{} acknowledged writes were lost: {lost:?}", lost.len());
    remove(world, "persistent").await;
}

pub(crate) async fn replication_is_turned_on_and_off_under_load(world: &World) {
    apply(world, "replicated", json!({"memorySize": "200MB", "databasePort": 13003}));
    settled(world, "replicated").await;
    let writer = writing(world, "replicated", 13003).await;
    for (on, shards) in [(true, 2), (false, 1), (true, 2)] {
        spec(world, "replicated", &json!({"replication": on}));
        let redb = settled(world, "replicated").await;
        assert_eq!(redb["status"]["shardStatuses"]["active"], shards, "{redb}");
        writer.goes_on(SOME).await;
        if on {
            let mut session = session(world, "replicated", 13003).await;
            until("a replica that has what is written", SETTLES, || {
                let said = session.ask(&["SET", "probe", "1"]).and_then(|_| session.ask(&["WAIT", "1", "1000"]));
                async move { if said.as_deref().is_ok_and(|said| said == ":1") { Ok(()) } else { Err(said) } }
            })
            .await;
        }
    }
    nothing_lost(world, "replicated", 13003, writer);
    remove(world, "replicated").await;
}

pub(crate) async fn a_new_password_leaves_connections_that_are_open(world: &World) {
    apply(world, "rotated", json!({"databasePort": 13004}));
    settled(world, "rotated").await;
    let (uid, old) = (number(world, "rotated"), password(world, "rotated"));
    let mut open = session(world, "rotated", 13004).await;
    let writer = writing(world, "rotated", 13004).await;
    let before = writer.acknowledged();
    let patch = json!({"stringData": {"password": "of-another-kind"}});
    world.patch("secret", "redb-rotated", &patch).unwrap();
    until("the old password to be refused", SETTLES, || async {
        match Session::open(world, uid, 13004, &old) {
            Err(error) if error.to_string().contains("WRONGPASS") => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("it is taken".to_owned()),
        }
    })
    .await;
    answers(world, "rotated", 13004, &["PING"], "+PONG").await;
    assert_eq!(open.ask(&["SET", "still", "here"]).unwrap(), "+OK", "a connection that was open");
    assert_eq!(open.ask(&["GET", "still"]).unwrap(), "here");
    // The client has the old one only: it could not have connected anew.
    writer.goes_on(SOME).await;
    assert!(writer.acknowledged() > before);
    settled(world, "rotated").await;
    nothing_lost(world, "rotated", 13004, writer);
    remove(world, "rotated").await;
}

/// A certificate that signed itself, and its key, in PEM.
fn client() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

pub(crate) async fn tls_is_turned_on_and_asks_for_certificates(world: &World) {
    apply(world, "secured", json!({"databasePort": 13005}));
    settled(world, "secured").await;
    let writer = writing(world, "secured", 13005).await;
    spec(world, "secured", &json!({"tlsMode": "enabled"}));
    settled(world, "secured").await;
    let written = writer.stop().unwrap();
    let password = password(world, "secured");
    let pods = world.list("pods", &format!("redis.io/bdb-{}", number(world, "secured"))).unwrap();
    let address = world.address(pods[0]["metadata"]["name"].as_str().unwrap()).unwrap();
    let tls = Tls::of(world).unwrap();
    until("an answer over TLS", SETTLES, || async {
        let said = tls.redis(address, 13005, &password, &["PING"])?;
        ensure!(said == "PONG", "{said}");
        anyhow::Ok(())
    })
    .await;
    for (key, value) in written.keys() {
        assert_eq!(tls.redis(address, 13005, &password, &["GET", &key]).unwrap(), value, "{key} was lost");
    }
    let plain = Session::open(world, number(world, "secured"), 13005, &password);
    assert!(plain.is_err(), "it answers without TLS");

    // From now on clients have to show a certificate; first one, then another.
    let (ours, theirs) = (client(), client());
    let secret = |name: &str, certificate: &str| {
        let certificate = format!("--from-literal=cert={certificate}");
        world.kubectl(&["create", "secret", "generic", name, &certificate]).unwrap();
    };
    secret("secured-one", &ours.0);
    secret("secured-two", &theirs.0);
    let shows = |pair: &(String, String)| Tls::of(world).unwrap().with_client(&pair.0, &pair.1).unwrap();
    let (one, two) = (shows(&ours), shows(&theirs));
    for (name, lets_in, keeps_out) in [("secured-one", &one, &two), ("secured-two", &two, &one)] {
        spec(world, "secured", &json!({"clientAuthenticationCertificates": [name]}));
        settled(world, "secured").await;
        until("the certificate to be asked for", SETTLES, || async {
            let known = lets_in.redis(address, 13005, &password, &["PING"])?;
            let others = [keeps_out, &tls].map(|it| it.redis(address, 13005, &password, &["PING"]).unwrap_or_default());
            let out = others.iter().all(|said| !said.contains("PONG"));
            if known == "PONG" && out { Ok(()) } else { bail!("{known:?} {others:?}") }
        })
        .await;
    }
    spec(world, "secured", &json!({"clientAuthenticationCertificates": null}));
    settled(world, "secured").await;
    until("no certificate to be asked for", SETTLES, || async {
        let said = tls.redis(address, 13005, &password, &["PING"])?;
        ensure!(said == "PONG", "{said}");
        anyhow::Ok(())
    })
    .await;
    remove(world, "secured").await;
    world.kubectl(&["delete", "secret", "secured-one", "secured-two"]).unwrap();
}

/// Those that lead clients elsewhere are not lost with a node: they run on another machine.
async fn lookers_on_are_apart(world: &World) {
    let others = ["worker-1", "worker-2", "worker-3"];
    for worker in others {
        world.kubectl(&["cordon", worker]).unwrap();
    }
    for label in ["name=redis-enterprise-operator", "name=services-rigger"] {
        world.kubectl(&["delete", "pods", "-l", label, "--wait=true"]).unwrap();
        until("another pod, apart", FORMS, || async {
            let pods = world.list("pods", label)?;
            let ready = |pod: &Value| {
                let all = pod["status"]["conditions"].as_array();
                all.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True")
            };
            let apart = pods.len() == 1 && pods.iter().all(|pod| pod["spec"]["nodeName"] == APART && ready(pod));
            if apart { Ok(()) } else { bail!("{} pods", pods.len()) }
        })
        .await;
    }
    for worker in others {
        world.kubectl(&["uncordon", worker]).unwrap();
    }
}

pub(crate) async fn a_lost_node_loses_no_acknowledged_write(world: &World) {
    lookers_on_are_apart(world).await;
    apply(world, "survivor", json!({"memorySize": "200MB", "replication": true, "databasePort": 13006}));
    settled(world, "survivor").await;
    let (uid, password) = (number(world, "survivor"), password(world, "survivor"));
    let writer = Writer::start(world, uid, 13006, &password, "w-").unwrap();
    writer.goes_on(SOME).await;
    let at = |world: &World| -> anyhow::Result<String> {
        let shards = world.rest("GET", "/v1/shards", None)?;
        let mut shards = shards.as_array().into_iter().flatten();
        let master = shards.find(|shard| shard["bdb_uid"] == uid && shard["role"] == "master");
        let Some(node) = master.map(|shard| shard["node_uid"].to_string()) else { bail!("it has no master") };
        let node = world.rest("GET", &format!("/v1/nodes/{}", node.trim_matches('"')), None)?;
        let pods = world.list("pods", "redis.io/role=node")?;
        let pod = pods.iter().find(|pod| pod["status"]["podIP"] == node["addr"]);
        Ok(pod.and_then(|pod| pod["metadata"]["name"].as_str()).unwrap_or_default().to_owned())
    };
    let lost = at(world).unwrap();
    let machine = world.kubectl(&["get", "pod", &lost, "-o", "jsonpath={.spec.nodeName}"]).unwrap();
    world.cluster.set_node_power(&machine, false).await.unwrap();
    let now = until("the replica to take over", SETTLES, || async {
        let now = at(world)?;
        if now.is_empty() || now == lost { bail!("{now:?}") } else { Ok(now) }
    })
    .await;
    // It serves, before the lost one is back.
    answers(world, "survivor", 13006, &["SET", "after", "the loss"], "+OK").await;
    let labelled = world.uids("pods", &format!("redis.io/bdb-{uid}")).unwrap();
    assert!(labelled.contains_key(&now), "{labelled:?}");
    world.cluster.set_node_power(&machine, true).await.unwrap();
    nodes_are_up(world).await;
    settled(world, "survivor").await;
    writer.goes_on(SOME).await;
    let written = writer.stop().unwrap();
    println!("survivor: {} writes, the longest gap {:?}", written.acknowledged.len(), written.longest_gap);
    let lost = written.lost(world, uid, 13006, &password).unwrap();
    assert!(lost.is_empty(), "{} acknowledged writes were lost: {lost:?}", lost.len());
    answers(world, "survivor", 13006, &["GET", "after"], "the loss").await;
    remove(world, "survivor").await;
}
