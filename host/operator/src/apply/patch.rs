//! One server-side apply, and what its refusal means.

use std::sync::Arc;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use stepwright_core::object::{ObjectRef, TypeRef};

use super::Actor;
use crate::cache::Served;
use crate::context::Context;
use crate::error::PassError;

/// What is applied, and how.
pub(super) struct Write<'a> {
    pub kind: &'a TypeRef,
    pub id: &'a ObjectRef,
    pub manager: &'a str,
    /// Fields are taken from other managers.
    pub force: bool,
    /// Fields that the kind does not have are an error.
    pub strict: bool,
    /// The subresource, instead of the object.
    pub status: bool,
}

pub(super) fn api(
    context: &Context,
    client: &Client,
    kind: &TypeRef,
    namespace: &str,
) -> Result<Api<DynamicObject>, PassError> {
    let Served { resource, .. } = context
        .caches
        .served(kind)
        .ok_or_else(|| PassError::NotSynced { missing: format!("{kind} is not served by the API server") })?;
    Ok(Api::namespaced_with(client.clone(), namespace, &resource))
}

/// Applies, and takes what the API server answers into the caches. `by` is the primary of the pass.
pub(super) async fn patch(
    context: &Context,
    by: &ObjectRef,
    actor: &Actor,
    write: Write<'_>,
    mut body: Value,
) -> Result<Arc<DynamicObject>, PassError> {
    context.check_may_act(by.namespace.as_deref().unwrap_or_default())?;
    let Write { kind, id, manager, force, strict, status } = write;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::String(kind.api_version.clone()));
        fields.insert("kind".to_owned(), Value::String(kind.kind.clone()));
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), Value::String(id.name.clone()));
        }
    }
    let namespace = by.namespace.as_deref().unwrap_or_default();
    let api = api(context, &actor.client, kind, namespace)?;
    let mut parameters = PatchParams::apply(manager);
    parameters.force = force;
    if strict {
        parameters = parameters.validation_strict();
    }
    let answer = if status {
        api.patch_status(&id.name, &parameters, &Patch::Apply(&body)).await
    } else {
        api.patch(&id.name, &parameters, &Patch::Apply(&body)).await
    };
    context.metrics.write(&kind.kind, answer.is_ok());
    match answer {
        Ok(written) => Ok(context.caches.wrote(kind, written, by)),
        Err(error) => {
            Err(refused(context, actor, if status { "apply the status of" } else { "apply" }, kind, id, error))
        }
    }
}

/// What the API server's refusal means.
pub(super) fn refused(
    context: &Context,
    actor: &Actor,
    verb: &'static str,
    kind: &TypeRef,
    id: &ObjectRef,
    error: kube::Error,
) -> PassError {
    let object = id.to_string();
    let wanted =
        || if actor.plugin.is_empty() { object.clone() } else { format!("{object} of plugin {}", actor.plugin) };
    if let kube::Error::Api(status) = &error {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let (fields, conflicts): (Vec<String>, Vec<String>) = causes
            .filter(|cause| cause.reason == "FieldManagerConflict")
            .map(|cause| {
                // `conflict with "kubectl-edit" using v1`
                let manager = cause.message.split('"').nth(1).unwrap_or(&cause.message);
                (cause.field.clone(), format!("{} belongs to field manager \"{manager}\"", cause.field))
            })
            .unzip();
        if status.code == 409 && !conflicts.is_empty() {
            return PassError::FieldConflict { object: wanted(), conflicts: conflicts.join(", "), fields };
        }
        if is_unknown_field(status) {
            return PassError::UnknownFields { object: wanted(), message: status.message.clone() };
        }
        if status.code == 403
            && let Some(user) = &actor.user
        {
            let verb = if verb == "delete" { "delete" } else { "patch" };
            let resource =
                context.caches.served(kind).map_or_else(|| kind.kind.to_lowercase(), |it| it.resource.plural);
            let group = if kind.group().is_empty() { String::new() } else { format!(".{}", kind.group()) };
            let namespace = id.namespace.as_deref().unwrap_or_default();
            let can_i = format!("kubectl auth can-i {verb} {resource}{group} --namespace={namespace} --as={user}");
            return PassError::Forbidden { user: user.clone(), verb, object, can_i, source: Box::new(error) };
        }
    }
    PassError::Api { verb, object, source: Box::new(error) }
}

/// The API server says this in a sentence only: of server-side apply by the schema's own check (500 or 422), of strict
/// decoding (400).
fn is_unknown_field(status: &kube::core::Status) -> bool {
    ["field not declared in schema", "unknown field"].iter().any(|words| status.message.contains(words))
}
