//! One container: pulled, started, probed, started again, and ended.
//!
//! Differences from a kubelet, all for a developer's patience: a container that died is started again at once, then
//! after 1, 2, 4 … 30 s rather than 10 s … 5 min, and it is forgiven after running for a minute; a readiness probe is
//! asked early and at least once a second until the container is ready, whatever its delay and period say. `preStop`
//! and `postStart` are not run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Probe};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::Context;
use super::environment::{self, Variables};
use super::logs::{self, ContainerLogs};
use super::probe::{self, Target};
use super::serving::Served;
use super::status::{ContainerRuntime, ContainerState, PodRuntime, Terminated};
use super::volumes::{self, Folders};
use crate::files;
use crate::images::ImageTable;
use crate::network::loopback;
use crate::process::{Guarded, Spec};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// How long `ErrImagePull` shows before it becomes `ImagePullBackOff`.
const PULL_ERROR_SHOWS: Duration = Duration::from_secs(3);
const PULL_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// What stands in the way of a start is looked at again after this time.
const CONFIG_AGAIN_AFTER: Duration = Duration::from_millis(500);
const FIRST_PROBE_AFTER: Duration = Duration::from_millis(100);
const UNREADY_PROBE_EVERY: Duration = Duration::from_secs(1);

/// What a pod's containers share.
pub(crate) struct PodContext {
    pub(crate) context: Arc<Context>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) folder: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) volumes: Folders,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) reference: ObjectReference,
    pub(crate) runtime: watch::Sender<PodRuntime>,
    pub(crate) served: watch::Sender<Vec<Served>>,
}

/// Which container of the pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Init(usize),
    Main(usize),
}

/// Becomes the time that containers have to end when they are to end.
pub(crate) type Stop = watch::Receiver<Option<Duration>>;

/// Waits until containers are to end; answers how long they have. A sender that is gone counts as that, too.
pub(crate) async fn told_to_stop(stop: &mut Stop) -> Duration {
    stop.wait_for(Option::is_some).await.ok().and_then(|grace| *grace).unwrap_or_default()
}

impl PodContext {
    fn update(&self, slot: Slot, change: impl FnOnce(&mut ContainerRuntime)) {
        self.runtime.send_if_modified(|runtime| {
            let container = match slot {
                Slot::Init(index) => runtime.init.get_mut(index),
                Slot::Main(index) => runtime.main.get_mut(index),
            };
            let Some(container) = container else { return false };
            let before = container.clone();
            change(container);
            before != *container
        });
    }

    pub(crate) fn runtime_of(&self, slot: Slot) -> Option<ContainerRuntime> {
        let runtime = self.runtime.borrow();
        match slot {
            Slot::Init(index) => runtime.init.get(index).cloned(),
            Slot::Main(index) => runtime.main.get(index).cloned(),
        }
    }

    fn wait(&self, slot: Slot, reason: &'static str, message: &str) {
        self.update(slot, |container| {
            container.state = ContainerState::Waiting { reason, message: message.to_owned() };
            container.is_ready = false;
            container.has_started = false;
        });
    }

    async fn event(&self, container: &Container, type_: EventType, reason: &str, note: String) {
        let mut reference = self.reference.clone();
        reference.field_path = Some(format!("spec.containers{{{}}}", container.name));
        self.context.event(&reference, type_, reason, note).await;
    }
}

