//! What the CLI asks the leading operator: the journal and the plugins, as JSON over HTTP on loopback.
//!
//! Read-only. It listens on loopback alone, so that whoever may forward a port to the pod may read it, and nobody else; a
//! request that came by another name than loopback's is refused, since a browser can be made to send those. Nothing here
//! is a secret's value, but specs and statuses are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use stepwright_core::journal::{Header, PassRecord};
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;

/// The port where nothing else is said.
pub const PORT: u16 = 8081;
/// Passes of one answer where nothing else is said.
const LIMIT: usize = 100;

/// What the endpoints answer from.
#[derive(Clone)]
pub struct LocalApi {
    pub journal: Arc<Journal>,
    /// `{"plugins": […]}`: what is loaded, as JSON.
    pub plugins: Arc<dyn Fn() -> Value + Send + Sync>,
    /// The first line of an exported journal; its time is filled in when it is asked for.
    pub header: Header,
}

/// Loopback, whatever was asked for: the address itself if it is one of loopback's (a development cluster gives each pod one
/// of its own), else the usual one.
pub fn address(wished: IpAddr, port: u16) -> SocketAddr {
    let address = if wished.is_loopback() { wished } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    SocketAddr::new(address, port)
}

/// Serves until stopped. `address` is one of `address()`'s.
pub async fn serve(address: SocketAddr, api: LocalApi, stop: CancellationToken) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(%address, "serving the journal");
    axum::serve(listener, routes(api)).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

fn routes(api: LocalApi) -> Router {
    Router::new()
        .route("/v1/passes", get(passes))
        .route("/v1/passes/{number}", get(pass))
        .route("/v1/journal", get(journal))
        .route("/v1/plugins", get(plugins))
        .route("/v1/plugins/{name}/rehearsal", get(rehearsal))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "NotFound", "there is nothing under this path") })
        .layer(from_fn(only_loopback))
        .with_state(api)
}

fn refuse(status: StatusCode, reason: &str, message: &str) -> Response {
    (status, Json(json!({"reason": reason, "message": message}))).into_response()
}

async fn only_loopback(request: Request, next: Next) -> Response {
    if by_loopback_name(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    let message = "ask for it as localhost, 127.0.0.1 or [::1]: other names are refused";
    refuse(StatusCode::FORBIDDEN, "NotLoopback", message)
}

fn by_loopback_name(headers: &HeaderMap, uri: &Uri) -> bool {
    let named = |authority: &Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        (address || host.eq_ignore_ascii_case("localhost")) && !authority.as_str().contains('@')
    };
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = Authority::try_from(host.as_bytes()).is_ok_and(|it| named(&it));
    host && uri.authority().is_none_or(named)
}

/// Which passes are asked for; what is left out matches everything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    limit: Option<usize>,
}

impl Wanted {
    fn matches(&self, record: &PassRecord) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|it| is == Some(it));
        let id = &record.primary;
        same(&self.kind, Some(&id.kind))
            && same(&self.namespace, id.namespace.as_deref())
            && same(&self.name, Some(&id.name))
    }
}

type Asked = Result<Query<Wanted>, axum::extract::rejection::QueryRejection>;

fn malformed(error: &impl std::fmt::Display) -> Response {
    refuse(StatusCode::BAD_REQUEST, "Malformed", &format!("{error}; known are kind, namespace, name and limit"))
}

/// The newest passes, the newest first.
async fn passes(State(api): State<LocalApi>, wanted: Asked) -> Response {
    let wanted = match wanted {
        Ok(Query(wanted)) => wanted,
        Err(error) => return malformed(&error),
    };
    let mut all = api.journal.all();
    all.retain(|record| wanted.matches(record));
    all.reverse();
    all.truncate(wanted.limit.unwrap_or(LIMIT));
    Json(all).into_response()
}

async fn pass(State(api): State<LocalApi>, Path(number): Path<String>) -> Response {
    let record = number.parse().ok().and_then(|number| api.journal.get(number));
    match record {
        Some(record) => Json(record).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "NoSuchPass", &format!("there is no record of a pass {number}")),
    }
}

/// A header, then a record a line, the oldest first. Written as it is read: a journal is never held as text.
async fn journal(State(api): State<LocalApi>, wanted: Asked) -> Response {
    let wanted = match wanted {
        Ok(Query(wanted)) => wanted,
        Err(error) => return malformed(&error),
    };
    let mut all = api.journal.all();
    all.retain(|record| wanted.matches(record));
    let newest = wanted.limit.map_or(0, |limit| all.len().saturating_sub(limit));
    let header = Header { exported: k8s_openapi::jiff::Timestamp::now().to_string(), ..api.header };
    let lines = std::iter::once(line(&header)).chain(all.into_iter().skip(newest).map(|record| line(&*record)));
    ([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(futures::stream::iter(lines))).into_response()
}

fn line(value: &impl serde::Serialize) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

async fn plugins(State(api): State<LocalApi>) -> Response {
    Json((api.plugins)()).into_response()
}

async fn rehearsal(State(api): State<LocalApi>, Path(name): Path<String>) -> Response {
    let view = (api.plugins)();
    let all = view.get("plugins").and_then(Value::as_array);
    let of_it = |it: &&Value| it.get("configMap").and_then(Value::as_str) == Some(name.as_str());
    match all.into_iter().flatten().find(of_it).map(|it| it.get("rehearsal").cloned()) {
        Some(Some(found)) if !found.is_null() => Json(found).into_response(),
        Some(_) => refuse(StatusCode::NOT_FOUND, "NotRehearsed", &format!("plugin `{name}` was not rehearsed")),
        None => refuse(StatusCode::NOT_FOUND, "NoSuchPlugin", &format!("there is no plugin of a ConfigMap `{name}`")),
    }
}

#[cfg(test)]
#[path = "local_api_tests.rs"]
mod tests;
