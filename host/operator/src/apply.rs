//! Carries an admitted plan out: server-side apply, amendments, pruning, calls, in that order; the first failure ends it.
//!
//! Nothing is written that the observed object already says. What is written is put into the caches at once, so that the
//! rest of the pass sees it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};
use stepwright_core::admit::{AdmittedObject, AdmittedPlan, Owner, prunable, stamped};
use stepwright_core::compare::difference;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::observation::Reply;
use stepwright_core::secrets;
use tracing::{debug, info};

use crate::cache::Served;
use crate::controller::Context;
use crate::error::PassError;
use crate::system::{Reader, ResolvedCall, SystemId};

/// The host's own field manager; those of steps append `/<step>`, those of amendments `/<step>/<primary>`.
pub const MANAGER: &str = "stepwright";

/// The field manager of a step.
pub(crate) fn step_manager(step: &str) -> String {
    format!("{MANAGER}/{step}")
}

/// The field manager under which one primary's step amends the objects of others. Its own for each primary, since applying
/// under one manager gives up what that manager set before.
fn amend_manager(step: &str, primary: &DynamicObject) -> String {
    let uid = primary.uid().unwrap_or_default();
    format!("{MANAGER}/{step}/{}", uid.get(..8).unwrap_or(&uid))
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
}

/// Applies, amends and prunes. Calls are apart (`calls`): they come after, with the objects in place.
pub(crate) async fn objects(
    context: &Context,
    primary: &Primary,
    step: &str,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    for object in plan.desired() {
        desire(context, primary, step, object, done).await?;
    }
    let manager = amend_manager(step, &primary.object);
    let mut given_up = context.caches.amended(&manager);
    for object in plan.amended() {
        given_up.remove(&object.id);
        amend(context, &primary.id, &object.id, &object.body, &manager, done).await?;
    }
    for id in given_up {
        amend(context, &primary.id, &id, &json!({}), &manager, done).await?;
    }
    prune(context, primary, step, plan, done).await
}

async fn desire(
    context: &Context,
    primary: &Primary,
    step: &str,
    object: &AdmittedObject,
    done: &mut Done,
) -> Result<(), PassError> {
    let kind = TypeRef::from(&object.id);
    let live = context.caches.get(&kind, primary.namespace(), &object.id.name);
    let live_value = live.as_deref().map(whole);
    let mut body = stamped(object, &primary.owner(step), primary.owner_reference());
    if kind.kind == "Secret" {
        body = filled(context, primary.namespace(), &object.id, body, live_value.as_ref())?;
    }
    let manager = step_manager(step);
    let wanted = context.memory.digest_of(&body);
    let known = context.memory.applied(&primary.id, &object.id);
    let changed = match &live_value {
        None => Some("missing".to_owned()),
        Some(live) => difference(&body, live, &manager, ""),
    };
    let Some(field) = changed else {
        context.memory.set_applied(&primary.id, &object.id, wanted);
        return Ok(());
    };
    if live.as_ref().is_some_and(|live| live.metadata.deletion_timestamp.is_some()) {
        // It is on its way out and cannot be changed any more; once it is gone it is made again.
        debug!(object = %object.id, "waiting for the old object to go");
        return Ok(());
    }
    if known == Some(wanted) {
        done.drift.push((object.id.clone(), field.clone()));
    }
    debug!(object = %object.id, %field, "applying");
    patch(context, &primary.id, &kind, &object.id, body, &manager, None).await?;
    context.memory.set_applied(&primary.id, &object.id, wanted);
    done.writes += 1;
    Ok(())
}

