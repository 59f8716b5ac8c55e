//! Amendments: fields that a step sets on objects that somebody else makes. They are applied without force; a field that
//! another manager has is taken only where the step's grants name it.

use std::time::Instant;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use stepwright_core::admit::AdmittedPlan;
use stepwright_core::compare::difference;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::take::{covers, keep};
use tracing::{info, warn};

use super::objects::{fight, filled, is_gone, is_secret};
use super::patch::{Write, patch};
use super::{Actor, Done, MANAGER, Primary, whole};
use crate::context::Context;
use crate::error::PassError;
use crate::fight::Fight;
use crate::system::Reader;

/// Applies the amendments of a plan, and gives up those of earlier plans.
pub(super) async fn all(
    context: &Context,
    primary: &Primary,
    actor: &Actor,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    let manager = manager(&actor.step, &primary.object);
    let mut given_up = context.caches.amended(&manager);
    for object in plan.amended() {
        given_up.remove(&object.id);
    }
    let amended = plan.amended().iter().map(|object| (&object.id, object.body.clone()));
    for (id, body) in amended.chain(given_up.iter().map(|id| (id, json!({})))) {
        let amendment =
            Amendment { by: &primary.id, manager: &manager, id, takes: plan.takes(&TypeRef::from(id)), body };
        amendment.apply(context, actor, done).await?;
    }
    Ok(())
}

/// The field manager under which one primary's step amends the objects of others. Its own for each primary, since applying
/// under one manager gives up what that manager set before.
fn manager(step: &str, primary: &DynamicObject) -> String {
    let uid = primary.uid().unwrap_or_default();
    format!("{MANAGER}/{step}/{}", uid.get(..8).unwrap_or(&uid))
}

struct Amendment<'a> {
    by: &'a ObjectRef,
    manager: &'a str,
    id: &'a ObjectRef,
    /// Fields that may be taken from other managers.
    takes: Vec<String>,
    /// Empty: what was set before is given up.
    body: Value,
}

impl Amendment<'_> {
    async fn apply(self, context: &Context, actor: &Actor, done: &mut Done) -> Result<(), PassError> {
        let kind = TypeRef::from(self.id);
        let namespace = self.id.namespace.as_deref().unwrap_or_default();
        let Some(live) = context.caches.get(&kind, namespace, &self.id.name) else { return Ok(()) };
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let live_value = whole(&live);
        let mut body = if is_secret(&kind) {
            filled(context, namespace, self.id, self.body.clone(), Some(&live_value))?
        } else {
            self.body.clone()
        };
        keep(&mut body, &live_value, self.manager, &self.takes);
        let Some(field) = difference(&body, &live_value, self.manager, "") else { return Ok(()) };
        if !self.takes.is_empty()
            && let Some(fight) = context.fights.paused(self.by, self.id, Instant::now())
        {
            done.leave("take", self.id, Some(&field), fought(self.id, fight));
            return Ok(());
        }
        // With the uid the API server refuses to make the object if it is gone by now.
        say(&mut body, "uid", live.uid());
        let write =
            Write { kind: &kind, id: self.id, manager: self.manager, force: false, strict: true, status: false };
        let (verb, written) = match patch(context, self.by, actor, write, body.clone()).await {
            Err(PassError::FieldConflict { fields, .. }) if self.may_take(&fields) => {
                ("take", self.take(context, actor, &kind, &live, &fields, body).await)
            }
            written => ("amend", written.map(drop)),
        };
        match written {
            Err(PassError::Api { source, .. }) if verb == "amend" && is_gone(&source) => Ok(()),
            Err(error) if is_invalid(&error) && self.body == json!({}) => {
                // The object cannot be without the field, so the field stays.
                warn!(object = %self.id, error = error.chain(), "an amendment cannot be given up");
                Ok(())
            }
            // What is amended is somebody else's by definition; what else the plan holds does not depend on it.
            Err(error) if is_no(&error) => {
                done.leave(verb, self.id, Some(&field), error);
                Ok(())
            }
            written => {
                done.record(verb, self.id, Some(&field), written.as_ref().err());
                written?;
                done.writes += 1;
                Ok(())
            }
        }
    }

    fn may_take(&self, fields: &[String]) -> bool {
        !fields.is_empty() && fields.iter().all(|field| self.takes.iter().any(|granted| covers(granted, field)))
    }

    /// Applies with force. The conflicts were those of this version of the object, so no other version will do.
    async fn take(
        &self,
        context: &Context,
        actor: &Actor,
        kind: &TypeRef,
        live: &DynamicObject,
        fields: &[String],
        mut body: Value,
    ) -> Result<(), PassError> {
        let field = fields.first().map(|field| field.trim_start_matches('.')).unwrap_or_default();
        // A field that was taken before and has to be taken again is one that somebody else takes back.
        if let Some(fight) = fight(context, self.by, self.id, kind, field).await {
            return Err(fought(self.id, fight));
        }
        info!(object = %self.id, fields = fields.join(", "), "taking fields from their manager");
        say(&mut body, "resourceVersion", live.resource_version());
        let write = Write { kind, id: self.id, manager: self.manager, force: true, strict: true, status: false };
        patch(context, self.by, actor, write, body).await?;
        context.fights.put_back(self.by, self.id, field, Instant::now());
        Ok(())
    }
}

fn say(body: &mut Value, name: &str, value: Option<String>) {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(name.to_owned(), Value::String(value));
        }
    }
}

fn fought(id: &ObjectRef, fight: Fight) -> PassError {
    let Fight { field, manager, pause } = fight;
    PassError::FieldFight { object: id.to_string(), field, manager, pause }
}

fn code(error: &PassError) -> Option<u16> {
    let PassError::Api { source, .. } = error else { return None };
    let kube::Error::Api(status) = source.as_ref() else { return None };
    Some(status.code)
}

fn is_invalid(error: &PassError) -> bool {
    code(error) == Some(422)
}

/// The API server understood, and said no: to ask the same again at once is of no use.
fn is_no(error: &PassError) -> bool {
    matches!(error, PassError::FieldConflict { .. } | PassError::FieldFight { .. } | PassError::Forbidden { .. })
        || matches!(code(error), Some(403 | 422))
}
