//! Replica Of: follows other databases and writes what they write into the shards that hold the keys (REST reference, 6.2).
//!
//! A source that is a database of this cluster is read at its shards, any other at its address, where it must replicate
//! as one redis-server does. After a break a source is asked for what was missed, and only if it has that no more for all.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use url::Url;

use super::{
    Trouble,
    load::Loaded,
    source::{self, Started},
    targets::Targets,
};
use crate::{
    clock,
    faults::Kind,
    node::{Node, Snapshot},
    peers::SyncReport,
    proxy::{Place, Route},
    resp::{self, Connection, encode},
    settings::dial,
    shard::INTERNAL_USER,
    slots,
    state::{Bdb, BdbStatus, ClusterState},
};

/// A broken link is tried again after this time.
const RETRY: Duration = Duration::from_millis(300);

/// One redis-server to follow, and where to.
#[derive(Debug, Clone, PartialEq)]
struct Link {
    place: Result<Place, String>,
    /// What opens the source: user, if not the default one, and password.
    user: String,
    password: String,
    targets: Vec<Place>,
    secret: String,
    /// Whether what is there already makes way: not when several sources are merged.
    alone: bool,
}

/// Which link: database, source, and shard of the source.
pub type LinkId = (u32, usize, usize);

/// The links that a node keeps.
#[derive(Default)]
pub struct Syncers(BTreeMap<LinkId, (Link, JoinHandle<()>)>);

impl Drop for Syncers {
    fn drop(&mut self) {
        self.0.values().for_each(|(_, task)| task.abort());
    }
}

