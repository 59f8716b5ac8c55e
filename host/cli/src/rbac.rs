//! The operator's Roles, from what it really uses: the manifests of the embedded plugins, the pipelines, and the host itself.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use stepwright_core::manifest::Within;
use stepwright_core::object::TypeRef;

use crate::plugins::manifests;
use crate::run::built_in_pipelines;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 3] = ["create", "patch", "delete"];

/// What may be done with which resource of which group.
#[derive(Default)]
struct Rules(BTreeMap<(String, String), BTreeSet<&'static str>>);

impl Rules {
    fn allow(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        self.0.entry((group.to_owned(), resource.to_owned())).or_default().extend(verbs);
    }

    fn read(&mut self, kind: &TypeRef) {
        let (group, resource) = named(kind);
        self.allow(&group, &resource, &READ);
    }

    fn write(&mut self, kind: &TypeRef) {
        let (group, resource) = named(kind);
        self.allow(&group, &resource, &READ);
        self.allow(&group, &resource, &WRITE);
    }

    /// What is reconciled.
    fn primary(&mut self, kind: &TypeRef) {
        let (group, resource) = named(kind);
        self.allow(&group, &resource, &READ);
        self.allow(&group, &resource, &["patch"]);
        self.allow(&group, &format!("{resource}/status"), &["patch"]);
        // Owner references with blockOwnerDeletion need this where the admission plugin for them is on (OpenShift).
        self.allow(&group, &format!("{resource}/finalizers"), &["update"]);
    }

    /// As YAML, with the header that generated files carry.
    fn role(self, name: &str) -> anyhow::Result<String> {
        let rules = self.0.into_iter();
        let rules: Vec<Value> = rules
            .map(|((group, resource), verbs)| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs}))
            .collect();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "labels": {"app": "redis-enterprise"}}, "rules": rules,
        });
        Ok(format!(
            "# Generated from the plugins' manifests: cargo xtask generate\n{}",
            serde_yaml_ng::to_string(&role)?
        ))
    }
}

/// The Role in the operator's own namespace.
pub(crate) fn role() -> anyhow::Result<String> {
    let mut rules = Rules::default();
    for step in manifests()?.iter().flat_map(|manifest| &manifest.steps) {
        step.observes.iter().for_each(|observe| rules.read(&observe.type_ref()));
        step.writes.iter().for_each(|kind| rules.write(kind));
    }
    for pipeline in built_in_pipelines()? {
        rules.primary(&pipeline.type_ref());
    }
    // The host itself: plugins in ConfigMaps, credentials, the nodes' pods, leadership, Events.
    rules.allow("", "configmaps", &["get", "list", "watch", "create", "patch"]);
    // A plugin may act as an account that opted in. To impersonate it is a right that an admin gives for that account alone.
    rules.allow("", "serviceaccounts", &READ);
    rules.allow("", "secrets", &READ);
    // Once, this installation's key.
    rules.allow("", "secrets", &["create"]);
    rules.allow("", "pods", &READ);
    rules.allow("coordination.k8s.io", "leases", &["get", "create", "patch", "update"]);
    rules.allow("events.k8s.io", "events", &["create", "patch"]);
    rules.role("redis-enterprise-operator")
}

/// The Role in a namespace that is watched besides.
pub(crate) fn guest_role() -> anyhow::Result<String> {
    let mut rules = Rules::default();
    let manifests = manifests()?;
    for pipeline in built_in_pipelines()?.into_iter().filter(|pipeline| pipeline.in_guests) {
        rules.primary(&pipeline.type_ref());
        let steps = manifests.iter().flat_map(|manifest| &manifest.steps);
        for step in steps.filter(|step| pipeline.steps.contains(&step.name)) {
            let beside = step.observes.iter().filter(|observe| observe.within == Within::Primary);
            beside.for_each(|observe| rules.read(&observe.type_ref()));
            step.writes.iter().for_each(|kind| rules.write(kind));
        }
    }
    rules.allow("events.k8s.io", "events", &["create", "patch"]);
    rules.role("redb-role")
}

fn named(kind: &TypeRef) -> (String, String) {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.kind);
    (kind.group().to_owned(), ApiResource::from_gvk(&gvk).plural)
}
