//! Answers the API server before it stores a resource: one HTTPS endpoint, which asks the checks of the kind's pipeline.
//!
//! Every process answers, whether it leads or not, from one Secret with the certificate; the one that leads keeps that Secret, and
//! the `caBundle` by which the API server trusts it. What a check may see and who answers for it is as for steps: its manifest
//! and the slots. Which resources are asked about is the ValidatingWebhookConfiguration's to say, which people apply.

use std::net::SocketAddr;
use std::sync::Arc;

use stepwright_core::pipeline::Pipeline;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::context::Context;

mod authority;
mod keeper;
mod request;
mod reviewer;
mod serve;
mod shadow;

/// Where and as whom the API server is answered.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// Where HTTPS is served.
    pub address: SocketAddr,
    /// The Secret with the certificate, in the operator's namespace. One with `tls.crt` is somebody else's, and only read.
    pub secret: String,
    /// The Service through which the API server comes, in the operator's namespace.
    pub service: String,
    /// The ValidatingWebhookConfiguration whose `caBundle` is kept.
    pub webhook: String,
}

/// Serves until stopped. A port that is taken costs a warning: what the operator does besides does not depend on it.
pub(crate) async fn run(
    settings: AdmissionSettings,
    context: Arc<Context>,
    pipelines: Vec<Arc<Pipeline>>,
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let identity = Arc::new(serve::Identity::default());
    let keeper = keeper::Keeper::new(settings.clone(), &context, leads, identity.clone());
    let reviewer = Arc::new(reviewer::Reviewer { context, pipelines });
    let served = async {
        if let Err(error) = serve::serve(settings.address, reviewer, identity, stop.clone()).await {
            let error = &error as &dyn std::error::Error;
            warn!(address = %settings.address, error, "nobody is answered before storing; choose another --admission-port");
        }
        stop.cancelled().await;
    };
    tokio::select! {
        () = served => {}
        () = keeper.run() => {}
    }
    Ok(())
}
