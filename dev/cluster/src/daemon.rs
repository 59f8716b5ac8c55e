//! The process of a cluster: starts everything, runs the agent, and takes everything down when it is told to end.
//!
//! It is told by SIGTERM or SIGINT, or, when attached to the process that started it, by the end of that process.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::binaries::Binaries;
use crate::bootstrap;
use crate::control_plane::{ControlPlane, Times, log_path};
use crate::images::ImageTable;
use crate::network::Network;
use crate::process::{Guarded, Spec};
use crate::procfs::Identity;
use crate::state::{Phase, State};

/// How long one program may take to end by itself.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Between the death of the program and its restart.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What the process runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// Control plane, nodes and agent.
    Cluster {
        /// How many worker nodes.
        nodes: usize,
        /// What stands for which image.
        images: ImageTable,
        /// How long the node life cycle takes.
        times: Times,
    },
    /// etcd and the API server, no more.
    ApiServer,
    /// No cluster: one program that works on somebody else's, started again when it ends.
    Program {
        /// Its name, for the log.
        name: String,
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// A file of this name in the folder of an attached cluster keeps the folder when the cluster ends.
pub(crate) const KEEP: &str = "keep";

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything lies below it.
    pub folder: PathBuf,
    /// End when standard input closes.
    pub attached: bool,
    /// What to run.
    pub work: Work,
}

/// Runs until it is told to end. The state file says how it goes.
///
/// # Errors
/// When something could not be started; everything else has ended by then.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut report = Report::new(&options.folder)?;
    report.step("preparing")?;
    let work = work(&options, &mut report, stop.clone());
    let mut work = std::pin::pin!(work);
    let outcome = tokio::select! {
        outcome = &mut work => outcome,
        _ = terminate.recv() => { stop.cancel(); work.await }
        _ = interrupt.recv() => { stop.cancel(); work.await }
        () = end_of_input(), if options.attached => { stop.cancel(); work.await }
    };
    if let Err(error) = &outcome {
        let message = format!("{error:#}");
        tracing::error!(error = message, "the cluster failed");
        Report::new(&options.folder)?.failed(message)?;
    } else if options.attached && !options.folder.join(KEEP).exists() {
        // Whoever held the cluster may have died without a chance to clean up; if it lives, it finds nothing left to do.
        std::fs::remove_dir_all(&options.folder).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    outcome
}

