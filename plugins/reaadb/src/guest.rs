//! A copy whose resource is in another namespace than its cluster: the Service by which its clients there find it, a name for the one
//! beside the cluster (reference, 2.6; `redb` does the same for databases).

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_rigging::naming::is_service_name;
use stepwright_sdk::Plan;

use crate::seen::Seen;

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

pub(crate) fn service(plan: Plan, seen: &Seen<'_>) -> Plan {
    let (name, home) = (seen.name(), seen.observed.namespace());
    let Some(cluster) = seen.cluster() else { return plan };
    let beside = cluster.id.namespace.as_deref().unwrap_or(home);
    let port = seen.bdbs.known().into_iter().flatten().find(|bdb| bdb.name == name).and_then(|bdb| bdb.listens_on());
    let Some(target) = port.filter(|_| beside != home && is_service_name(name)) else { return plan };
    let rigger = &cluster.spec.services_rigger_spec;
    let Some((_, service)) = rigger.names(name, target).into_iter().next() else { return plan };
    let body = Body {
        metadata: Metadata { labels: [("app", "redis-enterprise")].into() },
        spec: Spec {
            type_: "ExternalName",
            external_name: format!("{service}.{beside}.svc.cluster.local"),
            ports: [Port {
                name: "redis",
                port: rigger.port(seen.global().database_service_port, target),
                protocol: "TCP",
            }],
        },
    };
    plan.desire("v1", "Service", name, &body)
}
