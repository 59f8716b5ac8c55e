//! The way in from outside for the API and for Active-Active databases (reference, 2.8): an Ingress, a Route or an Istio
//! VirtualService, all of them handing TLS through by its server name. Other databases get none.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwright_sdk::Plan;

use crate::observed::{Map, Seen};

const INGRESS: (&str, &str) = ("networking.k8s.io/v1", "Ingress");
const ROUTE: (&str, &str) = ("route.openshift.io/v1", "Route");
const GATEWAY: (&str, &str) = ("networking.istio.io/v1", "Gateway");
const VIRTUAL_SERVICE: (&str, &str) = ("networking.istio.io/v1", "VirtualService");

/// What the step may write for this.
pub(crate) const KINDS: [(&str, &str); 4] = [INGRESS, ROUTE, GATEWAY, VIRTUAL_SERVICE];

/// `spec.ingressOrRouteSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Routing {
    method: String,
    api_fqdn_url: String,
    db_fqdn_suffix: String,
    ingress_annotations: Map,
}

/// `spec.activeActive`, its deprecated form.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OldRouting {
    method: String,
    api_ingress_url: String,
    db_ingress_suffix: String,
    ingress_annotations: Map,
}

impl From<OldRouting> for Routing {
    fn from(old: OldRouting) -> Self {
        let OldRouting { method, api_ingress_url, db_ingress_suffix, ingress_annotations } = old;
        Self { method, api_fqdn_url: api_ingress_url, db_fqdn_suffix: db_ingress_suffix, ingress_annotations }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress_or_route_method_status: Option<&'a str>,
}

#[derive(Serialize)]
struct Body {
    metadata: Metadata,
    spec: Value,
}

#[derive(Serialize)]
struct Metadata {
    labels: Map,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map,
}

/// A host, and the Service that answers for it.
struct Way {
    name: String,
    host: String,
    port: u16,
    port_name: &'static str,
}

pub(crate) fn ways(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let routing = seen.routing.as_ref();
    if routing.is_some() || seen.routed_by.is_some() {
        let method = routing.map(|routing| routing.method.as_str());
        plan = plan.status(&Status { ingress_or_route_method_status: method });
    }
    let Some(routing) = routing.filter(|_| !seen.observed.deleting) else { return plan };
    let api = Way { name: seen.name().to_owned(), host: routing.api_fqdn_url.clone(), port: 9443, port_name: "api" };
    let databases = seen.bdbs.known().into_iter().flatten().filter(|bdb| bdb.crdt == Some(true));
    let databases = databases.filter_map(|bdb| {
        let target = bdb.listens_on()?;
        let naming = &seen.spec.services_rigger_spec;
        let (_, name) = naming.names(&bdb.name, target).into_iter().next()?;
        let port = naming.port(bdb.service_port(), target);
        let host = format!("{}{}", bdb.name, routing.db_fqdn_suffix);
        Some(Way { name, host, port, port_name: "redis" })
    });
    for way in std::iter::once(api).chain(databases) {
        plan = lay(plan, seen, routing, &way);
    }
    plan
}

fn lay(plan: Plan, seen: &Seen<'_>, routing: &Routing, way: &Way) -> Plan {
    let Way { name, host, port, port_name } = way;
    let body = |annotations: Map, spec: Value| Body { metadata: Metadata { labels: seen.labels(), annotations }, spec };
    let desire = |plan: Plan, (version, kind): (&str, &str), body: &Body| plan.desire(version, kind, name, body);
    match routing.method.as_str() {
        "ingress" => {
            let backend = json!({ "service": { "name": name, "port": { "name": port_name } } });
            let path = json!({ "path": "/", "pathType": "ImplementationSpecific", "backend": backend });
            let spec = json!({ "rules": [{ "host": host, "http": { "paths": [path] } }] });
            desire(plan, INGRESS, &body(routing.ingress_annotations.clone(), spec))
        }
        "openShiftRoute" => {
            let spec = json!({
                "host": host, "to": { "kind": "Service", "name": name, "weight": 100 }, "port": { "targetPort": port_name },
                "tls": { "termination": "passthrough" }, "wildcardPolicy": "None",
            });
            desire(plan, ROUTE, &body(Map::new(), spec))
        }
        "istio" => {
            let port_443 = json!({ "number": 443, "name": format!("tls-{name}"), "protocol": "TLS" });
            let server = json!({ "port": port_443, "hosts": [host], "tls": { "mode": "PASSTHROUGH" } });
            let gateway = json!({ "selector": { "istio": "ingressgateway" }, "servers": [server] });
            let to = json!({ "destination": { "host": name, "port": { "number": port } } });
            let tls = json!({ "match": [{ "port": 443, "sniHosts": [host] }], "route": [to] });
            let service = json!({ "hosts": [host], "gateways": [name], "tls": [tls] });
            let plan = desire(plan, GATEWAY, &body(Map::new(), gateway));
            desire(plan, VIRTUAL_SERVICE, &body(Map::new(), service))
        }
        _ => plan,
    }
}
