//! The state of a cluster in the vendor's words (reference, 1.4 and 3.5), from what is observed now and from the state
//! before.

use crate::Course;
use crate::formation::{Next, NodeState, View};
use crate::recovery::{self, Recovery};
use crate::seen::Seen;

/// As in `status.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    PendingCreation,
    BootstrappingFirstPod,
    Initializing,
    Running,
    RunningRollingUpdate,
    Upgrade,
    InvalidUpgrade,
    RecoveryReset,
    RecoveringFirstPod,
    ClusterRecreating,
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
            Self::Upgrade => "Upgrade",
            Self::InvalidUpgrade => "InvalidUpgrade",
            Self::RecoveryReset => "RecoveryReset",
            Self::RecoveringFirstPod => "RecoveringFirstPod",
            Self::ClusterRecreating => "ClusterRecreating",
            Self::Error => "Error",
            Self::Invalid => "Invalid",
            Self::Deleting => "Deleting",
        }
    }
}

/// States in which a cluster had served before, so that not to answer is an error and no beginning.
const SERVED: [&str; 5] = ["Running", "RunningRollingUpdate", "Upgrade", "InvalidUpgrade", "Error"];

fn served(seen: &Seen<'_>, view: &View) -> bool {
    let last = seen.cluster.status.state.as_str();
    // Pods that went, and then the majority: the state in between is no beginning.
    let fell = last == State::Initializing.as_str() && recovery::had_majority(seen) && !recovery::rejoining(seen);
    SERVED.contains(&last) || (fell && recovery::quorum_lost(seen, view).is_some())
}

/// That a cluster which served has lost its quorum, with what helps.
pub(crate) fn lost(seen: &Seen<'_>, view: &View) -> Option<String> {
    recovery::quorum_lost(seen, view).filter(|_| served(seen, view))
}

/// The state, and in words what is missing; nothing is missing when it is `Running`.
pub(crate) fn of(seen: &Seen<'_>, view: &View, course: &Course) -> (State, Option<String>) {
    let next = &course.next;
    let waiting = |fallback: &str| match next {
        Next::Wait(why) => why.clone(),
        Next::Create { pod, .. } => format!("{pod} is to form the cluster"),
        Next::Recover { pod, .. } => format!("{pod} is to restore the configuration"),
        Next::Join { pod, .. } => format!("{pod} is to join the cluster"),
        Next::Stuck { message, .. } => message.clone(),
        Next::Complete => fallback.to_owned(),
    };
    match course.recovery {
        Recovery::Reset { .. } => return (State::RecoveryReset, Some(waiting("the pods are deleted"))),
        Recovery::FirstPod => {
            return (State::RecoveringFirstPod, Some(waiting("the first pod restores the configuration")));
        }
        _ => {}
    }
    if course.recreates {
        return (State::ClusterRecreating, Some("the pods are deleted before the cluster is formed anew".to_owned()));
    }
    let Some(set) = &seen.statefulset else {
        return (State::PendingCreation, Some("the StatefulSet is being created".to_owned()));
    };
    if let Next::Stuck { message, .. } = next {
        return (State::Error, Some(message.clone()));
    }
    if !view.formed() {
        return (State::BootstrappingFirstPod, Some(waiting("the first node forms the cluster")));
    }
    let served = served(seen, view);
    if let Err(why) = &view.listed {
        // While pods are replaced a master goes with its pod, and another one is elected.
        let changing = course.rollout.rolling && recovery::most_are_ready(seen);
        let state = match (served, changing) {
            (true, true) if seen.image.upgrading => State::Upgrade,
            (true, true) => State::RunningRollingUpdate,
            (true, false) => State::Error,
            (false, _) => State::Initializing,
        };
        let text = waiting(&format!("the cluster does not answer: {why}"));
        let hidden = || recovery::hidden(view).then(|| recovery::ELSEWHERE.to_owned());
        let advice = lost(seen, view).or_else(hidden);
        return (state, Some(advice.map_or_else(|| text.clone(), |advice| format!("{text}; {advice}"))));
    }
    // What may be no change of the pods is told of only once it is one.
    let was_rolling = seen.cluster.status.state == State::RunningRollingUpdate.as_str();
    let rolling = course.rollout.rolling && (!course.rollout.reading || was_rolling);
    if served && (rolling || seen.image.upgrading) {
        let state = if seen.image.upgrading { State::Upgrade } else { State::RunningRollingUpdate };
        let text = course.rollout.stuck.clone().or(course.rollout.waits.clone());
        return (state, Some(text.unwrap_or_else(|| "pods are being replaced one by one".to_owned())));
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
    if let Some(why) = &seen.image.refused {
        return (State::InvalidUpgrade, Some(why.clone()));
    }
    let shrinking = course.shrink.blocked.clone().or(course.shrink.waits.clone());
    (State::Running, shrinking.or(course.rollout.waits.clone().filter(|_| course.rollout.reading)))
}