/// Runs a container until it ended for good or is to end.
pub(crate) async fn run(pod: Arc<PodContext>, container: Container, slot: Slot, mut stop: Stop) {
    let restarts_after_success = restart_policy(&pod.pod, &container, slot);
    let mut backoff: Option<Duration> = None;
    loop {
        let prepared = tokio::select! {
            biased;
            _ = told_to_stop(&mut stop) => return,
            prepared = prepare(&pod, &container, slot) => prepared,
        };
        let began = Instant::now();
        let code = execute(&pod, &container, slot, &prepared, &mut stop).await;
        let restarts = match restarts_after_success {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        if stop.borrow().is_some() || !restarts {
            return;
        }
        if began.elapsed() >= FORGIVEN_AFTER {
            backoff = None;
        }
        if let Some(delay) = backoff {
            let message = format!("back-off {} s restarting failed container {}", delay.as_secs(), container.name);
            pod.update(slot, remember_end);
            pod.wait(slot, "CrashLoopBackOff", &message);
            pod.event(&container, EventType::Warning, "BackOff", message).await;
            tokio::select! {
                _ = told_to_stop(&mut stop) => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
        backoff = Some(backoff.map_or(FIRST_BACKOFF, |delay| (delay * 2).min(LONGEST_BACKOFF)));
        pod.update(slot, |container| {
            remember_end(container);
            container.restarts += 1;
        });
    }
}

fn remember_end(container: &mut ContainerRuntime) {
    if let ContainerState::Terminated(end) = &container.state {
        container.last = Some(end.clone());
    }
}

#[derive(Clone, Copy)]
enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

fn restart_policy(pod: &Pod, container: &Container, slot: Slot) -> RestartPolicy {
    if container.restart_policy.as_deref() == Some("Always") {
        return RestartPolicy::Always;
    }
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    match (policy, slot) {
        ("Never", _) => RestartPolicy::Never,
        ("OnFailure", _) | (_, Slot::Init(_)) => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// All that is needed to start the container.
struct Prepared {
    spec: Spec,
    served: Served,
    root: PathBuf,
}

/// Waits until the image is there and everything that the container names is there.
async fn prepare(pod: &PodContext, container: &Container, slot: Slot) -> Prepared {
    let reference = container.image.as_deref().unwrap_or_default();
    loop {
        let image = match pod.context.images.pull(reference) {
            Ok(image) => image,
            Err(message) => {
                pod.wait(slot, "ErrImagePull", &message);
                pod.event(container, EventType::Warning, "Failed", message).await;
                tokio::time::sleep(PULL_ERROR_SHOWS).await;
                pod.wait(slot, "ImagePullBackOff", &format!("Back-off pulling image \"{reference}\""));
                tokio::time::sleep(PULL_AGAIN_AFTER).await;
                continue;
            }
        };
        match prepare_once(pod, container, image) {
            Ok(prepared) => return prepared,
            Err(message) => {
                if pod.runtime_of(slot).is_some_and(|now| !is_waiting_with(&now, &message)) {
                    pod.wait(slot, "CreateContainerConfigError", &message);
                    pod.event(container, EventType::Warning, "Failed", format!("Error: {message}")).await;
                }
                tokio::time::sleep(CONFIG_AGAIN_AFTER).await;
            }
        }
    }
}

fn is_waiting_with(container: &ContainerRuntime, wanted: &str) -> bool {
    matches!(&container.state, ContainerState::Waiting { message, .. } if message == wanted)
}

fn prepare_once(pod: &PodContext, container: &Container, image: &crate::Image) -> Result<Prepared, String> {
    let text = |error: anyhow::Error| format!("{error:#}");
    let folder = pod.folder.join(&container.name);
    let root = folder.join("root");
    let home = root.join("home");
    files::make_folder(&home).map_err(text)?;
    files::make_folder(&root.join("tmp")).map_err(text)?;
    volumes::mount(container, &pod.volumes, &root)?;
    let programs = ImageTable::programs_folder(image, &pod.context.folder.join("bin")).map_err(text)?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    // A login shell starts from the system's PATH.
    files::write_atomically(&home.join(".bash_profile"), format!("export PATH='{path}'\n").as_bytes()).map_err(text)?;

    let mut variables = Variables::default();
    let name = pod.pod.name_any();
    variables.set("HOSTNAME", &name);
    variables.set("POD_NAME", &name);
    variables.set("POD_NAMESPACE", pod.pod.namespace().unwrap_or_default());
    variables.set("TMPDIR", root.join("tmp").display().to_string());
    for (name, value) in environment::resolve(&pod.context, &pod.pod, container, &pod.address.to_string())?.0 {
        variables.set(&name, value);
    }
    // These describe the place and are not the container's to choose.
    variables.set("PATH", path);
    variables.set("HOME", home.display().to_string());
    variables.set("STEPWRIGHT_DEV_BIND", loopback(pod.address).to_string());
    variables.set("STEPWRIGHT_DEV_POD_IP", pod.address.to_string());
    variables.set("STEPWRIGHT_DEV_ROOT", root.display().to_string());
    variables.set("STEPWRIGHT_DEV_IMAGE", container.image.clone().unwrap_or_default());
    if let Some(kubeconfig) = &pod.kubeconfig {
        variables.set("KUBECONFIG", kubeconfig.display().to_string());
    }

    let rewrite = |argument: &String| volumes::rewrite(&variables.expand(argument), container, &root);
    let mut words: Vec<String> = match container.command.as_deref() {
        Some([program, rest @ ..]) => {
            // An absolute path of the image stands for the program of that name.
            let own = std::path::Path::new(program).file_name().map(|name| programs.join(name));
            let program =
                own.filter(|own| own.exists()).map_or_else(|| rewrite(program), |own| own.display().to_string());
            std::iter::once(program).chain(rest.iter().map(rewrite)).collect()
        }
        _ => image.entrypoint.clone(),
    };
    words.extend(container.args.iter().flatten().map(rewrite));
    let mut words = words.into_iter().map(OsString::from);
    let program = words.next().ok_or("the image has no entrypoint, and the container no command")?;
    let spec = Spec {
        program,
        arguments: words.collect(),
        environment: variables.0.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
        working_directory: root.clone(),
        pid_file: Some(folder.join("pid")),
        cluster_folder: pod.context.folder.clone(),
    };
    let logs = ContainerLogs::new(&pod.logs, &container.name);
    Ok(Prepared {
        spec,
        served: Served { container: container.name.clone(), root: root.clone(), variables, logs },
        root,
    })
}

/// Starts the process and stays with it until its end; the answer is its exit code.
async fn execute(pod: &PodContext, container: &Container, slot: Slot, prepared: &Prepared, stop: &mut Stop) -> i32 {
    let started = Timestamp::now();
    let uid = pod.pod.uid().unwrap_or_default();
    let restarts = pod.runtime_of(slot).map_or(0, |container| container.restarts);
    let id = format!("local://{uid}/{}/{restarts}", container.name);
    pod.served.send_if_modified(|all| {
        let known = all.iter().position(|one| one.container == container.name);
        match known {
            Some(_) => false,
            None => {
                all.push(prepared.served.clone());
                true
            }
        }
    });
    let code = match spawn(prepared) {
        Ok((mut process, mut copying)) => {
            pod.update(slot, |state| {
                state.state = ContainerState::Running { since: started };
                state.id = Some(id.clone());
                state.has_started = container.startup_probe.is_none();
                state.is_ready = container.startup_probe.is_none() && container.readiness_probe.is_none();
            });
            let code = attend(pod, container, slot, prepared, &mut process, stop).await;
            // The last lines are still on their way. Nobody else holds the other end: the guard saw to that.
            while copying.join_next().await.is_some() {}
            code
        }
        Err(error) => {
            pod.event(container, EventType::Warning, "Failed", format!("Error: {error:#}")).await;
            128
        }
    };
    pod.update(slot, |state| {
        let finished = Timestamp::now();
        state.state = ContainerState::Terminated(Terminated { exit_code: code, started, finished, id });
        state.is_ready = false;
        state.has_started = false;
    });
    code
}

fn spawn(prepared: &Prepared) -> anyhow::Result<(Guarded, JoinSet<()>)> {
    let log = prepared.served.logs.begin()?;
    let mut process = Guarded::spawn(&prepared.spec, Stdio::piped(), Stdio::piped())?;
    let (stdout, stderr) = process.outputs();
    let mut copying = JoinSet::new();
    if let Some(output) = stdout {
        copying.spawn(logs::copy(output, "stdout", log.clone()));
    }
    if let Some(output) = stderr {
        copying.spawn(logs::copy(output, "stderr", log));
    }
    Ok((process, copying))
}

async fn attend(
    pod: &PodContext,
    container: &Container,
    slot: Slot,
    prepared: &Prepared,
    process: &mut Guarded,
    stop: &mut Stop,
) -> i32 {
    let ends_within = tokio::select! {
        biased;
        code = process.wait() => return code,
        grace = told_to_stop(stop) => grace,
        () = probe_until_fatal(pod, container, slot, prepared) => {
            let seconds = pod.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(super::pod::LONGEST_GRACE)
        }
    };
    process.terminate();
    if let Ok(code) = tokio::time::timeout(ends_within, process.wait()).await {
        return code;
    }
    process.kill();
    process.wait().await
}

/// Runs the probes; ends when the container has to be started again because of one.
async fn probe_until_fatal(pod: &PodContext, container: &Container, slot: Slot, prepared: &Prepared) {
    let rewrite = |argument: &str| volumes::rewrite(argument, container, &prepared.root);
    let target = Target { container, host: loopback(pod.address), spec: &prepared.spec, rewrite: &rewrite };
    if let Some(probe) = &container.startup_probe {
        if !wait_until_started(pod, container, probe, &target).await {
            return;
        }
        pod.update(slot, |state| {
            state.has_started = true;
            state.is_ready = container.readiness_probe.is_none();
        });
    }
    tokio::select! {
        () = keep_ready(pod, container, slot, &target) => {}
        () = keep_alive(pod, container, &target) => {}
    }
}

async fn wait_until_started(pod: &PodContext, container: &Container, probe: &Probe, target: &Target<'_>) -> bool {
    tokio::time::sleep(FIRST_PROBE_AFTER).await;
    // Asked more often than its period says, so failures are counted in time.
    let deadline = Instant::now() + period(probe) * threshold(probe.failure_threshold, 3);
    loop {
        match probe::check(probe, target).await {
            Ok(()) => return true,
            Err(message) if Instant::now() > deadline => {
                let note = format!("Startup probe failed: {message}");
                pod.event(container, EventType::Warning, "Unhealthy", note).await;
                killing(pod, container, "startup").await;
                return false;
            }
            Err(_) => tokio::time::sleep(period(probe).min(UNREADY_PROBE_EVERY)).await,
        }
    }
}

async fn keep_ready(pod: &PodContext, container: &Container, slot: Slot, target: &Target<'_>) {
    let Some(probe) = &container.readiness_probe else { return std::future::pending().await };
    tokio::time::sleep(FIRST_PROBE_AFTER).await;
    let (mut successes, mut failures, mut is_ready) = (0, 0, false);
    let mut told: Option<String> = None;
    loop {
        match probe::check(probe, target).await {
            Ok(()) => {
                (successes, failures) = (successes + 1, 0);
                if successes >= threshold(probe.success_threshold, 1) {
                    is_ready = true;
                    told = None;
                }
            }
            Err(message) => {
                (successes, failures) = (0, failures + 1);
                if failures >= threshold(probe.failure_threshold, 3) {
                    is_ready = false;
                }
                if told.as_ref() != Some(&message) {
                    let note = format!("Readiness probe failed: {message}");
                    pod.event(container, EventType::Warning, "Unhealthy", note).await;
                    told = Some(message);
                }
            }
        }
        pod.update(slot, |state| state.is_ready = is_ready);
        let pause = period(probe);
        tokio::time::sleep(if is_ready && failures == 0 { pause } else { pause.min(UNREADY_PROBE_EVERY) }).await;
    }
}

async fn keep_alive(pod: &PodContext, container: &Container, target: &Target<'_>) {
    let Some(probe) = &container.liveness_probe else { return std::future::pending().await };
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0).max(FIRST_PROBE_AFTER)).await;
    let mut failures = 0;
    loop {
        match probe::check(probe, target).await {
            Ok(()) => failures = 0,
            Err(message) => {
                failures += 1;
                pod.event(container, EventType::Warning, "Unhealthy", format!("Liveness probe failed: {message}"))
                    .await;
                if failures >= threshold(probe.failure_threshold, 3) {
                    killing(pod, container, "liveness").await;
                    return;
                }
            }
        }
        tokio::time::sleep(period(probe)).await;
    }
}

async fn killing(pod: &PodContext, container: &Container, probe: &str) {
    let note = format!("Container {} failed {probe} probe, will be restarted", container.name);
    pod.event(container, EventType::Normal, "Killing", note).await;
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

fn period(probe: &Probe) -> Duration {
    seconds(probe.period_seconds, 10).max(Duration::from_secs(1))
}

fn threshold(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
}
