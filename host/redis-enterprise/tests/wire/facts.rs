//! Facts over the wire: one answer for many askers, the rate of asking, what counts as a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Answer, Cluster, Seen, member, pod, quiet, until};
use serde_json::{Value, json};
use stepwright_operator::system::ManagedSystem;
use stepwright_redis_enterprise::Settings;
use tokio::sync::broadcast::error::TryRecvError;

fn fast() -> Settings {
    Settings {
        rest_interval: Duration::from_millis(40),
        moving_interval: Duration::from_millis(10),
        full_interval: Duration::from_secs(3600),
        settle: Duration::ZERO,
        ..Settings::default()
    }
}

/// A healthy member that also sends the number of its configuration.
fn numbered(number: Arc<AtomicU64>) -> impl Fn(&Seen) -> Answer {
    move |seen| match member(seen) {
        Answer::Json(200, body) => {
            let headers = vec![
                ("content-type", "application/json".to_owned()),
                ("cluster-state-id", number.load(Ordering::SeqCst).to_string()),
            ];
            Answer::Raw(200, headers, body.to_string())
        }
        other => other,
    }
}

#[tokio::test]
async fn a_hundred_askers_share_one_answer() {
    let cluster = Cluster::start(1, quiet()).await;
    let answers = futures::future::join_all((0..100).map(|_| cluster.fact("bdbs"))).await;
    assert!(answers.iter().all(|answer| answer.is_ok() && answer == &answers[0]));
    assert_eq!(cluster.nodes[0].count("GET", "/v1/bdbs"), 1);
    cluster.fact("bdbs").await.unwrap();
    assert_eq!(cluster.nodes[0].count("GET", "/v1/bdbs"), 1);
}

#[tokio::test]
async fn facts_come_in_the_order_asked_for_and_strange_ones_say_so() {
    let cluster = Cluster::start(1, quiet()).await;
    let facts = cluster.facts(&["policy", "nothing", "bdbs", "license"]).await;
    let names: Vec<&str> = facts.iter().map(|fact| fact.name.as_str()).collect();
    assert_eq!(names, ["policy", "nothing", "bdbs", "license"]);
    assert!(facts[1].value.as_ref().unwrap_err().contains("bootstrap"));
    assert_eq!(facts[3].value.as_deref(), Ok("{}"));
}

#[tokio::test]
async fn equal_passwords_have_equal_fingerprints() {
    let cluster = Cluster::start(1, quiet()).await;
    let bdbs: Value = serde_json::from_str(&cluster.fact("bdbs").await.unwrap()).unwrap();
    let mut secret = json!({"data": {"password": "czNjcmV0"}});
    cluster.fingerprinter.fingerprint_secret_object(&mut secret);
    assert_eq!(bdbs[0]["authentication_redis_pass"], secret["data"]["password"]);
}

#[tokio::test]
async fn at_rest_only_the_status_of_nodes_is_read() {
    let cluster = Cluster::start(3, fast()).await;
    let number = Arc::new(AtomicU64::new(7));
    for node in &cluster.nodes {
        node.answer(numbered(number.clone()));
    }
    let all = ["bootstrap", "nodes", "nodes-status", "cluster", "policy", "license", "bdbs", "modules"];
    cluster.facts(&all).await;
    let seen = cluster.nodes[0].seen.clone();
    let status = || cluster.nodes[0].count("GET", "/v1/nodes/status");
    until("the first readings to be over", || status() >= 3).await;
    let from = seen.lock().len();
    until("ten looks", || seen.lock().len() >= from + 10).await;
    let looks: Vec<Seen> = seen.lock().iter().skip(from).cloned().collect();
    for pair in looks.windows(2) {
        assert_eq!(pair[1].path, "/v1/nodes/status");
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(40), "{:?}", pair[1].at - pair[0].at);
    }
    let others: usize = cluster.nodes[1..].iter().map(|node| node.seen.lock().len()).sum();
    assert_eq!(others, 2, "the other nodes were asked for their bootstrap, once");
    // Another number: everything is read again.
    let bdbs = cluster.nodes[0].count("GET", "/v1/bdbs");
    number.store(8, Ordering::SeqCst);
    until("the databases to be read again", || cluster.nodes[0].count("GET", "/v1/bdbs") == bdbs + 1).await;
}

