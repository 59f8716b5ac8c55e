//! Racks: the label of the Kubernetes node on which a pod runs, told to a node of Redis Enterprise when it bootstraps
//! (reference, 3.12). A node that was told a rack cannot be told another one: the API takes one only for a node that has none and
//! no shards (REST reference, 2). So a pod that moves later is told of, and not repaired.

use stepwright_sdk::Fact;

use crate::seen::Seen;
use crate::spec::said;

/// What gives the right to read nodes, and where it is.
const ROLE: &str = "redis-enterprise-operator-racks";
const MANIFEST: &str = "deploy/rack-awareness.yaml";

fn label<'a>(seen: &'a Seen<'_>) -> Option<&'a str> {
    said(seen.cluster.spec.rack_awareness_node_label.as_ref())
}

/// The rack of a pod, or why it cannot be told; `None`: the spec asks for no racks.
pub(crate) fn of<'a>(seen: &'a Seen<'_>, pod: &str) -> Option<Result<&'a str, String>> {
    Some(find(seen, label(seen)?, pod))
}

fn find<'a>(seen: &'a Seen<'_>, label: &str, pod: &str) -> Result<&'a str, String> {
    let Some(observed) = seen.pods.iter().find(|other| other.id.name == pod) else {
        return Err(format!("{pod} does not exist yet"));
    };
    let Some(name) = said(observed.spec.node_name.as_ref()) else {
        return Err(format!("{pod} is not scheduled yet"));
    };
    match &seen.kubernetes_nodes {
        Fact::Known(nodes) => {
            let node = nodes.iter().find(|node| node.id.name == name);
            said(node.and_then(|node| node.metadata.labels.get(label))).ok_or_else(|| {
                format!("{pod} runs on the Kubernetes node `{name}`, which has no label `{label}`; label it with its rack")
            })
        }
        // Kubernetes (1.35 on) copies zone and region to pods, which can be read without further rights.
        Fact::Unknown(why) => said(observed.metadata.labels.get(label)).ok_or_else(|| {
            format!(
                "the rack of {pod} is not known: {why}; spec.rackAwarenessNodeLabel needs the ClusterRole `{ROLE}`, bound to \
                 the operator's ServiceAccount: apply {MANIFEST}"
            )
        }),
    }
}

/// Every wanted pod's rack is known.
pub(crate) fn are_known(seen: &Seen<'_>) -> bool {
    (0..seen.cluster.spec.nodes()).all(|ordinal| matches!(of(seen, &seen.pod_name(ordinal)), Some(Ok(_))))
}

/// Why the rack of a pod that runs is not known: the first.
pub(crate) fn problem(seen: &Seen<'_>) -> Option<String> {
    let placed = seen.pods.iter().filter(|pod| said(pod.spec.node_name.as_ref()).is_some());
    placed.filter_map(|pod| of(seen, &pod.id.name)?.err()).min()
}

/// In words, the nodes whose pods run in another rack than they were told when they joined; `None` where that is not known.
pub(crate) fn moved(seen: &Seen<'_>) -> Option<Vec<String>> {
    if label(seen).is_none() {
        return Some(Vec::new());
    }
    let mut texts = Vec::new();
    for node in seen.nodes.known()? {
        let Some(pod) = seen.pods.iter().find(|pod| pod.status.pod_ip.as_ref() == Some(&node.addr)) else { continue };
        let (pod, told) = (pod.id.name.as_str(), node.rack_id.as_deref().unwrap_or_default());
        if let Some(Ok(rack)) = of(seen, pod)
            && !told.is_empty()
            && rack != told
        {
            texts.push(format!(
                "{pod} runs in rack `{rack}` and joined the cluster in rack `{told}`, by which databases with rackAware are still placed: have it scheduled to `{told}` again"
            ));
        }
    }
    texts.sort();
    Some(texts)
}
