//! Labels on the pods of the cluster: which databases a pod has a proxy for, and which pod is the master (reference, 2.4).
//!
//! Only what is known is changed: a label whose reason cannot be read now stays.

use serde::Serialize;
use stepwright_sdk::{Observed, Plan};

use crate::observed::{Map, Pod, Seen};
use crate::services::BDB_LABEL;

/// Label on the pod of the cluster's master, which is the one that serves the UI.
pub(crate) const MASTER_LABEL: &str = "redis.io/role-master";

#[derive(Serialize)]
struct Body {
    metadata: Metadata,
}

#[derive(Serialize)]
struct Metadata {
    labels: Map,
}

pub(crate) fn labels(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    for pod in &seen.pods {
        let mut labels = databases(seen, pod);
        if is_master(seen, pod) {
            labels.insert(MASTER_LABEL.to_owned(), "true".to_owned());
        }
        if !labels.is_empty() {
            plan = plan.amend("v1", "Pod", pod.id.name.clone(), &Body { metadata: Metadata { labels } });
        }
    }
    plan
}

fn databases(seen: &Seen<'_>, pod: &Observed<Pod>) -> Map {
    let Some(bdbs) = seen.bdbs.known() else {
        let now = pod.metadata.labels.iter().filter(|(key, _)| key.starts_with(BDB_LABEL));
        return now.map(|(key, value)| (key.clone(), value.clone())).collect();
    };
    let Some(address) = pod.status.pod_ip.as_deref().filter(|address| !address.is_empty()) else { return Map::new() };
    let here = bdbs.iter().filter(|bdb| {
        bdb.internal_endpoints().any(|endpoint| endpoint.addr.iter().any(|listening| listening == address))
    });
    here.map(|bdb| (format!("{BDB_LABEL}{}", bdb.uid), bdb.uid.to_string())).collect()
}

fn is_master(seen: &Seen<'_>, pod: &Observed<Pod>) -> bool {
    match seen.nodes.known() {
        Some(nodes) => {
            nodes.values().any(|node| node.role == "master" && node.hostname.split('.').next() == Some(&pod.id.name))
        }
        None => pod.metadata.labels.contains_key(MASTER_LABEL),
    }
}
