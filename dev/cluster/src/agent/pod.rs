//! One pod, from the moment it is bound to a node until its object is gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::container::{self, PodContext, Slot, Stop, told_to_stop};
use super::context::Context;
use super::serving::{self, Serving};
use super::status::{self, Conditions, ContainerRuntime, PodRuntime};
use super::volumes;
use crate::files;
use crate::kubeconfig::{self, User};

/// The longest that processes get to end by themselves, whatever the pod allows.
pub(crate) const LONGEST_GRACE: Duration = Duration::from_secs(10);
/// A token lives an hour.
const TOKEN_SECONDS: i64 = 3600;
const NEW_TOKEN_EVERY: Duration = Duration::from_secs(2400);
/// What failed is tried again after this time, or with the next change.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

type Changes = watch::Receiver<Option<Arc<Pod>>>;

/// Plays kubelet for one pod. Dropped at any point, it ends the pod's processes and leaves the object as it is.
pub(crate) async fn run(context: Arc<Context>, mut changes: Changes) {
    let Some(pod) = changes.borrow_and_update().clone() else { return };
    if pod.metadata.deletion_timestamp.is_none() {
        let (stop, stopped) = watch::channel(None);
        let mut life = std::pin::pin!(live(&context, pod.clone(), changes.clone(), stopped));
        tokio::select! {
            () = &mut life => {}
            grace = deletion(changes.clone()) => {
                stop.send_replace(Some(grace));
                life.await;
            }
        }
    }
    clear_away(&context, &pod).await;
    // Until the object is gone the pod's name is taken; finalizers may hold it.
    let _ = changes.wait_for(Option::is_none).await;
}

/// Waits until the pod is to go; answers how long its processes have.
async fn deletion(mut changes: Changes) -> Duration {
    let pod = changes.wait_for(|pod| pod.as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())).await;
    let seconds = pod.ok().and_then(|pod| pod.as_ref()?.metadata.deletion_grace_period_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST_GRACE)
}

async fn live(context: &Arc<Context>, pod: Arc<Pod>, changes: Changes, mut stop: Stop) {
    context.wait_for_caches().await;
    let Some(address) = context.take_address() else {
        tracing::error!(pod = pod.name_any(), "no pod address is left");
        return;
    };
    let started = tokio::select! {
        biased;
        _ = told_to_stop(&mut stop) => return,
        started = start(context, &pod, address.address) => started,
    };
    let (report, stopped) = (Report::new(&started, &changes), stop.clone());
    report_until_ended(&started, report, changes, stopped).await;
}

/// Makes the pod's folders and volumes; waits for what is missing.
async fn start(context: &Arc<Context>, pod: &Arc<Pod>, address: std::net::Ipv4Addr) -> Arc<PodContext> {
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name_any();
    let folder = context.folder.join("pods").join(&namespace).join(&name);
    let reference = pod.object_ref(&());
    let mut told = None;
    let (volumes, kubeconfig) = loop {
        let error = match set_up(context, pod, &folder, address).await {
            Ok(done) => break done,
            Err(error) => format!("{error:#}"),
        };
        if told.as_ref() != Some(&error) {
            context.event(&reference, EventType::Warning, "FailedMount", error.clone()).await;
            told = Some(error);
        }
        let mut changes = context.changes.subscribe();
        let _ = tokio::time::timeout(AGAIN_AFTER, changes.changed()).await;
    };
    let spec = pod.spec.clone().unwrap_or_default();
    let runtime = |container: &k8s_openapi::api::core::v1::Container| {
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        let restarts = status::restarts_before(pod, &container.name);
        ContainerRuntime::new(&container.name, container.image.as_deref().unwrap_or_default(), is_sidecar, restarts)
    };
    let main = spec.containers.iter().map(runtime).collect();
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| {
            let mut runtime = runtime(container);
            runtime.state = status::ContainerState::Waiting { reason: "PodInitializing", message: String::new() };
            runtime
        })
        .collect();
    Arc::new(PodContext {
        context: context.clone(),
        pod: pod.clone(),
        logs: context.folder.join("logs/pods").join(&namespace).join(&name),
        folder,
        address,
        volumes,
        kubeconfig,
        reference,
        runtime: watch::Sender::new(PodRuntime { init, main }),
        served: watch::Sender::new(Vec::new()),
    })
}

