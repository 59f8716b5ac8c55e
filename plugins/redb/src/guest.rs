//! A database whose resource is in another namespace than its cluster: the Service by which its clients there find it
//! (reference, 2.6), a name for the one beside the cluster, which the services-rigger makes.

use stepwright_rigging::alias::{Target, desire};
use stepwright_rigging::naming::guest_service;
use stepwright_sdk::Plan;

use crate::seen::Seen;

pub(crate) fn service(plan: Plan, seen: &Seen<'_>, port: Option<u16>) -> Plan {
    let (Some(target), Some(cluster)) = (port.filter(|_| seen.is_guest()), seen.cluster()) else { return plan };
    let asked = seen.database.spec.database_service_port.and_then(|port| u16::try_from(port).ok());
    let port = cluster.spec.services_rigger_spec.port(asked, target);
    let service = guest_service(target);
    desire(plan, seen.observed.name(), Target { service: &service, namespace: seen.cluster_namespace(), port })
}
