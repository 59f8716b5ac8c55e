//! What is known of the cluster: one watch for each kind and namespace, whoever asks, and an index of who made what.
//!
//! Some namespaces are watched for as long as the process lives, or all are. Others are guests: taken up and dropped while it
//! runs (`namespaces`), and only for the kinds that are of use there. A guest that may not be read keeps nobody else waiting.
//!
//! Objects are trimmed: of `managedFields` only Stepwright's own entries stay (the comparison of plans needs them), and
//! kubectl's copy of the last applied manifest goes. Reads never ask the API server.

mod guests;
mod state;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;
use kube::api::{ApiResource, DynamicObject};
use parking_lot::RwLock;
use serde_json::Value;
use stepwright_core::admit::{Owner, Scope};
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::observation::failure;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::state::{KindCache, State, trim};
use crate::system::Reader;

pub use state::owner_of;
pub(crate) use watching::words_of_forbidden;

/// An object came, changed or went.
#[derive(Debug, Clone)]
pub struct Change {
    pub kind: TypeRef,
    pub object: Arc<DynamicObject>,
    /// As it was known before; `None` of one that came.
    pub before: Option<Arc<DynamicObject>>,
    pub gone: bool,
    /// The primary whose pass wrote it, if the change is our own: that pass knows, others that look at the object do not.
    pub by: Option<ObjectRef>,
}

/// What discovery says of a kind.
#[derive(Debug, Clone)]
pub struct Served {
    pub resource: ApiResource,
    pub scope: Scope,
}

/// The caches of all kinds.
pub struct Caches {
    client: Client,
    /// Those that are always watched. Empty: every namespace.
    namespaces: Vec<String>,
    /// Names of the only Secrets that are looked at; `None`: all.
    secrets: Option<Vec<String>>,
    state: RwLock<State>,
    changes: mpsc::UnboundedSender<Change>,
    /// Counts up each time that a watch has delivered its first list or a kind was found absent.
    progress: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Caches {
    /// Empty caches over these namespaces (none: all), and the stream of changes.
    pub fn new(
        client: Client,
        namespaces: Vec<String>,
        stop: CancellationToken,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Change>) {
        Self::narrow(client, namespaces, None, stop)
    }

    /// The same, for a process that may look at these Secrets only.
    pub fn narrow(
        client: Client,
        namespaces: Vec<String>,
        secrets: Option<Vec<String>>,
        stop: CancellationToken,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Change>) {
        // Unbounded: the receiver only routes, and a bound would stall watches, and so grow the server's buffers instead.
        let (changes, receiver) = mpsc::unbounded_channel();
        let (progress, _) = watch::channel(0);
        let state = RwLock::new(State { home: namespaces.clone(), ..State::default() });
        let caches = Self { client, namespaces, secrets, state, changes, progress, stop };
        (Arc::new(caches), receiver)
    }

    /// Starts a watch for each kind that has none yet.
    pub fn ensure(self: &Arc<Self>, kinds: impl IntoIterator<Item = TypeRef>) {
        for kind in kinds {
            let fresh = {
                let mut state = self.state.write();
                let fresh = !state.kinds.contains_key(&kind);
                state.kinds.entry(kind.clone()).or_default();
                fresh
            };
            if fresh {
                let caches = self.clone();
                // Owned by the token: it ends when the operator stops, and its failures are retried inside.
                tokio::spawn(async move {
                    let stop = caches.stop.clone();
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = caches.run(kind) => {}
                    }
                });
            }
        }
    }

    /// The namespaces that are always watched; none: all.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Whether a namespace is watched, always or for now.
    pub fn watches(&self, namespace: &str) -> bool {
        self.state.read().watches(namespace)
    }

    /// Whether all that is watched in a guest is filled.
    pub fn is_filled(&self, namespace: &str) -> bool {
        let state = self.state.read();
        let mut wanted = state.kinds.iter().filter(|(_, cache)| cache.in_guests && !cache.absent);
        wanted.all(|(kind, cache)| self.is_filled_in(kind, cache, namespace))
    }

    fn is_filled_in(&self, kind: &TypeRef, cache: &KindCache, namespace: &str) -> bool {
        let key = |name: Option<&String>| (namespace.to_owned(), name.cloned().unwrap_or_default());
        self.names_of(kind).into_iter().all(|name| cache.filled.contains(&key(name)))
    }

    /// Counts up with each first list, each kind that is found absent, each guest taken up or dropped, each refusal.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// The kinds of these that are not filled yet; empty when all are.
    pub fn missing(&self, kinds: &[TypeRef]) -> Vec<TypeRef> {
        self.missing_for(kinds, "")
    }

