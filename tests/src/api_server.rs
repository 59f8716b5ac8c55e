//! One real API server for each test program, and an operator in this process for each test, in a namespace of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use stepwright_core::guest::Guest;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::secrets::Fingerprinter;
use stepwright_dev_cluster::{Cluster, ClusterOptions, Parts};
use stepwright_operator::cache::Caches;
use stepwright_operator::controller::Operator;
use stepwright_operator::delegation::Delegation;
use stepwright_operator::guests::GuestSettings;
use stepwright_operator::journal::Journal;
use stepwright_operator::lease::{self, Leadership};
use stepwright_operator::metrics::Metrics;
use stepwright_operator::plugin_maps::Loader;
use stepwright_operator::plugins::PluginSettings;
use stepwright_operator::plugins::board::{Board, PluginsView};
use stepwright_operator::slots::{Slots, Source};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::native::Table;

/// How long a test waits for something that takes milliseconds.
pub const SOON: Duration = Duration::from_secs(20);

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The kind that the tests reconcile.
pub fn thing() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("test.stepwright.dev", "v1", "Thing"))
}

/// The API server of this test program; started by the first who asks, ended with the program.
pub async fn client() -> Client {
    let cluster = CLUSTER
        .get_or_init(|| async {
            let options = ClusterOptions { parts: Parts::ApiServerOnly, ..ClusterOptions::default() };
            let cluster = Cluster::start(options).await.expect("an API server");
            install_thing(&cluster.client().await.expect("a client")).await;
            cluster
        })
        .await;
    // Each test has a runtime of its own, and a client lives on the runtime that made it.
    cluster.client().await.expect("a client")
}

/// How its admin reaches the API server of this test program, once it was started.
pub fn kubeconfig() -> Option<std::path::PathBuf> {
    CLUSTER.get().map(Cluster::kubeconfig)
}

async fn install_thing(client: &Client) {
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.stepwright.dev"},
        "spec": {"group": "test.stepwright.dev", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                        "conditions": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["type"],
                            "items": {"type": "object", "required": ["type"], "x-kubernetes-preserve-unknown-fields": true,
                                "properties": {"type": {"type": "string"}}}}}}}}}}]},
    }))
    .expect("a definition");
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &definition).await.expect("the definition is taken");
    await_condition(api, "things.test.stepwright.dev", is_crd_established()).await.expect("established");
}

/// An operator in this process, over one namespace. Ends with this value.
pub struct Running {
    pub client: Client,
    pub namespace: String,
    pub metrics: Arc<Metrics>,
    pub journal: Arc<Journal>,
    pub slots: Arc<Slots>,
    board: Arc<Board>,
    pub table: Arc<Table>,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// A namespace that no other test uses.
pub async fn namespace(client: &Client) -> String {
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace).await.expect("the namespace is made");
    name
}

/// A pipeline for `Thing` with these steps.
pub fn pipeline(steps: &[&str]) -> Pipeline {
    serde_json::from_value(json!({
        "apiVersion": "test.stepwright.dev/v1", "kind": "Thing", "steps": steps,
        "finalizer": "test.stepwright.dev/finalizer", "invalidStatus": {"specStatus": "Invalid"},
    }))
    .expect("a pipeline")
}

/// What an operator in a test is given besides its plugins.
pub struct Setup {
    /// Loads more plugins from ConfigMaps.
    pub loader: Loader,
    pub leadership: Leadership,
    /// For plugins from ConfigMaps.
    pub plugins: PluginSettings,
    /// One call in so many is made twice and compared; none if it is 0.
    pub purity_every: u64,
    /// Which of the steps it runs.
    pub delegation: Delegation,
    /// Which namespaces it watches besides its own.
    pub guests: GuestSettings,
}

impl Default for Setup {
    /// It leads, and there are no plugins to load.
    fn default() -> Self {
        Self {
            loader: Arc::new(|_: &[u8]| unreachable!("no loader")),
            leadership: lease::alone(),
            plugins: PluginSettings::default(),
            purity_every: 0,
            delegation: Delegation::default(),
            guests: GuestSettings::default(),
        }
    }
}

/// Starts an operator with these plugins in a fresh namespace.
pub async fn operator(steps: &[&str], plugins: Vec<Arc<dyn Guest>>) -> Running {
    let client = client().await;
    let namespace = namespace(&client).await;
    operator_with(client, namespace, steps, plugins, Setup::default()).await
}

