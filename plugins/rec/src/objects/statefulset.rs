//! The StatefulSet. Its pods start in parallel; which of them forms the cluster is decided elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::Plan;

use super::{FLASH, LabelSelector, STORAGE, WithSpec, metadata, network, pod, selector};
use crate::Course;
use crate::quantity::Quantity;
use crate::seen::Seen;
use crate::storage;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatefulSetSpec<'a> {
    replicas: u32,
    service_name: String,
    pod_management_policy: &'a str,
    update_strategy: UpdateStrategy,
    selector: LabelSelector<'a>,
    template: pod::Template<'a>,
    persistent_volume_claim_retention_policy: RetentionPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_claim_templates: Option<Vec<Claim<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateStrategy {
    r#type: &'static str,
    rolling_update: RollingUpdate,
}

#[derive(Serialize)]
struct RollingUpdate {
    partition: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetentionPolicy {
    when_deleted: &'static str,
    when_scaled: &'static str,
}

/// Defaults are written out, because the list is replaced as a whole and may not change.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claim<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: ClaimName<'a>,
    spec: ClaimSpec<'a>,
}

#[derive(Serialize)]
struct ClaimName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec<'a> {
    access_modes: [&'a str; 1],
    resources: ClaimResources,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class_name: Option<&'a str>,
    volume_mode: &'a str,
}

#[derive(Serialize)]
struct ClaimResources {
    requests: BTreeMap<&'static str, Quantity>,
}

fn claim<'a>(name: &'a str, size: Quantity, storage_class_name: Option<&'a str>) -> Claim<'a> {
    Claim {
        api_version: "v1",
        kind: "PersistentVolumeClaim",
        metadata: ClaimName { name },
        spec: ClaimSpec {
            access_modes: ["ReadWriteOnce"],
            resources: ClaimResources { requests: BTreeMap::from([("storage", size)]) },
            storage_class_name,
            volume_mode: "Filesystem",
        },
    }
}

pub(super) fn desire(plan: Plan, seen: &Seen<'_>, course: &Course) -> Plan {
    if course.without_pods() {
        return plan;
    }
    let spec = &seen.cluster.spec;
    let mut claims = Vec::new();
    if spec.persistent() {
        claims.push(claim(STORAGE, storage::size(seen), spec.persistent_spec.storage_class_name.as_deref()));
    }
    if spec.redis_on_flash_spec.enabled {
        claims.push(claim(FLASH, storage::flash_size(seen), spec.redis_on_flash_spec.storage_class_name.as_deref()));
    }
    let body = WithSpec {
        metadata: metadata(seen),
        spec: StatefulSetSpec {
            replicas: course.shrink.replicas,
            service_name: network::headless(seen),
            pod_management_policy: "Parallel",
            update_strategy: UpdateStrategy {
                r#type: "RollingUpdate",
                rolling_update: RollingUpdate { partition: course.rollout.partition },
            },
            // A node that was removed has nothing on its volume that could be used again. Otherwise volumes always stay.
            persistent_volume_claim_retention_policy: RetentionPolicy {
                when_deleted: "Retain",
                when_scaled: if course.shrink.retires { "Delete" } else { "Retain" },
            },
            selector: LabelSelector { match_labels: selector(seen) },
            template: pod::template(seen),
            volume_claim_templates: Some(claims).filter(|claims| !claims.is_empty()),
        },
    };
    plan.desire("apps/v1", "StatefulSet", seen.name(), &body)
}
