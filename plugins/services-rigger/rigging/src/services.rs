//! The Services of databases (reference, 2.6). When databases cannot be listed, their Services stay as they are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::{Event, Plan};

use crate::cluster;
use crate::naming::{ServiceKind, guest_service, is_service_name};
use crate::observed::{Bdb, Map, Seen, TargetPort};

/// Label on pods, and selector of Services; the uid follows, and is the value too.
pub(crate) const BDB_LABEL: &str = "redis.io/bdb-";

/// Events of one plan.
const MOST_EVENTS: usize = 20;

#[derive(Serialize)]
pub(crate) struct Body {
    pub(crate) metadata: Metadata,
    spec: Spec,
}

#[derive(Serialize)]
pub(crate) struct Metadata {
    pub(crate) labels: Map,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: Map,
}

#[derive(Serialize)]
struct Spec {
    #[serde(rename = "type")]
    type_: String,
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    cluster_ip: Option<&'static str>,
    #[serde(rename = "externalTrafficPolicy", skip_serializing_if = "Option::is_none")]
    external_traffic_policy: Option<String>,
    ports: Vec<Port>,
    selector: Map,
}

impl Body {
    /// Where a load balancer may send what comes in.
    pub(crate) fn traffic_policy(&mut self, policy: Option<String>) {
        self.spec.external_traffic_policy = policy;
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    name: Cow<'static, str>,
    port: u16,
    protocol: &'static str,
    target_port: u16,
}

impl Port {
    pub(crate) fn new(name: &'static str, port: u16) -> Self {
        Self::to(name, port, port)
    }

    /// One of several, named by its number.
    pub(crate) fn numbered(port: u16) -> Self {
        Self { name: format!("redis-{port}").into(), port, protocol: "TCP", target_port: port }
    }

    fn to(name: &'static str, port: u16, target_port: u16) -> Self {
        Self { name: Cow::Borrowed(name), port, protocol: "TCP", target_port }
    }
}

/// What a cloud's controller reads of a Service to set a load balancer up, by what such keys have in common:
/// `service.beta.kubernetes.io/aws-load-balancer-internal`, `networking.gke.io/load-balancer-type`,
/// `metallb.universe.tf/loadBalancerIPs`.
fn is_for_load_balancers(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("load-balancer") || key.contains("loadbalancer")
}

/// A Service of this cluster. Annotations for load balancers go to Services that have one.
pub(crate) fn body(seen: &Seen<'_>, type_: &str, headless: bool, ports: Vec<Port>, selector: Map) -> Body {
    let mut annotations = seen.spec.services.services_annotations.clone();
    annotations.retain(|key, _| type_ == "LoadBalancer" || !is_for_load_balancers(key));
    Body {
        metadata: Metadata { labels: seen.labels(), annotations },
        spec: Spec {
            type_: type_.to_owned(),
            cluster_ip: headless.then_some("None"),
            external_traffic_policy: None,
            ports,
            selector,
        },
    }
}

/// A Service that exposes a database.
struct Exposed {
    name: String,
    uid: u64,
    kind: ServiceKind,
    port: u16,
    target: u16,
}

impl Exposed {
    fn body(&self, seen: &Seen<'_>) -> Body {
        let type_ = if self.kind == ServiceKind::LoadBalancer { "LoadBalancer" } else { "ClusterIP" };
        let selector = Map::from([(format!("{BDB_LABEL}{}", self.uid), self.uid.to_string())]);
        let ports = vec![Port::to("redis", self.port, self.target)];
        body(seen, type_, self.kind == ServiceKind::Headless, ports, selector)
    }
}

pub(crate) fn databases(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let wanted = match seen.bdbs.known() {
        None => present(seen),
        Some(bdbs) => {
            let (wanted, refused) = wanted(seen, bdbs);
            // A plan may hold a limited number of Events, and nobody reads more.
            for text in refused.into_iter().take(MOST_EVENTS) {
                plan = plan.event(Event::warning("DatabaseNotExposed", text));
            }
            wanted
        }
    };
    for exposed in wanted.into_iter().filter(|exposed| seen.may_make(&exposed.name)) {
        plan = plan.desire("v1", "Service", exposed.name.clone(), &exposed.body(seen));
    }
    plan
}

/// The Services that the databases should have, and in words those that they cannot have.
fn wanted(seen: &Seen<'_>, bdbs: &[Bdb]) -> (Vec<Exposed>, Vec<String>) {
    let naming = &seen.spec.services_rigger_spec;
    let ours: BTreeMap<&str, bool> =
        seen.owned.iter().map(|owned| (owned.id.name.as_str(), database_of(&owned.spec.selector).is_some())).collect();
    let reserved = cluster::names(seen.name());
    let mut named: BTreeMap<String, Exposed> = BTreeMap::new();
    let mut refused = Vec::new();
    let mut bdbs: Vec<&Bdb> = bdbs.iter().filter(|bdb| bdb.internal != Some(true)).collect();
    // The older database keeps a name that two would have.
    bdbs.sort_by_key(|bdb| bdb.uid);
    for bdb in bdbs {
        let Some(target) = bdb.listens_on() else { continue };
        let names = if bdb.is_of_guest(seen.observed.namespace()) {
            vec![(ServiceKind::ClusterIp, guest_service(target))]
        } else {
            naming.names(&bdb.name, target)
        };
        for (kind, name) in names {
            let why = if !is_service_name(&name) {
                Some("that is not a name of a Service, which has lower-case letters, digits and hyphens".to_owned())
            } else if let Some(other) = named.get(&name) {
                Some(format!("database {} has that name already", other.uid))
            } else if reserved.contains(&name) || ours.get(name.as_str()) == Some(&false) {
                Some("the cluster has a Service of that name".to_owned())
            } else if !ours.contains_key(name.as_str()) && seen.taken.contains(&name) {
                Some("somebody else's Service has that name".to_owned())
            } else {
                None
            };
            match why {
                Some(why) => {
                    refused.push(format!("database `{}` ({}) gets no Service `{name}`: {why}", bdb.name, bdb.uid))
                }
                None => {
                    let port = naming.port(bdb.service_port(), target);
                    named.insert(name.clone(), Exposed { name, uid: bdb.uid, kind, port, target });
                }
            }
        }
    }
    (named.into_values().collect(), refused)
}

/// The database that a Service selects, if it is one of ours.
fn database_of(selector: &Map) -> Option<u64> {
    let (key, value) = selector.first_key_value()?;
    let uid = key.strip_prefix(BDB_LABEL)?;
    (uid == value).then(|| uid.parse().ok())?
}

/// The Services of databases as they are.
fn present(seen: &Seen<'_>) -> Vec<Exposed> {
    let one = |name: &str, service: &crate::observed::Service| {
        let port = service.spec.ports.first()?;
        let kind = match (service.spec.type_.as_deref(), service.spec.cluster_ip.as_deref()) {
            (Some("LoadBalancer"), _) => ServiceKind::LoadBalancer,
            (_, Some("None")) => ServiceKind::Headless,
            _ => ServiceKind::ClusterIp,
        };
        let target = match port.target_port {
            TargetPort::Number(target) => target,
            TargetPort::Name(_) => port.port,
        };
        Some(Exposed {
            name: name.to_owned(),
            uid: database_of(&service.spec.selector)?,
            kind,
            port: port.port,
            target,
        })
    };
    seen.owned.iter().filter_map(|owned| one(&owned.id.name, &owned.value)).collect()
}
