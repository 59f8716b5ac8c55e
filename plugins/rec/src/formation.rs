//! Which node forms the cluster, which one joins next, or what has to be waited for. A pure decision over node states.
//!
//! A second cluster beside the first would split the data, so a cluster is formed only when it is certain that there is
//! none: the status does not remember one, no node is a member of one, and each node that does not answer either never
//! had a volume or has one younger than this resource. A second node joins only after the status remembers the first
//! (`formed_before`), so that the memory is never younger than the cluster.

use crate::board;
use crate::racks;
use crate::recovery::Recovery;
use crate::seen::Seen;

/// What one node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// There is no pod, or it has no address yet.
    Absent(String),
    /// It does not answer.
    Silent(String),
    Idle,
    Busy(String),
    Failed {
        code: String,
        message: String,
    },
    Member,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) pod: String,
    pub(crate) ip: Option<String>,
    pub(crate) state: NodeState,
    /// Whatever was on its volume, it was not put there by an earlier cluster.
    pub(crate) surely_new: bool,
    /// The cluster lists it as active.
    pub(crate) active: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Wait(String),
    Create {
        pod: String,
        ip: String,
    },
    /// A pod restores the configuration of a cluster that was lost.
    Recover {
        pod: String,
        ip: String,
    },
    Join {
        pod: String,
        ip: String,
        via: String,
        replaces: Option<u64>,
    },
    /// Only a person can help.
    Stuck {
        reason: &'static str,
        message: String,
    },
    Complete,
}

/// The nodes as the cluster itself lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) uid: u64,
    pub(crate) addr: String,
    pub(crate) hostname: String,
    pub(crate) active: bool,
    pub(crate) down: bool,
    /// It is being removed.
    pub(crate) leaving: bool,
    pub(crate) master: bool,
}

/// Everything the decision depends on.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) nodes: Vec<Node>,
    /// Why the list is not known, if it is not.
    pub(crate) listed: Result<Vec<Listed>, String>,
    pub(crate) formed_before: bool,
    /// Pods whose nodes have the newest configuration, the best first.
    pub(crate) newest: Vec<String>,
}

impl View {
    pub(crate) fn of(seen: &Seen<'_>) -> Self {
        let listed = listed(seen);
        let nodes = (0..seen.cluster.spec.nodes()).map(|ordinal| node(seen, ordinal, listed.as_deref().ok()));
        let newest = board::kept(seen, board::NEWEST).into_iter().flat_map(|pods| pods.split(',')).map(str::to_owned);
        Self {
            nodes: nodes.collect(),
            listed: listed.clone(),
            formed_before: seen.formed_before(),
            newest: newest.collect(),
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.state == NodeState::Member)
    }

    /// A cluster exists, as far as anybody remembers or says.
    pub(crate) fn formed(&self) -> bool {
        self.formed_before || self.members().next().is_some() || self.listed.as_ref().is_ok_and(|all| !all.is_empty())
    }

    /// What to do next; never more than one node at a time.
    pub(crate) fn next(&self, recovery: &Recovery) -> Next {
        match recovery {
            Recovery::Reset { .. } => return Next::Wait("the pods are deleted; their volumes stay".to_owned()),
            Recovery::FirstPod => return self.recover(),
            Recovery::Rejoining => return self.grow(),
            Recovery::None | Recovery::Refused(_) => {}
        }
        if let Some((node, state)) = self.nodes.iter().find_map(|node| match &node.state {
            NodeState::Busy(state) => Some((node, state)),
            _ => None,
        }) {
            if !self.formed() && self.all_look_for_an_older_cluster() {
                return Next::Stuck { reason: "VolumesOfAnOlderCluster", message: self.older_cluster() };
            }
            return Next::Wait(format!("{} is busy: {state}", node.pod));
        }
        if self.formed() { self.grow() } else { self.form() }
    }

    /// Nodes with volumes from before this resource come up as members of the cluster of then. Their addresses have changed
    /// since, so that they do not find one another.
    fn all_look_for_an_older_cluster(&self) -> bool {
        let looks = |node: &Node| !node.surely_new && node.state == NodeState::Busy("joining_cluster".to_owned());
        !self.nodes.is_empty() && self.nodes.iter().all(looks)
    }

    fn older_cluster(&self) -> String {
        let claims: Vec<String> =
            self.nodes.iter().map(|node| format!("redis-enterprise-storage-{}", node.pod)).collect();
        format!(
            "the volumes hold a cluster from before this resource, and its nodes do not find one another. Recovering it \
             is possible: set spec.clusterRecovery to true. To begin with an empty cluster instead, delete this resource, \
             delete the claims ({}), and make it again",
            claims.join(", ")
        )
    }

