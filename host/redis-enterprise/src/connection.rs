//! A few kept-alive HTTP/1.1 connections to each node, dialled again when they break. Knows nothing of what is asked, except
//! that a node is asked first, without credentials, whether it is a member of a cluster.
//!
//! Until the cluster has taken a credential, requests with it go to a node one after another, so that a refusal is known before the
//! next request is sent. A request is sent a second time only if the first surely never left, or asks without changing anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::dialer::{Dialer, PodRef};
use crate::error::{CallError, Cause};
use crate::settings::Settings;
use crate::tls::Certificate;

/// Where every node serves the REST API (REST reference, 1.1).
const PORT: u16 = 9443;
/// Asked of a node without credentials; a member refuses to answer that (REST reference, 1.4).
pub(crate) const BOOTSTRAP: &str = "/v1/bootstrap";
/// A connection that was silent for longer is not trusted: what forwards it may have forgotten it without a word, and a
/// node would seem not to answer. The node that is read at rest is asked every few seconds, so only others dial again.
const IDLE: Duration = Duration::from_secs(30);
/// Room for some thousands of databases.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Requests that a node is sent at the same time. One fewer than the refusals that lock an account (REST reference, 1.4), so that a
/// password which ceases to be valid costs no more than these; they rest long afterwards (`lockout`).
const AT_ONCE: usize = 4;
/// Grows with every change of the cluster's configuration (REST reference, 1.2).
const STATE_ID: &str = "cluster-state-id";
/// What makes a lost reply a lookup (REST reference, 11.1).
const TASK_ID: &str = "x-task-id";

/// A request to one node.
pub(crate) struct Exchange {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: Option<Bytes>,
    pub(crate) limit: Duration,
    /// The id under which a task is to be found that the request begins (REST reference, 11.1).
    pub(crate) task: Option<String>,
}

impl Exchange {
    pub(crate) fn get(path: &str, limit: Duration) -> Self {
        Self { method: Method::GET, path: path.to_owned(), body: None, limit, task: None }
    }

    /// Changes nothing, so that it may be sent twice.
    pub(crate) fn safe(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

/// What a node answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) state_id: Option<String>,
    /// The server says that the body is JSON.
    pub(crate) json: bool,
    pub(crate) body: Bytes,
}

impl Answer {
    /// What `GET /v1/bootstrap` without credentials tells: `None` if it tells nothing of membership.
    fn membership(&self) -> Option<bool> {
        match self.status {
            401 => Some(true),
            200 => {
                let body: Value = serde_json::from_slice(&self.body).ok()?;
                Some(body.pointer("/bootstrap_status/state")?.as_str()? == "completed")
            }
            _ => None,
        }
    }
}

/// Decides, with the connection at hand, whether credentials may be sent, and learns what became of them.
pub(crate) trait Guard: Sync {
    /// The credentials are known to be good, as far as one can know.
    fn is_proven(&self) -> bool;
    fn before(&self, pod: &PodRef, certificate: &Certificate) -> Result<HeaderValue, CallError>;
    fn after(&self, certificate: &Certificate, status: u16);
}

/// How many requests were sent, by method and status; status 0 where no answer came.
pub(crate) type Counters = Mutex<BTreeMap<(String, u16), u64>>;

/// The connections to the nodes of one cluster.
pub(crate) struct Connections {
    dialer: Arc<dyn Dialer>,
    tls: Result<TlsConnector, rustls::Error>,
    /// The cluster's name: what the nodes' certificate is made for. Of a cluster elsewhere there is none: each place is asked
    /// by its own name.
    cluster: Option<String>,
    nodes: Mutex<HashMap<PodRef, Arc<Node>>>,
    counters: Arc<Counters>,
    connect_timeout: Duration,
    probe_timeout: Duration,
}

/// The connections to one node.
struct Node {
    turns: Semaphore,
    /// Held by whoever sends credentials that may be refused.
    alone: tokio::sync::Mutex<()>,
    /// Those that carry nothing now, the last used last.
    idle: Mutex<Vec<Live>>,
}

impl Default for Node {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), alone: tokio::sync::Mutex::default(), idle: Mutex::default() }
    }
}

