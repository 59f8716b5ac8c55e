//! How often, how long, how far: every number that the fact source waits by, in one place.

use std::sync::Arc;
use std::time::Duration;

use crate::resolve::Resolve;

/// Waits and rates. The defaults are meant for real clusters; tests shorten them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between two looks at a cluster at rest: what moves there by itself, such as an endpoint after a failover, is followed
    /// within two seconds.
    pub rest_interval: Duration,
    /// Between two looks while something moves.
    pub moving_interval: Duration,
    /// How long after a mutating call the cluster counts as moving whatever it says.
    pub settle: Duration,
    /// A cluster that moves, but shows no change for this long, is looked at as if it were at rest: what is stuck is not
    /// helped by asking often.
    pub restless: Duration,
    /// At rest everything is read again this often, also what no sign of a change points at.
    pub full_interval: Duration,
    /// A fact that nobody asked for in this time is no longer read. The system is then named as changed once, so that
    /// whoever needs the fact asks again.
    pub interest: Duration,
    /// TCP or port-forward, TLS and HTTP together.
    pub connect_timeout: Duration,
    /// From the request to the end of the reply.
    pub read_timeout: Duration,
    /// The same for `GET /v1/bootstrap`, which a healthy node answers out of its own memory.
    pub probe_timeout: Duration,
    /// How long an asker waits for facts before they count as unknown.
    pub patience: Duration,
    /// Between two looks at a cluster elsewhere, and at how the copies of Active-Active databases are linked.
    pub distant_interval: Duration,
    /// Where names of clusters elsewhere are to be found that DNS does not know.
    pub resolve: Arc<[Resolve]>,
    /// The operator's own namespace: where the clusters are that databases of other namespaces name. Empty: there are none.
    pub namespace: String,
    /// The DNS domain of the Kubernetes cluster: part of a Redis Enterprise cluster's name.
    pub cluster_domain: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rest_interval: Duration::from_secs(1),
            moving_interval: Duration::from_millis(500),
            settle: Duration::from_secs(10),
            restless: Duration::from_secs(120),
            full_interval: Duration::from_secs(60),
            interest: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(20),
            distant_interval: Duration::from_secs(5),
            resolve: Arc::default(),
            namespace: String::new(),
            cluster_domain: "cluster.local".to_owned(),
        }
    }
}
