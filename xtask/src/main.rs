//! Tasks of the repository: `cargo xtask <task>`.
//!
//! Each task is a module. Nothing here links the product: tasks call cargo, kubectl and the programs that cargo built,
//! so that this crate compiles in seconds on a new machine.

mod build;
mod command;
mod external;
mod features;
mod foreign;
mod generate;
mod interrupt;
mod kubectl;
mod lanes;
mod licences;
mod paths;
#[allow(unreachable_pub, reason = "it is written as if others called it, too")]
mod plugins;
mod progress;
mod setup;
mod test;
mod up;
mod walkthrough;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::paths::Paths;

/// Tasks of the Stepwright repository
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything, start a cluster, and bring a Redis database up on it
    Up(up::Options),
    /// Take a cluster down; nothing of it is left
    Down(Named),
    /// Print the path of a cluster's kubeconfig
    Kubeconfig(Named),
    /// Find or install what the other tasks need
    Setup,
    /// Build plugins, host, simulator and development cluster
    Build,
    /// Build the plugins into `target/plugins/`
    BuildPlugins,
    /// Build the control plane into `target/control-plane/`, where `KUBEBUILDER_ASSETS` gives none
    BuildControlPlane,
    /// Write the CustomResourceDefinitions anew
    Crds(generate::Options),
    /// Write everything anew that is generated
    Generate(generate::Options),
    /// Write `docs/features.md` anew, from what the rows of the checklist showed last
    Features(generate::Options),
    /// Run the tests
    Test(test::Options),
    /// Check formatting and lints, warnings denied
    Lint,
    /// Check the sources and licences of all dependencies
    Licences,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The cluster's name
    #[arg(long, default_value = "default")]
    name: String,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let paths = Paths::new()?;
    match task {
        Task::Up(options) => up::run(&paths, &options),
        Task::Down(Named { name }) => up::down(&paths, &name),
        Task::Kubeconfig(Named { name }) => {
            println!("{}", up::kubeconfig(&paths, &name)?.display());
            Ok(())
        }
        Task::Setup => setup::say(),
        Task::Build => build::everything(&paths),
        Task::BuildPlugins => plugins::build_plugins(&paths.root),
        Task::BuildControlPlane => build::control_plane(&paths),
        Task::Crds(options) => generate::crds(&paths, options.check),
        Task::Generate(options) => generate::everything(&paths, options.check),
        Task::Features(options) => features::page(&paths, &test::groups(&paths)?, options.check),
        Task::Test(options) => test::run_tests(&paths, &options),
        Task::Lint => test::lint(&paths),
        Task::Licences => licences::check(&paths),
    }
}
