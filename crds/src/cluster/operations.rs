//! Fields of a cluster about running it: upgrades, modules, flash, backups, auditing, metrics, usage.

use crate::embedded::{ImageSpec, Quantity, Resources};

words! {
    /// Which database versions an upgrade may choose.
    pub enum UpgradePolicy {
        Major = "major",
        Latest = "latest",
    }
}

words! {
    /// How much a usage report says.
    pub enum UsageReportFields {
        All = "all",
        Restricted = "restricted",
    }
}

words! {
    /// Whether a service runs.
    pub enum OperatingMode {
        Enabled = "enabled",
        Disabled = "disabled",
    }
}

words! {
    /// Engine for data on flash.
    pub enum BigStoreDriver {
        RocksDb = "rocksdb",
        SpeeDb = "speedb",
    }
}

words! {
    /// Engine for data on flash, in the deprecated field.
    pub enum FlashStorageEngine {
        RocksDb = "rocksdb",
    }
}

words! {
    /// Transport to an audit listener.
    pub enum AuditProtocol {
        Tcp = "TCP",
        Local = "local",
    }
}

api! {
    /// Whether the operator upgrades the cluster by itself.
    pub struct UpgradeSpec {
        /// Whether the cluster follows the version that the operator was built for. Rules out any digestHash.
        pub auto_upgrade_redis_enterprise: bool,
    }
}

api! {
    /// When lost replicas are made anew.
    pub struct ReplicaHa {
        /// Seconds to wait for a lost node before its replicas are made anew elsewhere; 1800 is usual, 0 leaves the cluster's own setting alone.
        #[serde(rename = "slaveHAGracePeriod")]
        #[schemars(range(min = 0))]
        pub slave_ha_grace_period: i32,
    }
}

api! {
    /// Switches for the optional services inside the nodes. What is empty stays as it is.
    pub struct OptionalServices {
        /// The admin UI.
        pub cm_server: Option<OptionalService>,
        /// Coordinates Active-Active databases.
        pub crdb_coordinator: Option<OptionalService>,
        /// Works for Active-Active databases.
        pub crdb_worker: Option<OptionalService>,
        /// Multicast DNS.
        pub mdns_server: Option<OptionalService>,
        /// DNS. Ignored by current versions.
        pub pdns_server: Option<OptionalService>,
        /// Authentication for memcached.
        pub saslauthd: Option<OptionalService>,
        /// Keeps statistics.
        pub stats_archiver: Option<OptionalService>,
    }
}

api! {
    /// Switch of a service.
    pub struct OptionalService {
        /// Whether it runs.
        pub operating_mode: OperatingMode,
    }
}

api! {
    /// Flash storage for databases larger than memory.
    pub struct Flash {
        /// Whether the nodes have it.
        pub enabled: bool,
        /// StorageClass of the flash volumes: local NVMe.
        pub storage_class_name: String,
        /// Engine.
        pub big_store_driver: Option<BigStoreDriver>,
        /// Deprecated name of bigStoreDriver.
        pub flash_storage_engine: Option<FlashStorageEngine>,
        /// Size of each flash volume; that of the memory if empty.
        pub flash_disk_size: Option<Quantity>,
    }
}

api! {
    /// A module of your own.
    pub struct UserDefinedModule {
        /// Its name: module_name or display_name in the manifest of its archive.
        pub name: String,
        /// Where it is fetched from: exactly one of the two.
        pub source: ModuleSource,
    }
}

api! {
    /// Where a module is fetched from.
    pub struct ModuleSource {
        /// By HTTP.
        pub http: Option<ModuleDownload>,
        /// By HTTPS.
        pub https: Option<ModuleDownload>,
    }
}

api! {
    /// A download.
    pub struct ModuleDownload {
        /// Its URL; the scheme is that of the field above.
        #[schemars(length(max = 2048))]
        pub url: String,
        /// Secret with `username` and `password` for it.
        pub credentials_secret: Option<String>,
    }
}

api! {
    /// Settings for the backups of all databases.
    pub struct ClusterBackup {
        /// A store that speaks S3, in place of AWS.
        pub s3: Option<ClusterS3>,
    }
}

api! {
    /// A store that speaks S3.
    pub struct ClusterS3 {
        /// Its URL.
        pub url: Option<String>,
        /// Secret with the certificate of its authority under the key `cert`.
        pub ca_certificate_secret_name: Option<String>,
    }
}

