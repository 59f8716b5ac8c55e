//! What every pass shares: the way to the API server, what is known and remembered, whose turn it is, and what may be done.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt as _};
use rand::Rng as _;
use serde_json::Value;
use stepwright_core::compare::{owned_fields, without};
use stepwright_core::manifest::Within;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::pipeline::Pipeline;
use stepwright_core::secrets::{Fingerprinter, Generate, SecretError, is_named};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::apply::{MANAGER, Primary};
use crate::cache::{Caches, owner_of};
use crate::delegation::{Delegation, Runners};
use crate::error::PassError;
use crate::fight::Fights;
use crate::identity::Clients;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pass::Purity;
use crate::slots::Slots;
use crate::system::{ManagedSystem, Reader as _};

/// How long an answer about a kind's schema is believed.
const SCHEMA_TTL: Duration = Duration::from_secs(600);
/// The same for a no: the API server publishes the schema of a new CRD a moment after it serves the kind.
pub(crate) const SCHEMA_RETRY: Duration = Duration::from_secs(5);
/// How long after the first look a schema without conditions may still be one that is not published yet.
const SCHEMA_YOUNG: Duration = Duration::from_secs(30);

/// What every pass shares.
pub struct Context {
    pub client: Client,
    pub caches: Arc<Caches>,
    pub slots: Arc<Slots>,
    pub system: Arc<dyn ManagedSystem>,
    pub fingerprinter: Arc<Fingerprinter>,
    pub metrics: Arc<Metrics>,
    pub journal: Arc<Journal>,
    pub(crate) memory: Memory,
    pub(crate) fights: Fights,
    pub(crate) clients: Clients,
    pub(crate) purity: Purity,
    pub(crate) recorder: Recorder,
    /// Guest calls that run at the same time: they are pure computation, so no more than there are cores.
    pub(crate) guest_calls: Semaphore,
    /// The same for checks before storing.
    pub(crate) admission_calls: Semaphore,
    /// Shadows are asked one at a time, so that they never hold up a pass.
    pub(crate) shadow_calls: Semaphore,
    pub(crate) shadow_turns: Arc<Semaphore>,
    /// Work that no pass waits for; ends with the operator.
    pub(crate) background: TaskTracker,
    pub(crate) delegation: Delegation,
    pub(crate) runners: Runners,
    /// Kinds that pipelines reconcile.
    pub(crate) kinds: Vec<TypeRef>,
    /// The operator's own namespace.
    pub(crate) home: String,
    pub(crate) leads: watch::Receiver<bool>,
    /// By kind: when its schema was first looked at, when last, and whether it has conditions.
    pub(crate) conditions: parking_lot::Mutex<HashMap<TypeRef, (Instant, Instant, bool)>>,
}

impl Context {
    /// No effect is carried out by a process that lost the lease.
    pub(crate) fn check_leader(&self) -> Result<(), PassError> {
        if *self.leads.borrow() { Ok(()) } else { Err(PassError::NotLeader) }
    }

    /// No effect is carried out by a process that lost the lease, or in a namespace that is no longer watched: what was seen
    /// of it last may not have been there any more.
    pub(crate) fn check_may_act(&self, namespace: &str) -> Result<(), PassError> {
        self.check_leader()?;
        if self.caches.watches(namespace) {
            Ok(())
        } else {
            Err(PassError::NotWatched { namespace: namespace.to_owned() })
        }
    }

    /// Absence must be observed: nothing is decided before every cache that a step looks at is filled.
    pub(crate) fn check_synced(&self, pipeline: &Pipeline, namespace: &str) -> Result<(), PassError> {
        let mut kinds: Vec<TypeRef> = vec![pipeline.type_ref()];
        for watched in pipeline.steps.iter().flat_map(|step| self.slots.observing(step)) {
            kinds.extend(watched.kinds());
        }
        kinds.extend(self.system.needs());
        self.check_filled(kinds, namespace)
    }

    /// A primary that goes takes its managed system along: whatever else belongs to that has to be known, wherever it is.
    pub(crate) fn check_fellows(&self, pipeline: &Pipeline) -> Result<(), PassError> {
        let watched = pipeline.steps.iter().flat_map(|step| self.slots.observing(step));
        let kinds: BTreeSet<TypeRef> = watched
            .flat_map(|watched| watched.observes.clone())
            .filter(|observe| matches!(observe.within, Within::SameSystem | Within::Anywhere))
            .map(|observe| observe.type_ref())
            .collect();
        match kinds.iter().find_map(|kind| self.caches.unknown_in_guests(kind)) {
            Some(missing) => Err(PassError::NotSynced { missing }),
            None => Ok(()),
        }
    }

    /// The caches of these kinds are filled, in this namespace too.
    pub(crate) fn check_filled(&self, mut kinds: Vec<TypeRef>, namespace: &str) -> Result<(), PassError> {
        kinds.sort();
        kinds.dedup();
        let missing = self.caches.missing_for(&kinds, namespace);
        if missing.is_empty() {
            return Ok(());
        }
        let forbidden = self.caches.forbidden(namespace);
        if let Some((_, words)) = forbidden.iter().find(|(kind, _)| missing.contains(kind)) {
            return Err(PassError::NotReadable { namespace: namespace.to_owned(), words: words.clone() });
        }
        let names: Vec<String> = missing.iter().map(TypeRef::to_string).collect();
        Err(PassError::NotSynced { missing: names.join(", ") })
    }

