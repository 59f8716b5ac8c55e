//! Plugins from ConfigMaps: those labelled `stepwright.dev/plugin: "true"` in the operator's namespace are taken up, swapped,
//! promoted, rolled back and given back while the operator runs. A refusal is an Event and an annotation; what answered
//! before goes on answering.
//!
//! One task keeps the state and decides; preparing a plugin, which may take long, is done beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use sha2::{Digest as _, Sha256};
use stepwright_core::delegation::Whose;
use stepwright_core::guest::{Guest, GuestError};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use crate::offer::{Component, Offer, Wishes, told, wish};
use crate::plugins::board::Board;
use crate::plugins::entry::{Entry, Installed, Key, key};
use crate::plugins::history::{self, Swap};
use crate::plugins::prepare::{Outcome, Preparer};
use crate::plugins::refusal::Refusal;
use crate::plugins::remedies::{self, Remedy};
use crate::plugins::status;
use crate::plugins::tell::Teller;
use crate::router::Router;
use crate::slots::{Installation, News, Slots, Source};
use crate::sources::{OfferError, maps};

/// The label that makes a ConfigMap a plugin.
pub const LABEL: &str = "stepwright.dev/plugin=true";
/// How often is looked whether something is to be tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Turns a component's bytes into a plugin. Blocks while it compiles.
pub type Loader = Arc<dyn Fn(&[u8]) -> Result<Arc<dyn Guest>, GuestError> + Send + Sync>;

/// A ConfigMap as last seen.
struct Seen {
    map: Arc<ConfigMap>,
    /// Of everything but what the host itself writes.
    print: [u8; 32],
}

/// Keeps the plugins of one namespace.
pub(crate) struct PluginMaps {
    preparer: Preparer,
    slots: Arc<Slots>,
    board: Arc<Board>,
    router: Arc<Router>,
    teller: Teller,
    leads: watch::Receiver<bool>,
    told_history: mpsc::Sender<()>,
    seen: BTreeMap<String, Seen>,
    entries: BTreeMap<String, Entry>,
    work: JoinSet<(String, Key, Outcome)>,
    preparing: HashMap<String, AbortHandle>,
}

impl PluginMaps {
    pub(crate) fn new(preparer: Preparer, router: Arc<Router>, leads: watch::Receiver<bool>) -> Self {
        let context = &preparer.context;
        let teller = Teller {
            client: context.client.clone(),
            namespace: preparer.namespace.clone(),
            recorder: context.recorder.clone(),
        };
        Self {
            slots: context.slots.clone(),
            board: preparer.settings.board.clone(),
            router,
            teller,
            leads,
            // Full: the write that is due will hold this change, too.
            told_history: mpsc::channel(1).0,
            seen: BTreeMap::new(),
            entries: BTreeMap::new(),
            work: JoinSet::new(),
            preparing: HashMap::new(),
            preparer,
        }
    }

