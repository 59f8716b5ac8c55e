//! Puts the parts together and keeps them running: caches, router, one queue for each pipeline, leadership.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::{applier, watcher};
use kube::{Client, ResourceExt};
use rand::Rng;
use serde_json::Value;
use stepwright_core::compare::{owned_fields, without};
use stepwright_core::manifest::Within;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::pipeline::Pipeline;
use stepwright_core::secrets::{Fingerprinter, Generate, SecretError, is_named};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span, warn};

use crate::admission::{self, AdmissionSettings};
use crate::apply::{MANAGER, Primary};
use crate::cache::{Caches, Change, owner_of};
use crate::calendar;
use crate::delegation::{self, Delegation, Runners};
use crate::error::PassError;
use crate::fight::Fights;
use crate::guests::{GuestSettings, Guests};
use crate::identity::Clients;
use crate::journal::Journal;
use crate::lease::Leadership;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pass::{Next, Purity, pass};
use crate::plugin_maps::{Loader, PluginMaps};
use crate::plugins::PluginSettings;
use crate::plugins::prepare::Preparer;
use crate::router::{Queue, Router};
use crate::slots::Slots;
use crate::system::{ManagedSystem, News, Reader};

/// Passes of one kind that run at the same time.
const CONCURRENCY: u16 = 16;
const BACKOFF_FLOOR: Duration = Duration::from_millis(200);
const BACKOFF_CEILING: Duration = Duration::from_secs(60);
/// Questions to shadows that may wait for their turn; one is asked at a time.
const SHADOWS_WAITING: usize = 64;
/// How long news of facts may have to wait for others, at most.
const FACTS_REST: Duration = Duration::from_millis(200);
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
    kinds: Vec<TypeRef>,
    /// The operator's own namespace.
    pub(crate) home: String,
    leads: watch::Receiver<bool>,
    /// By kind: when its schema was first looked at, when last, and whether it has conditions.
    conditions: parking_lot::Mutex<HashMap<TypeRef, (Instant, Instant, bool)>>,
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

/// Everything that the operator is made of, before it runs.
pub struct Operator {
    pub client: Client,
    /// As this process goes through them: `delegation.part.pipelines()`.
    pub pipelines: Vec<Pipeline>,
    pub caches: Arc<Caches>,
    pub changes: mpsc::UnboundedReceiver<Change>,
    pub slots: Arc<Slots>,
    pub system: Arc<dyn ManagedSystem>,
    pub fingerprinter: Arc<Fingerprinter>,
    pub metrics: Arc<Metrics>,
    /// Where passes are recorded.
    pub journal: Arc<Journal>,
    pub leadership: Leadership,
    /// The operator's own namespace: where plugins are looked for.
    pub namespace: String,
    /// Which namespaces are watched besides.
    pub guests: GuestSettings,
    /// The name of this process in Events.
    pub identity: String,
    pub loader: Loader,
    /// How plugins from ConfigMaps are dealt with.
    pub plugins: PluginSettings,
    /// One in so many questions is asked twice, to see that plugins are pure. 0: none.
    pub purity_every: u64,
    /// Which steps are this process' to run.
    pub delegation: Delegation,
    /// Where the API server asks before it stores something. `None`: nowhere.
    pub admission: Option<AdmissionSettings>,
    pub ready: Arc<AtomicBool>,
}

