//! A cluster for tests: nodes that answer over TLS on loopback as they are told, and caches that hold its objects.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::core::DynamicObject;
use parking_lot::{Mutex, RwLock};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use stepwright_core::object::TypeRef;
use stepwright_core::observation::{Fact, Reply};
use stepwright_core::secrets::Fingerprinter;
use stepwright_operator::system::{Known, ManagedSystem, Reader, ResolvedCall, SystemId};
use stepwright_redis_enterprise::{Dialer, Io, PodRef, RedisEnterprise, Settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const FQDN: &str = "rec.ns.svc.cluster.local";
pub(crate) const PASSWORD: &str = "pa55word";

/// A request as a node saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
    /// `X-Task-ID`.
    pub(crate) task: Option<String>,
    pub(crate) at: Instant,
}

/// What a node answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Json(u16, Value),
    Raw(u16, Vec<(&'static str, String)>, String),
    /// Announces more bytes than it sends.
    Cut(String),
    /// Closes the connection after the request was read.
    Lost,
    /// Nothing comes, and the connection stays open.
    Never,
}

pub(crate) type Handler = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// One node, listening until dropped.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    handler: Arc<RwLock<Handler>>,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    connections: Arc<Mutex<JoinSet<()>>>,
    _task: AbortOnDropHandle<()>,
}

fn acceptor(name: &str) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Node {
    pub(crate) async fn start(handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler = Arc::new(RwLock::new(handler));
        let acceptor = Arc::new(Mutex::new(acceptor(FQDN)));
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let task = {
            let (seen, handler) = (seen.clone(), handler.clone());
            let (acceptor, connections) = (acceptor.clone(), connections.clone());
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, handler) = (seen.clone(), handler.clone());
                    let acceptor = acceptor.lock().clone();
                    connections.lock().spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let service = service_fn(move |request| serve(request, seen.clone(), handler.clone()));
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            })
        };
        Self { address, seen, handler, acceptor, connections, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn answer(&self, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.handler.write() = Arc::new(handler);
    }

    /// Shows a certificate for another name from now on, and closes what is open.
    pub(crate) fn show(&self, name: &str) {
        *self.acceptor.lock() = acceptor(name);
        self.close();
    }

    /// Closes every open connection.
    pub(crate) fn close(&self) {
        self.connections.lock().abort_all();
    }

    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.seen.lock().iter().filter(|seen| seen.method == method && seen.path == path).count()
    }

    pub(crate) fn with_credentials(&self) -> usize {
        self.seen.lock().iter().filter(|seen| seen.authorization.is_some()).count()
    }
}

async fn serve(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: Arc<RwLock<Handler>>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (authorization, task) = (header("authorization"), header("x-task-id"));
    let request = Seen {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        authorization,
        body: String::from_utf8(body.to_vec()).unwrap(),
        task,
        at: Instant::now(),
    };
    let handler = handler.read().clone();
    let answer = handler(&request);
    seen.lock().push(request);
    let full = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    Ok(match answer {
        Answer::Json(status, value) => Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(full(value.to_string()))
            .unwrap(),
        Answer::Raw(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(full(body)).unwrap()
        }
        Answer::Cut(body) => {
            // What was sent has to be on its way before the connection breaks.
            let frames = futures::stream::unfold(Some(body), |body| async move {
                match body {
                    Some(body) => Some((Ok(hyper::body::Frame::data(Bytes::from(body))), None)),
                    None => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Some((Err(std::io::Error::other("cut")), None))
                    }
                }
            });
            let body = http_body_util::StreamBody::new(Box::pin(frames));
            Response::builder().header("content-type", "application/json").body(BodyExt::boxed(body)).unwrap()
        }
        Answer::Lost => return Err(std::io::Error::other("lost")),
        Answer::Never => std::future::pending().await,
    })
}

/// Caches for tests.
#[derive(Default)]
pub(crate) struct Objects {
    objects: RwLock<HashMap<(String, String, String), Arc<DynamicObject>>>,
}

impl Objects {
    pub(crate) fn put(&self, value: Value) {
        let object: DynamicObject = serde_json::from_value(value).unwrap();
        let key = Self::key(&object.types.as_ref().unwrap().kind, object.metadata.name.as_deref().unwrap());
        self.objects.write().insert(key, Arc::new(object));
    }

    pub(crate) fn remove(&self, kind: &str, name: &str) -> Arc<DynamicObject> {
        self.objects.write().remove(&Self::key(kind, name)).unwrap()
    }

    fn key(kind: &str, name: &str) -> (String, String, String) {
        (kind.to_owned(), "ns".to_owned(), name.to_owned())
    }
}

impl Reader for Objects {
    fn get(&self, kind: &TypeRef, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        self.objects.read().get(&(kind.kind.clone(), namespace.to_owned(), name.to_owned())).cloned()
    }

    fn list(&self, kind: &TypeRef, namespace: &str) -> Vec<Arc<DynamicObject>> {
        let objects = self.objects.read();
        objects.iter().filter(|(key, _)| key.0 == kind.kind && key.1 == namespace).map(|(_, it)| it.clone()).collect()
    }
}

