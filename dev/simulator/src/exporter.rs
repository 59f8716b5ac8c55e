//! The Prometheus exporter on port 8070: a few of the product's metrics, all of them measured (REST reference, 13.2).

use std::{fmt::Write, sync::Arc};

use tokio::task::JoinSet;

use crate::{
    api::{Call, Reply},
    clock,
    faults::Kind,
    node::{Node, NodeError, Snapshot},
    rest_client::{self, Target},
    serve,
    settings::{PEER_PORT, dial},
    state::{BdbStatus, NodeRecord, ShardRole},
};

/// Opens port 8070.
pub async fn listen(node: &Arc<Node>, tasks: &mut JoinSet<()>) -> Result<(), NodeError> {
    serve::open(
        node,
        tasks,
        8070,
        true,
        Arc::new(|node, call| Box::pin(async move { Some(answer(&node, &call).await) })),
    )
    .await
}

async fn answer(node: &Node, call: &Call) -> Reply {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let Some(snapshot) = node.snapshot() else { return Reply::html(503, "the node is not in a cluster".to_owned()) };
    let (leads, master) = {
        let core = node.core.lock();
        (core.leads(), core.known_master(node.settings.election_timeout() * 2))
    };
    match (path.as_slice(), master) {
        (["v2", "node"], _) => Reply::text(own_metrics(node, &snapshot)),
        ([] | ["metrics"], _) if leads => Reply::text(first(node, &snapshot)),
        ([] | ["metrics"], Some((_, address))) => {
            let mut reply = Reply::html(307, String::new());
            reply.headers.push(("location", format!("https://{address}:8070{}", call.uri)));
            reply
        }
        (["v2"], _) if leads => Reply::text(second(node, &snapshot)),
        // Any node tells of the whole cluster; the numbers are the master's.
        (["v2"], Some((_, address))) => {
            let target = Target::plain(&dial(&address), PEER_PORT);
            match rest_client::send(&target, "GET", "/peer/metrics", &[], Vec::new()).await {
                Ok(answer) if answer.status == 200 => Reply::text(String::from_utf8_lossy(&answer.body).into_owned()),
                _ => Reply::html(503, "the master does not answer".to_owned()),
            }
        }
        ([] | ["metrics"] | ["v2"], None) => Reply::html(503, "no quorum".to_owned()),
        _ => Reply::html(404, "no such path".to_owned()),
    }
}

