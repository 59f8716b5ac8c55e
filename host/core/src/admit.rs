//! The gate between a plan and the cluster: grants, ownership, namespaces, secrets, sizes; then the order of effects.
//!
//! Deny by default, on decoded data. Only `admit` makes an `AdmittedPlan`, and only that is carried out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::Blame;
use crate::follow::{self, Followed};
use crate::manifest::{Limits, StepManifest};
use crate::object::{Object, ObjectRef, TypeRef};
use crate::plan::{Call, Event, Plan, Progress};
use crate::reset::{self, Resets, Restless};
use crate::secrets;
use crate::strict;
use crate::take;

/// Label on every object that Stepwright makes.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGED_BY: &str = "stepwright";
/// Annotation that names the owner: `<Kind>/<namespace>/<name>/<step>`.
pub const OWNER_ANNOTATION: &str = "stepwright.dev/owner";
/// Annotation that names the plugin whose plan last changed the object: `<name>@<first twelve digits of its digest>`.
pub const PLUGIN_ANNOTATION: &str = "stepwright.dev/plugin";
/// Annotation on a primary that several operators may see: the namespace of the one that answers for it. With
/// [`WITHOUT_SYSTEM`] behind it, another one may still take it over.
pub const OPERATOR_ANNOTATION: &str = "stepwright.dev/operator";
/// What stands behind the namespace in [`OPERATOR_ANNOTATION`] where the operator has not what the primary asks for.
pub const WITHOUT_SYSTEM: &str = "/none";
/// Annotations with this prefix are the host's.
pub const RESERVED_PREFIX: &str = "stepwright.dev/";

const MAX_EVENTS: u32 = 50;
const MAX_MESSAGE: usize = 1_024;

/// Whether objects of a kind live in a namespace. From discovery, never from the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// What a step may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    pub writes: BTreeSet<TypeRef>,
    /// `METHOD /path` with `*` for a segment.
    pub calls: BTreeSet<String>,
    /// Fields that amendments of a kind may take from other field managers.
    pub takes: BTreeMap<TypeRef, BTreeSet<String>>,
    /// Requests in the primary's spec that may be set back, and to what.
    pub resets: Resets,
    /// Fields of the primary's spec that may be changed.
    pub follows: BTreeSet<String>,
    /// Kinds of objects that may be made once, wherever somebody watches.
    pub begins: BTreeSet<TypeRef>,
    /// The primary may be deleted.
    pub retires: bool,
    /// Secrets of the managed system's namespace that calls may hold values of, as the manifest has them.
    pub system_secrets: BTreeSet<String>,
}

impl Grants {
    /// Everything that the manifest asks for.
    pub fn asked_by(step: &StepManifest) -> Self {
        let mut takes: BTreeMap<TypeRef, BTreeSet<String>> = BTreeMap::new();
        for of in &step.takes {
            takes.entry(of.type_ref()).or_default().extend(of.fields.iter().cloned());
        }
        Self {
            writes: step.writes.iter().cloned().collect(),
            calls: step.calls.iter().cloned().collect(),
            takes,
            resets: step.resets.clone(),
            follows: step.follows.clone(),
            begins: step.begins.clone(),
            retires: step.retires,
            system_secrets: step.system_secrets.clone(),
        }
    }

    /// What no account's rights decide about: which Secrets the host puts into calls, and what it takes for a person's word.
    pub fn beside_rights(self) -> Self {
        Self { follows: self.follows, system_secrets: self.system_secrets, ..Self::default() }
    }