impl Node {
    /// One that can be used; those that cannot any more are dropped.
    fn kept(&self) -> Option<Live> {
        let mut idle = self.idle.lock();
        idle.retain(|live| !live.sender.is_closed() && live.used.elapsed() < IDLE);
        idle.pop()
    }
}

struct Live {
    sender: SendRequest<Full<Bytes>>,
    certificate: Certificate,
    host: String,
    /// The node is a member of a cluster, as it said on this connection.
    member: bool,
    /// When it last carried a reply.
    used: Instant,
    _driver: AbortOnDropHandle<()>,
}

enum Failed {
    /// Nothing of the request left.
    Unsent,
    Lost(Cause),
}

impl Connections {
    pub(crate) fn new(
        dialer: Arc<dyn Dialer>,
        tls: Result<TlsConnector, rustls::Error>,
        cluster: Option<String>,
        counters: Arc<Counters>,
        settings: &Settings,
    ) -> Self {
        let Settings { connect_timeout, probe_timeout, .. } = *settings;
        Self { dialer, tls, cluster, nodes: Mutex::default(), counters, connect_timeout, probe_timeout }
    }

    /// Drops connections to pods that are not among these.
    pub(crate) fn keep(&self, pods: &[&PodRef]) {
        self.nodes.lock().retain(|pod, _| pods.contains(&pod));
    }

    /// Sends a request without credentials.
    pub(crate) async fn anonymous(&self, pod: &PodRef, exchange: &Exchange) -> Result<Answer, CallError> {
        self.send(pod, exchange, None).await
    }

    /// Sends a request with credentials, to a member of a cluster only.
    pub(crate) async fn authorised(
        &self,
        pod: &PodRef,
        exchange: &Exchange,
        guard: &dyn Guard,
    ) -> Result<Answer, CallError> {
        self.send(pod, exchange, Some(guard)).await
    }

    async fn send(&self, pod: &PodRef, exchange: &Exchange, guard: Option<&dyn Guard>) -> Result<Answer, CallError> {
        let node = self.nodes.lock().entry(pod.clone()).or_default().clone();
        let _alone = match guard.filter(|guard| !guard.is_proven()) {
            Some(_) => Some(node.alone.lock().await),
            None => None,
        };
        let closed = || CallError::Unreachable { pod: pod.pod.clone(), cause: Cause::Closed };
        let _turn = node.turns.acquire().await.map_err(|_| closed())?;
        // The connection goes back only when the reply was read to its end: a caller that gives up half-way leaves none.
        let mut kept = node.kept();
        loop {
            let (mut live, fresh) = match kept.take() {
                Some(live) => (live, false),
                None => (self.dial(pod).await?, true),
            };
            let result = self.send_on(&mut live, pod, exchange, guard).await;
            match result {
                Ok(answer) => {
                    live.used = Instant::now();
                    node.idle.lock().push(live);
                    return Ok(answer);
                }
                Err(Attempt::Refused(error @ CallError::NotMember { .. })) => {
                    node.idle.lock().push(live);
                    return Err(error);
                }
                // The node may have another certificate by now, shown to new connections only.
                Err(Attempt::Refused(
                    CallError::CertificateChanged { .. } | CallError::CertificateNotVouched { .. },
                )) if !fresh => {}
                Err(Attempt::Refused(error)) => return Err(error),
                Err(Attempt::Failed(Failed::Unsent)) if !fresh => {}
                Err(Attempt::Failed(Failed::Lost(Cause::Closed | Cause::CutOff))) if !fresh && exchange.safe() => {}
                Err(Attempt::Failed(Failed::Unsent)) => return Err(closed()),
                Err(Attempt::Failed(Failed::Lost(cause))) => {
                    return Err(CallError::Lost { pod: pod.pod.clone(), cause });
                }
            }
        }
    }

