//! A small HTTP/1.1 client: one connection, one request. For peers, for `rladmin` and for other clusters; it follows no redirects.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::tls_client;

/// A connection is there within this time or not at all: everything is on loopback.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// A server that does not shake hands in this time is none.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Target {
    host: String,
    port: u16,
    /// The name that is asked for with TLS, and in `Host`; none = plain.
    name: Option<String>,
}

impl Target {
    /// A plain HTTP server.
    pub fn plain(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, name: None }
    }

    /// A server with TLS, dialled at `host` and asked for as `name`. Whatever certificate it shows is taken.
    pub fn encrypted(host: &str, port: u16, name: &str) -> Self {
        Self { host: host.to_owned(), port, name: Some(name.to_owned()) }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers that the asker may care for.
    pub headers: http::HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Why there was none.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody there.
    #[error("failed to connect to {host}:{port}")]
    Connect {
        /// Where.
        host: String,
        /// Where.
        port: u16,
    },
    /// The name is none that TLS can ask for.
    #[error("{0} is not a host name")]
    Name(String),
    /// The connection broke, or the server does not speak TLS.
    #[error("failed to speak TLS")]
    Tls(#[from] std::io::Error),
    /// The request could not be built.
    #[error("failed to build the request")]
    Build(#[from] http::Error),
    /// The connection broke.
    #[error("failed to get an answer")]
    Http(#[from] hyper::Error),
}

/// Sends one request and reads the whole answer.
pub async fn send(
    target: &Target,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Answer, AskError> {
    let Target { host, port, name } = target;
    let refused = || AskError::Connect { host: host.clone(), port: *port };
    let connecting = TcpStream::connect((host.as_str(), *port));
    let stream = tokio::time::timeout(CONNECT_LIMIT, connecting).await.ok().and_then(Result::ok).ok_or_else(refused)?;
    let _ = stream.set_nodelay(true);
    let Some(name) = name else {
        return exchange(stream, &format!("{host}:{port}"), method, path, headers, body).await;
    };
    let asked = ServerName::try_from(name.clone()).map_err(|_| AskError::Name(name.clone()))?;
    let handshake = TlsConnector::from(tls_client::trusting(None)?).connect(asked, stream);
    let stream = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await.map_err(|_| refused())??;
    exchange(stream, name, method, path, headers, body).await
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Answer, AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Answer { status: head.status.as_u16(), headers: head.headers, body })
    };
    // The connection must be driven beside the exchange; both end with it, so that no task is left behind.
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answer = &mut exchange => Ok(answer?),
        ended = &mut connection => match ended {
            Ok(()) => Ok(exchange.await?),
            Err(error) => Err(error.into()),
        },
    }
}
