//! A policy's amendment: the plan as a document, a JSON Patch (RFC 6902) over it, and the plan again. Whether a policy is
//! asked, and whether the result may be carried out (`admit`), is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::admit::call_matches;
use crate::journal::FieldChange;
use crate::manifest::PolicyManifest;
use crate::object::{Object, ObjectRef, TypeRef};
use crate::plan::{Call, Plan};
use crate::plan_diff::differences;
use crate::strict;

/// The largest amendment, in bytes of JSON text.
pub const MAX_PATCH: usize = 256 << 10;
/// The most operations in one.
pub const MAX_OPERATIONS: usize = 1_000;
/// What copies may let a plan grow to, in values and bytes of text.
const MAX_DOCUMENT: usize = 16 << 20;

/// Why an amendment was not made. The fault is the policy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmendError {
    #[error("its amendment is no JSON Patch (RFC 6902): {0}")]
    NotJson(String),
    #[error("its amendment does not apply to the plan: {0}")]
    DoesNotApply(String),
    #[error("its amendment changes {changed}; its manifest grants {granted}")]
    NotGranted {
        /// What it may not change.
        changed: String,
        granted: String,
    },
    #[error("its amendment has {found} {what}; at most {limit} are taken")]
    TooLarge { what: &'static str, found: usize, limit: usize },
}

impl AmendError {
    /// Event reason and metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "AmendNotJson",
            Self::DoesNotApply(_) => "AmendDoesNotApply",
            Self::NotGranted { .. } => "AmendNotGranted",
            Self::TooLarge { .. } => "AmendTooLarge",
        }
    }
}

/// An amended plan, and what is different in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amended {
    pub plan: Plan,
    pub changes: Vec<FieldChange>,
}

/// The parts of a plan that can be amended, as one document:
/// `{"desired": [{"apiVersion", "kind", "metadata": {"name", …}, …}], "amended": […], "calls": [{"id", …, "body"}], "status"}`.
///
/// Objects stand in the order of kind and name, calls in that of their ids, so that a pointer into it means the same for
/// whoever made the document from the same plan.
pub fn document(plan: &Plan) -> Result<Value, AmendError> {
    let status = plan.status.as_deref().map(|text| json_of("status", text)).transpose()?;
    Ok(json!({
        "desired": objects(&plan.desired)?,
        "amended": objects(&plan.amended)?,
        "calls": calls(&plan.calls)?,
        "status": status,
    }))
}

/// Applies a patch, as JSON text, and checks it against what the policy's manifest grants.
pub fn amend(plan: &Plan, patch: &str, policy: &PolicyManifest) -> Result<Amended, AmendError> {
    let within = |what, found: usize, limit: usize| {
        if found > limit { Err(AmendError::TooLarge { what, found, limit }) } else { Ok(()) }
    };
    within("bytes", patch.len(), MAX_PATCH)?;
    let patch = strict::parse(patch).map_err(|error| AmendError::NotJson(error.to_string()))?;
    let patch: Vec<PatchOperation> =
        serde_json::from_value(patch).map_err(|error| AmendError::NotJson(error.to_string()))?;
    within("operations", patch.len(), MAX_OPERATIONS)?;

    let original = document(plan)?;
    let mut changed = original.clone();
    for operation in &patch {
        json_patch::patch(&mut changed, std::slice::from_ref(operation))
            .map_err(|error| AmendError::DoesNotApply(error.to_string()))?;
        // A few copies of a copy would fill the host's memory; nothing else grows beyond the patch.
        if matches!(operation, PatchOperation::Copy(_)) {
            let mut room = MAX_DOCUMENT;
            weigh(&changed, 0, &mut room)?;
        }
    }
    // Compared in one form, so that what the document leaves out (an object's name in its body) is no change.
    let before = read(plan, original)?;
    let after = read(plan, changed)?;
    check(&before, &after, policy)?;
    let changes = differences(&before, &after);
    Ok(Amended { plan: after, changes })
}

