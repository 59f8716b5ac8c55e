//! What a node answers to other nodes.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Call, Reply, auth};
use crate::{
    exporter,
    node::Node,
    peers::{Append, Join, JoinReply, Vote},
    state::{Command, Refusal, nodes::NodeCommand},
};

pub(super) async fn answer(node: &Arc<Node>, call: &Call) -> Reply {
    if node.core.lock().isolated {
        return Refusal::new(503, "isolated", "cut off on demand").into();
    }
    let outcome = match call.path.get(1).map(String::as_str) {
        Some("append") => read::<Append>(call).and_then(|append| write(&node.on_append(append).ok_or_else(stranger)?)),
        Some("vote") => read::<Vote>(call).and_then(|vote| write(&node.on_vote(&vote))),
        Some("join") => match read::<Join>(call) {
            Ok(request) => write(&join(node, request).await),
            Err(refusal) => Err(refusal),
        },
        Some("take-over") => {
            node.stand(true).await;
            write(&true)
        }
        Some("metrics") => match node.snapshot().filter(|_| node.core.lock().leads()) {
            Some(snapshot) => Ok(Reply::text(exporter::second(node, &snapshot))),
            None => Err(Refusal::no_quorum()),
        },
        Some("wrong-login") => match read::<u32>(call) {
            Ok(user) => {
                auth::count_wrong_login(node, user).await;
                write(&true)
            }
            Err(refusal) => Err(refusal),
        },
        Some("removed") => read::<String>(call).and_then(|incarnation| {
            let mut core = node.core.lock();
            if core.durable.as_ref().is_some_and(|durable| durable.state.incarnation == incarnation) {
                node.mark_removed(&mut core);
            }
            write(&true)
        }),
        _ => Err(Refusal::not_found("not_found", "no such internal path")),
    };
    outcome.unwrap_or_else(Reply::from)
}

fn stranger() -> Refusal {
    Refusal::new(404, "not_a_member", "this node is not in that cluster")
}

fn read<T: DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    serde_json::from_slice(&call.body).map_err(|error| Refusal::bad_request(error.to_string()))
}

fn write<T: Serialize>(value: &T) -> Result<Reply, Refusal> {
    serde_json::to_value(value).map(Reply::json).map_err(|error| Refusal::new(500, "internal_error", error.to_string()))
}

async fn join(node: &Node, request: Join) -> JoinReply {
    let refused = |code: &str, message: &str| JoinReply::Refused { code: code.to_owned(), message: message.to_owned() };
    let (leads, leader) = {
        let core = node.core.lock();
        (core.leads(), core.known_master(node.settings.election_timeout() * 2))
    };
    if !leads {
        return leader.map_or_else(
            || refused("connect_error", "the cluster has no master now"),
            |(_, address)| JoinReply::Redirect(address),
        );
    }
    let Some(snapshot) = node.snapshot() else { return refused("connect_error", "the node is not in a cluster") };
    if !auth::is_admin(&snapshot.state, &request.username, &request.password) {
        return refused("access_denied", "wrong credentials");
    }
    let rack_aware = snapshot.state.policy.get("rack_aware").and_then(Value::as_bool) == Some(true);
    if rack_aware && request.node.rack_id.is_empty() {
        return refused("rack_id_required", "the cluster is rack aware");
    }
    let command = Command::Node(NodeCommand::Join { node: Box::new(request.node), replaces: request.replaces });
    let uid = match node.propose_one(command).await {
        Ok(value) => {
            value.get("uid").and_then(Value::as_u64).and_then(|uid| u32::try_from(uid).ok()).unwrap_or_default()
        }
        Err(refusal) => return JoinReply::Refused { code: refusal.code.to_owned(), message: refusal.message },
    };
    let core = node.core.lock();
    match &core.durable {
        Some(durable) => {
            JoinReply::Accepted { uid, entry: durable.accepted, state: Box::new(durable.state.as_ref().clone()) }
        }
        None => refused("internal_error", "the state is gone"),
    }
}
