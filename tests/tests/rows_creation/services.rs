//! The cluster's own Services, and what answers behind them (reference, 2.2 and 2.5).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepwright_tests::children::{assert_child, behind, labels, ports};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, curl, redis};

use crate::NODES;

const MASTER: &str = "redis.io/role-master=true";

pub(crate) async fn row_21_ui_service(world: &World) {
    let service = world.get("service", "rec-ui").unwrap();
    assert_child(world, &service);
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(ports(&service), [("ui".to_owned(), 8443, 8443)]);
    // The master alone is behind it: others would redirect to an address that is not reachable here.
    let status = world.rladmin("rec-0", "status nodes").unwrap();
    let nodes = crate::formation::nodes(&status);
    let master: Vec<&str> = nodes.iter().filter(|node| node.role == "master").map(|node| node.host.as_str()).collect();
    until("the master behind the UI", SETTLES, || async {
        let found = behind(world, "rec-ui")?;
        if found == master { Ok(()) } else { anyhow::bail!("{found:?} instead of {master:?}") }
    })
    .await;
    // Of another kind if the spec says so.
    world.patch("rec", "rec", &json!({"spec": {"uiServiceType": "NodePort"}})).unwrap();
    world.field("service", "rec-ui", "/spec/type", "NodePort", SETTLES).await;
    world.patch("rec", "rec", &json!({"spec": {"uiServiceType": null}})).unwrap();
    world.field("service", "rec-ui", "/spec/type", "ClusterIP", SETTLES).await;
}

pub(crate) async fn row_22_the_ui_answers(world: &World) {
    let forward = world.port_forward("service/rec-ui", 8443).unwrap();
    let (status, page) = curl(&format!("https://localhost:{}/", forward.port), None).unwrap();
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("<title>") && page.contains("rec.redis.svc.cluster.local"), "{page}");
}

pub(crate) async fn row_23_rest_api_service(world: &World) {
    let service = world.get("service", "rec").unwrap();
    assert_child(world, &service);
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(ports(&service), [("api".to_owned(), 9443, 9443), ("sentinel".to_owned(), 8001, 8001)]);
    assert_eq!(
        service["spec"]["selector"],
        json!({"app": "redis-enterprise", "redis.io/cluster": "rec", "redis.io/role": "node"})
    );
    until("all nodes behind the API", SETTLES, || async {
        let found = behind(world, "rec")?;
        if found == ["rec-0", "rec-1", "rec-2"] { Ok(()) } else { anyhow::bail!("{found:?}") }
    })
    .await;
    // The third of the cluster's Services: metrics.
    let service = world.get("service", "rec-prom").unwrap();
    assert_child(world, &service);
    assert_eq!(
        (&service["spec"]["clusterIP"], ports(&service)),
        (&json!("None"), vec![("prometheus".to_owned(), 8070, 8070)])
    );
    assert_eq!(labels(&service)["redis.io/service"], "prom-metrics");
}

pub(crate) async fn row_24_the_rest_api_answers(world: &World) {
    let login = format!("{}:{}", world.secret("rec", "username").unwrap(), world.secret("rec", "password").unwrap());
    let mut forward = world.port_forward("service/rec", 9443).unwrap();
    let mut answer = curl(&format!("https://localhost:{}/v1/bdbs", forward.port), Some(&login)).unwrap();
    if answer.0 == 307 {
        // kubectl leads to one pod of the Service; one that is not the master says so.
        let master = world.uids("pods", &format!("{NODES},{MASTER}")).unwrap();
        forward = world.port_forward(&format!("pod/{}", master.keys().next().unwrap()), 9443).unwrap();
        answer = curl(&format!("https://localhost:{}/v1/bdbs", forward.port), Some(&login)).unwrap();
    }
    assert_eq!(answer.0, 200, "{answer:?}");
    let list: Vec<BTreeMap<String, Value>> = serde_json::from_str(&answer.1).unwrap();
    assert_eq!(list.iter().map(|bdb| &bdb["name"]).collect::<Vec<_>>(), ["mydb"]);
    assert_eq!(list[0]["memory_size"], 268_435_456);
    let refused = curl(&format!("https://localhost:{}/v1/bdbs", forward.port), Some("demo@redis.com:wrong")).unwrap();
    assert_eq!(refused.0, 401, "{refused:?}");
}

pub(crate) async fn row_25_discovery_answers(world: &World) {
    let forward = world.port_forward("service/rec", 8001).unwrap();
    let serving = until("the pod that serves the database", SETTLES, || async {
        let pods = world.list("pods", "redis.io/bdb-1")?;
        let address = pods.first().and_then(|pod| pod["status"]["podIP"].as_str().map(str::to_owned));
        address.ok_or_else(|| anyhow::anyhow!("none"))
    })
    .await;
    let answer = redis(forward.port, "", &["SENTINEL", "get-master-addr-by-name", "mydb"]).unwrap();
    assert_eq!(answer.lines().collect::<Vec<_>>(), [serving.as_str(), "19621"]);
    let answer = redis(forward.port, "", &["SENTINEL", "get-master-addr-by-name", "nosuchdb"]).unwrap();
    assert!(!answer.contains("19621"), "{answer}");
}
