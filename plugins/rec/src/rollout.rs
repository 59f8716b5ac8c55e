//! New pod templates reach the pods one node at a time, from the highest ordinal, and only while every other node is well.
//!
//! The StatefulSet's partition does it. At rest it holds every pod back, so that a new template alone replaces none; then
//! it goes down by one pod whenever the cluster can spare that one. A pod whose node is down anyway may always be replaced.

use crate::formation::{NodeState, View};
use crate::seen::{Pod, Seen};

/// Reasons of a waiting container that do not pass by waiting.
const STUCK: [&str; 7] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
];

/// How far the pods follow their template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Pods from this ordinal on get the newest template.
    pub(crate) partition: u32,
    /// A newer template is on its way, or may be.
    pub(crate) rolling: bool,
    /// It may be: the StatefulSet changed, and its controller has not said yet whether the pods are concerned. A change of the
    /// number of replicas alone does not concern them.
    pub(crate) reading: bool,
    /// What the next pod waits for, or which pod is replaced.
    pub(crate) waits: Option<String>,
    /// A replaced pod does not start, and why.
    pub(crate) stuck: Option<String>,
    /// No cluster was formed yet, so that the pods may all go and come again.
    pub(crate) recreate: bool,
    /// The pod that is replaced next, or is being replaced now, of a cluster that is formed.
    pub(crate) next: Option<String>,
    /// The cluster can spare it.
    pub(crate) clear: bool,
}

impl Rollout {
    /// Nothing is replaced before this.
    pub(crate) fn hold(&mut self, why: String) {
        if let Some(next) = &self.next {
            let ordinal = next.rsplit('-').next().and_then(|text| text.parse::<u32>().ok());
            self.partition = ordinal.map_or(self.partition, |ordinal| self.partition.max(ordinal + 1));
            self.waits = Some(format!("{next} is to be replaced once {why}"));
        } else {
            self.waits = Some(format!("the change of pods is done once {why}"));
        }
        self.rolling = true;
    }
}

pub(crate) fn of(seen: &Seen<'_>, view: &View) -> Rollout {
    let replicas = seen.cluster.spec.nodes();
    let Some(set) = &seen.statefulset else { return Rollout { partition: replicas, ..Rollout::default() } };
    let status = &set.status;
    if status.observed_generation < set.metadata.generation {
        // What is said of revisions is from before the newest template.
        let partition = set.spec.update_strategy.rolling_update.partition.unwrap_or(replicas);
        return Rollout {
            partition,
            rolling: true,
            reading: true,
            waits: Some("the changed StatefulSet is being read".to_owned()),
            ..Rollout::default()
        };
    }
    let all = set.spec.replicas.unwrap_or(replicas).max(replicas);
    if status.current_revision == status.update_revision {
        return Rollout { partition: all, ..Rollout::default() };
    }
    let pod = |ordinal: u32| seen.pods.iter().find(|pod| pod.id.name == seen.pod_name(ordinal)).map(|pod| &pod.value);
    let updated = |ordinal: u32| pod(ordinal).is_some_and(|pod| is_updated(pod, &status.update_revision));
    let next = (0..all).rev().find(|ordinal| !updated(*ordinal));
    let stuck = (0..all)
        .rev()
        .filter(|ordinal| updated(*ordinal))
        .find_map(|ordinal| stuck(&seen.pod_name(ordinal), pod(ordinal)?));
    let Some(next) = next else {
        let waits = Some("the last replaced pod is starting".to_owned());
        return Rollout { partition: 0, rolling: true, waits, stuck, ..Rollout::default() };
    };
    if !view.formed() {
        let bad = (0..all).find_map(|ordinal| stuck_pod(seen, ordinal, pod(ordinal)));
        return Rollout {
            partition: 0,
            rolling: true,
            waits: Some("pods are being replaced".to_owned()),
            stuck: bad.clone(),
            recreate: bad.is_some(),
            ..Rollout::default()
        };
    }
    let name = seen.pod_name(next);
    let (partition, clear, waits) = match hindrance(seen, view, next) {
        None => (next, true, format!("{name} is being replaced")),
        Some(why) => (next + 1, false, format!("{name} is to be replaced once {why}")),
    };
    Rollout { partition, rolling: true, waits: Some(waits), stuck, next: Some(name), clear, ..Rollout::default() }
}

fn is_updated(pod: &Pod, revision: &str) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.metadata.labels.get("controller-revision-hash").is_some_and(|label| label == revision)
}

fn stuck(name: &str, pod: &Pod) -> Option<String> {
    let mut waiting = pod.status.container_statuses.iter().filter_map(|status| status.state.waiting.as_ref());
    let waiting = waiting.find(|waiting| STUCK.contains(&waiting.reason.as_str()))?;
    Some(format!("{name} does not start: {}", waiting.reason))
}

/// Of a cluster that is not formed yet: a pod with an older template that cannot start, or fits on no Kubernetes node.
fn stuck_pod(seen: &Seen<'_>, ordinal: u32, pod: Option<&Pod>) -> Option<String> {
    let revision = seen.statefulset.as_ref().map(|set| set.status.update_revision.as_str())?;
    let pod = pod.filter(|pod| !is_updated(pod, revision))?;
    let name = seen.pod_name(ordinal);
    let unplaced = || pod.spec.node_name.is_none().then(|| format!("{name} fits on no Kubernetes node"));
    stuck(&name, pod).or_else(unplaced)
}

/// Why the cluster cannot spare this node now.
fn hindrance(seen: &Seen<'_>, view: &View, next: u32) -> Option<String> {
    let name = seen.pod_name(next);
    let well =
        |pod: &str| view.nodes.iter().any(|node| node.pod == pod && node.state == NodeState::Member && node.active);
    if !well(&name) {
        return None;
    }
    if let Err(why) = &view.listed {
        return Some(format!("the cluster answers ({why})"));
    }
    if let Some(node) = view.nodes.iter().find(|node| node.pod != name && !well(&node.pod)) {
        return Some(format!("{} is active", node.pod));
    }
    let bdbs = match &seen.bdbs {
        stepwright_sdk::Fact::Known(bdbs) => bdbs,
        stepwright_sdk::Fact::Unknown(why) => return Some(format!("databases can be looked at ({why})")),
    };
    let busy = bdbs.iter().find(|bdb| !matches!(bdb.status.as_str(), "active" | "creation-failed"));
    busy.map(|bdb| format!("database `{}` is active (it is {})", bdb.name, bdb.status))
}
