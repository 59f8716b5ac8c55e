//! A whole pass over a RedisEnterpriseCluster that changes nothing: steps `upgrade`, `rec` and `services-rigger`, over a
//! real API server, with answers from memory, with the guests asked each time, and with the steps compiled in.
//!
//! Three operators run side by side in this process, each over a namespace and an identical cluster of its own. A pass is
//! caused by an annotation that no step looks at, and its time is what the operator's own metric says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwright_benches::compiled_in::{CompiledIn, Inquisitive};
use stepwright_benches::samples::{Samples, ratio, shown, table};
use stepwright_benches::{machine, scene};
use stepwright_core::guest::Guest;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::secrets::Fingerprinter;
use stepwright_dev_cluster::{Cluster, ClusterOptions, Parts, repository};
use stepwright_engine::{Engine, EngineConfig};
use stepwright_operator::cache::Caches;
use stepwright_operator::controller::Operator;
use stepwright_operator::lease;
use stepwright_operator::metrics::Metrics;
use stepwright_operator::slots::{Slots, Source};
use stepwright_rec::Rec;
use stepwright_services_rigger::ServicesRigger;
use stepwright_tests::native::Table;
use stepwright_tests::wait::until;
use stepwright_upgrade::Upgrade;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

const STEPS: [&str; 3] = ["upgrade", "rec", "services-rigger"];
const DATABASES: usize = 10;
const WARM_UP: usize = 30;
const ROUNDS: usize = 400;
const SOON: Duration = Duration::from_secs(60);
/// How often the metrics are looked at while a pass is awaited.
const LOOK: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = ClusterOptions { parts: Parts::ApiServerOnly, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await?;
    let measured = measure(&cluster).await;
    cluster.stop().await?;
    println!("{}", measured?);
    Ok(())
}

async fn measure(cluster: &Cluster) -> anyhow::Result<String> {
    let machine = machine::line();
    install(cluster).await?;
    let engine = Engine::new(EngineConfig::default())?;
    let components = STEPS.iter().map(|step| component(&engine, step)).collect::<anyhow::Result<Vec<_>>>()?;
    let inquisitive = |guests: &[Arc<dyn Guest>]| {
        guests.iter().map(|guest| -> Arc<dyn Guest> { Arc::new(Inquisitive::new(guest.clone())) }).collect()
    };
    let compiled_in: [Arc<dyn Guest>; 3] = [
        Arc::new(CompiledIn::<Upgrade>::new()?),
        Arc::new(CompiledIn::<Rec>::new()?),
        Arc::new(CompiledIn::<ServicesRigger>::new()?),
    ];
    let asked = inquisitive(&components);
    let mut variants = [
        Variant::start(cluster, "memory", "answers from memory", components).await?,
        Variant::start(cluster, "sandbox", "each step asked, in the sandbox", asked).await?,
        Variant::start(cluster, "native", "each step asked, compiled in", inquisitive(&compiled_in)).await?,
    ];
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            variants.iter_mut().for_each(Variant::begin);
        }
        for variant in &mut variants {
            variant.pass(round).await?;
        }
    }
    let native = variants.iter().find(|it| it.namespace == "native").context("not measured")?.times.median();
    let mut rows = Vec::new();
    for variant in &variants {
        let now = variant.count();
        let passes = now.passes - variant.begun.passes;
        let writes = now.writes - variant.begun.writes;
        let requests = now.requests - variant.begun.requests;
        ensure!(writes == 0, "`{}` wrote {writes} times: its passes did change something", variant.name);
        rows.push(vec![
            variant.name.to_owned(),
            shown(variant.times.median()),
            shown(variant.times.p99()),
            ratio(variant.times.median(), native),
            format!("{:.1}", (now.guest_calls - variant.begun.guest_calls) as f64 / passes as f64),
            requests.to_string(),
        ]);
    }
    let head = ["one pass", "median", "p99", "times the compiled-in", "guest calls a pass", "API requests in all"];
    Ok(format!("{machine}\n{ROUNDS} passes of each in turns, after {WARM_UP} to warm up.\n\n{}", table(&head, &rows)))
}

