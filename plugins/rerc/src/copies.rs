//! The resources of Active-Active databases that were made through another cluster and have a copy on this one: the same resource
//! on every cluster (reference, 3.18).

use serde::Serialize;
use serde_json::Value;
use stepwright_reaadb::GUID_ANNOTATION;
use stepwright_reaadb::record::{Crdb, Record, listed};
use stepwright_sdk::{Call, Event, Plan};

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

/// The id of the call that reads the databases as they are now.
const LIST: &str = "list";

/// Databases without a resource here, each with what it says of it and in which namespace that is.
fn missing<'c>(seen: &Seen<'_>, crdbs: &'c [Crdb]) -> Vec<(&'c Crdb, Record, String)> {
    let one = |crdb: &'c Crdb| {
        let record = Record::of(crdb)?;
        let own = record.participants.iter().find(|it| it.name == seen.observed.name())?;
        let namespace = own.namespace.clone().unwrap_or_else(|| seen.observed.namespace().to_owned());
        (!seen.has_database(&namespace, &record.name)).then_some((crdb, record, namespace))
    };
    crdbs.iter().filter_map(one).collect()
}

/// Begins those that are not there. From then on they are everybody's to change.
///
/// A resource goes after its database. The fact may be older than that, so the databases are listed once more before.
pub(crate) fn begin(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let known = seen.crdbs.known().filter(|_| seen.local);
    if known.is_none_or(|crdbs| missing(seen, crdbs).is_empty()) {
        return plan;
    }
    let Some(reply) = seen.observed.reply(LIST) else { return plan.call(Call::get(LIST, "/v1/crdbs")) };
    let listed = listed(reply).unwrap_or_default();
    for (crdb, record, namespace) in missing(seen, &listed) {
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
