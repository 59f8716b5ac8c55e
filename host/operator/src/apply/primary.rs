//! The primary itself: defaults in its spec, requests in it that are done, its status, its finalizers.

use std::collections::BTreeSet;

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use stepwright_core::admit::{AdmittedPlan, OPERATOR_ANNOTATION};
use stepwright_core::compare::difference;
use stepwright_core::follow;
use stepwright_core::reset::to_merge;
use tracing::info;

use super::patch::{Write, api, patch, refused};
use super::{Actor, Done, MANAGER, Primary, step_manager};
use crate::context::Context;
use crate::error::PassError;

/// Fields of the primary's spec that a step fills in. Returns the primary as it is then.
pub(crate) async fn defaults(
    context: &Context,
    primary: Primary,
    actor: &Actor,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<Primary, PassError> {
    let Some(defaults) = plan.defaults() else { return Ok(primary) };
    let (mut body, manager) = (json!({"spec": defaults}), step_manager(&actor.step));
    let Some(field) = difference(&body, &primary.value, &manager, "") else { return Ok(primary) };
    // Taken from the user only where the user left it empty, and only if that is so still (resource version).
    let force = leaves_empty(primary.value.get("spec"), defaults);
    if force {
        as_it_is(&mut body, &primary);
    }
    let write =
        Write { kind: &primary.kind, id: &primary.id, manager: &manager, force: false, strict: false, status: false };
    let written = patch(context, &primary.id, actor, write, body).await;
    done.record("defaults", &primary.id, Some(&field), written.as_ref().err());
    let written = written?;
    done.writes += 1;
    Ok(Primary::new(primary.kind, written))
}

/// Requests in the primary's spec that are done: set back to where they rest, each of them and nothing else. Returns the
/// primary as it is then.
pub(crate) async fn resets(
    context: &Context,
    primary: Primary,
    actor: &Actor,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<Primary, PassError> {
    let Some(change) = to_merge(&primary.value, plan.resets()) else { return Ok(primary) };
    let of_spec = OfSpec { verb: "reset", words: "set back what was asked for in", manager: step_manager(&actor.step) };
    merge(context, primary, actor, of_spec, change, done).await
}

/// Fields of the primary's spec that follow something elsewhere. Returns the primary as it is then.
pub(crate) async fn followed(
    context: &Context,
    primary: Primary,
    actor: &Actor,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<Primary, PassError> {
    let Some(change) = follow::to_merge(&primary.value, plan.followed()) else { return Ok(primary) };
    // In the host's name, and so as good as a person's word: whoever said it elsewhere meant this primary.
    let of_spec =
        OfSpec { verb: "follow", words: "take over what was said elsewhere into", manager: MANAGER.to_owned() };
    merge(context, primary, actor, of_spec, change, done).await
}

/// How a change of a primary's spec is told, and in whose name it is made.
struct OfSpec {
    verb: &'static str,
    words: &'static str,
    manager: String,
}

async fn merge(
    context: &Context,
    primary: Primary,
    actor: &Actor,
    of_spec: OfSpec,
    (mut body, field): (Value, String),
    done: &mut Done,
) -> Result<Primary, PassError> {
    let OfSpec { verb, words, manager } = of_spec;
    // Somebody who changes the same at the same time, such as by making a request again, must not lose it.
    as_it_is(&mut body, &primary);
    context.check_may_act(primary.namespace())?;
    let api = api(context, &actor.client, &primary.kind, primary.namespace())?;
    // A merge patch, since an apply would own the field from then on and be in the way of whoever changes it next.
    let parameters = PatchParams { field_manager: Some(manager), ..PatchParams::default() };
    let written = api.patch(&primary.id.name, &parameters, &Patch::Merge(&body)).await;
    context.metrics.write(&primary.kind.kind, written.is_ok());
    let written = written.map_err(|error| refused(context, actor, words, &primary.kind, &primary.id, error));
    done.record(verb, &primary.id, Some(&field), written.as_ref().err());
    let written = context.caches.wrote(&primary.kind, written?, &primary.id);
    done.writes += 1;
    Ok(Primary::new(primary.kind, written))
}

/// Deletes the primary, whose step found that it stands for nothing any more. Its finalizer is taken off as with any deletion.
pub(crate) async fn retire(context: &Context, primary: &Primary, actor: &Actor, why: &str) -> Result<(), PassError> {
    context.check_may_act(primary.namespace())?;
    let api = api(context, &actor.client, &primary.kind, primary.namespace())?;
    let parameters = DeleteParams {
        // Somebody who has just changed it wants it.
        preconditions: Some(Preconditions {
            uid: primary.object.uid(),
            resource_version: primary.object.resource_version(),
        }),
        ..DeleteParams::default()
    };
    info!(object = %primary.id, step = actor.step, why, "deleting a resource that stands for nothing any more");
    match api.delete(&primary.id.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(refused(context, actor, "delete", &primary.kind, &primary.id, error)),
    }
}

/// Has the API server refuse a change of a primary that is not what it was when it was seen.
fn as_it_is(body: &mut Value, primary: &Primary) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert("metadata".to_owned(), json!({"resourceVersion": primary.object.resource_version()}));
    }
}

/// Whether `spec` says nothing where `defaults` says something.
fn leaves_empty(spec: Option<&Value>, defaults: &Value) -> bool {
    match (spec, defaults) {
        (None | Some(Value::Null), _) => true,
        (Some(Value::Object(spec)), Value::Object(defaults)) => {
            defaults.iter().all(|(key, value)| leaves_empty(spec.get(key), value))
        }
        (Some(Value::String(text)), _) => text.is_empty(),
        _ => false,
    }
}

/// Applies fields of the primary's status under a manager, as the operator. Returns the primary as it is then, and the first
/// field that was changed.
pub(crate) async fn status(
    context: &Context,
    primary: Primary,
    manager: &str,
    status: &Value,
    done: &mut Done,
) -> Result<Primary, PassError> {
    let body = json!({"status": status});
    let Some(field) = difference(&body, &primary.value, manager, "status") else { return Ok(primary) };
    let actor = Actor::host(context);
    let write = Write { kind: &primary.kind, id: &primary.id, manager, force: true, strict: false, status: true };
    let written = patch(context, &primary.id, &actor, write, body).await;
    done.record("status", &primary.id, Some(&field), written.as_ref().err());
    let written = written?;
    done.writes += 1;
    Ok(Primary::new(primary.kind, written))
}

/// Puts the finalizer on, or takes it off; and says in the same write whose the primary is, where that is to be said.
pub(crate) async fn finalizer(
    context: &Context,
    primary: Primary,
    finalizer: &str,
    on: bool,
    claim: Option<&str>,
) -> Result<Primary, PassError> {
    let now: BTreeSet<&str> = primary.object.finalizers().iter().map(String::as_str).collect();
    if now.contains(finalizer) == on && claim.is_none() {
        return Ok(primary);
    }
    let wanted: Vec<&str> = if on {
        now.iter().copied().filter(|it| *it != finalizer).chain([finalizer]).collect()
    } else {
        now.iter().copied().filter(|it| *it != finalizer).collect()
    };
    context.check_may_act(primary.namespace())?;
    // The resource version makes this a compare-and-swap: somebody else's finalizer is never lost, nor is a claim.
    let mut body = json!({"metadata": {"finalizers": wanted, "resourceVersion": primary.object.resource_version()}});
    if let (Some(claim), Some(metadata)) = (claim, body.get_mut("metadata").and_then(Value::as_object_mut)) {
        metadata.insert("annotations".to_owned(), json!({OPERATOR_ANNOTATION: claim}));
    }
    let api = api(context, &context.client, &primary.kind, primary.namespace())?;
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