fn json_of(what: &str, text: &str) -> Result<Value, AmendError> {
    strict::parse(text).map_err(|error| AmendError::DoesNotApply(format!("{what} of the plan: {error}")))
}

fn objects(objects: &[Object]) -> Result<Vec<Value>, AmendError> {
    let mut sorted: Vec<&Object> = objects.iter().collect();
    sorted.sort_by(|a, b| (&a.id.kind, &a.id.name).cmp(&(&b.id.kind, &b.id.name)));
    sorted.into_iter().map(whole).collect()
}

fn whole(object: &Object) -> Result<Value, AmendError> {
    let Value::Object(mut fields) = json_of(&object.id.to_string(), &object.body)? else {
        return Err(AmendError::DoesNotApply(format!("{} of the plan is not a JSON object", object.id)));
    };
    fields.insert("apiVersion".to_owned(), json!(object.id.api_version));
    fields.insert("kind".to_owned(), json!(object.id.kind));
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(AmendError::DoesNotApply(format!("`metadata` of {} is not a JSON object", object.id)));
    };
    metadata.insert("name".to_owned(), json!(object.id.name));
    if let Some(namespace) = &object.id.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    Ok(Value::Object(fields))
}

fn calls(calls: &[Call]) -> Result<Vec<Value>, AmendError> {
    let mut sorted: Vec<&Call> = calls.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    sorted
        .into_iter()
        .map(|call| {
            let body = call.body.as_deref().map(|text| json_of(&format!("call {}", call.id), text)).transpose()?;
            Ok(json!({
                "id": call.id, "target": call.target, "method": call.method, "path": call.path, "body": body,
            }))
        })
        .collect()
}

/// Values and bytes of text, counted down from `room`; also the guard against a depth that would end the host's stack.
fn weigh(value: &Value, depth: usize, room: &mut usize) -> Result<(), AmendError> {
    if depth > 2 * strict::MAX_DEPTH {
        return Err(AmendError::DoesNotApply(format!("it nests deeper than {} levels", 2 * strict::MAX_DEPTH)));
    }
    let text = match value {
        Value::String(text) => text.len(),
        Value::Object(fields) => fields.keys().map(String::len).sum(),
        _ => 0,
    };
    *room = room
        .checked_sub(1 + text)
        .ok_or_else(|| AmendError::DoesNotApply(format!("it lets the plan grow beyond {} MiB", MAX_DOCUMENT >> 20)))?;
    match value {
        Value::Object(fields) => fields.values().try_for_each(|value| weigh(value, depth + 1, room)),
        Value::Array(items) => items.iter().try_for_each(|item| weigh(item, depth + 1, room)),
        _ => Ok(()),
    }
}

/// The document as a plan; what cannot be amended comes from `base`.
fn read(base: &Plan, document: Value) -> Result<Plan, AmendError> {
    let shape = |message: String| AmendError::DoesNotApply(message);
    let Value::Object(mut parts) = document else { return Err(shape("the result is not an object".to_owned())) };
    let mut list = |part: &str| match parts.remove(part) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(shape(format!("`/{part}` must stay a list"))),
    };
    let desired = list("desired")?.into_iter().map(object).collect::<Result<_, _>>()?;
    let amended = list("amended")?.into_iter().map(object).collect::<Result<_, _>>()?;
    let calls = in_order(&base.calls, list("calls")?.into_iter().map(call).collect::<Result<_, _>>()?);
    let status = match parts.remove("status") {
        None | Some(Value::Null) => None,
        Some(status) => Some(status.to_string()),
    };
    if let Some(part) = parts.keys().next() {
        return Err(shape(format!("`/{part}`: only desired, amended, calls and status can be amended")));
    }
    Ok(Plan { desired, amended, calls, status, ..base.clone() })
}

