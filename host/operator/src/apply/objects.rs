//! Objects: made, put right, deleted; those of others are in `amend`. Whose they are decides whether a field may be taken from
//! another manager.

use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};
use stepwright_core::admit::{AdmittedObject, AdmittedPlan, prunable, stamped};
use stepwright_core::compare::{difference, other_manager};
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::secrets;
use tracing::{debug, info, warn};

use super::patch::{Write, api, patch, refused};
use super::{Actor, Done, MANAGER, Primary, amend, step_manager, whole};
use crate::cache::owner_of;
use crate::context::Context;
use crate::error::PassError;
use crate::fight::Fight;
use crate::system::Reader;

/// Applies, amends and prunes. Calls are apart: they come after, with the objects in place.
pub(crate) async fn objects(
    context: &Context,
    primary: &Primary,
    actor: &Actor,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    for object in plan.desired() {
        desire(context, primary, actor, object, done).await?;
    }
    for object in plan.begun() {
        // One that cannot be made is in nobody else's way.
        if let Err(error) = begin(context, primary, actor, object, done).await {
            if error.is_quiet() {
                return Err(error);
            }
            done.leave("begin", &object.id, None, error);
        }
    }
    amend::all(context, primary, actor, plan, done).await?;
    prune(context, primary, actor, plan, done).await
}

/// Whether a live object was made by this step for this primary, so that its fields are the step's to put right.
fn is_own(primary: &Primary, step: &str, object: &ObjectRef, live: &DynamicObject) -> Result<bool, PassError> {
    let wanted = primary.owner(step);
    let referred = || live.owner_references().iter().any(|it| it.uid == primary.uid());
    match owner_of(live) {
        Some(owner) if owner == wanted => Ok(true),
        // Another step of the same primary has it still; that one gives it up first.
        Some(owner)
            if (&owner.kind, &owner.namespace, &owner.name) == (&wanted.kind, &wanted.namespace, &wanted.name) =>
        {
            Ok(false)
        }
        // The annotation was changed; the reference says whose it is.
        _ if referred() => Ok(true),
        None => Ok(false),
        Some(owner) => {
            let owner = format!("{} {}/{} (step {})", owner.kind, owner.namespace, owner.name, owner.step);
            Err(PassError::OwnedByAnother { object: object.to_string(), owner })
        }
    }
}

async fn desire(
    context: &Context,
    primary: &Primary,
    actor: &Actor,
    object: &AdmittedObject,
    done: &mut Done,
) -> Result<(), PassError> {
    let kind = TypeRef::from(&object.id);
    let live = context.caches.get(&kind, primary.namespace(), &object.id.name);
    // What a Secret should hold depends on more than the plan.
    let version = live.as_deref().filter(|_| !is_secret(&kind)).and_then(ResourceExt::resource_version);
    let of_plan = context.memory.digest_of(&json!([object.body, actor.plugin, primary.uid()]));
    if version.as_ref().is_some_and(|it| context.memory.is_as_wanted(&primary.id, &object.id, &of_plan, it)) {
        return Ok(());
    }
    let live_value = live.as_deref().map(whole);
    let mut body = stamped(object, &primary.owner(&actor.step), &actor.plugin, primary.owner_reference());
    if is_secret(&kind) {
        body = filled(context, primary.namespace(), &object.id, body, live_value.as_ref())?;
    }
    let manager = step_manager(&actor.step);
    // Without the plugin's mark: a swap that changes nothing wants nothing new.
    let wanted = {
        let mut plain = object.body.clone();
        if let (Some(plain), Some(data)) = (plain.as_object_mut(), body.get("data").filter(|_| is_secret(&kind))) {
            plain.insert("data".to_owned(), data.clone());
            // Where the values come from is not what they are: a password that is generated at first is copied later.
            plain.remove("stringData");
        }
        context.memory.digest_of(&plain)
    };
    let known = context.memory.applied(&primary.id, &object.id);
    let changed = match &live_value {
        None => Some("missing".to_owned()),
        Some(live) => difference(&body, live, &manager, ""),
    };
    let Some(field) = changed else {
        context.memory.set_applied(&primary.id, &object.id, wanted);
        if let Some(version) = version {
            context.memory.set_as_wanted(&primary.id, &object.id, of_plan, version);
        }
        return Ok(());
    };
    let mut force = false;
    let drift = known == Some(wanted);
    if let Some(live) = &live {
        if live.metadata.deletion_timestamp.is_some() {
            // It is on its way out and cannot be changed any more; once it is gone it is made again.
            debug!(object = %object.id, "waiting for the old object to go");
            return Ok(());
        }
        force = is_own(primary, &actor.step, &object.id, live)?;
        if drift && force {
            if let Some(fight) = fight(context, &primary.id, &object.id, &kind, &field).await {
                let Fight { field, manager, pause } = fight;
                let error =
                    PassError::FieldFight { object: object.id.to_string(), field: field.clone(), manager, pause };
                done.leave("apply", &object.id, Some(&field), error);
                return Ok(());
            }
            context.fights.put_back(&primary.id, &object.id, &field, Instant::now());
        }
    }
    if drift {
        done.drift.push((object.id.clone(), field.clone()));
    }
    debug!(object = %object.id, %field, force, "applying");
    let write = Write { kind: &kind, id: &object.id, manager: &manager, force, strict: true, status: false };
    let written = patch(context, &primary.id, actor, write, body).await;
    done.record("apply", &object.id, Some(&field), written.as_ref().err());
    written?;
    context.memory.set_applied(&primary.id, &object.id, wanted);
    done.writes += 1;
    Ok(())
}

