//! RedisEnterpriseDatabase (`redb`): a database on a cluster.
//!
//! The same spec, with other rules, is what an Active-Active database applies on every cluster.

use kube::CustomResource;

use crate::embedded::Labels;

pub mod alerts;
pub mod backup;
pub mod rules;
pub mod settings;
pub mod status;

use alerts::Alerts;
use backup::Backup;
use settings::{
    ActiveActiveLink, Auditing, ClusterReference, ConnectionSettings, DatabaseType, Module, OssCluster, Persistence,
    ReplicaSource, RolePermission, ShardsPlacement, TlsMode, UpgradeSpec,
};
use status::DatabaseStatus;

api! {
    #[derive(Default, CustomResource)]
    #[kube(
        group = "app.redislabs.com",
        version = "v1alpha1",
        kind = "RedisEnterpriseDatabase",
        plural = "redisenterprisedatabases",
        singular = "redisenterprisedatabase",
        shortname = "redb",
        category = "redis-enterprise",
        namespaced,
        schema = "disabled",
        status = "DatabaseStatus",
        derive = "PartialEq",
        label("app", "redis-enterprise"),
        printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
        printcolumn(name = "Port", type_ = "string", json_path = ".status.internalEndpoints[*].port"),
        printcolumn(name = "Cluster", type_ = "string", json_path = ".status.redisEnterpriseCluster"),
        printcolumn(name = "Shards", type_ = "string", json_path = ".status.shardStatuses.active"),
        printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
        printcolumn(name = "Spec Status", type_ = "string", json_path = ".status.specStatus"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )]
    /// The database that is wanted.
    pub struct RedisEnterpriseDatabaseSpec {
        /// Cluster to make the database on. If empty: the only one of the namespace.
        pub redis_enterprise_cluster: Option<ClusterReference>,
        /// Memory limit, replicas included: a number with MB or GB, such as 256MB or 0.5GB. At least 100MB; with isRof, flash included, at least 1GB. 100MB if empty.
        #[schemars(length(max = 32))]
        pub memory_size: Option<String>,
        /// Part of memorySize that is memory, if isRof. Needed before Redis 8, and at least a tenth; from Redis 8 an upper bound.
        #[schemars(length(max = 32))]
        pub rof_ram_size: Option<String>,
        /// Percentage of the data to keep in memory, if isRof, from Redis 8. 50 if empty.
        #[schemars(range(min = 0, max = 100))]
        pub rof_ram_ratio: Option<i32>,
        /// Whether data may be on flash. The cluster needs redisOnFlashSpec.
        pub is_rof: Option<bool>,
        /// Whether search indexes may be on flash, if isRof, from Redis 8.6.
        pub search_on_bigstore: Option<bool>,
        /// Number of shards, replicas not counted; 1 if empty. It may only grow.
        #[schemars(range(min = 1, max = 512))]
        pub shard_count: Option<i32>,
        /// Whether an Active-Active database is sharded. Not for other databases, where shardCount says it.
        pub sharding_enabled: Option<bool>,
        /// Whether shards are put on few nodes or on many; dense if empty.
        pub shards_placement: Option<ShardsPlacement>,
        /// Whether each shard has a replica. Doubles the shards that the license counts.
        pub replication: Option<bool>,
        /// Whether a shard and its replica are kept on different racks. The cluster must be rack-aware.
        pub rack_aware: Option<bool>,
        /// How data is kept on disk; not at all if empty.
        pub persistence: Option<Persistence>,
        /// What gives way when memory is full: volatile-lru (if empty), volatile-ttl, volatile-random, volatile-lfu, allkeys-lru, allkeys-random, allkeys-lfu or noeviction.
        #[schemars(length(max = 64))]
        pub eviction_policy: Option<String>,
        /// Port of the database, 10000 to 19999, free on the cluster. Chosen by the cluster if empty. Cannot be changed later.
        pub database_port: Option<i32>,
        /// Port of the Services. May be changed at any time. That of the database if empty, unless the cluster says otherwise.
        #[schemars(range(min = 1, max = 65535))]
        pub database_service_port: Option<i32>,
        /// Secret with the password under the key `password`; an empty password means none. Made as redb-<name>, and written here, if empty.
        pub database_secret_name: Option<String>,
        /// Whether the default user may log in; true if empty. If false, no Secret is made.
        pub default_user: Option<bool>,
        /// Which connections are encrypted; none if empty.
        pub tls_mode: Option<TlsMode>,
        /// Secrets with certificates, under the key `cert`, that clients may log in with.
        pub client_authentication_certificates: Option<Vec<String>>,
        /// Kind of database; redis if empty.
        #[serde(rename = "type")]
        pub database_type: Option<DatabaseType>,
        /// Secret with `username` and `password` for SASL, if the type is memcached.
        pub memcached_sasl_secret_name: Option<String>,
        /// Redis version to make or upgrade to: one such as '7.4' (in quotes), or major, or latest if the cluster's redisUpgradePolicy allows it.
        #[schemars(length(max = 32))]
        pub redis_version: Option<String>,
        /// Deprecated. What an upgrade does with modules.
        pub upgrade_spec: Option<UpgradeSpec>,
        /// Modules to load. From Redis 8 the bundled ones are there anyway.
        #[schemars(length(max = 64))]
        pub modules_list: Option<Vec<Module>>,
        /// Whether clients may use the OSS cluster API.
        pub oss_cluster: Option<bool>,
        /// Settings of the OSS cluster API.
        pub oss_cluster_settings: Option<OssCluster>,
        /// Which nodes take connections: single, all-master-shards or all-nodes. single if empty; all-master-shards with ossCluster.
        #[schemars(length(max = 64))]
        pub proxy_policy: Option<String>,
        /// Connections between proxy and shards.
        pub connection_settings: Option<ConnectionSettings>,
        /// Whether what passes between nodes is encrypted. If empty the cluster decides.
        pub data_internode_encryption: Option<bool>,
        /// Whether clients may speak RESP3. Removing this changes nothing.
        pub resp3: Option<bool>,
        /// Deprecated. Roles of the cluster that may use the database, and how.
        pub roles_permissions: Option<Vec<RolePermission>>,
        /// Databases to copy from. What is in this database is replaced. Removing the list ends the copying and keeps the data.
        #[schemars(length(max = 64))]
        pub replica_sources: Option<Vec<ReplicaSource>>,
        /// Where and when the database is backed up; not at all if absent.
        pub backup: Option<Backup>,
        /// What to be warned of.
        pub alert_settings: Option<Alerts>,
        /// Recording of connections and commands.
        pub auditing: Option<Auditing>,
        /// Tags of the database on the cluster.
        pub tags: Option<Labels>,
        /// The Active-Active database that this one is part of. Not supported: set by the operator, if at all.
        pub active_active: Option<ActiveActiveLink>,
    }
}
