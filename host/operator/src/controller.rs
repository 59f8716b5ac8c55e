//! Puts the parts together and keeps them running: caches, router, one queue for each pipeline, leadership.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::{applier, watcher};
use kube::{Client, ResourceExt};
use rand::Rng;
use serde_json::Value;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::pipeline::Pipeline;
use stepwright_core::secrets::Fingerprinter;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span};

use crate::admission::{self, AdmissionSettings};
use crate::cache::{Caches, Change};
use crate::calendar;
use crate::context::Context;
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
use crate::system::{ManagedSystem, News};

/// Passes of one kind that run at the same time.
const CONCURRENCY: u16 = 16;
const BACKOFF_FLOOR: Duration = Duration::from_millis(200);
const BACKOFF_CEILING: Duration = Duration::from_secs(60);
/// Questions to shadows that may wait for their turn; one is asked at a time.
const SHADOWS_WAITING: usize = 64;
/// How long news of facts may have to wait for others, at most.
const FACTS_REST: Duration = Duration::from_millis(200);

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
}
