//! Carries an admitted plan out: server-side apply, amendments, pruning, defaults, requests that are done, calls, in that order; the first failure
//! ends it.
//!
//! Nothing is written that the observed object already says. What is written is put into the caches at once, so that the
//! rest of the pass sees it.

use std::sync::Arc;

use kube::api::{DynamicObject, ObjectMeta};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use stepwright_core::admit::Owner;
use stepwright_core::journal::{Effect, PluginRef};
use stepwright_core::mask::Mask;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::observation::{Refused, Reply};

use crate::context::Context;
use crate::error::PassError;
use crate::slots::Identity;

mod amend;
mod calls;
mod objects;
mod patch;
mod primary;

pub(crate) use calls::calls;
pub(crate) use objects::objects;
pub(crate) use primary::{defaults, finalizer, followed, resets, retire, status};

/// The host's own field manager; those of steps append `/<step>`, those of amendments `/<step>/<primary>`.
pub const MANAGER: &str = "stepwright";

/// The field manager of a step.
pub(crate) fn step_manager(step: &str) -> String {
    format!("{MANAGER}/{step}")
}

/// In whose name a plan is carried out.
pub(crate) struct Actor {
    pub step: String,
    /// What objects are marked with: `<name>@<short digest>`.
    pub plugin: String,
    client: Client,
    /// The account that is impersonated; `None`: the operator's own.
    user: Option<String>,
}

impl Actor {
    pub(crate) fn new(context: &Context, step: &str, plugin: &PluginRef, identity: Option<&Identity>) -> Self {
        Self {
            step: step.to_owned(),
            plugin: format!("{}@{}", plugin.name, plugin.digest.get(..12).unwrap_or(&plugin.digest)),
            client: context.clients.of(identity),
            user: identity.map(Identity::user),
        }
    }

    /// The host itself: status, conditions and finalizers are its contract, whichever plugin's words they hold.
    pub(crate) fn host(context: &Context) -> Self {
        let client = context.client.clone();
        Self { step: String::new(), plugin: String::new(), client, user: None }
    }
}

/// The primary of a pass, as last seen.
#[derive(Clone)]
pub(crate) struct Primary {
    pub kind: TypeRef,
    pub id: ObjectRef,
    pub object: Arc<DynamicObject>,
    /// The whole object as JSON, made once for each version of it.
    pub value: Arc<Value>,
}

