//! What is known of the cluster: one watch for each kind and namespace, whoever asks, and an index of who made what.
//!
//! Some namespaces are watched for as long as the process lives, or all are. Others are guests: taken up and dropped while it
//! runs (`namespaces`), and only for the kinds that are of use there. A guest that may not be read keeps nobody else waiting.
//!
//! Objects are trimmed: of `managedFields` only Stepwright's own entries stay (the comparison of plans needs them), and
//! kubectl's copy of the last applied manifest goes. Reads never ask the API server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope as KubeScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use parking_lot::RwLock;
use serde_json::Value;
use stepwright_core::admit::{OWNER_ANNOTATION, Owner, Scope};
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::observation::failure;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::apply::MANAGER;
use crate::system::Reader;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How long until a kind that the API server does not serve is looked for again.
const ABSENT_RETRY: Duration = Duration::from_secs(5);
/// How long until a watch that the API server forbids is tried again: rights come when they come.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(2);
/// How long a tombstone stands: longer than any answer of the API server is on its way.
const TOMBSTONE: Duration = Duration::from_secs(120);

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

#[derive(Default)]
struct KindCache {
    served: Option<Served>,
    /// The API server does not serve this kind.
    absent: bool,
    /// Namespaces, and names in them, whose watch has delivered its first list; empty where one watch covers all.
    filled: BTreeSet<(String, String)>,
    /// Namespaces (empty: all) in which the API server forbids the watch, and its words.
    forbidden: BTreeMap<String, String>,
    /// Guests are watched for this kind too.
    in_guests: bool,
    /// Guests whose watch was started.
    started: BTreeSet<String>,
    objects: BTreeMap<(String, String), Arc<DynamicObject>>,
    /// Objects that went lately, and at which resource version. The answer to a write of ours may come after the watch said
    /// that the object is gone; without this it would stay as a ghost.
    tombstones: HashMap<(String, String), (u64, Instant)>,
}

/// What came is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotNew;

#[derive(Default)]
struct State {
    kinds: HashMap<TypeRef, KindCache>,
    /// Namespaces that are watched for now, and what ends their watches.
    guests: BTreeMap<String, CancellationToken>,
    /// It was heard which those are.
    guests_known: bool,
    /// Namespaces that are always watched; none: all. The same as in `Caches`.
    home: Vec<String>,
    /// Kind, namespace and name of a primary, to what was made for it.
    owned: HashMap<(String, String, String), BTreeMap<ObjectRef, Owner>>,
    /// Field manager of an amendment, to the objects that it amends.
    amended: HashMap<String, BTreeSet<ObjectRef>>,
}

impl State {
    fn watches(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.is_home(namespace) || self.guests.contains_key(namespace)
    }

    fn is_home(&self, namespace: &str) -> bool {
        self.home.is_empty() || self.home.iter().any(|it| it == namespace)
    }

