//! The Services of the cluster itself: API with discovery, UI, metrics (reference, 2.2).

use stepwright_sdk::Plan;

use crate::observed::{Map, Seen};
use crate::pods::MASTER_LABEL;
use crate::services::{Body, Port, body};

/// Names of the Services that are made here; no database may have one of these.
pub(crate) fn names(cluster: &str) -> [String; 3] {
    [cluster.to_owned(), format!("{cluster}-ui"), format!("{cluster}-prom")]
}

pub(crate) fn services(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let nodes: Map = [("app", "redis-enterprise"), ("redis.io/cluster", seen.name()), ("redis.io/role", "node")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let [api, ui, metrics] = names(seen.name());

    let api_type = seen.spec.services.api_service.type_.as_deref().unwrap_or("ClusterIP");
    let ports = vec![Port::new("api", 9443), Port::new("sentinel", 8001)];
    plan = desire(plan, seen, &api, body(seen, api_type, false, ports, nodes.clone()));

    // The UI answers on the master only; the other nodes would redirect to an address that is not reachable here.
    let ui_type = seen.spec.ui_service_type.as_deref().filter(|word| *word != "ExternalName").unwrap_or("ClusterIP");
    let mut master = nodes.clone();
    master.insert(MASTER_LABEL.to_owned(), "true".to_owned());
    let mut service = body(seen, ui_type, false, vec![Port::new("ui", 8443)], master);
    service.metadata.annotations.extend(seen.spec.ui_annotations.clone());
    plan = desire(plan, seen, &ui, service);

    let mut service = body(seen, "ClusterIP", true, vec![Port::new("prometheus", 8070)], nodes);
    service.metadata.labels.insert("redis.io/service".to_owned(), "prom-metrics".to_owned());
    desire(plan, seen, &metrics, service)
}

fn desire(plan: Plan, seen: &Seen<'_>, name: &str, service: Body) -> Plan {
    if seen.may_make(name) { plan.desire("v1", "Service", name, &service) } else { plan }
}
