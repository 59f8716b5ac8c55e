//! Follows the other instances of Active-Active databases and has what they send merged into the shards here.
//!
//! After a break only what was missed is asked for; everything is when the shard there or here is another one since, or was restarted.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    task::{JoinHandle, JoinSet},
};
use tracing::{info, warn};

use super::{
    GREETING, Replica, Shard,
    way::{SILENCE, Stream, Way},
};
use crate::{
    clock,
    faults::Kind,
    node::{Node, Snapshot},
    peers::SyncReport,
    proxy::{Place, Route},
    resp::{encode, read_request, text_of},
    slots,
    state::{BdbStatus, ClusterState, crdb::Crdb},
};

/// A broken link is tried again after this time.
const RETRY: Duration = Duration::from_millis(300);

/// Which link: the database here, and the instance there. Instance 0 stands for the work that is to be done without any.
pub type LinkId = (u32, u32);

/// A link as it should be.
#[derive(Debug, Clone, PartialEq)]
struct Link {
    own: Replica,
    targets: Vec<Place>,
    way: Way,
}

/// The links that a node keeps.
#[derive(Default)]
pub struct Links(BTreeMap<LinkId, (Link, JoinHandle<()>)>);

impl Drop for Links {
    fn drop(&mut self) {
        self.0.values().for_each(|(_, task)| task.abort());
    }
}

impl Links {
    /// Begins links that are new or lead elsewhere, and ends those that are not wanted.
    pub fn converge(&mut self, node: &Arc<Node>, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let mut wanted = BTreeMap::new();
        for crdb in state.crdbs.values() {
            wanted.extend(links(state, crdb, snapshot.uid));
        }
        self.0.retain(|id, (link, task)| {
            let stays = wanted.get(id) == Some(link);
            if !stays {
                task.abort();
                node.local.lock().links.remove(id);
            }
            stays
        });
        for (id, link) in wanted {
            self.0.entry(id).or_insert_with(|| {
                let task = tokio::spawn(keep(Arc::clone(node), id, link.clone()));
                (link, task)
            });
        }
    }
}

fn links(state: &ClusterState, crdb: &Crdb, node: u32) -> Vec<(LinkId, Link)> {
    let Some(bdb) = state.bdbs.get(&crdb.bdb) else { return Vec::new() };
    let settled = matches!(bdb.status, BdbStatus::Active | BdbStatus::ActiveChangePending) && bdb.reshard.is_none();
    // Where the first part of the database is written, there the others are read.
    let here = bdb.master(0).is_some_and(|master| master.node == node);
    let Some(own) = Replica::of(state, bdb).filter(|_| settled && here && crdb.agreed.version > 0) else {
        return Vec::new();
    };
    let link = |way| Link { own: own.clone(), targets: Route::of(state, bdb).shards, way };
    let mut all = vec![((bdb.uid, 0), link(Way::default()))];
    for instance in crdb.others() {
        let way = Way::to(crdb, instance, state.certificates.get("syncer").cloned());
        all.push(((bdb.uid, instance.id), link(way)));
    }
    all
}

/// By shard of the source: which run of it was followed up to where.
type Positions = Mutex<BTreeMap<usize, (String, String)>>;