    /// The same for what a primary of this namespace needs, which may be a guest.
    pub fn missing_for(&self, kinds: &[TypeRef], namespace: &str) -> Vec<TypeRef> {
        let state = self.state.read();
        let guest = state.guests.contains_key(namespace);
        let filled = |kind: &TypeRef, cache: &KindCache| {
            let one = cache.served.as_ref().is_some_and(|it| it.scope == Scope::Cluster) || self.namespaces.is_empty();
            let home: &[String] = if one { &[String::new()] } else { &self.namespaces };
            home.iter().all(|home| self.is_filled_in(kind, cache, home))
                && (one || !guest || !cache.in_guests || self.is_filled_in(kind, cache, namespace))
        };
        let is_missing =
            |kind: &TypeRef| state.kinds.get(kind).is_none_or(|cache| !cache.absent && !filled(kind, cache));
        kinds.iter().filter(|kind| is_missing(kind)).cloned().collect()
    }

    /// The kinds of these of which it is not known yet whether they can be read for a primary of this namespace.
    pub fn unanswered(&self, kinds: &[TypeRef], namespace: &str) -> Vec<TypeRef> {
        let mut missing = self.missing_for(kinds, namespace);
        missing.retain(|kind| self.unreadable(kind, namespace).is_none());
        missing
    }

    /// Why a kind cannot be read for a primary of this namespace, as a Kubernetes `Status`; `None` if it can, or if that is
    /// not known yet.
    pub fn unreadable(&self, kind: &TypeRef, namespace: &str) -> Option<Value> {
        let state = self.state.read();
        let cache = state.kinds.get(kind)?;
        if cache.absent {
            return Some(failure(404, "NotFound", &format!("the API server does not serve the kind {kind}")));
        }
        let concerns = |at: &String| at.is_empty() || at == namespace || self.namespaces.contains(at);
        let (_, words) = cache.forbidden.iter().find(|(at, _)| concerns(at))?;
        Some(failure(403, "Forbidden", words))
    }

    /// The names that objects of a kind are watched by, one at a time; `None`: all at once.
    fn names_of(&self, kind: &TypeRef) -> Vec<Option<&String>> {
        let is_secret = kind.kind == "Secret" && kind.api_version == "v1";
        match self.secrets.as_ref().filter(|_| is_secret) {
            Some(names) => names.iter().map(Some).collect(),
            None => vec![None],
        }
    }

    /// Waits until all of these kinds are filled.
    pub async fn synced(&self, kinds: &[TypeRef]) {
        let mut progress = self.progress.subscribe();
        while !self.missing(kinds).is_empty() {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// What discovery says of a kind that is watched; `None` while it is not served.
    pub fn served(&self, kind: &TypeRef) -> Option<Served> {
        self.state.read().kinds.get(kind)?.served.clone()
    }

    /// Objects that Stepwright made for a primary.
    pub fn owned(&self, kind: &str, namespace: &str, name: &str) -> BTreeMap<ObjectRef, Owner> {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.read().owned.get(&key).cloned().unwrap_or_default()
    }

    /// Objects on which a field manager of amendments has set fields.
    pub fn amended(&self, manager: &str) -> BTreeSet<ObjectRef> {
        self.state.read().amended.get(manager).cloned().unwrap_or_default()
    }

    /// Every object of a kind.
    pub fn all(&self, kind: &TypeRef) -> Vec<Arc<DynamicObject>> {
        self.state.read().kinds.get(kind).map(|cache| cache.objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Takes in what the API server answered to a write in the pass of `by`, so that the rest of that pass sees it.
    pub fn wrote(&self, kind: &TypeRef, mut object: DynamicObject, by: &ObjectRef) -> Arc<DynamicObject> {
        trim(&mut object);
        let object = Arc::new(object);
        let put = self.state.write().put(kind, &object);
        if let Ok(before) = put {
            self.tell(kind, object.clone(), before, false, Some(by.clone()));
        }
        object
    }

    fn tell(
        &self,
        kind: &TypeRef,
        object: Arc<DynamicObject>,
        before: Option<Arc<DynamicObject>>,
        gone: bool,
        by: Option<ObjectRef>,
    ) {
        // Nobody listens any more only when the operator is stopping.
        let _ = self.changes.send(Change { kind: kind.clone(), object, before, gone, by });
    }
}

impl Reader for Caches {
    fn get(&self, kind: &TypeRef, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let state = self.state.read();
        state.kinds.get(kind)?.objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    fn list(&self, kind: &TypeRef, namespace: &str) -> Vec<Arc<DynamicObject>> {
        let state = self.state.read();
        let Some(cache) = state.kinds.get(kind) else { return Vec::new() };
        let start = (namespace.to_owned(), String::new());
        cache
            .objects
            .range(start..)
            .take_while(|((home, _), _)| home == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }
}