    /// What is asked for here and not in `other`, in words; empty when nothing is.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let writes = self.writes.difference(&other.writes).map(|kind| format!("writes {kind}"));
        let calls = self.calls.iter().filter(|call| !other.calls.contains(*call)).map(|call| format!("calls {call}"));
        let has = |kind: &TypeRef, field: &str| {
            other.takes.get(kind).is_some_and(|fields| fields.iter().any(|granted| take::covers(granted, field)))
        };
        let takes = self.takes.iter().flat_map(|(kind, fields)| fields.iter().map(move |field| (kind, field)));
        let takes =
            takes.filter(|(kind, field)| !has(kind, field)).map(|(kind, field)| format!("takes {field} of {kind}"));
        let resets = self.resets.iter().filter(|(field, rests_at)| other.resets.get(*field) != Some(rests_at));
        let resets = resets.map(|(field, rests_at)| format!("resets {field} to {rests_at}"));
        let follows = self.follows.difference(&other.follows).map(|field| format!("changes {field}"));
        let begins = self.begins.difference(&other.begins).map(|kind| format!("makes {kind} anywhere"));
        let retires = (self.retires && !other.retires).then(|| "deletes its own resource".to_owned());
        let secrets = self.system_secrets.difference(&other.system_secrets);
        let secrets = secrets.map(|name| format!("sends values of Secret {name} of the managed system's namespace"));
        let spec = resets.chain(follows).chain(begins).chain(retires);
        writes.chain(calls).chain(takes).chain(spec).chain(secrets).collect()
    }
}

/// What a step's plan is held against.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    pub step: &'a str,
    pub primary: &'a ObjectRef,
    pub grants: &'a Grants,
    /// Objects and calls are bounded by it.
    pub limits: &'a Limits,
    /// From discovery; `None` means that the API server does not serve the kind.
    pub scope_of: &'a dyn Fn(&TypeRef) -> Option<Scope>,
    /// Whether a Secret of the primary's namespace may be read, or taken over, for this primary (`secrets::may_use`).
    pub may_use_secret: &'a dyn Fn(&str) -> bool,
    /// Whether a name is one of the Secrets of the managed system that calls may hold values of.
    pub is_system_secret: &'a dyn Fn(&str) -> bool,
}

/// A plan, or a part of it, that may not be carried out. Nothing of the plan is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("{object}: its kind is not among those that step `{step}` may write ({granted})")]
    KindNotGranted { step: String, object: String, granted: String },
    #[error("{object}: step `{step}` may write in namespace `{allowed}` only")]
    ForeignNamespace { step: String, object: String, allowed: String },
    #[error("{object}: the kind is cluster-scoped; a step may write namespaced objects only")]
    ClusterScoped { object: String },
    #[error("{object}: the API server does not serve this kind")]
    UnknownKind { object: String },
    #[error("{object} is named twice in one plan")]
    Twice { object: String },
    #[error("{object} is the primary itself; its status and defaults have fields of their own in a plan")]
    IsPrimary { object: String },
    #[error("{object}: {message}")]
    Malformed { object: String, message: String },
    #[error("call `{call}` is not among those that step `{step}` may make ({granted})")]
    CallNotGranted { step: String, call: String, granted: String },
    #[error("the plan holds {found} {what}; at most {limit} are taken. Plan fewer, or raise the manifest's limit")]
    TooMany { what: &'static str, found: usize, limit: usize },
    #[error(
        "{place}: Secret `{secret}` is neither named by the primary nor made by its pipeline, so step `{step}` may not use it; name it in the primary's spec"
    )]
    SecretNotGranted { step: String, place: String, secret: String },
}

impl NotAdmitted {
    /// Condition reason, Event reason and metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::KindNotGranted { .. } => "KindNotGranted",
            Self::ForeignNamespace { .. } => "ForeignNamespace",
            Self::ClusterScoped { .. } => "ClusterScoped",
            Self::UnknownKind { .. } => "UnknownKind",
            Self::Twice { .. } => "ObjectTwice",
            Self::IsPrimary { .. } => "ObjectIsPrimary",
            Self::Malformed { .. } => "PlanMalformed",
            Self::CallNotGranted { .. } => "CallNotGranted",
            Self::TooMany { .. } => "PlanTooLarge",
            Self::SecretNotGranted { .. } => "SecretNotGranted",
        }
    }

    /// A plan that asks for too much is its plugin's fault, except where a kind is missing from the cluster.
    pub fn blame(&self) -> Blame {
        match self {
            Self::UnknownKind { .. } => Blame::Cluster,
            _ => Blame::Plugin,
        }
    }
}

/// An object that may be applied. The body is an object without `apiVersion`, `kind` and identity.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedObject {
    pub id: ObjectRef,
    pub body: Value,
}

