//! One review of a plan of the step `rec` by each of the policies that are shipped as examples, in three languages, in turns.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;
use stepwright_benches::samples::{Samples, shown, table};
use stepwright_benches::{compiled_in, machine, scene};
use stepwright_core::guest::Guest;
use stepwright_core::observation::{Fact, ObjectSet, Observation};
use stepwright_dev_cluster::repository;
use stepwright_engine::{Engine, EngineConfig, LoadedPlugin};
use stepwright_rec::Rec;

const POLICIES: [(&str, &str); 5] = [
    ("service-labels", "Rust"),
    ("redb-memory-quota", "Rust"),
    ("maintenance-window", "Rust"),
    ("no-load-balancer", "JavaScript"),
    ("topology-spread", "Python"),
];
const SIZE: usize = 16 << 10;
const WARM_UP: usize = 30;
const ROUNDS: usize = 500;

fn main() -> anyhow::Result<()> {
    let engine = Engine::new(EngineConfig::default())?;
    let rec = engine.load(&read("rec")?)?;
    let step = rec.manifest().steps.first().context("`rec` has no step")?;
    let observed = scene::observation(step, SIZE);
    let planned = stepwright_sdk::run::<Rec>(&compiled_in::observation(&observed)).map(compiled_in::plan);
    let planned = planned.map_err(|failure| anyhow::anyhow!("no plan: {failure:?}"))?;

    let mut subjects = Vec::new();
    for (name, language) in POLICIES {
        let bytes = read(name)?;
        let start = Instant::now();
        let plugin = engine.load(&bytes)?;
        let loading = start.elapsed();
        let seen = seen(&plugin, &observed);
        subjects.push((name, language, bytes.len(), loading, plugin, seen, Samples::default()));
    }
    for round in 0..WARM_UP + ROUNDS {
        for (_, _, _, _, plugin, seen, samples) in &mut subjects {
            let called = black_box(plugin.review(seen, &planned));
            called.answer?;
            if round >= WARM_UP {
                samples.push(called.usage.took);
            }
        }
    }

    println!("{}", machine::line());
    println!(
        "{ROUNDS} rounds of the five in turns, after {WARM_UP} to warm up; a fresh instance for each. The plan: {} objects, {} bytes.\n",
        planned.desired.len(),
        planned.size()
    );
    let rows: Vec<Vec<String>> = subjects
        .iter()
        .map(|(name, language, bytes, loading, _, _, samples)| {
            let review = format!("{} ({})", shown(samples.median()), shown(samples.p99()));
            vec![format!("`{name}`"), (*language).to_owned(), format!("{} KiB", bytes >> 10), shown(*loading), review]
        })
        .collect();
    println!("{}", table(&["policy", "language", "component", "loading", "one review, median (p99)"], &rows));
    Ok(())
}

fn read(name: &str) -> anyhow::Result<Vec<u8>> {
    let file = repository().join(format!("target/plugins/{name}.wasm"));
    std::fs::read(&file)
        .with_context(|| format!("failed to read `{}`: run `cargo xtask build-plugins`", file.display()))
}

/// What the policy's manifest names: sets that are empty, facts that are lists of nothing.
fn seen(plugin: &LoadedPlugin, observed: &Observation) -> Observation {
    let settings = match plugin.manifest().name.as_str() {
        "service-labels" => json!({"labels": {"example.com/team": "data"}}),
        "redb-memory-quota" => json!({"default": "2GB"}),
        "maintenance-window" => json!({"weekdays": ["Sun"], "from": "01:00", "to": "05:00"}),
        _ => json!({}),
    };
    let policy = plugin.manifest().policy.clone();
    let (observes, facts) = policy.map(|it| (it.observes, it.facts)).unwrap_or_default();
    Observation {
        settings: settings.to_string(),
        objects: observes.into_iter().map(|it| ObjectSet { name: it.name, objects: Vec::new() }).collect(),
        facts: facts.into_iter().map(|name| Fact { name, value: Ok("[]".to_owned()) }).collect(),
        notes: Vec::new(),
        ..observed.clone()
    }
}