/// A Secret as it is sent: plain values encoded, generated ones made or kept, referenced ones looked up.
fn filled(
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

async fn amend(
    context: &Context,
    by: &ObjectRef,
    id: &ObjectRef,
    body: &Value,
    manager: &str,
    done: &mut Done,
) -> Result<(), PassError> {
    let kind = TypeRef::from(id);
    let namespace = id.namespace.as_deref().unwrap_or_default();
    let Some(live) = context.caches.get(&kind, namespace, &id.name) else { return Ok(()) };
    if live.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let live_value = whole(&live);
    let mut body = if kind.kind == "Secret" {
        filled(context, namespace, id, body.clone(), Some(&live_value))?
    } else {
        body.clone()
    };
    if difference(&body, &live_value, manager, "").is_none() {
        return Ok(());
    }
    if let (Some(fields), Some(uid)) = (body.as_object_mut(), live.uid()) {
        // With the uid the API server refuses to make the object if it is gone by now.
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), Value::String(uid));
        }
    }
    match patch(context, by, &kind, id, body, manager, None).await {
        Err(PassError::Api { source, .. }) if is_gone(&source) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            done.writes += 1;
            Ok(())
        }
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

async fn prune(
    context: &Context,
    primary: &Primary,
    step: &str,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    let owned = context.caches.owned(&primary.id.kind, primary.namespace(), &primary.id.name);
    for id in prunable(&owned, step, plan.desired()) {
        let kind = TypeRef::from(&id);
        let namespace = id.namespace.clone().unwrap_or_default();
        let Some(live) = context.caches.get(&kind, &namespace, &id.name) else { continue };
        if live.metadata.deletion_timestamp.is_some() {
            continue;
        }
        // An object whose annotation was copied from another is not ours to delete: the owner reference must agree.
        let references = live.metadata.owner_references.clone().unwrap_or_default();
        if !references.is_empty() && !references.iter().any(|it| Some(&it.uid) == primary.object.metadata.uid.as_ref())
        {
            continue;
        }
        context.check_leader()?;
        let api = api(context, &kind, &namespace)?;
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: live.uid(), resource_version: None }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        info!(object = %id, step, "deleting what is no longer wanted");
        match api.delete(&id.name, &parameters).await {
            Ok(_) => done.writes += 1,
            Err(error) if is_gone(&error) => {}
            Err(source) => {
                return Err(PassError::Api { verb: "delete", object: id.to_string(), source: Box::new(source) });
            }
        }
        context.memory.forget_applied(&primary.id, &id);
    }
    Ok(())
}

/// Sends the calls of a plan, in order. A call that fails is a reply like any other: the step decides what it means.
pub(crate) async fn calls(
    context: &Context,
    primary: &Primary,
    system: Option<&SystemId>,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    for call in plan.calls() {
        context.check_leader()?;
        let Some(system) = system else {
            let body = json!("the managed system of this object is not known").to_string();
            done.replies.push(Reply { id: call.id.clone(), status: 0, body });
            continue;
        };
        let body = match &call.body {
            None => None,
            Some(text) => {
                let value: Value = serde_json::from_str(text).unwrap_or_default();
                let filled = secrets::resolve(value, &mut |directive| match directive {
                    secrets::Directive::SecretKeyRef(reference) => {
                        context.secret_value(primary.namespace(), &reference.name, &reference.key)
                    }
                    secrets::Directive::Generate(_) => Err(secrets::SecretError::GenerateOutsideSecret),
                });
                let filled = filled.map_err(|error| PassError::Secret {
                    object: format!("call {} {}", call.method, call.path),
                    message: error.to_string(),
                })?;
                Some(filled.to_string())
            }
        };
        let reply = context
            .system
            .call(
                system,
                ResolvedCall {
                    id: call.id.clone(),
                    target: call.target.clone(),
                    method: call.method.clone(),
                    path: call.path.clone(),
                    body,
                },
            )
            .await;
        info!(call = %format!("{} {}", call.method, call.path), target = call.target.as_deref().unwrap_or("-"),
            status = reply.status, "called the managed system");
        context.metrics.call(&call.method, reply.status);
        done.replies.push(reply);
    }
    Ok(())
}

