//! From the caches to what a step or a policy is given. Asks the API server nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use stepwright_core::admit::Scope;
use stepwright_core::manifest::{Observe, PolicyManifest, StepManifest, Within};
use stepwright_core::mask::mask;
use stepwright_core::object::{Object, ObjectRef, TypeRef};
use stepwright_core::observation::{ObjectSet, Observation, Reply, failure};
use stepwright_core::select::{Selection, says};

use crate::apply::{Primary, shown};
use crate::context::Context;
use crate::facts::Parts;
use crate::pass::claim::of_another_operator;
use crate::system::{Reader, SystemId};

/// What a manifest says is read.
#[derive(Clone, Copy)]
pub(crate) struct Reads<'a> {
    /// The step that plans, or whose plan is reviewed.
    step: &'a str,
    primary: &'a [String],
    observes: &'a [Observe],
    facts: &'a [String],
    facts_when: Option<&'a BTreeMap<String, String>>,
    pub(crate) parts: Option<&'a Parts>,
}

impl<'a> From<&'a StepManifest> for Reads<'a> {
    fn from(step: &'a StepManifest) -> Self {
        let StepManifest { name, primary, observes, facts, facts_when, fact_parts, .. } = step;
        Self { step: name, primary, observes, facts, facts_when: Some(facts_when), parts: Some(fact_parts) }
    }
}

impl<'a> Reads<'a> {
    /// Of a policy that reviews a plan of this step.
    pub(crate) fn of_policy(policy: &'a PolicyManifest, step: &'a str) -> Self {
        let PolicyManifest { primary, observes, facts, .. } = policy;
        Self { step, primary, observes, facts, facts_when: None, parts: None }
    }

    /// Names of the facts that are read for a primary.
    pub(crate) fn facts_for(&self, primary: &Value) -> Vec<String> {
        let further = self.facts_when.into_iter().flatten().filter(|(_, path)| says(primary, path));
        self.facts.iter().chain(further.map(|(name, _)| name)).cloned().collect()
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
    let objects = sets(context, primary, reads.observes, system);
    let facts = context.facts(primary, &reads.facts_for(&primary.value), reads.parts, system).await;
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

/// The object sets of a check before storing; `primary` is what is about to be stored.
pub(crate) fn sets(
    context: &Context,
    primary: &Primary,
    observes: &[Observe],
    system: Option<&SystemId>,
) -> Vec<ObjectSet> {
    observes.iter().map(|observe| set(context, primary, observe, system)).collect()
}

fn set(context: &Context, primary: &Primary, observe: &Observe, system: Option<&SystemId>) -> ObjectSet {
    let (kind, name) = (observe.type_ref(), observe.name.clone());
    let nothing = ObjectSet { name: name.clone(), objects: Vec::new() };
    if !observe.concerns(&primary.value) {
        return nothing;
    }
    let namespace = match (observe.within, system) {
        (Within::Primary, _) => primary.namespace(),
        (Within::System, Some(system)) => &system.namespace,
        (Within::SameSystem, Some(system)) => {
            let selection = Selection::resolve(&observe.select, &primary.value);
            let found = fellows(context, &kind, system).into_iter();
            let found = found.filter(|it| selection.matches(&it.name_any(), it.metadata.labels.as_ref()));
            return ObjectSet { name, objects: found.map(|it| masked(context, &kind, &it, &observe.fields)).collect() };
        }
        (Within::Anywhere, _) => {
            let selection = Selection::resolve(&observe.select, &primary.value);
            let ours = |it: &Arc<DynamicObject>| {
                !of_another_operator(it, &context.home)
                    && selection.matches(&it.name_any(), it.metadata.labels.as_ref())
            };
            let mut found: Vec<_> = context.caches.all(&kind).into_iter().filter(ours).collect();
            found.sort_by_key(|it| (it.namespace(), it.name_any()));
            let objects = found.iter().map(|it| masked(context, &kind, it, &observe.fields)).collect();
            return ObjectSet { name, objects };
        }
        (Within::System | Within::SameSystem, None) => return nothing,
    };
    if observe.optional {
        // Absence must not look like emptiness.
        if let Some(why) = context.caches.unreadable(&kind, namespace) {
            return ObjectSet::unreadable(name, &why);
        }
        if !context.caches.missing_for(std::slice::from_ref(&kind), namespace).is_empty() {
            return ObjectSet::unreadable(name, &failure(503, "NotRead", &format!("{kind} was not read yet")));
        }
    }
    let found = select(context, primary, namespace, &kind, &Selection::resolve(&observe.select, &primary.value));
    let objects = found.iter().map(|object| masked(context, &kind, object, &observe.fields)).collect();
    ObjectSet { name, objects }
}

/// Objects of a kind that belong to a managed system, sorted by namespace and name.
fn fellows(context: &Context, kind: &TypeRef, system: &SystemId) -> Vec<Arc<DynamicObject>> {
    let caches = context.caches.as_ref();
    let belongs = |it: &Arc<DynamicObject>| {
        !of_another_operator(it, &context.home) && context.system.locate(it, caches).as_ref() == Some(system)
    };
    let mut found: Vec<_> = caches.all(kind).into_iter().filter(belongs).collect();
    found.sort_by_key(|it| (it.namespace(), it.name_any()));
    found
}

fn select(
    context: &Context,
    primary: &Primary,
    namespace: &str,
    kind: &TypeRef,
    selection: &Selection,
) -> Vec<Arc<DynamicObject>> {
    let cluster_scoped = context.caches.served(kind).is_some_and(|it| it.scope == Scope::Cluster);
    let namespace = if cluster_scoped { "" } else { namespace };
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
    let mut value = shown(object, fields);
    if kind.kind == "Secret" && kind.api_version == "v1" {
        context.fingerprinter.fingerprint_secret_object(&mut value);
    }
    let id = ObjectRef {
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
        namespace: object.namespace(),
        name: object.name_any(),
    };
    Object { id, body: value.to_string() }
}
