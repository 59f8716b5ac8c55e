//! How a node becomes a member: it founds a cluster, joins one, or brings one back (REST reference, 3).

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{
    clock::{self, Millis, iso},
    faults::Kind,
    node::Node,
    peers::{self, Join, JoinReply},
    state::{ClusterState, Founding, NodeStatus, Refusal, digest, versions},
    store, tls,
};

/// Documented or assumed durations (REST reference, 16.6).
const CREATE: Duration = Duration::from_secs(16);
const JOIN: Duration = Duration::from_secs(20);

/// How the bootstrap stands.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Word of section 3.1.
    pub state: &'static str,
    /// When it began.
    pub started: Option<Millis>,
    /// When it ended.
    pub ended: Option<Millis>,
    /// Why it failed.
    pub error: Option<(String, String)>,
    /// It was not asked for: the node looks for the cluster that its volume tells of.
    pub by_itself: bool,
}

impl Progress {
    /// Of a process that has just started: one with a volume of old looks for its cluster by itself.
    pub fn at_start(member: bool, removed: bool) -> Self {
        let (state, error) = match (member, removed) {
            (_, true) => (
                "error",
                Some(("node_config_mismatch", "the node was removed from its cluster: wipe its volume and restart it")),
            ),
            (true, false) => ("joining_cluster", None),
            (false, false) => ("idle", None),
        };
        let error = error.map(|(code, message)| (code.to_owned(), message.to_owned()));
        Self { state, started: member.then(clock::now), ended: None, error, by_itself: member && !removed }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    action: Option<String>,
    cluster: ClusterPart,
    node: NodePart,
    credentials: Credentials,
    license: Option<String>,
    recovery_filename: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClusterPart {
    name: String,
    nodes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodePart {
    identity: IdentityPart,
    limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IdentityPart {
    uid: Option<Value>,
    addr: Option<String>,
    external_addr: Vec<String>,
    rack_id: Option<String>,
    accept_servers: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Limits {
    max_redis_servers: Option<u32>,
    max_listeners: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Credentials {
    username: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What the caller says of the node.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Number of a dead node to replace.
    pub uid: Option<u32>,
    /// Addresses for clients outside.
    pub external_addr: Vec<String>,
    /// Rack.
    pub rack_id: String,
    /// Whether it may hold shards.
    pub accept_servers: bool,
    /// Most shards.
    pub max_redis_servers: u32,
    /// Most endpoints.
    pub max_listeners: u32,
}

impl NodePart {
    fn identity(&self) -> Identity {
        let uid = self.identity.uid.as_ref();
        let uid = uid.and_then(|uid| uid.as_u64().or_else(|| uid.as_str()?.parse().ok()));
        Identity {
            uid: uid.and_then(|uid| u32::try_from(uid).ok()),
            external_addr: self.identity.external_addr.clone(),
            rack_id: self.identity.rack_id.clone().unwrap_or_default(),
            accept_servers: self.identity.accept_servers.unwrap_or(true),
            max_redis_servers: self.limits.max_redis_servers.unwrap_or(100),
            max_listeners: self.limits.max_listeners.unwrap_or(100),
        }
    }
}

/// Whether this node is, for the outside, a member of a cluster.
pub fn is_member(node: &Node) -> bool {
    let core = node.core.lock();
    core.settled && core.durable.as_ref().is_some_and(|durable| !durable.removed)
}

/// `GET /v1/bootstrap`.
pub fn view(node: &Node) -> Value {
    let progress = node.bootstrap.lock().clone();
    let mut status = json!({"state": progress.state});
    if let Some(status) = status.as_object_mut() {
        let times = [("start_time", progress.started), ("end_time", progress.ended)];
        times.into_iter().filter_map(|(key, time)| Some((key, time?))).for_each(|(key, time)| {
            status.insert(key.to_owned(), json!(iso(time)));
        });
        if let Some((code, message)) = progress.error {
            status.insert("error_code".to_owned(), json!(code));
            status.insert("error_details".to_owned(), json!({"message": message}));
        }
    }
    let settings = &node.settings;
    let data = settings.data.display().to_string();
    let uid = node.core.lock().uid();
    let version = &node.redis_version;
    json!({
        "bootstrap_status": status,
        "local_node_info": {
            "uid": uid.map(|uid| uid.to_string()), "architecture": std::env::consts::ARCH, "cores": settings.cores,
            "total_memory": settings.memory, "uptime": node.started.elapsed().as_secs(),
            "available_addresses": [
                {"address": settings.address, "format": "ipv4", "if_name": "eth0", "private": true}
            ],
            "persistent_storage_path": data, "persistent_storage_size": 1_081_100_128_256.0,
            "ephemeral_storage_path": data, "ephemeral_storage_size": 1_081_100_128_256.0,
            "bigredis_storage_path": "/var/opt/redislabs/flash", "bridge_interfaces": [], "fips_enabled": false,
            "software_version": settings.version, "cnm_version_sha": "simulator",
            "supported_database_versions": database_versions(version),
            "supported_bigstore_drivers": [], "os_name": "simulator", "os_family": "simulator", "os_version": "1",
            "os_semantic_version": "1.0.0", "short_hostname": settings.hostname,
        },
    })
}

/// `supported_database_versions` of a node with this redis-server.
pub fn database_versions(version: &str) -> Value {
    let entry = |(short, full): (String, String)| json!({"db_type": "redis", "version": full, "redis_version": short, "major": true});
    versions::offered(version).into_iter().map(entry).collect()
}

fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(406, code, message)
}

fn read(node: &Node, action: &str, body: &[u8]) -> Result<Body, Refusal> {
    let body: Body = serde_json::from_slice(body).map_err(|error| Refusal::bad_request(error.to_string()))?;
    if body.action.as_deref().is_some_and(|given| given != action) {
        return Err(Refusal::bad_request("the action in the body is not that of the path"));
    }
    if let Some(addr) = body.node.identity.addr.as_ref().filter(|addr| **addr != node.settings.address) {
        return Err(refuse("config_error", format!("{addr} is not an address of this node")));
    }
    match action {
        "create_cluster" => {
            let name = &body.cluster.name;
            let legal = |label: &str| {
                !label.is_empty()
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            if name.len() > 64 || !name.split('.').all(legal) {
                return Err(refuse("config_error", "the cluster's name is not a host name of at most 64 characters"));
            }
            if body.credentials.username.is_empty() || body.credentials.password.is_empty() {
                return Err(refuse("config_error", "credentials are missing"));
            }
        }
        "join_cluster" if body.cluster.nodes.is_empty() => {
            return Err(refuse("config_error", "cluster.nodes is missing"));
        }
        _ => {}
    }
    Ok(body)
}

/// `POST /v1/bootstrap/validate/{action}`: the body of a refusal is a bootstrap status.
pub fn validate(node: &Node, action: &str, body: &[u8]) -> Result<Value, Value> {
    let failed = |refusal: Refusal| json!({"state": "error", "error_code": refusal.code, "error_details": {"message": refusal.message}});
    known(action).and_then(|_| read(node, action, body)).map(|_| Value::Null).map_err(failed)
}

fn known(action: &str) -> Result<&'static str, Refusal> {
    match action {
        "create_cluster" => Ok("creating_cluster"),
        "join_cluster" => Ok("joining_cluster"),
        "recover_cluster" => Ok("recovering_cluster"),
        _ => Err(Refusal::not_found("unknown_action", format!("there is no bootstrap action {action}"))),
    }
}

/// `POST /v1/bootstrap/{action}`: begins, and answers at once.
pub fn start(node: &Arc<Node>, action: &str, body: &[u8]) -> Result<(), Refusal> {
    let at_work = known(action)?;
    let body = read(node, action, body)?;
    {
        let (has_volume, removed) = {
            let core = node.core.lock();
            (core.durable.is_some() && !core.settled, core.durable.as_ref().is_some_and(|durable| durable.removed))
        };
        let mut progress = node.bootstrap.lock();
        if removed {
            return Err(refuse(
                "node_config_mismatch",
                "the node was removed from its cluster: wipe its volume and restart it",
            ));
        }
        // A node that finds no majority for what its volume says can be told to start again from there, or to take its
        // place in a cluster that was recovered. Otherwise only `idle` and `error` are beginnings.
        let stranded = has_volume
            && progress.by_itself
            && progress.state == "joining_cluster"
            && (action == "recover_cluster" || (action == "join_cluster" && body.node.identity().uid.is_some()));
        if !matches!(progress.state, "idle" | "error") && !stranded {
            return Err(Refusal::new(409, "busy", format!("the node is {}", progress.state)));
        }
        *progress =
            Progress { state: "initiated", started: Some(clock::now()), ended: None, error: None, by_itself: false };
    }
    let node = Arc::clone(node);
    // The outcome is kept in the progress; the process outlives it.
    tokio::spawn(async move {
        node.bootstrap.lock().state = at_work;
        let outcome = match at_work {
            "creating_cluster" => create(&node, body).await,
            "joining_cluster" => join(&node, body).await,
            _ => recover(&node, &body).await,
        };
        if let Err((code, message)) = outcome {
            warn!(code, message, "bootstrap failed");
            let mut progress = node.bootstrap.lock();
            (progress.state, progress.ended, progress.error) = ("error", Some(clock::now()), Some((code, message)));
        }
    });
    Ok(())
}

type Failed = (String, String);

fn failed(refusal: Refusal) -> Failed {
    (refusal.code.to_owned(), refusal.message)
}

async fn create(node: &Node, body: Body) -> Result<(), Failed> {
    node.take_time(CREATE).await;
    let certificate = tls::self_signed(&body.cluster.name, &[&node.settings.bind, &node.settings.address]);
    let founding = Founding {
        name: body.cluster.name,
        username: body.credentials.username,
        password: body.credentials.password,
        license: body.license,
        entropy: digest(&[&node.settings.seed.to_string(), &node.boot]),
        certificate: certificate.map_err(|error| ("internal_error".to_owned(), error.to_string()))?,
        node: node.record(&body.node.identity()),
    };
    let state = ClusterState::found(founding, &node.context()).map_err(failed)?;
    node.adopt_alone(1, state).map_err(failed)
}

async fn join(node: &Node, body: Body) -> Result<(), Failed> {
    if node.faults.strikes(&Kind::ClockSkew) {
        return Err(("time_not_sync".to_owned(), "the clock differs from that of the cluster".to_owned()));
    }
    let identity = body.node.identity();
    let request = Join {
        username: body.credentials.username,
        password: body.credentials.password,
        node: node.record(&identity),
        replaces: identity.uid,
    };
    node.take_time(JOIN).await;
    let mut addresses = body.cluster.nodes;
    addresses.reverse();
    let mut hops = 0;
    let mut last = "no node answers".to_owned();
    while let Some(address) = addresses.pop() {
        match peers::ask::<_, JoinReply>(&address, "/peer/join", &request, Duration::from_secs(6)).await {
            Ok(JoinReply::Accepted { uid, entry, state }) => {
                return node.adopt_membership(uid, entry, *state, (0, address)).map_err(failed);
            }
            Ok(JoinReply::Redirect(master)) if hops < 4 => {
                hops += 1;
                addresses.push(master);
            }
            Ok(JoinReply::Redirect(_)) => last = "the nodes do not agree on a master".to_owned(),
            Ok(JoinReply::Refused { code, message }) => return Err((code, message)),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(("connect_error".to_owned(), last))
}

async fn recover(node: &Node, body: &Body) -> Result<(), Failed> {
    node.take_time(CREATE).await;
    let data = &node.settings.data;
    let path = match body.recovery_filename.as_deref() {
        // Named as it is inside the container, where the volume is mounted there.
        Some(name) => name.strip_prefix("/opt/persistent/").map_or_else(|| PathBuf::from(name), |rest| data.join(rest)),
        None => store::path(data),
    };
    let problem = |text: String| ("path_error".to_owned(), text);
    let durable = store::load(&path).map_err(|error| problem(format!("{}: {error}", path.display())))?;
    let durable = durable.ok_or_else(|| problem(format!("{} does not exist", path.display())))?;
    let identity = body.node.identity();
    let uid = identity.uid.unwrap_or(durable.uid);
    let mut survivor = node.record(&identity);
    survivor.uid = uid;
    let entropy = digest(&[&node.boot, &durable.state.incarnation]);
    let state = ClusterState::clone(&durable.state).recovered(survivor, &entropy, &node.context());
    node.adopt_alone(uid, state).map_err(failed)
}

/// Tells, for as long as the process runs, when the node has become a member, and writes `node.id` then.
pub async fn follow_membership(node: Arc<Node>) {
    let mut states = node.committed.subscribe();
    let mut noted = None;
    loop {
        let snapshot = states.borrow_and_update().clone();
        match snapshot {
            Some(snapshot) => {
                let own = snapshot.state.nodes.get(&snapshot.uid);
                let member = own.is_some_and(|own| own.voter && own.status != NodeStatus::Provisioning);
                if member && noted != Some(snapshot.uid) {
                    info!(uid = snapshot.uid, "this node is a member");
                    noted = Some(snapshot.uid);
                    if let Err(error) = std::fs::write(node.settings.etc.join("node.id"), format!("{}\n", snapshot.uid))
                    {
                        warn!(%error, "failed to write node.id");
                    }
                    let mut progress = node.bootstrap.lock();
                    (progress.state, progress.ended, progress.error) = ("completed", Some(clock::now()), None);
                }
            }
            None if noted.take().is_some() => {
                let _ = std::fs::remove_file(node.settings.etc.join("node.id"));
                *node.bootstrap.lock() = Progress::at_start(true, true);
            }
            None => {}
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}
