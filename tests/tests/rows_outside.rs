//! Rows 9, 28 and 79 of the checklist: other distributions, the service broker, Routes of OpenShift.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, http_with};
use stepwright_tests::{checklist, row};

fn main() {
    let rows = vec![
        row!(9, row_09_other_distributions).instead(
            "the manifests for OpenShift are applied here, where its two kinds are installed as definitions; no managed cluster was at hand",
        ),
        row!(28, row_28_the_service_broker),
        row!(79, row_79_routes_of_openshift).instead("Routes are kept by the API server; no router serves them here"),
    ];
    checklist::main("rows_outside", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
}

fn file(path: &str) -> String {
    repository().join(path).display().to_string()
}

/// The kinds of OpenShift, served.
async fn with_openshift(world: &World) {
    world.kubectl(&["apply", "-f", &file("tests/fixtures/openshift.yaml")]).unwrap();
    for name in ["routes.route.openshift.io", "securitycontextconstraints.security.openshift.io"] {
        let name = format!("crd/{name}");
        world.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=30s"]).unwrap();
    }
}

async fn row_09_other_distributions(world: &World) {
    with_openshift(world).await;
    let (bundle, more) = (file("deploy/bundle.yaml"), file("deploy/openshift.yaml"));
    // kubectl learns of new kinds a moment after they are served.
    until("the manifests on OpenShift's kinds", SETTLES, || async {
        for mode in ["--dry-run=client", "--dry-run=server"] {
            let said = world.kubectl(&["apply", mode, "--validate=strict", "-f", &bundle, "-f", &more])?;
            anyhow::ensure!(said.contains("redis-enterprise-scc-v2"), "{said}");
        }
        anyhow::Ok(())
    })
    .await;
    // What the pods ask for is what the constraints allow.
    let template = &world.get("sts", "rec").unwrap()["spec"]["template"]["spec"];
    assert_eq!(template["securityContext"]["runAsUser"], 1001);
    assert_eq!(template["securityContext"]["fsGroup"], 1001);
}

async fn row_79_routes_of_openshift(world: &World) {
    with_openshift(world).await;
    let routing = json!({"spec": {"ingressOrRouteSpec": {"method": "openShiftRoute",
        "apiFqdnUrl": "api-rec.apps.example.com", "dbFqdnSuffix": "-db-rec.apps.example.com"}}});
    world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &routing.to_string()]).unwrap();
    let route = until("the Route", SETTLES, || async { world.get("route", "rec") }).await;
    assert_eq!(route["spec"]["host"], "api-rec.apps.example.com");
    assert_eq!(route["spec"]["tls"]["termination"], "passthrough");
    assert_eq!((&route["spec"]["to"]["kind"], &route["spec"]["to"]["name"]), (&json!("Service"), &json!("rec")));
    assert_eq!(route["spec"]["port"]["targetPort"], "api");
    assert_eq!(route["metadata"]["ownerReferences"][0]["name"], "rec");
    world.field("rec", "rec", "/status/ingressOrRouteMethodStatus", "openShiftRoute", SETTLES).await;
    // What somebody changes of it is put back; gone is gone.
    let elsewhere = r#"{"spec":{"to":{"name":"elsewhere"}}}"#;
    world.kubectl(&["patch", "route", "rec", "--type=merge", "-p", elsewhere]).unwrap();
    world.field("route", "rec", "/spec/to/name", "rec", SETTLES).await;
    let nothing = r#"{"spec":{"ingressOrRouteSpec":null}}"#;
    world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", nothing]).unwrap();
    world.gone("route", "rec").await;
}

const SERVICE: &str = "7c5f8a0e-6d0b-4c4e-9a53-3f1a3d6a1c01";
const CACHE: &str = "b2a9f3de-0a46-4a7e-8c1c-5a6f0e6f1c11";

async fn row_28_the_service_broker(world: &World) {
    let enabled = |enabled: bool| json!({"spec": {"serviceBrokerSpec": {"enabled": enabled}}}).to_string();
    world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &enabled(true)]).unwrap();
    // Without its account it waits, and says for what.
    if world.get("serviceaccount", "redis-enterprise-service-broker").is_err() {
        until("word of what is missing", SETTLES, || async {
            let status = world.get("rec", "rec")?["status"].to_string();
            anyhow::ensure!(status.contains("deploy/service-broker.yaml"), "{status}");
            anyhow::Ok(())
        })
        .await;
    }
    world.kubectl(&["apply", "-f", &file("deploy/service-broker.yaml")]).unwrap();
    world.field("deployment", "rec-service-broker", "/status/readyReplicas", "1", SETTLES).await;
    world.field("pvc", "rec-service-broker", "/status/phase", "Bound", SETTLES).await;
    world.get("service", "rec-service-broker").unwrap();

    let user = world.secret("rec-service-broker", "username").unwrap();
    let password = world.secret("rec-service-broker", "password").unwrap();
    let pods = world.list("pods", "name=service-broker").unwrap();
    let address = world.address(pods[0]["metadata"]["name"].as_str().unwrap()).unwrap();
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let version = [("X-Broker-API-Version", "2.17")];
        let (status, text) =
            http_with(address, 8080, method, path, Some((&user, &password)), &version, body.as_ref()).unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let (status, catalog) = ask("GET", "/v2/catalog", None);
    assert_eq!((status, &catalog["services"][0]["id"]), (200, &json!(SERVICE)));
    let wanted = json!({"service_id": SERVICE, "plan_id": CACHE});
    let instance = "/v2/service_instances/0d9c1f2e-row-28";
    let asked = format!("{instance}?accepts_incomplete=true");
    assert_eq!(ask("PUT", &asked, Some(wanted.clone())).0, 202);
    until("the database of the instance", SETTLES, || async {
        let (_, body) = ask("GET", &format!("{instance}/last_operation"), None);
        if body["state"] == "succeeded" { Ok(()) } else { Err(body) }
    })
    .await;
    let binding = format!("{instance}/service_bindings/app-1");
    let (status, body) = ask("PUT", &binding, Some(wanted));
    assert_eq!(status, 201, "{body}");
    // What was handed out is a login of a database that answers.
    let credentials = &body["credentials"];
    let service = credentials["host"].as_str().unwrap().split('.').next().unwrap().to_owned();
    let port = u16::try_from(credentials["port"].as_u64().unwrap()).unwrap();
    let forward = world.database(&format!("service/{service}"), port, credentials["password"].as_str().unwrap()).await;
    drop(forward);
    assert_eq!(ask("DELETE", &binding, None).0, 200);
    assert_eq!(ask("DELETE", &asked, None).0, 202);
    until("the database to go", SETTLES, || async {
        match ask("GET", &format!("{instance}/last_operation"), None) {
            (410, _) => Ok(()),
            other => Err(other),
        }
    })
    .await;

    // Disabled: all goes but the volume.
    let volume = world.get("pvc", "rec-service-broker").unwrap()["metadata"]["uid"].clone();
    world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &enabled(false)]).unwrap();
    for kind in ["deployment", "service", "secret"] {
        world.gone(kind, "rec-service-broker").await;
    }
    assert_eq!(world.get("pvc", "rec-service-broker").unwrap()["metadata"]["uid"], volume);
}
