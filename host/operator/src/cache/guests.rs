//! Namespaces that are watched for a while: taken up, dropped, and not waited for where they may not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::api::Api;
use stepwright_core::admit::Scope;
use stepwright_core::object::TypeRef;

use super::Caches;
use super::state::unindex;

impl Caches {
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

    /// Starts the watches of guests that are wanted and not started yet.
    pub(super) fn start_guests(self: &Arc<Self>) {
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

    /// Kinds that a guest may not be watched for, with the API server's words.
    pub fn forbidden(&self, namespace: &str) -> BTreeMap<TypeRef, String> {
        let state = self.state.read();
        let kinds = state.kinds.iter();
        kinds.filter_map(|(kind, cache)| Some((kind.clone(), cache.forbidden.get(namespace)?.clone()))).collect()
    }
}
