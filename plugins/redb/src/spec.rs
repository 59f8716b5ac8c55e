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
    pub(crate) rof_ram_ratio: Option<i64>,
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
    pub(crate) client_authentication_certificates: Vec<String>,
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
    pub(crate) memcached_sasl_secret_name: Option<String>,
    pub(crate) redis_version: Option<String>,
    pub(crate) upgrade_spec: UpgradeSpec,
    pub(crate) modules_list: Vec<Module>,
    pub(crate) oss_cluster: Option<bool>,
    pub(crate) oss_cluster_settings: Option<OssClusterSettings>,
    pub(crate) proxy_policy: Option<String>,
    pub(crate) connection_settings: Option<ConnectionSettings>,
    pub(crate) data_internode_encryption: Option<bool>,
    pub(crate) resp3: Option<bool>,
    pub(crate) roles_permissions: Vec<RolePermission>,
    pub(crate) replica_sources: Vec<ReplicaSource>,
    pub(crate) backup: Option<Backup>,
    pub(crate) alert_settings: BTreeMap<String, Alert>,
    pub(crate) auditing: Auditing,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OssClusterSettings {
    pub(crate) enable_external_access: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RolePermission {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) role: String,
    pub(crate) acl: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplicaSource {
    pub(crate) replica_source_type: String,
    pub(crate) replica_source_name: String,
    pub(crate) tls_sni_name: Option<String>,
    pub(crate) compression: Option<i64>,
    pub(crate) client_key_secret: Option<String>,
    pub(crate) server_cert_secret: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Auditing {
    pub(crate) db_conns_auditing: Option<bool>,
    pub(crate) audit_mode: Option<IgnoredAny>,
    pub(crate) source_ip_filter: Option<IgnoredAny>,
    pub(crate) username_filter: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Alert {
    pub(crate) enabled: bool,
    pub(crate) threshold: Option<Threshold>,
}

/// People write a text or a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Threshold {
    Text(String),
    Whole(i64),
    Part(f64),
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(number) => number.fmt(f),
            Self::Part(number) => number.fmt(f),
        }
    }
}

/// One of the places.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Backup {
    pub(crate) interval: Option<i64>,
    pub(crate) interval_offset: Option<i64>,
    pub(crate) s3: Option<S3>,
    pub(crate) abs: Option<Abs>,
    pub(crate) gcs: Option<Gcs>,
    pub(crate) sftp: Option<Sftp>,
    pub(crate) swift: Option<IgnoredAny>,
    pub(crate) ftp: Option<Ftp>,
    pub(crate) mount: Option<Mount>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct S3 {
    pub(crate) aws_secret_name: String,
    pub(crate) bucket_name: String,
    pub(crate) subdir: Option<String>,
    pub(crate) region_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Abs {
    pub(crate) abs_secret_name: String,
    pub(crate) container: String,
    pub(crate) subdir: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Gcs {
    pub(crate) gcs_secret_name: String,
    pub(crate) bucket_name: String,
    pub(crate) subdir: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sftp {
    #[serde(rename = "sftpSecretName")]
    pub(crate) secret_name: String,
    pub(crate) sftp_url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ftp {
    pub(crate) url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mount {
    pub(crate) path: String,
}

impl Spec {
    pub(crate) fn memcached(&self) -> bool {
        self.type_.as_deref() == Some("memcached")
    }

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
    #[serde(rename = "bundledDatabaseVersions")]
    pub(crate) versions: Vec<BundledVersion>,
}

/// A version that a database may have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BundledVersion {
    #[serde(rename = "dbType")]
    pub(crate) db_type: String,
    pub(crate) version: String,
    /// Whether the policy `major` may choose it.
    pub(crate) major: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterModule {
    pub(crate) name: String,
    pub(crate) versions: Vec<String>,
}