    /// One node after another, those with the newest configuration first, until one has restored it. None is passed over
    /// because it is not there yet: what it has may be newer than what the others have.
    fn recover(&self) -> Next {
        let at_work = |node: &&Node| matches!(&node.state, NodeState::Busy(state) if state != "joining_cluster");
        if let Some(node) = self.nodes.iter().find(at_work) {
            return Next::Wait(format!("{} restores the configuration", node.pod));
        }
        let rank = |node: &Node| self.newest.iter().position(|pod| *pod == node.pod).unwrap_or(self.newest.len());
        let mut order: Vec<&Node> = self.nodes.iter().collect();
        order.sort_by_key(|node| rank(node));
        let mut failed = Vec::new();
        for node in order {
            match (&node.state, &node.ip) {
                (NodeState::Idle | NodeState::Busy(_), Some(ip)) => {
                    return Next::Recover { pod: node.pod.clone(), ip: ip.clone() };
                }
                (NodeState::Failed { code, message }, _) => failed.push(format!("{}: {code} {message}", node.pod)),
                (NodeState::Absent(why) | NodeState::Silent(why), _) => {
                    let better = if failed.is_empty() { "" } else { " of those that have not failed" };
                    return Next::Wait(format!("{why}; it has the newest configuration{better}"));
                }
                _ => return Next::Wait(format!("{} has restored the configuration", node.pod)),
            }
        }
        let message = format!(
            "no volume holds a configuration that can be restored ({}); delete a pod to have its volume tried again",
            failed.join("; ")
        );
        Next::Stuck { reason: "RecoveryBlocked", message }
    }

    fn form(&self) -> Next {
        let Some((first, others)) = self.nodes.split_first() else {
            return Next::Wait("no nodes are wanted".to_owned());
        };
        for node in others {
            match &node.state {
                NodeState::Absent(why) | NodeState::Silent(why) if !node.surely_new => {
                    return Next::Wait(format!(
                        "{why}; its volume is older than this resource and may belong to a cluster, so no new one is formed before it answers",
                    ));
                }
                _ => {}
            }
        }
        match (&first.state, &first.ip) {
            (NodeState::Idle, Some(ip)) => Next::Create { pod: first.pod.clone(), ip: ip.clone() },
            (NodeState::Failed { code, message }, Some(ip)) => given_up(first, code, message)
                .unwrap_or_else(|| Next::Create { pod: first.pod.clone(), ip: ip.clone() }),
            (NodeState::Absent(why) | NodeState::Silent(why), _) => Next::Wait(why.clone()),
            _ => Next::Wait(format!("{} is not ready to form the cluster", first.pod)),
        }
    }

    fn grow(&self) -> Next {
        let answered = |node: &Node| matches!(node.state, NodeState::Idle | NodeState::Failed { .. });
        if self.members().next().is_none() {
            if self.listed.is_ok() {
                return Next::Wait(
                    "the cluster answers, but its nodes have not said yet that they are members".to_owned(),
                );
            }
            if self.nodes.iter().all(answered) {
                return Next::Stuck {
                    reason: "ClusterLost",
                    message: "every node answers, but none is a member of the cluster any more: its volumes are gone. \
                              A new cluster would be empty, so none is formed; delete and re-create this resource for that"
                        .to_owned(),
                };
            }
            let why = self.nodes.iter().find_map(|node| match &node.state {
                NodeState::Absent(why) | NodeState::Silent(why) => Some(why.as_str()),
                _ => None,
            });
            return Next::Wait(format!("no member of the cluster answers; {}", why.unwrap_or("nodes are missing")));
        }
        if !self.formed_before {
            return Next::Wait("the first node has formed the cluster".to_owned());
        }
        let listed = match &self.listed {
            Ok(listed) => listed,
            Err(why) => return Next::Wait(format!("the cluster does not answer: {why}")),
        };
        if let Some(node) = self.members().find(|node| !node.active) {
            return Next::Wait(format!("{} is a member, but not active yet", node.pod));
        }
        let Some(via) = self.members().find_map(|node| node.ip.clone()) else {
            return Next::Wait("no active node has an address".to_owned());
        };
        let stranded = |node: &Node, state: &str| state == "joining_cluster" && former(node, listed).is_some();
        for node in &self.nodes {
            if let NodeState::Busy(state) = &node.state
                && !stranded(node, state)
            {
                return Next::Wait(format!("{} is busy: {state}", node.pod));
            }
        }
        let mut waits = None;
        for node in &self.nodes {
            match (&node.state, &node.ip) {
                (NodeState::Idle, Some(ip)) => return self.join(node, ip, via, listed),
                // It looks for the cluster that it was in, and does not find it: it is told where that is now.
                (NodeState::Busy(state), Some(ip)) if stranded(node, state) => {
                    return self.join(node, ip, via, listed);
                }
                (NodeState::Failed { code, message }, Some(ip)) => {
                    return given_up(node, code, message).unwrap_or_else(|| self.join(node, ip, via, listed));
                }
                (NodeState::Absent(why) | NodeState::Silent(why), _) => {
                    waits.get_or_insert_with(|| why.clone());
                }
                _ => {}
            }
        }
        waits.map_or(Next::Complete, Next::Wait)
    }

