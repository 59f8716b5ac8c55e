//! The objects that are known of each kind, which of two is the newer one, and the index of who made and amended what. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use stepwright_core::admit::{OWNER_ANNOTATION, Owner};
use stepwright_core::object::{ObjectRef, TypeRef};
use tokio_util::sync::CancellationToken;

use super::Served;
use crate::apply::MANAGER;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How long a tombstone stands: longer than any answer of the API server is on its way.
const TOMBSTONE: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(super) struct KindCache {
    pub(super) served: Option<Served>,
    /// The API server does not serve this kind.
    pub(super) absent: bool,
    /// Namespaces, and names in them, whose watch has delivered its first list; empty where one watch covers all.
    pub(super) filled: BTreeSet<(String, String)>,
    /// Namespaces (empty: all) in which the API server forbids the watch, and its words.
    pub(super) forbidden: BTreeMap<String, String>,
    /// Guests are watched for this kind too.
    pub(super) in_guests: bool,
    /// Guests whose watch was started.
    pub(super) started: BTreeSet<String>,
    pub(super) objects: BTreeMap<(String, String), Arc<DynamicObject>>,
    /// Objects that went lately, and at which resource version. The answer to a write of ours may come after the watch said
    /// that the object is gone; without this it would stay as a ghost.
    pub(super) tombstones: HashMap<(String, String), (u64, Instant)>,
}

/// What came is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotNew;

#[derive(Default)]
pub(super) struct State {
    pub(super) kinds: HashMap<TypeRef, KindCache>,
    /// Namespaces that are watched for now, and what ends their watches.
    pub(super) guests: BTreeMap<String, CancellationToken>,
    /// It was heard which those are.
    pub(super) guests_known: bool,
    /// Namespaces that are always watched; none: all. The same as in `Caches`.
    pub(super) home: Vec<String>,
    /// Kind, namespace and name of a primary, to what was made for it.
    pub(super) owned: HashMap<(String, String, String), BTreeMap<ObjectRef, Owner>>,
    /// Field manager of an amendment, to the objects that it amends.
    pub(super) amended: HashMap<String, BTreeSet<ObjectRef>>,
}

impl State {
    pub(super) fn watches(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.is_home(namespace) || self.guests.contains_key(namespace)
    }

    pub(super) fn is_home(&self, namespace: &str) -> bool {
        self.home.is_empty() || self.home.iter().any(|it| it == namespace)
    }

    /// Puts an object in unless a newer one is there, or was and has gone, or nobody watches its namespace any more. `Err` if
    /// it did not; else what was there before.
    pub(super) fn put(
        &mut self,
        kind: &TypeRef,
        object: &Arc<DynamicObject>,
    ) -> Result<Option<Arc<DynamicObject>>, NotNew> {
        if !self.watches(&object.namespace().unwrap_or_default()) {
            return Err(NotNew);
        }
        let cache = self.kinds.get_mut(kind).ok_or(NotNew)?;
        let key = key(object);
        let old = cache.objects.get(&key).cloned();
        if old.as_deref().is_some_and(|old| is_older_or_same(object, old)) {
            return Err(NotNew);
        }
        let buried = cache.tombstones.get(&key).map(|(version, _)| *version);
        if buried.zip(version(object)).is_some_and(|(buried, version)| version <= buried) {
            return Err(NotNew);
        }
        cache.objects.insert(key, object.clone());
        if let Some(old) = &old {
            unindex(self, kind, old);
        }
        index(self, kind, object);
        Ok(old)
    }

    /// The watch said that an object is gone. Returns it as it was known, if it was.
    pub(super) fn bury(&mut self, kind: &TypeRef, object: &DynamicObject) -> Option<Arc<DynamicObject>> {
        let cache = self.kinds.get_mut(kind)?;
        let key = key(object);
        if let Some(version) = version(object) {
            cache.tombstones.retain(|_, (_, since)| since.elapsed() < TOMBSTONE);
            cache.tombstones.insert(key.clone(), (version, Instant::now()));
        }
        let removed = cache.objects.remove(&key)?;
        unindex(self, kind, &removed);
        Some(removed)
    }
}

pub(super) fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

pub(super) fn version(object: &DynamicObject) -> Option<u64> {
    object.metadata.resource_version.as_deref()?.parse().ok()
}

