//! From the caches to what a step or a policy is given. Asks the API server nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use stepwright_core::manifest::{Observe, PolicyManifest, StepManifest, Within};
use stepwright_core::mask::mask;
use stepwright_core::object::{Object, ObjectRef, TypeRef};
use stepwright_core::observation::{ObjectSet, Observation, Reply};
use stepwright_core::select::Selection;

use crate::apply::{Primary, whole};
use crate::controller::Context;
use crate::system::{Reader, SystemId};

/// What a manifest says is read.
#[derive(Clone, Copy)]
pub(crate) struct Reads<'a> {
    /// The step that plans, or whose plan is reviewed.
    step: &'a str,
    primary: &'a [String],
    observes: &'a [Observe],
    facts: &'a [String],
}

impl<'a> From<&'a StepManifest> for Reads<'a> {
    fn from(step: &'a StepManifest) -> Self {
        Self { step: &step.name, primary: &step.primary, observes: &step.observes, facts: &step.facts }
    }
}

impl<'a> Reads<'a> {
    /// Of a policy that reviews a plan of this step.
    pub(crate) fn of_policy(policy: &'a PolicyManifest, step: &'a str) -> Self {
        Self { step, primary: &policy.primary, observes: &policy.observes, facts: &policy.facts }
    }
}

/// What a round of a step is given besides what is in the caches.
pub(crate) struct Round<'a> {
    pub number: u32,
    pub replies: &'a [Reply],
    pub notes: &'a [(String, String)],
    pub settings: &'a str,
    pub now: &'a str,
}

/// Builds the observation of one round of a step, or of a policy.
pub(crate) async fn observe(
    context: &Context,
    primary: &Primary,
    reads: Reads<'_>,
    system: Option<&SystemId>,
    round: Round<'_>,
) -> Observation {
    let objects = reads
        .observes
        .iter()
        .map(|observe| {
            let kind = observe.type_ref();
            let selection = Selection::resolve(&observe.select, &primary.value);
            let found = match (observe.within, system) {
                (Within::Primary, _) => select(context, primary, primary.namespace(), &kind, &selection),
                (Within::System, Some(system)) => select(context, primary, &system.namespace, &kind, &selection),
                (Within::System, None) => Vec::new(),
            };
            let objects = found.iter().map(|object| masked(context, &kind, object, &observe.fields)).collect();
            ObjectSet { name: observe.name.clone(), objects }
        })
        .collect();
    let facts = context.facts(primary, reads.facts, system).await;
    Observation {
        step: reads.step.to_owned(),
        primary: Object { id: primary.id.clone(), body: mask(&primary.value, reads.primary).to_string() },
        deleting: primary.deleting(),
        objects,
        facts,
        replies: round.replies.to_vec(),
        notes: round.notes.to_vec(),
        settings: round.settings.to_owned(),
        round: round.number,
        now: round.now.to_owned(),
    }
}

fn select(
    context: &Context,
    primary: &Primary,
    namespace: &str,
    kind: &TypeRef,
    selection: &Selection,
) -> Vec<Arc<DynamicObject>> {
    match selection {
        Selection::Owned => context
            .caches
            .owned(&primary.id.kind, primary.namespace(), &primary.id.name)
            .into_keys()
            .filter(|id| TypeRef::from(id) == *kind)
            .filter_map(|id| context.caches.get(kind, id.namespace.as_deref().unwrap_or_default(), &id.name))
            .collect(),
        Selection::Names(names) => {
            let unique: std::collections::BTreeSet<&String> = names.iter().collect();
            unique.into_iter().filter_map(|name| context.caches.get(kind, namespace, name)).collect()
        }
        Selection::Labels(_) => {
            let none = BTreeMap::new();
            context
                .caches
                .list(kind, namespace)
                .into_iter()
                .filter(|object| {
                    let labels = object.metadata.labels.as_ref().unwrap_or(&none);
                    selection.matches(&object.name_any(), Some(labels))
                })
                .collect()
        }
    }
}

fn masked(context: &Context, kind: &TypeRef, object: &DynamicObject, fields: &[String]) -> Object {
    let mut value = whole(object);
    if kind.kind == "Secret" && kind.api_version == "v1" {
        context.fingerprinter.fingerprint_secret_object(&mut value);
    }
    let id = ObjectRef {
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
        namespace: object.namespace(),
        name: object.name_any(),
    };
    Object { id, body: mask(&value, fields).to_string() }
}