/// Keeps a link for as long as it is wanted.
async fn keep(node: Arc<Node>, id: LinkId, link: Link) {
    if id.1 == 0 {
        return flush(&link).await;
    }
    let (positions, link) = (Arc::new(Positions::default()), Arc::new(link));
    let mut known = 1;
    let mut last = String::new();
    loop {
        say(&node, id, |report| report.status = "syncing".to_owned());
        let mut parts = JoinSet::new();
        for shard in 0..known {
            let (node, link, positions) = (Arc::clone(&node), Arc::clone(&link), Arc::clone(&positions));
            parts.spawn(async move { follow(&node, id, &link, shard, known, &positions).await });
        }
        // One that breaks off takes the others with it: they begin again where they were.
        let ended = parts.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err("it ended".to_owned().into()));
        parts.shutdown().await;
        match ended {
            Ok(count) => {
                positions.lock().clear();
                known = count;
            }
            Err(broken) => {
                if broken.here {
                    // What the shard here lost with its end is asked for again.
                    positions.lock().clear();
                }
                if last != broken.text {
                    warn!(bdb = id.0, instance = id.1, error = %broken.text, "an instance cannot be followed");
                }
                last.clone_from(&broken.text);
                say(&node, id, |report| (report.status, report.last_error) = ("out-of-sync".to_owned(), broken.text));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Has the shards here be as empty as a flush of all clusters wants them.
async fn flush(link: &Link) {
    for place in &link.targets {
        loop {
            let done = async { link.own.open(place).await?.demand::<&str, &str>("state", &[], &[]).await };
            match done.await {
                Ok(_) => break,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

fn say(node: &Node, id: LinkId, tell: impl FnOnce(&mut SyncReport)) {
    tell(node.local.lock().links.entry(id).or_default());
}

/// Why a link broke: there, or here.
struct Broken {
    text: String,
    here: bool,
}

impl From<String> for Broken {
    fn from(text: String) -> Self {
        Self { text, here: false }
    }
}

fn there(error: impl std::fmt::Display) -> Broken {
    Broken { text: error.to_string(), here: false }
}

fn here(error: io::Error) -> Broken {
    Broken { text: format!("a shard of this cluster: {error}"), here: true }
}

/// Follows one shard. Ends with the number of shards when that is not the one that is known.
async fn follow(
    node: &Node,
    id: LinkId,
    link: &Link,
    shard: usize,
    known: usize,
    positions: &Positions,
) -> Result<usize, Broken> {
    let mut source = link.way.open(node).await?;
    let mut targets = Vec::new();
    for place in &link.targets {
        targets.push((place.clone(), link.own.open(place).await.map_err(here)?));
    }
    let own = &link.own;
    let (run, from) = positions.lock().get(&shard).cloned().unwrap_or_default();
    let greeting = [
        GREETING,
        &own.guid,
        &own.secret,
        &own.id.to_string(),
        &shard.to_string(),
        &own.flushes.to_string(),
        &run,
        &from,
    ];
    source.get_mut().write_all(&encode(&greeting)).await.map_err(there)?;
    source.get_mut().flush().await.map_err(there)?;
    let hello = hear(&mut source).await?;
    let word =
        |index: usize| hello.get(index).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    if word(0) != "OK" {
        let said: Vec<String> = hello.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        return Err(there(format!("it refuses: {}", said.join(" ").trim_start_matches("-ERR "))));
    }
    let (count, run) = (word(1).parse().unwrap_or(1), word(2));
    if count != known {
        return Ok(count);
    }
    loop {
        if node.faults.stands(&Kind::CrdbPeer) {
            return Err(there("cut off on demand"));
        }
        let frame = hear(&mut source).await?;
        let began = Instant::now();
        match frame.as_slice() {
            [mark, key, state] if mark == b"K" => {
                merge(&mut targets, key, state).await?;
                let lag = u64::try_from(began.elapsed().as_millis()).unwrap_or(0);
                say(node, id, |report| report.lag = lag);
            }
            [mark] if mark == b"F" => {
                info!(bdb = id.0, instance = id.1, shard, "comparing everything with an instance");
                say(node, id, |report| report.status = "syncing".to_owned());
            }
            [mark, position] if mark == b"P" => {
                // A shard that was restarted since, and may have lost what it had not written, is noticed.
                for (_, target) in &mut targets {
                    target.connection.demand(&["PING"]).await.map_err(here)?;
                }
                positions.lock().insert(shard, (run.clone(), String::from_utf8_lossy(position).into_owned()));
                say(node, id, |report| {
                    (report.status, report.last_update) = ("in-sync".to_owned(), clock::iso(clock::now()));
                    report.last_error.clear();
                });
            }
            _ => return Err(there("it says what is not understood")),
        }
    }
}

async fn hear(source: &mut Stream) -> Result<Vec<Vec<u8>>, Broken> {
    // The other side says something at least twice a second.
    let read = tokio::time::timeout(SILENCE, read_request(source)).await;
    let words = read.map_err(|_| there("it is silent"))?.map_err(there)?;
    words.ok_or_else(|| there("it closed the connection"))
}

async fn merge(targets: &mut [(Place, Shard)], key: &[u8], state: &[u8]) -> Result<(), Broken> {
    let slot = slots::slot_of(key);
    let target = targets.iter_mut().find(|(place, _)| (place.slots.0..=place.slots.1).contains(&slot));
    let Some((_, target)) = target else { return Ok(()) };
    let reply = target.ask("merge", &[key], &[state]).await.map_err(here)?;
    if reply.starts_with(b"-") {
        let text = text_of(&reply);
        // Merged once there is room: until then it is asked for again.
        return Err(Broken { text, here: false });
    }
    Ok(())
}
