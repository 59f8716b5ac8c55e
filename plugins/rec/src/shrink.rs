//! Fewer nodes, where the user allows it: the highest ordinals are drained and removed one after another, and their pods go
//! only when the cluster has forgotten them. It stops at the first doubt.
//!
//! A removal that failed, as when a node's shards fit nowhere else, is tried again after a while. When, is kept on the board:
//! passes come whenever something changes, and attempts must not.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stepwright_sdk::Call;

use crate::board;
use crate::formation::{Listed, View};
use crate::seen::Seen;

/// Name of the calls, before the number of the node.
const READ: &str = "removal-of";
const REMOVE: &str = "remove-node";
const HAND_OVER: &str = "hand-over";
const CLEAR: &str = "clear-removal";

/// Seconds between two attempts to remove a node.
const PAUSE: i64 = 60;

#[derive(Debug, Default)]
pub(crate) struct Shrink {
    /// Pods that the StatefulSet is to have.
    pub(crate) replicas: u32,
    pub(crate) calls: Vec<Call>,
    /// What it waits for.
    pub(crate) waits: Option<String>,
    /// Why it does not go on by itself.
    pub(crate) blocked: Option<String>,
    /// Whether that is news.
    pub(crate) told: bool,
    /// Pods are going whose volumes have no use any more.
    pub(crate) retires: bool,
    /// What is kept of the last attempt on the board.
    pub(crate) note: Option<String>,
}

/// The last attempt to remove a node, as the board keeps it: `5 2026-01-01T00:00:00Z`, and ` failed` once that was told, or
/// ` again` while it is tried once more.
struct Attempt {
    uid: u64,
    at: String,
    failed: bool,
    told: bool,
}

impl Attempt {
    /// The one that is kept for this node.
    fn kept(seen: &Seen<'_>, uid: u64) -> Option<Self> {
        let mut words = board::kept(seen, board::REMOVAL)?.split(' ');
        let (of, at) = (words.next()?.parse::<u64>().ok()?, words.next()?.to_owned());
        let how = words.next();
        (uid == of).then(|| Self { uid, at, failed: how == Some("failed"), told: how.is_some() })
    }

    fn now(seen: &Seen<'_>, uid: u64, told: bool) -> Self {
        Self { uid, at: seen.observed.now.clone(), failed: false, told }
    }

    fn note(&self) -> String {
        let how = match (self.failed, self.told) {
            (true, _) => " failed",
            (false, true) => " again",
            (false, false) => "",
        };
        format!("{} {}{how}", self.uid, self.at)
    }

    /// Long enough ago. A time that cannot be read, or that is yet to come, is no reason to wait for ever.
    fn is_over(&self, now: &str) -> bool {
        let seconds = |text: &str| text.parse::<Timestamp>().map(Timestamp::as_second).ok();
        match (seconds(&self.at), seconds(now)) {
            (Some(at), Some(now)) => !(0..PAUSE).contains(&(now - at)),
            _ => true,
        }
    }
}

#[derive(Serialize)]
struct Remove {
    wait_for_persistence: bool,
}

#[derive(Serialize)]
struct ChangeMaster {
    node_uid: String,
}

/// `GET /v1/nodes/{uid}/actions/remove` (REST reference, 5.3).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Removal {
    status: String,
    error: Option<String>,
}

pub(crate) fn of(seen: &Seen<'_>, view: &View) -> Shrink {
    let wanted = seen.cluster.spec.nodes();
    let has = seen.statefulset.as_ref().and_then(|set| set.spec.replicas).unwrap_or(wanted);
    let retires = seen.cluster.spec.allow_scale_down && leaving(seen, wanted);
    let mut shrink = Shrink { replicas: wanted, retires, ..Shrink::default() };
    if has <= wanted || !view.formed() {
        return shrink;
    }
    let Ok(listed) = &view.listed else {
        // Who is a member is not known: no pod is taken away.
        shrink.replicas = has;
        shrink.note = board::kept(seen, board::REMOVAL).map(str::to_owned);
        return shrink;
    };
    let prefix = format!("{}-", seen.name());
    let ordinal = |node: &Listed| {
        let number = node.hostname.split('.').next()?.strip_prefix(&prefix)?.parse::<u32>().ok();
        number.filter(|number| *number >= wanted)
    };
    let Some((highest, node)) = listed.iter().filter_map(|node| Some((ordinal(node)?, node))).max_by_key(|(at, _)| *at)
    else {
        shrink.retires = seen.cluster.spec.allow_scale_down;
        return shrink;
    };
    shrink.replicas = highest + 1;
    if !seen.cluster.spec.allow_scale_down {
        return shrink;
    }
    shrink.retires = shrink.replicas < has || leaving(seen, shrink.replicas);
    remove(seen, listed, node, &mut shrink);
    shrink
}

