//! Fields of a database, other than backup and alerts.

words! {
    /// Where shards go.
    pub enum ShardsPlacement {
        Dense = "dense",
        Sparse = "sparse",
    }
}

words! {
    /// How data is kept on disk.
    pub enum Persistence {
        Disabled = "disabled",
        AofEverySecond = "aofEverySecond",
        AofAlways = "aofAlways",
        SnapshotEvery1Hour = "snapshotEvery1Hour",
        SnapshotEvery6Hour = "snapshotEvery6Hour",
        SnapshotEvery12Hour = "snapshotEvery12Hour",
    }
}

words! {
    /// Which connections are encrypted.
    pub enum TlsMode {
        /// none.
        Disabled = "disabled",
        /// all.
        Enabled = "enabled",
        /// those of replicas of other databases.
        ReplicaSsl = "replica_ssl",
    }
}

words! {
    /// Kind of database.
    pub enum DatabaseType {
        Redis = "redis",
        Memcached = "memcached",
    }
}

words! {
    /// How connections between proxy and shards are chosen.
    pub enum SchedulingPolicy {
        Cmp = "cmp",
        Mru = "mru",
        Spread = "spread",
        Mnp = "mnp",
    }
}

words! {
    /// What a limit on connections counts by.
    pub enum ConnectionLimitType {
        PerThread = "per-thread",
        PerShard = "per-shard",
    }
}

words! {
    /// Where a role is defined.
    pub enum RoleType {
        RedisEnterprise = "redis-enterprise",
    }
}

words! {
    /// What is recorded.
    pub enum AuditMode {
        /// nothing.
        Disabled = "disabled",
        /// connections.
        Connection = "connection",
        /// connections, and commands that read or change data.
        ConnectionAndCrud = "connection_and_crud",
    }
}

words! {
    /// Whether a filter names what is recorded or what is not.
    pub enum FilterType {
        Inclusive = "inclusive",
        Exclusive = "exclusive",
    }
}

api! {
    /// A RedisEnterpriseCluster.
    pub struct ClusterReference {
        /// Its name.
        #[schemars(length(max = 253))]
        pub name: String,
    }
}

api! {
    /// What an upgrade does with modules.
    pub struct UpgradeSpec {
        /// Whether modules are upgraded to the newest version that fits. If true, modulesList must not fix versions.
        pub upgrade_modules_to_latest: bool,
    }
}

api! {
    /// A module to load.
    pub struct Module {
        /// Its name, such as search, ReJSON, timeseries or bf; status.modules of the cluster lists them.
        pub name: String,
        /// Its version. Deprecated, but needed for Active-Active.
        pub version: Option<String>,
        /// Arguments to load it with.
        pub config: Option<String>,
    }
}

api! {
    /// Settings of the OSS cluster API.
    pub struct OssCluster {
        /// Whether clients are told external addresses. The cluster needs ossClusterSettings.externalAccessType.
        pub enable_external_access: Option<bool>,
    }
}

api! {
    /// Connections between proxy and shards.
    pub struct ConnectionSettings {
        /// How many are kept open to each shard; 5 if empty.
        #[schemars(range(min = 0))]
        pub internal_connections: Option<i32>,
        /// How many at least are kept for commands that block; 2 if empty.
        #[schemars(range(min = 0))]
        pub min_dedicated_connections: Option<i32>,
        /// How many at most there are for such commands; 0 (or empty) means any number.
        #[schemars(range(min = 0))]
        pub global_max_dedicated_connections: Option<i32>,
        /// How one is chosen; cmp if empty.
        pub connection_scheduling_policy: Option<SchedulingPolicy>,
        /// What internalConnections counts by; per-thread if empty.
        pub connection_limit_type: Option<ConnectionLimitType>,
    }
}

api! {
    /// A role and what it may do.
    pub struct RolePermission {
        /// Where the role is defined.
        #[serde(rename = "type")]
        #[schemars(extend("default" = "redis-enterprise"))]
        pub role_type: RoleType,
        /// Name of a role on the cluster.
        pub role: String,
        /// Name of an ACL on the cluster.
        pub acl: String,
    }
}

api! {
    /// A database to copy from.
    pub struct ReplicaSource {
        /// What replicaSourceName names: SECRET, or REDB.
        #[schemars(length(max = 64))]
        pub replica_source_type: String,
        /// A Secret with the source under the key `uri` (redis://admin:password@host:port), or a RedisEnterpriseDatabase of this namespace.
        pub replica_source_name: String,
        /// Host name to ask for in TLS.
        pub tls_sni_name: Option<String>,
        /// How hard to compress, 0 (not) to 6.
        #[schemars(range(min = 0, max = 6))]
        pub compression: Option<i32>,
        /// Secret with certificate and key to log in with.
        pub client_key_secret: Option<String>,
        /// Secret with the certificate of the source.
        pub server_cert_secret: Option<String>,
    }
}

api! {
    /// Recording of connections and commands.
    pub struct Auditing {
        /// Deprecated for auditMode. Whether connections are recorded.
        pub db_conns_auditing: Option<bool>,
        /// What is recorded; nothing if empty. The cluster's auditing must be set up.
        pub audit_mode: Option<AuditMode>,
        /// Whose addresses are recorded.
        pub source_ip_filter: Option<SourceIpFilter>,
        /// Whose names are recorded.
        pub username_filter: Option<UsernameFilter>,
    }
}

api! {
    /// A filter by address.
    pub struct SourceIpFilter {
        /// Whether it counts.
        pub enabled: Option<bool>,
        /// Whether what is listed is recorded, or everything else.
        pub filter_type: Option<FilterType>,
        /// Addresses, 512 at most.
        #[schemars(length(max = 512))]
        pub ip_addresses: Option<Vec<String>>,
        /// Networks (CIDR), 512 at most.
        #[schemars(length(max = 512))]
        pub cidr_ranges: Option<Vec<String>>,
    }
}

api! {
    /// A filter by user.
    pub struct UsernameFilter {
        /// Whether it counts.
        pub enabled: Option<bool>,
        /// Whether what is listed is recorded, or everything else.
        pub filter_type: Option<FilterType>,
        /// Names of 1 to 255 characters, 512 at most.
        #[schemars(length(max = 512), inner(length(min = 1, max = 255)))]
        pub usernames: Option<Vec<String>>,
    }
}

api! {
    /// An Active-Active database, and a cluster of it.
    pub struct ActiveActiveLink {
        /// Name of the RedisEnterpriseActiveActiveDatabase.
        pub name: String,
        /// Name of the participating cluster that this is.
        pub participating_cluster_name: String,
    }
}