fn object(value: Value) -> Result<Object, AmendError> {
    let shape = |what: &str| AmendError::DoesNotApply(format!("an object of the result has no {what}"));
    let Value::Object(mut fields) = value else { return Err(shape("fields")) };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(shape(name)),
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let Some(Value::Object(mut metadata)) = fields.remove("metadata") else { return Err(shape("metadata")) };
    let Some(Value::String(name)) = metadata.remove("name") else { return Err(shape("metadata.name")) };
    let namespace = match metadata.remove("namespace") {
        None | Some(Value::Null) => None,
        Some(Value::String(namespace)) => Some(namespace),
        Some(_) => return Err(shape("metadata.namespace that is a text")),
    };
    if !metadata.is_empty() {
        fields.insert("metadata".to_owned(), Value::Object(metadata));
    }
    Ok(Object { id: ObjectRef { api_version, kind, namespace, name }, body: Value::Object(fields).to_string() })
}

fn call(value: Value) -> Result<Call, AmendError> {
    let shape = |what: &str| AmendError::DoesNotApply(format!("a call of the result has no {what}"));
    let Value::Object(mut fields) = value else { return Err(shape("fields")) };
    let (target, body) = (fields.remove("target"), fields.remove("body"));
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(shape(name)),
    };
    let (id, method, path) = (text("id")?, text("method")?, text("path")?);
    let target = match target {
        None | Some(Value::Null) => None,
        Some(Value::String(target)) => Some(target),
        Some(_) => return Err(shape("target that is a text")),
    };
    let body = body.filter(|body| !body.is_null()).map(|body| body.to_string());
    match fields.keys().next() {
        Some(other) => Err(AmendError::DoesNotApply(format!("a call has no field `{other}`"))),
        None => Ok(Call { id, target, method, path, body }),
    }
}

/// The order in which calls are sent is the step's; new ones come last.
fn in_order(original: &[Call], calls: Vec<Call>) -> Vec<Call> {
    let mut places: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (place, call) in original.iter().enumerate() {
        places.entry(&call.id).or_default().push_back(place);
    }
    let mut placed: Vec<(usize, Call)> = calls
        .into_iter()
        .map(|call| (places.get_mut(call.id.as_str()).and_then(VecDeque::pop_front).unwrap_or(usize::MAX), call))
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, call)| call).collect()
}

fn check(before: &Plan, after: &Plan, policy: &PolicyManifest) -> Result<(), AmendError> {
    let mut refused: BTreeSet<String> = BTreeSet::new();
    for (old, new) in [(&before.desired, &after.desired), (&before.amended, &after.amended)] {
        for object in unequal(old, new, |it| (&it.id, &it.body)) {
            if !policy.writes.contains(&TypeRef::from(&object.id)) {
                refused.insert(object.id.to_string());
            }
        }
    }
    for call in unequal(&before.calls, &after.calls, |it| (&it.id, &it.target, &it.method, &it.path, &it.body)) {
        if !policy.calls.iter().any(|pattern| call_matches(pattern, &call.method, &call.path)) {
            refused.insert(format!("call {} {}", call.method, call.path));
        }
    }
    if before.status != after.status && !policy.status {
        refused.insert("status".to_owned());
    }
    if refused.is_empty() {
        return Ok(());
    }
    let mut granted: Vec<String> = policy.writes.iter().map(TypeRef::to_string).collect();
    granted.extend(policy.calls.iter().cloned());
    granted.extend(policy.status.then(|| "status".to_owned()));
    let granted = if granted.is_empty() { "no changes".to_owned() } else { granted.join(", ") };
    Err(AmendError::NotGranted { changed: refused.into_iter().collect::<Vec<_>>().join(", "), granted })
}

/// What one of the lists holds more often than the other, from both: a call made twice is a change too.
fn unequal<'a, T, K: Ord>(before: &'a [T], after: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let mut counts: BTreeMap<K, (i64, &'a T)> = BTreeMap::new();
    for (items, weight) in [(before, -1), (after, 1)] {
        for item in items {
            counts.entry(key(item)).or_insert((0, item)).0 += weight;
        }
    }
    counts.into_values().filter(|(count, _)| *count != 0).map(|(_, item)| item).collect()
}

#[cfg(test)]
#[path = "amend_tests.rs"]
mod tests;
