//! What the managed system answers, as far as this step reads it (REST reference, 3.1, 4.1, 4.3, 5 and 10), and what the host
//! says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::spec::Raw;

/// `GET /v1/bootstrap` of one pod, or why there is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodBootstrap {
    pub(crate) error: Option<String>,
    pub(crate) bootstrap_status: Option<BootstrapStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BootstrapStatus {
    pub(crate) state: String,
    pub(crate) error_code: Option<String>,
    pub(crate) error_details: Option<Box<RawValue>>,
}

impl BootstrapStatus {
    /// Code and message of a failed bootstrap, for people.
    pub(crate) fn failure(&self) -> (String, String) {
        #[derive(Deserialize)]
        struct Details {
            message: String,
        }
        let code = self.error_code.clone().unwrap_or_else(|| "unknown_error".to_owned());
        let details = self.error_details.as_ref().map(|raw| raw.get());
        let message = details.map(|text| match serde_json::from_str::<Details>(text) {
            Ok(details) => details.message,
            Err(_) => text.trim_matches('"').to_owned(),
        });
        (code, message.unwrap_or_default())
    }
}

/// One of `GET /v1/nodes`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    pub(crate) uid: u64,
    pub(crate) addr: String,
    pub(crate) status: String,
    /// As it was told when it joined; empty without racks.
    pub(crate) rack_id: Option<String>,
    pub(crate) supported_database_versions: Vec<DatabaseVersion>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct DatabaseVersion {
    pub(crate) db_type: String,
    pub(crate) version: String,
    pub(crate) major: Option<bool>,
}

/// One of `GET /v1/nodes/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    pub(crate) hostname: String,
    pub(crate) node_status: String,
    pub(crate) role: String,
    pub(crate) free_provisional_ram: u64,
    pub(crate) total_provisional_ram: u64,
    /// The type of the elements is documented nowhere.
    pub(crate) master_shards: Vec<IgnoredAny>,
    /// There while the node is in maintenance.
    pub(crate) maintenance_snapshot: Option<IgnoredAny>,
}

impl NodeStatus {
    pub(crate) fn in_maintenance(&self) -> bool {
        self.maintenance_snapshot.is_some()
    }
}

/// One of `GET /v1/bdbs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bdb {
    pub(crate) uid: u64,
    pub(crate) name: String,
    pub(crate) status: String,
    /// Null while nothing listens.
    pub(crate) endpoints: Option<Vec<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    /// Addresses of the nodes that clients are led to.
    pub(crate) addr: Vec<String>,
}

/// `GET /v1/license`. Nearly everything may be null.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct License {
    pub(crate) license: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) expired: Option<bool>,
    pub(crate) activation_date: Option<String>,
    pub(crate) expiration_date: Option<String>,
    pub(crate) shards_limit: Option<i64>,
    pub(crate) ram_shards_limit: Option<i64>,
    pub(crate) ram_shards_in_use: Option<i64>,
    pub(crate) flash_shards_limit: Option<i64>,
    pub(crate) flash_shards_in_use: Option<i64>,
    pub(crate) features: Option<Vec<String>>,
}

/// One of `GET /v1/modules`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Module {
    pub(crate) module_name: String,
    pub(crate) display_name: Option<String>,
    pub(crate) semantic_version: Option<String>,
}

/// What the host says of itself: the image that it runs from, and the steps that it leaves to processes of their own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Host {
    pub(crate) image: Option<String>,
    pub(crate) image_pull_policy: Option<String>,
    pub(crate) image_pull_secrets: Vec<String>,
    pub(crate) delegated: BTreeMap<String, Lone>,
}

/// How a process is started that runs a step alone, and what it must be allowed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Lone {
    pub(crate) arguments: Vec<String>,
    /// `PolicyRule`s.
    pub(crate) rules: Vec<Raw>,
}