    /// Watches until the process ends.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let (told, listener) = mpsc::channel(1);
        self.told_history = told;
        let client = self.teller.client.clone();
        let namespace = self.preparer.namespace.clone();
        let lone = self.preparer.context.delegation.name();
        let history =
            history::keep(client.clone(), namespace.clone(), self.board.clone(), self.leads.clone(), listener, lone);
        let Some(mut news) = self.slots.news() else { anyhow::bail!("the slots have a listener already") };
        let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
        let config = watcher::Config::default().labels(LABEL);
        let mut events = watcher::watcher(api, config).default_backoff().boxed();
        let mut remedies = remedies::watch(&self.teller.client, &namespace, &self.preparer.settings);
        let mut leads = self.leads.clone();
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut listed: Option<BTreeSet<String>> = None;
        let keep = async {
            loop {
                tokio::select! {
                    Some(news) = news.recv() => self.heard(news).await,
                    event = events.next() => match event {
                        None => return,
                        Some(Ok(event)) => self.watched(event, &mut listed).await,
                        Some(Err(error)) => {
                            let error = &error as &dyn std::error::Error;
                            warn!(error, "watch of plugins interrupted; it is started again");
                        }
                    },
                    Some(done) = self.work.join_next() => match done {
                        Ok((name, key, outcome)) => self.prepared(&name, key, outcome).await,
                        Err(error) if error.is_cancelled() => {}
                        Err(error) => warn!(error = &error as &dyn std::error::Error, "preparing a plugin ended badly"),
                    },
                    Ok(()) = leads.changed() => self.tell_all().await,
                    Some(remedy) = remedies.next() => self.remedied(remedy).await,
                    _ = again.tick() => self.again().await,
                }
            }
        };
        tokio::select! {
            () = keep => {}
            () = history => {}
        }
        Ok(())
    }

    async fn watched(&mut self, event: watcher::Event<ConfigMap>, listed: &mut Option<BTreeSet<String>>) {
        let since = Instant::now();
        match event {
            watcher::Event::Init => *listed = Some(BTreeSet::new()),
            watcher::Event::InitApply(map) => {
                if let Some(listed) = listed {
                    listed.insert(map.name_any());
                }
                self.see(map);
            }
            watcher::Event::InitDone => {
                let listed = listed.take().unwrap_or_default();
                self.seen.retain(|name, _| listed.contains(name));
                self.read(since).await;
            }
            watcher::Event::Apply(map) => {
                if self.see(map) {
                    self.read(since).await;
                }
            }
            watcher::Event::Delete(map) => {
                self.seen.remove(&map.name_any());
                self.read(since).await;
                // To the watch, one that lost its label is gone, too. Whoever told of it, the main process takes it back.
                if *self.leads.borrow() && self.preparer.context.delegation.part.alone().is_none() {
                    self.teller.take_back(&map).await;
                }
            }
        }
    }

    /// Takes note of a ConfigMap; says whether anything changed that is not our own doing.
    fn see(&mut self, map: ConfigMap) -> bool {
        let (name, print) = (map.name_any(), print(&map));
        // What the watch still has to say of the time before our own last write is no news: taken for it, a decision that was
        // just written down would be forgotten.
        let version = |map: &ConfigMap| map.resource_version().and_then(|it| it.parse::<u64>().ok());
        let known = self.seen.get(&name).and_then(|seen| version(&seen.map));
        if known.zip(version(&map)).is_some_and(|(known, version)| version < known) {
            return false;
        }
        let changed = self.seen.get(&name).is_none_or(|seen| seen.print != print);
        self.seen.insert(name, Seen { map: Arc::new(map), print });
        changed
    }

    /// Reads all ConfigMaps anew: parts and sets make one plugin of several.
    async fn read(&mut self, since: Instant) {
        let all: Vec<Arc<ConfigMap>> = self.seen.values().map(|seen| seen.map.clone()).collect();
        let most = self.preparer.settings.registry.most_bytes;
        let offered = tokio::task::spawn_blocking(move || maps::offers(&all, most)).await;
        let Ok((offers, errors)) = offered else {
            warn!("the ConfigMaps of plugins could not be read");
            return;
        };
        let mut named: BTreeSet<String> = offers.iter().map(|offer| offer.name.clone()).collect();
        named.extend(errors.iter().map(|(name, _)| name.clone()));
        let gone: Vec<String> = self.entries.keys().filter(|name| !named.contains(*name)).cloned().collect();
        for name in gone {
            self.went(&name);
        }
        for (name, error) in errors {
            self.misread(&name, error, since).await;
        }
        for offer in offers {
            self.offered(offer, since).await;
        }
    }

    async fn offered(&mut self, offer: Offer, since: Instant) {
        let (name, key) = (offer.name.clone(), key(&offer));
        let id = format!("{}/{name}", offer.namespace);
        let source = match offer.component {
            Component::Inline(_) => Source::ConfigMap(id),
            Component::Oci { .. } => Source::Oci(id),
        };
        let fresh = || Entry::new(source.clone(), offer.wishes.clone(), [0; 32], since);
        let entry = self.entries.entry(name.clone()).or_insert_with(fresh);
        // What is too bad to answer may do to be tried out, or elsewhere in the chain.
        let place = |it: &Wishes| (it.mode.clone(), it.priority);
        if place(&entry.wishes) != place(&offer.wishes)
            && matches!(entry.refusal, Some((Refusal::RehearsalFailed { .. }, _)))
        {
            entry.retry_now();
        }
        entry.hear(offer.wishes.clone());
        let is_new = entry.key != key;
        let is_due = std::mem::take(&mut entry.is_due);
        let idle = !entry.is_settled() && entry.refusal.is_none() && !self.preparing.contains_key(&name);
        if is_new || is_due || idle || entry.needs_another_rehearsal() {
            if is_new {
                (entry.since, entry.failures) = (since, 0);
            }
            entry.key = key;
            entry.source = source.clone();
            entry.ready = None;
            entry.retry_at = None;
            if let Component::Inline(bytes) = &offer.component
                && entry.current.is_none()
                && entry.is_rolled_back(&stepwright_core::guest::Digest::of(bytes))
            {
                // Rolled back before this process began: not even loaded.
                entry.refusal = None;
                entry.whose = self.preparer.whose(bytes);
                return self.tell(&name).await;
            }
            let preparer = self.preparer.clone();
            let of = name.clone();
            let handle = self.work.spawn(async move { (of, key, preparer.prepare(offer, source).await) });
            if let Some(before) = self.preparing.insert(name, handle) {
                before.abort();
            }
            return;
        }
        if entry.refusal.is_none() && entry.current.is_some() && entry.ready.is_none() {
            entry.placed = entry.wishes.clone();
        }
        self.place(&name).await;
    }

    /// A ConfigMap that cannot be read as a plugin.
    async fn misread(&mut self, name: &str, error: OfferError, since: Instant) {
        if let Some(before) = self.preparing.remove(name) {
            before.abort();
        }
        let source = Source::ConfigMap(format!("{}/{name}", self.preparer.namespace));
        let fresh = || Entry::new(source, Wishes::default(), [0; 32], since);
        let entry = self.entries.entry(name.to_owned()).or_insert_with(fresh);
        entry.key = [0; 32];
        entry.ready = None;
        entry.retry_at = None;
        // Whose it is cannot be seen, also if it could be before.
        entry.whose = self.preparer.unread();
        self.refuse(name, Refusal::Offer(error), None).await;
    }

    async fn prepared(&mut self, name: &str, key: Key, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.key == key) else { return };
        self.preparing.remove(name);
        match outcome {
            Outcome::Theirs => {
                entry.leave();
                self.board.take_down(name);
                self.place(name).await;
            }
            Outcome::Ready(whose, prepared) => {
                entry.whose = whose;
                entry.failures = 0;
                entry.refusal = None;
                entry.ready = Some(prepared);
                self.place(name).await;
            }
            Outcome::Refused(whose, refusal, digest) => {
                entry.whose = whose;
                self.refuse(name, refusal, digest.map(|it| it.to_string())).await;
                self.place(name).await;
            }
        }
    }

    async fn refuse(&mut self, name: &str, refusal: Refusal, digest: Option<String>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (reason, message) = (refusal.reason(), refusal.to_string());
        let is_news = entry.refusal.as_ref().is_none_or(|(it, before)| it.to_string() != message || *before != digest)
            && !refusal.is_waiting();
        entry.retry_later(refusal.may_pass(), Instant::now());
        entry.refusal = Some((refusal, digest.clone()));
        if is_news {
            let blame = entry.refusal.as_ref().map_or("host", |(it, _)| it.blame().as_str());
            warn!(configmap = %name, reason, blame, %message, "plugin refused; what answered before goes on");
            self.preparer.context.metrics.swap(reason);
            let from = entry.installed.as_ref().and_then(Installed::top).map(ToString::to_string);
            self.record(name, &[], "refused", from, digest, format!("{reason}: {message}"));
        }
        self.tell(name).await;
    }

    /// Gives the slots what they are to have of the plugin, and of the others of its set.
    async fn place(&mut self, name: &str) {
        let members = self.members(name);
        if !self.is_complete(name, &members) {
            for member in &members {
                self.tell(member).await;
            }
            return;
        }
        let mut saved = Vec::new();
        let mut installations: Vec<Installation> = Vec::new();
        let mut changes = Vec::new();
        for member in &members {
            let Some(entry) = self.entries.get_mut(member) else { continue };
            saved.push((member.clone(), entry.save()));
            if entry.refusal.is_none() {
                entry.take_ready();
            }
            let installation = entry.installation();
            let next = Installed::of(&installation);
            let before = entry.installed.clone();
            if before.as_ref() == Some(&next) || (before.is_none() && installation.versions.is_empty()) {
                continue;
            }
            if let Some(before) = before.as_ref().filter(|it| it.source != next.source) {
                installations.push(Installation { source: before.source.clone(), versions: Vec::new() });
            }
            installations.push(installation);
            changes.push((member.clone(), before, next));
        }
        if changes.is_empty() {
            for member in &members {
                self.tell(member).await;
            }
            return;
        }
        match self.slots.install(installations) {
            Ok(steps) => {
                for (member, before, next) in changes {
                    self.took(&member, before.as_ref(), next);
                }
                self.keep_metrics();
                self.router.swapped(&steps);
                for member in &members {
                    self.tell(member).await;
                }
            }
            Err(refused) => {
                for (member, saved) in saved {
                    if let Some(entry) = self.entries.get_mut(&member) {
                        entry.restore(saved);
                        entry.ready = None;
                    }
                }
                for member in &members {
                    self.refuse(member, Refusal::Slot(refused.clone()), None).await;
                }
            }
        }
    }

    /// The slots have it: what is written down of that.
    fn took(&mut self, name: &str, before: Option<&Installed>, next: Installed) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let from = before.and_then(Installed::top).map(ToString::to_string);
        let to = next.top().map(ToString::to_string);
        entry.installed = Some(next);
        let told = status::of(entry, &self.slots, None);
        let what = match (told.state, told.reason.as_str()) {
            ("active", "PluginPromoted") => "promoted",
            ("active", _) => "activated",
            ("shadow", _) => "shadowed",
            ("canary", _) => "canaried",
            _ => "rolled back",
        };
        info!(configmap = %name, message = %told.message, "plugin {what}");
        self.preparer.context.metrics.swap(&told.reason);
        let steps = entry.steps(&self.slots);
        self.record(name, &steps, what, from, to, told.whole_reason());
    }

    fn went(&mut self, name: &str) {
        if let Some(before) = self.preparing.remove(name) {
            before.abort();
        }
        self.board.take_down(name);
        let Some(entry) = self.entries.remove(name) else { return };
        let Some(installed) = entry.installed.as_ref() else { return };
        let steps = self.slots.remove(&installed.source);
        if steps.is_empty() {
            return;
        }
        info!(configmap = %name, steps = %steps.join(", "), "plugin given back");
        self.preparer.context.metrics.swap("PluginGivenBack");
        self.keep_metrics();
        let reason = "PluginGivenBack: the ConfigMap was taken away; what lies below answers".to_owned();
        let from = installed.top().map(ToString::to_string);
        let plugin = entry.plugin_name();
        self.remember(name, plugin, installed.source.to_string(), &steps, "removed", (from, None), reason);
        self.router.swapped(&steps);
    }

    /// What passes made known.
    async fn heard(&mut self, news: News) {
        let metrics = self.preparer.context.metrics.clone();
        let name_of = |source: &Source| source.config_map().and_then(|it| it.rsplit('/').next()).map(str::to_owned);
        match news {
            News::FirstPass { took, .. } => metrics.swapped_in(took),
            News::Differed { step, plugin, digest, fields } => {
                metrics.shadow_differed(&step, &plugin, &digest.to_string(), fields);
            }
            News::Promoted { source, digest, steps } => {
                let Some(name) = name_of(&source) else { return };
                let Some(entry) = self.entries.get_mut(&name) else { return };
                entry.promoted = Some(digest);
                self.router.swapped(&steps);
                // First what has to outlast this process, then what people read.
                self.decide(&name).await;
                self.place(&name).await;
            }
            News::RolledBack { source, digest, steps, reason, message } => {
                let Some(name) = name_of(&source) else { return };
                let Some(entry) = self.entries.get_mut(&name) else { return };
                if entry.current.as_ref().is_some_and(|it| *it.digest() == digest) {
                    entry.cause = Some(format!("{reason}: {message}"));
                    entry.taken_back = Some(digest);
                } else if entry.before.as_ref().is_some_and(|it| *it.digest() == digest) {
                    entry.before = None;
                }
                self.router.swapped(&steps);
                // First what has to outlast this process, then what people read.
                self.decide(&name).await;
                self.place(&name).await;
            }
        }
    }

    /// Writes down what the host decided, so that it outlasts this process.
    async fn decide(&mut self, name: &str) {
        let leads = *self.leads.borrow();
        let Some(entry) = self.entries.get(name).filter(|it| leads && it.whose == Whose::Ours) else { return };
        let decisions = [(wish::ROLLED_BACK, &entry.taken_back), (wish::PROMOTED, &entry.promoted)];
        let decisions: Vec<(&str, String)> =
            decisions.into_iter().filter_map(|(key, digest)| Some((key, digest.as_ref()?.to_string()))).collect();
        for (annotation, digest) in decisions {
            if let Some(map) = self.teller.decide(name, annotation, &digest).await
                && self.see(map)
            {
                self.read(Instant::now()).await;
            }
        }
    }

    /// Tries again what was refused for reasons that lie elsewhere, and writes down what could not be written before.
    async fn again(&mut self) {
        let now = Instant::now();
        let mut due = false;
        for entry in self.entries.values_mut().filter(|it| it.retry_at.is_some_and(|at| at <= now)) {
            entry.retry_now();
            due = true;
        }
        if due {
            self.read(now).await;
        }
        let undecided = |entry: &Entry| entry.taken_back.is_some() || entry.promoted.is_some();
        let names: Vec<String> =
            self.entries.iter().filter(|(_, it)| undecided(it)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.decide(&name).await;
        }
    }

    /// Something outside of the ConfigMaps changed that refusals may be about: those are tried again at once. A Secret of keys
    /// is the measure of what was taken up as well.
    async fn remedied(&mut self, remedy: Remedy) {
        let concerned = |entry: &&mut Entry| {
            remedy == Remedy::Keys || entry.refusal.as_ref().is_some_and(|(refusal, _)| refusal.may_pass())
        };
        let mut due = false;
        for entry in self.entries.values_mut().filter(concerned) {
            entry.failures = 0;
            entry.retry_now();
            due = true;
        }
        if due {
            self.read(Instant::now()).await;
        }
    }

    async fn tell_all(&mut self) {
        let names: Vec<String> = self.entries.keys().cloned().collect();
        for name in names {
            self.tell(&name).await;
            self.decide(&name).await;
        }
    }

    /// Puts up how the plugin stands, and tells it on the ConfigMap if this process leads.
    async fn tell(&mut self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        let set = self.set_words(name);
        let Some(map) = self.seen.get(name).map(|seen| seen.map.clone()) else { return };
        if entry.is_untold() || entry.whose == Whose::Theirs {
            return;
        }
        let ours = entry.whose == Whose::Ours;
        let mut telling = status::of(entry, &self.slots, set);
        status::complete(&mut telling, entry, &map);
        self.board.post(status::posted(name, entry, &telling));
        if ours
            && *self.leads.borrow()
            && let Some(map) = self.teller.tell(&map, &telling).await
            && let Some(seen) = self.seen.get_mut(name).filter(|seen| seen.print == print(&map))
        {
            // Had somebody else changed it meanwhile, it would be for the watch to say so: from here nobody would act on it.
            seen.map = Arc::new(map);
        }
    }

    /// The plugins that are swapped together with this one, itself among them.
    fn members(&self, name: &str) -> Vec<String> {
        let set = self.entries.get(name).and_then(|entry| entry.wishes.set.as_ref()).map(|(set, _)| set);
        match set {
            None => vec![name.to_owned()],
            Some(set) => {
                let of_it = |entry: &Entry| entry.wishes.set.as_ref().is_some_and(|(it, _)| it == set);
                self.entries.iter().filter(|(_, it)| of_it(it)).map(|(name, _)| name.clone()).collect()
            }
        }
    }

    fn is_complete(&self, name: &str, members: &[String]) -> bool {
        let Some(entry) = self.entries.get(name) else { return false };
        let Some((_, size)) = &entry.wishes.set else { return true };
        let settled =
            |name: &String| self.entries.get(name).is_some_and(Entry::is_settled) && !self.preparing.contains_key(name);
        members.len() >= *size && members.iter().all(settled)
    }

    /// Why a member of a set waits; `None`: it does not.
    fn set_words(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name)?;
        let (set, size) = entry.wishes.set.as_ref()?;
        let members = self.members(name);
        if self.is_complete(name, &members) {
            return None;
        }
        let ready: Vec<&String> = members
            .iter()
            .filter(|it| self.entries.get(*it).is_some_and(Entry::is_settled) && !self.preparing.contains_key(*it))
            .collect();
        let missing: Vec<&str> = members.iter().filter(|it| !ready.contains(it)).map(String::as_str).collect();
        let rest = match (missing.as_slice(), size.saturating_sub(members.len())) {
            ([], unseen) => format!("{unseen} more ConfigMaps with annotation {}={set} are to come", wish::SET),
            (missing, _) => format!("not ready: {}", missing.join(", ")),
        };
        Some(format!(
            "{} of the {size} plugins of set `{set}` are ready, and none is taken up before all are; {rest}",
            ready.len()
        ))
    }

    /// Drops the metrics of versions that are gone.
    fn keep_metrics(&self) {
        let mut digests: HashSet<String> =
            self.slots.versions().iter().map(|(_, it)| it.guest.digest().to_string()).collect();
        digests.extend(self.slots.chain().iter().map(|it| it.guest.digest().to_string()));
        self.preparer.context.metrics.keep_versions(&digests);
    }

    fn record(
        &self,
        name: &str,
        steps: &[String],
        what: &str,
        from: Option<String>,
        to: Option<String>,
        reason: String,
    ) {
        let Some(entry) = self.entries.get(name) else { return };
        self.remember(name, entry.plugin_name(), entry.source.to_string(), steps, what, (from, to), reason);
    }

    #[allow(clippy::too_many_arguments, reason = "one call, each argument a column of the history")]
    fn remember(
        &self,
        name: &str,
        plugin: String,
        source: String,
        steps: &[String],
        what: &str,
        (from, to): (Option<String>, Option<String>),
        reason: String,
    ) {
        // One that stands by has swapped nothing that anybody saw.
        let theirs = self.entries.get(name).is_some_and(|it| it.whose == Whose::Shared);
        if !*self.leads.borrow() || theirs {
            return;
        }
        self.board.add(Swap {
            time: k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            steps: steps.to_vec(),
            config_map: name.to_owned(),
            plugin,
            from,
            to,
            source,
            what: what.to_owned(),
            reason,
        });
        let _ = self.told_history.try_send(());
    }
}

/// Of everything in a ConfigMap that somebody else than the host decides.
fn print(map: &ConfigMap) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    put(map.uid().unwrap_or_default().as_bytes());
    for (key, value) in map.annotations().iter().filter(|(key, _)| !told::ALL.contains(&key.as_str())) {
        put(key.as_bytes());
        put(value.as_bytes());
    }
    put(b"data");
    for (key, value) in map.data.iter().flatten() {
        put(key.as_bytes());
        put(value.as_bytes());
    }
    put(b"binaryData");
    for (key, value) in map.binary_data.iter().flatten() {
        put(key.as_bytes());
        put(&value.0);
    }
    hash.finalize().into()
}