/// A plan that may be carried out, in the order of its lists.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedPlan {
    desired: Vec<AdmittedObject>,
    amended: Vec<AdmittedObject>,
    takes: BTreeMap<TypeRef, BTreeSet<String>>,
    calls: Vec<Call>,
    status: Option<Value>,
    defaults: Option<Value>,
    resets: Resets,
    begun: Vec<AdmittedObject>,
    followed: Followed,
    retire: Option<String>,
    system_secrets: BTreeSet<String>,
    events: Vec<Event>,
    notes: Option<String>,
    progress: Progress,
}

impl AdmittedPlan {
    /// What is needed first comes first: accounts and rights, then configuration, then what runs.
    pub fn desired(&self) -> &[AdmittedObject] {
        &self.desired
    }
    pub fn amended(&self) -> &[AdmittedObject] {
        &self.amended
    }
    /// Fields that amendments of a kind may take from other field managers: the step's grants, and only for kinds that it may
    /// write.
    pub fn takes(&self, kind: &TypeRef) -> Vec<String> {
        self.takes.get(kind).into_iter().flatten().cloned().collect()
    }
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }
    pub fn status(&self) -> Option<&Value> {
        self.status.as_ref()
    }
    /// Fields of the spec that are filled in where the user left them empty.
    pub fn defaults(&self) -> Option<&Value> {
        self.defaults.as_ref()
    }
    /// Requests in the spec that are done, with their resting values.
    pub fn resets(&self) -> &Resets {
        &self.resets
    }
    /// Objects that are made where they are not there, and else left alone.
    pub fn begun(&self) -> &[AdmittedObject] {
        &self.begun
    }
    /// Fields of the spec that are to say something else than they do.
    pub fn followed(&self) -> &Followed {
        &self.followed
    }
    /// Why the primary is to be deleted.
    pub fn retire(&self) -> Option<&str> {
        self.retire.as_deref()
    }
    /// Secrets that calls refer to, and that are in the managed system's namespace.
    pub fn system_secrets(&self) -> &BTreeSet<String> {
        &self.system_secrets
    }
    pub fn events(&self) -> &[Event] {
        &self.events
    }
    pub fn notes(&self) -> Option<&str> {
        self.notes.as_deref()
    }
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// Checks a step's plan and puts it in order.
pub fn admit(plan: Plan, gate: &Gate<'_>) -> Result<AdmittedPlan, NotAdmitted> {
    limit("objects", plan.desired.len() + plan.amended.len(), gate.limits.objects)?;
    limit("calls", plan.calls.len(), gate.limits.calls)?;
    limit("events", plan.events.len(), MAX_EVENTS)?;

    let mut seen = BTreeSet::new();
    let mut take = |objects: Vec<Object>| {
        objects
            .into_iter()
            .map(|object| {
                let object = admit_object(object, gate)?;
                if !seen.insert(object.id.clone()) {
                    return Err(NotAdmitted::Twice { object: object.id.to_string() });
                }
                Ok(object)
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let (begun, desired): (Vec<Object>, Vec<Object>) = plan.desired.into_iter().partition(|it| is_begun(it, gate));
    let mut begun = take(begun)?;
    begun.sort_by(|a, b| a.id.cmp(&b.id));
    let mut desired = take(desired)?;
    let mut amended = take(plan.amended)?;
    // Equal ranks keep to the name, so that the order never depends on the plugin's.
    desired.sort_by(|a, b| (rank(&a.id.kind), &a.id).cmp(&(rank(&b.id.kind), &b.id)));
    amended.sort_by(|a, b| a.id.cmp(&b.id));

    for object in desired.iter().filter(|it| it.id.kind == "Secret" && it.id.api_version == "v1") {
        // To write one is to own it from then on, and with it what it holds.
        secret(gate, &object.id, &object.id.name)?;
    }
    let mut system_secrets = BTreeSet::new();
    for call in &plan.calls {
        admit_call(call, gate, &mut system_secrets)?;
    }
    let status = part("status", plan.status.as_deref())?;
    if status.as_ref().is_some_and(|status| status.get("conditions").is_some()) {
        return Err(malformed("status", "`conditions` are the host's to set"));
    }
    let mut defaults = part("defaults", plan.defaults.as_deref())?;
    let resets = defaults.as_mut().map_or(Ok(Resets::new()), |it| reset::split(it, &gate.grants.resets)).map_err(
        |Restless { field, value, rests_at }| {
            malformed(
                "defaults",
                format!("`{field}` is a request and may be set back to {rests_at} only, not to {value}"),
            )
        },
    )?;
    let followed = defaults.as_mut().map(|it| follow::split(it, &gate.grants.follows)).unwrap_or_default();
    // Nothing left is nothing said, as when there had been no request.
    let unsaid = resets.is_empty() && followed.is_empty();
    let defaults = defaults.filter(|rest| unsaid || rest.as_object().is_some_and(|rest| !rest.is_empty()));
    let notes = part("notes", plan.notes.as_deref())?;
    let retire = notes.as_ref().and_then(|notes| notes.get("retire")).filter(|_| gate.grants.retires);
    let retire = match retire {
        None => None,
        Some(Value::String(why)) => Some(why.clone()),
        Some(_) => return Err(malformed("notes", "`retire` must be a text that says why")),
    };
    let events = plan.events.into_iter().map(admit_event).collect::<Result<_, _>>()?;
    let mut takes = gate.grants.takes.clone();
    takes.retain(|kind, _| gate.grants.writes.contains(kind));
    Ok(AdmittedPlan {
        desired,
        amended,
        takes,
        calls: plan.calls,
        status,
        defaults,
        resets,
        begun,
        followed,
        retire,
        system_secrets,
        events,
        notes: plan.notes,
        progress: plan.progress,
    })
}

fn limit(what: &'static str, found: usize, limit: u32) -> Result<(), NotAdmitted> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if found > limit { Err(NotAdmitted::TooMany { what, found, limit }) } else { Ok(()) }
}

fn malformed(object: impl std::fmt::Display, message: impl Into<String>) -> NotAdmitted {
    NotAdmitted::Malformed { object: object.to_string(), message: message.into() }
}

fn part(what: &str, text: Option<&str>) -> Result<Option<Value>, NotAdmitted> {
    let Some(text) = text else { return Ok(None) };
    let value = strict::parse(text).map_err(|error| malformed(what, format!("not JSON: {error}")))?;
    if value.is_object() { Ok(Some(value)) } else { Err(malformed(what, "must be a JSON object")) }
}

/// A Secret that is used must be the primary's.
fn secret(gate: &Gate<'_>, place: impl std::fmt::Display, name: &str) -> Result<(), NotAdmitted> {
    if (gate.may_use_secret)(name) {
        return Ok(());
    }
    let (step, secret) = (gate.step.to_owned(), name.to_owned());
    Err(NotAdmitted::SecretNotGranted { step, place: place.to_string(), secret })
}

fn admit_object(object: Object, gate: &Gate<'_>) -> Result<AdmittedObject, NotAdmitted> {
    let Gate { step, primary, grants, scope_of, .. } = *gate;
    let mut id = object.id;
    let kind = TypeRef::from(&id);
    let begun = grants.begins.contains(&kind);
    if !begun && !grants.writes.contains(&kind) {
        let granted = join(grants.writes.iter());
        return Err(NotAdmitted::KindNotGranted { step: step.to_owned(), object: id.to_string(), granted });
    }
    match scope_of(&kind) {
        None => return Err(NotAdmitted::UnknownKind { object: id.to_string() }),
        Some(Scope::Cluster) => return Err(NotAdmitted::ClusterScoped { object: id.to_string() }),
        Some(Scope::Namespaced) => {}
    }
    let home = primary.namespace.clone().unwrap_or_default();
    if id.namespace.get_or_insert_with(|| home.clone()) != &home && !begun {
        return Err(NotAdmitted::ForeignNamespace { step: step.to_owned(), object: id.to_string(), allowed: home });
    }
    if id == *primary {
        return Err(NotAdmitted::IsPrimary { object: id.to_string() });
    }
    // The name becomes a segment of a URL.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if !(1..=253).contains(&id.name.len()) || !id.name.bytes().all(plain) || id.name.bytes().all(|byte| byte == b'.') {
        return Err(malformed(&id, "the name must be 1 to 253 letters, digits, `-`, `.`, `_` or `:`"));
    }
    let body = strict::parse(&object.body).map_err(|error| malformed(&id, format!("not a JSON object: {error}")))?;
    let Value::Object(mut body) = body else { return Err(malformed(&id, "not a JSON object")) };
    body.retain(|key, _| key != "apiVersion" && key != "kind");
    if body.contains_key("status") {
        return Err(malformed(&id, "`status` belongs to the object's own controller"));
    }
    check_metadata(&id, body.get("metadata"))?;
    let is_secret = id.kind == "Secret" && id.api_version == "v1";
    if is_secret && body.contains_key("data") {
        return Err(malformed(&id, "write `stringData`; the host encodes it"));
    }
    let body = Value::Object(body);
    if has_directive(&body) {
        if !is_secret {
            return Err(malformed(&id, "secret values may be placed in Secrets and in calls only"));
        }
        for reference in secrets::collect_refs(&body).map_err(|error| malformed(&id, error.to_string()))? {
            secret(gate, &id, &reference.name)?;
        }
    }
    Ok(AdmittedObject { id, body })
}

fn check_metadata(id: &ObjectRef, metadata: Option<&Value>) -> Result<(), NotAdmitted> {
    let Some(metadata) = metadata else { return Ok(()) };
    let fields = metadata.as_object().ok_or_else(|| malformed(id, "`metadata` must be an object"))?;
    for (key, value) in fields {
        match key.as_str() {
            "name" if value.as_str() == Some(id.name.as_str()) => {}
            "namespace" if value.as_str() == id.namespace.as_deref() => {}
            "labels" | "annotations" => {
                let reserved = value
                    .as_object()
                    .into_iter()
                    .flat_map(Map::keys)
                    .find(|key| key.starts_with(RESERVED_PREFIX) || (key.as_str() == MANAGED_BY_LABEL));
                if let Some(key) = reserved {
                    return Err(malformed(id, format!("`{key}` is the host's to set")));
                }
            }
            _ => {
                return Err(malformed(id, format!("`metadata.{key}` may not be set; labels and annotations may")));
            }
        }
    }
    Ok(())
}

/// Whether a directive (`{"$…": …}`) stands anywhere in the value.
fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.keys().any(|key| ["$generate", "$secretKeyRef", "$join"].contains(&key.as_str()))
                || fields.values().any(has_directive)
        }
        Value::Array(items) => items.iter().any(has_directive),
        _ => false,
    }
}

