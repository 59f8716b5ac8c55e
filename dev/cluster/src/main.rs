//! The program of the development cluster. `cargo xtask` and tests call it; `cargo xtask up` is what people type.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use stepwright_dev_cluster::{Binaries, DaemonOptions, ImageTable, Times, Work, guard};

/// A development cluster: a real control plane whose containers are local processes
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the programs of the control plane that are missing or out of date
    BuildControlPlane,
    /// Run a cluster until SIGTERM or SIGINT
    Run(Run),
    /// Keep one program running against a cluster of your own, until SIGTERM or SIGINT
    RunProgram {
        /// Where its log and state go
        #[arg(long)]
        folder: PathBuf,
        /// Its name, for the log
        #[arg(long)]
        name: String,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Take a cluster down and remove its folder
    Down {
        /// The cluster's folder
        #[arg(long)]
        folder: PathBuf,
    },
    /// Start a program that ends with everything below it when our standard input closes
    #[command(hide = true)]
    Guard {
        /// Where to write the program's process id
        #[arg(long)]
        pid_file: Option<PathBuf>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Become a program that is killed when its guard dies
    #[command(hide = true)]
    Exec {
        /// The guard's process id
        #[arg(long)]
        guard: u32,
        /// Where to write the program's process id
        #[arg(long)]
        pid_file: Option<PathBuf>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Everything of the cluster goes below it
    #[arg(long)]
    folder: PathBuf,
    /// How many worker nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// A JSON file with more images: [{"repository": …, "entrypoint": […], "programs": {…}}]
    #[arg(long)]
    images: Option<PathBuf>,
    /// The folder of `stepwright` and `redis-enterprise-simulator`; by default that of this program
    #[arg(long)]
    programs: Option<PathBuf>,
    /// How long a pod stays on a node that is not ready
    #[arg(long, default_value_t = 30)]
    eviction_seconds: u64,
    /// Start etcd and the API server, no more
    #[arg(long)]
    api_server_only: bool,
    /// End when standard input closes
    #[arg(long)]
    attached: bool,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        // These two start no threads.
        Command::Guard { pid_file, command } => {
            return match guard::run(pid_file.as_deref(), &command) {
                Ok(code) => Ok(ExitCode::from(code)),
                Err(error) => {
                    eprintln!("guard: {error:#}");
                    Ok(ExitCode::from(127))
                }
            };
        }
        Command::Exec { guard, pid_file, command } => {
            if let Err(error) = guard::exec(guard, pid_file.as_deref(), &command) {
                eprintln!("{error:#}");
            }
            // As a shell answers for a command that cannot be started.
            return Ok(ExitCode::from(127));
        }
        Command::Down { folder } => stepwright_dev_cluster::down(&folder)?,
        Command::BuildControlPlane => {
            runtime()?.block_on(Binaries::build(&mut |line| println!("{line}")))?;
        }
        Command::Run(arguments) => {
            let options = options(arguments)?;
            start_log();
            runtime()?.block_on(stepwright_dev_cluster::run_daemon(options))?;
        }
        Command::RunProgram { folder, name, command } => {
            start_log();
            let folder = std::path::absolute(folder)?;
            std::fs::create_dir_all(folder.join("logs"))?;
            let options = DaemonOptions { folder, attached: false, work: Work::Program { name, command } };
            runtime()?.block_on(stepwright_dev_cluster::run_daemon(options))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: Run) -> anyhow::Result<DaemonOptions> {
    let Run { folder, nodes, images, programs, eviction_seconds, api_server_only, attached } = arguments;
    let folder = std::path::absolute(folder)?;
    std::fs::create_dir_all(folder.join("logs"))
        .with_context(|| format!("failed to create folder `{}`", folder.display()))?;
    let programs = programs.map_or_else(stepwright_dev_cluster::programs_folder, Ok)?;
    let mut table = ImageTable::of_stepwright(&programs);
    if let Some(path) = images {
        table.extend_from_file(&path)?;
    }
    let times = Times { eviction: Duration::from_secs(eviction_seconds), ..Times::default() };
    let work = if api_server_only { Work::ApiServer } else { Work::Cluster { nodes, images: table, times } };
    Ok(DaemonOptions { folder, attached, work })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("STEPWRIGHT_DEV_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,kube_client=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
}
