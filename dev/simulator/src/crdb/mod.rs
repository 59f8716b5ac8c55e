//! What the master of a cluster does about Active-Active databases: carries out tasks with the other clusters, and looks at them.
//!
//! The cluster that is asked for a change coordinates it: every participant prepares it, and when all have it decides for all.
//! Clusters speak to each other by their REST API, at the url and with the credentials that the request gave (REST reference, 11.2).

pub mod peer;
mod watch;
pub(crate) mod work;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tracing::debug;

use crate::{node::Node, state::crdb::CrdbTask};

/// How often the master looks for tasks.
const LOOK: Duration = Duration::from_millis(60);

/// Runs for as long as the process; does something only while this node is the master.
pub async fn run(node: Arc<Node>) {
    let mut workers: JoinSet<()> = JoinSet::new();
    let mut watcher: JoinSet<()> = JoinSet::new();
    let mut busy: BTreeSet<String> = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        while workers.try_join_next().is_some() {}
        let leads = node.leading_for().is_some();
        let Some(snapshot) = node.snapshot().filter(|_| leads) else {
            // The next master goes on where this one stopped.
            workers.shutdown().await;
            watcher.shutdown().await;
            busy.clear();
            continue;
        };
        if watcher.try_join_next().is_some() || watcher.is_empty() {
            watcher.spawn(watch::run(Arc::clone(&node)));
        }
        let tasks = &snapshot.state.crdb_tasks;
        busy.retain(|id| tasks.get(id).is_some_and(|task| !task.ended()) && !workers.is_empty());
        let mut open: Vec<&CrdbTask> = tasks.values().filter(|task| !task.ended()).collect();
        open.sort_by_key(|task| (task.created, task.id.clone()));
        let mut taken: BTreeSet<&str> =
            open.iter().filter(|task| busy.contains(&task.id)).map(|task| task.guid.as_str()).collect();
        for task in open {
            // One change of a database at a time.
            if !busy.contains(&task.id) && taken.insert(&task.guid) {
                debug!(task = %task.id, "working on a task");
                busy.insert(task.id.clone());
                workers.spawn(work::carry_out(Arc::clone(&node), task.id.clone()));
            }
        }
    }
}
