//! The proxy of a database: listens on its port and leads clients to its master shards (REST reference, 16.8).
//!
//! A database of one shard gets its bytes passed through untouched. More shards need the commands read: [`sharded`].

mod sharded;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tracing::{debug, warn};

use crate::{
    node::Node,
    peers::EndpointReport,
    settings::dial,
    state::{Bdb, ClusterState, ShardRole},
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
    /// Whether clients speak TLS.
    pub tls: bool,
    /// Master shards in the order of their slots: first and last slot, host, port.
    pub shards: Vec<((u16, u16), String, u16)>,
}

impl Route {
    /// What the state says of a database.
    pub fn of(state: &ClusterState, bdb: &Bdb) -> Self {
        let masters = bdb.shards.iter().filter(|shard| shard.role == ShardRole::Master);
        let mut shards: Vec<_> = masters
            .filter_map(|shard| Some((shard.slots, dial(&state.nodes.get(&shard.node)?.addr), shard.port)))
            .collect();
        shards.sort();
        Self { port: bdb.endpoint.port, tls: bdb.text("tls_mode") == "enabled", shards }
    }
}

/// Listens until the route is gone. Clients are cut off when their shards move, as the product does.
pub async fn serve(node: Arc<Node>, uid: u32, mut routes: watch::Receiver<Option<Route>>) {
    let connections = Arc::new(AtomicU64::new(0));
    let tell = |bound: bool, error: Option<String>| {
        let report = EndpointReport { bound, error, connections: connections.load(Ordering::Relaxed) };
        node.local.lock().endpoints.insert(uid, report);
    };
    loop {
        let wanted = routes.borrow_and_update().clone();
        let Some(mut route) = wanted else { break };
        let listener = match TcpListener::bind((node.settings.bind.as_str(), route.port)).await {
            Ok(listener) => listener,
            Err(error) => {
                warn!(bdb = uid, port = route.port, %error, "failed to listen for a database");
                tell(false, Some(error.to_string()));
                tokio::select! {
                    changed = routes.changed() => if changed.is_err() { break },
                    () = tokio::time::sleep(RETRY) => {}
                }
                continue;
            }
        };
        let mut clients = JoinSet::new();
        let alive = loop {
            tell(true, None);
            tokio::select! {
                changed = routes.changed() => {
                    let news = routes.borrow_and_update().clone();
                    let Some(news) = news.filter(|_| changed.is_ok()) else { break false };
                    if news.port != route.port {
                        break true;
                    }
                    if news != route {
                        clients.shutdown().await;
                        route = news;
                    }
                }
                Some(_) = clients.join_next() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (node, route, connections) = (Arc::clone(&node), route.clone(), Arc::clone(&connections));
                    clients.spawn(async move {
                        let _counted = Counted::new(connections);
                        if let Err(error) = attend(&node, stream, &route).await {
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

async fn attend(node: &Node, stream: TcpStream, route: &Route) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if route.tls {
        let handshake = node.proxy_identity.acceptor().accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        lead(stream, route).await
    } else {
        lead(stream, route).await
    }
}

async fn lead<S: AsyncRead + AsyncWrite + Unpin>(mut client: S, route: &Route) -> io::Result<()> {
    match route.shards.as_slice() {
        [(_, host, port)] => {
            let mut shard = TcpStream::connect((host.as_str(), *port)).await?;
            shard.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut shard).await.map(|_| ())
        }
        shards => sharded::attend(client, shards).await,
    }
}
