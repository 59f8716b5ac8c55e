//! One guest call of the step `rec` against the same logic compiled in, in turns, on one observation of 16 KiB.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use stepwright_benches::samples::{Samples, ratio, shown, table};
use stepwright_benches::{compiled_in, machine, scene};
use stepwright_core::guest::Guest;
use stepwright_core::observation::Observation;
use stepwright_core::plan::{Plan, Progress};
use stepwright_dev_cluster::repository;
use stepwright_engine::{Engine, EngineConfig, LoadedPlugin};
use stepwright_rec::Rec;

const SIZE: usize = 16 << 10;
const WARM_UP: usize = 300;
const ROUNDS: usize = 5_000;
const LOADS: usize = 5;

fn main() -> anyhow::Result<()> {
    let engine = Engine::new(EngineConfig::default())?;
    let (component, bytes, loading) = load(&engine, Path::new("target/plugins/rec.wasm"))?;
    let (echo, _, _) = load(&engine, Path::new("target/guests/echo.wasm"))?;
    let step = component.manifest().steps.first().context("`rec` has no step")?;

    let observed = scene::observation(step, SIZE);
    let native = compiled_in::observation(&observed);
    let planned = sandboxed(&component, &observed)?;
    let compiled = stepwright_sdk::run::<Rec>(&native).map(compiled_in::plan);
    ensure!(compiled.as_ref() == Ok(&planned), "the two disagree: {planned:?} against {compiled:?}");
    ensure!(planned.progress == Progress::Done && planned.calls.is_empty(), "not at rest: {planned:?}");

    let step_of_echo = echo.manifest().steps.first().context("`echo` has no step")?.name.clone();
    let all_back = Observation { step: step_of_echo, ..observed.clone() };
    let nothing = Observation {
        primary: stepwright_core::object::Object { body: "{}".to_owned(), ..observed.primary.clone() },
        objects: Vec::new(),
        facts: Vec::new(),
        notes: Vec::new(),
        ..all_back.clone()
    };

    let (mut inside, mut outside, mut full, mut empty) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    for round in 0..WARM_UP + ROUNDS {
        let in_sandbox = timed(|| sandboxed(&component, &observed))?;
        let compiled_in = timed(|| Ok(stepwright_sdk::run::<Rec>(&native)))?;
        let echoed = timed(|| sandboxed(&echo, &all_back))?;
        let fixed = timed(|| sandboxed(&echo, &nothing))?;
        if round >= WARM_UP {
            inside.push(in_sandbox);
            outside.push(compiled_in);
            full.push(echoed);
            empty.push(fixed);
        }
    }

    let row = |name: &str, samples: &Samples| {
        vec![name.to_owned(), shown(samples.median()), shown(samples.p99()), ratio(samples.median(), outside.median())]
    };
    let size = observed.size();
    println!("{}", machine::line());
    println!(
        "{ROUNDS} rounds of the four in turns, after {WARM_UP} to warm up. Observation: {size} bytes; plan: {} objects, {} bytes.\n",
        planned.desired.len(),
        planned.size()
    );
    println!(
        "{}",
        table(
            &["one call", "median", "p99", "times the compiled-in"],
            &[
                row("`rec`, compiled in", &outside),
                row("`rec`, in the sandbox, a fresh instance", &inside),
                row("a guest that hands the same observation back", &full),
                row("the same guest, shown next to nothing: the fixed cost", &empty),
            ],
        )
    );
    println!(
        "Loading `rec.wasm` ({} KiB), which compiles it: {} (median of {LOADS}).",
        bytes >> 10,
        shown(loading.median())
    );
    Ok(())
}

fn load(engine: &Engine, file: &Path) -> anyhow::Result<(LoadedPlugin, usize, Samples)> {
    let file = repository().join(file);
    let bytes = std::fs::read(&file)
        .with_context(|| format!("failed to read `{}`: run `cargo xtask build-plugins`", file.display()))?;
    let mut loading = Samples::default();
    let mut loaded = None;
    for _ in 0..LOADS {
        let start = Instant::now();
        loaded = Some(engine.load(&bytes)?);
        loading.push(start.elapsed());
    }
    Ok((loaded.context("not loaded")?, bytes.len(), loading))
}

fn sandboxed(plugin: &LoadedPlugin, observed: &Observation) -> anyhow::Result<Plan> {
    match plugin.reconcile(observed)? {
        Ok(plan) => Ok(plan),
        Err(failure) => bail!("no plan: {failure:?}"),
    }
}

/// Until the answer is there; what it takes to drop it is not counted on either side.
fn timed<T>(call: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let answer = black_box(call()?);
    let took = start.elapsed();
    drop(answer);
    Ok(took)
}
