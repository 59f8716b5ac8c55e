//! Tests and lints: what CI runs, and what a person runs.

use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;

use crate::build::{self, cargo};
use crate::command::run;
use crate::paths::Paths;
use crate::{foreign, plugins, setup};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only one part
    #[arg(long, value_enum)]
    only: Option<Part>,
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
    if wants(Part::Unit) {
        stage("unit tests", || {
            run(tests(paths).args(["--workspace", "--exclude", E2E, "--lib", "--bins"]))?;
            run(tests(paths).args(["--workspace", "--exclude", E2E, "--doc"]))
        })?;
        stage("unit tests of the plugins", || {
            run(tests(paths).current_dir(paths.root.join("plugins")).arg("--workspace"))
        })?;
        stage("unit tests of the plugins in other languages", || foreign::test(&paths.root))?;
    }
    if wants(Part::Integration) || wants(Part::E2e) {
        stage("programs", || build::programs(paths))?;
        stage("control plane", || build::control_plane(paths))?;
    }
    if wants(Part::Integration) {
        // One crate after the other, as cargo does, and few at once within it: clusters are heavy.
        stage("integration tests", || {
            let mut command = tests(paths);
            run(command.args(["--workspace", "--exclude", E2E, "--test", "*"]))
        })?;
    }
    if wants(Part::E2e) {
        stage("end-to-end tests", || run(tests(paths).args(["-p", E2E, "--", "--test-threads=1"])))?;
    }
    println!("all tests passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) fn lint(paths: &Paths) -> anyhow::Result<()> {
    let plugins = paths.root.join("plugins");
    stage("format", || run(cargo(paths, "fmt").args(["--all", "--check"])))?;
    stage("format of the plugins", || run(cargo(paths, "fmt").args(["--all", "--check"]).current_dir(&plugins)))?;
    // The host's build embeds them.
    stage("plugins", || plugins::build_plugins(&paths.root))?;
    let deny = ["--workspace", "--all-targets", "--", "-D", "warnings"];
    stage("clippy", || run(cargo(paths, "clippy").args(deny)))?;
    stage("clippy of the plugins", || run(cargo(paths, "clippy").args(deny).current_dir(&plugins)))
}

fn tests(paths: &Paths) -> Command {
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
