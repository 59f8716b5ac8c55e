//! The objects of a cluster (reference, 2.2), each in a file of its own by subject. Only what this step means; identity,
//! owner and labels of the host are not its business.

mod account;
pub(crate) mod broker;
mod config;
mod network;
mod pod;
pub(crate) mod rigger;
mod secret;
mod statefulset;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use stepwright_sdk::Plan;

use crate::Course;
use crate::formation::View;
use crate::managed::Parts;
use crate::passthrough::canonical_all;
use crate::seen::Seen;
use crate::storage;

pub(crate) use pod::ignored_attributes;
pub(crate) use secret::license_source;

/// Name of the volume of a node, and first part of the names of its claims.
pub(crate) const STORAGE: &str = "redis-enterprise-storage";

/// Name of the flash volume of a node, and first part of the names of its claims.
pub(crate) const FLASH: &str = "redis-enterprise-flash";
/// Where it is mounted.
pub(crate) const FLASH_PATH: &str = "/var/opt/redislabs/flash";

/// Labels that this step sets itself, on objects or on pods.
const OWN_LABELS: [&str; 4] = ["app", "app.kubernetes.io/name", "redis.io/cluster", "redis.io/role"];

/// Labels that a user's own never replace.
pub(crate) fn is_taken_label(label: &str) -> bool {
    OWN_LABELS.contains(&label) || is_reserved_label(label)
}

/// Labels that the host sets on every object: a plan may not.
fn is_reserved_label(label: &str) -> bool {
    label == "app.kubernetes.io/managed-by" || label.starts_with("stepwright.dev/")
}

#[derive(Serialize)]
pub(crate) struct Metadata<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

/// A body with nothing but labels.
#[derive(Serialize)]
struct Bare<'a> {
    metadata: Metadata<'a>,
}

/// A body with labels and a spec.
#[derive(Serialize)]
struct WithSpec<'a, S> {
    metadata: Metadata<'a>,
    spec: S,
}

/// The spec of a Deployment whose one pod has its volume or its Lease until it is gone, and is therefore never doubled.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Single<'a> {
    replicas: u32,
    strategy: Strategy,
    selector: LabelSelector<'a>,
    template: Template<'a>,
}

#[derive(Serialize)]
struct Strategy {
    r#type: &'static str,
}

#[derive(Serialize)]
struct Template<'a> {
    metadata: Metadata<'a>,
    spec: BTreeMap<&'a str, Value>,
}

impl<'a> Single<'a> {
    fn new(selector: BTreeMap<&'a str, &'a str>, template: Template<'a>) -> Self {
        let selector = LabelSelector { match_labels: selector };
        Self { replicas: 1, strategy: Strategy { r#type: "Recreate" }, selector, template }
    }
}

/// The user's pull secrets, and those that the operator's own image needs.
fn pull_secrets(seen: &Seen<'_>) -> Vec<Value> {
    let mut pull: Vec<Value> = canonical_all(&seen.cluster.spec.pull_secrets).collect();
    let own = seen.host.known().into_iter().flat_map(|host| &host.image_pull_secrets);
    pull.extend(own.map(|name| json!({ "name": name })).filter(|it| !pull.contains(it)).collect::<Vec<_>>());
    pull
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelector<'a> {
    match_labels: BTreeMap<&'a str, &'a str>,
}

/// Labels of every object; the user's own never win over ours.
fn labels<'a>(seen: &'a Seen<'_>) -> BTreeMap<&'a str, &'a str> {
    let mut labels: BTreeMap<&str, &str> = seen
        .cluster
        .spec
        .extra_labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| !is_taken_label(key))
        .collect();
    labels.insert("app", "redis-enterprise");
    labels.insert("redis.io/cluster", seen.name());
    labels
}

fn metadata<'a>(seen: &'a Seen<'_>) -> Metadata<'a> {
    Metadata { labels: labels(seen), annotations: BTreeMap::new() }
}

/// What selects the pods. Never more than this: a StatefulSet's selector cannot be changed.
fn selector<'a>(seen: &'a Seen<'_>) -> BTreeMap<&'a str, &'a str> {
    BTreeMap::from([("app", "redis-enterprise"), ("redis.io/cluster", seen.name()), ("redis.io/role", "node")])
}

fn service_account<'a>(seen: &'a Seen<'_>) -> &'a str {
    crate::spec::said(seen.cluster.spec.service_account_name.as_ref()).unwrap_or_else(|| seen.name())
}

/// Adds every object of the cluster. `with_secret` is false while the credentials are lost: a new password would fit nothing.
pub(crate) fn desire(
    mut plan: Plan,
    seen: &Seen<'_>,
    view: &View,
    parts: &Parts<'_>,
    course: &Course,
    with_secret: bool,
) -> Plan {
    plan = account::desire(plan, seen);
    plan = secret::in_force(plan, seen, view, parts);
    if with_secret {
        plan = secret::desire(plan, seen);
    }
    plan = config::desire(plan, seen, view, course);
    plan = network::desire(plan, seen);
    plan = storage::grow(plan, seen);
    plan = rigger::desire(plan, seen);
    plan = broker::desire(plan, seen);
    statefulset::desire(plan, seen, course)
}