#[tokio::test]
async fn what_moves_at_rest_is_no_change_and_what_counts_is_one() {
    let cluster = Cluster::start(1, fast()).await;
    let mut changes = cluster.source.changes();
    let counter = AtomicU64::new(0);
    let hostname = Arc::new(parking_lot::Mutex::new("rec-0"));
    let shown = hostname.clone();
    cluster.nodes[0].answer(move |seen| {
        let count = counter.fetch_add(1, Ordering::SeqCst);
        match (&seen.authorization, seen.path.as_str()) {
            (Some(_), "/v1/nodes/status") => Answer::Json(
                200,
                json!({"1": {"hostname": *shown.lock(), "node_status": "active",
                "free_ram": 1_000_000 + count, "uptime": count}}),
            ),
            (Some(_), "/v1/nodes") => {
                Answer::Json(200, json!([{"uid": 1, "status": "active", "uptime": count, "system_time": count}]))
            }
            _ => member(seen),
        }
    });
    cluster.facts(&["nodes", "nodes-status"]).await;
    let looks = || cluster.nodes[0].count("GET", "/v1/nodes");
    until("six looks", || looks() >= 6).await;
    assert_eq!(changes.try_recv().err(), Some(TryRecvError::Empty));
    *hostname.lock() = "rec-9";
    assert_eq!(changes.recv().await.unwrap().system, cluster.system);
    assert!(cluster.fact("nodes-status").await.unwrap().contains("rec-9"));
}

#[tokio::test]
async fn while_a_database_is_on_its_way_it_is_looked_at_often() {
    let cluster = Cluster::start(1, Settings { rest_interval: Duration::from_millis(50), ..fast() }).await;
    let mut changes = cluster.source.changes();
    let status = Arc::new(parking_lot::Mutex::new("pending"));
    let shown = status.clone();
    cluster.nodes[0].answer(move |seen| match (&seen.authorization, seen.path.as_str()) {
        (Some(_), "/v1/bdbs") => Answer::Json(200, json!([{"uid": 1, "status": *shown.lock()}])),
        _ => member(seen),
    });
    cluster.fact("bdbs").await.unwrap();
    let seen = cluster.nodes[0].seen.clone();
    until("five looks", || cluster.nodes[0].count("GET", "/v1/bdbs") >= 7).await;
    let times: Vec<_> = seen.lock().iter().filter(|seen| seen.path == "/v1/bdbs").map(|seen| seen.at).collect();
    let gaps: Vec<Duration> = times.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().any(|gap| *gap < Duration::from_millis(45)), "{gaps:?}");
    *status.lock() = "active";
    changes.recv().await.unwrap();
    assert!(cluster.fact("bdbs").await.unwrap().contains("\"active\""));
}

#[tokio::test]
async fn after_a_call_facts_are_read_anew() {
    let cluster = Cluster::start(1, quiet()).await;
    let size = Arc::new(AtomicU64::new(1));
    let shown = size.clone();
    cluster.nodes[0].answer(move |seen| match (&seen.authorization, seen.method.as_str()) {
        (Some(_), "PUT") => {
            shown.fetch_add(1, Ordering::SeqCst);
            Answer::Raw(200, vec![], String::new())
        }
        (Some(_), _) => {
            Answer::Json(200, json!([{"uid": 1, "status": "active", "memory_size": shown.load(Ordering::SeqCst)}]))
        }
        _ => member(seen),
    });
    for round in 1..=3 {
        assert!(cluster.fact("bdbs").await.unwrap().contains(&format!("\"memory_size\":{round}")));
        assert_eq!(cluster.call(None, "PUT", "/v1/bdbs/1", Some(json!({}))).await.status, 200);
    }
    // Reading through a call makes nothing stale.
    cluster.fact("bdbs").await.unwrap();
    let before = cluster.nodes[0].count("GET", "/v1/bdbs");
    cluster.call(None, "GET", "/v1/bdbs/1", None).await;
    cluster.fact("bdbs").await.unwrap();
    assert_eq!(cluster.nodes[0].count("GET", "/v1/bdbs"), before);
}

#[tokio::test]
async fn bootstrap_tells_of_every_pod_and_follows_the_pods() {
    let cluster = Cluster::start(2, quiet()).await;
    cluster.nodes[1].answer(|_| {
        Answer::Json(200, json!({"bootstrap_status": {"state": "idle"}, "local_node_info": {"uptime": 5}}))
    });
    cluster.objects.put(pod(2, "10.9.0.99"));
    let mut waiting = pod(3, "");
    waiting["status"]["podIP"] = Value::Null;
    cluster.objects.put(waiting);
    let bootstrap = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    assert_eq!(
        bootstrap(cluster.fact("bootstrap").await.unwrap()),
        json!({"rec-0": {"bootstrap_status": {"state": "completed"}},
               "rec-1": {"bootstrap_status": {"state": "idle"}, "local_node_info": {}},
               "rec-2": {"error": "connection refused"}, "rec-3": {"error": "the pod has no address yet"}})
    );
    // A pod came and went: what was known is not handed out any more.
    cluster.objects.remove("Pod", "rec-2");
    cluster.objects.remove("Pod", "rec-3");
    let after = bootstrap(cluster.fact("bootstrap").await.unwrap());
    assert_eq!(after.as_object().unwrap().keys().collect::<Vec<_>>(), ["rec-0", "rec-1"]);
}

