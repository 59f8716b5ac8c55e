//! Nodes and what a node says of itself (REST reference, 5).

use serde_json::{Value, json};

use super::{Ask, Reply, bdbs, reply, uid, unknown};
use crate::{
    bootstrap,
    clock::{self, iso},
    state::{ActionStatus, ClusterState, Command, NodeRecord, Refusal, ShardRole, nodes::NodeCommand},
};

/// Paths that any node answers itself; `None` for all others.
pub(super) fn local(ask: &Ask<'_>, path: &[&str]) -> Option<Result<Reply, Refusal>> {
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "bdbs", id, "availability"]) => Some(uid(id).and_then(|id| bdbs::availability(ask, id, false))),
        ("GET", ["v1", "local", "bdbs", id, "endpoint", "availability"]) => {
            Some(uid(id).and_then(|id| bdbs::availability(ask, id, true)))
        }
        ("GET", ["v1", "local", "node", "master_healthcheck"]) => {
            let core = ask.node.core.lock();
            let active = core.leads() || core.known_master(ask.node.settings.election_timeout() * 2).is_some();
            Some(Ok(Reply::json(json!({"status": if active { "active" } else { "inactive" }, "node_uid": ask.own}))))
        }
        ("GET", ["v1", "local", "services"]) => {
            let started =
                clock::now().saturating_sub(u64::try_from(ask.node.started.elapsed().as_millis()).unwrap_or(0));
            let service = json!({"status": "RUNNING", "start_time": iso(started), "uptime": format!("{} s", ask.node.started.elapsed().as_secs())});
            let names = ["ccs", "cnm_http", "dmcproxy", "metrics_exporter", "sentinel_service"];
            Some(Ok(Reply::json(Value::Object(
                names.iter().map(|name| ((*name).to_owned(), service.clone())).collect(),
            ))))
        }
        (_, ["v1", "local", ..]) => Some(Err(unknown(ask.call))),
        _ => None,
    }
}

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "nodes"]) => {
            Ok(Reply::json(ask.fields(state.nodes.values().map(|node| view(ask, node)).collect())))
        }
        ("GET", ["v1", "nodes", "status"]) => {
            let all = state.nodes.values().map(|node| (node.uid.to_string(), status(ask, node)));
            Ok(Reply::json(Value::Object(all.collect())))
        }
        ("GET", ["v1", "nodes", "actions"]) => Ok(Reply::json(json!({"actions": node_actions(state, None)}))),
        ("GET", ["v1", "nodes", "check", id]) => {
            let node = state.node(uid(id)?)?;
            Ok(Reply::json(check(node)))
        }
        ("GET", ["v1", "nodes", id]) => Ok(Reply::json(ask.fields(view(ask, state.node(uid(id)?)?)))),
        ("GET", ["v1", "nodes", id, "status"]) => Ok(Reply::json(status(ask, state.node(uid(id)?)?))),
        // 200 with an empty body (REST reference, 5.1).
        ("PUT", ["v1", "nodes", id]) => {
            ask.change(Command::Node(NodeCommand::Update { uid: uid(id)?, patch: ask.call.object()? })).await.map(reply)
        }
        ("GET", ["v1", "nodes", id, "snapshots"]) => {
            let node = state.node(uid(id)?)?;
            let snapshots = node.maintenance.iter().map(|snapshot| snapshot_view(node, snapshot));
            Ok(Reply::json(snapshots.collect()))
        }
        ("GET", ["v1", "nodes", id, "actions"]) => {
            state.node(uid(id)?)?;
            Ok(Reply::json(json!({"actions": node_actions(state, Some(id))})))
        }
        ("GET", ["v1", "nodes", id, "actions", name]) => {
            let found = node_actions(state, Some(id))
                .into_iter()
                .rfind(|action| action.get("name").is_some_and(|one| *one == json!(action_name(name))));
            found
                .map(Reply::json)
                .ok_or_else(|| Refusal::not_found("action_not_found", format!("{name} does not run on node {id}")))
        }
        ("POST", ["v1", "nodes", id, "actions", name]) => act(ask, uid(id)?, name).await,
        ("DELETE", ["v1", "nodes", id, "actions", name]) => cancel(ask, uid(id)?, name).await,
        _ => Err(unknown(ask.call)),
    }
}

/// The name of an action differs from its path.
fn action_name(path: &str) -> &str {
    if path == "remove" { "remove_node" } else { path }
}

async fn act(ask: &Ask<'_>, uid: u32, name: &str) -> Result<Reply, Refusal> {
    let body = ask.call.object()?;
    let command = match name {
        "remove" => NodeCommand::Remove { uid },
        "maintenance_on" => NodeCommand::MaintenanceOn {
            uid,
            overwrite: body.get("overwrite_snapshot").and_then(Value::as_bool).unwrap_or(false),
        },
        "maintenance_off" => NodeCommand::MaintenanceOff { uid },
        _ => return Err(unknown(ask.call)),
    };
    ask.change(Command::Node(command)).await.map(reply)
}

