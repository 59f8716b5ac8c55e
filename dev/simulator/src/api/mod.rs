//! The REST API: who may ask what of which node, and which handler answers (REST reference, 1 to 10).
//!
//! One match for all paths, in [`route`], instead of a router: what is not in it is 404 with an error body, and every
//! answer passes the same gate of faults, credentials and redirects.

mod alerts;
mod auth;
mod bdbs;
mod cluster;
mod crdbs;
mod nodes;
mod older;
mod peer;
mod shards;
mod users;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};

pub use auth::Caller;
pub(crate) use crdbs::own_status;

use crate::{
    bootstrap,
    faults::{GatewayForm, Kind},
    node::{Node, Snapshot},
    rest_client::{self, Target},
    settings::{PEER_PORT, dial},
    state::{ClusterState, Command, Object, Refusal},
};

/// The time that the gateway takes (REST reference, 16.6).
const GATEWAY: Duration = Duration::from_millis(15);

/// A forwarded request may wait for a change to be agreed upon.
const FORWARD_LIMIT: Duration = Duration::from_secs(10);

/// By which door a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// 9443 or 8080: anybody.
    Public,
    /// The internal port: another node, which has checked the caller.
    Internal,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method.
    pub method: String,
    /// Path and query as they came.
    pub uri: String,
    /// Parts of the path.
    pub path: Vec<String>,
    /// Query; an option without a value has an empty one.
    pub query: BTreeMap<String, String>,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Call {
    /// Takes a request apart.
    pub fn new(method: &str, uri: &Uri, headers: HeaderMap, body: Bytes) -> Self {
        let query = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self {
            method: method.to_owned(),
            uri: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            path: uri.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            query: query
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            headers,
            body,
        }
    }

    /// The body as a JSON object; an empty one for no body.
    pub fn object(&self) -> Result<Object, Refusal> {
        if self.body.is_empty() {
            return Ok(Object::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Refusal::bad_request("the body is not a JSON object")),
            Err(error) => Err(Refusal::bad_request(format!("the body is not JSON: {error}"))),
        }
    }

    /// Whether it changes nothing by its method.
    pub fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// 200 with JSON.
    pub fn json(value: Value) -> Self {
        Self::json_status(200, &value)
    }

    /// JSON with a status.
    pub fn json_status(status: u16, value: &Value) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body: Bytes::from(value.to_string()) }
    }

    /// 200 with nothing, as `text/html` (REST reference, 1.2).
    pub fn empty() -> Self {
        Self::html(200, String::new())
    }

    /// A page.
    pub fn html(status: u16, page: String) -> Self {
        Self { status, content_type: "text/html; charset=utf-8", headers: Vec::new(), body: Bytes::from(page) }
    }

    /// Text.
    pub fn text(text: String) -> Self {
        Self { status: 200, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: Bytes::from(text) }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::json_status(refusal.status, &refusal.body())
    }
}

/// A request that this node may answer, with all that an answer needs.
pub struct Ask<'a> {
    /// The node.
    pub node: &'a Arc<Node>,
    /// The request.
    pub call: &'a Call,
    /// What the cluster agreed upon.
    pub state: &'a ClusterState,
    /// This node's number.
    pub own: u32,
    /// Who asks.
    pub caller: Caller,
}

impl Ask<'_> {
    /// Carries out a change, or with `?dry_run` only says what would come of it.
    pub async fn change(&self, command: Command) -> Result<Value, Refusal> {
        if self.call.query.contains_key("dry_run") {
            return self.state.clone().apply(command, &self.node.context());
        }
        self.node.propose_one(command).await
    }

    /// Only the fields of `?fields=`, of an object or of each in an array.
    pub fn fields(&self, value: Value) -> Value {
        let Some(fields) = self.call.query.get("fields") else { return value };
        let names: Vec<&str> = fields.split(',').flat_map(|part| part.split("%2C")).collect();
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.fields(item)).collect(),
            Value::Object(object) => object.into_iter().filter(|(key, _)| names.contains(&key.as_str())).collect(),
            other => other,
        }
    }
}

