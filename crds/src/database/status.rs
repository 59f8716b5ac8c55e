//! What is seen of a database.
//!
//! Words here are open, as in the status of a cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::settings::ActiveActiveLink;
use crate::embedded::conditions;

api! {
    /// What is seen of the database.
    #[derive(Default)]
    pub struct DatabaseStatus {
        /// Where the database is in its life: pending, active, active-change-pending, delete-pending, import-pending, creation-failed, recovery. Empty means not known.
        pub status: Option<String>,
        /// Valid, or Invalid: then the database is left as it is and an Event names field and rule.
        pub spec_status: Option<String>,
        /// Standard conditions, Ready among them.
        #[schemars(schema_with = "conditions")]
        pub conditions: Option<Vec<Condition>>,
        /// The metadata.generation that was last sent to the cluster in full. Work on it may go on.
        pub observed_generation: Option<i64>,
        /// The database's uid on the cluster.
        #[serde(rename = "databaseUID")]
        pub database_uid: Option<String>,
        /// When it was made (RFC 3339).
        pub created_time: Option<String>,
        /// When it was last changed (RFC 3339).
        pub last_updated: Option<String>,
        /// Redis version in full.
        pub version: Option<String>,
        /// Where it is reached inside the Kubernetes cluster.
        pub internal_endpoints: Option<Vec<Endpoint>>,
        /// Name of its RedisEnterpriseCluster.
        pub redis_enterprise_cluster: Option<String>,
        /// How many shards have which status, such as active: 1.
        pub shard_statuses: Option<BTreeMap<String, i32>>,
        /// Uid of the last action on it.
        pub last_action_uid: Option<String>,
        /// How that action went, such as completed.
        pub last_action_status: Option<String>,
        /// Its backups.
        pub backup_info: Option<BackupInfo>,
        /// Its sources.
        pub replica_source_statuses: Option<Vec<ReplicaSourceStatus>>,
        /// The Active-Active database that it is part of.
        pub active_active: Option<ActiveActiveLink>,
        /// How data is on flash: 1 is Auto Tiering, 2 is Flex.
        pub bigstore_version: Option<i32>,
        /// Optional fields that the spec has taken over, so that removing one sets it back.
        pub managed_fields: Option<Vec<String>>,
        /// Tags that the spec has taken over, so that removing one removes it.
        pub managed_tags: Option<Vec<String>>,
        /// Roles in force.
        pub roles_permissions: Option<Vec<BoundRole>>,
    }
}

api! {
    /// An address.
    pub struct Endpoint {
        /// Host name.
        pub host: Option<String>,
        /// Port.
        pub port: Option<i32>,
    }
}

api! {
    /// The backups of a database.
    pub struct BackupInfo {
        /// Why the last one failed: no-permission, wrong-file-path or general-error.
        pub backup_failure_reason: Option<String>,
        /// How many there are.
        pub backup_history: Option<i64>,
        /// Seconds between them.
        pub backup_interval: Option<i64>,
        /// Seconds after midnight (or noon) of the first one.
        pub backup_interval_offset: Option<i64>,
        /// How far the present one is, in percent.
        pub backup_progress_percentage: Option<i64>,
        /// exporting, succeeded or failed.
        pub backup_status: Option<String>,
        /// When the last one ended (RFC 3339).
        pub last_backup_time: Option<String>,
    }
}

api! {
    /// A database that is copied from.
    pub struct ReplicaSourceStatus {
        /// Its host.
        pub endpoint_host: String,
        /// How far this database is behind, in milliseconds.
        pub lag: Option<i64>,
        /// What last went wrong.
        pub last_error: Option<String>,
        /// When something was last heard of it.
        pub last_update: Option<String>,
        /// Size of the first copy, in bytes.
        pub rdb_size: Option<i64>,
        /// How much of the first copy has come, in bytes.
        pub rdb_transferred: Option<i64>,
        /// in-sync, syncing or out-of-sync.
        pub status: Option<String>,
    }
}

api! {
    /// A role and what it may do.
    pub struct BoundRole {
        /// What it may do.
        pub acl: Option<ObjectReference>,
        /// The role.
        pub role: Option<ObjectReference>,
    }
}

api! {
    /// An object, or something on the cluster.
    pub struct ObjectReference {
        /// Its kind.
        pub kind: Option<String>,
        /// Its name.
        pub name: Option<String>,
    }
}
