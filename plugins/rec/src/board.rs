//! What this step remembers in the ConfigMap beside the pods' tasks: things that are neither in the spec nor to be seen
//! anywhere else, and that must outlive the operator.

use crate::formation::{NodeState, View};
use crate::seen::Seen;

/// Key of the pods whose nodes have the newest configuration.
pub(crate) const NEWEST: &str = "newest";
/// Key of the pod whose node was put into maintenance before the pod is replaced.
pub(crate) const DRAINED: &str = "drained";

/// Key of the day on which it was last said that the license is about to expire.
pub(crate) const LICENSE: &str = "license-expiring-told";
/// Key of how a node's last attempt to form or join the cluster failed: `<pod>: <code> <message>`.
pub(crate) const FAILED: &str = "failed";
/// Key of that it was told that the quorum is lost.
pub(crate) const QUORUM: &str = "quorum";
/// Key of the last attempt to remove a node.
pub(crate) const REMOVAL: &str = "removal";

/// Key of how far a recovery has come that the spec asks for.
pub(crate) const RECOVERY: &str = "recovery";

pub(crate) fn kept<'a>(seen: &'a Seen<'_>, key: &str) -> Option<&'a str> {
    let found = seen.configmaps.iter().find_map(|map| map.data.get(key))?;
    Some(found.as_str()).filter(|value| !value.is_empty())
}

/// Pods whose nodes were active when the cluster last answered, its master first: they have the newest configuration,
/// because a change counts only when most nodes have it. The API tells of no node how new its own is, so this is noted
/// while it can be known.
pub(crate) fn newest(seen: &Seen<'_>, view: &View) -> Option<String> {
    let last = kept(seen, NEWEST).map(str::to_owned);
    let Ok(listed) = &view.listed else { return last };
    let mut active: Vec<_> = listed.iter().filter(|node| node.active && !node.hostname.is_empty()).collect();
    // While most nodes are missing, what they were still counts.
    if active.len() * 2 <= listed.len() {
        return last;
    }
    active.sort_by_key(|node| (!node.master, node.uid));
    Some(active.iter().map(|node| node.hostname.as_str()).collect::<Vec<_>>().join(","))
}

/// How the last attempt to form or join the cluster failed, of a node that is not in it since: what it does next says nothing
/// of that any more.
pub(crate) fn failure(seen: &Seen<'_>, view: &View) -> Option<String> {
    let now = view.nodes.iter().find_map(|node| match &node.state {
        NodeState::Failed { code, message } => Some(format!("{}: {code} {message}", node.pod)),
        _ => None,
    });
    let outside = |text: &&str| {
        let pod = text.split(':').next();
        view.nodes.iter().any(|node| Some(node.pod.as_str()) == pod && node.state != NodeState::Member)
    };
    now.or_else(|| kept(seen, FAILED).filter(outside).map(str::to_owned))
}
