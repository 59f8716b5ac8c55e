//! A cluster whose quorum is lost comes back from its volumes (reference, 3.15): all pods are deleted, one
//! restores the configuration, the others join it again as their former selves. The one is that whose node had the newest
//! configuration when the cluster last answered (`board`); if it cannot, the next is tried. The databases are then recovered by people.
//!
//! It happens once for each time that `clusterRecovery` is set: that it is done is kept beside the pods' tasks, since a
//! cluster must never be reset for a wish of long ago; then the wish is taken back. It begins only while the cluster does not
//! answer.

use serde::Serialize;
use stepwright_sdk::Plan;

use crate::board;
use crate::formation::{NodeState, View};
use crate::seen::Seen;
use crate::state::State;

/// What `spec.clusterRecovery` leads to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Nothing is asked for, or it is done.
    None,
    /// The pods go; the volumes stay.
    Reset { begins: bool },
    /// The first pod restores the configuration.
    FirstPod,
    /// The other nodes join again.
    Rejoining,
    /// Asked for, and not begun, for this reason.
    Refused(String),
}

/// The field of the spec by which it is asked for.
pub(crate) const REQUEST: &str = "spec.clusterRecovery";
/// Word under which the end of a recovery is kept.
pub(crate) const DONE: &str = "done";
/// Word for its last part: the configuration is restored, and nodes join again. From there on nothing is reset any more for
/// the same wish, however often the cluster does not answer on the way.
pub(crate) const REJOINING: &str = "rejoining";

/// The code of a node that reaches no majority (REST reference, 16.7, F2).
const NO_QUORUM: &str = "no_quorum";
/// How answers begin that no node gives, but a proxy in front of it does.
const OF_A_PROXY: [&str; 2] = ["HTTP status 502", "HTTP status 504"];
pub(crate) const ELSEWHERE: &str = "something else answers in the place of its nodes: look at what lies between the operator and port 9443 of \
    the pods; nothing is lost by that, and the cluster goes on by itself once it is away";
const DIVIDED: &str = "its nodes run, and too few of them reach one another: look at the network between the pods, and at network policies; \
    data is served meanwhile, and the cluster goes on by itself once they do, so that spec.clusterRecovery would only cost time";

pub(crate) fn of(seen: &Seen<'_>, view: &View) -> Recovery {
    let spec = &seen.cluster.spec;
    let last = seen.cluster.status.state.as_str();
    if !spec.cluster_recovery && !spec.auto_recovery {
        return Recovery::None;
    }
    if last == State::RecoveryReset.as_str() {
        let gone = seen.statefulset.is_none() && seen.pods.is_empty();
        return if gone { Recovery::FirstPod } else { Recovery::Reset { begins: false } };
    }
    if last == State::RecoveringFirstPod.as_str() {
        let restored = view.members().next().is_some() && view.listed.is_ok();
        return if restored { Recovery::Rejoining } else { Recovery::FirstPod };
    }
    if spec.cluster_recovery && seen.recovered() {
        return Recovery::None;
    }
    if rejoining(seen) || (last == State::Initializing.as_str() && view.listed.is_ok() && view.formed_before) {
        return Recovery::Rejoining;
    }
    if view.listed.is_ok() {
        // It answers: there is nothing to recover, or it is recovered.
        return Recovery::None;
    }
    begin(seen, view)
}

