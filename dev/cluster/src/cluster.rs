//! The handle of a cluster: starts its process, waits until it is up, and ends it.
//!
//! The cluster runs in a process of its own ([`crate::run_daemon`]), so that nothing of it depends on the runtime or
//! the end of whoever uses it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;

use crate::agent::POWER;
use crate::binaries::Binaries;
use crate::control_plane::{client_for, log_path};
use crate::files;
use crate::images::Image;
use crate::procfs::{Identity, marked};
use crate::state::{Phase, State};

const START_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How often the state file and processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What of a cluster to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    #[default]
    Everything,
    /// etcd and the API server: enough for tests of API calls, and up in seconds.
    ApiServerOnly,
}

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Its folder; a fresh one below `.dev/` of the repository if `None`.
    pub folder: Option<PathBuf>,
    /// What to start.
    pub parts: Parts,
    /// How many worker nodes.
    pub nodes: usize,
    /// More images, or others than Stepwright's own for the same repository.
    pub images: Vec<Image>,
    /// How long a pod stays on a node that is not ready.
    pub eviction: Duration,
    /// Leave the folder where it is when the cluster stops.
    pub keep_folder: bool,
    /// The program `stepwright-dev-cluster`; searched beside the running program if `None`.
    pub program: Option<PathBuf>,
    /// The folder of `stepwright` and `redis-enterprise-simulator`; that of `program` if `None`.
    pub programs: Option<PathBuf>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            folder: None,
            parts: Parts::Everything,
            nodes: 3,
            images: Vec::new(),
            eviction: crate::Times::default().eviction,
            keep_folder: false,
            program: None,
            programs: None,
        }
    }
}

/// A running cluster that ends with this value, or with the process that holds it.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    process: Option<Child>,
    keep_folder: bool,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are ready.
    ///
    /// # Errors
    /// When it does not come up; nothing of it is left then but its folder, with the logs.
    pub async fn start(options: ClusterOptions) -> anyhow::Result<Self> {
        let program = match options.program {
            Some(program) => program,
            None => programs_folder()?.join("stepwright-dev-cluster"),
        };
        let folder = std::path::absolute(options.folder.unwrap_or_else(fresh_folder))?;
        files::make_folder(&folder.join("logs"))?;
        let log_path = log_path(&folder, "cluster");
        let log = std::fs::File::create(&log_path)?;
        let mut command = Command::new(&program);
        command.arg("run").arg("--folder").arg(&folder).arg("--attached");
        command.args(["--nodes", &options.nodes.to_string()]);
        command.args(["--eviction-seconds", &options.eviction.as_secs().to_string()]);
        if options.parts == Parts::ApiServerOnly {
            command.arg("--api-server-only");
        }
        if let Some(programs) = &options.programs {
            command.arg("--programs").arg(programs);
        }
        if !options.images.is_empty() {
            let path = folder.join("images.json");
            files::write_atomically(&path, &serde_json::to_vec_pretty(&options.images)?)?;
            command.arg("--images").arg(path);
        }
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start `{}`", program.display()))?;
        let mut cluster = Self { folder, process: Some(process), keep_folder: options.keep_folder };
        if let Err(error) = cluster.wait_until_running().await {
            // The logs are what one wants to read now.
            cluster.keep_folder = true;
            cluster.stop().await?;
            return Err(error);
        }
        Ok(cluster)
    }

    /// Everything of the cluster lies here: `kubeconfig`, `logs/`, `pods/`, `volumes/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A client with the admin's rights.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        client_for(&self.kubeconfig()).await
    }

    /// `kubectl`, set up for this cluster.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub fn kubectl(&self) -> anyhow::Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(Binaries::find()?.kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// The process of the cluster itself: control plane supervisor and node agent.
    #[must_use]
    pub fn process(&self) -> Option<Identity> {
        self.process.as_ref().and_then(|process| Identity::of(process.id()))
    }

    /// The number N: a pod's 10.N.x.y is served on 127.N.x.y.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn network(&self) -> anyhow::Result<u8> {
        State::read(&self.folder)?.and_then(|state| state.network).context("the cluster has no network yet")
    }

    /// Every living process of the cluster, apart from the cluster's own.
    #[must_use]
    pub fn processes(&self) -> Vec<Identity> {
        marked(&self.folder)
    }

    /// The process that stands for a container, if it runs.
    #[must_use]
    pub fn container_process(&self, namespace: &str, pod: &str, container: &str) -> Option<Identity> {
        let path = self.folder.join("pods").join(namespace).join(pod).join(container).join("pid");
        let identity: Identity = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        identity.is_alive().then_some(identity)
    }

    /// Ends a container's process with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_container(&self, namespace: &str, pod: &str, container: &str) -> anyhow::Result<()> {
        let process = self
            .container_process(namespace, pod, container)
            .with_context(|| format!("container `{container}` of pod `{namespace}/{pod}` does not run"))?;
        process.signal(Signal::KILL);
        Ok(())
    }

    /// The log of a container, in the format of the container runtime interface.
    #[must_use]
    pub fn container_log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.folder.join("logs/pods").join(namespace).join(pod).join(format!("{container}.log"))
    }

    /// Switches a node off: its processes die and its heartbeats cease, or on again.
    ///
    /// # Errors
    /// When the node cannot be annotated.
    pub async fn set_node_power(&self, node: &str, on: bool) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        let power = if on { "on" } else { "off" };
        let patch = json!({ "metadata": { "annotations": { POWER: power } } });
        nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Ends the cluster, waits until nothing of it runs, and removes its folder.
    ///
    /// # Errors
    /// When a process is left, or the folder cannot be removed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let process = self.process.take();
        let (folder, keep) = (self.folder.clone(), self.keep_folder);
        tokio::task::spawn_blocking(move || end(process, &folder, keep)).await?
    }

    async fn wait_until_running(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        let log = log_path(&self.folder, "cluster");
        loop {
            let own = self.process();
            match State::read(&self.folder)?.filter(|state| Some(state.process) == own).map(|state| state.phase) {
                Some(Phase::Running) => return Ok(()),
                Some(Phase::Failed { message, log }) => bail!("{message}; log: {}", log.display()),
                _ => {}
            }
            if self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(Some(_)))) {
                bail!("the cluster ended while it was starting; log: {}", log.display());
            }
            if Instant::now() > deadline {
                bail!("the cluster was not up within {} s; log: {}", START_WITHIN.as_secs(), log.display());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(process) = self.process.take()
            && let Err(error) = end(Some(process), &self.folder, self.keep_folder)
        {
            tracing::error!(error = format!("{error:#}"), "the cluster was not taken down cleanly");
        }
    }
}