    /// Puts an object in unless a newer one is there, or was and has gone, or nobody watches its namespace any more. `Err` if
    /// it did not; else what was there before.
    fn put(&mut self, kind: &TypeRef, object: &Arc<DynamicObject>) -> Result<Option<Arc<DynamicObject>>, NotNew> {
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
    fn bury(&mut self, kind: &TypeRef, object: &DynamicObject) -> Option<Arc<DynamicObject>> {
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

    /// The same, and in guests too.
    pub fn ensure_in_guests(self: &Arc<Self>, kinds: impl IntoIterator<Item = TypeRef>) {
        let kinds: Vec<TypeRef> = kinds.into_iter().collect();
        self.ensure(kinds.clone());
        for kind in &kinds {
            if let Some(cache) = self.state.write().kinds.get_mut(kind) {
                cache.in_guests = true;
            }
        }
        self.start_guests();
    }

    /// The namespaces that are always watched; none: all.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// Whether a namespace is watched, always or for now.
    pub fn watches(&self, namespace: &str) -> bool {
        self.state.read().watches(namespace)
    }

    /// Namespaces that are watched for now.
    pub fn guests(&self) -> BTreeSet<String> {
        self.state.read().guests.keys().cloned().collect()
    }

    /// It was heard which namespaces are to be watched besides; those that are have been taken up.
    pub fn guests_are_known(&self) {
        let mut state = self.state.write();
        if !state.guests_known {
            state.guests_known = true;
            drop(state);
            self.progress.send_modify(|count| *count += 1);
        }
    }

    /// Why it is not known yet what there is of a kind in all namespaces that are watched. One that may not be read, nobody
    /// waits for.
    pub fn unknown_in_guests(&self, kind: &TypeRef) -> Option<String> {
        let state = self.state.read();
        if !state.guests_known {
            return Some("which namespaces are watched besides".to_owned());
        }
        let cache = state.kinds.get(kind).filter(|cache| cache.in_guests && !cache.absent)?;
        let unread = |guest: &&String| !cache.forbidden.contains_key(*guest) && !self.is_filled_in(kind, cache, guest);
        state.guests.keys().find(unread).map(|guest| format!("{kind} in namespace {guest}"))
    }

    /// Watches one more namespace; nothing to do if it is watched already.
    pub fn take_up(self: &Arc<Self>, namespace: &str) {
        {
            let mut state = self.state.write();
            if state.watches(namespace) {
                return;
            }
            state.guests.insert(namespace.to_owned(), self.stop.child_token());
        }
        self.start_guests();
        self.progress.send_modify(|count| *count += 1);
    }

    /// Watches a guest no longer, and forgets what is in it. From here on no effect is carried out there: what is not in the
    /// caches any more must not pass for deleted.
    pub fn drop_guest(&self, namespace: &str) {
        let mut gone = Vec::new();
        {
            let mut state = self.state.write();
            let Some(token) = state.guests.remove(namespace) else { return };
            token.cancel();
            let kinds: Vec<TypeRef> = state.kinds.keys().cloned().collect();
            for kind in kinds {
                let Some(cache) = state.kinds.get_mut(&kind) else { continue };
                cache.filled.retain(|(filled, _)| filled != namespace);
                cache.forbidden.remove(namespace);
                cache.started.remove(namespace);
                let inside = |key: &(String, String)| key.0 == namespace;
                let keys: Vec<_> = cache.objects.keys().filter(|key| inside(key)).cloned().collect();
                let removed: Vec<_> = keys.iter().filter_map(|key| cache.objects.remove(key)).collect();
                for object in removed {
                    unindex(&mut state, &kind, &object);
                    gone.push((kind.clone(), object));
                }
            }
        }
        for (kind, object) in gone {
            self.tell(&kind, object, None, true, None);
        }
        self.progress.send_modify(|count| *count += 1);
    }

    /// Kinds that a guest may not be watched for, with the API server's words.
    pub fn forbidden(&self, namespace: &str) -> BTreeMap<TypeRef, String> {
        let state = self.state.read();
        let kinds = state.kinds.iter();
        kinds.filter_map(|(kind, cache)| Some((kind.clone(), cache.forbidden.get(namespace)?.clone()))).collect()
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

    async fn run(self: &Arc<Self>, kind: TypeRef) {
        let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), &kind.kind);
        let served = loop {
            match discovery::pinned_kind(&self.client, &gvk).await {
                Ok((resource, capabilities)) => {
                    let scope =
                        if capabilities.scope == KubeScope::Cluster { Scope::Cluster } else { Scope::Namespaced };
                    break Served { resource, scope };
                }
                Err(error) => {
                    let absent = matches!(&error, kube::Error::Discovery(_))
                        || matches!(&error, kube::Error::Api(status) if status.code == 404);
                    if absent {
                        let news = self.state.write().kinds.get_mut(&kind).is_some_and(|cache| {
                            let news = !cache.absent;
                            cache.absent = true;
                            news
                        });
                        if news {
                            warn!(%kind, "the API server does not serve this kind; looking again now and then");
                        }
                        self.progress.send_modify(|count| *count += 1);
                    } else {
                        warn!(%kind, error = &error as &dyn std::error::Error, "discovery failed");
                    }
                    tokio::time::sleep(ABSENT_RETRY).await;
                }
            }
        };
        if let Some(cache) = self.state.write().kinds.get_mut(&kind) {
            cache.served = Some(served.clone());
            cache.absent = false;
        }
        let names = self.names_of(&kind);
        if served.scope == Scope::Cluster || self.namespaces.is_empty() {
            let watches = names
                .iter()
                .map(|name| self.watch(&kind, Api::all_with(self.client.clone(), &served.resource), None, *name));
            futures::future::join_all(watches).await;
        } else {
            self.start_guests();
            let watches = self.namespaces.iter().flat_map(|namespace| names.iter().map(move |name| (namespace, *name)));
            let watches = watches.map(|(namespace, name)| {
                let api = Api::namespaced_with(self.client.clone(), namespace, &served.resource);
                self.watch(&kind, api, Some(namespace), name)
            });
            futures::future::join_all(watches).await;
        }
    }

    /// Starts the watches of guests that are wanted and not started yet.
    fn start_guests(self: &Arc<Self>) {
        let mut fresh = Vec::new();
        {
            let mut state = self.state.write();
            let guests = state.guests.clone();
            for (kind, cache) in &mut state.kinds {
                let Some(served) = cache.served.clone().filter(|it| it.scope == Scope::Namespaced) else { continue };
                if !cache.in_guests {
                    continue;
                }
                for (namespace, token) in &guests {
                    if cache.started.insert(namespace.clone()) {
                        fresh.push((kind.clone(), served.resource.clone(), namespace.clone(), token.clone()));
                    }
                }
            }
        }
        for (kind, resource, namespace, token) in fresh {
            let caches = self.clone();
            // Owned by the guest's token, which is a child of the operator's.
            tokio::spawn(async move {
                let api = Api::namespaced_with(caches.client.clone(), &namespace, &resource);
                let names = caches.names_of(&kind);
                let watches = names.iter().map(|name| caches.watch(&kind, api.clone(), Some(&namespace), *name));
                token.run_until_cancelled(futures::future::join_all(watches)).await;
            });
        }
    }

    async fn watch(&self, kind: &TypeRef, api: Api<DynamicObject>, namespace: Option<&String>, name: Option<&String>) {
        loop {
            let words = self.watch_while_permitted(kind, api.clone(), namespace, name).await;
            self.note_forbidden(kind, namespace, Some(words));
            tokio::time::sleep(FORBIDDEN_RETRY).await;
        }
    }

    /// Takes note of a watch that is forbidden, or is no longer.
    fn note_forbidden(&self, kind: &TypeRef, namespace: Option<&String>, words: Option<String>) {
        let namespace = namespace.map_or("", String::as_str);
        let news = self.state.write().kinds.get_mut(kind).is_some_and(|cache| match words {
            Some(words) => cache.forbidden.insert(namespace.to_owned(), words).is_none(),
            None => cache.forbidden.remove(namespace).is_some(),
        });
        if news {
            self.progress.send_modify(|count| *count += 1);
        }
    }

    /// Watches until the API server forbids it, and returns its words.
    async fn watch_while_permitted(
        &self,
        kind: &TypeRef,
        api: Api<DynamicObject>,
        namespace: Option<&String>,
        name: Option<&String>,
    ) -> String {
        let all = watcher::Config::default();
        // With the name in it, a request needs the right to this object alone.
        let config = name.map_or_else(|| all.clone(), |name| all.clone().fields(&format!("metadata.name={name}")));
        let mut events = watcher::watcher(api, config).default_backoff().boxed();
        let mut listed: Option<BTreeSet<(String, String)>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = Some(BTreeSet::new()),
                Ok(Event::InitApply(object)) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(key(&object));
                    }
                    self.came(kind, object);
                }
                Ok(Event::InitDone) => {
                    if let Some(listed) = listed.take() {
                        self.keep_only(kind, namespace, name, &listed);
                    }
                    self.note_forbidden(kind, namespace, None);
                    self.note_filled(kind, namespace.map_or("", String::as_str), name);
                }
                Ok(Event::Apply(object)) => self.came(kind, object),
                Ok(Event::Delete(object)) => self.went(kind, object),
                Err(error) => {
                    let place = namespace.map_or("all namespaces", String::as_str);
                    if let Some(words) = words_of_forbidden(&error) {
                        warn!(%kind, namespace = place, reason = words, "the watch is forbidden; it is tried again");
                        return words;
                    }
                    let error = &error as &dyn std::error::Error;
                    warn!(%kind, namespace = place, error, "watch interrupted; it is started again");
                }
            }
        }
        "the watch ended".to_owned()
    }

    fn note_filled(&self, kind: &TypeRef, namespace: &str, name: Option<&String>) {
        let mut state = self.state.write();
        if !state.watches(namespace) {
            return;
        }
        let key = (namespace.to_owned(), name.cloned().unwrap_or_default());
        let first = state.kinds.get_mut(kind).is_some_and(|cache| cache.filled.insert(key));
        drop(state);
        if first {
            self.progress.send_modify(|count| *count += 1);
            debug!(%kind, namespace, "cache filled");
        }
    }

    fn came(&self, kind: &TypeRef, mut object: DynamicObject) {
        trim(&mut object);
        let object = Arc::new(object);
        let put = self.state.write().put(kind, &object);
        if let Ok(before) = put {
            self.tell(kind, object, before, false, None);
        }
    }

    fn went(&self, kind: &TypeRef, object: DynamicObject) {
        let removed = self.state.write().bury(kind, &object);
        if let Some(removed) = removed {
            self.tell(kind, removed, None, true, None);
        }
    }

    /// After a new list: what is not in it was deleted while nobody watched.
    fn keep_only(
        &self,
        kind: &TypeRef,
        namespace: Option<&String>,
        name: Option<&String>,
        listed: &BTreeSet<(String, String)>,
    ) {
        let mut state = self.state.write();
        let Some(cache) = state.kinds.get_mut(kind) else { return };
        let lost: Vec<(String, String)> = cache
            .objects
            .keys()
            .filter(|key| namespace.is_none_or(|it| *it == key.0) && name.is_none_or(|it| *it == key.1))
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        let removed: Vec<_> = lost.iter().filter_map(|key| cache.objects.remove(key)).collect();
        for object in &removed {
            unindex(&mut state, kind, object);
        }
        drop(state);
        for object in removed {
            self.tell(kind, object, None, true, None);
        }
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

fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What the API server says when it forbids a watch; `None` of any other failure.
pub(crate) fn words_of_forbidden(error: &watcher::Error) -> Option<String> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return None,
    };
    (status.code == 403).then(|| status.message.clone())
}