api! {
    /// OCSP stapling of the proxy certificate.
    pub struct Ocsp {
        /// Whether it is on. The proxy certificate must name a responder.
        pub ocsp_functionality: Option<bool>,
        /// Seconds between queries, 60 to 86400.
        #[schemars(range(min = 60, max = 86400))]
        pub query_frequency: Option<i32>,
        /// Seconds between queries while the responder does not answer, 60 to 86400.
        #[schemars(range(min = 60, max = 86400))]
        pub recovery_frequency: Option<i32>,
        /// How many such queries are tried, 1 to 100.
        #[schemars(range(min = 1, max = 100))]
        pub recovery_max_tries: Option<i32>,
        /// Seconds to wait for an answer, 1 to 60.
        #[schemars(range(min = 1, max = 60))]
        pub response_timeout: Option<i32>,
    }
}

api! {
    /// Recording of connections.
    pub struct Auditing {
        /// Where records are sent.
        pub config: Option<AuditConfig>,
        /// Whether new databases record their connections.
        pub db_conns_auditing: Option<bool>,
    }
}

api! {
    /// Where records are sent.
    pub struct AuditConfig {
        /// Transport.
        pub audit_protocol: AuditProtocol,
        /// Host of the listener, or path of its socket.
        pub audit_address: String,
        /// Port of the listener, for TCP.
        #[schemars(range(min = 1, max = 65535))]
        pub audit_port: Option<i32>,
        /// Seconds between attempts to connect again; 1 if empty.
        #[schemars(range(min = 0))]
        pub audit_reconnect_interval: Option<i32>,
        /// How many attempts; 0 (or empty) means for ever.
        #[schemars(range(min = 0))]
        pub audit_reconnect_max_attempts: Option<i32>,
    }
}

api! {
    /// Reports of usage.
    pub struct UsageMeter {
        /// What sends the reports.
        pub call_home_client: Option<CallHome>,
    }
}

api! {
    /// What sends usage reports.
    pub struct CallHome {
        /// Whether none are sent.
        pub disabled: Option<bool>,
        /// Secret with `proxy-url`, `proxy-username` and `proxy-password` of a proxy.
        pub proxy_secret_name: Option<String>,
        /// When to report, as in a CronJob.
        pub cron_expression: Option<String>,
        /// Span between samples.
        pub interval: Option<String>,
        /// Image of the pod.
        pub image_spec: Option<ImageSpec>,
        /// Resources of the pod.
        pub resources: Option<Resources>,
        /// A store to put the reports in instead of sending them.
        pub s3_target: Option<CallHomeS3>,
    }
}

api! {
    /// A store for usage reports.
    pub struct CallHomeS3 {
        /// Whether it is used.
        pub enabled: Option<bool>,
        /// URL to reach it at.
        pub url: Option<String>,
        /// Host to reach it at, if it is not AWS.
        pub endpoint: Option<String>,
        /// Bucket.
        pub bucket: Option<String>,
        /// What the names of reports begin with.
        pub prefix: Option<String>,
        /// Region of the bucket.
        pub region: Option<String>,
        /// Secret with `access-key` and `secret-key`, and if needed `session-token` and `ca-cert`.
        pub credentials_secret_name: Option<String>,
    }
}

api! {
    /// Rules about access control on databases.
    pub struct AccessControl {
        /// The rules.
        pub policy: Option<AccessPolicy>,
    }
}

api! {
    /// Rules about access control on databases.
    pub struct AccessPolicy {
        /// Whether rolesPermissions of databases count; true if empty.
        #[serde(rename = "allowREDBRolesPermissions")]
        pub allow_redb_roles_permissions: Option<bool>,
    }
}

api! {
    /// Settings of the metrics engine.
    pub struct Metrics {
        /// Whether tags of databases become labels of their metrics.
        pub expose_database_tags: Option<bool>,
        /// Which tags: keys of 1 to 64 characters, in lower case.
        #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
        pub metrics_tag_keys_exposed: Option<Vec<String>>,
        /// Whether sizes of keys are counted.
        pub key_distribution_enabled: Option<bool>,
        /// Bounds to count sizes of keys by, such as 128M,512M.
        pub key_size_buckets: Option<String>,
        /// Bounds to count items of keys by, such as 1M,8M.
        pub key_items_buckets: Option<String>,
        /// How many scrapes may run at once; 2 if empty, 0 means any number.
        #[schemars(range(min = 0))]
        pub max_requests_in_flight: Option<i32>,
        /// Megabytes kept on each node; 1024 if empty.
        #[schemars(range(min = 0))]
        pub local_storage_max_size_mb: Option<i32>,
        /// Days kept on each node; 8 if empty.
        #[schemars(range(min = 0))]
        pub local_storage_retention_days: Option<i32>,
    }
}
