//! A small cluster for tests of the state.

#![allow(clippy::unwrap_used, reason = "this is test code, though not in a #[test]")]

use super::{Certificate, ClusterState, Command, Context, Founding, NodeRecord, nodes::NodeCommand};
use crate::bootstrap::Identity;

const CTX: Context = Context { now: 1_000_000, scale: 0.0, seed: 1 };

/// A node of it.
pub(crate) fn record(last: u32) -> NodeRecord {
    let identity = Identity {
        uid: None,
        external_addr: Vec::new(),
        rack_id: String::new(),
        accept_servers: true,
        max_redis_servers: 100,
        max_listeners: 100,
    };
    NodeRecord::new(&format!("10.0.0.{last}"), &format!("rec-{last}"), 4 << 30, 2, "7.0.15", &identity)
}

/// A cluster named `c` of two nodes.
pub(crate) fn two_nodes() -> ClusterState {
    let founding = Founding {
        name: "c".into(),
        username: "u".into(),
        password: "p".into(),
        license: None,
        entropy: "e".into(),
        certificate: Certificate { certificate: String::new(), key: None },
        node: record(1),
    };
    let mut state = ClusterState::found(founding, &CTX).unwrap();
    for command in [NodeCommand::Join { node: Box::new(record(2)), replaces: None }, NodeCommand::Promote { uid: 2 }] {
        state.apply(Command::Node(command), &CTX).unwrap();
    }
    state
}