impl Syncers {
    /// Begins links that are new or lead elsewhere, and ends those that are not wanted.
    pub fn converge(&mut self, node: &Arc<Node>, snapshot: &Snapshot) {
        let mut wanted = BTreeMap::new();
        for bdb in snapshot.state.bdbs.values().filter(|bdb| follows(bdb)) {
            // Where the first part of the database is written, there its sources are read.
            if bdb.master(0).is_some_and(|master| master.node == snapshot.uid) {
                wanted.extend(links(&snapshot.state, bdb));
            }
        }
        self.0.retain(|id, (link, task)| {
            let stays = wanted.get(id) == Some(link);
            if !stays {
                task.abort();
                node.local.lock().syncs.remove(id);
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

fn follows(bdb: &Bdb) -> bool {
    let settled = matches!(bdb.status, BdbStatus::Active | BdbStatus::ActiveChangePending) && bdb.reshard.is_none();
    settled && bdb.text("replica_sync") == "enabled"
}

fn links(state: &ClusterState, bdb: &Bdb) -> Vec<(LinkId, Link)> {
    let sources = bdb.config.get("replica_sources").and_then(Value::as_array);
    let uris: Vec<&str> = sources.into_iter().flatten().filter_map(|source| source.get("uri")?.as_str()).collect();
    let link = |place, user: &str, password: &str| Link {
        place,
        user: user.to_owned(),
        password: password.to_owned(),
        targets: Route::of(state, bdb).shards,
        secret: bdb.internal_password(state),
        alone: uris.len() == 1,
    };
    let mut all = Vec::new();
    for (index, uri) in uris.iter().enumerate() {
        let parsed =
            Url::parse(uri).ok().and_then(|url| Some((url.host_str()?.to_owned(), url.port().unwrap_or(6379), url)));
        let Some((host, port, url)) = parsed else {
            all.push(((bdb.uid, index, 0), link(Err("the uri cannot be read".to_owned()), "", "")));
            continue;
        };
        let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
        match of_this_cluster(state, &host, port) {
            Some(source) => {
                let known = password.is_empty() && source.passwords.is_empty()
                    || source.passwords.contains(&password)
                    || (!password.is_empty() && source.text("authentication_admin_pass") == password);
                let secret = source.internal_password(state);
                for (shard, place) in Route::of(state, source).shards.into_iter().enumerate() {
                    let place = if known { Ok(place) } else { Err("invalid username-password pair".to_owned()) };
                    all.push(((bdb.uid, index, shard), link(place, INTERNAL_USER, &secret)));
                }
            }
            None if url.scheme() != "redis" => {
                let why = format!("the simulator follows no {}:// source outside of its cluster", url.scheme());
                all.push(((bdb.uid, index, 0), link(Err(why), "", "")));
            }
            None => {
                let place = Place { slots: (0, slots::SLOTS - 1), host: dial(&host), port };
                all.push(((bdb.uid, index, 0), link(Ok(place), &user, &password)));
            }
        }
    }
    all
}

/// What stands in a URI with `%` codes.
fn decoded(text: &str) -> String {
    let text = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn of_this_cluster<'a>(state: &'a ClusterState, host: &str, port: u16) -> Option<&'a Bdb> {
    let named = host.ends_with(&state.name);
    let node = state.nodes.values().any(|node| node.addr == host || dial(&node.addr) == host);
    state.bdbs.values().find(|bdb| bdb.endpoint.port == port && (named || node))
}

/// Keeps a link for as long as it is wanted.
async fn keep(node: Arc<Node>, id: LinkId, link: Link) {
    let mut report = SyncReport::default();
    let mut position = None;
    loop {
        let outcome = tokio::select! {
            outcome = follow(&node, id, &link, &mut position, &mut report) => outcome,
            // F17
            () = cut(&node) => Err(Trouble::general("the link was cut on demand")),
        };
        if let Err(trouble) = outcome {
            if report.last_error != trouble.text {
                warn!(bdb = id.0, source = id.1, %trouble, "a source cannot be followed");
            }
            (report.status, report.last_error) = ("out-of-sync".to_owned(), trouble.text);
            node.local.lock().syncs.insert(id, report.clone());
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn cut(node: &Node) {
    while !node.faults.stands(&Kind::ReplicaLink) {
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow(
    node: &Node,
    id: LinkId,
    link: &Link,
    position: &mut Option<(String, u64)>,
    report: &mut SyncReport,
) -> Result<(), Trouble> {
    if node.faults.stands(&Kind::ReplicaLink) {
        return Err(Trouble::general("the link was cut on demand"));
    }
    let place = link.place.as_ref().map_err(Trouble::general)?;
    let mut source = Connection::open(&place.host, place.port)
        .await
        .map_err(|error| Trouble::general(format!("failed to connect to {}:{}: {error}", place.host, place.port)))?;
    if !link.password.is_empty() {
        let mut words = vec!["AUTH", &link.password];
        if !link.user.is_empty() {
            words.insert(1, &link.user);
        }
        source.demand(&words).await.map_err(Trouble::general)?;
    }
    let targets = Targets::open(&link.targets, &link.secret).await.map_err(Trouble::general)?;
    let mut targets = targets.only(place.slots);
    let say = |report: &SyncReport| node.local.lock().syncs.insert(id, report.clone());
    report.status = "syncing".to_owned();
    say(report);
    let known = position.as_ref().map(|(name, at)| (name.as_str(), *at));
    let mut at = match source::start(&mut source, known).await? {
        Started::Continued => position.clone().ok_or_else(|| Trouble::general("nothing to go on from"))?,
        Started::Whole { rdb, stream, offset } => {
            *position = None;
            (report.rdb_size, report.rdb_transferred) = (rdb.len() as u64, rdb.len() as u64);
            let name = format!("sync-{}-{}-{}", id.0, id.1, id.2);
            let mut loaded = Loaded::new(node, &name, &rdb).await?;
            if link.alone {
                targets.clear(place.slots).await?;
            }
            loaded.pour(&mut targets, |_| {}).await?;
            info!(bdb = id.0, source = id.1, bytes = rdb.len(), "copied a source");
            (stream, offset)
        }
    };
    let mut elsewhere = false;
    loop {
        *position = Some(at.clone());
        let acknowledgement = encode(&["REPLCONF".to_owned(), "ACK".to_owned(), at.1.to_string()]);
        source.send(&acknowledgement).await.map_err(Trouble::general)?;
        (report.status, report.last_update) = ("in-sync".to_owned(), clock::iso(clock::now()));
        report.last_error.clear();
        say(report);
        let words = resp::read_request(source.stream()).await.map_err(Trouble::general)?;
        let words = words.ok_or_else(|| Trouble::general("the source closed the connection"))?;
        let began = Instant::now();
        // The stream is made of requests in their one form, so their length is how far it went.
        at.1 += encode(&words).len() as u64;
        let name = words.first().map(|name| String::from_utf8_lossy(name).to_uppercase()).unwrap_or_default();
        match name.as_str() {
            "PING" | "REPLCONF" | "MULTI" | "EXEC" | "PUBLISH" => {}
            "SELECT" => elsewhere = words.get(1).is_some_and(|number| number != b"0"),
            _ if elsewhere => {}
            "FLUSHALL" | "FLUSHDB" if link.alone => targets.clear(place.slots).await?,
            "FLUSHALL" | "FLUSHDB" => {}
            _ => apply(&mut targets, &name, words).await?,
        }
        report.lag = u64::try_from(began.elapsed().as_millis()).unwrap_or(0);
    }
}

async fn apply(targets: &mut Targets, name: &str, words: Vec<Vec<u8>>) -> Result<(), Trouble> {
    let arguments = words.get(1..).unwrap_or_default();
    let commands: Vec<(Vec<u8>, Vec<Vec<u8>>)> = match name {
        "DEL" | "UNLINK" => arguments.iter().map(|key| (key.clone(), vec![b"UNLINK".to_vec(), key.clone()])).collect(),
        "MSET" => arguments
            .chunks(2)
            .filter_map(|pair| {
                Some((pair.first()?.clone(), vec![b"SET".to_vec(), pair.first()?.clone(), pair.get(1)?.clone()]))
            })
            .collect(),
        _ => {
            let keys = targets.keys_of(&words).await.map_err(Trouble::general)?;
            keys.into_iter().next().map(|key| (key, words)).into_iter().collect()
        }
    };
    targets.write(&commands).await
}
