//! Nodes: their heartbeats, and their power switch.
//!
//! A heartbeat is the renewal of the node's Lease, as a kubelet's. A node that is switched off renews nothing and its
//! processes are gone; all else is the controller manager's doing: `NotReady`, taints, eviction.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;

use super::POWER;
use super::context::Context;

/// Well below the controller manager's grace period, so that a busy machine does not lose a node.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(4);

pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), "kube-node-lease");
    let events = watcher(nodes.clone(), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut heartbeat = tokio::time::interval(HEARTBEAT_EVERY);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut alive: HashSet<String> = HashSet::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                None => anyhow::bail!("the watch of nodes ended"),
                Some(Err(error)) => tracing::warn!(error = %error, "the watch of nodes failed and is tried again"),
                Some(Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node))) => {
                    let name = node.name_any();
                    let is_off = node.annotations().get(POWER).is_some_and(|power| power == "off");
                    if is_off {
                        alive.remove(&name);
                    } else if alive.insert(name.clone()) {
                        renew(&leases, &name).await;
                        make_ready(&nodes, &name).await;
                    }
                    context.nodes.send_if_modified(|all| all.insert(name.clone()));
                    context.dead_nodes.send_if_modified(|dead| {
                        if is_off { dead.insert(name.clone()) } else { dead.remove(&name) }
                    });
                }
                Some(Ok(watcher::Event::Delete(node))) => {
                    let name = node.name_any();
                    alive.remove(&name);
                    context.dead_nodes.send_if_modified(|dead| dead.insert(name.clone()));
                    context.nodes.send_if_modified(|all| all.remove(&name));
                }
                Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => {}
            },
            _ = heartbeat.tick() => {
                for name in &alive {
                    renew(&leases, name).await;
                }
            }
        }
    }
}

async fn renew(leases: &Api<Lease>, name: &str) {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": MicroTime(Timestamp::now()) },
    });
    let params = PatchParams::apply("stepwright-dev-node-agent").force();
    if let Err(error) = leases.patch(name, &params, &Patch::Apply(&lease)).await {
        tracing::warn!(node = name, error = %error, "failed to renew the node's Lease");
    }
}

async fn make_ready(nodes: &Api<Node>, name: &str) {
    let now = Time(Timestamp::now());
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let status = json!({ "status": { "conditions": [
        condition("Ready", "True", "KubeletReady"),
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"),
    ]}});
    if let Err(error) = nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&status)).await {
        tracing::warn!(node = name, error = %error, "failed to make the node ready");
    }
}