/// Takes down the cluster in `folder`, whoever started it, and removes the folder. Nothing to do is no error.
///
/// # Errors
/// When a process is left, or the folder cannot be removed.
pub fn down(folder: &Path) -> anyhow::Result<()> {
    let folder = std::path::absolute(folder)?;
    // A state file that cannot be read must not keep us from ending what carries the cluster's mark.
    if let Some(state) = State::read(&folder).ok().flatten() {
        state.process.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while state.process.is_alive() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        state.process.signal(Signal::KILL);
    }
    finish(&folder, false)
}

fn end(process: Option<Child>, folder: &Path, keep_folder: bool) -> anyhow::Result<()> {
    if let Some(mut process) = process {
        if keep_folder {
            std::fs::write(folder.join(crate::daemon::KEEP), "")?;
        }
        // It is attached: the end of its input tells it to end.
        drop(process.stdin.take());
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = process.kill();
        let _ = process.wait();
    }
    finish(folder, keep_folder)
}

/// The guards end what is below them within moments; what they did not get is ended by its mark.
fn finish(folder: &Path, keep_folder: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let left = marked(folder);
        if left.is_empty() {
            break;
        }
        if started.elapsed() > Duration::from_secs(5) {
            left.iter().for_each(|process| process.signal(Signal::KILL));
        }
        if started.elapsed() > Duration::from_secs(10) {
            let pids: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
            bail!("processes are left: {}", pids.join(", "));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    if !keep_folder && folder.exists() {
        match std::fs::remove_dir_all(folder) {
            // The cluster's own process may be removing it, too.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove folder `{}`", folder.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folder of our programs: `STEPWRIGHT_BIN_DIR`, or where the running program lies, or above it, where cargo puts
/// the programs while tests lie in `deps/`.
///
/// # Errors
/// When the running program's own path cannot be found.
pub fn programs_folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("STEPWRIGHT_BIN_DIR").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let own = std::env::current_exe().context("failed to find the own program")?;
    let folder = own.parent().context("the own program lies nowhere")?;
    let is_below_programs = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    Ok(folder.parent().filter(|_| is_below_programs).unwrap_or(folder).to_owned())
}

fn fresh_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    crate::repository().join(".dev").join(format!("test-{}-{number}", std::process::id()))
}
