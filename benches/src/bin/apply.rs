//! Time from `kubectl apply` of a RedisEnterpriseDatabase to `active`, less what the simulator waits: one database after
//! another, on a whole development cluster.
//!
//! Each is watched from outside. When its creation began and ended is read from the simulator, whose clock is ours.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use stepwright_benches::machine;
use stepwright_benches::samples::{Samples, shown, table};
use stepwright_tests::world::{NAMESPACE, World, http};

const DATABASES: usize = 20;
const WITHIN: Duration = Duration::from_secs(60);
/// The simulator's control port.
const CONTROL: u16 = 3399;

/// Wall-clock moments of one database, in milliseconds of the Unix epoch.
struct Moments {
    /// `kubectl apply` is started.
    started: u64,
    /// The API server told of the new object.
    stored: u64,
    /// The simulator began to make the database, and was done.
    began: u64,
    ended: u64,
    /// The API server told of the status `active`.
    active: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let world = World::start().await?;
    let measured = measure(&world).await;
    world.cluster.stop().await?;
    println!("{}", measured?);
    Ok(())
}

async fn measure(world: &World) -> anyhow::Result<String> {
    world.sample_cluster().await?;
    let machine = machine::line();
    let mut all = Vec::new();
    for number in 0..=DATABASES {
        let moments = database(world, &format!("bench-{number}")).await?;
        // The first one finds caches and connections cold.
        if number > 0 {
            all.push(moments);
        }
    }
    let row = |name: &str, time: &dyn Fn(&Moments) -> u64| {
        let samples: Samples = all.iter().map(|it| Duration::from_millis(time(it))).collect();
        vec![name.to_owned(), shown(samples.median()), shown(samples.most())]
    };
    let rows = [
        row("**from `kubectl apply` to `active`, less the simulator's part**", &|it| {
            (it.active - it.started).saturating_sub(it.ended - it.began)
        }),
        row("the whole, the simulator's part included", &|it| it.active - it.started),
        row("– kubectl starts, until the API server tells of the object", &|it| it.stored - it.started),
        row("– until the simulator begins to make the database", &|it| it.began.saturating_sub(it.stored)),
        row("– the simulator makes it (not ours)", &|it| it.ended - it.began),
        row("– until the API server tells of the status `active`", &|it| it.active.saturating_sub(it.ended)),
    ];
    Ok(format!(
        "{machine}\n{DATABASES} databases one after another, after one to warm up.\n\n{}",
        table(&["one database", "median", "longest"], &rows)
    ))
}

/// Makes a database, waits for it, and takes it away again.
async fn database(world: &World, name: &str) -> anyhow::Result<Moments> {
    let client = world.cluster.client().await?;
    let kind =
        ApiResource::from_gvk(&GroupVersionKind::gvk("app.redislabs.com", "v1alpha1", "RedisEnterpriseDatabase"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &kind);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let watched = tokio::spawn(watch(api, config, ready));
    is_ready.await.context("the watch did not begin")?;

    let manifest = json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "100MB", "shardCount": 1},
    });
    let started = now();
    // On this thread kubectl would hold up the watch, were it not for the other workers of the runtime.
    tokio::task::block_in_place(|| world.kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()))?;
    let (stored, active) = tokio::time::timeout(WITHIN, watched).await.context("the database is not active")???;
    let (began, ended) = creation(world, started)?;
    tokio::task::block_in_place(|| world.kubectl(&["delete", "redb", name, "--timeout=60s"]))?;
    Ok(Moments { started, stored, began, ended, active })
}

/// When the object was first seen, and when with the status `active`.
async fn watch(
    api: Api<DynamicObject>,
    config: watcher::Config,
    ready: tokio::sync::oneshot::Sender<()>,
) -> anyhow::Result<(u64, u64)> {
    let mut ready = Some(ready);
    let mut stored = None;
    let mut events = watcher::watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.try_next().await? {
        let at = now();
        match event {
            watcher::Event::InitDone => {
                // Whoever waits is gone only when the measurement is.
                ready.take().map(|ready| ready.send(()));
            }
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                let stored = *stored.get_or_insert(at);
                if object.data.pointer("/status/status").and_then(Value::as_str) == Some("active") {
                    return Ok((stored, at));
                }
            }
            watcher::Event::Init | watcher::Event::Delete(_) => {}
        }
    }
    bail!("the watch ended")
}

/// The state machine that made the database applied at this time, from the state that the simulated nodes agreed on.
fn creation(world: &World, since: u64) -> anyhow::Result<(u64, u64)> {
    let (status, text) = http(world.address("rec-0")?, CONTROL, "GET", "/_sim/state", None, None)?;
    ensure!(status == 200, "the simulator answers {status}: {text}");
    let state: Value = serde_json::from_str(&text)?;
    let actions =
        state.pointer("/state/actions").and_then(Value::as_array).context("the simulator shows no actions")?;
    let mut found = BTreeMap::new();
    for action in actions.iter().filter(|action| action.get("name").is_some_and(|name| name == "SMCreateBDB")) {
        let time = |field: &str| action.get(field).and_then(Value::as_u64);
        if let (Some(began), Some(ended)) = (time("created"), time("ended")) {
            found.insert(began, ended);
        }
    }
    let (began, ended) = found.range(since..).next().context("the simulator has not made the database")?;
    Ok((*began, *ended))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