    /// RFC 3339 with whole seconds, UTC, as Kubernetes writes it.
    pub(crate) fn now(&self) -> String {
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Whether a Secret may be read, or taken over, for this primary: it names it, a pipeline made it, or it is not there.
    pub(crate) fn may_use_secret(&self, primary: &Primary, name: &str) -> bool {
        let Some(secret) = self.caches.get(&TypeRef::new("v1", "Secret"), primary.namespace(), name) else {
            return true;
        };
        if owner_of(&secret).is_some_and(|owner| {
            owner.namespace == primary.namespace() && self.kinds.iter().any(|kind| kind.kind == owner.kind)
        }) {
            return true;
        }
        // What a step filled in does not count as the user's word.
        let entries = primary.object.metadata.managed_fields.iter().flatten();
        let managers = entries.filter_map(|it| it.manager.as_deref()).filter(|it| *it != MANAGER);
        let written = managers
            .filter(|it| it.starts_with(MANAGER))
            .fold(primary.value.as_ref().clone(), |value, it| without(&value, &owned_fields(&primary.value, it, "")));
        is_named(name, &primary.id.name, written.get("spec").unwrap_or(&Value::Null))
    }

    /// A value of a Secret, as text.
    pub(crate) fn secret_value(&self, namespace: &str, name: &str, key: &str) -> Result<String, SecretError> {
        use base64::Engine as _;
        let missing = || SecretError::Missing { name: name.to_owned(), key: key.to_owned() };
        let secret = self.caches.get(&TypeRef::new("v1", "Secret"), namespace, name).ok_or_else(missing)?;
        let encoded =
            secret.data.get("data").and_then(|data| data.get(key)).and_then(Value::as_str).ok_or_else(missing)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|_| missing())?;
        String::from_utf8(bytes).map_err(|_| missing())
    }

    pub(crate) fn random_secret(&self, generate: &Generate) -> String {
        let alphabet = generate.alphabet();
        let mut random = rand::rng();
        (0..generate.length())
            .filter_map(|_| alphabet.get(random.random_range(0..alphabet.len())).map(|byte| char::from(*byte)))
            .collect()
    }

    /// A primary's finalizer is off: nothing about it need be remembered.
    pub(crate) fn released(&self, primary: &DynamicObject) {
        if let Some(types) = &primary.types {
            let id = ObjectRef {
                api_version: types.api_version.clone(),
                kind: types.kind.clone(),
                namespace: primary.namespace(),
                name: primary.name_any(),
            };
            self.memory.forget(&id);
            self.fights.forget(&id);
        }
        self.system.gone(primary);
    }

    /// Whether the kind's schema has `status.conditions`: the vendor's own CRDs have not, and refuse the field.
    pub(crate) async fn has_conditions(&self, kind: &TypeRef) -> bool {
        if let Some((_, since, known)) = self.conditions.lock().get(kind)
            && since.elapsed() < if *known { SCHEMA_TTL } else { SCHEMA_RETRY }
        {
            return *known;
        }
        let path = if kind.group().is_empty() {
            format!("/openapi/v3/api/{}", kind.version())
        } else {
            format!("/openapi/v3/apis/{}/{}", kind.group(), kind.version())
        };
        let Ok(request) = http::Request::get(path).body(Vec::new()) else { return false };
        let known = match self.client.request::<Value>(request).await {
            Ok(document) => schema_has_conditions(&document, &kind.kind),
            Err(error) => {
                warn!(%kind, error = &error as &dyn std::error::Error, "the schema could not be read");
                return false;
            }
        };
        let now = Instant::now();
        let mut conditions = self.conditions.lock();
        let first = conditions.get(kind).map_or(now, |(first, ..)| *first);
        conditions.insert(kind.clone(), (first, now, known));
        known
    }

    /// Whether a kind that has no conditions, as far as is known, may turn out to have them: a pass that rests on the answer
    /// would not be looked at again.
    pub(crate) fn may_get_conditions(&self, kind: &TypeRef) -> bool {
        self.conditions.lock().get(kind).is_none_or(|(first, _, known)| !known && first.elapsed() < SCHEMA_YOUNG)
    }
}

fn schema_has_conditions(document: &Value, kind: &str) -> bool {
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    schemas.into_iter().flat_map(serde_json::Map::values).any(|schema| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.into_iter().flatten().any(|it| it.get("kind").and_then(Value::as_str) == Some(kind))
            && schema.pointer("/properties/status/properties/conditions").is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_looked_for_in_the_schema_of_the_kind() {
        let schema = |with: bool| {
            let mut status = serde_json::json!({"properties": {}});
            if with {
                status["properties"]["conditions"] = serde_json::json!({});
            }
            serde_json::json!({"components": {"schemas": {"x": {
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Thing"}],
                "properties": {"status": status}}}}})
        };
        assert!(schema_has_conditions(&schema(true), "Thing"));
        assert!(!schema_has_conditions(&schema(false), "Thing"));
        assert!(!schema_has_conditions(&schema(true), "Other"));
    }
}
