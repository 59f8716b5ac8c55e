//! A cluster that a change must leave alone: what of it must stay, and whether its database goes on answering.

use std::collections::BTreeMap;

use serde_json::Value;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World, redis_at};

use crate::NODES;

/// The running cluster, to be compared with itself later.
#[derive(Debug, PartialEq)]
pub(crate) struct Steady {
    pods: BTreeMap<String, String>,
    claims: BTreeMap<String, String>,
    statefulset: Value,
}

impl Steady {
    pub(crate) fn of(world: &World) -> Self {
        let set = world.get("statefulset", "rec").unwrap();
        Self {
            pods: world.uids("pods", NODES).unwrap(),
            claims: world.uids("pvc", "redis.io/cluster=rec").unwrap(),
            statefulset: set["spec"].clone(),
        }
    }

    /// The same pods, volumes and StatefulSet, and a database that answers.
    pub(crate) async fn check(&self, world: &World) {
        assert_eq!(&Self::of(world), self);
        answers(world).await;
    }
}

/// The database `mydb` takes a value and gives it back.
pub(crate) async fn answers(world: &World) {
    let password = world.secret("redb-mydb", "password").unwrap();
    until("the database to answer", SETTLES, || async {
        let pods = world.uids("pods", "redis.io/bdb-1")?;
        let Some(pod) = pods.keys().next() else { anyhow::bail!("no pod serves it") };
        let address = world.address(pod)?;
        let said = redis_at(address, 19621, &password, &["INCR", "looked"])?;
        if said.parse::<u64>().is_ok() { Ok(()) } else { anyhow::bail!("{said}") }
    })
    .await;
}

/// Waits until the cluster has so many nodes, all well, and nothing is on its way.
pub(crate) async fn at_rest(world: &World, nodes: usize) {
    until("the cluster to be at rest", FORMS, || async {
        let rec = world.get("rec", "rec")?;
        let status = world.condition("rec", "rec", "Ready")?;
        let observed = rec["status"]["conditions"][0]["observedGeneration"] == rec["metadata"]["generation"];
        let text = world.rladmin("rec-0", "status nodes")?;
        let well = text.lines().filter(|line| line.contains("node:") && line.trim_end().ends_with(" OK")).count();
        let all = text.lines().filter(|line| line.contains("node:")).count();
        let pods = world.list("pods", NODES)?;
        let ready = pods.iter().filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true).count();
        let state = rec["status"]["state"] == "Running" && status[0] == "True" && observed;
        if state && well == nodes && all == nodes && pods.len() == nodes && ready == nodes {
            Ok(())
        } else {
            anyhow::bail!("{} {status:?} {ready} of {} pods\n{text}", rec["status"]["state"], pods.len())
        }
    })
    .await;
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
}
