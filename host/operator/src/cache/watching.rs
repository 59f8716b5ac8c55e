//! The watches: one for each kind and namespace, or one over all; begun anew when they break, tried again where they are forbidden.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope as KubeScope};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use stepwright_core::admit::Scope;
use stepwright_core::object::TypeRef;
use tracing::{debug, warn};

use super::state::{key, trim, unindex};
use super::{Caches, Served};

/// How long until a kind that the API server does not serve is looked for again.
const ABSENT_RETRY: Duration = Duration::from_secs(5);
/// How long until a watch that the API server forbids is tried again: rights come when they come.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(2);

impl Caches {
    pub(super) async fn run(self: &Arc<Self>, kind: TypeRef) {
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

    pub(super) async fn watch(
        &self,
        kind: &TypeRef,
        api: Api<DynamicObject>,
        namespace: Option<&String>,
        name: Option<&String>,
    ) {
        loop {
            let words = self.watch_while_permitted(kind, api.clone(), namespace, name).await;
            self.note_forbidden(kind, namespace, Some(words));
            tokio::time::sleep(FORBIDDEN_RETRY).await;
        }
    }

    /// Takes note of a watch that is forbidden, or is no longer.
    pub(super) fn note_forbidden(&self, kind: &TypeRef, namespace: Option<&String>, words: Option<String>) {
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
    pub(super) async fn watch_while_permitted(
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

    pub(super) fn note_filled(&self, kind: &TypeRef, namespace: &str, name: Option<&String>) {
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

    pub(super) fn came(&self, kind: &TypeRef, mut object: DynamicObject) {
        trim(&mut object);
        let object = Arc::new(object);
        let put = self.state.write().put(kind, &object);
        if let Ok(before) = put {
            self.tell(kind, object, before, false, None);
        }
    }

    pub(super) fn went(&self, kind: &TypeRef, object: DynamicObject) {
        let removed = self.state.write().bury(kind, &object);
        if let Some(removed) = removed {
            self.tell(kind, removed, None, true, None);
        }
    }

    /// After a new list: what is not in it was deleted while nobody watched.
    pub(super) fn keep_only(
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