impl Operator {
    /// Runs until stopped. Ends early when leadership is lost or a task of its own ends.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            client,
            pipelines,
            caches,
            mut changes,
            slots,
            system,
            fingerprinter,
            metrics,
            journal,
            leadership,
            namespace,
            guests,
            identity,
            loader,
            plugins,
            purity_every,
            delegation,
            admission,
            ready,
        } = self;
        let pipelines: Vec<Arc<Pipeline>> = pipelines.into_iter().map(Arc::new).collect();
        let admitted = pipelines.clone();
        // Kinds without steps are looked at before they are stored, and not after.
        let pipelines: Vec<Arc<Pipeline>> = pipelines.into_iter().filter(|it| !it.steps.is_empty()).collect();
        let mut kinds: Vec<TypeRef> = pipelines.iter().map(|it| it.type_ref()).collect();
        kinds.extend(slots.kinds());
        kinds.extend(system.needs());
        caches.ensure(kinds.clone());

        let reporter = Reporter { controller: "stepwright".to_owned(), instance: Some(identity) };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let context = Arc::new(Context {
            client: client.clone(),
            caches: caches.clone(),
            slots: slots.clone(),
            system: system.clone(),
            fingerprinter,
            metrics: metrics.clone(),
            journal,
            memory: Memory::default(),
            fights: Fights::default(),
            clients: Clients::new(client.clone()),
            purity: Purity::new(purity_every),
            recorder: Recorder::new(client.clone(), reporter),
            guest_calls: Semaphore::new(cores),
            // Not shared with passes: the API server waits for these.
            admission_calls: Semaphore::new(cores),
            shadow_calls: Semaphore::new(1),
            shadow_turns: Arc::new(Semaphore::new(SHADOWS_WAITING)),
            background: TaskTracker::new(),
            delegation,
            runners: Runners::default(),
            kinds: pipelines.iter().map(|it| it.type_ref()).collect(),
            home: namespace.clone(),
            leads: leadership.leads.clone(),
            conditions: parking_lot::Mutex::default(),
        });
        let router = Arc::new(Router {
            pipelines: pipelines.clone(),
            queues: parking_lot::RwLock::default(),
            slots: slots.clone(),
            caches: caches.clone(),
            system: system.clone(),
        });

        caches.ensure_in_guests(router.guest_kinds());
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let leads = leadership.leads.clone();
        if context.delegation.part.alone().is_none() {
            tasks.spawn(Guests::new(guests, context.clone(), router.clone(), leads).run());
        } else {
            caches.guests_are_known();
        }
        let stores: Stores = Arc::default();
        {
            let (router, stores) = (router.clone(), stores.clone());
            tasks.spawn(async move {
                while let Some(change) = changes.recv().await {
                    remember(&stores, &change);
                    router.changed(&change);
                }
                Ok(())
            });
        }
        {
            let router = router.clone();
            let mut facts = system.changes();
            tasks.spawn(async move {
                loop {
                    match facts.recv().await {
                        Ok(news) => {
                            let started = Instant::now();
                            match together(news, &mut facts) {
                                Some(all) => all.iter().for_each(|news| router.facts_changed(news)),
                                None => router.changes_missed(),
                            }
                            // Each time every primary is looked at: what comes meanwhile is dealt with in one go.
                            tokio::time::sleep(started.elapsed().min(FACTS_REST)).await;
                        }
                        Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => router.changes_missed(),
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(()),
                    }
                }
            });
        }
        if let Some(settings) = admission.filter(|_| context.delegation.part.alone().is_none()) {
            let leads = leadership.leads.clone();
            tasks.spawn(admission::run(settings, context.clone(), admitted, leads, stop.clone()));
        }
        {
            let router = router.clone();
            tasks.spawn(calendar::watch(move || router.day_turned()));
        }
        tasks.spawn(delegation::watch(context.clone(), router.clone(), namespace.clone()));
        let preparer =
            Preparer { context: context.clone(), pipelines: pipelines.clone(), loader, settings: plugins, namespace };
        let maps = PluginMaps::new(preparer, router.clone(), leadership.leads.clone());
        tasks.spawn(maps.run());

        caches.synced(&kinds).await;
        ready.store(true, Ordering::Relaxed);
        info!("caches filled; waiting to lead");

        let lead = lead(context, router, stores, pipelines, leadership);
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = lead => ended,
            ended = tasks.join_next() => match ended {
                Some(Ok(Err(error))) => Err(error),
                Some(Err(error)) => Err(error.into()),
                _ => anyhow::bail!("a task of the operator ended by itself"),
            },
        }
    }
}

/// The news that are there already, as few as possible: those of one system together. `None`: some were missed.
fn together(first: News, more: &mut broadcast::Receiver<News>) -> Option<Vec<News>> {
    let mut all = vec![first];
    loop {
        let news = match more.try_recv() {
            Ok(news) => news,
            Err(TryRecvError::Lagged(_)) => return None,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(all),
        };
        match all.iter_mut().find(|it| it.system == news.system) {
            None => all.push(news),
            Some(known) => {
                let both = known.facts.take().zip(news.facts);
                known.facts = both.map(|(one, other)| Arc::new(one.iter().chain(other.iter()).cloned().collect()));
            }
        }
    }
}

type Stores = Arc<parking_lot::Mutex<HashMap<TypeRef, Writer<DynamicObject>>>>;

/// All that a queue has to know of a primary: the pass takes it from the caches.
fn named(object: &DynamicObject) -> DynamicObject {
    let ObjectMeta { name, namespace, uid, .. } = object.metadata.clone();
    let metadata = ObjectMeta { name, namespace, uid, ..ObjectMeta::default() };
    DynamicObject { types: object.types.clone(), metadata, data: Value::Null }
}

/// The queue's own view of which primaries exist.
fn remember(stores: &Stores, change: &Change) {
    if let Some(writer) = stores.lock().get_mut(&change.kind) {
        let object = named(&change.object);
        let event = if change.gone { watcher::Event::Delete(object) } else { watcher::Event::Apply(object) };
        writer.apply_watcher_event(&event);
    }
}

async fn lead(
    context: Arc<Context>,
    router: Arc<Router>,
    stores: Stores,
    pipelines: Vec<Arc<Pipeline>>,
    mut leadership: Leadership,
) -> anyhow::Result<()> {
    leadership.leads.wait_for(|leads| *leads).await?;
    info!("leading");
    let mut queues: JoinSet<()> = JoinSet::new();
    for pipeline in pipelines {
        queues.spawn(reconcile_kind(context.clone(), router.clone(), stores.clone(), pipeline));
    }
    let lost = leadership.leads.wait_for(|leads| !*leads);
    tokio::select! {
        _ = lost => anyhow::bail!("the lease was lost; starting over as one that stands by"),
        ended = queues.join_next() => match ended {
            Some(Err(error)) => Err(error.into()),
            _ => anyhow::bail!("a queue ended by itself"),
        },
    }
}

