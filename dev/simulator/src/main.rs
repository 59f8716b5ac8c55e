//! The binary: a node, or `rladmin` or `crdb-cli`, or the guard of a redis-server. What each does is in the library.

use std::{ffi::OsStr, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};
use redis_enterprise_simulator::{guard, node::Node, rladmin, settings::NodeArgs};
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(name = "redis-enterprise-simulator", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Play a node until told to stop.
    Node(NodeArgs),
    /// Be `rladmin` (also when the program is called by that name).
    #[command(disable_help_flag = true)]
    Rladmin {
        /// The command line of `rladmin`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Be `crdb-cli` (also when the program is called by that name).
    #[command(disable_help_flag = true)]
    CrdbCli {
        /// The command line of `crdb-cli`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Become a program that dies with the node; for the node's own use.
    #[command(hide = true)]
    Guard {
        /// The node's process.
        #[arg(long)]
        parent: i32,
        /// The program.
        program: String,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let called_as = |tool: &str| {
        std::env::args_os().next().is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new(tool)))
    };
    let words = || std::env::args().skip(1).collect::<Vec<_>>();
    if called_as("rladmin") {
        return run_tool(rladmin::run(&words()));
    }
    if called_as("crdb-cli") {
        return run_tool(rladmin::crdb_cli::run(&words()));
    }
    match Cli::parse().command {
        Subcommands::Node(arguments) => run_node(arguments),
        Subcommands::Rladmin { words } => run_tool(rladmin::run(&words)),
        Subcommands::CrdbCli { words } => run_tool(rladmin::crdb_cli::run(&words)),
        Subcommands::Guard { parent, program, arguments } => {
            let failure = guard::become_guarded(parent, &program, &arguments);
            eprintln!("failed to run `{program}`: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_node(arguments: NodeArgs) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "failed to start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            error!("failed to listen for signals");
            return ExitCode::FAILURE;
        };
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let ran = match Node::new(arguments.settings()) {
            Ok(node) => node.run(stop).await,
            Err(error) => Err(error),
        };
        match ran {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the node cannot run");
                ExitCode::FAILURE
            }
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

fn run_tool(tool: impl Future<Output = Result<(), rladmin::RladminError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ERROR: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(tool) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {error}");
            ExitCode::FAILURE
        }
    }
}