/// One that is made once, and not kept up.
fn is_begun(object: &Object, gate: &Gate<'_>) -> bool {
    let kind = TypeRef::from(&object.id);
    gate.grants.begins.contains(&kind) && !gate.grants.writes.contains(&kind)
}

fn admit_call(call: &Call, gate: &Gate<'_>, shared: &mut BTreeSet<String>) -> Result<(), NotAdmitted> {
    let Gate { step, grants, .. } = *gate;
    let shown = format!("{} {}", call.method, call.path);
    let clean = call.path.starts_with('/')
        && !call.path.split(['/', '?']).any(|segment| segment == ".." || segment == ".")
        && call.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%' && byte != b'#');
    if !clean {
        return Err(malformed(&shown, "the path must be plain: `/segment/segment?query`"));
    }
    if !grants.calls.iter().any(|pattern| call_matches(pattern, &call.method, &call.path)) {
        let granted = join(grants.calls.iter());
        return Err(NotAdmitted::CallNotGranted { step: step.to_owned(), call: shown, granted });
    }
    if let Some(body) = &call.body {
        let body = strict::parse(body).map_err(|error| malformed(&shown, format!("body is not JSON: {error}")))?;
        let references = secrets::collect_refs(&body).map_err(|error| malformed(&shown, error.to_string()))?;
        for reference in references {
            if (gate.is_system_secret)(&reference.name) {
                shared.insert(reference.name);
            } else {
                secret(gate, format!("call {shown}"), &reference.name)?;
            }
        }
    }
    Ok(())
}