/// Pods beyond that number are still there, or claims that are to go with them. Other claims of former pods stay.
fn leaving(seen: &Seen<'_>, replicas: u32) -> bool {
    let ordinal = |name: &str| name.rsplit('-').next().and_then(|text| text.parse::<u32>().ok());
    let beyond = |name: &str| ordinal(name).is_some_and(|at| at >= replicas);
    seen.pods.iter().any(|pod| beyond(&pod.id.name))
        || seen.claims.iter().any(|claim| beyond(&claim.id.name) && !claim.metadata.owner_references.is_empty())
}

fn remove(seen: &Seen<'_>, listed: &[Listed], node: &Listed, shrink: &mut Shrink) {
    let (name, uid) = (&node.hostname, node.uid);
    let attempt = Attempt::kept(seen, uid);
    shrink.note = attempt.as_ref().map(Attempt::note);
    if let Some(why) = doubt(seen, listed, node) {
        shrink.waits = Some(format!("{name} is to leave the cluster once {why}"));
        return;
    }
    if node.leaving {
        shrink.waits = Some(format!("{name} is leaving the cluster: its shards move to other nodes"));
        return;
    }
    if let Some(free) = no_room(seen, listed, node) {
        shrink.blocked =
            Some(format!("{name} cannot leave the cluster: {free}; set spec.nodes back, or make databases smaller"));
        shrink.told = true;
        return;
    }
    if node.master {
        let Some(other) = listed.iter().filter(|other| other.uid != uid && other.active).min_by_key(|other| other.uid)
        else {
            return;
        };
        if seen.observed.round == 0 {
            let body = ChangeMaster { node_uid: other.uid.to_string() };
            shrink.calls.push(Call::post(HAND_OVER, "/v1/cluster/actions/change_master").body(&body));
        }
        shrink.waits = Some(format!("{name} hands its mastership over before it leaves"));
        return;
    }
    let path = format!("/v1/nodes/{uid}/actions/remove");
    let (read, clear) = (format!("{READ} {uid}"), format!("{CLEAR} {uid}"));
    if seen.observed.round == 0 {
        // Rounds that plan calls are never remembered, so that the time is the right one here.
        let again = attempt.is_some_and(|last| last.failed && last.is_over(&seen.observed.now));
        shrink.calls.push(if again { Call::delete(clear, path) } else { Call::get(read, path) });
        shrink.waits = Some(format!("{name} is leaving the cluster"));
        return;
    }
    // What was kept of it is gone, or was gone already; a removal that runs meanwhile is answered with 409, which is no refusal.
    let cleared = seen.observed.reply(&clear).is_some_and(|reply| reply.is_success() || reply.status == 404);
    let removal = seen
        .observed
        .reply(&read)
        .map(|reply| reply.json::<Removal>().filter(|_| reply.is_success()).unwrap_or_default());
    match removal {
        Some(removal) if matches!(removal.status.as_str(), "failed" | "aborted" | "cancelled") => {
            let why = removal.error.unwrap_or(removal.status);
            shrink.blocked = Some(format!(
                "{name} could not leave the cluster: {why}; set spec.nodes back, or make room: it is tried again every {PAUSE} seconds"
            ));
            let last = attempt.unwrap_or_else(|| Attempt::now(seen, uid, false));
            shrink.told = !last.told;
            shrink.note = Some(Attempt { failed: true, ..last }.note());
        }
        removal if cleared || removal.as_ref().is_some_and(|removal| removal.status.is_empty()) => {
            let call = Call::post(format!("{REMOVE} {uid}"), path);
            shrink.calls.push(call.body(&Remove { wait_for_persistence: true }));
            shrink.note = Some(Attempt::now(seen, uid, attempt.is_some_and(|attempt| attempt.told)).note());
        }
        _ => {}
    }
    shrink.waits = Some(format!("{name} is leaving the cluster"));
}

/// Every other node is well, and no database is on its way to another shape.
fn doubt(seen: &Seen<'_>, listed: &[Listed], node: &Listed) -> Option<String> {
    if let Some(other) = listed.iter().find(|other| other.uid != node.uid && !other.active) {
        return Some(format!("{} is active", other.hostname));
    }
    let bdbs = match &seen.bdbs {
        stepwright_sdk::Fact::Known(bdbs) => bdbs,
        stepwright_sdk::Fact::Unknown(why) => return Some(format!("databases can be looked at ({why})")),
    };
    let busy = bdbs.iter().find(|bdb| bdb.status != "active").filter(|_| !node.leaving);
    busy.map(|bdb| format!("database `{}` is active (it is {})", bdb.name, bdb.status))
}

/// The memory that its shards need elsewhere, if that is not there.
fn no_room(seen: &Seen<'_>, listed: &[Listed], node: &Listed) -> Option<String> {
    let status = seen.nodes_status.known()?;
    let of = |uid: u64| status.get(&uid.to_string());
    let needs = of(node.uid).map(|status| status.total_provisional_ram.saturating_sub(status.free_provisional_ram))?;
    let others = listed.iter().filter(|other| other.uid != node.uid);
    let free: u64 = others.filter_map(|other| of(other.uid)).map(|status| status.free_provisional_ram).sum();
    (needs > free).then(|| format!("its shards take {needs} bytes and the other nodes have {free} to spare"))
}