/// Reconciles the primaries of one pipeline for as long as the process leads.
async fn reconcile_kind(context: Arc<Context>, router: Arc<Router>, stores: Stores, pipeline: Arc<Pipeline>) {
    let kind = pipeline.type_ref();
    // The kind may not be served yet: its CRD comes when it comes.
    context.caches.synced(std::slice::from_ref(&kind)).await;
    let resource: ApiResource = loop {
        if let Some(served) = context.caches.served(&kind) {
            break served.resource;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let mut writer = Writer::new(resource.clone());
    let store = writer.as_reader();
    writer.apply_watcher_event(&watcher::Event::Init);
    for object in context.caches.all(&kind) {
        writer.apply_watcher_event(&watcher::Event::InitApply(named(&object)));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
    stores.lock().insert(kind.clone(), writer);
    let (sender, queue) = futures::channel::mpsc::unbounded();
    router.queues.write().insert(kind.clone(), Queue { kind: kind.clone(), resource, sender });
    router.swapped(&pipeline.steps);

    let shared = Arc::new((context, pipeline));
    let config = Config::default().concurrency(CONCURRENCY);
    let queue = queue.map(Ok::<_, std::convert::Infallible>);
    applier(|object, shared| reconcile(object, shared).boxed(), again_after_error, shared, store, queue, config)
        .for_each(|_| async {})
        .await;
}

type Shared = Arc<(Arc<Context>, Arc<Pipeline>)>;

async fn reconcile(object: Arc<DynamicObject>, shared: Shared) -> Result<Action, PassError> {
    let (context, pipeline) = shared.as_ref();
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let span = info_span!("pass", kind = %pipeline.kind, namespace = %namespace, name = %name);
    let id = id_of(pipeline, &object);
    if let Some(rest) = context.memory.rests(&id, Instant::now()) {
        return Ok(Action::requeue(rest));
    }
    let started = Instant::now();
    let result = pass(context, pipeline, &namespace, &name).instrument(span.clone()).await;
    let outcome = match &result {
        Ok(Next::AwaitChange) => "settled",
        Ok(Next::After(_)) => "again",
        Err(error) => error.reason(),
    };
    context.metrics.pass(&pipeline.kind, outcome, started.elapsed());
    context.memory.ended(&id, Instant::now());
    match result {
        Ok(next) => {
            context.memory.succeeded(&id);
            Ok(match next {
                Next::AwaitChange => Action::await_change(),
                Next::After(delay) => Action::requeue(delay),
            })
        }
        Err(error) => {
            if !error.is_quiet() {
                let blame = error.blame().as_str();
                let reason = error.reason();
                let _entered = span.entered();
                error!(error = &error as &dyn std::error::Error, reason, blame, "pass failed");
            }
            Err(error)
        }
    }
}

fn id_of(pipeline: &Pipeline, object: &DynamicObject) -> ObjectRef {
    ObjectRef {
        api_version: pipeline.api_version.clone(),
        kind: pipeline.kind.clone(),
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

fn again_after_error(object: Arc<DynamicObject>, error: &PassError, shared: Shared) -> Action {
    let (context, pipeline) = shared.as_ref();
    match error {
        PassError::NotLeader => Action::await_change(),
        PassError::NotSynced { .. } => Action::requeue(BACKOFF_FLOOR),
        _ => {
            let failures = context.memory.failed(&id_of(pipeline, &object));
            Action::requeue(backoff(failures, rand::rng().random_range(0.8..1.2)))
        }
    }
}

/// Doubles with each failure in a row, up to a ceiling; `jitter` spreads those that failed together.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = BACKOFF_FLOOR.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(BACKOFF_CEILING).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use stepwright_core::part::Difference;

    use super::*;
    use crate::system::SystemId;

    #[test]
    fn backoff_doubles_up_to_its_ceiling() {
        assert_eq!(backoff(1, 1.0), BACKOFF_FLOOR);
        assert_eq!(backoff(3, 1.0), BACKOFF_FLOOR * 4);
        assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_CEILING);
    }

    #[test]
    fn news_of_one_system_that_wait_are_one() {
        let (sender, mut receiver) = broadcast::channel(3);
        let news = |name: &str, fact: Option<&str>| News {
            system: SystemId { namespace: "a".to_owned(), name: name.to_owned() },
            facts: fact.map(|fact| Arc::new(vec![(fact.to_owned(), Difference::Whole)])),
        };
        let names =
            |news: &News| news.facts.as_ref().map(|it| it.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        sender.send(news("one", Some("y"))).unwrap();
        sender.send(news("two", None)).unwrap();
        sender.send(news("two", Some("z"))).unwrap();
        let all = together(news("one", Some("x")), &mut receiver).unwrap();
        assert_eq!(all.iter().map(names).collect::<Vec<_>>(), [Some(vec!["x".to_owned(), "y".to_owned()]), None]);
        (0..9).for_each(|_| drop(sender.send(news("one", None))));
        assert!(together(news("one", None), &mut receiver).is_none());
    }

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
