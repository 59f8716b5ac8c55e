//! The HTTPS server: connections, the certificate that each is shown, and the routes. What is answered is decided elsewhere.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, http};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::request::{Request, Review};
use super::reviewer::Reviewer;

/// Connections at the same time: the API servers keep a few each.
const CONNECTIONS: usize = 256;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The resource as it is to be and as it was, each at most what etcd takes, and what the API server says about them.
const MOST_BYTES: usize = 8 << 20;
/// How long the API server waits where it does not say, and the least that is kept back of it for the way.
const WAITS: Duration = Duration::from_secs(10);
const FOR_THE_WAY: Duration = Duration::from_millis(500);

/// What clients are shown; exchanged while connections come and go.
#[derive(Default)]
pub(super) struct Identity(RwLock<Option<Arc<CertifiedKey>>>);

impl Identity {
    /// Shows this certificate chain from now on, both PEM.
    pub(super) fn set(&self, chain: &str, key: &str) -> Result<(), String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| format!("the private key cannot be read: {error}"))?;
        let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| format!("certificate and private key do not go together: {error}"))?;
        *self.0.write() = Some(Arc::new(pair));
        Ok(())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

#[derive(Clone)]
struct Endpoint {
    reviewer: Arc<Reviewer>,
    identity: Arc<Identity>,
}

/// Serves until stopped.
pub(super) async fn serve(
    address: SocketAddr,
    reviewer: Arc<Reviewer>,
    identity: Arc<Identity>,
    stop: CancellationToken,
) -> io::Result<()> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(identity.clone());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let routes = Router::new()
        .route("/admission", post(review))
        .route("/liveness", get(|| async { "ok" }))
        .route("/readiness", get(ready))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Endpoint { reviewer, identity });
    let listener = TcpListener::bind(address).await?;
    info!(%address, "answering the API server before it stores");
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, from)) = accepted else {
            // Out of file descriptors, as a rule: some will be free again.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, routes, stop) = (acceptor.clone(), routes.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return debug!(%from, %error, "a handshake failed"),
                Err(_) => return debug!(%from, "a handshake took too long"),
            };
            let service = TowerToHyperService::new(routes);
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(HANDSHAKE, connection).await;
                }
            }
        });
    }
}

async fn ready(State(endpoint): State<Endpoint>) -> (StatusCode, &'static str) {
    if endpoint.identity.0.read().is_some() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "there is no certificate yet")
    }
}

#[derive(Deserialize)]
struct Asked {
    /// `30s`: how long the API server waits.
    timeout: Option<String>,
}

impl Asked {
    fn within(&self) -> Duration {
        let seconds = self.timeout.as_deref().and_then(|it| it.strip_suffix('s')).and_then(|it| it.parse::<u64>().ok());
        let waits = seconds.map_or(WAITS, Duration::from_secs);
        waits.saturating_sub(FOR_THE_WAY).max(FOR_THE_WAY)
    }
}

async fn review(State(endpoint): State<Endpoint>, Query(asked): Query<Asked>, body: Bytes) -> Response {
    let unreadable = |error: serde_json::Error| {
        let text = format!("not an AdmissionReview of admission.k8s.io/v1 with a request: {error}");
        (http::StatusCode::BAD_REQUEST, text).into_response()
    };
    let review: Review<'_> = match serde_json::from_slice(&body) {
        Ok(review) => review,
        Err(error) => return unreadable(error),
    };
    let request: Request = match serde_json::from_str(review.request.get()) {
        Ok(request) => request,
        Err(error) => return unreadable(error),
    };
    let verdict = endpoint.reviewer.review(review.request, &request, asked.within()).await;
    Json(verdict.answer(&request.uid)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_answer_before_the_api_server_gives_up() {
        let within = |timeout: &str| Asked { timeout: Some(timeout.to_owned()) }.within();
        assert_eq!(within("30s"), Duration::from_millis(29_500));
        assert_eq!(within("1s"), FOR_THE_WAY);
        assert_eq!(within("nonsense"), WAITS - FOR_THE_WAY);
    }
}