async fn work(options: &Options, report: &mut Report<'_>, stop: CancellationToken) -> anyhow::Result<()> {
    match &options.work {
        Work::Program { name, command } => run_program(&options.folder, name, command, report, &stop).await,
        Work::ApiServer => {
            let Some(control_plane) = start_control_plane(options, report, Times::default(), &stop).await? else {
                return Ok(());
            };
            report.running()?;
            stop.cancelled().await;
            control_plane.0.stop().await;
            Ok(())
        }
        Work::Cluster { nodes, images, times } => {
            let Some((mut control_plane, network)) = start_control_plane(options, report, *times, &stop).await? else {
                return Ok(());
            };
            let prepared = tokio::select! {
                outcome = prepare(options, &mut control_plane, &network, (*nodes, images, *times), report) => outcome.map(|()| true),
                () = stop.cancelled() => Ok(false),
            };
            let served = match prepared {
                Ok(true) => serve(options, &control_plane, &network, (*nodes, images), report, &stop).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            control_plane.stop().await;
            served
        }
    }
}

async fn start_control_plane(
    options: &Options,
    report: &mut Report<'_>,
    times: Times,
    stop: &CancellationToken,
) -> anyhow::Result<Option<(ControlPlane, Network)>> {
    report.step("starting etcd and the API server")?;
    let network = Network::reserve()?;
    report.state.network = Some(network.number());
    let binaries = Binaries::find()?;
    let start = ControlPlane::start(&options.folder, binaries, &network, times);
    tokio::select! {
        control_plane = start => Ok(Some((control_plane?, network))),
        () = stop.cancelled() => Ok(None),
    }
}

async fn prepare(
    options: &Options,
    control_plane: &mut ControlPlane,
    network: &Network,
    (nodes, images, times): (usize, &ImageTable, Times),
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    report.step("starting the controller manager and the scheduler")?;
    control_plane.start_controllers(times);
    let client = control_plane.client().await?;
    bootstrap::install_kwok_crds(&client, &Binaries::find()?.kwok_crds).await?;
    control_plane.start_kwok(&images.all_programs_folder(&options.folder.join("bin"))?);
    bootstrap::install_storage_class(&client).await?;
    report.step("starting the nodes")?;
    bootstrap::install_nodes(&client, nodes, network.host()).await?;
    bootstrap::wait_for_default_account(&client).await
}

async fn serve(
    options: &Options,
    control_plane: &ControlPlane,
    network: &Network,
    (nodes, images): (usize, &ImageTable),
    report: &mut Report<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let client = control_plane.client().await?;
    let agent = Agent::new(
        client,
        &options.folder,
        network,
        images.clone(),
        control_plane.server(),
        control_plane.authority(),
        stop.clone(),
    );
    let mut agent = std::pin::pin!(agent.run());
    tokio::select! {
        ended = &mut agent => return ended,
        ready = wait_for_nodes(control_plane, nodes) => ready?,
    }
    report.running()?;
    agent.await
}

async fn wait_for_nodes(control_plane: &ControlPlane, count: usize) -> anyhow::Result<()> {
    use k8s_openapi::api::core::v1::Node;
    let nodes: kube::Api<Node> = kube::Api::all(control_plane.client().await?);
    loop {
        let ready = nodes.list(&kube::api::ListParams::default()).await?.items.into_iter().filter(|node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
                && taints.is_none_or(Vec::is_empty)
        });
        if ready.count() >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn run_program(
    folder: &Path,
    name: &str,
    command: &[String],
    report: &mut Report<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no command given")?;
    let log = log_path(folder, name);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
    let spec = Spec {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        // It is the user's own program on the user's own cluster, with all that a kubeconfig may need.
        environment: std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect(),
        working_directory: folder.to_owned(),
        pid_file: Some(folder.join(format!("{name}.pid"))),
        cluster_folder: folder.to_owned(),
    };
    loop {
        let mut process = Guarded::spawn(&spec, Stdio::from(file.try_clone()?), Stdio::from(file.try_clone()?))?;
        report.running()?;
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                process.terminate();
                if tokio::time::timeout(STOP_WITHIN, process.wait()).await.is_err() {
                    process.kill();
                    process.wait().await;
                }
                return Ok(());
            }
            code = process.wait() => tracing::warn!(program = name, code, "program ended and is started again"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(RESTART_AFTER) => {}
        }
    }
}

/// Waits for the end of standard input. Not with `tokio::io::stdin`: its thread would keep the process from ending.
async fn end_of_input() {
    let input = std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    let Ok(mut input) = input else {
        tracing::warn!("standard input is no pipe, so its end is not noticed");
        return std::future::pending().await;
    };
    let mut buffer = [0_u8; 16];
    while matches!(input.read(&mut buffer).await, Ok(count) if count > 0) {}
}

struct Report<'a> {
    folder: &'a Path,
    state: State,
}

impl<'a> Report<'a> {
    fn new(folder: &'a Path) -> anyhow::Result<Self> {
        let process = Identity::of(std::process::id()).context("failed to read the own start time")?;
        Ok(Self { folder, state: State { process, phase: Phase::Starting { step: String::new() }, network: None } })
    }

    fn step(&mut self, step: &str) -> anyhow::Result<()> {
        tracing::info!(step, "starting");
        self.state.phase = Phase::Starting { step: step.to_owned() };
        self.state.write(self.folder)
    }

    fn running(&mut self) -> anyhow::Result<()> {
        tracing::info!("running");
        self.state.phase = Phase::Running;
        self.state.write(self.folder)
    }

    fn failed(&mut self, message: String) -> anyhow::Result<()> {
        self.state.phase = Phase::Failed { message, log: log_path(self.folder, "cluster") };
        self.state.write(self.folder)
    }
}
