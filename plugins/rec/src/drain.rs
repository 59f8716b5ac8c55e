//! A node is emptied before its pod is replaced: it hands over the cluster's mastership, and what its shards and endpoints serve,
//! so that clients see a planned failover and no outage. The cluster does it (maintenance mode; REST reference, 5.3).
//!
//! Which node it is, is kept on the board: what a user put into maintenance is the user's to take out again. A node that
//! cannot be emptied is replaced all the same, and that is told: a database without room elsewhere must not hold up an
//! upgrade for ever. One that takes its time is waited for.

use serde::{Deserialize, Serialize};
use stepwright_sdk::Call;

use crate::board;
use crate::facts::{Bdb, NodeStatus};
use crate::formation::{Listed, NodeState, View};
use crate::rollout::Rollout;
use crate::seen::Seen;

const HAND_OVER: &str = "drain master";
const DRAIN: &str = "drain";
const READ: &str = "drain-of";
const RETURN: &str = "return";

/// First part of the label that leads a database's clients to a pod (reference, 2.9).
const SERVES: &str = "redis.io/bdb-";
/// Behind the pod's name on the board: it is replaced without having been emptied.
const AS_IT_IS: &str = " as it is";

/// What is to be done for the pod that is replaced next, or was replaced last.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    pub(crate) calls: Vec<Call>,
    /// What is kept of it on the board.
    pub(crate) note: Option<String>,
    /// Why a node is replaced as it is; news.
    pub(crate) gave_up: Option<String>,
}

