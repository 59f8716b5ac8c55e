//! The ways in from outside: Istio's objects, and the addresses that clients of the OSS cluster API are given.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::databases::{apply, remove, settled};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, redis_at};

use crate::spec;

const PODS: [&str; 3] = ["rec-0", "rec-1", "rec-2"];
const HOST: &str = "api-rec.example.com";

pub(crate) async fn istio_leads_to_the_api(world: &World) {
    world.kubectl(&["apply", "-f", &repository().join("tests/fixtures/istio.yaml").display().to_string()]).unwrap();
    for name in ["gateways.networking.istio.io", "virtualservices.networking.istio.io"] {
        world.kubectl(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=30s"]).unwrap();
    }
    let routing = json!({"method": "istio", "apiFqdnUrl": HOST, "dbFqdnSuffix": ".db-rec.example.com"});
    world.patch("rec", "rec", &json!({"spec": {"ingressOrRouteSpec": routing}})).unwrap();
    let gateway = until("the Gateway", SETTLES, || async { world.get("gateways.networking.istio.io", "rec") }).await;
    let server = &gateway["spec"]["servers"][0];
    assert_eq!((&server["hosts"], &server["tls"]["mode"]), (&json!([HOST]), &json!("PASSTHROUGH")));
    assert_eq!((&server["port"]["number"], &server["port"]["protocol"]), (&json!(443), &json!("TLS")));
    let kind = "virtualservices.networking.istio.io";
    let service = until("the VirtualService", SETTLES, || async { world.get(kind, "rec") }).await;
    assert_eq!((&service["spec"]["hosts"], &service["spec"]["gateways"]), (&json!([HOST]), &json!(["rec"])));
    let tls = &service["spec"]["tls"][0];
    assert_eq!(tls["match"][0]["sniHosts"], json!([HOST]));
    assert_eq!(tls["route"][0]["destination"], json!({"host": "rec", "port": {"number": 9443}}));
    assert_eq!(service["metadata"]["ownerReferences"][0]["name"], "rec");
    world.field("rec", "rec", "/status/ingressOrRouteMethodStatus", "istio", SETTLES).await;
    // What somebody changes of it is put back, and what somebody deletes; notes of others stay.
    world.kubectl(&["annotate", kind, "rec", "example.com/note=kept"]).unwrap();
    world.patch(kind, "rec", &json!({"spec": {"hosts": ["elsewhere.example.com"]}})).unwrap();
    world.field(kind, "rec", "/spec/hosts/0", HOST, SETTLES).await;
    assert_eq!(world.get(kind, "rec").unwrap()["metadata"]["annotations"]["example.com/note"], "kept");
    world.kubectl(&["delete", "gateways.networking.istio.io", "rec"]).unwrap();
    until("the Gateway again", SETTLES, || async { world.get("gateways.networking.istio.io", "rec") }).await;
    world.patch("rec", "rec", &json!({"spec": {"ingressOrRouteSpec": null}})).unwrap();
    world.gone("gateways.networking.istio.io", "rec").await;
    world.gone(kind, "rec").await;
}

/// What a cloud would do: the load balancer of a Service gets an address, here the one at which the pod is reached on this machine.
fn balance(world: &World, pod: &str) -> anyhow::Result<Ipv4Addr> {
    let address = world.address(pod)?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address.to_string()}]}}}).to_string();
    let service = format!("{pod}-lb");
    world.kubectl(&["patch", "service", &service, "--subresource=status", "--type=merge", "-p", &status])?;
    Ok(address)
}

/// The hosts that `CLUSTER SLOTS` tells.
fn told(world: &World, port: u16, password: &str) -> anyhow::Result<BTreeSet<String>> {
    let said = redis_at(world.address("rec-0")?, port, password, &["CLUSTER", "SLOTS"])?;
    let hosts: BTreeSet<String> =
        said.lines().map(str::trim).filter(|line| line.parse::<Ipv4Addr>().is_ok()).map(str::to_owned).collect();
    ensure!(!hosts.is_empty(), "{said}");
    Ok(hosts)
}