    /// A node that lost its volume takes the place of its former self.
    fn join(&self, node: &Node, ip: &str, via: String, listed: &[Listed]) -> Next {
        let replaces = former(node, listed).map(|other| other.uid);
        Next::Join { pod: node.pod.clone(), ip: ip.to_owned(), via, replaces }
    }
}

fn former<'a>(node: &Node, listed: &'a [Listed]) -> Option<&'a Listed> {
    listed.iter().find(|other| other.down && other.hostname == node.pod)
}

/// Refused credentials are not tried again: five attempts lock the account (REST reference, 1.4).
fn given_up(node: &Node, code: &str, message: &str) -> Option<Next> {
    (code == "access_denied").then(|| Next::Stuck {
        reason: "BootstrapFailed",
        message: format!(
            "{}: access_denied {message}; correct the credentials Secret, then delete the pod to try again",
            node.pod
        ),
    })
}

fn listed(seen: &Seen<'_>) -> Result<Vec<Listed>, String> {
    let known = |reason: Option<&str>| reason.unwrap_or_default().to_owned();
    let nodes = seen.nodes.known().ok_or_else(|| known(seen.nodes.unknown()))?;
    let status = seen.nodes_status.known().ok_or_else(|| known(seen.nodes_status.unknown()))?;
    let listed = nodes.iter().map(|node| {
        let status = status.get(&node.uid.to_string());
        let word = status.map_or(node.status.as_str(), |status| status.node_status.as_str());
        Listed {
            uid: node.uid,
            addr: node.addr.clone(),
            hostname: status.map(|status| status.hostname.clone()).unwrap_or_default(),
            active: word == "active",
            down: word == "down",
            leaving: word == "decommissioning",
            master: status.is_some_and(|status| status.role == "master"),
        }
    });
    Ok(listed.collect())
}

fn node(seen: &Seen<'_>, ordinal: u32, listed: Option<&[Listed]>) -> Node {
    let pod = seen.pod_name(ordinal);
    let observed = seen.pods.iter().find(|other| other.id.name == pod);
    let ip = observed
        .filter(|observed| observed.metadata.deletion_timestamp.is_none())
        .and_then(|observed| observed.status.pod_ip.clone())
        .filter(|ip| !ip.is_empty());
    let state = match (observed, &ip) {
        (None, _) => NodeState::Absent(format!("{pod} does not exist yet")),
        (Some(observed), _) if observed.metadata.deletion_timestamp.is_some() => {
            NodeState::Absent(format!("{pod} is being deleted"))
        }
        (Some(observed), None) => {
            let waiting = observed.status.container_statuses.iter().find_map(|status| status.state.waiting.as_ref());
            NodeState::Absent(match waiting {
                Some(waiting) => format!("{pod} is waiting: {}", waiting.reason),
                None => format!("{pod} is not scheduled yet or has no address"),
            })
        }
        (Some(_), Some(_)) => match (says(seen, &pod), racks::of(seen, &pod)) {
            // It is told its rack when it bootstraps, and never again.
            (NodeState::Idle | NodeState::Failed { .. }, Some(Err(why))) => NodeState::Absent(why),
            (state, _) => state,
        },
    };
    let active = listed.is_some_and(|listed| {
        listed.iter().any(|node| node.active && (node.hostname == pod || Some(&node.addr) == ip.as_ref()))
    });
    let surely_new = surely_new(seen, &pod);
    Node { pod, ip, state, surely_new, active }
}

fn says(seen: &Seen<'_>, pod: &str) -> NodeState {
    let all = match &seen.bootstrap {
        stepwright_sdk::Fact::Known(all) => all,
        stepwright_sdk::Fact::Unknown(why) => return NodeState::Silent(format!("{pod} was not asked: {why}")),
    };
    let Some(answer) = all.get(pod) else {
        return NodeState::Silent(format!("{pod} has not answered yet"));
    };
    let Some(status) = &answer.bootstrap_status else {
        let why = answer.error.as_deref().unwrap_or("it does not say whether it is a member");
        return NodeState::Silent(format!("{pod} does not answer: {why}"));
    };
    match status.state.as_str() {
        "idle" => NodeState::Idle,
        "completed" => NodeState::Member,
        "error" => {
            let (code, message) = status.failure();
            NodeState::Failed { code, message }
        }
        "initiated" | "creating_cluster" | "joining_cluster" | "recovering_cluster" => {
            NodeState::Busy(status.state.clone())
        }
        other => NodeState::Silent(format!("{pod} is in the unknown bootstrap state `{other}`")),
    }
}

/// Without a claim there is no volume; a claim younger than the resource was made for it. Times are in one format, UTC,
/// so they compare as text.
fn surely_new(seen: &Seen<'_>, pod: &str) -> bool {
    let claim = format!("{}-{pod}", crate::objects::STORAGE);
    let claim = seen.claims.iter().find(|other| other.id.name == claim);
    claim.is_none_or(|claim| {
        let (made, born) = (&claim.metadata.creation_timestamp, &seen.cluster.metadata.creation_timestamp);
        !made.is_empty() && !born.is_empty() && made >= born
    })
}
