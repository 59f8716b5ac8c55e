//! The operator's Roles, from what it really uses: the manifests of the embedded plugins, the pipelines, and the host itself;
//! and the rules for a process that runs some steps alone.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use stepwright_core::manifest::{Manifest, Within};
use stepwright_core::object::TypeRef;
use stepwright_core::pipeline::Pipeline;

use crate::plugins::manifests;
use crate::run::built_in_pipelines;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 3] = ["create", "patch", "delete"];

/// Rights by group and resource.
#[derive(Default)]
struct Rights(BTreeMap<(String, String), BTreeSet<&'static str>>);

impl Rights {
    fn allow(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        self.0.entry((group.to_owned(), resource.to_owned())).or_default().extend(verbs);
    }

    /// What the steps of embedded plugins observe and write.
    fn of_steps(&mut self, manifests: &[Manifest], is_meant: impl Fn(&str) -> bool) {
        for step in manifests.iter().flat_map(|manifest| &manifest.steps).filter(|step| is_meant(&step.name)) {
            // What is optional an admin allows for itself.
            for observe in step.observes.iter().filter(|it| !it.optional) {
                let (group, resource) = named(&observe.type_ref());
                self.allow(&group, &resource, &READ);
            }
            for kind in &step.writes {
                let (group, resource) = named(kind);
                self.allow(&group, &resource, &READ);
                self.allow(&group, &resource, &WRITE);
            }
            for kind in &step.begins {
                let (group, resource) = named(kind);
                self.allow(&group, &resource, &READ);
                self.allow(&group, &resource, &["create"]);
            }
        }
    }

    /// A primary whose step may find that it stands for nothing any more.
    fn of_retiring(&mut self, pipeline: &Pipeline, manifests: &[Manifest]) {
        let steps = manifests.iter().flat_map(|manifest| &manifest.steps);
        if steps.into_iter().any(|step| step.retires && pipeline.steps.contains(&step.name)) {
            let (group, resource) = named(&pipeline.type_ref());
            self.allow(&group, &resource, &["delete"]);
        }
    }

    /// What is reconciled, and its status.
    fn of_primary(&mut self, pipeline: &Pipeline) {
        let (group, resource) = named(&pipeline.type_ref());
        self.allow(&group, &resource, &READ);
        self.allow(&group, &format!("{resource}/status"), &["patch"]);
        // Owner references with blockOwnerDeletion need this where the admission plugin for them is on (OpenShift).
        self.allow(&group, &format!("{resource}/finalizers"), &["update"]);
    }

    /// The host itself: plugins in ConfigMaps, the nodes' pods, Events.
    fn of_host(&mut self) {
        self.allow("", "configmaps", &["get", "list", "watch", "create", "patch"]);
        // A plugin may act as an account that opted in. To impersonate it is a right that an admin gives for that account alone.
        self.allow("", "serviceaccounts", &READ);
        self.allow("", "pods", &READ);
        self.allow("events.k8s.io", "events", &["create", "patch"]);
    }

    fn rules(self) -> Vec<Value> {
        let rule = |((group, resource), verbs): ((String, String), BTreeSet<&str>)| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
        self.0.into_iter().map(rule).collect()
    }
}

/// A Role as YAML, with the header that generated files carry.
pub(crate) fn role() -> anyhow::Result<String> {
    let mut rights = Rights::default();
    let manifests = manifests()?;
    rights.of_steps(&manifests, |_| true);
    // What has no steps is looked at before it is stored, in what the API server sends.
    for pipeline in built_in_pipelines()?.into_iter().filter(|pipeline| !pipeline.steps.is_empty()) {
        rights.of_primary(&pipeline);
        rights.of_retiring(&pipeline, &manifests);
        let (group, resource) = named(&pipeline.type_ref());
        rights.allow(&group, &resource, &["patch"]);
    }
    rights.of_host();
    // Credentials; and, once, this installation's key.
    rights.allow("", "secrets", &READ);
    rights.allow("", "secrets", &["create"]);
    // Leadership; and whether somebody runs the delegated steps.
    rights.allow("coordination.k8s.io", "leases", &["get", "list", "watch", "create", "patch", "update"]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "redis-enterprise-operator", "labels": {"app": "redis-enterprise"}}, "rules": rights.rules(),
    });
    Ok(format!("# Generated from the plugins' manifests: cargo xtask generate\n{}", serde_yaml_ng::to_string(&role)?))
}