/// Starts an operator with these plugins, over this namespace.
pub async fn operator_with(
    client: Client,
    namespace: String,
    steps: &[&str],
    plugins: Vec<Arc<dyn Guest>>,
    setup: Setup,
) -> Running {
    let Setup { loader, leadership, plugins: settings, purity_every, delegation, guests } = setup;
    let stop = CancellationToken::new();
    let pipelines = delegation.part.pipelines(vec![pipeline(steps)]);
    let slots = Arc::new(Slots::new(pipelines.iter().flat_map(|it| it.steps.clone()).collect()));
    for plugin in &plugins {
        slots.put(Source::Embedded, plugin, "{}").expect("the plugin is taken up");
    }
    let (caches, changes) = Caches::new(client.clone(), vec![namespace.clone()], stop.clone());
    let table = Arc::new(Table::default());
    let board = settings.board.clone();
    let metrics = Arc::new(Metrics::default());
    let journal = Arc::new(Journal::default());
    let operator = Operator {
        client: client.clone(),
        pipelines,
        caches,
        changes,
        slots: slots.clone(),
        system: table.clone(),
        fingerprinter: Arc::new(Fingerprinter::new([7; 32])),
        metrics: metrics.clone(),
        journal: journal.clone(),
        leadership,
        namespace: namespace.clone(),
        guests,
        identity: "test".to_owned(),
        loader,
        plugins: settings,
        purity_every,
        delegation,
        ready: Arc::new(AtomicBool::new(false)),
    };
    let task = tokio::spawn(operator.run(stop.clone()));
    Running { client, namespace, metrics, journal, slots, board, table, stop, task: Some(task) }
}

impl Running {
    /// What the operator knows of its plugins.
    pub fn plugins(&self) -> PluginsView {
        self.board.view(&self.slots)
    }

    pub fn things(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &thing())
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a `Thing` as a user would.
    pub async fn apply(&self, name: &str, spec: Value) -> DynamicObject {
        let body =
            json!({"apiVersion": "test.stepwright.dev/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply("user").force();
        self.things().patch(name, &parameters, &Patch::Apply(&body)).await.expect("the thing is applied")
    }

    /// Whether the operator still runs.
    pub fn lives(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// How the operator ended; waits for it.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match self.task.take() {
            Some(task) => tokio::time::timeout(SOON, task).await??,
            None => anyhow::bail!("it was waited for already"),
        }
    }

    /// Waits until the condition of a `Thing` has this status; returns its reason and message.
    pub async fn condition(&self, name: &str, type_: &str, status: &str) -> (String, String) {
        crate::wait::until(&format!("{name}: {type_}={status}"), SOON, || async {
            let thing = self.things().get(name).await.map_err(|error| error.to_string())?;
            let conditions =
                thing.data.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let found = conditions.iter().find(|it| it["type"] == type_);
            match found {
                Some(it) if it["status"] == status => Ok((
                    it["reason"].as_str().unwrap_or("").to_owned(),
                    it["message"].as_str().unwrap_or("").to_owned(),
                )),
                _ => Err(format!("{:?}", thing.data.get("status"))),
            }
        })
        .await
    }

    /// Waits until an object exists and passes.
    pub async fn object<K>(&self, name: &str, passes: impl Fn(&K) -> bool) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        crate::wait::until(&format!("object {name}"), SOON, || async {
            match self.api::<K>().get_opt(name).await {
                Ok(Some(object)) if passes(&object) => Ok(object),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Waits until an object is gone.
    pub async fn gone<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        crate::wait::until(&format!("{name} to go"), SOON, || async {
            match self.api::<K>().get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Events about a primary: reason and message.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events: Api<k8s_openapi::api::events::v1::Event> = self.api();
        let all = events.list(&kube::api::ListParams::default()).await.expect("events");
        all.into_iter()
            .filter(|event| event.regarding.as_ref().and_then(|it| it.name.as_deref()) == Some(name))
            .map(|event| (event.reason.clone().unwrap_or_default(), event.note.clone().unwrap_or_default()))
            .collect()
    }

    /// Writes to the API server that the operator counted so far.
    pub fn writes(&self) -> u64 {
        let text = self.metrics.text(&std::collections::BTreeMap::new());
        text.lines()
            .filter(|line| line.starts_with("stepwright_writes_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}
