//! Exposes a Redis Enterprise cluster: Services for its API, UI and metrics, Services for each of its databases, the
//! labels on pods that those Services select by (reference, 2.4 to 2.6), and the way in from outside (2.8).
//!
//! Databases made through the REST API are exposed like those of a RedisEnterpriseDatabase. Pods and databases are
//! somebody else's to make.

pub mod alias;
mod cluster;
pub mod naming;
mod observed;
mod outside;
mod pods;
mod routing;
mod services;

use std::time::Duration;

use serde::Serialize;
use stepwright_sdk::{FactPart, Failure, Limits, Manifest, Observation, Observe, Plan, Plugin, StepManifest};

use crate::observed::Seen;

/// What the cluster was told is looked at again after this; an address that a load balancer gets is seen at once.
const AGAIN: Duration = Duration::from_secs(30);

/// The step; a plugin that wraps it starts from [`ServicesRigger::step`] and [`Plugin::reconcile`].
pub struct ServicesRigger;

impl ServicesRigger {
    /// What the step observes and asks to be allowed.
    pub fn step() -> StepManifest {
        let step = StepManifest::new("services-rigger")
            .primary([
                "spec.activeActive",
                "spec.ingressOrRouteSpec",
                "status.ingressOrRouteMethodStatus",
                "spec.extraLabels",
                "spec.ossClusterSettings",
                "spec.services",
                "spec.servicesRiggerSpec",
                "spec.uiAnnotations",
                "spec.uiServiceType",
            ])
            .observe(
                Observe::new("pods", "v1", "Pod")
                    .labels([
                        ("app", "redis-enterprise"),
                        ("redis.io/cluster", "$(metadata.name)"),
                        ("redis.io/role", "node"),
                    ])
                    .fields(["metadata.labels", "status.podIP"]),
            )
            .observe(Observe::new("owned", "v1", "Service").fields([
                "spec.clusterIP",
                "spec.ports",
                "spec.selector",
                "spec.type",
                "status.loadBalancer",
            ]))
            .observe(Observe::new("services", "v1", "Service").all())
            .facts(["bdbs", "nodes-status", "nodes"])
            .fact_part(
                "bdbs",
                FactPart::fields([
                    "uid",
                    "name",
                    "internal",
                    "port",
                    "endpoints",
                    "tags",
                    "crdt",
                    "oss_cluster",
                    "oss_cluster_api_preferred_ip_type",
                ]),
            )
            // For as many databases as a cluster can have.
            .limits(Limits { memory_mib: 256, milliseconds: 5_000, plan_kib: 16 * 1024, ..Limits::default() })
            .writes("v1", "Service")
            .writes("v1", "Pod")
            .calls(["PUT /v1/nodes/*"]);
        routing::KINDS.iter().fold(step, |step, (version, kind)| step.writes(version, kind))
    }
}

#[derive(Serialize)]
struct Unsupported {
    field: &'static str,
    reason: &'static str,
}

#[derive(Serialize)]
struct Note {
    unsupported: Vec<Unsupported>,
}

impl Plugin for ServicesRigger {
    fn manifest() -> Manifest {
        Manifest::new("services-rigger", env!("CARGO_PKG_VERSION"))
            .description("Exposes a Redis Enterprise cluster and its databases through Services")
            .step(Self::step())
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let seen = Seen::read(observed)?;
        // While the cluster goes away, a progress other than `done` would hold it back.
        let mut plan = match seen.bdbs.unknown() {
            Some(reason) if !observed.deleting => Plan::waiting(
                format!("waiting to learn of databases, whose Services stay as they are: {reason}"),
                Duration::from_secs(5),
            )
            .word("DatabasesNotKnown"),
            _ => Plan::done(),
        };
        plan = cluster::services(plan, &seen);
        plan = services::databases(plan, &seen);
        plan = pods::labels(plan, &seen);
        plan = routing::ways(plan, &seen);
        let (mut plan, waits) = outside::balancers(plan, &seen);
        if let Some(why) = waits.filter(|_| !observed.deleting && seen.bdbs.known().is_some()) {
            plan = plan.progress(Plan::waiting(why, AGAIN).word("LoadBalancerPending").progress);
        }
        let unsupported = seen.unsupported();
        Ok(if unsupported.is_empty() { plan } else { plan.note(&Note { unsupported }) })
    }
}
