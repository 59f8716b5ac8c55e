//! Makes a node run what the cluster's state says: the shards that are placed on it and the proxies of its endpoints.
//!
//! Level-triggered: each change of the state is compared with what runs, whatever happened before.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::watch, task::JoinHandle};
use tracing::debug;

use crate::{
    crdt::link::Links,
    dataset::{syncer::Syncers, transfer::Parts},
    node::{Node, Snapshot},
    peers::{EndpointReport, ShardReport},
    proxy::{self, Route},
    shard::{self, ShardSpec},
    state::{BdbStatus, ClusterState},
};

struct Kept<T> {
    wanted: watch::Sender<Option<T>>,
    task: JoinHandle<()>,
}

/// Runs until `ending` says so, then ends everything and waits for it.
pub async fn run(node: Arc<Node>, mut ending: watch::Receiver<bool>) {
    let mut states = node.committed.subscribe();
    let mut shards: BTreeMap<u32, Kept<ShardSpec>> = BTreeMap::new();
    let mut proxies: BTreeMap<u32, Kept<Route>> = BTreeMap::new();
    let (mut transfers, mut syncers, mut links) = (Parts::default(), Syncers::default(), Links::default());
    loop {
        let snapshot = states.borrow_and_update().clone();
        node.show_certificates();
        match snapshot {
            Some(snapshot) => {
                debug!(generation = snapshot.generation, "carrying out a state");
                if !node.settings.without_data {
                    converge_shards(&node, &snapshot, &mut shards);
                    converge_proxies(&node, &snapshot, &mut proxies);
                    transfers.converge(&node, &snapshot);
                    syncers.converge(&node, &snapshot);
                    links.converge(&node, &snapshot);
                }
            }
            None => {
                // No member (any more): nothing runs, and files stay.
                (transfers, syncers, links) = (Parts::default(), Syncers::default(), Links::default());
                stop(std::mem::take(&mut proxies)).await;
                stop(std::mem::take(&mut shards)).await;
            }
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { break },
            _ = ending.wait_for(|ending| *ending) => break,
        }
    }
    stop(proxies).await;
    stop(shards).await;
}

/// What a node with this number would report if it ran what the state says. Of a cluster without data nothing does.
pub fn pretended(state: &ClusterState, uid: u32) -> (BTreeMap<u32, ShardReport>, BTreeMap<u32, EndpointReport>) {
    let running = state.bdbs.values().filter(|bdb| bdb.runs());
    let shards = running.clone().flat_map(|bdb| bdb.shards.iter().map(move |shard| (bdb.version, shard)));
    let shards = shards.filter(|(_, shard)| shard.node == uid).map(|(version, shard)| {
        let role = Some(shard.role);
        (shard.uid, ShardReport { running: true, version, role, link_up: true, ..ShardReport::default() })
    });
    let served = running.filter(|bdb| !bdb.traffic_stopped && bdb.endpoint.nodes.contains(&uid));
    let endpoints = served.map(|bdb| (bdb.uid, EndpointReport { bound: true, ..EndpointReport::default() }));
    (shards.collect(), endpoints.collect())
}

/// Ends all, without the word that would remove files.
async fn stop<T>(kept: BTreeMap<u32, Kept<T>>) {
    let tasks: Vec<_> = kept.into_values().map(|kept| kept.task).collect();
    for task in tasks {
        let _ = task.await;
    }
}

fn converge_shards(node: &Arc<Node>, snapshot: &Snapshot, shards: &mut BTreeMap<u32, Kept<ShardSpec>>) {
    let state = &snapshot.state;
    let mut wanted: BTreeMap<u32, ShardSpec> = BTreeMap::new();
    let mut resting = Vec::new();
    for bdb in state.bdbs.values() {
        for shard in bdb.shards.iter().filter(|shard| shard.node == snapshot.uid) {
            if bdb.runs() {
                wanted.insert(shard.uid, ShardSpec::of(state, bdb, shard));
            } else if bdb.status == BdbStatus::Recovery {
                resting.push(shard.uid);
            }
        }
    }
    shards.retain(|uid, kept| {
        if !wanted.contains_key(uid) && !resting.contains(uid) {
            kept.wanted.send_replace(None);
        }
        // One that is still ending is kept, so that stopping waits for it.
        wanted.contains_key(uid) || (!resting.contains(uid) && !kept.task.is_finished())
    });
    for (uid, spec) in wanted {
        match shards.get(&uid).filter(|kept| !kept.task.is_finished()) {
            Some(kept) => {
                kept.wanted.send_if_modified(|old| {
                    let news = old.as_ref() != Some(&spec);
                    *old = Some(spec);
                    news
                });
            }
            None => {
                let (sender, receiver) = watch::channel(Some(spec));
                let task = tokio::spawn(shard::keep(Arc::clone(node), uid, receiver));
                shards.insert(uid, Kept { wanted: sender, task });
            }
        }
    }
}

fn converge_proxies(node: &Arc<Node>, snapshot: &Snapshot, proxies: &mut BTreeMap<u32, Kept<Route>>) {
    let state = &snapshot.state;
    let served =
        |bdb: &&crate::state::Bdb| bdb.runs() && !bdb.traffic_stopped && bdb.endpoint.nodes.contains(&snapshot.uid);
    let wanted: BTreeMap<u32, Route> =
        state.bdbs.values().filter(served).map(|bdb| (bdb.uid, Route::at(state, bdb, snapshot.uid))).collect();
    proxies.retain(|uid, kept| {
        if !wanted.contains_key(uid) {
            kept.wanted.send_replace(None);
        }
        wanted.contains_key(uid) || !kept.task.is_finished()
    });
    for (uid, route) in wanted {
        match proxies.get(&uid).filter(|kept| !kept.task.is_finished()) {
            Some(kept) => {
                kept.wanted.send_if_modified(|old| {
                    let news = old.as_ref() != Some(&route);
                    *old = Some(route);
                    news
                });
            }
            None => {
                let (sender, receiver) = watch::channel(Some(route));
                let task = tokio::spawn(proxy::serve(Arc::clone(node), uid, receiver));
                proxies.insert(uid, Kept { wanted: sender, task });
            }
        }
    }
}
