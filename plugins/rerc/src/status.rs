//! The status (reference, 1.8).

use serde::{Deserialize, Serialize};

use crate::seen::Seen;

/// The cluster answers and takes its login.
pub(crate) const ACTIVE: &str = "Active";
/// It does not; a condition says why.
pub(crate) const ERROR: &str = "Error";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) spec_status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) local: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) internal_observed_secret_resource_version: Option<String>,
}

impl Status {
    /// All but how the cluster is.
    pub(crate) fn of(seen: &Seen<'_>) -> Self {
        let known = seen.cluster.known().and_then(|cluster| cluster.name.clone());
        Self {
            status: String::new(),
            spec_status: "Valid".to_owned(),
            local: Some(seen.local),
            // One that does not answer now has the name that it had.
            cluster_name: known.or_else(|| seen.remote.status.cluster_name.clone()),
            observed_generation: Some(seen.remote.metadata.generation),
            internal_observed_secret_resource_version: seen.secret_version(),
        }
    }
}