    async fn send_on(
        &self,
        live: &mut Live,
        pod: &PodRef,
        exchange: &Exchange,
        guard: Option<&dyn Guard>,
    ) -> Result<Answer, Attempt> {
        let Some(guard) = guard else {
            let answer = self.exchange(live, exchange, None).await?;
            if exchange.safe() && exchange.path == BOOTSTRAP {
                live.member = answer.membership().unwrap_or_default();
            }
            return Ok(answer);
        };
        if !live.member {
            // To a node without a cluster every password is wrong, and a wrong password rests for a while.
            let probe = Exchange::get(BOOTSTRAP, self.probe_timeout);
            let failed = |cause| Attempt::Refused(CallError::Unreachable { pod: pod.pod.clone(), cause });
            let answer = match self.exchange(live, &probe, None).await {
                // Whatever became of the question, the request itself was not sent.
                Err(Failed::Lost(Cause::Closed) | Failed::Unsent) => return Err(Failed::Unsent.into()),
                Err(Failed::Lost(cause)) => return Err(failed(cause)),
                Ok(answer) => answer,
            };
            match answer.membership() {
                Some(true) => live.member = true,
                Some(false) => return Err(Attempt::Refused(CallError::NotMember { pod: pod.pod.clone() })),
                None => return Err(failed(Cause::Undecided)),
            }
        }
        let header = guard.before(pod, &live.certificate).map_err(Attempt::Refused)?;
        let answer = self.exchange(live, exchange, Some(header)).await?;
        guard.after(&live.certificate, answer.status);
        Ok(answer)
    }

    async fn exchange(
        &self,
        live: &mut Live,
        exchange: &Exchange,
        credentials: Option<HeaderValue>,
    ) -> Result<Answer, Failed> {
        let result = match timeout(exchange.limit, live.exchange(exchange, credentials)).await {
            Ok(result) => result,
            Err(_) => Err(Failed::Lost(Cause::TimedOut)),
        };
        let status = match &result {
            Ok(answer) => Some(answer.status),
            Err(Failed::Lost(_)) => Some(0),
            Err(Failed::Unsent) => None,
        };
        if let Some(status) = status {
            *self.counters.lock().entry((exchange.method.to_string(), status)).or_default() += 1;
        }
        result
    }

    async fn dial(&self, pod: &PodRef) -> Result<Live, CallError> {
        let unreachable = |cause| CallError::Unreachable { pod: pod.pod.clone(), cause };
        let result = match timeout(self.connect_timeout, self.connect(pod)).await {
            Ok(result) => result.map_err(|error| (Cause::from(&error), error.to_string())),
            Err(_) => Err((Cause::TimedOut, "timed out".to_owned())),
        };
        result.map_err(|(cause, error)| {
            debug!(pod = %pod.pod, ip = %pod.ip, %error, "failed to connect");
            unreachable(cause)
        })
    }

    async fn connect(&self, pod: &PodRef) -> std::io::Result<Live> {
        let stream = self.dialer.dial(pod, PORT).await?;
        let host = self.cluster.clone().unwrap_or_else(|| pod.ip.clone());
        let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
        let tls = self.tls.as_ref().map_err(|error| std::io::Error::other(error.clone()))?;
        let stream = tls.connect(name, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| Certificate::of(chain, &host));
        let certificate = certificate.ok_or(std::io::ErrorKind::InvalidData)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // What ends the connection is told to whoever uses the sender.
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        Ok(Live { sender, certificate, host, member: false, used: Instant::now(), _driver: driver })
    }
}

/// Why an attempt on one connection gave no answer.
enum Attempt {
    Refused(CallError),
    Failed(Failed),
}

impl From<Failed> for Attempt {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Live {
    async fn exchange(&mut self, exchange: &Exchange, credentials: Option<HeaderValue>) -> Result<Answer, Failed> {
        let mut request = Request::builder().method(&exchange.method).uri(&exchange.path).header(HOST, &self.host);
        if let Some(task) = &exchange.task {
            request = request.header(TASK_ID, task);
        }
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        if exchange.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(exchange.body.clone().unwrap_or_default());
        let request = request.body(body).map_err(|_| Failed::Unsent)?;
        self.sender.ready().await.map_err(|_| Failed::Unsent)?;
        let response = self.sender.try_send_request(request).await.map_err(|mut error| {
            if error.take_message().is_some() { Failed::Unsent } else { Failed::Lost(cause(error.error())) }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
            Failed::Lost(if error.is::<LengthLimitError>() { Cause::TooLarge } else { Cause::CutOff })
        })?;
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer {
            status: head.status.as_u16(),
            location: header(LOCATION.as_str()),
            state_id: header(STATE_ID),
            json: header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("json")),
            body: body.to_bytes(),
        })
    }
}

fn cause(error: &hyper::Error) -> Cause {
    if error.is_parse() { Cause::NotHttp } else { Cause::Closed }
}
