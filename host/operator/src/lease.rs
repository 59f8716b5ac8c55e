//! Leadership by Lease: one process acts, the others stand by. Before each effect the lease is looked at again.

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Whether this process leads, and what keeps it so.
pub struct Leadership {
    pub leads: watch::Receiver<bool>,
    /// Ends only with an error, or when nobody looks at `leads` any more.
    pub task: Option<JoinHandle<()>>,
}

/// How long a lease holds without renewal, in seconds; renewed this long before it ends.
const DURATION: u64 = 15;
const GRACE: u64 = 5;

/// Competes for the Lease `name` in `namespace`.
///
/// `identity` is the pod's name where there is one: a container that is started again in its pod takes its own lease up at
/// once instead of waiting for it to run out.
pub async fn compete(client: Client, namespace: &str, name: &str, identity: &str) -> anyhow::Result<Leadership> {
    let manager = LeaseManagerBuilder::new(client, name)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await?;
    let (leads, task) = manager.watch().await;
    let task = tokio::spawn(async move {
        match task.await {
            Ok(Ok(_)) => tracing::info!("the lease was given back"),
            Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "lost the means to lead"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the lease task ended"),
        }
    });
    Ok(Leadership { leads, task: Some(task) })
}

/// Leads without a lease: one process by construction, as in a test.
pub fn alone() -> Leadership {
    let (sender, leads) = watch::channel(true);
    let task = tokio::spawn(async move { sender.closed().await });
    Leadership { leads, task: Some(task) }
}
