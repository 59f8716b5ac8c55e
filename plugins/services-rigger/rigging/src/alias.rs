//! A Service that is a name for another one: clients in another namespace than the cluster's find a database by it
//! (reference, 2.6).
//!
//! Kubernetes keeps it right. Addresses of pods, written there, would go on pointing at whoever gets them next while the operator is
//! away; and clients send passwords.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::Plan;

use crate::naming::is_service_name;

#[derive(Serialize)]
struct Body {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Serialize)]
struct Metadata {
    labels: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    type_: &'static str,
    external_name: String,
    ports: [Port; 1],
}

#[derive(Serialize)]
struct Port {
    name: &'static str,
    port: u16,
    protocol: &'static str,
}

/// What an alias stands for: a Service, its namespace, and its port.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Name of the Service.
    pub service: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Port of the Service.
    pub port: u16,
}

/// Wants a Service of this name that stands for another one. A name that no Service may have gets none.
pub fn desire(plan: Plan, name: &str, target: Target<'_>) -> Plan {
    if !is_service_name(name) {
        return plan;
    }
    let Target { service, namespace, port } = target;
    let body = Body {
        metadata: Metadata { labels: [("app", "redis-enterprise")].into() },
        spec: Spec {
            type_: "ExternalName",
            external_name: format!("{service}.{namespace}.svc.cluster.local"),
            ports: [Port { name: "redis", port, protocol: "TCP" }],
        },
    };
    plan.desire("v1", "Service", name, &body)
}