/// The Role in a namespace that is watched besides the operator's own.
pub(crate) fn guest_role() -> anyhow::Result<String> {
    let mut rights = Rights::default();
    let manifests = manifests()?;
    for pipeline in built_in_pipelines()?.into_iter().filter(|it| it.in_guests && !it.steps.is_empty()) {
        rights.of_primary(&pipeline);
        rights.of_retiring(&pipeline, &manifests);
        let (group, resource) = named(&pipeline.type_ref());
        rights.allow(&group, &resource, &["patch"]);
        // Its step may be another kind's, in the operator's own namespace.
        if manifests.iter().flat_map(|it| &it.steps).any(|step| step.begins.contains(&pipeline.type_ref())) {
            rights.allow(&group, &resource, &["create"]);
        }
        let steps = manifests.iter().flat_map(|manifest| &manifest.steps);
        for step in steps.filter(|step| pipeline.steps.contains(&step.name)) {
            for observe in step.observes.iter().filter(|observe| observe.within == Within::Primary) {
                let (group, resource) = named(&observe.type_ref());
                rights.allow(&group, &resource, &READ);
            }
            for kind in &step.writes {
                let (group, resource) = named(kind);
                rights.allow(&group, &resource, &READ);
                rights.allow(&group, &resource, &WRITE);
            }
        }
    }
    rights.allow("events.k8s.io", "events", &["create", "patch"]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "redb-role", "labels": {"app": "redis-enterprise"}}, "rules": rights.rules(),
    });
    Ok(format!("# Generated from the plugins' manifests: cargo xtask generate\n{}", serde_yaml_ng::to_string(&role)?))
}

/// What a process has to be allowed that runs these steps alone, under this Lease, and reads these Secrets as the host. The
/// Secrets of the managed system are for whoever makes its Role to add. `port_forward`: it reaches pods as the operator then does.
/// All of it is among the operator's own rights: nobody
/// may give others more than they have.
pub(crate) fn lone(
    manifests: &[Manifest],
    pipelines: &[Pipeline],
    steps: &BTreeSet<String>,
    lease: &str,
    secrets: &[&str],
    port_forward: bool,
) -> Vec<Value> {
    let mut rights = Rights::default();
    rights.of_steps(manifests, |step| steps.contains(step));
    for pipeline in pipelines.iter().filter(|it| it.steps.iter().any(|step| steps.contains(step))) {
        rights.of_primary(pipeline);
    }
    rights.of_host();
    if port_forward {
        rights.allow("", "pods/portforward", &["create", "get"]);
    }
    // Which Lease it makes cannot be said; the others it shall not touch.
    rights.allow("coordination.k8s.io", "leases", &["create"]);
    let mut rules = rights.rules();
    let mut by_name = |group: &str, resource: &str, names: &[&str], verbs: &[&str]| {
        rules.push(json!({"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": verbs}));
    };
    by_name("coordination.k8s.io", "leases", &[lease], &["get", "patch", "update"]);
    if !secrets.is_empty() {
        by_name("", "secrets", secrets, &READ);
    }
    rules
}

fn named(kind: &TypeRef) -> (String, String) {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.kind);
    (kind.group().to_owned(), ApiResource::from_gvk(&gvk).plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let step = |name: &str, kind: &str| json!({"name": name, "primary": [], "writes": [{"apiVersion": "v1", "kind": kind}]});
        let steps = [step("a", "Service"), step("b", "Secret")];
        serde_json::from_value(json!({"name": "p", "version": "1", "steps": steps})).unwrap()
    }

    #[test]
    fn a_lone_process_may_what_its_steps_ask_for_and_what_the_host_needs() {
        let pipelines: Vec<Pipeline> = serde_json::from_value(json!([
            {"apiVersion": "g/v1", "kind": "Thing", "steps": ["a", "b"]},
            {"apiVersion": "g/v1", "kind": "Other", "steps": ["b"]},
        ]))
        .unwrap();
        let rules = lone(&[manifest()], &pipelines, &["a".to_owned()].into(), "main-a", &["keys"], false);
        let lines: Vec<String> = rules
            .iter()
            .map(|rule| {
                let words = |key: &str| {
                    let all = rule[key].as_array().cloned().unwrap_or_default();
                    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
                };
                format!("{} {} {}", words("resources"), words("resourceNames"), words("verbs"))
            })
            .collect();
        assert_eq!(
            lines,
            [
                "configmaps  create,get,list,patch,watch",
                "pods  get,list,watch",
                "serviceaccounts  get,list,watch",
                "services  create,delete,get,list,patch,watch",
                "leases  create",
                "events  create,patch",
                "things  get,list,watch",
                "things/finalizers  update",
                "things/status  patch",
                "leases main-a get,patch,update",
                "secrets keys get,list,watch",
            ]
        );
    }
}
