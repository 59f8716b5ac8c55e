//! The service broker on a real API server: what a platform asks for, what becomes of it, and what is refused. The operator
//! is played here: the test writes the status and the Secret of a database.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_service_broker::{Broker, Login, serve};
use stepwright_tests::api_server::{SOON, client, namespace};
use stepwright_tests::wait::until;
use stepwright_tests::world::http_with;
use tokio_util::sync::{CancellationToken, DropGuard};

const SERVICE: &str = "7c5f8a0e-6d0b-4c4e-9a53-3f1a3d6a1c01";
const CACHE: &str = "b2a9f3de-0a46-4a7e-8c1c-5a6f0e6f1c11";

struct Served {
    port: u16,
    _stop: DropGuard,
}

impl Served {
    async fn start(client: Client, namespace: &str, folder: &Path) -> Self {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let login = Login::new("platform", "let-me-in").unwrap();
        let broker = Broker::open(client, namespace.to_owned(), "rec".to_owned(), login, folder).unwrap();
        let stop = CancellationToken::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        tokio::spawn(serve(address, broker, stop.clone()));
        let served = Self { port, _stop: stop.drop_guard() };
        until("the broker", SOON, || async { served.ask("GET", "/healthz", None).await.map(drop) }).await;
        served
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value), String> {
        self.ask_as(method, path, body, "let-me-in", &[("X-Broker-API-Version", "2.17")]).await
    }

