//! Looks at the other clusters now and then: where their databases are, whether they answer, and what was agreed without this one.
//!
//! A cluster that missed a decision, because it or the deciding one was away, learns it here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::{info, warn};

use super::peer::{self, Question};
use crate::{
    clock,
    node::Node,
    state::{
        Command,
        crdb::{Crdb, CrdbCommand},
    },
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What is prepared and not decided for so long is asked for.
const PATIENCE: u64 = 3_000;

/// Looks for as long as this node is the master.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(snapshot) = node.snapshot() else { continue };
        let mut looks = JoinSet::new();
        for crdb in snapshot.state.crdbs.values() {
            let (node, crdb) = (Arc::clone(&node), crdb.clone());
            looks.spawn(async move { look(&node, &crdb).await });
        }
        while looks.join_next().await.is_some() {}
    }
}

async fn look(node: &Arc<Node>, crdb: &Crdb) {
    let guid = &crdb.agreed.guid;
    let others: Vec<_> = crdb.others().cloned().collect();
    let mut asking = JoinSet::new();
    for instance in others {
        let (node, guid, version) = (Arc::clone(node), guid.clone(), crdb.agreed.version);
        asking.spawn(async move {
            let status = peer::ask_gently(&node, &guid, &instance, &Question::Status(version)).await;
            (instance, status)
        });
    }
    let mut peers = BTreeMap::new();
    let mut coordinator = None;
    while let Some(answered) = asking.join_next().await {
        let Ok((instance, status)) = answered else { continue };
        // Where it was is kept: replication may go on though the REST API does not answer.
        let mut peer = crdb.peers.get(&instance.id).cloned().unwrap_or_default();
        match status {
            Ok(status) => {
                (peer.endpoints, peer.tls) = (status.endpoints.clone(), status.tls);
                peer.error =
                    if status.known { String::new() } else { "the cluster does not know the database".to_owned() };
                if crdb.pending.as_ref().is_some_and(|pending| pending.coordinator == instance.name) {
                    coordinator = Some((status.pending.clone(), status.known, status.version));
                }
                let newer = status.agreed.filter(|agreed| agreed.version > crdb.agreed.version);
                if let Some(agreed) = newer.filter(|agreed| agreed.instances.iter().any(|one| one.id == crdb.own)) {
                    info!(%guid, version = agreed.version, from = %instance.name, "taking over what was agreed meanwhile");
                    change(node, CrdbCommand::Adopt(agreed)).await;
                }
            }
            Err(trouble) => peer.error = trouble.description,
        }
        peers.insert(instance.id, peer);
    }
    if peers != crdb.peers {
        change(node, CrdbCommand::Peers { guid: guid.clone(), peers }).await;
    }
    let stale = clock::now().saturating_sub(crdb.pending_since) > PATIENCE;
    if let (Some(pending), Some((theirs, known, version)), true) = (&crdb.pending, coordinator, stale) {
        let open = theirs.is_some_and(|(task, _)| task == pending.task);
        let decided = if pending.next.is_some() { version >= pending.version } else { !known };
        if decided {
            change(node, CrdbCommand::Commit { guid: guid.clone(), version: pending.version }).await;
        } else if !open {
            info!(%guid, task = %pending.task, "giving up a change that nobody decides");
            change(node, CrdbCommand::Abort { guid: guid.clone(), version: pending.version }).await;
        }
    }
}

async fn change(node: &Node, command: CrdbCommand) {
    if let Err(refusal) = node.propose_one(Command::Crdb(command)).await {
        warn!(%refusal, "what another cluster says could not be noted");
    }
}
