//! The headless Service that gives pods their names, and the PodDisruptionBudget. The other Services are the
//! `services-rigger` step's.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::Plan;

use super::{LabelSelector, WithSpec, metadata, selector};
use crate::seen::Seen;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec<'a> {
    #[serde(rename = "clusterIP")]
    cluster_ip: &'a str,
    publish_not_ready_addresses: bool,
    selector: BTreeMap<&'a str, &'a str>,
    ports: [ServicePort; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort {
    name: &'static str,
    port: u16,
    protocol: &'static str,
    target_port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetSpec<'a> {
    max_unavailable: u32,
    selector: LabelSelector<'a>,
}

fn port(name: &'static str, port: u16) -> ServicePort {
    ServicePort { name, port, protocol: "TCP", target_port: port }
}

pub(super) fn headless(seen: &Seen<'_>) -> String {
    format!("{}-headless", seen.name())
}

pub(super) fn desire(plan: Plan, seen: &Seen<'_>) -> Plan {
    let service = WithSpec {
        metadata: metadata(seen),
        spec: ServiceSpec {
            cluster_ip: "None",
            // Nodes must find each other before any of them is ready.
            publish_not_ready_addresses: true,
            selector: selector(seen),
            ports: [port("api", 9443), port("sentinel", 8001)],
        },
    };
    let budget = WithSpec {
        metadata: metadata(seen),
        // One at a time, whatever the quorum: a database's master and replica may be on any two nodes.
        spec: BudgetSpec { max_unavailable: 1, selector: LabelSelector { match_labels: selector(seen) } },
    };
    plan.desire("v1", "Service", headless(seen), &service).desire(
        "policy/v1",
        "PodDisruptionBudget",
        seen.name(),
        &budget,
    )
}
