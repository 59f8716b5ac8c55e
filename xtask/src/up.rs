//! `up` and `down`: from nothing to a database that answers, and back to nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{capture, run as run_command};
use crate::kubectl::{Kubectl, text};
use crate::paths::Paths;
use crate::progress::Progress;
use crate::{build, external, interrupt, plugins, setup, walkthrough};

pub(crate) const NAMESPACE: &str = "redis";
const OPERATOR: &str = "redis-enterprise-operator";
const START_WITHIN: Duration = Duration::from_secs(120);
const OPERATOR_WITHIN: Duration = Duration::from_secs(120);
const SAMPLES_WITHIN: Duration = Duration::from_secs(600);
/// An operator that keeps dying will not get better by waiting.
const RESTARTS_TOLERATED: i64 = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The cluster's name; several can run side by side
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// How many worker nodes
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: usize,
    /// Start no control plane: use the cluster that kubectl uses now, and run the operator here
    #[arg(long)]
    pub(crate) use_current_context: bool,
    /// Do not apply the sample cluster and database
    #[arg(long)]
    pub(crate) no_samples: bool,
}

pub(crate) fn run(paths: &Paths, options: &Options) -> anyhow::Result<()> {
    let folder = paths.cluster(&options.name)?;
    let mut progress = Progress::new();
    interrupt::take_down_with({
        let (paths, name) = (paths.clone(), options.name.clone());
        move || {
            if let Err(error) = down(&paths, &name) {
                eprintln!("error: {error:#}");
            }
        }
    })?;
    let outcome = if options.use_current_context {
        external::bring_up(paths, options, &folder, &mut progress)
    } else {
        bring_up(paths, options, &folder, &mut progress)
    };
    let Err(error) = outcome else { return Ok(()) };
    interrupt::give_way();
    eprintln!("\nfailed while {}: {error:#}", progress.current());
    let logs = save_logs(paths, &folder, &options.name);
    eprintln!("taking everything down");
    if let Err(error) = down(paths, &options.name) {
        eprintln!("error: {error:#}");
    }
    match logs {
        Some(logs) => bail!("`up` failed; the logs were kept in {}", logs.display()),
        None => bail!("`up` failed"),
    }
}

fn bring_up(paths: &Paths, options: &Options, folder: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    build_all(paths, progress)?;
    progress.step("building the control plane, where it is not built yet");
    build::control_plane(paths)?;

    let is_new = start_cluster(paths, options, folder, progress)?;
    let kubectl = Kubectl {
        program: paths.kubectl(),
        kubeconfig: Some(folder.join("kubeconfig")),
        namespace: NAMESPACE.to_owned(),
    };

    progress.step("installing CRDs and operator");
    kubectl.create_namespace()?;
    // So that the walkthrough needs no --namespace.
    kubectl.run(&["config", "set-context", "--current", "--namespace", NAMESPACE])?;
    for file in manifests(paths)? {
        kubectl.run(&["apply", "--filename", &file.display().to_string()])?;
    }
    if !is_new {
        kubectl.run(&["rollout", "restart", &format!("deployment/{OPERATOR}")])?;
    }

    progress.step("waiting for the operator");
    let give_up = || dying_operator(&kubectl, folder);
    kubectl.wait_for(("deployment", OPERATOR), "available", OPERATOR_WITHIN, progress, operator_state, give_up)?;

    if !options.no_samples {
        apply_samples(paths, &kubectl, progress, give_up)?;
    }
    progress.finish();
    walkthrough::print(progress.elapsed(), &kubectl, folder, &options.name, !options.no_samples);
    Ok(())
}

pub(crate) fn build_all(paths: &Paths, progress: &mut Progress) -> anyhow::Result<()> {
    progress.step("checking the machine");
    setup::ensure()?;
    progress.step("building the plugins (WebAssembly components)");
    plugins::build_plugins(&paths.root)?;
    progress.step("building operator, simulator and development cluster");
    build::programs(paths)
}