/// Fields of the primary's spec that a step fills in. Returns the primary as it is then.
pub(crate) async fn defaults(
    context: &Context,
    primary: Primary,
    step: &str,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<Primary, PassError> {
    let Some(defaults) = plan.defaults() else { return Ok(primary) };
    let body = json!({"spec": defaults});
    if difference(&body, &primary.value, &step_manager(step), "").is_none() {
        return Ok(primary);
    }
    let written = patch(context, &primary.id, &primary.kind, &primary.id, body, &step_manager(step), None).await?;
    done.writes += 1;
    Ok(Primary::new(primary.kind, written))
}

/// Applies fields of the primary's status under a manager. Returns the primary as it is then.
pub(crate) async fn status(
    context: &Context,
    primary: Primary,
    manager: &str,
    status: &Value,
    writes: &mut u32,
) -> Result<Primary, PassError> {
    let body = json!({"status": status});
    if difference(&body, &primary.value, manager, "status").is_none() {
        return Ok(primary);
    }
    let written = patch(context, &primary.id, &primary.kind, &primary.id, body, manager, Some("status")).await?;
    *writes += 1;
    Ok(Primary::new(primary.kind, written))
}

/// Puts the finalizer on, or takes it off.
pub(crate) async fn finalizer(
    context: &Context,
    primary: Primary,
    finalizer: &str,
    on: bool,
) -> Result<Primary, PassError> {
    let now: BTreeSet<&str> = primary.object.finalizers().iter().map(String::as_str).collect();
    if now.contains(finalizer) == on {
        return Ok(primary);
    }
    let wanted: Vec<&str> = if on {
        now.iter().copied().chain([finalizer]).collect()
    } else {
        now.iter().copied().filter(|it| *it != finalizer).collect()
    };
    context.check_leader()?;
    // The resource version makes this a compare-and-swap: somebody else's finalizer is never lost.
    let body = json!({"metadata": {"finalizers": wanted, "resourceVersion": primary.object.resource_version()}});
    let api = api(context, &primary.kind, primary.namespace())?;
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let written = api.patch(&primary.id.name, &parameters, &Patch::Merge(&body)).await;
    let written = match written {
        Ok(written) => written,
        Err(kube::Error::Api(status)) if !on && status.code == 404 => return Ok(primary),
        Err(source) => {
            return Err(PassError::Api {
                verb: "change the finalizers of",
                object: primary.id.to_string(),
                source: Box::new(source),
            });
        }
    };
    let written = context.caches.wrote(&primary.kind, written, &primary.id);
    Ok(Primary::new(primary.kind, written))
}

fn api(context: &Context, kind: &TypeRef, namespace: &str) -> Result<Api<DynamicObject>, PassError> {
    let Served { resource, .. } = context
        .caches
        .served(kind)
        .ok_or_else(|| PassError::NotSynced { missing: format!("{kind} is not served by the API server") })?;
    Ok(Api::namespaced_with(context.client.clone(), namespace, &resource))
}

async fn patch(
    context: &Context,
    by: &ObjectRef,
    kind: &TypeRef,
    id: &ObjectRef,
    mut body: Value,
    manager: &str,
    subresource: Option<&'static str>,
) -> Result<Arc<DynamicObject>, PassError> {
    context.check_leader()?;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::String(kind.api_version.clone()));
        fields.insert("kind".to_owned(), Value::String(kind.kind.clone()));
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), Value::String(id.name.clone()));
        }
    }
    let namespace = by.namespace.as_deref().unwrap_or_default();
    let api = api(context, kind, namespace)?;
    let parameters = PatchParams::apply(manager).force();
    let answer = match subresource {
        None => api.patch(&id.name, &parameters, &Patch::Apply(&body)).await,
        Some(_) => api.patch_status(&id.name, &parameters, &Patch::Apply(&body)).await,
    };
    context.metrics.write(&kind.kind, answer.is_ok());
    match answer {
        Ok(written) => Ok(context.caches.wrote(kind, written, by)),
        Err(source) => Err(PassError::Api { verb: "apply", object: id.to_string(), source: Box::new(source) }),
    }
}
