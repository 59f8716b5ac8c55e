//! A copy whose resource is in another namespace than its cluster: the Service by which its clients there find it, a name for the one
//! beside the cluster (reference, 2.6).

use stepwright_rigging::alias::{Target, desire};
use stepwright_sdk::Plan;

use crate::seen::Seen;

pub(crate) fn service(plan: Plan, seen: &Seen<'_>) -> Plan {
    let (name, home) = (seen.name(), seen.observed.namespace());
    let Some(cluster) = seen.cluster() else { return plan };
    let beside = cluster.id.namespace.as_deref().unwrap_or(home);
    let port = seen.bdbs.known().into_iter().flatten().find(|bdb| bdb.name == name).and_then(|bdb| bdb.listens_on());
    let Some(target) = port.filter(|_| beside != home) else { return plan };
    let rigger = &cluster.spec.services_rigger_spec;
    let Some((_, service)) = rigger.names(name, target).into_iter().next() else { return plan };
    let port = rigger.port(seen.global().database_service_port, target);
    desire(plan, name, Target { service: &service, namespace: beside, port })
}
