//! The state of a cluster in the vendor's words (reference, 1.4 and 3.5), from what is observed now and from the state
//! before.

use crate::formation::{Next, NodeState, View};
use crate::seen::Seen;

/// As in `status.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    PendingCreation,
    BootstrappingFirstPod,
    Initializing,
    Running,
    RunningRollingUpdate,
    Error,
    Invalid,
    Deleting,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PendingCreation => "PendingCreation",
            Self::BootstrappingFirstPod => "BootstrappingFirstPod",
            Self::Initializing => "Initializing",
            Self::Running => "Running",
            Self::RunningRollingUpdate => "RunningRollingUpdate",
            Self::Error => "Error",
            Self::Invalid => "Invalid",
            Self::Deleting => "Deleting",
        }
    }
}

/// The state, and in words what is missing; nothing is missing when it is `Running`.
pub(crate) fn of(seen: &Seen<'_>, view: &View, next: &Next) -> (State, Option<String>) {
    let Some(set) = &seen.statefulset else {
        return (State::PendingCreation, Some("the StatefulSet is being created".to_owned()));
    };
    if let Next::Stuck { message, .. } = next {
        return (State::Error, Some(message.clone()));
    }
    let waiting = |fallback: &str| match next {
        Next::Wait(why) => why.clone(),
        Next::Create { pod, .. } => format!("{pod} is to form the cluster"),
        Next::Join { pod, .. } => format!("{pod} is to join the cluster"),
        Next::Stuck { .. } | Next::Complete => fallback.to_owned(),
    };
    if !view.formed() {
        return (State::BootstrappingFirstPod, Some(waiting("the first node forms the cluster")));
    }
    // It served before, so that not to answer is an error and no beginning.
    let served = matches!(seen.cluster.status.state.as_str(), "Running" | "RunningRollingUpdate" | "Error");
    if let Err(why) = &view.listed {
        let state = if served { State::Error } else { State::Initializing };
        return (state, Some(waiting(&format!("the cluster does not answer: {why}"))));
    }
    let rolling = set.status.current_revision != set.status.update_revision
        || set.status.observed_generation < set.metadata.generation;
    if served && rolling {
        return (State::RunningRollingUpdate, Some("pods are being replaced one by one".to_owned()));
    }
    if *next != Next::Complete {
        return (State::Initializing, Some(waiting("nodes are joining")));
    }
    if let Some(node) = view.nodes.iter().find(|node| node.state != NodeState::Member || !node.active) {
        return (State::Initializing, Some(format!("{} is not active yet", node.pod)));
    }
    let ready = set.status.ready_replicas;
    let wanted = seen.cluster.spec.nodes();
    if ready < wanted || rolling {
        return (State::Initializing, Some(format!("{ready} of {wanted} pods are ready")));
    }
    (State::Running, None)
}
