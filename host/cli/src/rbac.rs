//! The operator's Role, from what it really uses: the manifests of the embedded plugins, the pipelines, and the host itself.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use stepwright_core::object::TypeRef;

use crate::plugins::manifests;
use crate::run::built_in_pipelines;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 3] = ["create", "patch", "delete"];

/// A Role as YAML, with the header that generated files carry.
pub(crate) fn role() -> anyhow::Result<String> {
    let mut rules: BTreeMap<(String, String), BTreeSet<&'static str>> = BTreeMap::new();
    let mut allow = |group: &str, resource: &str, verbs: &[&'static str]| {
        rules.entry((group.to_owned(), resource.to_owned())).or_default().extend(verbs);
    };
    let manifests = manifests()?;
    for step in manifests.iter().flat_map(|manifest| &manifest.steps) {
        // What is optional an admin allows for itself.
        for observe in step.observes.iter().filter(|it| !it.optional) {
            let (group, resource) = named(&observe.type_ref());
            allow(&group, &resource, &READ);
        }
        for kind in &step.writes {
            let (group, resource) = named(kind);
            allow(&group, &resource, &READ);
            allow(&group, &resource, &WRITE);
        }
    }
    for pipeline in built_in_pipelines()? {
        let (group, resource) = named(&pipeline.type_ref());
        allow(&group, &resource, &READ);
        allow(&group, &resource, &["patch"]);
        allow(&group, &format!("{resource}/status"), &["patch"]);
        // Owner references with blockOwnerDeletion need this where the admission plugin for them is on (OpenShift).
        allow(&group, &format!("{resource}/finalizers"), &["update"]);
    }
    // The host itself: plugins in ConfigMaps, credentials, the nodes' pods, leadership, Events.
    allow("", "configmaps", &["get", "list", "watch", "create", "patch"]);
    // A plugin may act as an account that opted in. To impersonate it is a right that an admin gives for that account alone.
    allow("", "serviceaccounts", &READ);
    allow("", "secrets", &READ);
    // Once, this installation's key.
    allow("", "secrets", &["create"]);
    allow("", "pods", &READ);
    allow("coordination.k8s.io", "leases", &["get", "create", "patch", "update"]);
    allow("events.k8s.io", "events", &["create", "patch"]);

    let rules: Vec<Value> = rules
        .into_iter()
        .map(|((group, resource), verbs)| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs}))
        .collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "redis-enterprise-operator", "labels": {"app": "redis-enterprise"}}, "rules": rules,
    });
    Ok(format!("# Generated from the plugins' manifests: cargo xtask generate\n{}", serde_yaml_ng::to_string(&role)?))
}

fn named(kind: &TypeRef) -> (String, String) {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.kind);
    (kind.group().to_owned(), ApiResource::from_gvk(&gvk).plural)
}