async fn cancel(ask: &Ask<'_>, uid: u32, name: &str) -> Result<Reply, Refusal> {
    let node = ask.state.node(uid)?;
    let running = ask.state.actions.iter().any(|action| {
        Some(&action.uid) == node.action.as_ref()
            && action.name == action_name(name)
            && action.status == ActionStatus::Running
    });
    if !running {
        // One that has ended is cleared (REST reference, 5.3).
        let name = action_name(name).to_owned();
        return ask.change(Command::Node(NodeCommand::ForgetAction { uid, name })).await.map(reply);
    }
    let error = "cancelled".to_owned();
    ask.change(Command::Node(NodeCommand::Abandon { uid, error, cancelled: true })).await.map(reply)
}

fn node_actions(state: &ClusterState, uid: Option<&str>) -> Vec<Value> {
    let of_node = state.actions.iter().filter(|action| action.object.starts_with("node:"));
    of_node.filter(|action| uid.is_none_or(|uid| action.object_uid() == uid)).map(|action| action.node_view()).collect()
}

fn shards_on(state: &ClusterState, node: u32) -> Vec<(u32, ShardRole)> {
    let shards = state.bdbs.values().flat_map(|bdb| &bdb.shards);
    shards.filter(|shard| shard.node == node).map(|shard| (shard.uid, shard.role)).collect()
}

fn uptime(ask: &Ask<'_>, node: &NodeRecord) -> u64 {
    ask.node.observed().get(&node.uid).map_or(0, |(_, report)| report.uptime)
}

fn view(ask: &Ask<'_>, node: &NodeRecord) -> Value {
    let shards: Vec<u32> = shards_on(ask.state, node.uid).into_iter().map(|(uid, _)| uid).collect();
    let count = shards.len();
    json!({
        "uid": node.uid, "addr": node.addr, "external_addr": node.external_addr, "status": node.status,
        "accept_servers": node.accept_servers, "rack_id": node.rack_id, "second_rack_id": "", "shard_list": shards,
        "shard_count": count, "ram_shard_count": count, "flash_shard_count": 0, "total_memory": node.total_memory,
        "cores": node.cores, "uptime": uptime(ask, node), "architecture": std::env::consts::ARCH,
        "system_time": iso(clock::now()), "persistent_storage_path": node.persistent_path,
        "persistent_storage_size": 1_081_100_128_256.0, "ephemeral_storage_path": node.persistent_path,
        "ephemeral_storage_size": 1_081_100_128_256.0, "bigredis_storage_path": "/var/opt/redislabs/flash",
        "bigstore_driver": "", "bigstore_size": 0.0, "bigstore_enabled": false, "software_version": node.software_version,
        "supported_database_versions": bootstrap::database_versions(&node.redis_version),
        "max_listeners": node.max_listeners, "max_redis_servers": node.max_redis_servers, "max_redis_forks": -1,
        "max_slave_full_syncs": -1, "recovery_path": node.recovery_path, "os_family": "simulator", "os_name": "simulator",
        "os_version": "1", "os_semantic_version": "1.0.0", "fips_enabled": false, "use_internal_ipv6": false,
        "oss_cluster_ip_mapping": [], "public_addr": "", "hostname": node.hostname,
    })
}

fn snapshot_view(node: &NodeRecord, (name, time): &(String, clock::Millis)) -> Value {
    json!({"name": name, "created_time": clock::snapshot_time(*time), "node_uid": node.uid})
}

fn status(ask: &Ask<'_>, node: &NodeRecord) -> Value {
    if !node.is_up() {
        let ago = node.down_since.map_or(0, |since| clock::now().saturating_sub(since) / 1000);
        return json!({"hostname": node.hostname, "node_status": node.status, "role": "slave", "last_seen_seconds_ago": ago});
    }
    let state = ask.state;
    let (masters, slaves): (Vec<_>, Vec<_>) =
        shards_on(state, node.uid).into_iter().partition(|(_, role)| *role == ShardRole::Master);
    let uids = |shards: Vec<(u32, ShardRole)>| shards.into_iter().map(|(uid, _)| uid).collect::<Vec<_>>();
    let used: u64 = ask
        .node
        .observed()
        .get(&node.uid)
        .map_or(0, |(_, report)| report.shards.values().map(|shard| shard.used_memory).sum());
    // The real node keeps about a fifth for itself; the number is as synthetic as the memory.
    let free = node.total_memory / 5 * 4;
    let mut view = json!({
        "hostname": node.hostname, "role": if node.uid == ask.own { "master" } else { "slave" }, "node_status": node.status,
        "cores": node.cores, "free_ram": free.saturating_sub(used), "total_memory": node.total_memory,
        "free_provisional_ram": if node.accepts_shards() { state.free_provisional(node) } else { 0 },
        "total_provisional_ram": node.provisional_memory(), "node_overbooking_depth": 0, "master_shards": uids(masters),
        "slave_shards": uids(slaves), "software_version": node.software_version, "software_version_sha": "simulator",
    });
    if let (Some(view), Some(snapshot)) = (view.as_object_mut(), &node.maintenance) {
        view.insert("maintenance_snapshot".to_owned(), snapshot_view(node, snapshot));
    }
    view
}

/// Part of `GET /v1/cluster/check` and the whole of `GET /v1/nodes/check/{uid}`.
pub(super) fn check(node: &NodeRecord) -> Value {
    if node.is_up() {
        json!({"node_uid": node.uid, "result": true})
    } else {
        json!({"node_uid": node.uid, "result": false, "error": "the node is down"})
    }
}