    async fn ask_as(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        password: &'static str,
        headers: &'static [(&'static str, &'static str)],
    ) -> Result<(u16, Value), String> {
        let (port, method, path) = (self.port, method.to_owned(), path.to_owned());
        let asked = move || {
            http_with(Ipv4Addr::LOCALHOST, port, &method, &path, Some(("platform", password)), headers, body.as_ref())
        };
        let (status, text) = tokio::task::spawn_blocking(asked).await.unwrap().map_err(|error| format!("{error:#}"))?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

fn databases(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("app.redislabs.com", "v1alpha1", "RedisEnterpriseDatabase");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}

async fn install(client: &Client) {
    let text = std::fs::read_to_string(repository().join("crds/redisenterprisedatabases.yaml")).unwrap();
    let crd: CustomResourceDefinition = serde_yaml_ng::from_str(&text).unwrap();
    let name = crd.metadata.name.clone().unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let _ = api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
    await_condition(api, &name, is_crd_established()).await.unwrap();
}

/// What the operator would do.
async fn make_real(client: &Client, namespace: &str, name: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("redb-{name}")},
        "stringData": {"password": "s3cret", "port": "12345"}});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let api = databases(client, namespace);
    let merge = PatchParams::default();
    let spec = json!({"spec": {"databaseSecretName": format!("redb-{name}")}});
    api.patch(name, &merge, &Patch::Merge(&spec)).await.unwrap();
    api.patch_status(name, &merge, &Patch::Merge(&json!({"status": {"status": "active"}}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_a_database_and_a_binding_is_its_secret() {
    let client = client().await;
    install(&client).await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let broker = Served::start(client.clone(), &namespace, folder.path()).await;

    let (status, catalog) = broker.ask("GET", "/v2/catalog", None).await.unwrap();
    assert_eq!((status, &catalog["services"][0]["id"]), (200, &json!(SERVICE)));
    assert_eq!(catalog["services"][0]["plans"].as_array().unwrap().len(), 3);

    let wanted = json!({"service_id": SERVICE, "plan_id": CACHE, "parameters": {"memorySize": "512MB"}});
    let path = "/v2/service_instances/4f2d7c1e-one?accepts_incomplete=true";
    let bare = "/v2/service_instances/4f2d7c1e-one";
    // The same request again is the same instance.
    for _ in 0..2 {
        let (status, body) = broker.ask("PUT", path, Some(wanted.clone())).await.unwrap();
        assert_eq!((status, &body["operation"]), (202, &json!("provision")), "{body}");
    }
    let other = json!({"service_id": SERVICE, "plan_id": CACHE});
    let (status, body) = broker.ask("PUT", path, Some(other)).await.unwrap();
    assert_eq!(status, 409, "{body}");
    let made = databases(&client, &namespace).list(&Default::default()).await.unwrap().items;
    assert_eq!(made.len(), 1);
    let name = made[0].metadata.name.clone().unwrap();
    assert_eq!(
        made[0].data["spec"],
        json!({"memorySize": "512MB", "replication": false, "persistence": "disabled",
            "redisEnterpriseCluster": {"name": "rec"}})
    );
    let operation = format!("{bare}/last_operation");
    let (_, body) = broker.ask("GET", &operation, None).await.unwrap();
    assert_eq!(body["state"], "in progress");
    let binding = format!("{bare}/service_bindings/app-1");
    let (status, body) = broker.ask("PUT", &binding, Some(wanted.clone())).await.unwrap();
    assert_eq!((status, &body["error"]), (422, &json!("ConcurrencyError")));

    make_real(&client, &namespace, &name).await;
    let (_, body) = broker.ask("GET", &operation, None).await.unwrap();
    assert_eq!(body["state"], "succeeded");
    assert_eq!(broker.ask("PUT", path, Some(wanted.clone())).await.unwrap().0, 200);
    let (status, body) = broker.ask("PUT", &binding, Some(wanted.clone())).await.unwrap();
    assert_eq!(status, 201);
    let host = format!("{name}.{namespace}.svc.cluster.local");
    let uri = format!("redis://:s3cret@{host}:12345");
    assert_eq!(body["credentials"], json!({"host": host, "port": 12345, "password": "s3cret", "uri": uri}));
    assert_eq!(broker.ask("PUT", &binding, Some(wanted.clone())).await.unwrap().0, 200);

    // A broker that starts anew knows its bindings, and an instance that is in use does not go.
    drop(broker);
    let broker = Served::start(client.clone(), &namespace, folder.path()).await;
    let (status, body) = broker.ask("DELETE", path, None).await.unwrap();
    assert_eq!((status, &body["error"]), (422, &json!("InstanceHasBindings")));
    assert!(body["description"].as_str().unwrap().contains("app-1"), "{body}");
    assert_eq!(broker.ask("DELETE", &binding, None).await.unwrap().0, 200);
    assert_eq!(broker.ask("DELETE", &binding, None).await.unwrap().0, 410);
    assert_eq!(broker.ask("DELETE", path, None).await.unwrap().0, 202);
    assert_eq!(broker.ask("GET", &operation, None).await.unwrap().0, 410);
    assert_eq!(broker.ask("DELETE", path, None).await.unwrap().0, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_request_of_this_platform_is_refused() {
    let client = client().await;
    install(&client).await;
    let namespace = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let broker = Served::start(client.clone(), &namespace, folder.path()).await;
    let version: &[_] = &[("X-Broker-API-Version", "2.17")];
    assert_eq!(broker.ask_as("GET", "/v2/catalog", None, "guessed", version).await.unwrap().0, 401);
    assert_eq!(broker.ask_as("GET", "/v2/catalog", None, "let-me-in", &[]).await.unwrap().0, 412);
    let wanted = json!({"service_id": SERVICE, "plan_id": CACHE});
    let (status, body) = broker.ask("PUT", "/v2/service_instances/one", Some(wanted.clone())).await.unwrap();
    assert_eq!((status, &body["error"]), (422, &json!("AsyncRequired")));
    for (id, wanted, words) in [
        ("-one", wanted, "GUID"),
        ("one", json!({"service_id": SERVICE, "plan_id": "gold"}), "durable"),
        ("one", json!({"plan_id": CACHE}), "service_id"),
        // What the CRD's rules refuse is told in the API server's words.
        ("one", json!({"service_id": SERVICE, "plan_id": CACHE, "parameters": {"persistence": "on"}}), "persistence"),
    ] {
        let path = format!("/v2/service_instances/{id}?accepts_incomplete=true");
        let (status, body) = broker.ask("PUT", &path, Some(wanted)).await.unwrap();
        let said = body["description"].as_str().unwrap_or_default();
        assert!(status == 400 && said.contains(words), "{status} {body}");
    }
    // A database that somebody else made under the name is neither handed out nor deleted.
    let foreign = json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": "sb-7692c3ad3540bb80"}, "spec": {}});
    let api = databases(&client, &namespace);
    api.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    let (status, _) = broker.ask("DELETE", "/v2/service_instances/one?accepts_incomplete=true", None).await.unwrap();
    let wanted = json!({"service_id": SERVICE, "plan_id": CACHE});
    let path = "/v2/service_instances/one?accepts_incomplete=true";
    let (made, body) = broker.ask("PUT", path, Some(wanted)).await.unwrap();
    assert_eq!((status, made), (410, 409), "{body}");
}

#[test]
fn a_file_of_bindings_that_is_not_understood_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bindings.json");
    std::fs::write(&file, "{ half").unwrap();
    assert!(stepwright_service_broker::Bindings::open(folder.path()).is_err());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "{ half");
}