/// The four kinds, as a user installs them.
async fn install(cluster: &Cluster) -> anyhow::Result<()> {
    let bundle = repository().join("deploy/bundle.yaml");
    let mut command = cluster.kubectl()?;
    let output = command.args(["apply", "-n", "default", "-f"]).arg(&bundle).output().await?;
    ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn component(engine: &Engine, step: &str) -> anyhow::Result<Arc<dyn Guest>> {
    let file = repository().join(Path::new("target/plugins").join(format!("{step}.wasm")));
    let bytes = std::fs::read(&file)
        .with_context(|| format!("failed to read `{}`: run `cargo xtask build-plugins`", file.display()))?;
    Ok(Arc::new(engine.load(&bytes)?))
}

/// An operator over a namespace of its own.
struct Variant {
    namespace: &'static str,
    name: &'static str,
    clusters: Api<DynamicObject>,
    metrics: Arc<Metrics>,
    requests: Arc<AtomicU64>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    times: Samples,
    begun: Count,
}

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    passes: u64,
    seconds: f64,
    guest_calls: u64,
    writes: u64,
    /// Requests of the operator to the API server, other than watches that were started again.
    requests: u64,
}

impl Drop for Variant {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

impl Variant {
    async fn start(
        cluster: &Cluster,
        namespace: &'static str,
        name: &'static str,
        guests: Vec<Arc<dyn Guest>>,
    ) -> anyhow::Result<Self> {
        let client = cluster.client().await?;
        populate(&client, namespace).await?;
        let requests = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let own = counted(cluster, requests.clone()).await?;
        let task = run(own, namespace, &guests, metrics.clone(), stop.clone())?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("app.redislabs.com", "v1", "RedisEnterpriseCluster"));
        let clusters: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        let (times, begun) = (Samples::default(), Count::default());
        let variant = Self { namespace, name, clusters, metrics, requests, stop, task, times, begun };
        variant.settle(&client).await?;
        Ok(variant)
    }