fn version(object: &DynamicObject) -> Option<u64> {
    object.metadata.resource_version.as_deref()?.parse().ok()
}

/// Resource versions are numbers that grow (Kubernetes API concepts, "Resource versions"); where one is not, the newcomer wins.
/// An object made again under the same name is a newer one whatever its number.
fn is_older_or_same(new: &DynamicObject, old: &DynamicObject) -> bool {
    match (version(new), version(old)) {
        (Some(new), Some(old)) => new <= old,
        _ => new.metadata.resource_version == old.metadata.resource_version,
    }
}

fn trim(object: &mut DynamicObject) {
    if let Some(entries) = &mut object.metadata.managed_fields {
        entries.retain(|entry| {
            entry.manager.as_deref().is_some_and(|it| it == MANAGER || it.starts_with(&format!("{MANAGER}/")))
        });
    }
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

fn reference(kind: &TypeRef, object: &DynamicObject) -> ObjectRef {
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
fn amenders(object: &DynamicObject) -> impl Iterator<Item = String> {
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.manager).filter(|manager| manager.matches('/').count() == 2)
}

fn index(state: &mut State, kind: &TypeRef, object: &DynamicObject) {
    if let Some(owner) = owner_of(object) {
        let key = (owner.kind.clone(), owner.namespace.clone(), owner.name.clone());
        state.owned.entry(key).or_default().insert(reference(kind, object), owner);
    }
    for manager in amenders(object) {
        state.amended.entry(manager).or_default().insert(reference(kind, object));
    }
}

fn unindex(state: &mut State, kind: &TypeRef, object: &DynamicObject) {
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
