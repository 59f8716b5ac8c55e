//! A service broker: the Open Service Broker API (version 2.17 of its specification) over RedisEnterpriseDatabases.
//!
//! A service instance is a RedisEnterpriseDatabase, which the operator makes real like any other; a binding hands out that
//! database's Secret. What exists is read from Kubernetes. Only bindings are kept here, in a file, since Kubernetes knows
//! nothing of them. This is a program of its own beside the operator: it decides nothing about clusters.

mod api;
mod bindings;
mod catalog;
mod database;
mod error;
mod login;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kube::Client;
use tokio_util::sync::CancellationToken;

pub use crate::bindings::Bindings;
pub use crate::error::BrokerError;
pub use crate::login::Login;

/// What the broker works with.
pub struct Broker {
    /// Of an account that may make and delete databases, and read Secrets, in `namespace`.
    pub client: Client,
    /// Where databases are made: the cluster's namespace.
    pub namespace: String,
    /// The RedisEnterpriseCluster on which they are made.
    pub cluster: String,
    pub login: Login,
    pub bindings: Bindings,
}

impl Broker {
    /// With the bindings that are kept in a folder.
    ///
    /// # Errors
    /// When the folder cannot be opened or its file does not hold bindings.
    pub fn open(
        client: Client,
        namespace: String,
        cluster: String,
        login: Login,
        folder: &Path,
    ) -> Result<Self, BrokerError> {
        Ok(Self { client, namespace, cluster, login, bindings: Bindings::open(folder)? })
    }
}

/// Serves until stopped.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, broker: Broker, stop: CancellationToken) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(%address, cluster = broker.cluster, "serving the Open Service Broker API");
    let routes = api::routes(Arc::new(broker));
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await
}