    /// Plays the StatefulSet's controller, and waits until the cluster is `Running` and nothing more is written.
    async fn settle(&self, client: &Client) -> anyhow::Result<()> {
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), self.namespace);
        until("the StatefulSet", SOON, || async { sets.get("rec").await }).await;
        let status = json!({"status": scene::statefulset_status()});
        sets.patch_status("rec", &PatchParams::default(), &Patch::Merge(&status)).await?;
        until("the cluster to run", SOON, || async {
            let cluster = self.clusters.get("rec").await.map_err(|error| error.to_string())?;
            let status = cluster.data.get("status").cloned().unwrap_or_default();
            if status.get("state").and_then(Value::as_str) == Some("Running") {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
        until("the operator to rest", SOON, || async {
            let before = self.count();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let after = self.count();
            if (before.passes, before.requests) == (after.passes, after.requests) { Ok(()) } else { Err(after) }
        })
        .await;
        Ok(())
    }

    fn begin(&mut self) {
        self.begun = self.count();
        self.times = Samples::default();
    }

    /// Causes one pass, and takes its time down.
    async fn pass(&mut self, round: usize) -> anyhow::Result<()> {
        let before = self.count();
        let annotation = json!({"metadata": {"annotations": {"example.com/round": round.to_string()}}});
        self.clusters.patch("rec", &PatchParams::default(), &Patch::Merge(&annotation)).await?;
        let deadline = tokio::time::Instant::now() + SOON;
        let after = loop {
            tokio::time::sleep(LOOK).await;
            let now = self.count();
            if now.passes > before.passes {
                break now;
            }
            ensure!(tokio::time::Instant::now() < deadline, "`{}` made no pass", self.name);
        };
        let passes = after.passes - before.passes;
        self.times.push(Duration::from_secs_f64((after.seconds - before.seconds) / passes as f64));
        Ok(())
    }

    fn count(&self) -> Count {
        let text = self.metrics.text(&BTreeMap::new());
        let sum = |name: &str| -> f64 {
            let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Count {
            passes: sum("stepwright_pass_seconds_count") as u64,
            seconds: sum("stepwright_pass_seconds_sum"),
            guest_calls: sum("stepwright_guest_calls_total") as u64,
            writes: sum("stepwright_writes_total") as u64,
            requests: self.requests.load(Ordering::Relaxed),
        }
    }
}

/// What the cluster's user, the StatefulSet's controller and the kubelet make.
async fn populate(client: &Client, namespace: &str) -> anyhow::Result<()> {
    make::<Namespace>(&Api::all(client.clone()), json!({"metadata": {"name": namespace}})).await?;
    // Its controller does not run here, and without it the API server takes no pods.
    make::<ServiceAccount>(&Api::namespaced(client.clone(), namespace), json!({"metadata": {"name": "default"}}))
        .await?;
    // Made in advance: the nodes say that they are members already, and credentials of an existing cluster cannot be made again.
    let secret =
        json!({"metadata": {"name": "rec"}, "stringData": {"username": "admin@example.com", "password": "bench"}});
    make::<Secret>(&Api::namespaced(client.clone(), namespace), secret).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    for ordinal in 0..scene::NODES {
        make(&pods, scene::pod(ordinal)).await?;
        make(&claims, scene::claim(ordinal)).await?;
    }
    for value in [scene::cluster()].into_iter().chain((0..DATABASES).map(scene::database)) {
        let object: DynamicObject = serde_json::from_value(value)?;
        let types = object.types.clone().context("an object without a kind")?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        api.create(&PostParams::default(), &object).await?;
    }
    Ok(())
}

/// Makes an object and reports its status.
async fn make<K>(api: &Api<K>, value: Value) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(value.clone())?;
    api.create(&PostParams::default(), &object).await?;
    if let (Some(status), Some(name)) = (value.get("status"), value.pointer("/metadata/name").and_then(Value::as_str)) {
        let status = json!({"status": status});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(())
}

/// A client that counts what it asks. A watch that ran out and is started again is no pass's doing, and not counted.
async fn counted(cluster: &Cluster, requests: Arc<AtomicU64>) -> anyhow::Result<Client> {
    let config = Kubeconfig::read_from(cluster.kubeconfig())?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    let count = MapRequestLayer::new(move |request: http::Request<Body>| {
        if !request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        request
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&count).build())
}

fn run(
    client: Client,
    namespace: &str,
    guests: &[Arc<dyn Guest>],
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let pipelines: Vec<Pipeline> = serde_json::from_str(stepwright_redis_enterprise::PIPELINES)?;
    let pipeline = pipelines.into_iter().find(|it| it.kind == "RedisEnterpriseCluster").context("no such pipeline")?;
    if pipeline.steps != STEPS {
        bail!("the pipeline has other steps by now: {:?}", pipeline.steps);
    }
    let slots = Arc::new(Slots::new(pipeline.steps.clone()));
    for guest in guests {
        slots.put(Source::Embedded, guest, "{}")?;
    }
    let (caches, changes) = Caches::new(client.clone(), vec![namespace.to_owned()], stop.clone());
    let system = Arc::new(Table::default());
    *system.facts.lock() = scene::facts();
    let operator = Operator {
        client,
        pipelines: vec![pipeline],
        caches,
        changes,
        slots,
        system,
        fingerprinter: Arc::new(Fingerprinter::new([7; 32])),
        metrics,
        journal: Arc::default(),
        leadership: lease::alone(),
        namespace: namespace.to_owned(),
        guests: stepwright_operator::guests::GuestSettings::default(),
        identity: "bench".to_owned(),
        loader: Arc::new(|_: &[u8]| unreachable!("no plugin comes from a ConfigMap here")),
        plugins: stepwright_operator::plugins::PluginSettings::default(),
        purity_every: 0,
        delegation: Default::default(),
        admission: None,
        ready: Arc::new(AtomicBool::new(false)),
    };
    Ok(tokio::spawn(operator.run(stop)))
}
