//! The proxy of a database: listens on its port and leads clients to its master shards (REST reference, 16.8).
//!
//! One [`client`] for each connection reads the commands. When the shards move the clients are cut off, as the product
//! does; when a resharding only adds shards they are held for a moment and stay.

mod client;
mod merge;
mod oss;
mod replicated;
mod transaction;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{RwLock, watch},
    task::JoinSet,
};
use tracing::{debug, warn};

use crate::{
    crdt::Replica,
    node::Node,
    peers::EndpointReport,
    settings::dial,
    state::{Bdb, ClusterState, ShardRole, reshard::Stage},
};

/// A port that is taken is tried again after this time.
const RETRY: Duration = Duration::from_millis(500);

/// A client may take this long to shake hands.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Where a database's clients are led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Port to listen on.
    pub port: u16,
    /// Whether clients speak TLS, or may.
    pub tls: Tls,
    /// Certificates (PEM) of which a client must show one, or one signed by one; none = it need not.
    pub trusted: Vec<String>,
    /// The proxy's own certificate.
    pub certificate: Option<crate::state::Certificate>,
    /// Master shards in the order of their slots.
    pub shards: Vec<Place>,
    /// The hold in force: no command may begin.
    pub held: Option<u64>,
    /// The OSS cluster API, where the database has it on.
    pub oss: Option<oss::Oss>,
    /// Whether shards may hold keys that are not theirs, which clients must not see.
    pub trimming: bool,
    /// What the database is a part of, if it is Active-Active.
    pub crdt: Option<Replica>,
}

/// What an endpoint listens for (REST reference, 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Plain text only.
    Off,
    /// TLS only.
    Required,
    /// `replica_ssl`: replication over TLS, clients as they like.
    Possible,
}

/// One master shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// First and last slot.
    pub slots: (u16, u16),
    /// Where to dial it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Route {
    /// What the state says of a database, for the proxy on a node.
    pub fn at(state: &ClusterState, bdb: &Bdb, node: u32) -> Self {
        Self { oss: oss::Oss::of(state, bdb, node), ..Self::of(state, bdb) }
    }

    /// The same for what goes to the shards without a proxy.
    pub fn of(state: &ClusterState, bdb: &Bdb) -> Self {
        let masters = bdb.shards.iter().filter(|shard| shard.role == ShardRole::Master);
        let place = |shard: &crate::state::Shard| {
            let host = dial(&state.nodes.get(&shard.node)?.addr);
            Some(Place { slots: shard.slots, host, port: shard.port })
        };
        let mut shards: Vec<_> = masters.filter_map(place).collect();
        shards.sort();
        let crdt = Replica::of(state, bdb);
        Self {
            port: bdb.endpoint.port,
            tls: match bdb.text("tls_mode") {
                "enabled" => Tls::Required,
                "replica_ssl" => Tls::Possible,
                // Other clusters may come through what leads them here by the name that TLS tells.
                _ if crdt.is_some() => Tls::Possible,
                _ => Tls::Off,
            },
            trusted: bdb.trusted_clients(state),
            certificate: state.certificates.get("proxy").cloned(),
            shards,
            crdt,
            oss: None,
            held: bdb.reshard.as_ref().and_then(|reshard| reshard.held()),
            trimming: bdb.reshard.as_ref().is_some_and(|reshard| matches!(reshard.stage, Stage::Cut | Stage::Trim)),
        }
    }

    /// Whether clients of this route can stay with `next`: every shard they may be talking to is still one.
    fn leads_on_to(&self, next: &Self) -> bool {
        let stays = |old: &Place| next.shards.iter().any(|new| (&new.host, new.port) == (&old.host, old.port));
        self.tls == next.tls && self.shards.iter().all(stays)
    }
}

