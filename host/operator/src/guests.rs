//! Which namespaces are watched besides the operator's own: those of a list, and those with a label. Both can change while
//! the operator runs, and a namespace that may not be read is told and left aside.
//!
//! The watches themselves are the caches' (`cache`); who reconciles what is there is decided in each pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ObjectReference};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::events::{Event as Told, EventType};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use stepwright_core::conditions::reason_word;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cache::words_of_forbidden;
use crate::context::Context;
use crate::router::Router;

/// How long until a list of namespaces that was refused is asked for again.
const RETRY: Duration = Duration::from_secs(2);

/// Where it is said which namespaces are watched besides.
#[derive(Debug, Clone, Default)]
pub struct GuestSettings {
    /// By name.
    pub names: Vec<String>,
    /// With this label: `name` or `name=value`.
    pub label: Option<String>,
    /// A ConfigMap in the operator's namespace. Empty: there is none. A key that it has takes the place of what is said above.
    pub map: String,
    /// Its key for a list of names, separated by commas.
    pub names_key: String,
    /// Its key for the label.
    pub label_key: String,
}

/// How a namespace does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Filling,
    Watched,
    /// In the API server's words.
    Forbidden(String),
}

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// The task that follows the settings.
pub(crate) struct Guests {
    settings: GuestSettings,
    context: Arc<Context>,
    router: Arc<Router>,
    leads: watch::Receiver<bool>,
    map: Followed<BTreeMap<String, String>>,
    /// The selector that is followed, and the namespaces that have it.
    label: Option<String>,
    labelled: Followed<()>,
    told: BTreeMap<String, State>,
    /// Why namespaces cannot be listed, if they cannot.
    unlisted: Option<String>,
}

impl Guests {
    pub(crate) fn new(
        settings: GuestSettings,
        context: Arc<Context>,
        router: Arc<Router>,
        leads: watch::Receiver<bool>,
    ) -> Self {
        Self {
            settings,
            context,
            router,
            leads,
            map: Followed::default(),
            label: None,
            labelled: Followed::default(),
            told: BTreeMap::new(),
            unlisted: None,
        }
    }