/// Applies the samples and waits until they are what they should be.
pub(crate) fn apply_samples(
    paths: &Paths,
    kubectl: &Kubectl,
    progress: &mut Progress,
    give_up: impl Fn() -> Option<String>,
) -> anyhow::Result<()> {
    let apply = |name: &str| {
        let file = paths.root.join("deploy/samples").join(name);
        kubectl.run(&["apply", "--filename", &file.display().to_string()])
    };
    progress.step("creating a Redis Enterprise cluster");
    apply("rec.yaml")?;
    let state = |object: &Value| text(object, "/status/state");
    kubectl.wait_for(("rec", "rec"), "Running", SAMPLES_WITHIN, progress, state, &give_up)?;
    progress.step("creating a Redis database");
    apply("redb.yaml")?;
    let state = |object: &Value| text(object, "/status/status");
    kubectl.wait_for(("redb", "mydb"), "active", SAMPLES_WITHIN, progress, state, &give_up)
}

/// Starts the cluster's process, or finds it running; true if it is new.
fn start_cluster(paths: &Paths, options: &Options, folder: &Path, progress: &mut Progress) -> anyhow::Result<bool> {
    if state(folder).is_some_and(|state| state.is_alive && state.phase == "running") {
        progress.step("using the cluster that runs already");
        return Ok(false);
    }
    progress.step("starting the cluster");
    // Whatever an earlier one left, such as one that was killed.
    down(paths, &options.name)?;
    let mut command = Command::new(paths.program("stepwright-dev-cluster"));
    command.arg("run").arg("--folder").arg(folder).args(["--nodes", &options.nodes.to_string()]);
    start_detached(paths, folder, &mut command)?;
    wait_until_running(folder, progress)?;
    Ok(true)
}

/// Starts a process that outlives us; what it says goes to its log.
pub(crate) fn start_detached(paths: &Paths, folder: &Path, command: &mut Command) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    std::fs::create_dir_all(folder.join("logs"))?;
    let log = std::fs::File::create(folder.join("logs/cluster.log"))?;
    command
        .current_dir(&paths.root)
        .env("CARGO_TARGET_DIR", &paths.target)
        // An interrupt in the terminal is ours to handle.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start `{}`", Path::new(command.get_program()).display()))?;
    Ok(())
}

