//! A pod's status from what its containers do. Plain data and decisions: no I/O, no clock.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// What all containers of a pod do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodRuntime {
    pub(crate) init: Vec<ContainerRuntime>,
    pub(crate) main: Vec<ContainerRuntime>,
}

/// What one container does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContainerRuntime {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) state: ContainerState,
    pub(crate) last: Option<Terminated>,
    /// What the readiness probe says; true without one.
    pub(crate) is_ready: bool,
    /// What the startup probe says; true without one.
    pub(crate) has_started: bool,
    pub(crate) restarts: i32,
    pub(crate) id: Option<String>,
    /// An init container that goes on running beside the others.
    pub(crate) is_sidecar: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContainerState {
    Waiting { reason: &'static str, message: String },
    Running { since: Timestamp },
    Terminated(Terminated),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terminated {
    pub(crate) exit_code: i32,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
    pub(crate) id: String,
}

/// A condition's value, and since when it has it.
pub(crate) type Conditions = HashMap<String, (bool, Time)>;

impl ContainerRuntime {
    pub(crate) fn new(name: &str, image: &str, is_sidecar: bool, restarts: i32) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            state: ContainerState::Waiting { reason: "ContainerCreating", message: String::new() },
            last: None,
            is_ready: false,
            has_started: false,
            restarts,
            id: None,
            is_sidecar,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    fn has_succeeded(&self) -> bool {
        matches!(&self.state, ContainerState::Terminated(end) if end.exit_code == 0)
    }

    /// Whether the containers after this init container may start.
    pub(crate) fn is_initialized(&self) -> bool {
        if self.is_sidecar { self.is_running() && self.has_started } else { self.has_succeeded() }
    }

    fn to_json(&self) -> Value {
        let is_running = self.is_running();
        json!({
            "name": self.name,
            "image": self.image,
            "imageID": self.id.as_ref().map(|_| format!("local://{}", self.image)).unwrap_or_default(),
            "containerID": self.id.clone().unwrap_or_default(),
            "ready": if is_running { self.is_ready } else { self.has_succeeded() },
            "started": is_running && self.has_started,
            "restartCount": self.restarts,
            "state": match &self.state {
                ContainerState::Waiting { reason, message } if message.is_empty() => json!({ "waiting": { "reason": reason } }),
                ContainerState::Waiting { reason, message } => json!({ "waiting": { "reason": reason, "message": message } }),
                ContainerState::Running { since } => json!({ "running": { "startedAt": Time(*since) } }),
                ContainerState::Terminated(end) => json!({ "terminated": end.to_json() }),
            },
            "lastState": self.last.as_ref().map_or(json!({}), |end| json!({ "terminated": end.to_json() })),
        })
    }
}

impl Terminated {
    fn to_json(&self) -> Value {
        json!({
            "exitCode": self.exit_code,
            "reason": if self.exit_code == 0 { "Completed" } else { "Error" },
            "startedAt": Time(self.started),
            "finishedAt": Time(self.finished),
            "containerID": self.id,
        })
    }
}

/// Whether a pod has ended for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase_of(pod), Some("Succeeded" | "Failed"))
}

fn phase_of(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// The restart count that a container goes on from when its processes are gone but the pod is not.
pub(crate) fn restarts_before(pod: &Pod, name: &str) -> i32 {
    let statuses = pod.status.as_ref().map(|status| (&status.container_statuses, &status.init_container_statuses));
    let Some((main, init)) = statuses else { return 0 };
    let status = main.iter().flatten().chain(init.iter().flatten()).find(|status| status.name == name);
    status.map_or(0, |status| {
        let has_run = status.container_id.as_ref().is_some_and(|id| !id.is_empty());
        status.restart_count + i32::from(has_run)
    })
}

/// The pod's phase, as a kubelet computes it.
pub(crate) fn phase(spec: &PodSpec, runtime: &PodRuntime) -> &'static str {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let failed = |container: &ContainerRuntime| matches!(&container.state, ContainerState::Terminated(end) if end.exit_code != 0);
    if policy == "Never" && runtime.init.iter().any(failed) {
        return "Failed";
    }
    let never_ran = |container: &ContainerRuntime| {
        matches!(container.state, ContainerState::Waiting { .. }) && container.last.is_none()
    };
    if !runtime.init.iter().all(ContainerRuntime::is_initialized) || runtime.main.iter().any(never_ran) {
        return "Pending";
    }
    let has_ended = |container: &ContainerRuntime| matches!(container.state, ContainerState::Terminated(_));
    if policy == "Always" || !runtime.main.iter().all(has_ended) {
        return "Running";
    }
    match (runtime.main.iter().any(failed), policy) {
        (false, _) => "Succeeded",
        (true, "OnFailure") => "Running",
        (true, _) => "Failed",
    }
}

/// The conditions: type, value, reason and message.
pub(crate) fn conditions(
    spec: &PodSpec,
    others: &[PodCondition],
    runtime: &PodRuntime,
) -> Vec<(&'static str, bool, &'static str, String)> {
    let unready: Vec<&str> = runtime
        .main
        .iter()
        .chain(runtime.init.iter().filter(|container| container.is_sidecar))
        .filter(|container| !(container.is_running() && container.is_ready))
        .map(|container| container.name.as_str())
        .collect();
    let is_initialized = runtime.init.iter().all(ContainerRuntime::is_initialized);
    let is_completed = phase(spec, runtime) == "Succeeded";
    let containers = match (unready.is_empty() && is_initialized, is_completed) {
        (true, _) => (true, "", String::new()),
        (_, true) => (false, "PodCompleted", String::new()),
        _ => (false, "ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))),
    };
    let gates = spec.readiness_gates.iter().flatten();
    let closed = gates
        .filter(|gate| !others.iter().any(|other| other.type_ == gate.condition_type && other.status == "True"))
        .count();
    let ready = match (containers.0, closed) {
        (true, 1..) => (false, "ReadinessGatesNotReady", format!("{closed} readiness gates are not true")),
        _ => containers.clone(),
    };
    let initialized = if is_initialized {
        (true, "", String::new())
    } else {
        (false, "ContainersNotInitialized", "init containers have not completed".to_owned())
    };
    vec![
        ("PodReadyToStartContainers", true, "", String::new()),
        ("Initialized", initialized.0, initialized.1, initialized.2),
        ("Ready", ready.0, ready.1, ready.2),
        ("ContainersReady", containers.0, containers.1, containers.2),
    ]
}

/// What the patch of the status needs beside the containers.
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) host: String,
    pub(crate) address: String,
    pub(crate) started: Timestamp,
    pub(crate) now: Timestamp,
}

