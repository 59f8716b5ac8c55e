//! The fields of a RedisEnterpriseDatabase that are read (reference, 1.5), and of its cluster (1.3).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use stepwright_rigging::naming::ServicesRiggerSpec;

use crate::status::Status;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Database {
    pub(crate) metadata: Generation,
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Generation {
    pub(crate) generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) redis_enterprise_cluster: Named,
    pub(crate) memory_size: Option<String>,
    pub(crate) rof_ram_size: Option<String>,
    pub(crate) rof_ram_ratio: Option<IgnoredAny>,
    pub(crate) is_rof: Option<bool>,
    pub(crate) search_on_bigstore: Option<IgnoredAny>,
    pub(crate) shard_count: Option<i64>,
    pub(crate) sharding_enabled: Option<bool>,
    pub(crate) shards_placement: Option<String>,
    pub(crate) replication: Option<bool>,
    pub(crate) rack_aware: Option<bool>,
    pub(crate) persistence: Option<String>,
    pub(crate) eviction_policy: Option<String>,
    pub(crate) database_port: Option<i64>,
    pub(crate) database_service_port: Option<i64>,
    pub(crate) database_secret_name: Option<String>,
    pub(crate) default_user: Option<bool>,
    pub(crate) tls_mode: Option<String>,
    pub(crate) client_authentication_certificates: Option<Vec<IgnoredAny>>,
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
    pub(crate) memcached_sasl_secret_name: Option<IgnoredAny>,
    pub(crate) redis_version: Option<String>,
    pub(crate) upgrade_spec: UpgradeSpec,
    pub(crate) modules_list: Vec<Module>,
    pub(crate) oss_cluster: Option<bool>,
    pub(crate) oss_cluster_settings: Option<IgnoredAny>,
    pub(crate) proxy_policy: Option<String>,
    pub(crate) connection_settings: Option<ConnectionSettings>,
    pub(crate) data_internode_encryption: Option<bool>,
    pub(crate) resp3: Option<bool>,
    pub(crate) roles_permissions: Option<Vec<IgnoredAny>>,
    pub(crate) replica_sources: Option<Vec<IgnoredAny>>,
    pub(crate) backup: Option<IgnoredAny>,
    pub(crate) alert_settings: Option<IgnoredAny>,
    pub(crate) auditing: Option<IgnoredAny>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) active_active: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct UpgradeSpec {
    pub(crate) upgrade_modules_to_latest: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) config: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConnectionSettings {
    pub(crate) internal_connections: Option<i64>,
    pub(crate) min_dedicated_connections: Option<i64>,
    pub(crate) global_max_dedicated_connections: Option<i64>,
    pub(crate) connection_scheduling_policy: Option<String>,
    pub(crate) connection_limit_type: Option<String>,
}

impl Spec {
    pub(crate) fn default_user(&self) -> bool {
        self.default_user.unwrap_or(true)
    }

    pub(crate) fn shards(&self) -> u32 {
        self.shard_count.and_then(|shards| u32::try_from(shards).ok()).unwrap_or(1)
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.database_port.and_then(|port| u16::try_from(port).ok())
    }

    /// Shards as the license counts them, replicas included.
    pub(crate) fn licensed_shards(&self) -> u64 {
        u64::from(self.shards()) * if self.replication.unwrap_or_default() { 2 } else { 1 }
    }

    pub(crate) fn on_flash(&self) -> bool {
        self.is_rof.unwrap_or_default()
    }
}

/// A string that says something.
pub(crate) fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// A RedisEnterpriseCluster of the namespace.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) metadata: Deletion,
    pub(crate) spec: ClusterSpec,
    pub(crate) status: ClusterStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Deletion {
    pub(crate) deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClusterSpec {
    pub(crate) services_rigger_spec: ServicesRiggerSpec,
    pub(crate) rack_awareness_node_label: Option<String>,
    pub(crate) redis_on_flash_spec: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterStatus {
    pub(crate) state: String,
    pub(crate) modules: Vec<ClusterModule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterModule {
    pub(crate) name: String,
    pub(crate) versions: Vec<String>,
}
