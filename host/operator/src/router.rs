//! From a change of any object to the primaries that have to be looked at again.

use std::collections::HashMap;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::ObjectRef as RuntimeRef;
use stepwright_core::admit::OPERATOR_ANNOTATION;
use stepwright_core::manifest::{Observe, Select, Within};
use stepwright_core::object::TypeRef;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::select::Selection;

use crate::apply::{shown, whole};
use crate::cache::{Caches, Change, owner_of};
use crate::facts::{Concerned, fields};
use crate::slots::{Slots, Watched};
use crate::system::{ManagedSystem, News, Reader};

/// Where to send what is to be looked at.
#[derive(Clone)]
pub struct Queue {
    pub kind: TypeRef,
    pub resource: ApiResource,
    pub sender: UnboundedSender<RuntimeRef<DynamicObject>>,
}

/// Knows the pipelines and their queues.
pub struct Router {
    pub(crate) pipelines: Vec<Arc<Pipeline>>,
    pub(crate) queues: parking_lot::RwLock<HashMap<TypeRef, Queue>>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) system: Arc<dyn ManagedSystem>,
}

impl Router {
    /// Queues whatever a change concerns.
    pub(crate) fn changed(&self, change: &Change) {
        let namespace = change.object.namespace().unwrap_or_default();
        let name = change.object.name_any();
        let owner = owner_of(&change.object);
        let by = change.by.as_ref();
        let own = |kind: &TypeRef, namespace: &str, name: &str| {
            by.is_some_and(|by| {
                TypeRef::from(by) == *kind && by.namespace.as_deref() == Some(namespace) && by.name == name
            })
        };
        for pipeline in &self.pipelines {
            let kind = pipeline.type_ref();
            if kind == change.kind && !own(&kind, &namespace, &name) {
                self.enqueue(&kind, &namespace, &name);
            }
            if let Some(owner) = owner.as_ref().filter(|owner| owner.kind == kind.kind)
                && !own(&kind, &owner.namespace, &owner.name)
            {
                self.enqueue(&kind, &owner.namespace, &owner.name);
            }
            if self.may_observe(pipeline, &change.kind) {
                self.observers(pipeline, change, &namespace, &name, &own);
            }
        }
    }

    /// What the pipeline's steps and their policies look at.
    fn watched(&self, pipeline: &Pipeline) -> Vec<Arc<Watched>> {
        pipeline.steps.iter().flat_map(|step| self.slots.observing(step)).collect()
    }

    /// Changes were told and missed: every primary.
    pub(crate) fn changes_missed(&self) {
        for pipeline in &self.pipelines {
            let kind = pipeline.type_ref();
            for primary in self.caches.all(&kind) {
                self.enqueue(&kind, &primary.namespace().unwrap_or_default(), &primary.name_any());
            }
        }
    }

    fn may_observe(&self, pipeline: &Pipeline, kind: &TypeRef) -> bool {
        pipeline.steps.iter().flat_map(|step| self.slots.observing(step)).any(|watched| {
            watched.observes.iter().any(|it| it.type_ref() == *kind && !matches!(it.select, Select::Owned))
        })
    }

    /// Primaries for which some step's manifest selects it: of its namespace, or of a managed system that is there.
    fn observers(
        &self,
        pipeline: &Pipeline,
        change: &Change,
        namespace: &str,
        name: &str,
        own: &dyn Fn(&TypeRef, &str, &str) -> bool,
    ) {
        let kind = pipeline.type_ref();
        let watched = self.watched(pipeline);
        let observes = watched.iter().flat_map(|watched| &watched.observes);
        let observes: Vec<&Observe> =
            observes.filter(|it| it.type_ref() == change.kind && is_shown(change, it)).collect();
        let labels = change.object.metadata.labels.as_ref();
        let look = |primary: &DynamicObject, within: Within| {
            let (home, called) = (primary.namespace().unwrap_or_default(), primary.name_any());
            if own(&kind, &home, &called) {
                return;
            }
            // Most primaries are passed over, so no more is made of each than is asked for.
            let read = |path: &str| fields(primary, path);
            let concerns = |it: &&&Observe| it.when.is_none() || it.concerns(&whole(primary));
            let mut observes = observes.iter().filter(|it| it.within == within).filter(concerns);
            if observes.any(|it| Selection::resolve_by(&it.select, &read).matches(name, labels)) {
                self.enqueue(&kind, &home, &called);
            }
        };
        if observes.iter().any(|it| it.within == Within::Primary) {
            // What is in no namespace concerns primaries in all.
            let primaries =
                if namespace.is_empty() { self.caches.all(&kind) } else { self.caches.list(&kind, namespace) };
            for primary in primaries {
                look(&primary, Within::Primary);
            }
        }
        if observes.iter().any(|it| it.within == Within::SameSystem)
            && let Some(system) = self.system.locate(&change.object, self.caches.as_ref())
        {
            for primary in self.caches.all(&kind) {
                if self.system.locate(&primary, self.caches.as_ref()).as_ref() == Some(&system) {
                    look(&primary, Within::SameSystem);
                }
            }
        }
        if observes.iter().any(|it| it.within == Within::Anywhere) {
            for primary in self.caches.all(&kind) {
                look(&primary, Within::Anywhere);
            }
        }
        if observes.iter().any(|it| it.within == Within::System) {
            for primary in self.caches.all(&kind) {
                let system = self.system.locate(&primary, self.caches.as_ref());
                if system.is_some_and(|system| system.namespace == namespace) {
                    look(&primary, Within::System);
                }
            }
        }
    }