/// The patch of the status. `known` keeps since when each condition has its value.
pub(crate) fn patch(facts: &Facts<'_>, runtime: &PodRuntime, known: &mut Conditions) -> Value {
    let default = PodSpec::default();
    let spec = facts.pod.spec.as_ref().unwrap_or(&default);
    let others = facts.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let conditions: Vec<Value> = conditions(spec, others, runtime)
        .into_iter()
        .map(|(type_, value, reason, message)| {
            let entry = known.entry(type_.to_owned()).or_insert_with(|| (value, Time(facts.now)));
            if entry.0 != value {
                *entry = (value, Time(facts.now));
            }
            json!({
                "type": type_,
                "status": if value { "True" } else { "False" },
                "reason": if reason.is_empty() { Value::Null } else { reason.into() },
                "message": if message.is_empty() { Value::Null } else { message.into() },
                "lastTransitionTime": entry.1,
            })
        })
        .collect();
    let statuses =
        |containers: &[ContainerRuntime]| -> Vec<Value> { containers.iter().map(ContainerRuntime::to_json).collect() };
    let mut status = json!({
        "phase": phase(spec, runtime),
        "conditions": conditions,
        "hostIP": facts.host,
        "hostIPs": [{ "ip": facts.host }],
        "podIP": facts.address,
        "podIPs": [{ "$patch": "replace" }, { "ip": facts.address }],
        "startTime": Time(facts.started),
        "containerStatuses": statuses(&runtime.main),
    });
    if let Some(fields) = status.as_object_mut()
        && !runtime.init.is_empty()
    {
        fields.insert("initContainerStatuses".to_owned(), statuses(&runtime.init).into());
    }
    // The uid refuses the patch if meanwhile another pod has the name.
    json!({ "metadata": { "uid": facts.pod.metadata.uid }, "status": status })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(state: ContainerState) -> ContainerRuntime {
        ContainerRuntime { state, is_ready: true, ..ContainerRuntime::new("main", "image", false, 0) }
    }
    fn running() -> ContainerState {
        ContainerState::Running { since: Timestamp::UNIX_EPOCH }
    }
    fn ended(exit_code: i32) -> ContainerState {
        let (started, finished) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        ContainerState::Terminated(Terminated { exit_code, started, finished, id: String::new() })
    }
    fn waiting() -> ContainerState {
        ContainerState::Waiting { reason: "CrashLoopBackOff", message: String::new() }
    }
    fn phase_with(policy: &str, states: Vec<ContainerState>) -> &'static str {
        let spec = PodSpec { restart_policy: Some(policy.into()), ..PodSpec::default() };
        phase(&spec, &PodRuntime { init: vec![], main: states.into_iter().map(container).collect() })
    }

    #[test]
    fn the_phase_follows_the_restart_policy() {
        assert_eq!(phase_with("Always", vec![waiting()]), "Pending");
        assert_eq!(phase_with("Always", vec![running(), waiting()]), "Pending");
        assert_eq!(phase_with("Always", vec![ended(1)]), "Running");
        assert_eq!(phase_with("Never", vec![ended(0), ended(1)]), "Failed");
        assert_eq!(phase_with("OnFailure", vec![ended(0), ended(1)]), "Running");
        assert_eq!(phase_with("OnFailure", vec![ended(0), ended(0)]), "Succeeded");
    }

    #[test]
    fn a_crashed_container_leaves_the_pod_running_but_not_ready() {
        let mut crashed = container(waiting());
        let ContainerState::Terminated(end) = ended(137) else { unreachable!() };
        crashed.last = Some(end);
        let runtime = PodRuntime { init: vec![], main: vec![crashed] };
        let spec = PodSpec::default();
        assert_eq!(phase(&spec, &runtime), "Running");
        let ready = conditions(&spec, &[], &runtime).into_iter().find(|condition| condition.0 == "Ready").unwrap();
        assert_eq!((ready.1, ready.3.as_str()), (false, "containers with unready status: [main]"));
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let pod = Pod::default();
        let facts = |second: i64| Facts {
            pod: &pod,
            host: String::new(),
            address: String::new(),
            started: Timestamp::UNIX_EPOCH,
            now: Timestamp::from_second(second).unwrap(),
        };
        let mut known = Conditions::new();
        let runtime = PodRuntime { init: vec![], main: vec![container(running())] };
        let first = patch(&facts(1), &runtime, &mut known);
        assert_eq!(first, patch(&facts(2), &runtime, &mut known));
        let mut changed = runtime.clone();
        changed.main[0].is_ready = false;
        patch(&facts(3), &changed, &mut known);
        assert_eq!(known["Ready"], (false, Time(Timestamp::from_second(3).unwrap())));
        assert_eq!(known["Initialized"], (true, Time(Timestamp::from_second(1).unwrap())));
    }
}
