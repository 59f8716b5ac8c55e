//! Many swaps in a row under load: no pass lost, none failed, none mixed, memory flat. And how long a swap takes, from the API
//! server's answer to the first object that the new version wrote.
//!
//! `STEPWRIGHT_SWAPS` says how many; a hundred where nothing is said, a thousand for figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::runtime::watcher;
use serde_json::json;
use stepwright_core::guest::Digest;
use stepwright_tests::api_server::{Running, SOON, client, namespace};
use stepwright_tests::components::Card;
use stepwright_tests::plugins::{engine_operator, put_plugin};
use stepwright_tests::resident_kib;
use tokio::sync::broadcast;

/// Primaries that are being changed all the time.
const BUSY: usize = 4;
/// After so many swaps everything that is kept for reuse is there.
const WARM: usize = 20;
/// What the process may have grown by since then. The allocator's own unrest is about half of it.
const GROWTH_KIB: u64 = 12 * 1024;

/// One state of an object, as the API server told it.
#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    /// Which version's words it holds.
    by: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_in_a_row_under_load_lose_nothing_and_mix_nothing() {
    let swaps: usize = std::env::var("STEPWRIGHT_SWAPS").map_or(100, |text| text.parse().unwrap());
    let client = client().await;
    let home = namespace(&client).await;
    let versions: Vec<(String, Vec<u8>)> = ["red", "green", "blue"]
        .into_iter()
        .map(|words| (words.to_owned(), Card::good("swapped", words).component()))
        .collect();
    let embedded = Card::good("swapped", "white").component();
    let running = Arc::new(engine_operator(client, home, &["step"], &[&embedded]).await);
    let names: BTreeMap<String, String> = versions
        .iter()
        .map(|(words, bytes)| (words.as_str(), bytes))
        .chain([("white", &embedded)])
        .map(|(words, bytes)| (Digest::of(bytes).short().to_owned(), words.to_owned()))
        .collect();

    let (seen, _) = broadcast::channel(10_000);
    let mixed: Arc<parking_lot::Mutex<Vec<String>>> = Arc::default();
    let watching = tokio::spawn(watch(running.clone(), names, seen.clone(), mixed.clone()));
    let busy = Arc::new(AtomicBool::new(true));
    let changes = Arc::new(AtomicU64::new(0));
    let load: Vec<_> = (0..BUSY)
        .map(|number| tokio::spawn(change(running.clone(), format!("busy-{number}"), busy.clone(), changes.clone())))
        .collect();

    let mut took: Vec<Duration> = Vec::with_capacity(swaps);
    let mut resident: Vec<u64> = Vec::with_capacity(swaps);
    let began = Instant::now();
    for swap in 0..swaps {
        let (words, bytes) = &versions[swap % versions.len()];
        let mut seen = seen.subscribe();
        put_plugin(&running, "swapped", "plugin.wasm", bytes, json!({}), &[]).await;
        let answered = Instant::now();
        let first = async {
            loop {
                match seen.recv().await {
                    Ok(Seen { at, by }) if by == *words => return at,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => panic!("the watch ended"),
                }
            }
        };
        let at =
            tokio::time::timeout(SOON, first).await.unwrap_or_else(|_| panic!("swap {swap} to {words} has no effect"));
        took.push(at.saturating_duration_since(answered));
        resident.push(resident_kib());
    }
    let all = began.elapsed();
    busy.store(false, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    watching.abort();

    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
    let changes = changes.load(Ordering::Relaxed);
    let warm = resident[WARM.max(swaps / 5).min(swaps - 1)];
    let last = *resident.last().unwrap();
    println!(
        "{swaps} swaps in {:.1} s, {changes} changes of {BUSY} primaries meanwhile, each carried out",
        all.as_secs_f64()
    );
    println!(
        "from the API server's answer to the first object by the new version: p50 {:?}, p99 {:?}, most {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!("resident: {} MiB after a fifth of them, {} MiB after all", warm / 1024, last / 1024);

    assert!(mixed.lock().is_empty(), "{:#?}", mixed.lock());
    let failed = failed_passes(&running);
    assert!(failed.is_empty(), "passes failed: {failed:#?}");
    assert!(changes > 0);
    assert!(last <= warm + GROWTH_KIB, "{last} KiB after all swaps, {warm} KiB after a fifth of them");
    let exported = running.metrics.text(&BTreeMap::new());
    let count = exported.lines().find(|line| line.starts_with("stepwright_plugin_swap_seconds_count"));
    let count: u64 = count.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= swaps as u64, "{count} swaps were measured by the operator itself");
    assert!(running.lives());
}

/// Changes one primary again and again; each change must be carried out before the next.
async fn change(running: Arc<Running>, name: String, busy: Arc<AtomicBool>, changes: Arc<AtomicU64>) {
    let mut turn = 0_u64;
    while busy.load(Ordering::Relaxed) {
        turn += 1;
        let value = turn.to_string();
        running.apply(&name, json!({"value": value})).await;
        let carried_out = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data["value"] == value);
        let _: ConfigMap = running.object(&format!("{name}-config"), carried_out).await;
        changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every state of every object that the plugins make: its words and the plugin that the host says made it must agree.
async fn watch(
    running: Arc<Running>,
    names: BTreeMap<String, String>,
    told: broadcast::Sender<Seen>,
    mixed: Arc<parking_lot::Mutex<Vec<String>>>,
) {
    let config = watcher::Config::default().labels("app.kubernetes.io/managed-by=stepwright");
    let mut events = watcher::watcher(running.api::<ConfigMap>(), config).boxed();
    while let Some(event) = events.next().await {
        let (watcher::Event::Apply(map) | watcher::Event::InitApply(map)) = event.unwrap() else { continue };
        let by = map.data.as_ref().and_then(|data| data.get("by")).cloned().unwrap_or_default();
        let plugin = map.annotations().get("stepwright.dev/plugin").cloned().unwrap_or_default();
        let digest = plugin.rsplit('@').next().unwrap_or_default();
        if names.get(digest) != Some(&by) {
            mixed.lock().push(format!("{} says `{by}`, and was made by `{plugin}`", map.name_any()));
        }
        // Nobody listens between two swaps.
        let _ = told.send(Seen { at: Instant::now(), by });
    }
}

/// Outcomes of passes that are neither of the good ones.
fn failed_passes(running: &Running) -> BTreeSet<String> {
    let text = running.metrics.text(&BTreeMap::new());
    let passes = text.lines().filter(|line| line.starts_with("stepwright_passes_total"));
    let good = |line: &&str| line.contains(r#"outcome="settled""#) || line.contains(r#"outcome="again""#);
    passes.filter(|line| !good(line)).map(str::to_owned).collect()
}