async fn set_up(
    context: &Context,
    pod: &Pod,
    folder: &std::path::Path,
    address: std::net::Ipv4Addr,
) -> anyhow::Result<(volumes::Folders, Option<std::path::PathBuf>)> {
    files::make_folder(folder)?;
    let kubeconfig = if wants_token(pod) {
        write_token(context, pod, folder).await?;
        let path = folder.join("kubeconfig");
        let token = folder.join("token");
        let namespace = pod.namespace().unwrap_or_default();
        kubeconfig::write(&path, &context.server, &context.authority, &User::TokenFile(&token), &namespace)?;
        Some(path)
    } else {
        None
    };
    let volumes = volumes::prepare(context, pod, folder, &address.to_string()).map_err(anyhow::Error::msg)?;
    Ok((volumes, kubeconfig))
}

/// The API server adds a volume with a token to the pods that are to have one.
fn wants_token(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten())
        .any(|source| source.service_account_token.is_some())
}

async fn write_token(context: &Context, pod: &Pod, folder: &std::path::Path) -> anyhow::Result<()> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: Vec::new(),
            expiration_seconds: Some(TOKEN_SECONDS),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("failed to request a token for ServiceAccount `{account}`"))?;
    let token = answer.status.context("the API server answered without a token")?.token;
    files::write_atomically(&folder.join("token"), token.as_bytes())
}

/// Runs the containers and reports what they do, until they have ended and the pod is to go.
async fn report_until_ended(pod: &Arc<PodContext>, mut report: Report, mut changes: Changes, mut stop: Stop) {
    let mut containers = JoinSet::new();
    containers.spawn(run_containers(pod.clone(), stop.clone()));
    let mut runtime = pod.runtime.subscribe();
    let mut served = pod.served.subscribe();
    let mut references = pod.context.changes.subscribe();
    let mut serving = Serving::default();
    let mut new_token = tokio::time::interval_at(Instant::now() + NEW_TOKEN_EVERY, NEW_TOKEN_EVERY);
    let mut latest = pod.pod.clone();
    let mut is_stopping = false;
    loop {
        let mut has_failed = !report.send(pod, &latest).await;
        let offered = served.borrow_and_update().clone();
        if !offered.is_empty()
            && !is_stopping
            && let Err(error) = serving.update(&pod.context, &latest, pod.address, &offered).await
        {
            tracing::warn!(pod = latest.name_any(), error = %error, "failed to write the objects of kwok");
            has_failed = true;
        }
        tokio::select! {
            biased;
            ended = containers.join_next(), if !containers.is_empty() => {
                if let Some(Err(error)) = ended {
                    tracing::error!(pod = latest.name_any(), error = %error, "the task of the containers failed");
                }
                if is_stopping {
                    report.send(pod, &latest).await;
                    return;
                }
            }
            _ = told_to_stop(&mut stop), if !is_stopping => {
                is_stopping = true;
                if containers.is_empty() {
                    return;
                }
            }
            _ = runtime.changed() => {}
            Ok(()) = served.changed() => {}
            Ok(()) = changes.changed() => {
                if let Some(pod) = changes.borrow_and_update().clone() {
                    latest = pod;
                }
            }
            Ok(()) = references.changed() => {
                // A source that is gone leaves the files as they were.
                let _ = volumes::prepare(&pod.context, &latest, &pod.folder, &pod.address.to_string());
            }
            _ = new_token.tick(), if pod.kubeconfig.is_some() => {
                if let Err(error) = write_token(&pod.context, &latest, &pod.folder).await {
                    tracing::warn!(pod = latest.name_any(), error = format!("{error:#}"), "failed to renew the token");
                    new_token.reset_after(Duration::from_secs(30));
                }
            }
            () = tokio::time::sleep(AGAIN_AFTER), if has_failed => {}
        }
    }
}