/// Makes an object that is not there. It belongs to nobody from then on but to whoever changes it.
async fn begin(
    context: &Context,
    primary: &Primary,
    actor: &Actor,
    object: &AdmittedObject,
    done: &mut Done,
) -> Result<(), PassError> {
    let (kind, id) = (TypeRef::from(&object.id), &object.id);
    let namespace = id.namespace.as_deref().unwrap_or_default();
    if context.caches.get(&kind, namespace, &id.name).is_some() {
        return Ok(());
    }
    context.check_may_act(primary.namespace())?;
    if !context.caches.watches(namespace) {
        return Err(PassError::BeginsUnwatched { object: id.to_string(), namespace: namespace.to_owned() });
    }
    let mut body = object.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::String(id.api_version.clone()));
        fields.insert("kind".to_owned(), Value::String(id.kind.clone()));
        let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), Value::String(id.name.clone()));
            metadata.insert("namespace".to_owned(), Value::String(namespace.to_owned()));
        }
    }
    let malformed =
        |error: serde_json::Error| PassError::UnknownFields { object: id.to_string(), message: error.to_string() };
    let body: DynamicObject = serde_json::from_value(body).map_err(malformed)?;
    let api = api(context, &actor.client, &kind, namespace)?;
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let written = api.create(&parameters, &body).await;
    context.metrics.write(&kind.kind, written.is_ok());
    match written {
        Ok(written) => {
            info!(object = %id, step = actor.step, "made once");
            context.caches.wrote(&kind, written, &primary.id);
            done.record("begin", id, None, None);
            done.writes += 1;
            Ok(())
        }
        // It is there by now.
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(refused(context, actor, "create", &kind, id, error)),
    }
}

/// Whether to leave an object alone because somebody else changes `field` each time that it is put back.
pub(super) async fn fight(
    context: &Context,
    primary: &ObjectRef,
    object: &ObjectRef,
    kind: &TypeRef,
    field: &str,
) -> Option<Fight> {
    let now = Instant::now();
    if let Some(fight) = context.fights.paused(primary, object, now) {
        return Some(fight);
    }
    if context.fights.is_suspect(primary, object, field, now)
        && let Some(manager) = other(context, object, kind, field).await
    {
        let fight = context.fights.pause(primary, object, field, manager, now);
        warn!(%object, field = fight.field, manager = fight.manager, pause = ?fight.pause, "a field is fought over");
        return Some(fight);
    }
    None
}

/// Who else writes a field. The caches keep our own records of ownership only, so the API server is asked: in a fight, once.
async fn other(context: &Context, object: &ObjectRef, kind: &TypeRef, field: &str) -> Option<String> {
    let api = api(context, &context.client, kind, object.namespace.as_deref().unwrap_or_default()).ok()?;
    match api.get_opt(&object.name).await {
        Ok(live) => other_manager(&whole(&live?), field, MANAGER),
        Err(error) => {
            warn!(%object, error = &error as &dyn std::error::Error, "who writes a field could not be read");
            None
        }
    }
}

pub(super) fn is_secret(kind: &TypeRef) -> bool {
    kind.kind == "Secret" && kind.api_version == "v1"
}

/// A Secret as it is sent: plain values encoded, generated ones made or kept, referenced ones looked up.
pub(super) fn filled(
    context: &Context,
    namespace: &str,
    id: &ObjectRef,
    body: Value,
    live: Option<&Value>,
) -> Result<Value, PassError> {
    secrets::secret_data(
        body,
        live.and_then(|live| live.get("data")),
        &mut |reference: &secrets::SecretKeyRef| context.secret_value(namespace, &reference.name, &reference.key),
        &mut |generate| context.random_secret(generate),
    )
    .map_err(|error| PassError::Secret { object: id.to_string(), message: error.to_string() })
}

pub(super) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

async fn prune(
    context: &Context,
    primary: &Primary,
    actor: &Actor,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    let owned = context.caches.owned(&primary.id.kind, primary.namespace(), &primary.id.name);
    for id in prunable(&owned, &actor.step, plan.desired()) {
        let kind = TypeRef::from(&id);
        let namespace = id.namespace.clone().unwrap_or_default();
        let Some(live) = context.caches.get(&kind, &namespace, &id.name) else { continue };
        if live.metadata.deletion_timestamp.is_none() && is_prunable(primary, &live) {
            delete(context, actor, &kind, &id, &live, done).await?;
            context.memory.forget_applied(&primary.id, &id);
        }
    }
    Ok(())
}

/// An object whose annotation was copied from another is not ours to delete: the owner reference must agree.
fn is_prunable(primary: &Primary, live: &Arc<DynamicObject>) -> bool {
    let references = live.owner_references();
    references.is_empty() || references.iter().any(|it| it.uid == primary.uid())
}

async fn delete(
    context: &Context,
    actor: &Actor,
    kind: &TypeRef,
    id: &ObjectRef,
    live: &DynamicObject,
    done: &mut Done,
) -> Result<(), PassError> {
    context.check_may_act(id.namespace.as_deref().unwrap_or_default())?;
    let api = api(context, &actor.client, kind, id.namespace.as_deref().unwrap_or_default())?;
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: live.uid(), resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    info!(object = %id, step = actor.step, "deleting what is no longer wanted");
    match api.delete(&id.name, &parameters).await {
        Ok(_) => {
            done.record("delete", id, None, None);
            done.writes += 1;
            Ok(())
        }
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => {
            let error = refused(context, actor, "delete", kind, id, error);
            done.record("delete", id, None, Some(&error));
            Err(error)
        }
    }
}