pub(crate) async fn clients_of_the_oss_cluster_api_come_from_outside(world: &World) {
    let settings = json!({"externalAccessType": "LoadBalancer",
        "loadBalancer": {"serviceAnnotations": {"example.com/balancer": "of-nodes"}, "externalTrafficPolicy": "Local"}});
    world.patch("rec", "rec", &json!({"spec": {"ossClusterSettings": settings}})).unwrap();
    apply(
        world,
        "sharded",
        json!({"memorySize": "300MB", "shardCount": 3, "shardsPlacement": "sparse", "ossCluster": true, "databasePort": 14021}),
    );
    settled(world, "sharded").await;
    let password = world.secret("redb-sharded", "password").unwrap();
    // Meant for clients inside: they get the addresses of pods, and no load balancer is made.
    until("addresses inside", SETTLES, || async {
        let hosts = told(world, 14021, &password)?;
        ensure!(hosts.iter().all(|host| host.starts_with("10.")), "{hosts:?}");
        anyhow::Ok(())
    })
    .await;
    assert!(world.get("service", "rec-0-lb").is_err());

    spec(world, "sharded", &json!({"ossClusterSettings": {"enableExternalAccess": true}}));
    let service = until("a load balancer for each pod", SETTLES, || async {
        let all: anyhow::Result<Vec<Value>> =
            PODS.iter().map(|pod| world.get("service", &format!("{pod}-lb"))).collect();
        Ok::<_, anyhow::Error>(all?.swap_remove(0))
    })
    .await;
    assert_eq!(
        (&service["spec"]["type"], &service["spec"]["externalTrafficPolicy"]),
        (&json!("LoadBalancer"), &json!("Local"))
    );
    assert_eq!(service["spec"]["selector"], json!({"statefulset.kubernetes.io/pod-name": "rec-0"}));
    assert_eq!(
        (&service["spec"]["ports"][0]["port"], &service["spec"]["ports"][0]["targetPort"]),
        (&json!(14021), &json!(14021))
    );
    assert_eq!(service["metadata"]["annotations"]["example.com/balancer"], "of-nodes");
    // Their addresses come later, from elsewhere; then nodes tell them.
    let outside: BTreeSet<String> = PODS.iter().map(|pod| balance(world, pod).unwrap().to_string()).collect();
    until("addresses outside", SETTLES, || async {
        let hosts = told(world, 14021, &password)?;
        if hosts == outside { Ok(()) } else { bail!("{hosts:?}") }
    })
    .await;
    until("where clients begin, in the Secret", SETTLES, || async {
        let begin = world.secret("redb-sharded", "oss_startup_nodes")?;
        let begin: BTreeSet<String> = begin.split(',').map(|it| it.trim_end_matches(":14021").to_owned()).collect();
        if begin == outside { Ok(()) } else { bail!("{begin:?}") }
    })
    .await;
    // A client that knows one of them finds each key, though pods' own addresses lead nowhere from here.
    let first = outside.first().unwrap();
    let client = |words: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-c", "-h", first, "-p", "14021", "--no-auth-warning"]).args(words);
        let output = command.env("REDISCLI_AUTH", &password).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    for key in 0..30 {
        let (key, value) = (format!("key-{key}"), key.to_string());
        let said = client(&["SET", &key, &value]).unwrap();
        assert!(said.ends_with("OK"), "{key}: {said}");
        let said = client(&["GET", &key]).unwrap();
        assert_eq!(said.lines().last(), Some(value.as_str()), "{key}");
    }
    settled(world, "sharded").await;
    // Nobody outside any more: the addresses are taken back, then the Services go.
    spec(world, "sharded", &json!({"ossClusterSettings": null}));
    for pod in PODS {
        world.gone("service", &format!("{pod}-lb")).await;
    }
    let nodes = world.rest("GET", "/v1/nodes", None).unwrap();
    assert!(nodes.as_array().unwrap().iter().all(|node| node["external_addr"] == json!([])), "{nodes}");
    settled(world, "sharded").await;
    assert!(world.secret("redb-sharded", "oss_startup_nodes").is_err());
    remove(world, "sharded").await;
    world.patch("rec", "rec", &json!({"spec": {"ossClusterSettings": null}})).unwrap();
}
