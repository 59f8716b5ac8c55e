//! The node agent: plays kubelet for all nodes of the cluster.
//!
//! One task for each pod bound to a living node ([`pod`]); tasks for heartbeats ([`nodes`]) and volumes
//! ([`provisioner`]). It never creates pods and decides nothing about where they go. It differs from a kubelet in that
//! nothing is isolated, resources are not enforced, hooks (`preStop`, `postStart`) are not run, and its back-off is
//! short ([`container`]).

mod container;
mod context;
mod environment;
mod logs;
mod nodes;
mod pod;
mod probe;
mod provisioner;
mod serving;
mod status;
mod volumes;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::images::ImageTable;
use crate::network::Network;
use context::{Context, Revisions};

/// The annotation of a Node that switches it off (`off`) and on again (anything else).
pub const POWER: &str = "stepwright.dev/power";
/// The provisioner of the default StorageClass.
pub const PROVISIONER: &str = "stepwright.dev/folder";

/// Plays kubelet until it is told to stop.
pub(crate) struct Agent {
    context: Arc<Context>,
    revisions: Revisions,
    stop: CancellationToken,
}

/// A pod's task, and how it learns of changes: `None` once the object is gone.
struct Worker {
    uid: String,
    node: String,
    changes: watch::Sender<Option<Arc<Pod>>>,
    task: AbortHandle,
}

type PodKey = (String, String);

impl Agent {
    pub(crate) fn new(
        client: Client,
        folder: &Path,
        network: &Network,
        images: ImageTable,
        server: &str,
        authority: &str,
        stop: CancellationToken,
    ) -> Self {
        let (context, revisions) = Context::new(client, folder, network, images, server, authority);
        Self { context: Arc::new(context), revisions, stop }
    }

    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { context, revisions, stop } = self;
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let client = &context.client;
        tasks.spawn(context::follow(Api::<ConfigMap>::all(client.clone()), revisions.config_maps, context.clone()));
        tasks.spawn(context::follow(Api::<Secret>::all(client.clone()), revisions.secrets, context.clone()));
        tasks.spawn(context::follow(Api::<Service>::all(client.clone()), revisions.services, context.clone()));
        tasks.spawn(context::follow(
            Api::<PersistentVolumeClaim>::all(client.clone()),
            revisions.claims,
            context.clone(),
        ));
        tasks.spawn(context::follow(Api::<PersistentVolume>::all(client.clone()), revisions.volumes, context.clone()));
        tasks.spawn(provisioner::run(context.clone()));
        tasks.spawn(nodes::run(context.clone()));
        tokio::select! {
            biased;
            outcome = run_pods(context.clone(), stop.clone()) => outcome,
            Some(ended) = tasks.join_next() => match ended {
                Ok(Err(error)) => Err(error),
                _ => anyhow::bail!("a task of the node agent ended"),
            },
        }
    }
}

/// Gives each pod its task. The tasks end with this future.
async fn run_pods(context: Arc<Context>, stop: CancellationToken) -> anyhow::Result<()> {
    let pods = watcher(Api::<Pod>::all(context.client.clone()), watcher::Config::default()).default_backoff();
    let mut pods = std::pin::pin!(pods);
    let mut known: HashMap<PodKey, Arc<Pod>> = HashMap::new();
    let mut listed: Option<HashMap<PodKey, Arc<Pod>>> = None;
    let mut workers: HashMap<PodKey, Worker> = HashMap::new();
    let mut tasks: JoinSet<PodKey> = JoinSet::new();
    let mut dead_nodes = context.dead_nodes.subscribe();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                // A task ends when its pod is gone, or with the power of its node.
                if let Ok(key) = ended {
                    workers.remove(&key);
                }
            }
            Ok(()) = dead_nodes.changed() => {
                let dead = dead_nodes.borrow_and_update().clone();
                for ((namespace, name), worker) in workers.iter().filter(|(_, worker)| dead.contains(&worker.node)) {
                    worker.task.abort();
                    // Nobody gets into a dead node's pods.
                    serving::remove(&context.client, namespace, name).await;
                }
                workers.retain(|_, worker| !dead.contains(&worker.node));
            }
            event = pods.next() => match event {
                None => anyhow::bail!("the watch of pods ended"),
                Some(Err(error)) => { tracing::warn!(error = %error, "the watch of pods failed and is tried again"); }
                Some(Ok(watcher::Event::Init)) => listed = Some(HashMap::new()),
                Some(Ok(watcher::Event::InitApply(pod))) => {
                    listed.get_or_insert_default().insert(key(&pod), Arc::new(pod));
                }
                Some(Ok(watcher::Event::InitDone)) => known = listed.take().unwrap_or_default(),
                Some(Ok(watcher::Event::Apply(pod))) => { known.insert(key(&pod), Arc::new(pod)); }
                Some(Ok(watcher::Event::Delete(pod))) => { known.remove(&key(&pod)); }
            }
        }
        let dead = dead_nodes.borrow().clone();
        for (key, worker) in &workers {
            let current = known.get(key).filter(|pod| pod.uid().as_deref() == Some(&worker.uid)).cloned();
            worker.changes.send_if_modified(|seen| {
                let is_same = match (&current, &*seen) {
                    (Some(current), Some(seen)) => Arc::ptr_eq(current, seen),
                    (None, None) => true,
                    _ => false,
                };
                if !is_same {
                    *seen = current;
                }
                !is_same
            });
        }
        for (key, pod) in &known {
            let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else { continue };
            let is_ours = context.nodes.borrow().contains(&node) && !dead.contains(&node);
            // A pod of the same name waits until the one before it has been cleared away.
            if !is_ours
                || workers.contains_key(key)
                || status::is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
            {
                continue;
            }
            let (changes, receiver) = watch::channel(Some(pod.clone()));
            let (context, task_key) = (context.clone(), key.clone());
            let task = tasks.spawn(async move {
                pod::run(context, receiver).await;
                task_key
            });
            let uid = pod.uid().unwrap_or_default();
            workers.insert(key.clone(), Worker { uid, node, changes, task });
        }
    }
    // Dropping the tasks closes the lifelines of all processes. Their guards end them, and the API server that the
    // pods' status would go to ends next.
    tasks.shutdown().await;
    Ok(())
}

fn key(pod: &Pod) -> PodKey {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}