    /// Follows until the operator ends.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut maps: Events<ConfigMap> = if self.settings.map.is_empty() {
            stream::pending().boxed()
        } else {
            let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &self.context.home);
            let only = watcher::Config::default().fields(&format!("metadata.name={}", self.settings.map));
            watcher(api, only).default_backoff().boxed()
        };
        let mut namespaces: Events<Namespace> = stream::pending().boxed();
        let mut progress = self.context.caches.progress();
        let mut leads = self.leads.clone();
        // Until whoever decides that is gone.
        let mut may_lead = true;
        loop {
            let selector = self.selector();
            if selector != self.label {
                self.label.clone_from(&selector);
                self.labelled = Followed::default();
                self.unlisted = None;
                namespaces = self.with_label(Duration::ZERO);
            }
            self.settle().await;
            if self.is_known() {
                self.context.caches.guests_are_known();
            }
            tokio::select! {
                Some(event) = maps.next() => match event {
                    Ok(event) => self.map.take(event, |map| map.data.unwrap_or_default()),
                    Err(error) => {
                        let map = &self.settings.map;
                        warn!(map, error = &error as &dyn std::error::Error, "the list of namespaces cannot be followed");
                        self.map.heard = true;
                    }
                },
                Some(event) = namespaces.next() => match event {
                    Ok(event) => {
                        self.labelled.take(event, |_| ());
                        self.unlisted = None;
                    }
                    Err(error) => {
                        // Those that are known stay watched.
                        self.unlisted = Some(words_of_forbidden(&error).unwrap_or_else(|| error.to_string()));
                        self.labelled.heard = true;
                        namespaces = self.with_label(RETRY);
                    }
                },
                changed = progress.changed() => changed?,
                changed = leads.changed(), if may_lead => may_lead = changed.is_ok(),
            }
        }
    }

    /// Whoever was asked has answered, be it that it may not be known.
    fn is_known(&self) -> bool {
        (self.settings.map.is_empty() || self.map.heard) && (self.label.is_none() || self.labelled.heard)
    }

    /// Namespaces with the label, after a while.
    fn with_label(&self, after: Duration) -> Events<Namespace> {
        let Some(label) = &self.label else { return stream::pending().boxed() };
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let events = watcher(api, watcher::Config::default().labels(label)).default_backoff();
        let pause = stream::once(tokio::time::sleep(after)).filter_map(|()| async { None });
        pause.chain(events).boxed()
    }

    /// What a key of the ConfigMap says, if it is there.
    fn said_in_map(&self, key: &str) -> Option<&str> {
        let data = self.map.seen.get(&self.settings.map)?;
        data.get(key).map(|text| text.trim())
    }

    fn selector(&self) -> Option<String> {
        let option = self.settings.label.as_deref().unwrap_or_default();
        let label = self.said_in_map(&self.settings.label_key).unwrap_or(option);
        Some(label).filter(|label| !label.is_empty()).map(str::to_owned)
    }

    fn wanted(&self) -> BTreeSet<String> {
        let listed: Vec<&str> = match self.said_in_map(&self.settings.names_key) {
            Some(text) => text.split(',').collect(),
            None => self.settings.names.iter().map(String::as_str).collect(),
        };
        let listed = listed.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        listed.chain(self.labelled.seen.keys().cloned()).collect()
    }

    /// Takes up and drops what has to be, and tells how each does.
    async fn settle(&mut self) {
        let caches = self.context.caches.clone();
        let (wanted, before) = (self.wanted(), caches.guests());
        for namespace in before.difference(&wanted) {
            caches.drop_guest(namespace);
        }
        for namespace in wanted.difference(&before) {
            caches.take_up(namespace);
        }
        let now = caches.guests();
        if now != before {
            let namespaces = now.iter().cloned().collect::<Vec<_>>().join(",");
            info!(namespaces, "watching namespaces besides the operator's own");
        }
        self.told.retain(|namespace, _| now.contains(namespace));
        let mut counts = [0; 3];
        for namespace in now {
            let state = match caches.forbidden(&namespace).into_values().next() {
                Some(words) => State::Forbidden(words),
                None if caches.is_filled(&namespace) => State::Watched,
                None => State::Filling,
            };
            let index = match &state {
                State::Watched => 0,
                State::Filling => 1,
                State::Forbidden(_) => 2,
            };
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
            self.tell(namespace, state).await;
        }
        let [watched, filling, forbidden] = counts;
        self.context.metrics.guests(watched, filling, forbidden);
        self.tell_unlisted().await;
    }

    async fn tell(&mut self, namespace: String, state: State) {
        let before = self.told.get(&namespace);
        // Which of several kinds is named first is no news.
        let same = match (before, &state) {
            (Some(State::Forbidden(_)), State::Forbidden(_)) => true,
            (before, state) => before == Some(state),
        };
        if same {
            return;
        }
        let was_forbidden = matches!(before, Some(State::Forbidden(_)));
        match &state {
            State::Filling if was_forbidden => return,
            State::Filling => {}
            State::Watched => {
                self.router.namespace_changed(&namespace);
                if was_forbidden {
                    let text = format!("namespace `{namespace}` can be read now and is watched");
                    self.publish(EventType::Normal, "NamespaceWatched", text).await;
                }
            }
            State::Forbidden(words) => {
                if !*self.leads.borrow() {
                    return;
                }
                let text = format!(
                    "namespace `{namespace}` is left aside until it can be read: {words}. Give the operator's account its Role \
                     there (deploy/consumer-namespace.yaml)"
                );
                self.publish(EventType::Warning, "NamespaceNotReadable", text).await;
            }
        }
        self.told.insert(namespace, state);
    }

    async fn tell_unlisted(&mut self) {
        let key = String::new();
        let Some(words) = self.unlisted.clone() else {
            self.told.remove(&key);
            return;
        };
        if *self.leads.borrow() && !self.told.contains_key(&key) {
            let text = format!(
                "namespaces with label `{}` cannot be found: {words}. Give the operator's account the ClusterRole of \
                 deploy/namespaces-by-label.yaml",
                self.label.as_deref().unwrap_or_default()
            );
            self.publish(EventType::Warning, "NamespacesNotListed", text).await;
            self.told.insert(key, State::Forbidden(words));
        }
    }

    /// On the ConfigMap that says which namespaces are meant, whether or not it is there.
    async fn publish(&self, type_: EventType, reason: &str, text: String) {
        match type_ {
            EventType::Warning => warn!(reason, "{text}"),
            EventType::Normal => info!(reason, "{text}"),
        }
        if !*self.leads.borrow() {
            return;
        }
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: Some(self.settings.map.clone()).filter(|name| !name.is_empty()),
            namespace: Some(self.context.home.clone()),
            ..ObjectReference::default()
        };
        let action = reason_word(&text, usize::MAX);
        let event = Told { type_, reason: reason.to_owned(), note: Some(text), action, secondary: None };
        self.context.metrics.event(reason);
        if let Err(error) = self.context.recorder.publish(&event, &about).await {
            warn!(error = &error as &dyn std::error::Error, reason, "an Event could not be published");
        }
    }
}

/// Objects that are followed, by name, with what is of interest of each.
struct Followed<T> {
    seen: BTreeMap<String, T>,
    /// A new list that is not complete yet.
    listed: BTreeMap<String, T>,
    /// There was a first list, or a reason why there is none.
    heard: bool,
}

impl<T> Default for Followed<T> {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), listed: BTreeMap::new(), heard: false }
    }
}

impl<T> Followed<T> {
    fn take<K: Resource + DeserializeOwned>(&mut self, event: Event<K>, interest: impl Fn(K) -> T) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.insert(object.name_any(), interest(object));
            }
            Event::InitDone => {
                self.seen = std::mem::take(&mut self.listed);
                self.heard = true;
            }
            Event::Apply(object) => {
                self.seen.insert(object.name_any(), interest(object));
            }
            Event::Delete(object) => {
                self.seen.remove(&object.name_any());
            }
        }
    }
}