/// Whether a pattern such as `PUT /v1/bdbs/*` covers a call. The query is not part of the match.
pub fn call_matches(pattern: &str, method: &str, path: &str) -> bool {
    let Some((wanted, route)) = pattern.split_once(' ') else { return false };
    let path = path.split('?').next().unwrap_or(path);
    let (mut have, mut want) = (path.split('/'), route.split('/'));
    wanted == method
        && loop {
            match (have.next(), want.next()) {
                (None, None) => break true,
                (Some(segment), Some("*")) if !segment.is_empty() => {}
                (Some(segment), Some(expected)) if segment == expected => {}
                _ => break false,
            }
        }
}

fn admit_event(mut event: Event) -> Result<Event, NotAdmitted> {
    let word = event.reason.starts_with(|c: char| c.is_ascii_uppercase())
        && event.reason.len() <= 128
        && event.reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !word {
        return Err(malformed(format!("event `{}`", event.reason), "the reason must be one PascalCase word"));
    }
    if event.message.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE;
        while !event.message.is_char_boundary(end) {
            end -= 1;
        }
        event.message.truncate(end);
    }
    Ok(event)
}

fn join<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    let all: Vec<String> = items.map(|item| item.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Order of application. Workloads last, so that what they mount and run as is there.
fn rank(kind: &str) -> u8 {
    match kind {
        "ServiceAccount" => 0,
        "Role" | "ClusterRole" => 1,
        "RoleBinding" | "ClusterRoleBinding" => 2,
        "Secret" => 3,
        "ConfigMap" => 4,
        "PersistentVolumeClaim" => 5,
        "Service" => 6,
        "PodDisruptionBudget" => 7,
        "StatefulSet" | "Deployment" | "DaemonSet" | "Job" | "CronJob" => 10,
        _ => 8,
    }
}

/// The owner of an object, as its annotation says it: `<Kind>/<namespace>/<name>/<step>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub step: String,
}

