//! A database whose resource is in another namespace than its cluster: the Service by which its clients there find it
//! (reference, 2.6).
//!
//! It is a name for the Service beside the cluster, which the services-rigger makes and Kubernetes keeps right. Addresses of
//! pods, written here, would go on pointing at whoever gets them next while the operator is away; and clients send passwords.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_rigging::naming::{guest_service, is_service_name};
use stepwright_sdk::Plan;

use crate::seen::Seen;

#[derive(Serialize)]
struct Body<'a> {
    metadata: Metadata<'a>,
    spec: Spec,
}

#[derive(Serialize)]
struct Metadata<'a> {
    labels: BTreeMap<&'static str, &'a str>,
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

pub(crate) fn service(plan: Plan, seen: &Seen<'_>, port: Option<u16>) -> Plan {
    let name = seen.observed.name();
    let (Some(target), Some(cluster)) = (port.filter(|_| seen.is_guest()), seen.cluster()) else { return plan };
    if !is_service_name(name) {
        return plan;
    }
    let spec = &seen.database.spec;
    let asked = spec.database_service_port.and_then(|port| u16::try_from(port).ok());
    let body = Body {
        metadata: Metadata { labels: [("app", "redis-enterprise")].into() },
        spec: Spec {
            type_: "ExternalName",
            external_name: format!("{}.{}.svc.cluster.local", guest_service(target), seen.cluster_namespace()),
            ports: [Port {
                name: "redis",
                port: cluster.spec.services_rigger_spec.port(asked, target),
                protocol: "TCP",
            }],
        },
    };
    plan.desire("v1", "Service", name, &body)
}
