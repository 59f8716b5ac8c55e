//! The control API of the simulator itself, on a port of its own: faults, and a look inside. Never on 9443.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    api::{Call, Reply},
    faults::{Fault, Kind},
    node::{Node, NodeError},
    rest_client::{self, Target},
    serve,
    settings::{CONTROL_PORT, dial},
};

/// Opens the control port.
pub async fn listen(node: &Arc<Node>, tasks: &mut JoinSet<()>) -> Result<(), NodeError> {
    serve::open(
        node,
        tasks,
        CONTROL_PORT,
        false,
        Arc::new(|node, call| Box::pin(async move { Some(answer(&node, call).await) })),
    )
    .await
}

async fn answer(node: &Arc<Node>, call: Call) -> Reply {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["_sim", "state"]) => {
            let core = node.core.lock();
            let durable = core.durable.as_ref();
            Reply::json(json!({
                "uid": core.uid(), "role": format!("{:?}", core.role), "leader": core.leader, "settled": core.settled,
                "term": durable.map(|durable| durable.term), "accepted": durable.map(|durable| durable.accepted),
                "committed": durable.map(|durable| durable.committed),
                "state": node.snapshot().map(|snapshot| snapshot.state.as_ref().clone()),
            }))
        }
        ("GET", ["_sim", "requests"]) => Reply::json(json!(*node.requests.lock())),
        ("GET", ["_sim", "report"]) => Reply::json(json!(node.report())),
        ("GET", ["_sim", "ports"]) => {
            let snapshot = node.snapshot();
            let bdbs = snapshot.iter().flat_map(|snapshot| snapshot.state.bdbs.values().map(|bdb| (snapshot.uid, bdb)));
            let own: Vec<Value> = bdbs
                .map(|(uid, bdb)| {
                    let shards: Vec<u16> = bdb.shards.iter().filter(|shard| shard.node == uid).map(|shard| shard.port).collect();
                    json!({"bdb": bdb.uid, "endpoint": bdb.endpoint.nodes.contains(&uid).then_some(bdb.endpoint.port), "shards": shards})
                })
                .collect();
            Reply::json(json!({"bind": node.settings.bind, "databases": own}))
        }
        ("GET", ["_sim", "faults"]) => Reply::json(json!(node.faults.list())),
        ("DELETE", ["_sim", "faults"]) => {
            node.faults.clear();
            isolate(node);
            node.show_certificates();
            tell_others(node, &call).await;
            Reply::json(json!([]))
        }
        ("POST", ["_sim", "faults"]) => match serde_json::from_slice::<Fault>(&call.body) {
            Ok(fault) => {
                node.faults.add(fault);
                isolate(node);
                node.show_certificates();
                tell_others(node, &call).await;
                Reply::json(json!(node.faults.list()))
            }
            Err(error) => Reply::json_status(400, &json!({"error": error.to_string()})),
        },
        // F1: as `kill -9`, with nothing put in order.
        ("POST", ["_sim", "kill"]) => std::process::abort(),
        _ => Reply::json_status(
            404,
            &json!({"error": "no such path", "paths": [
                "GET /_sim/state", "GET /_sim/report", "GET /_sim/requests", "GET /_sim/ports", "GET|POST|DELETE /_sim/faults", "POST /_sim/kill"
            ]}),
        ),
    }
}

fn isolate(node: &Node) {
    let isolated = node.faults.stands(&Kind::Isolate);
    node.core.lock().isolated = isolated;
}

/// With `?all`, every node gets the same order: which of them is master need not be known.
async fn tell_others(node: &Node, call: &Call) {
    if !call.query.contains_key("all") {
        return;
    }
    let Some(snapshot) = node.snapshot() else { return };
    for other in snapshot.state.nodes.values().filter(|other| other.uid != snapshot.uid) {
        let target = Target::plain(&dial(&other.addr), CONTROL_PORT);
        let order = rest_client::send(&target, &call.method, "/_sim/faults", &[], call.body.to_vec());
        // A node that is down needs no fault.
        let _ = tokio::time::timeout(Duration::from_secs(2), order).await;
    }
}