/// A number in a path.
pub fn uid(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("not_found", format!("{text} is not a uid")))
}

/// Answers a request; `None` = cut the connection.
pub async fn answer(node: &Arc<Node>, mut call: Call, door: Door) -> Option<Reply> {
    if door == Door::Internal {
        return Some(match call.path.first().map(String::as_str) {
            Some("peer") => peer::answer(node, &call).await,
            Some("api") => {
                call.path.remove(0);
                dispatch(node, &call, Some(Caller::root())).await.unwrap_or_else(Reply::from)
            }
            _ => Refusal::not_found("not_found", "no such internal path").into(),
        });
    }
    let header = call.headers.get("authorization").and_then(|value| value.to_str().ok());
    // `rladmin` is not counted: probes of health call it all the time.
    if !header.is_some_and(|header| header.starts_with("Bearer rladmin")) {
        *node.requests.lock().entry(call.method.to_string()).or_default() += 1;
    }
    node.take_time(GATEWAY).await;
    let applies = |path: &str| call.uri.starts_with(path);
    let gateway = node.faults.take(|kind| matches!(kind, Kind::Gateway { path, .. } if applies(path)));
    let form = gateway.and_then(|kind| if let Kind::Gateway { form, .. } = kind { Some(form) } else { None });
    match form {
        Some(GatewayForm::Html502) => {
            return Some(Reply::html(502, "<html><h1>502 Bad Gateway</h1></html>".to_owned()));
        }
        Some(GatewayForm::Html504) => {
            return Some(Reply::html(504, "<html><h1>504 Gateway Time-out</h1></html>".to_owned()));
        }
        Some(GatewayForm::Empty) => return Some(Reply::empty()),
        Some(GatewayForm::Truncated) | None => {}
    }
    let mut reply = dispatch(node, &call, None).await.unwrap_or_else(Reply::from);
    if let Some(snapshot) = node.snapshot() {
        reply.headers.push(("cluster-state-id", snapshot.generation.to_string()));
    }
    if form == Some(GatewayForm::Truncated) {
        reply.body = reply.body.slice(..reply.body.len() / 2);
    }
    let lost =
        !call.reads() && node.faults.take(|kind| matches!(kind, Kind::LoseReply { path } if applies(path))).is_some();
    (!lost).then_some(reply)
}

async fn dispatch(node: &Arc<Node>, call: &Call, trusted: Option<Caller>) -> Result<Reply, Refusal> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if let ["v1", "bootstrap", rest @ ..] = path.as_slice() {
        if bootstrap::is_member(node) {
            let snapshot = node.snapshot().ok_or_else(Refusal::no_quorum)?;
            if let Err(reply) = authenticate(node, call, &snapshot, trusted).await {
                return Ok(reply);
            }
        }
        return answer_bootstrap(node, call, rest);
    }
    let Some(snapshot) = node.snapshot() else {
        let known = node.core.lock().durable.as_ref().is_some_and(|durable| !durable.removed);
        return Err(if known {
            Refusal::no_quorum()
        } else {
            Refusal::new(503, "node_not_bootstrapped", "the node is not in a cluster")
        });
    };
    let caller = match authenticate(node, call, &snapshot, trusted).await {
        Ok(caller) => caller,
        Err(reply) => return Ok(reply),
    };
    let ask = Ask { node, call, state: &snapshot.state, own: snapshot.uid, caller };
    if let Some(reply) = nodes::local(&ask, &path) {
        return reply;
    }
    let (leads, leader) = {
        let core = node.core.lock();
        (core.leads(), core.known_master(node.settings.election_timeout() * 2))
    };
    if !leads {
        let (_, address) = leader.ok_or_else(Refusal::no_quorum)?;
        // The local `rladmin` and clusters that were told so get no redirect (REST reference, 1.5), nor do other clusters, which
        // cannot be expected to reach this one's addresses.
        let of_peer = path.last() == Some(&"_peer");
        if of_peer {
            ask.caller.permitted(call)?;
        }
        if ask.caller.root || of_peer || snapshot.state.flag("handle_redirects") {
            return forward(call, &address).await;
        }
        let mut reply = Reply::html(307, String::new());
        reply.headers.push(("location", format!("https://{address}:9443{}", call.uri)));
        return Ok(reply);
    }
    ask.caller.permitted(call)?;
    route(&ask, &path).await
}