/// Metrics of the first kind, per database and node.
fn first(node: &Node, snapshot: &Snapshot) -> String {
    let state = &snapshot.state;
    let cluster = &state.name;
    let observed = node.observed();
    let mut out = String::new();
    for bdb in state.bdbs.values() {
        let labels = format!("{{bdb=\"{}\",cluster=\"{cluster}\"}}", bdb.uid);
        let reports = || {
            bdb.shards.iter().filter_map(|shard| Some((shard, observed.get(&shard.node)?.1.shards.get(&shard.uid)?)))
        };
        let masters = || reports().filter(|(shard, _)| shard.role == ShardRole::Master).map(|(_, report)| report);
        let connections: u64 =
            observed.values().filter_map(|(_, report)| report.endpoints.get(&bdb.uid)).map(|one| one.connections).sum();
        let up = matches!(bdb.status, BdbStatus::Active | BdbStatus::ActiveChangePending | BdbStatus::ImportPending);
        for (name, value) in [
            ("bdb_up", u64::from(up)),
            ("bdb_used_memory", reports().map(|(_, report)| report.used_memory).sum()),
            ("bdb_memory_limit", bdb.number("memory_size")),
            ("bdb_no_of_keys", masters().map(|report| report.keys).sum()),
            ("bdb_instantaneous_ops_per_sec", masters().map(|report| report.ops).sum()),
            ("bdb_conns", connections),
            ("bdb_shards_used", bdb.shards.len() as u64),
        ] {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    }
    for one in state.nodes.values() {
        let _ = writeln!(out, "node_up{{cluster=\"{cluster}\",node=\"{}\"}} {}", one.uid, u8::from(one.is_up()));
        let free = state.free_provisional(one);
        let _ = writeln!(out, "node_provisional_memory{{cluster=\"{cluster}\",node=\"{}\"}} {free}", one.uid);
    }
    let _ = writeln!(out, "cluster_shards_limit{{cluster=\"{cluster}\"}} {}", state.license.shards_limit);
    out
}

/// Metrics of the second kind, for the whole cluster.
pub fn second(node: &Node, snapshot: &Snapshot) -> String {
    let state = &snapshot.state;
    let cluster = &state.name;
    let observed = node.observed();
    let mut out = String::new();
    for bdb in state.bdbs.values() {
        let status = match bdb.status {
            BdbStatus::Active => 0,
            BdbStatus::ActiveChangePending => 1,
            BdbStatus::Pending => 2,
            BdbStatus::ImportPending => 3,
            BdbStatus::DeletePending => 4,
            BdbStatus::Recovery => 5,
            BdbStatus::CreationFailed => 99,
        };
        let _ = writeln!(out, "db_status{{cluster=\"{cluster}\",db=\"{}\"}} {status}", bdb.uid);
        for shard in &bdb.shards {
            let Some(report) = observed.get(&shard.node).and_then(|(_, report)| report.shards.get(&shard.uid)) else {
                continue;
            };
            let role = if shard.role == ShardRole::Master { "master" } else { "slave" };
            let labels = format!(
                "{{cluster=\"{cluster}\",db=\"{}\",node=\"{}\",redis=\"{}\",role=\"{role}\"}}",
                bdb.uid, shard.node, shard.uid
            );
            for (name, value) in [
                ("redis_server_up", u64::from(report.running)),
                ("redis_server_used_memory", report.used_memory),
                ("redis_server_maxmemory", bdb.shard_memory()),
                ("redis_server_db_keys", report.keys),
                ("redis_server_keys_trimmed", report.trimmed),
            ] {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        }
        for (uid, (_, report)) in &observed {
            if let Some(endpoint) = report.endpoints.get(&bdb.uid) {
                let labels = format!("{{cluster=\"{cluster}\",db=\"{}\",node=\"{uid}\"}}", bdb.uid);
                let _ = writeln!(out, "endpoint_client_connections{labels} {}", endpoint.connections);
            }
        }
    }
    let up = state.nodes.values().filter(|one| one.is_up()).count();
    let days = i128::from(state.license.expires) - i128::from(clock::now());
    let days = if node.faults.stands(&Kind::LicenseExpired) { 0 } else { days };
    for (name, value) in [
        ("has_quorum", 1),
        ("generation", i128::from(snapshot.generation)),
        ("total_live_nodes_count", up as i128),
        ("total_nodes_count", state.nodes.len() as i128),
        ("license_shards_limit", i128::from(state.license.shards_limit)),
        ("license_expiration_days", days / 86_400_000),
        ("users_count", state.users.len() as i128),
    ] {
        let _ = writeln!(out, "{name}{{cluster=\"{cluster}\"}} {value}");
    }
    out + &own_metrics(node, snapshot)
}

fn own_metrics(node: &Node, snapshot: &Snapshot) -> String {
    let labels = format!("{{cluster=\"{}\",node=\"{}\"}}", snapshot.state.name, snapshot.uid);
    let free = snapshot
        .state
        .nodes
        .get(&snapshot.uid)
        .filter(|one| NodeRecord::accepts_shards(one))
        .map_or(0, |one| snapshot.state.free_provisional(one));
    format!(
        "node_metrics_up{labels} 1\nis_primary{labels} {}\nnode_provisional_memory_bytes{labels} {free}\n",
        u8::from(node.core.lock().leads())
    )
}