impl Primary {
    pub(crate) fn new(kind: TypeRef, object: Arc<DynamicObject>) -> Self {
        let id = ObjectRef {
            api_version: kind.api_version.clone(),
            kind: kind.kind.clone(),
            namespace: object.namespace(),
            name: object.name_any(),
        };
        let value = Arc::new(whole(&object));
        Self { kind, id, object, value }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.id.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn deleting(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    fn owner(&self, step: &str) -> Owner {
        Owner {
            kind: self.id.kind.clone(),
            namespace: self.namespace().to_owned(),
            name: self.id.name.clone(),
            step: step.to_owned(),
        }
    }

    fn owner_reference(&self) -> Option<Value> {
        Some(json!({
            "apiVersion": self.id.api_version, "kind": self.id.kind, "name": self.id.name, "uid": self.object.uid()?,
            "controller": true, "blockOwnerDeletion": true,
        }))
    }
}

/// An object as one JSON value. Serialising what was parsed from JSON cannot fail; `Null` compares as different.
pub(crate) fn whole(object: &DynamicObject) -> Value {
    // To clone is several times quicker than to serialise, and most of an object is JSON already.
    let Value::Object(mut fields) = object.data.clone() else {
        return serde_json::to_value(object).unwrap_or_default();
    };
    if let Some(types) = &object.types {
        fields.insert("apiVersion".to_owned(), Value::String(types.api_version.clone()));
        fields.insert("kind".to_owned(), Value::String(types.kind.clone()));
    }
    fields.insert("metadata".to_owned(), serde_json::to_value(&object.metadata).unwrap_or_default());
    Value::Object(fields)
}

/// The same, of which `mask` leaves only these fields, without more made of the object than is asked for.
pub(crate) fn shown(object: &DynamicObject, paths: &[String]) -> Value {
    let mask = Mask::new(paths);
    // An object without a body, or one of which all is asked for.
    if !object.data.is_object() || paths.iter().any(|path| !path.contains('.') && METADATA.contains(&path.as_str())) {
        return mask.apply(&whole(object));
    }
    let mut value = mask.apply(&object.data);
    let named =
        |field: &str| paths.iter().any(|path| path.strip_prefix("metadata.").is_some_and(|it| it.starts_with(field)));
    let from = &object.metadata;
    let metadata = ObjectMeta {
        managed_fields: from.managed_fields.clone().filter(|_| named("managedFields")),
        annotations: from.annotations.clone().filter(|_| named("annotations")),
        labels: from.labels.clone().filter(|_| named("labels")),
        owner_references: from.owner_references.clone().filter(|_| named("ownerReferences")),
        finalizers: from.finalizers.clone().filter(|_| named("finalizers")),
        creation_timestamp: from.creation_timestamp.clone(),
        deletion_grace_period_seconds: from.deletion_grace_period_seconds,
        deletion_timestamp: from.deletion_timestamp.clone(),
        generate_name: from.generate_name.clone(),
        generation: from.generation,
        name: from.name.clone(),
        namespace: from.namespace.clone(),
        resource_version: from.resource_version.clone(),
        self_link: from.self_link.clone(),
        uid: from.uid.clone(),
    };
    let metadata = mask.apply(&json!({"metadata": metadata}));
    if let (Some(fields), Value::Object(metadata)) = (value.as_object_mut(), metadata) {
        fields.extend(metadata);
    }
    value
}

/// Fields that are no part of an object's body.
const METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// What carrying a plan out did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub writes: u32,
    /// Objects that were put back though nothing new was wanted of them: object and first field.
    pub drift: Vec<(ObjectRef, String)>,
    pub replies: Vec<Reply>,
    pub effects: Vec<Effect>,
    /// What was left alone because it is somebody else's: the rest of the plan was carried out all the same.
    pub left: Option<PassError>,
    /// All that was left alone, as the step is told of it.
    pub refused: Vec<Refused>,
}

impl Done {
    /// Takes note of an effect, carried out or not.
    fn record(&mut self, verb: &str, on: &ObjectRef, field: Option<&str>, error: Option<&PassError>) {
        self.effects.push(Effect {
            verb: verb.to_owned(),
            on: on.to_string(),
            field: field.map(str::to_owned),
            status: None,
            error: error.map(PassError::told),
        });
    }

    fn leave(&mut self, verb: &str, on: &ObjectRef, field: Option<&str>, error: PassError) {
        self.record(verb, on, field, Some(&error));
        self.refused.push(Refused {
            kind: on.kind.clone(),
            name: on.name.clone(),
            field: field.map(str::to_owned),
            reason: error.reason().to_owned(),
            message: error.chain(),
        });
        self.left.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use stepwright_core::mask::mask;

    use super::*;

    #[test]
    fn an_object_is_shown_as_if_all_of_it_were_masked() {
        let object = json!({
            "apiVersion": "v1", "kind": "Thing", "spec": {"a": 1, "b": [2]}, "status": {"c": null},
            "metadata": {"name": "x", "uid": "u", "generation": 3, "labels": {"l": "m"}, "annotations": {"n": "o"},
                         "managedFields": [{"manager": "p", "operation": "Apply"}]},
        });
        let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(whole(&typed), object);
        let all: [&[&str]; 8] = [
            &[],
            &["spec"],
            &["spec.a", "status.c", "metadata.labels"],
            &["metadata.managedFields"],
            &["metadata"],
            &["kind", "spec.b"],
            &["none.at.all"],
            &["metadata.name", "metadata.annotations"],
        ];
        for paths in all {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(shown(&typed, &paths), mask(&object, &paths), "{paths:?}");
        }
        let empty: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
        assert_eq!(shown(&empty, &[]), json!({"metadata": {"name": "x"}}));
    }
}