/// Finds a node's loopback address by the address of its pod.
#[derive(Default)]
pub(crate) struct Loopback {
    nodes: Mutex<HashMap<String, SocketAddr>>,
}

#[async_trait]
impl Dialer for Loopback {
    async fn dial(&self, pod: &PodRef, port: u16) -> std::io::Result<Box<dyn Io>> {
        assert_eq!((pod.namespace.as_str(), port), ("ns", 9443));
        let address = self.nodes.lock().get(&pod.ip).copied().ok_or(std::io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}

/// A cluster of nodes and the fact source that looks at it.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) fingerprinter: Arc<Fingerprinter>,
    pub(crate) system: SystemId,
    pub(crate) source: Arc<RedisEnterprise>,
}

/// Long waits, so that nothing is read that nobody asked for.
pub(crate) fn quiet() -> Settings {
    let long = Duration::from_secs(3600);
    Settings { rest_interval: long, moving_interval: long, full_interval: long, ..Settings::default() }
}

/// Answers of a healthy member.
pub(crate) fn member(seen: &Seen) -> Answer {
    if seen.authorization.is_none() {
        return Answer::Raw(401, vec![("www-authenticate", format!("Basic realm=\"{FQDN}\""))], String::new());
    }
    match seen.path.as_str() {
        "/v1/nodes/status" => Answer::Json(200, json!({"1": {"hostname": "rec-0", "node_status": "active"}})),
        "/v1/nodes" => Answer::Json(200, json!([{"uid": 1, "status": "active"}])),
        "/v1/bdbs" => Answer::Json(200, json!([{"uid": 1, "status": "active", "authentication_redis_pass": "s3cret"}])),
        "/v1/license" => Answer::Raw(404, vec![], String::new()),
        _ => Answer::Json(200, json!({})),
    }
}

impl Cluster {
    pub(crate) async fn start(count: usize, settings: Settings) -> Self {
        Self::start_with(count, |_| settings).await
    }

    /// The same, with settings that know the nodes.
    pub(crate) async fn start_with(count: usize, settings: impl FnOnce(&[Node]) -> Settings) -> Self {
        let (objects, dialer) = (Arc::new(Objects::default()), Arc::new(Loopback::default()));
        let mut nodes = Vec::new();
        for number in 0..count {
            let node = Node::start(Arc::new(member)).await;
            dialer.nodes.lock().insert(ip(number), node.address);
            objects.put(pod(number, &ip(number)));
            nodes.push(node);
        }
        objects.put(json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster",
                           "metadata": {"namespace": "ns", "name": "rec"}, "spec": {"nodes": count}}));
        let fingerprinter = Arc::new(Fingerprinter::new([3; 32]));
        let settings = settings(&nodes);
        let source = RedisEnterprise::new(objects.clone(), dialer, fingerprinter.clone(), settings);
        let system = SystemId { namespace: "ns".to_owned(), name: "rec".to_owned() };
        let cluster = Self { nodes, objects, fingerprinter, system, source };
        cluster.password(PASSWORD);
        cluster
    }

    /// Writes the credentials Secret.
    pub(crate) fn password(&self, password: &str) {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        self.objects.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "ns", "name": "rec"},
                                "data": {"username": encode("demo@redis.com"), "password": encode(password)}}));
    }

    pub(crate) async fn facts(&self, names: &[&str]) -> Vec<Fact> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.source.facts(&self.system, &names).await.into_iter().map(Known::whole).collect()
    }

    pub(crate) async fn fact(&self, name: &str) -> Result<String, String> {
        self.facts(&[name]).await.remove(0).value
    }

    /// A request under this id.
    pub(crate) async fn call_with(&self, id: &str, method: &str, path: &str) -> Reply {
        self.send(&self.system, id, None, method, path, None).await
    }

    /// A request to another system.
    pub(crate) async fn call_to(&self, system: &SystemId, method: &str, path: &str) -> Reply {
        self.send(system, "id", None, method, path, None).await
    }

    pub(crate) async fn call(&self, target: Option<&str>, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.send(&self.system, "id", target, method, path, body).await
    }

    async fn send(
        &self,
        system: &SystemId,
        id: &str,
        target: Option<&str>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let call = ResolvedCall {
            id: id.to_owned(),
            target: target.map(str::to_owned),
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.map(|body| body.to_string()),
        };
        self.source.call(system, call).await
    }
}

pub(crate) fn ip(number: usize) -> String {
    format!("10.9.0.{}", number + 1)
}

pub(crate) fn pod(number: usize, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"namespace": "ns", "name": format!("rec-{number}"), "uid": format!("uid-{number}"),
                        "labels": {"redis.io/cluster": "rec", "redis.io/role": "node"}},
           "status": {"podIP": ip, "phase": "Running", "containerStatuses": [{"restartCount": 0, "ready": true}]}})
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn until(what: &'static str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "{caller}: {what} did not come about");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
