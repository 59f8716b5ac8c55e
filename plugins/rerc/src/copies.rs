//! The resources of Active-Active databases that were made through another cluster and have a copy on this one: the same resource
//! on every cluster (reference, 3.18).

use serde::Serialize;
use serde_json::Value;
use stepwright_reaadb::GUID_ANNOTATION;
use stepwright_reaadb::record::Record;
use stepwright_sdk::{Event, Plan};

use crate::seen::Seen;

#[derive(Serialize)]
struct Body {
    metadata: Metadata,
    spec: Value,
}

#[derive(Serialize)]
struct Metadata {
    labels: std::collections::BTreeMap<&'static str, &'static str>,
    annotations: std::collections::BTreeMap<&'static str, String>,
}

/// Begins those that are not there. From then on they are everybody's to change.
pub(crate) fn begin(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let name = seen.observed.name();
    for crdb in seen.crdbs.known().into_iter().flatten().filter(|_| seen.local) {
        let Some(record) = Record::of(crdb) else { continue };
        let Some(own) = record.participants.iter().find(|it| it.name == name) else { continue };
        let namespace = own.namespace.clone().unwrap_or_else(|| seen.observed.namespace().to_owned());
        if seen.has_database(&namespace, &record.name) {
            continue;
        }
        let text = format!(
            "Active-Active database `{}` was made through another cluster and has a copy here: made its resource in namespace `{namespace}`",
            record.name
        );
        let body = Body {
            metadata: Metadata {
                labels: [("app", "redis-enterprise")].into(),
                // It stands for this one, and must never make another.
                annotations: [(GUID_ANNOTATION, crdb.guid.clone())].into(),
            },
            spec: record.spec(Some(&seen.remote.spec.rec_name)),
        };
        let (version, kind) = ("app.redislabs.com/v1alpha1", "RedisEnterpriseActiveActiveDatabase");
        plan = plan.begin(version, kind, namespace, record.name.clone(), &body);
        plan = plan.event(Event::normal("ActiveActiveDatabaseFollowed", text));
    }
    plan
}
