//! Builds: the plugins, then all our programs in one go, then the control plane.

use std::process::Command;

use crate::command::run;
use crate::paths::Paths;
use crate::plugins;

/// The programs that a development cluster consists of.
const PROGRAMS: [&str; 3] = ["stepwright", "redis-enterprise-simulator", "stepwright-dev-cluster"];

pub(crate) fn everything(paths: &Paths) -> anyhow::Result<()> {
    plugins::build_plugins(&paths.root)?;
    programs(paths)?;
    control_plane(paths)
}

/// One call of cargo, so that it decides what goes first, and for the workspace, so that libraries get the same features
/// as in its tests and are compiled once. The host embeds the plugins, so they must be there.
pub(crate) fn programs(paths: &Paths) -> anyhow::Result<()> {
    let mut command = cargo(paths, "build");
    for program in PROGRAMS {
        command.args(["--bin", program]);
    }
    run(command.arg("--workspace"))
}

/// Builds what is missing of the control plane; quick when nothing is.
pub(crate) fn control_plane(paths: &Paths) -> anyhow::Result<()> {
    let program = paths.program("stepwright-dev-cluster");
    if !program.exists() {
        run(cargo(paths, "build").args(["--workspace", "--bin", "stepwright-dev-cluster"]))?;
    }
    run(Command::new(program).arg("build-control-plane").env("CARGO_TARGET_DIR", &paths.target))
}

/// Cargo in the root workspace.
pub(crate) fn cargo(paths: &Paths, subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(&paths.root).env("CARGO_TARGET_DIR", &paths.target);
    command
}
