//! Finds the pod that leads and speaks HTTP with what it serves on its loopback, through the API server's port-forward.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Portforwarder};
use kube::{Client, ResourceExt};
use stepwright_core::delegation::steps_of_lease;
use tokio::io::{AsyncRead, AsyncWrite};

/// As in `deploy/operator.yaml`.
const LABELS: &str = "name=redis-enterprise-operator";
/// For the head of an answer; a body may take as long as it comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Incoming,
    /// What feeds the connection, for as long as the body is read.
    _forwarder: Option<Forwarder>,
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.context("the operator's answer broke off")?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole body.
    pub(crate) async fn text(mut self) -> anyhow::Result<String> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).context("the operator's answer is no text")
    }
}

struct Forwarder(Portforwarder);

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The name of the pod that leads: the Lease names it; where the Lease may not be read, the one pod with the operator's label.
pub(super) async fn pod(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<String> {
    let tried = match holder(client, namespace, lease).await {
        Ok(holder) => {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            match pods.get_opt(&holder).await {
                Ok(Some(_)) => return Ok(holder),
                // May not be read, may yet be forwarded to.
                Err(kube::Error::Api(status)) if status.code == 403 => return Ok(holder),
                Ok(None) => format!(
                    "Lease {namespace}/{lease} is held by `{holder}`, which is no pod there. An operator that runs as a process \
                     of this machine is reached with --operator-address 127.0.0.1:8081"
                ),
                Err(error) => {
                    let error = anyhow!(error).context(format!("failed to read pod {namespace}/{holder}"));
                    return Err(error);
                }
            }
        }
        Err(why) => why,
    };
    labelled(client, namespace).await.map_err(|why| {
        anyhow!("no operator was found in namespace {namespace}.\n  {tried}\n  {why}\nName its namespace with --operator-namespace")
    })
}

/// A process that runs some steps alone.
pub(super) struct Lone {
    pub(super) steps: Vec<String>,
    /// The name of its pod, or why there is none.
    pub(super) holder: Result<String, String>,
}

/// Those whose Leases are beside the operator's. Whoever may not list Leases sees the operator alone.
pub(super) async fn lone(client: &Client, namespace: &str, main: &str) -> Vec<Lone> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let Ok(found) = leases.list(&ListParams::default()).await else { return Vec::new() };
    let mut all = Vec::new();
    for lease in found {
        let name = lease.name_any();
        let steps: Vec<String> = steps_of_lease(main, &name).map(str::to_owned).collect();
        if !steps.is_empty() {
            all.push(Lone { steps, holder: held(lease.spec, &format!("Lease {namespace}/{name}")) });
        }
    }
    all
}

async fn holder(client: &Client, namespace: &str, lease: &str) -> Result<String, String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let which = format!("Lease {namespace}/{lease}");
    let found = leases.get_opt(lease).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{which} may not be read: that needs the right `get leases` in namespace {namespace}")
        }
        error => format!("{which} could not be read: {error}"),
    })?;
    held(found.ok_or_else(|| format!("there is no {which}"))?.spec, &which)
}

fn held(spec: Option<LeaseSpec>, which: &str) -> Result<String, String> {
    let spec = spec.ok_or_else(|| format!("{which} is empty"))?;
    let holder =
        spec.holder_identity.filter(|it| !it.is_empty()).ok_or_else(|| format!("{which} is held by nobody"))?;
    let until = spec.renew_time.map(|it| it.0.as_second() + i64::from(spec.lease_duration_seconds.unwrap_or(0)));
    if until.is_some_and(|until| until < Timestamp::now().as_second()) {
        return Err(format!("{which} ran out: `{holder}` held it last"));
    }
    Ok(holder)
}

async fn labelled(client: &Client, namespace: &str) -> Result<String, String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.list(&ListParams::default().labels(LABELS)).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("Pods may not be listed: that needs the right `list pods` in namespace {namespace}")
        }
        error => format!("Pods could not be listed: {error}"),
    })?;
    let runs = |pod: &Pod| pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Running");
    let running: Vec<String> = found.items.iter().filter(|pod| runs(pod)).map(ResourceExt::name_any).collect();
    match running.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("no pod with the label {LABELS} is running")),
        more => Err(format!(
            "several pods with the label {LABELS} are running, and which one leads is unknown: {}",
            more.join(", ")
        )),
    }
}

/// Asks through the API server.
pub(super) async fn through(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
) -> anyhow::Result<Answer> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await.with_context(|| {
        format!(
            "failed to forward a port to pod {namespace}/{pod}; that needs the right `create pods/portforward` (and `get`) in \
             namespace {namespace}"
        )
    })?;
    let stream = forwarder.take_stream(port).context("the API server gave no stream")?;
    let forwarder = Forwarder(forwarder);
    let mut answer = exchange(stream, path).await.with_context(|| {
        format!(
            "pod {namespace}/{pod} does not answer on port {port} of its loopback; is it of this version, and run with \
             --local-port {port}?"
        )
    })?;
    answer._forwarder = Some(forwarder);
    Ok(answer)
}

/// Asks a process of this machine.
pub(super) async fn at(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    if !address.ip().is_loopback() {
        bail!("{address} is not of this machine's loopback, and the journal is served nowhere else");
    }
    let connected = tokio::net::TcpStream::connect(address).await;
    let stream = connected.with_context(|| format!("failed to connect to {address}"))?;
    exchange(stream, path).await.with_context(|| format!("{address} does not answer as an operator does"))
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, path: &str) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What ends the connection is told to whoever reads the answer.
    tokio::spawn(connection);
    let request = Request::get(path).header(hyper::header::HOST, "localhost").body(Empty::<Bytes>::new())?;
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    let answer = answer.with_context(|| format!("no answer came within {PATIENCE:?}"))??;
    Ok(Answer { status: answer.status(), body: answer.into_body(), _forwarder: None })
}