impl Owner {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let owner = Self { kind: parts.next()?, namespace: parts.next()?, name: parts.next()?, step: parts.next()? };
        parts.next().is_none().then_some(owner)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.kind, self.namespace, self.name, self.step)
    }
}

/// The body as it is sent: what the step wants, plus the host's label, annotations and owner reference.
///
/// `plugin` is the value of [`PLUGIN_ANNOTATION`].
pub fn stamped(object: &AdmittedObject, owner: &Owner, plugin: &str, owner_reference: Option<Value>) -> Value {
    let mut body = object.body.clone();
    if let Some(fields) = body.as_object_mut() {
        let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            let mut set = |map: &str, key: &str, value: &str| {
                let entry = metadata.entry(map.to_owned()).or_insert_with(|| Value::Object(Map::new()));
                if let Some(entry) = entry.as_object_mut() {
                    entry.insert(key.to_owned(), Value::String(value.to_owned()));
                }
            };
            set("labels", MANAGED_BY_LABEL, MANAGED_BY);
            set("annotations", OWNER_ANNOTATION, &owner.to_string());
            set("annotations", PLUGIN_ANNOTATION, plugin);
            if let Some(reference) = owner_reference.filter(|_| !holds_data(&object.id)) {
                metadata.insert("ownerReferences".to_owned(), Value::Array(vec![reference]));
            }
        }
    }
    body
}

/// Whether with the object somebody's data would go. Such a one gets no owner and is never pruned: that a plan no longer lists
/// it, or that its primary is deleted, is no reason to lose data. Only a person deletes it.
fn holds_data(object: &ObjectRef) -> bool {
    object.kind == "PersistentVolumeClaim" && object.api_version == "v1"
}

/// Objects that the step made before and does not want any more. Never one that holds data.
pub fn prunable<'a>(
    owned: impl IntoIterator<Item = (&'a ObjectRef, &'a Owner)>,
    step: &str,
    desired: &[AdmittedObject],
) -> Vec<ObjectRef> {
    // Versions of one group are one object.
    let key =
        |id: &ObjectRef| (TypeRef::from(id).group().to_owned(), id.kind.clone(), id.namespace.clone(), id.name.clone());
    let wanted: BTreeSet<_> = desired.iter().map(|object| key(&object.id)).collect();
    let stale: BTreeMap<_, _> = owned
        .into_iter()
        .filter(|(id, owner)| owner.step == step && !holds_data(id) && !wanted.contains(&key(id)))
        .map(|(id, _)| (key(id), id.clone()))
        .collect();
    stale.into_values().collect()
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