async fn authenticate(node: &Node, call: &Call, snapshot: &Snapshot, trusted: Option<Caller>) -> Result<Caller, Reply> {
    match trusted {
        Some(caller) => Ok(caller),
        None => auth::caller(node, call, snapshot).await,
    }
}

fn answer_bootstrap(node: &Arc<Node>, call: &Call, rest: &[&str]) -> Result<Reply, Refusal> {
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::json(bootstrap::view(node))),
        ("POST", ["validate", action]) => Ok(match bootstrap::validate(node, action, &call.body) {
            Ok(_) => Reply::empty(),
            Err(status) => Reply::json_status(406, &status),
        }),
        ("POST", [action]) => bootstrap::start(node, action, &call.body).map(|()| Reply::empty()),
        _ => Err(unknown(call)),
    }
}

async fn forward(call: &Call, master: &str) -> Result<Reply, Refusal> {
    let unreachable = || Refusal::new(503, "master_unreachable", "the master node does not answer");
    let path = format!("/api{}", call.uri.strip_prefix("/api").unwrap_or(&call.uri));
    let target = Target::plain(&dial(master), PEER_PORT);
    let sent = rest_client::send(&target, &call.method, &path, &[], call.body.to_vec());
    let answer =
        tokio::time::timeout(FORWARD_LIMIT, sent).await.map_err(|_| unreachable())?.map_err(|_| unreachable())?;
    let html = answer.headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let content_type = if html { "text/html; charset=utf-8" } else { "application/json" };
    Ok(Reply { status: answer.status, content_type, headers: Vec::new(), body: answer.body })
}

fn unknown(call: &Call) -> Refusal {
    Refusal::not_found("not_found", format!("the simulator has no {} {}", call.method, call.uri))
}

/// What the master answers.
async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    if ask.node.faults.stands(&Kind::OldVersion) {
        return older::route(ask, path).await;
    }
    newest(ask, path).await
}

/// As the newest version answers.
async fn newest(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let call = ask.call;
    match path {
        ["v1", "bdbs" | "nodes" | "cluster", "alerts", ..] => alerts::route(ask, path).await,
        ["v1" | "v2", "bdbs", ..] | ["v1", "bdb_groups"] => bdbs::route(ask, path).await,
        ["v1", "nodes", ..] => nodes::route(ask, path).await,
        ["v1", "shards", ..] => shards::route(ask, path).await,
        ["v1" | "v2", "actions", ..] => shards::actions(ask, path),
        ["v1", "crdbs" | "crdb_tasks", ..] => crdbs::route(ask, path).await,
        ["v1", "users" | "roles" | "redis_acls" | "ldap_mappings", ..] => users::route(ask, path).await,
        [
            "v1",
            "cluster" | "license" | "logs" | "suffixes" | "suffix" | "modules" | "cm_settings" | "proxies"
            | "jsonschema" | "ocsp" | "metrics_config",
            ..,
        ]
        | ["v2", "modules", ..]
        | ["v4", ..] => cluster::route(ask, path).await,
        _ => Err(unknown(call)),
    }
}

/// A reply with the value, or an empty one for null.
fn reply(value: Value) -> Reply {
    if value.is_null() { Reply::empty() } else { Reply::json(value) }
}

/// `{"status":"ok"}`-less acknowledgement in JSON, for the few calls that promise an object.
fn acknowledged() -> Reply {
    Reply::json(json!({}))
}