fn begin(seen: &Seen<'_>, view: &View) -> Recovery {
    let asked = seen.cluster.spec.cluster_recovery;
    let refused = |why: &str| if asked { Recovery::Refused(why.to_owned()) } else { Recovery::None };
    if !seen.cluster.spec.persistent() {
        return refused(
            "spec.clusterRecovery needs volumes, and spec.persistentSpec.enabled is false; remove clusterRecovery",
        );
    }
    let older = view.nodes.iter().any(|node| !node.surely_new);
    if !view.formed_before && !older {
        return refused(
            "spec.clusterRecovery is set, but there is no cluster yet that could be recovered; set it to false",
        );
    }
    if let Some(node) = view.members().next() {
        let majority = view.members().count() * 2 > view.nodes.len();
        if majority {
            return refused(&format!(
                "spec.clusterRecovery is set, but {} and others are members of a cluster that has its majority; wait until it answers",
                node.pod
            ));
        }
    }
    if asked {
        // What was not heard of yet may be well: each pod has said something, or is not there.
        let unheard = view.nodes.iter().find(|node| matches!(node.state, NodeState::Silent(_)) && node.ip.is_some());
        return match unheard {
            Some(node) if view.formed_before && !served(seen) => {
                Recovery::Refused(format!("{} has not said yet how it is", node.pod))
            }
            _ => Recovery::Reset { begins: true },
        };
    }
    // By itself only when it is certain that nobody serves: every process began anew and looks for its cluster in vain.
    let stranded = |state: &NodeState| matches!(state, NodeState::Busy(state) if state == "joining_cluster");
    if view.formed_before && served(seen) && view.nodes.iter().all(|node| stranded(&node.state)) {
        return Recovery::Reset { begins: true };
    }
    Recovery::None
}

/// `REQUEST` at rest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AtRest {
    cluster_recovery: bool,
}

/// Takes the wish back once it is noted as fulfilled, and not sooner: were the note lost, the cluster would be reset again.
pub(crate) fn take_back(plan: Plan, seen: &Seen<'_>) -> Plan {
    let fulfilled = seen.cluster.spec.cluster_recovery && seen.recovered();
    if fulfilled { plan.defaults(&AtRest { cluster_recovery: false }) } else { plan }
}

/// The recovery that the spec asks for has restored the configuration, and is not done.
pub(crate) fn rejoining(seen: &Seen<'_>) -> bool {
    seen.cluster.spec.cluster_recovery && board::kept(seen, board::RECOVERY) == Some(REJOINING)
}

/// More than half of the nodes were active when the cluster last answered.
pub(crate) fn had_majority(seen: &Seen<'_>) -> bool {
    let active = board::kept(seen, board::NEWEST).map_or(0, |pods| pods.split(',').count());
    active * 2 > usize::try_from(seen.cluster.spec.nodes()).unwrap_or(usize::MAX)
}

/// That it does not answer is an error by now, and no beginning.
fn served(seen: &Seen<'_>) -> bool {
    seen.cluster.status.state == State::Error.as_str()
}

/// The command that helps when more than half of the nodes are lost.
pub(crate) fn advice(seen: &Seen<'_>) -> String {
    format!(
        "if more than half of the nodes are lost for good, recover them from their volumes: \
         kubectl -n {} patch rec {} --type merge -p '{{\"spec\":{{\"clusterRecovery\":true}}}}'",
        seen.observed.namespace(),
        seen.name()
    )
}

/// Most pods are ready: their nodes' cluster called them well a moment ago.
pub(crate) fn most_are_ready(seen: &Seen<'_>) -> bool {
    seen.statefulset.as_ref().is_some_and(|set| set.status.ready_replicas * 2 > seen.cluster.spec.nodes())
}

/// That the cluster has no quorum, with what helps. More than half of the nodes are not members that serve, as far as they say;
/// or they are, and say themselves that they reach no majority. A cluster that elects another master does not answer for a
/// while either, but its pods stay ready meanwhile.
pub(crate) fn quorum_lost(seen: &Seen<'_>, view: &View) -> Option<String> {
    let why = view.listed.as_ref().err().filter(|_| view.formed_before && !most_are_ready(seen))?;
    if hidden(view) {
        return None;
    }
    if view.members().count() * 2 <= view.nodes.len() {
        return Some(advice(seen));
    }
    why.contains(NO_QUORUM).then(|| DIVIDED.to_owned())
}

/// Nothing is known of the nodes, since something in front of them answers: no reason to recover anything.
pub(crate) fn hidden(view: &View) -> bool {
    view.listed.as_ref().is_err_and(|why| OF_A_PROXY.iter().any(|word| why.contains(word)))
}