#[derive(Serialize)]
struct ChangeMaster {
    node_uid: String,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Action {
    status: String,
    error: Option<String>,
}

/// Decides, and holds the rollout back as long as a node is not ready to lose its pod.
pub(crate) fn of(seen: &Seen<'_>, view: &View, rollout: &mut Rollout) -> Drain {
    let note = board::kept(seen, board::DRAINED).map(str::to_owned);
    let unchanged = || Drain { note: note.clone(), ..Drain::default() };
    let Ok(listed) = &view.listed else { return unchanged() };
    let of = |pod: &str| listed.iter().find(|node| node.hostname == pod);
    let pod = note.as_deref().map(|note| note.strip_suffix(AS_IT_IS).unwrap_or(note));
    // Replaced, or not to be replaced any more: it serves again, as soon as it can, and before another one goes.
    let other = pod.filter(|pod| rollout.next.as_deref() != Some(*pod));
    if let Some(drain) = other.and_then(|pod| bring_back(seen, view, pod, of(pod), rollout)) {
        return drain;
    }
    let note = note.as_ref().filter(|_| other.is_none());
    let unchanged = || Drain { note: note.cloned(), ..Drain::default() };
    let Some(next) = rollout.next.clone().filter(|_| rollout.clear) else { return unchanged() };
    if note.is_some_and(|note| note.ends_with(AS_IT_IS)) {
        return unchanged();
    }
    match of(&next).filter(|node| node.active) {
        Some(node) => empty(seen, listed, node, &next, note.is_some(), rollout),
        // It is down: nothing is left to hand over.
        None => unchanged(),
    }
}

fn status<'a>(seen: &'a Seen<'_>, node: &Listed) -> Option<&'a NodeStatus> {
    seen.nodes_status.known()?.get(&node.uid.to_string())
}

/// `None` once there is nothing more to be done for it: the node is gone, or was taken out of maintenance.
fn bring_back(seen: &Seen<'_>, view: &View, pod: &str, node: Option<&Listed>, rollout: &mut Rollout) -> Option<Drain> {
    let node = node.filter(|node| !node.active || status(seen, node).is_none_or(NodeStatus::in_maintenance))?;
    let mut drain = Drain { note: Some(pod.to_owned()), ..Drain::default() };
    rollout.hold(format!("{pod} serves again after its maintenance"));
    let back = view.nodes.iter().any(|node| node.pod == pod && node.state == NodeState::Member && node.active);
    if back && status(seen, node).is_some() && seen.observed.round == 0 {
        let path = format!("/v1/nodes/{}/actions/maintenance_off", node.uid);
        drain.calls.push(Call::post(format!("{RETURN} {}", node.uid), path).body(&Nothing {}));
    }
    Some(drain)
}

fn empty(seen: &Seen<'_>, listed: &[Listed], node: &Listed, pod: &str, begun: bool, rollout: &mut Rollout) -> Drain {
    let uid = node.uid;
    let mut drain = Drain { note: begun.then(|| pod.to_owned()), ..Drain::default() };
    if node.master
        && let Some(heir) = heir(seen, listed, node)
    {
        if seen.observed.round == 0 {
            let body = ChangeMaster { node_uid: heir.uid.to_string() };
            drain.calls.push(Call::post(HAND_OVER, "/v1/cluster/actions/change_master").body(&body));
        }
        rollout.hold(format!("{pod} has handed the cluster's mastership over"));
        return drain;
    }
    let Some(status) = status(seen, node) else {
        rollout.hold(format!("the cluster says what {pod} serves"));
        return drain;
    };
    if status.in_maintenance() && status.master_shards.is_empty() {
        if let Some(bdb) = still_led(seen, node, pod) {
            rollout.hold(format!("clients of database `{bdb}` are no longer led to it"));
        }
        return drain;
    }
    rollout.hold(format!("{pod} serves nothing any more: {} master shards are to move", status.master_shards.len()));
    let (read, asked) = (format!("{READ} {uid}"), format!("{DRAIN} {uid}"));
    let path = format!("/v1/nodes/{uid}/actions/maintenance_on");
    if seen.observed.round == 0 && begun {
        drain.calls.push(Call::get(read, path));
        return drain;
    }
    drain.note = Some(pod.to_owned());
    let failure = match (seen.observed.reply(&asked), seen.observed.reply(&read)) {
        (Some(answer), _) if answer.is_success() || matches!(answer.status, 0 | 409 | 503) => None,
        (Some(answer), _) => Some(answer.error_text()),
        (None, read) => {
            let action = read.filter(|answer| answer.is_success()).and_then(|answer| answer.json::<Action>());
            let action = action.unwrap_or_default();
            let failed = matches!(action.status.as_str(), "failed" | "aborted" | "cancelled");
            if !failed
                && !status.in_maintenance()
                && !matches!(action.status.as_str(), "queued" | "starting" | "running")
            {
                drain.calls.push(Call::post(asked, path).body(&Nothing {}));
            }
            (failed && !status.in_maintenance()).then(|| action.error.unwrap_or(action.status))
        }
    };
    if let Some(why) = failure {
        drain.note = Some(format!("{pod}{AS_IT_IS}"));
        drain.gave_up =
            Some(format!("{pod} could not be emptied before it is replaced: {why}; what it serves is away meanwhile"));
    }
    drain
}

/// A database whose clients Kubernetes still leads to this pod, by its label, though the cluster serves them elsewhere by now.
/// Where every node serves a database, the label stays.
fn still_led<'a>(seen: &'a Seen<'_>, node: &Listed, pod: &str) -> Option<&'a str> {
    let labels = &seen.pods.iter().find(|other| other.id.name == pod)?.metadata.labels;
    let labelled = |bdb: &&Bdb| labels.contains_key(&format!("{SERVES}{}", bdb.uid));
    let serves = |bdb: &&Bdb| bdb.endpoints.iter().flatten().any(|endpoint| endpoint.addr.contains(&node.addr));
    seen.bdbs.known()?.iter().find(|bdb| labelled(bdb) && !serves(bdb)).map(|bdb| bdb.name.as_str())
}

/// Who leads next: a node whose pod is replaced already, so that mastership moves once.
fn heir<'a>(seen: &Seen<'_>, listed: &'a [Listed], node: &Listed) -> Option<&'a Listed> {
    let others = listed.iter().filter(|other| other.uid != node.uid && other.active);
    others.max_by_key(|other| {
        let drained = status(seen, other).is_some_and(NodeStatus::in_maintenance);
        (!drained, other.hostname.as_str() > node.hostname.as_str(), other.uid)
    })
}
