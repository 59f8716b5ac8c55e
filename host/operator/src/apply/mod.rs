//! Carries an admitted plan out: server-side apply, amendments, pruning, defaults, requests that are done, calls, in that order; the first failure
//! ends it.
//!
//! Nothing is written that the observed object already says. What is written is put into the caches at once, so that the
//! rest of the pass sees it.

use std::sync::Arc;

use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use stepwright_core::admit::Owner;
use stepwright_core::journal::{Effect, PluginRef};
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::observation::{Refused, Reply};

use crate::controller::Context;
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
    serde_json::to_value(object).unwrap_or_default()
}

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