/// The init containers one after the other, then all others at once.
async fn run_containers(pod: Arc<PodContext>, stop: Stop) {
    let spec = pod.pod.spec.clone().unwrap_or_default();
    let mut sidecars = JoinSet::new();
    for (index, container) in spec.init_containers.into_iter().flatten().enumerate() {
        let slot = Slot::Init(index);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.spawn(container::run(pod.clone(), container, slot, stop.clone()));
            let mut runtime = pod.runtime.subscribe();
            let mut stop = stop.clone();
            tokio::select! {
                _ = runtime.wait_for(|all| all.init.get(index).is_some_and(ContainerRuntime::is_initialized)) => {}
                _ = told_to_stop(&mut stop) => break,
            }
        } else {
            container::run(pod.clone(), container, slot, stop.clone()).await;
        }
        let is_done = pod.runtime_of(slot).is_some_and(|container| container.is_initialized());
        if !is_done {
            break;
        }
    }
    let is_initialized = pod.runtime.borrow().init.iter().all(ContainerRuntime::is_initialized);
    let mut containers = JoinSet::new();
    if is_initialized && stop.borrow().is_none() {
        for (index, container) in spec.containers.into_iter().enumerate() {
            containers.spawn(container::run(pod.clone(), container, Slot::Main(index), stop.clone()));
        }
    }
    while containers.join_next().await.is_some() {}
    if stop.borrow().is_some() {
        while sidecars.join_next().await.is_some() {}
    }
}

/// Writes the pod's status when it changed.
struct Report {
    conditions: Conditions,
    started: Timestamp,
    sent: Option<Value>,
}

impl Report {
    fn new(pod: &PodContext, changes: &Changes) -> Self {
        let latest = changes.borrow().clone().unwrap_or_else(|| pod.pod.clone());
        let status = latest.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        Self {
            conditions: conditions
                .filter_map(|one| Some((one.type_.clone(), (one.status == "True", one.last_transition_time.clone()?))))
                .collect(),
            started: status.and_then(|status| status.start_time.as_ref()).map_or_else(Timestamp::now, |time| time.0),
            sent: None,
        }
    }

    /// Whether nothing is left to write.
    async fn send(&mut self, pod: &PodContext, latest: &Pod) -> bool {
        let facts = status::Facts {
            pod: latest,
            host: pod.context.host.to_string(),
            address: pod.address.to_string(),
            started: self.started,
            now: Timestamp::now(),
        };
        let runtime = pod.runtime.borrow().clone();
        let patch = status::patch(&facts, &runtime, &mut self.conditions);
        if self.sent.as_ref() == Some(&patch) {
            return true;
        }
        let pods: Api<Pod> = Api::namespaced(pod.context.client.clone(), &latest.namespace().unwrap_or_default());
        match pods.patch_status(&latest.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await {
            Ok(_) => {
                self.sent = Some(patch);
                true
            }
            // It is gone, or another one has its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = latest.name_any(), error = %error, "failed to write the pod's status");
                false
            }
        }
    }
}

/// Removes what the pod leaves behind, and then its object, as a kubelet does once all processes have ended.
async fn clear_away(context: &Context, pod: &Pod) {
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name_any();
    serving::remove(&context.client, &namespace, &name).await;
    let folder = context.folder.join("pods").join(&namespace).join(&name);
    if folder.exists()
        && let Err(error) = std::fs::remove_dir_all(&folder)
    {
        tracing::warn!(folder = %folder.display(), error = %error, "failed to remove a pod's folder");
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    loop {
        match pods.delete(&name, &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = name, error = %error, "failed to remove the pod's object and try again");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}