#[tokio::test]
async fn when_a_node_has_become_a_member_the_cluster_is_asked_at_once() {
    let cluster = Cluster::start(1, quiet()).await;
    let mut changes = cluster.source.changes();
    let joined = Arc::new(AtomicU64::new(0));
    let shown = joined.clone();
    cluster.nodes[0].answer(move |seen| match shown.load(Ordering::SeqCst) {
        0 => Answer::Json(200, json!({"bootstrap_status": {"state": "idle"}})),
        _ => member(seen),
    });
    assert!(cluster.facts(&["bootstrap", "nodes"]).await[1].value.is_err());
    joined.store(1, Ordering::SeqCst);
    cluster.call(Some("rec-0"), "POST", "/v1/bootstrap/create_cluster", None).await;
    loop {
        let facts = cluster.facts(&["bootstrap", "nodes"]).await;
        if facts[0].value.as_ref().unwrap().contains("completed") && facts[1].value.is_ok() {
            break;
        }
        changes.recv().await.unwrap();
    }
}

#[tokio::test]
async fn without_a_member_facts_of_the_cluster_are_unknown_at_once() {
    let cluster = Cluster::start(1, quiet()).await;
    cluster.nodes[0].answer(|_| Answer::Json(200, json!({"bootstrap_status": {"state": "idle"}})));
    let facts = cluster.facts(&["nodes", "bdbs", "bootstrap"]).await;
    assert_eq!(facts[0].value, Err("rec-0 is not a member of a cluster yet".to_owned()));
    assert_eq!(facts[1].value, facts[0].value);
    assert!(facts[2].value.is_ok());
    cluster.objects.remove("Pod", "rec-0");
    assert_eq!(cluster.fact("nodes").await, Err("the cluster has no node with an address yet".to_owned()));
    cluster.objects.remove("Secret", "rec");
    assert!(cluster.fact("nodes").await.unwrap_err().contains("Secret `rec` does not exist"));
}

#[tokio::test]
async fn an_asker_that_gives_up_leaves_the_rest_waiting_well() {
    let cluster = Arc::new(Cluster::start(1, quiet()).await);
    let impatient = tokio::time::timeout(Duration::ZERO, cluster.fact("bdbs")).await;
    assert!(impatient.is_err());
    assert!(cluster.fact("bdbs").await.is_ok());
    assert_eq!(cluster.nodes[0].count("GET", "/v1/bdbs"), 1);
}

#[tokio::test]
async fn the_database_that_a_call_changed_is_read_and_no_other() {
    let cluster = Cluster::start(1, quiet()).await;
    let mut changes = cluster.source.changes();
    let size = Arc::new(AtomicU64::new(1));
    let shown = size.clone();
    cluster.nodes[0].answer(move |seen| {
        let database = |uid: u64| {
            json!({"uid": uid, "status": "active", "memory_size": shown.load(Ordering::SeqCst),
                   "authentication_redis_pass": "s3cret"})
        };
        match (&seen.authorization, seen.method.as_str(), seen.path.as_str()) {
            (Some(_), "GET", "/v1/bdbs") => Answer::Json(200, json!([database(1), database(3)])),
            (Some(_), "GET", "/v1/bdbs/3") if shown.load(Ordering::SeqCst) > 9 => {
                Answer::Raw(404, vec![], String::new())
            }
            (Some(_), "GET", "/v1/bdbs/2") => Answer::Json(200, database(2)),
            (Some(_), "GET", "/v1/bdbs/3") => Answer::Json(200, database(3)),
            (Some(_), "POST", "/v1/bdbs") => Answer::Json(200, database(2)),
            (Some(_), _, _) => Answer::Json(200, json!({})),
            _ => member(seen),
        }
    });
    let sizes = |text: String| -> Vec<(u64, u64)> {
        assert!(!text.contains("s3cret"), "{text}");
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        all.iter().map(|it| (it["uid"].as_u64().unwrap(), it["memory_size"].as_u64().unwrap())).collect()
    };
    assert_eq!(sizes(cluster.fact("bdbs").await.unwrap()), [(1, 1), (3, 1)]);
    size.store(5, Ordering::SeqCst);
    cluster.call(None, "PUT", "/v1/bdbs/3", Some(json!({}))).await;
    assert_eq!(sizes(cluster.fact("bdbs").await.unwrap()), [(1, 1), (3, 5)]);
    let told = changes.recv().await.unwrap().facts.unwrap();
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["bdbs"]);
    cluster.call(None, "POST", "/v1/bdbs", Some(json!({}))).await;
    assert_eq!(sizes(cluster.fact("bdbs").await.unwrap()), [(1, 1), (2, 5), (3, 5)]);
    size.store(10, Ordering::SeqCst);
    cluster.call(None, "DELETE", "/v1/bdbs/3", None).await;
    assert_eq!(sizes(cluster.fact("bdbs").await.unwrap()), [(1, 1), (2, 5)]);
    assert_eq!(cluster.nodes[0].count("GET", "/v1/bdbs"), 1);
}
