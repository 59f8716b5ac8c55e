//! The settings of a database that its resource may define, in the product's names and forms (REST reference, 6.2).
//!
//! Whatever is not in this list is never compared and never sent, so an administrator may change it in Redis Enterprise.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::{backup, replica};

macro_rules! settings {
    ($($field:ident: $type:ty = $default:expr,)*) => {
        /// Each is there when it is meant; of an existing database, when it was shown.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub(crate) struct Settings {
            $(#[serde(skip_serializing_if = "Option::is_none")] pub(crate) $field: Option<$type>,)*
        }

        /// A database as the cluster lists it.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default)]
        pub(crate) struct Bdb {
            pub(crate) uid: u64,
            pub(crate) status: String,
            pub(crate) port: Option<u16>,
            pub(crate) endpoints: Option<Vec<Endpoint>>,
            pub(crate) shard_list: Option<Vec<u64>>,
            pub(crate) action_uid: Option<String>,
            pub(crate) created_time: Option<String>,
            pub(crate) last_changed_time: Option<String>,
            pub(crate) version: Option<String>,
            /// A fingerprint.
            pub(crate) authentication_redis_pass: Option<String>,
            pub(crate) bigstore: Option<bool>,
            pub(crate) bigstore_version: Option<i64>,
            #[serde(rename = "type")]
            pub(crate) type_: Option<String>,
            pub(crate) module_list: Option<Vec<ShownModule>>,
            pub(crate) backup_location: Option<backup::Shown>,
            pub(crate) replica_sources: Option<Vec<replica::Shown>>,
            pub(crate) authentication_ssl_client_certs: Option<Vec<IgnoredAny>>,
            pub(crate) authentication_sasl_uname: Option<String>,
            /// A fingerprint.
            pub(crate) authentication_sasl_pass: Option<String>,
            pub(crate) backup_status: Option<String>,
            pub(crate) backup_failure_reason: Option<String>,
            pub(crate) last_backup_time: Option<String>,
            $(pub(crate) $field: Option<$type>,)*
        }

        impl Settings {
            /// The wanted settings that the database does not have. What it does not show has its default.
            pub(crate) fn missing_in(self, bdb: &Bdb) -> Self {
                Self {
                    $($field: self.$field.filter(|wanted| match &bdb.$field {
                        Some(found) => found != wanted,
                        None => {
                            let default = <$type>::from($default);
                            *wanted != default
                        }
                    }),)*
                }
            }

            /// Names of those that are there.
            pub(crate) fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$field.is_some() { names.push(stringify!($field)); })*
                names
            }
        }
    };
}

settings! {
    name: String = "",
    memory_size: u64 = 0u64,
    shards_count: u32 = 1u32,
    sharding: bool = false,
    replication: bool = false,
    rack_aware: bool = false,
    shards_placement: String = "dense",
    data_persistence: String = "disabled",
    aof_policy: String = "appendfsync-every-sec",
    snapshot_policy: Vec<Snapshot> = Vec::new(),
    eviction_policy: String = "volatile-lru",
    tls_mode: String = "disabled",
    default_user: bool = true,
    proxy_policy: String = "single",
    oss_cluster: bool = false,
    conns: i64 = 5i64,
    conns_type: String = "per-thread",
    conns_minimum_dedicated: i64 = 2i64,
    conns_global_maximum_dedicated: i64 = 0i64,
    sched_policy: String = "cmp",
    data_internode_encryption: bool = false,
    resp3: bool = true,
    bigstore_ram_size: u64 = 0u64,
    bigstore_max_ram_ratio: i64 = 50i64,
    oss_cluster_api_preferred_ip_type: String = "internal",
    enforce_client_authentication: String = "enabled",
    db_conns_auditing: bool = false,
    roles_permissions: Vec<RolePermission> = Vec::new(),
    replica_sync: String = "disabled",
    backup: bool = false,
    backup_interval: i64 = 0i64,
    backup_interval_offset: i64 = 0i64,
    tags: Vec<Tag> = Vec::new(),
}

/// When a snapshot is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    pub(crate) secs: u32,
    pub(crate) writes: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    pub(crate) dns_name: Option<String>,
    pub(crate) port: u16,
    pub(crate) addr_type: Option<String>,
    pub(crate) addr: Vec<String>,
}

/// Who may do what, by the uids of a role and an ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RolePermission {
    pub(crate) role_uid: u64,
    pub(crate) redis_acl_uid: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Module {
    pub(crate) module_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) semantic_version: Option<String>,
    pub(crate) module_args: String,
}

/// A module as the cluster shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ShownModule {
    pub(crate) module_name: String,
    pub(crate) semantic_version: Option<String>,
    pub(crate) module_args: Option<String>,
}

/// How keys are spread over shards; needed as soon as there are several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Regex {
    pub(crate) regex: &'static str,
}

/// The product's standard rules.
pub(crate) const SHARD_KEY_REGEX: [Regex; 2] = [Regex { regex: r".*\{(?<tag>.*)\}.*" }, Regex { regex: "(?<tag>.*)" }];
