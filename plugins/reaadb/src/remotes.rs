//! The clusters that may take part, as their resources say (reference, 1.8).

use serde::Deserialize;
use stepwright_sdk::Observed;

use crate::record::{Cluster, Instance};

/// What a remote cluster's Secret is called; its name follows (reference, 2.7).
const SECRET_PREFIX: &str = "redis-enterprise-";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Remote {
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    rec_name: String,
    rec_namespace: String,
    api_fqdn_url: String,
    api_port: Option<u16>,
    pub(crate) db_fqdn_suffix: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    status: String,
    pub(crate) local: bool,
    cluster_name: Option<String>,
    internal_observed_secret_resource_version: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    message: String,
}

impl Remote {
    /// Where its REST API is.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.spec.api_fqdn_url, self.spec.api_port.unwrap_or(443))
    }

    /// The cluster's name (FQDN): as it says itself, or as clusters are named.
    pub(crate) fn cluster_name(&self) -> String {
        let Spec { rec_name, rec_namespace, .. } = &self.spec;
        self.status.cluster_name.clone().unwrap_or_else(|| format!("{rec_name}.{rec_namespace}.svc.cluster.local"))
    }

    /// The version of the Secret with its login, as last worked with.
    pub(crate) fn secret_version(&self) -> Option<&str> {
        self.status.internal_observed_secret_resource_version.as_deref()
    }

    /// A copy is on this cluster.
    pub(crate) fn has(&self, instance: &Instance) -> bool {
        let Cluster { name, url, .. } = &instance.cluster;
        *name == self.cluster_name() || url.trim_end_matches('/') == self.url()
    }
}

/// The name of a remote cluster's Secret.
pub(crate) fn secret(remote: &str) -> String {
    format!("{SECRET_PREFIX}{remote}")
}

/// Why a remote cluster cannot be worked with now.
pub(crate) fn trouble(remote: &Observed<Remote>) -> Option<String> {
    let name = &remote.id.name;
    let status = &remote.status;
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").map(|it| it.message.as_str());
    match status.status.as_str() {
        "Active" => None,
        "" => Some(format!("participating cluster `{name}` was not looked at yet")),
        _ => Some(format!(
            "participating cluster `{name}` cannot be worked with: {}",
            ready.unwrap_or("it says not why")
        )),
    }
}