/// Waits until the process says that all of it runs, and tells its steps.
pub(crate) fn wait_until_running(folder: &Path, progress: &Progress) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_WITHIN;
    let log = folder.join("logs/cluster.log");
    let mut seen = String::new();
    loop {
        if let Some(state) = state(folder) {
            match state.phase.as_str() {
                "running" => return Ok(()),
                "failed" => bail!("{}; log: {}", state.detail, state.log),
                _ if !state.is_alive => bail!("the cluster ended while it was starting; log: {}", log.display()),
                _ => {}
            }
            if state.detail != seen {
                progress.note(&state.detail);
                seen = state.detail;
            }
        }
        if Instant::now() > deadline {
            bail!("the cluster was not up within {} s; log: {}", START_WITHIN.as_secs(), log.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

struct State {
    is_alive: bool,
    phase: String,
    /// The step, or what went wrong.
    detail: String,
    log: String,
}

/// What the cluster's process says of itself.
fn state(folder: &Path) -> Option<State> {
    let content: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()?;
    let pid = content.pointer("/process/pid")?.as_u64()?;
    let start = content.pointer("/process/start")?.as_u64()?;
    let phase = text(&content, "/phase/phase");
    let detail = if phase == "failed" { "/phase/message" } else { "/phase/step" };
    Some(State {
        is_alive: is_alive(pid, start),
        detail: text(&content, detail),
        log: text(&content, "/phase/log"),
        phase,
    })
}

/// The start time, the 22nd field, tells a process from a later one of the same id. A child of ours that was killed
/// stays as a zombie until we end.
fn is_alive(pid: u64, start: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Counted from behind the command, which is in brackets and may hold anything.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    fields.first() != Some(&"Z") && fields.get(19).and_then(|field| field.parse().ok()) == Some(start)
}

/// The bundle, and what only a development cluster needs.
fn manifests(paths: &Paths) -> anyhow::Result<Vec<PathBuf>> {
    let folder = paths.root.join("deploy/dev");
    let mut files = vec![paths.root.join("deploy/bundle.yaml")];
    let mut more = Vec::new();
    if folder.exists() {
        for entry in std::fs::read_dir(&folder)? {
            more.push(entry?.path());
        }
    }
    more.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    more.sort();
    files.extend(more);
    Ok(files)
}

fn operator_state(deployment: &Value) -> String {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let wanted = number("/spec/replicas");
    let is_current = number("/status/observedGeneration") >= number("/metadata/generation");
    let is_all_new = number("/status/updatedReplicas") == wanted && number("/status/replicas") == wanted;
    if is_current && is_all_new && number("/status/availableReplicas") == wanted {
        "available".to_owned()
    } else {
        "starting".to_owned()
    }
}

/// Why there is no use in waiting for the operator any longer.
fn dying_operator(kubectl: &Kubectl, folder: &Path) -> Option<String> {
    let pods = kubectl.run(&["get", "pods", "--selector", &format!("name={OPERATOR}"), "--output", "json"]).ok()?;
    let pods: Value = serde_json::from_str(&pods).ok()?;
    for pod in pods.pointer("/items")?.as_array()? {
        let name = text(pod, "/metadata/name");
        for status in pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten() {
            let reason = text(status, "/state/waiting/reason");
            let log = folder.join("logs/pods").join(NAMESPACE).join(&name);
            if matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff") {
                return Some(format!("the operator cannot start: {}", text(status, "/state/waiting/message")));
            }
            if status.pointer("/restartCount").and_then(Value::as_i64).unwrap_or(0) > RESTARTS_TOLERATED {
                return Some(format!("the operator keeps dying; its logs: {}", log.display()));
            }
        }
    }
    None
}

/// Takes a cluster down. Nothing to take down is no error.
pub(crate) fn down(paths: &Paths, name: &str) -> anyhow::Result<()> {
    let folder = paths.cluster(name)?;
    if !folder.exists() {
        return Ok(());
    }
    let program = paths.program("stepwright-dev-cluster");
    if !program.exists() {
        // Built by the same `up` that made the folder, and swept away since.
        run_command(build::cargo(paths, "build").args(["--quiet", "--workspace", "--bin", "stepwright-dev-cluster"]))?;
    }
    // Not ended by an interrupt: it is what an interrupt does.
    capture(Command::new(program).arg("down").arg("--folder").arg(&folder)).map(drop)?;
    // `.dev` itself goes with the last cluster.
    let _ = folder.parent().map(std::fs::remove_dir);
    Ok(())
}

/// The kubeconfig of a running cluster.
pub(crate) fn kubeconfig(paths: &Paths, name: &str) -> anyhow::Result<PathBuf> {
    let path = paths.cluster(name)?.join("kubeconfig");
    if !path.exists() {
        bail!("there is no cluster `{name}`; start it with: cargo xtask up --name {name}");
    }
    Ok(path)
}

/// The logs outlive the cluster's folder, in cargo's target folder, until the next failure.
fn save_logs(paths: &Paths, folder: &Path, name: &str) -> Option<PathBuf> {
    let source = folder.join("logs");
    if !source.exists() {
        return None;
    }
    let target = paths.target.join("dev-logs").join(name);
    let _ = std::fs::remove_dir_all(&target);
    std::fs::create_dir_all(target.parent()?).ok()?;
    let status = Command::new("cp").arg("-r").arg(&source).arg(&target).status().ok()?;
    status.success().then_some(target)
}