/// Resource versions are numbers that grow (Kubernetes API concepts, "Resource versions"); where one is not, the newcomer wins.
/// An object made again under the same name is a newer one whatever its number.
pub(super) fn is_older_or_same(new: &DynamicObject, old: &DynamicObject) -> bool {
    match (version(new), version(old)) {
        (Some(new), Some(old)) => new <= old,
        _ => new.metadata.resource_version == old.metadata.resource_version,
    }
}

pub(super) fn trim(object: &mut DynamicObject) {
    if let Some(entries) = &mut object.metadata.managed_fields {
        entries.retain(|entry| {
            entry.manager.as_deref().is_some_and(|it| it == MANAGER || it.starts_with(&format!("{MANAGER}/")))
        });
    }
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

pub(super) fn reference(kind: &TypeRef, object: &DynamicObject) -> ObjectRef {
    ObjectRef {
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

/// Who made an object, if Stepwright did.
pub fn owner_of(object: &DynamicObject) -> Option<Owner> {
    Owner::parse(object.metadata.annotations.as_ref()?.get(OWNER_ANNOTATION)?)
}

/// Managers of amendments are `stepwright/<step>/<primary>`: two slashes.
pub(super) fn amenders(object: &DynamicObject) -> impl Iterator<Item = String> {
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.manager).filter(|manager| manager.matches('/').count() == 2)
}

pub(super) fn index(state: &mut State, kind: &TypeRef, object: &DynamicObject) {
    if let Some(owner) = owner_of(object) {
        let key = (owner.kind.clone(), owner.namespace.clone(), owner.name.clone());
        state.owned.entry(key).or_default().insert(reference(kind, object), owner);
    }
    for manager in amenders(object) {
        state.amended.entry(manager).or_default().insert(reference(kind, object));
    }
}

pub(super) fn unindex(state: &mut State, kind: &TypeRef, object: &DynamicObject) {
    let id = reference(kind, object);
    if let Some(owner) = owner_of(object) {
        let key = (owner.kind, owner.namespace, owner.name);
        if let Some(made) = state.owned.get_mut(&key) {
            made.remove(&id);
            if made.is_empty() {
                state.owned.remove(&key);
            }
        }
    }
    for manager in amenders(object) {
        if let Some(objects) = state.amended.get_mut(&manager) {
            objects.remove(&id);
            if objects.is_empty() {
                state.amended.remove(&manager);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind() -> TypeRef {
        TypeRef::new("v1", "ConfigMap")
    }

    fn state() -> State {
        let mut state = State::default();
        state.kinds.insert(kind(), KindCache::default());
        state
    }

    #[test]
    fn what_comes_late_from_a_dropped_namespace_is_not_taken_in() {
        let mut state = state();
        state.home = vec!["home".to_owned()];
        state.guests.insert("ns".to_owned(), CancellationToken::new());
        assert!(state.put(&kind(), &object(5)).is_ok());
        state.guests.remove("ns");
        assert!(state.put(&kind(), &object(6)).is_err());
    }

    fn object(version: u64) -> Arc<DynamicObject> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns",
            "resourceVersion": version.to_string(), "annotations": {OWNER_ANNOTATION: "Thing/ns/t/step"}}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn owned(state: &State) -> usize {
        state.owned.get(&("Thing".to_owned(), "ns".to_owned(), "t".to_owned())).map_or(0, BTreeMap::len)
    }

    #[test]
    fn an_answer_that_comes_after_the_object_went_leaves_no_ghost() {
        let mut state = state();
        assert!(state.put(&kind(), &object(5)).is_ok());
        assert!(state.bury(&kind(), &object(7)).is_some());
        // The answer to a write of ours at version 6, late.
        assert!(state.put(&kind(), &object(6)).is_err());
        assert_eq!((state.kinds[&kind()].objects.len(), owned(&state)), (0, 0));
        // Made again under the same name.
        assert!(state.put(&kind(), &object(8)).is_ok());
        assert_eq!((state.kinds[&kind()].objects.len(), owned(&state)), (1, 1));
    }

    #[test]
    fn a_ghost_is_kept_out_also_when_the_object_was_never_seen() {
        let mut state = state();
        assert!(state.bury(&kind(), &object(7)).is_none());
        assert!(state.put(&kind(), &object(6)).is_err());
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let mut state = state();
        assert!(state.put(&kind(), &object(5)).is_ok());
        assert!(state.put(&kind(), &object(5)).is_err());
        assert!(state.put(&kind(), &object(4)).is_err());
        assert!(state.put(&kind(), &object(6)).is_ok());
        assert_eq!(owned(&state), 1);
    }
}