/// What every client of a proxy shares.
#[derive(Clone)]
struct Hall {
    node: Arc<Node>,
    /// The newest route.
    routes: watch::Receiver<Arc<Route>>,
    /// A command under way holds it for reading, so that whoever gets it for writing knows that there is none.
    gate: Arc<RwLock<()>>,
}

/// Listens until the route is gone.
pub async fn serve(node: Arc<Node>, uid: u32, mut routes: watch::Receiver<Option<Route>>) {
    let connections = Arc::new(AtomicU64::new(0));
    let tell = |bound: bool, error: Option<String>, held: Option<u64>| {
        let report = EndpointReport { bound, error, connections: connections.load(Ordering::Relaxed), held };
        node.local.lock().endpoints.insert(uid, report);
    };
    loop {
        let wanted = routes.borrow_and_update().clone();
        let Some(mut route) = wanted else { break };
        let listener = match TcpListener::bind((node.settings.bind.as_str(), route.port)).await {
            Ok(listener) => listener,
            Err(error) => {
                warn!(bdb = uid, port = route.port, %error, "failed to listen for a database");
                tell(false, Some(error.to_string()), None);
                tokio::select! {
                    changed = routes.changed() => if changed.is_err() { break },
                    () = tokio::time::sleep(RETRY) => {}
                }
                continue;
            }
        };
        let (sender, receiver) = watch::channel(Arc::new(route.clone()));
        let hall = Hall { node: Arc::clone(&node), routes: receiver, gate: Arc::new(RwLock::new(())) };
        let mut clients = JoinSet::new();
        let (mut quieting, mut held) = (JoinSet::new(), None);
        quiet(&mut quieting, &hall, route.held);
        let alive = loop {
            tell(true, None, held);
            tokio::select! {
                changed = routes.changed() => {
                    let news = routes.borrow_and_update().clone();
                    let Some(news) = news.filter(|_| changed.is_ok()) else { break false };
                    if news.port != route.port {
                        break true;
                    }
                    if !route.leads_on_to(&news) {
                        clients.shutdown().await;
                    }
                    if news.held != route.held {
                        quieting.shutdown().await;
                        held = None;
                    }
                    let again = news.held != route.held;
                    route = news;
                    sender.send_replace(Arc::new(route.clone()));
                    if again {
                        quiet(&mut quieting, &hall, route.held);
                    }
                }
                Some(done) = quieting.join_next() => held = done.ok(),
                Some(_) = clients.join_next() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (node, hall, connections) = (Arc::clone(&node), hall.clone(), Arc::clone(&connections));
                    let route = Arc::new(route.clone());
                    clients.spawn(async move {
                        let _counted = Counted::new(connections);
                        if let Err(error) = attend(&node, stream, &route, hall).await {
                            debug!(bdb = uid, %error, "a client's connection ended");
                        }
                    });
                }
            }
        };
        clients.shutdown().await;
        if !alive {
            break;
        }
    }
    node.local.lock().endpoints.remove(&uid);
}

/// Waits until no command is under way.
fn quiet(tasks: &mut JoinSet<u64>, hall: &Hall, held: Option<u64>) {
    if let Some(hold) = held {
        let gate = Arc::clone(&hall.gate);
        tasks.spawn(async move {
            drop(gate.write().await);
            hold
        });
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(counter: Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn attend(node: &Node, stream: TcpStream, route: &Route, hall: Hall) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = match route.tls {
        Tls::Off => false,
        Tls::Required => true,
        // A handshake begins with this byte; no command does.
        Tls::Possible => {
            let mut first = [0];
            tokio::time::timeout(HANDSHAKE_LIMIT, stream.peek(&mut first))
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??;
            first == [0x16]
        }
    };
    if tls {
        let acceptor = match &route.certificate {
            Some(shown) => node.proxy_identity.acceptor_for(shown, &route.trusted)?,
            None => node.proxy_identity.acceptor(),
        };
        let handshake = acceptor.accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        client::attend(stream, hall).await
    } else {
        client::attend(stream, hall).await
    }
}