    /// Something known of a managed system changed: every primary that belongs to it and is shown what changed.
    pub(crate) fn facts_changed(&self, news: &News) {
        for pipeline in &self.pipelines {
            let kind = pipeline.type_ref();
            let concerned = news.facts.as_ref().map(|facts| Concerned::by(&self.watched(pipeline), facts));
            if concerned.as_ref().is_some_and(Concerned::is_nobody) {
                continue;
            }
            for primary in self.caches.all(&kind) {
                if concerned.as_ref().is_none_or(|concerned| concerned.is(&primary))
                    && self.system.locate(&primary, self.caches.as_ref()).as_ref() == Some(&news.system)
                {
                    self.enqueue(&kind, &primary.namespace().unwrap_or_default(), &primary.name_any());
                }
            }
        }
    }

    /// Another day: every primary, since what is said of it may depend on the date.
    pub(crate) fn day_turned(&self) {
        for pipeline in &self.pipelines {
            let kind = pipeline.type_ref();
            for primary in self.caches.all(&kind) {
                self.enqueue(&kind, &primary.namespace().unwrap_or_default(), &primary.name_any());
            }
        }
    }

    /// The plugins behind these steps were exchanged: every primary whose pipeline has one of them.
    pub fn swapped(&self, steps: &[String]) {
        self.caches.ensure(self.slots.kinds());
        self.caches.ensure_in_guests(self.guest_kinds());
        for pipeline in self.pipelines.iter().filter(|it| it.steps.iter().any(|step| steps.contains(step))) {
            let kind = pipeline.type_ref();
            for primary in self.caches.all(&kind) {
                self.enqueue(&kind, &primary.namespace().unwrap_or_default(), &primary.name_any());
            }
        }
    }

    /// What has to be watched in namespaces besides the operator's own: primaries that may be there, what their steps look at
    /// beside them, and what they make.
    pub(crate) fn guest_kinds(&self) -> Vec<TypeRef> {
        let mut kinds = Vec::new();
        for pipeline in self.pipelines.iter().filter(|it| it.in_guests) {
            kinds.push(pipeline.type_ref());
            for watched in pipeline.steps.iter().flat_map(|step| self.slots.observing(step)) {
                let beside = watched.observes.iter().filter(|it| it.within == Within::Primary);
                kinds.extend(beside.map(|it| it.type_ref()));
                kinds.extend(watched.writes.iter().cloned());
            }
        }
        // What belongs to a managed system is looked for everywhere.
        for watched in self.pipelines.iter().flat_map(|it| &it.steps).flat_map(|step| self.slots.observing(step)) {
            let anywhere = |it: &&Observe| matches!(it.within, Within::SameSystem | Within::Anywhere);
            let anywhere = watched.observes.iter().filter(anywhere);
            kinds.extend(anywhere.map(|it| it.type_ref()));
        }
        kinds
    }

    /// Every primary of a namespace.
    pub(crate) fn namespace_changed(&self, namespace: &str) {
        for pipeline in &self.pipelines {
            let kind = pipeline.type_ref();
            for primary in self.caches.list(&kind, namespace) {
                self.enqueue(&kind, namespace, &primary.name_any());
            }
        }
    }

    fn enqueue(&self, kind: &TypeRef, namespace: &str, name: &str) {
        let queues = self.queues.read();
        let Some(queue) = queues.get(kind) else { return };
        let mut reference = RuntimeRef::new_with(name, queue.resource.clone());
        if !namespace.is_empty() {
            reference = reference.within(namespace);
        }
        // The receiver is dropped only when the operator stops.
        let _ = queue.sender.unbounded_send(reference);
    }
}

/// Whether a change of an object is in what is shown of it, or decides whether it is shown.
fn is_shown(change: &Change, observe: &Observe) -> bool {
    let Some(before) = change.before.as_ref().filter(|_| !change.gone) else { return true };
    let shown = |object: &DynamicObject| shown(object, &observe.fields);
    // Whose it is decides who is shown it.
    let claim = |object: &DynamicObject| object.annotations().get(OPERATOR_ANNOTATION).cloned();
    claim(before) != claim(&change.object)
        || before.metadata.labels != change.object.metadata.labels
        || shown(before) != shown(&change.object)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_masked_away_wakes_nobody() {
        let object = |labels: Value, spec: u64, status: u64| -> Option<Arc<DynamicObject>> {
            let metadata = json!({"name": "a", "labels": labels, "resourceVersion": (spec + status).to_string()});
            let object =
                json!({"apiVersion": "v1", "kind": "Thing", "metadata": metadata, "spec": spec, "status": status});
            Some(Arc::new(serde_json::from_value(object).unwrap()))
        };
        let observe: Observe = serde_json::from_value(json!({
            "name": "things", "apiVersion": "v1", "kind": "Thing", "select": {"labels": {}}, "fields": ["spec"]}))
        .unwrap();
        let shown = |before: Option<Arc<DynamicObject>>, after: Option<Arc<DynamicObject>>, gone: bool| {
            let kind = TypeRef::new("v1", "Thing");
            is_shown(&Change { kind, object: after.unwrap(), before, gone, by: None }, &observe)
        };
        let was = || object(json!({}), 1, 1);
        assert!(!shown(was(), object(json!({}), 1, 2), false));
        assert!(shown(was(), object(json!({}), 2, 1), false));
        assert!(shown(was(), object(json!({"x": "y"}), 1, 1), false));
        assert!(shown(None, was(), false));
        assert!(shown(was(), was(), true));
    }
}
