//! The listeners of a node and how one HTTP connection is served. What is answered is decided in [`crate::api`].

use std::{io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tracing::debug;

use crate::{
    api::{self, Call, Door, Reply},
    node::{Node, NodeError},
    settings::PEER_PORT,
};

/// No request of the API is longer.
const LONGEST_BODY: usize = 16 << 20;

/// A client that does not shake hands in this time is let go.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Answers a call; `None` cuts the connection without an answer.
pub type Handler = Arc<dyn Fn(Arc<Node>, Call) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send>> + Send + Sync>;

/// Opens the REST API, encrypted and plain, the internal port, and the user interface.
pub async fn listen(node: &Arc<Node>, tasks: &mut JoinSet<()>) -> Result<(), NodeError> {
    let rest = |door: Door| -> Handler {
        Arc::new(move |node, call| Box::pin(async move { api::answer(&node, call, door).await }))
    };
    open(node, tasks, 9443, true, rest(Door::Public)).await?;
    open(node, tasks, 8080, false, rest(Door::Public)).await?;
    open(node, tasks, PEER_PORT, false, rest(Door::Internal)).await?;
    open(node, tasks, 8443, true, Arc::new(|node, _| Box::pin(async move { Some(page(&node)) }))).await
}

/// Opens one port.
pub async fn open(
    node: &Arc<Node>,
    tasks: &mut JoinSet<()>,
    port: u16,
    encrypted: bool,
    handler: Handler,
) -> Result<(), NodeError> {
    let listener = bind(node, port).await?;
    let node = Arc::clone(node);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (node, handler) = (Arc::clone(&node), Arc::clone(&handler));
                    connections.spawn(async move {
                        let _ = stream.set_nodelay(true);
                        let served = if encrypted {
                            let handshake = node.identity.acceptor().accept(stream);
                            match tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
                                Ok(Ok(stream)) => converse(node, stream, handler).await,
                                Ok(Err(error)) => { debug!(%error, "a client did not shake hands"); Ok(()) }
                                Err(_) => Ok(()),
                            }
                        } else {
                            converse(node, stream, handler).await
                        };
                        if let Err(error) = served {
                            debug!(%error, "a connection ended");
                        }
                    });
                }
            }
        }
    });
    Ok(())
}

/// Listens on a port of the bind address.
pub async fn bind(node: &Node, port: u16) -> Result<TcpListener, NodeError> {
    let bind = node.settings.bind.as_str();
    TcpListener::bind((bind, port)).await.map_err(|error| NodeError::Listen(format!("{bind}:{port}"), error))
}

async fn converse<S>(node: Arc<Node>, stream: S, handler: Handler) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (node, handler) = (Arc::clone(&node), Arc::clone(&handler));
        async move {
            let (head, body) = request.into_parts();
            let body = match Limited::new(body, LONGEST_BODY).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return Err(io::Error::other(error)),
            };
            let call = Call::new(head.method.as_str(), &head.uri, head.headers, body);
            match handler(node, call).await {
                Some(reply) => Ok(response(reply)),
                // An error here makes hyper close the connection, which is what is wanted.
                None => Err(io::Error::other("the reply is lost on demand")),
            }
        }
    });
    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut builder =
        Response::builder().status(reply.status).header("server", "envoy").header("content-type", reply.content_type);
    for (name, value) in &reply.headers {
        builder = builder.header(*name, value);
    }
    // A header that HTTP cannot carry is a fault of ours; the client gets an error rather than half an answer.
    builder.body(Full::new(reply.body)).unwrap_or_else(|_| {
        let mut broken = Response::new(Full::new(Bytes::new()));
        *broken.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

fn page(node: &Node) -> Reply {
    let name = node.snapshot().map_or_else(|| "no cluster yet".to_owned(), |snapshot| snapshot.state.name.clone());
    let html = format!(
        "<!doctype html><title>Redis Enterprise simulator</title><h1>Redis Enterprise simulator</h1>\
         <p>This is node {} of <b>{name}</b>. It plays a Redis Enterprise node for development and has no admin console.\
         <p>REST API: port 9443. Metrics: port 8070.",
        node.settings.hostname
    );
    Reply::html(200, html)
}
