//! Tests and lints: what CI runs, and what a person runs.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde_json::Value;

use crate::build::{self, cargo};
use crate::command::run;
use crate::paths::Paths;
use crate::{features, foreign, lanes, plugins, setup};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Run rows of the checklist a second time, after the operator was killed, and compare docs/features.md with what they show
    #[arg(long)]
    twice: bool,
    /// Run only these programs of `tests/`, rows of the checklist for the most part, two at a time
    #[arg(value_name = "PROGRAM")]
    programs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Unit, golden and property tests: no cluster
    Unit,
    /// Each crate's tests with real processes and a real API server
    Integration,
    /// The walkthrough and the rest of `tests/`, on whole clusters
    E2e,
}

/// The package whose tests need whole clusters with everything on them.
const E2E: &str = "stepwright-tests";

pub(crate) fn run_tests(paths: &Paths, options: &Options) -> anyhow::Result<()> {
    let wants = |part: Part| options.only.is_none_or(|only| only == part);
    let started = Instant::now();
    stage("set-up", setup::ensure)?;
    stage("plugins", || plugins::build_plugins(&paths.root))?;
    if !options.programs.is_empty() {
        stage("programs", || build::programs(paths))?;
        stage("control plane", || build::control_plane(paths))?;
        return stage("named programs", || lanes::run(paths, &options.programs, options.twice));
    }
    if wants(Part::Unit) {
        stage("unit tests", || {
            run(tests(paths).args(["--workspace", "--lib", "--bins"]))?;
            run(tests(paths).args(["--workspace", "--doc"]))
        })?;
        stage("unit tests of the plugins", || run(native(tests(paths), paths).arg("--workspace")))?;
        stage("unit tests of the plugins in other languages", || foreign::test(&paths.root))?;
    }
    if wants(Part::Integration) || wants(Part::E2e) {
        stage("programs", || build::programs(paths))?;
        stage("control plane", || build::control_plane(paths))?;
    }
    if wants(Part::Integration) {
        // One crate after the other, as cargo does, and few at once within it: clusters are heavy.
        stage("integration tests", || run(tests(paths).args(targets(paths, |package| package != E2E)?)))?;
    }
    if wants(Part::E2e) {
        let mut all = names(paths, |package| package == E2E)?;
        if !options.twice {
            for name in long(paths)? {
                println!("left for --twice: {name}");
                all.remove(&name);
            }
        }
        let (on_clusters, others): (Vec<String>, Vec<String>) = all.into_iter().partition(|name| is_lane(name));
        stage("end-to-end tests", || run(tests(paths).args(chosen(others)).args(["--", "--test-threads=1"])))?;
        stage("rows of the checklist, and failures", || {
            // So that nothing is there afterwards but what these tests showed.
            match std::fs::remove_dir_all(features::results(paths)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            lanes::run(paths, &on_clusters, options.twice)
        })?;
        if options.twice {
            stage("docs/features.md", || features::page(paths, &groups(paths)?, true))?;
        }
    }
    println!("all tests passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) fn lint(paths: &Paths) -> anyhow::Result<()> {
    stage("format", || run(cargo(paths, "fmt").args(["--all", "--check"])))?;
    stage("format of the plugins", || run(native(cargo(paths, "fmt"), paths).args(["--all", "--check"])))?;
    // The host's build embeds them.
    stage("plugins", || plugins::build_plugins(&paths.root))?;
    let deny = ["--workspace", "--all-targets", "--", "-D", "warnings"];
    stage("clippy", || run(cargo(paths, "clippy").args(deny)))?;
    stage("clippy of the plugins", || run(native(cargo(paths, "clippy"), paths).args(deny)))
}

/// Cargo in the plugins' workspace, for this machine instead of WebAssembly. In a target folder of its own: the root's
/// workspace compiles some of the same packages, and cargo would take what one made for what the other needs.
fn native(mut command: Command, paths: &Paths) -> Command {
    command.current_dir(paths.root.join("plugins")).env("CARGO_TARGET_DIR", paths.target.join("plugins-native"));
    command
}

/// Test programs that are left out unless everything is asked for; `tests/Cargo.toml` names them, with the reason.
fn long(paths: &Paths) -> anyhow::Result<Vec<String>> {
    let all = metadata(paths)?;
    let packages = all.get("packages").and_then(Value::as_array).into_iter().flatten();
    let listed = packages.filter_map(|package| package.pointer("/metadata/stepwright/long")?.as_array().cloned());
    Ok(listed.flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
}

fn metadata(paths: &Paths) -> anyhow::Result<Value> {
    let output = cargo(paths, "metadata").args(["--no-deps", "--format-version", "1"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata printed something else")
}

/// Programs that have a development cluster to themselves for minutes, and generous deadlines, so that two may run at a time.
fn is_lane(name: &str) -> bool {
    name.starts_with("rows_") || ["data_path", "data_settings", "failures"].contains(&name)
}

/// The test programs that hold rows of the checklist.
pub(crate) fn groups(paths: &Paths) -> anyhow::Result<BTreeSet<String>> {
    let all = names(paths, |package| package == E2E)?;
    Ok(all.into_iter().filter(|name| name.starts_with("rows_")).collect())
}

/// The integration tests of some packages, as options of `cargo test`. The whole workspace is named all the same, and targets
/// within it are chosen: with fewer packages cargo would unite their features differently, and compile wasmtime once more.
fn targets(paths: &Paths, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    Ok(chosen(names(paths, wanted)?))
}

pub(crate) fn chosen(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let options = names.into_iter().flat_map(|name| ["--test".to_owned(), name]);
    std::iter::once("--workspace".to_owned()).chain(options).collect()
}

/// The integration tests of some packages by name.
fn names(paths: &Paths, wanted: impl Fn(&str) -> bool) -> anyhow::Result<BTreeSet<String>> {
    let metadata = metadata(paths)?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value| value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_test = |target: &Value| list(target, "kind").iter().any(|kind| kind == "test");
    let (mut chosen, mut others) = (BTreeSet::new(), BTreeSet::new());
    for package in list(&metadata, "packages") {
        let names = list(&package, "targets").into_iter().filter(is_test).map(|target| text(&target));
        if wanted(&text(&package)) { chosen.extend(names) } else { others.extend(names) }
    }
    let twice: Vec<&String> = chosen.intersection(&others).collect();
    ensure!(twice.is_empty(), "tests of several packages have the same name, so that none can be chosen: {twice:?}");
    ensure!(!chosen.is_empty(), "there are no tests");
    Ok(chosen)
}

pub(crate) fn tests(paths: &Paths) -> Command {
    let mut command = cargo(paths, "test");
    // A folder of our own holds all that `KUBEBUILDER_ASSETS` usually names; one that was given stays.
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none_or(|value| value.is_empty()) {
        command.env("KUBEBUILDER_ASSETS", paths.control_plane());
    }
    command.env("STEPWRIGHT_BIN_DIR", paths.programs());
    command
}

fn stage(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let started = Instant::now();
    println!("== {name}");
    run()?;
    println!("== {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
