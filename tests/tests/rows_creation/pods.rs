//! The pods: their names, volumes and processes, and how many may be missing at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, NAMESPACE, SETTLES, World};

use crate::formation::nodes;
use crate::{NODES, at_rest};

const NAMES: [&str; 3] = ["rec-0", "rec-1", "rec-2"];

pub(crate) async fn row_17_pods_keep_their_names(world: &World) {
    let path = "jsonpath={.items[*].metadata.name}";
    let selector = "redis.io/cluster=rec,redis.io/role=node";
    assert_eq!(world.kubectl(&["get", "pods", "-l", selector, "-o", path]).unwrap(), NAMES.join(" "));
    let set = world.get("statefulset", "rec").unwrap();
    for pod in world.list("pods", selector).unwrap() {
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("StatefulSet"), &set["metadata"]["uid"]));
    }
    // The nodes call themselves so, too.
    let status = world.rladmin("rec-0", "status nodes").unwrap();
    assert_eq!(
        nodes(&status).into_iter().map(|node| node.host).collect::<BTreeSet<_>>(),
        NAMES.map(str::to_owned).into()
    );
}

pub(crate) async fn row_18_a_volume_for_each_pod(world: &World) {
    for pod in NAMES {
        let name = format!("redis-enterprise-storage-{pod}");
        let claim = world.get("pvc", &name).unwrap();
        assert_eq!(claim["status"]["phase"], "Bound", "{name}");
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "20Gi", "{name}");
        assert_eq!(claim["status"]["capacity"]["storage"], "20Gi", "{name}");
        assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]), "{name}");
        // It outlives the cluster.
        assert_eq!(claim["metadata"].get("ownerReferences"), None, "{name}");
        let pod = world.get("pod", pod).unwrap();
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        assert!(
            volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == name.as_str()),
            "{volumes:?}"
        );
    }
    let all = world.kubectl(&["get", "pvc", "-o", "name"]).unwrap();
    assert_eq!(all.lines().count(), 3, "{all}");
}

pub(crate) async fn row_19_a_pod_that_comes_back_is_the_same_node(world: &World) {
    let id = || {
        let status = world.rladmin("rec-0", "status nodes").unwrap();
        nodes(&status).into_iter().find(|node| node.host == "rec-1").map(|node| node.id)
    };
    let claim = || world.get("pvc", "redis-enterprise-storage-rec-1").unwrap()["metadata"]["uid"].clone();
    let (node, volume, pod) = (id(), claim(), world.uids("pods", NODES).unwrap()["rec-1"].clone());
    assert!(node.is_some());
    world.kubectl(&["delete", "pod", "rec-1"]).unwrap();
    until("rec-1 to be back", FORMS, || async {
        let found = world.get("pod", "rec-1")?;
        let ready = found["status"]["containerStatuses"][0]["ready"] == true;
        if found["metadata"]["uid"] != pod.as_str() && ready { Ok(()) } else { anyhow::bail!("{}", found["status"]) }
    })
    .await;
    at_rest(world).await;
    assert_eq!((id(), claim()), (node, volume));
}

pub(crate) async fn row_27_the_budget_holds(world: &World) {
    let evict = |pod: &str, dry: bool| {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
        let options = if dry { json!({"dryRun": ["All"]}) } else { json!({}) };
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": NAMESPACE}, "deleteOptions": options,
        });
        world.kubectl_with_input(&["create", "--raw", &path, "-f", "-"], &body.to_string())
    };
    let allowed = |wanted: u64| async move {
        until("the budget to count", SETTLES, || async {
            let found = world.get("pdb", "rec")?["status"]["disruptionsAllowed"].as_u64();
            if found == Some(wanted) { Ok(()) } else { anyhow::bail!("{found:?}") }
        })
        .await;
    };
    allowed(1).await;
    evict("rec-1", true).unwrap();
    let others = || {
        let mut all = world.uids("pods", NODES).unwrap();
        all.remove("rec-2");
        all
    };
    let before = others();
    // Its pod finds no place until its Kubernetes node may be used again, so that there is time to look.
    let place = world.get("pod", "rec-2").unwrap()["spec"]["nodeName"].as_str().unwrap().to_owned();
    world.kubectl(&["cordon", &place]).unwrap();
    world.kubectl(&["delete", "pod", "rec-2"]).unwrap();
    allowed(0).await;
    let refused = evict("rec-1", false).unwrap_err().to_string();
    assert!(refused.contains("TooManyRequests") || refused.contains("disruption budget"), "{refused}");
    assert_eq!(others(), before);
    world.kubectl(&["uncordon", &place]).unwrap();
    at_rest(world).await;
    allowed(1).await;
}

/// A database whose two shards are on one node.
const SECOND: &str = "
apiVersion: app.redislabs.com/v1alpha1
kind: RedisEnterpriseDatabase
metadata: {name: second}
spec: {memorySize: 200MB, shardCount: 2, shardsPlacement: dense}
";

pub(crate) async fn row_32_proxy_api_and_redis_share_a_pod(world: &World) {
    world.kubectl_with_input(&["apply", "-f", "-"], SECOND).unwrap();
    world.field("redb", "second", "/status/status", "active", SETTLES).await;
    let redb = world.get("redb", "second").unwrap();
    let uid = redb["status"]["databaseUID"].as_str().unwrap().to_owned();
    let port = redb["status"]["internalEndpoints"][0]["port"].as_u64().unwrap();
    let pod = until("a pod that serves it", SETTLES, || async {
        let pods = world.uids("pods", &format!("redis.io/bdb-{uid}"))?;
        pods.into_keys().next().ok_or_else(|| anyhow::anyhow!("none"))
    })
    .await;
    let address = world.address(&pod).unwrap();
    // UI, REST API, discovery, metrics, proxy.
    for port in [8443, 9443, 8001, 8070, u16::try_from(port).unwrap()] {
        let open = TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(10));
        assert!(open.is_ok(), "{pod}:{port}: {open:?}");
    }
    let processes = world.kubectl(&["exec", &pod, "--", "ps", "-eo", "args"]).unwrap();
    let prefix = format!("redis-server {address}:");
    let servers = processes.lines().filter(|line| line.contains(&prefix)).count();
    assert!(servers >= 2, "{servers} of two shards in {pod}: {processes}");
    world.kubectl(&["delete", "redb", "second"]).unwrap();
    world.gone("service", "second").await;
}

pub(crate) async fn row_33_pods_by_the_usual_label(world: &World) {
    let usual = world.uids("pods", "app.kubernetes.io/name=redis-enterprise").unwrap();
    assert_eq!(usual.keys().collect::<Vec<_>>(), NAMES);
    let set = world.get("statefulset", "rec").unwrap()["metadata"]["uid"].clone();
    let all: Value = serde_json::from_str(&world.kubectl(&["get", "pods", "-o", "json"]).unwrap()).unwrap();
    let made_by_it = all["items"].as_array().unwrap().iter();
    let made_by_it = made_by_it.filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == set);
    let uid = |pod: &Value| {
        (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod["metadata"]["uid"].as_str().unwrap().to_owned())
    };
    assert_eq!(usual, made_by_it.map(uid).collect::<BTreeMap<_, _>>());
    // Others are there that do not have it.
    assert!(all["items"].as_array().unwrap().len() > usual.len());
}
