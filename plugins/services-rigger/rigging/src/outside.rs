//! Databases with the OSS cluster API from outside (reference, 1.3 and 2.6): a load balancer for each pod, whose address its node
//! tells to clients of those databases.
//!
//! Who gives the load balancers their addresses is somebody else's matter; until then nodes tell what they told before.

use serde::Serialize;
use stepwright_sdk::{Call, Event, Plan};

use crate::observed::{Map, NamedNode, Pod, Seen};
use crate::services::{Body, Port, body};

/// How ids of calls begin; the name of the pod follows.
const TELL: &str = "external address of ";
/// The label that a StatefulSet puts on each of its pods.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

/// Body of `PUT /v1/nodes/{uid}`.
#[derive(Serialize)]
struct Addresses<'a> {
    external_addr: Vec<&'a str>,
}

/// The Service of a pod.
pub(crate) fn name(pod: &str) -> String {
    format!("{pod}-lb")
}

/// What stays to be done, in words; nothing is said while all is as it should be.
pub(crate) fn balancers(mut plan: Plan, seen: &Seen<'_>) -> (Plan, Option<String>) {
    let mut waits = None;
    let ports = ports(seen);
    for pod in &seen.pods {
        let name = name(&pod.id.name);
        let owned = seen.owned.iter().find(|owned| owned.id.name == name && owned.spec.selector.contains_key(POD_NAME));
        let wanted = match &ports {
            // What cannot be read stays.
            None => owned.map(|owned| owned.spec.ports.iter().map(|port| port.port).collect()).unwrap_or_default(),
            Some(ports) => ports.clone(),
        };
        if owned.is_none() && seen.taken.contains(&name) {
            if !wanted.is_empty() {
                let text =
                    format!("pod `{}` gets no Service `{name}`: somebody else's Service has that name", pod.id.name);
                plan = plan.event(Event::warning("DatabaseNotExposed", text));
            }
            continue;
        }
        let address = owned.filter(|_| !wanted.is_empty()).and_then(|owned| owned.status.load_balancer.address());
        let told = node_of(seen, pod);
        // A node that is to tell nothing any more must be told so before its Service goes: it is how we know that it was ours.
        let stays = !wanted.is_empty() || (owned.is_some() && told.is_some_and(|node| !node.external_addr.is_empty()));
        if stays && seen.may_make(&name) {
            let ports = if wanted.is_empty() {
                owned.into_iter().flat_map(|owned| &owned.spec.ports).map(|port| port.port).collect()
            } else {
                wanted.clone()
            };
            plan = plan.desire("v1", "Service", name.clone(), &service(seen, &pod.id.name, &ports));
        }
        let Some(node) = told.filter(|_| owned.is_some() && ports.is_some() && !seen.observed.deleting) else {
            continue;
        };
        let right: Vec<&str> = address.into_iter().collect();
        if node.external_addr == right || (right.is_empty() && !wanted.is_empty()) {
            if right.is_empty() && !wanted.is_empty() {
                waits =
                    Some(format!("Service `{name}` has no address yet: its load balancer is somebody else's to make"));
            }
            continue;
        }
        let id = format!("{TELL}{}", pod.id.name);
        match seen.observed.reply(&id) {
            Some(reply) if !reply.is_success() => {
                waits = Some(format!("node {} cannot be told its address outside: {}", node.uid, reply.error_text()));
            }
            // It was told; the next look shows it.
            Some(_) => waits = Some(format!("node {} was told its address outside", node.uid)),
            None => {
                let call = Call::put(id, format!("/v1/nodes/{}", node.uid));
                plan = plan.call(call.body(&Addresses { external_addr: right }));
            }
        }
    }
    (plan, waits)
}

/// Ports of the databases that are meant for clients outside; `None` while databases are not known.
fn ports(seen: &Seen<'_>) -> Option<Vec<u16>> {
    if seen.spec.oss_cluster_settings.external_access_type.as_deref() != Some("LoadBalancer") {
        return Some(Vec::new());
    }
    let outside = seen.bdbs.known()?.iter().filter(|bdb| {
        bdb.oss_cluster == Some(true) && bdb.oss_cluster_api_preferred_ip_type.as_deref() == Some("external")
    });
    let mut ports: Vec<u16> = outside.filter_map(|bdb| bdb.listens_on()).collect();
    ports.sort_unstable();
    ports.dedup();
    Some(ports)
}

fn node_of<'s>(seen: &'s Seen<'_>, pod: &Pod) -> Option<&'s NamedNode> {
    let address = pod.status.pod_ip.as_deref().filter(|address| !address.is_empty())?;
    seen.members.known()?.iter().find(|node| node.addr == address)
}

fn service(seen: &Seen<'_>, pod: &str, ports: &[u16]) -> Body {
    let settings = &seen.spec.oss_cluster_settings.load_balancer;
    let ports = ports.iter().map(|port| Port::numbered(*port)).collect();
    let selector = Map::from([(POD_NAME.to_owned(), pod.to_owned())]);
    let mut service = body(seen, "LoadBalancer", false, ports, selector);
    service.metadata.annotations.extend(settings.service_annotations.clone());
    service.traffic_policy(settings.external_traffic_policy.clone());
    service
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_name_alone_is_no_address() {
        let balancer: crate::observed::LoadBalancer =
            serde_json::from_value(json!({"ingress": [{"hostname": "a.example.com"}, {"ip": "192.0.2.7"}]})).unwrap();
        assert_eq!(balancer.address(), Some("192.0.2.7"));
    }
}
