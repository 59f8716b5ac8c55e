//! What is seen of a cluster.
//!
//! Words here are open: the schema lists them in texts, not as enums, so that a plugin may know one more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::embedded::conditions;

api! {
    /// What is seen of the cluster.
    #[derive(Default)]
    pub struct ClusterStatus {
        /// Where the cluster is in its life: PendingCreation, BootstrappingFirstPod, Initializing, Running, RunningRollingUpdate, Upgrade, InvalidUpgrade, RecoveryReset, RecoveringFirstPod, ClusterRecreating, Error, Invalid, Deleting.
        pub state: Option<String>,
        /// Valid, or Invalid: then the last valid spec stays in force and an Event names field and rule.
        pub spec_status: Option<String>,
        /// Standard conditions, Ready among them.
        #[schemars(schema_with = "conditions")]
        pub conditions: Option<Vec<Condition>>,
        /// The metadata.generation that the operator last worked on.
        pub observed_generation: Option<i64>,
        /// Tag of the node image in force, whether the spec names one or not.
        pub redis_enterprise_version: Option<String>,
        /// The license in force.
        pub license_status: Option<LicenseStatus>,
        /// Modules installed on the cluster.
        pub modules: Option<Vec<InstalledModule>>,
        /// Database versions that a database may ask for.
        pub bundled_database_versions: Option<Vec<BundledDatabaseVersion>>,
        /// Storage of the nodes.
        pub persistence_status: Option<PersistenceStatus>,
        /// Certificates of proxy and syncer.
        pub certificates_status: Option<CertificatesStatus>,
        /// Credential Secret in force.
        pub cluster_credential_secret_name: Option<String>,
        /// Optional parts of the REST API that the spec has taken over.
        #[serde(rename = "managedAPIs")]
        pub managed_apis: Option<ManagedApis>,
        /// Kind of external routing in force.
        pub ingress_or_route_method_status: Option<String>,
        /// Last answer of the OCSP responder.
        pub ocsp_status: Option<OcspStatus>,
        /// IP family of the nodes: IPv4 or IPv6.
        #[serde(rename = "redisEnterpriseIPFamily")]
        pub redis_enterprise_ip_family: Option<String>,
    }
}

api! {
    /// A license.
    #[derive(Default)]
    pub struct LicenseStatus {
        /// Valid, Expired or Invalid.
        pub license_state: Option<String>,
        /// When it begins (RFC 3339).
        pub activation_date: Option<String>,
        /// When it ends (RFC 3339).
        pub expiration_date: Option<String>,
        /// How many shards it allows.
        pub shards_limit: Option<i32>,
        /// Shards in memory that are in use.
        pub ram_shards: Option<i32>,
        /// Shards in memory that are allowed; null if the license sets no such limit.
        #[schemars(extend("nullable" = true))]
        pub ram_shards_limit: Option<i32>,
        /// Shards on flash that are in use.
        pub flash_shards: Option<i32>,
        /// Shards on flash that are allowed; null if the license sets no such limit.
        #[schemars(extend("nullable" = true))]
        pub flash_shards_limit: Option<i32>,
        /// Shards in use and allowed, such as 1/4.
        pub shards_usage: Option<String>,
        /// Whom it was given to.
        pub owner: Option<String>,
        /// What it includes, such as bigstore.
        pub features: Option<Vec<String>>,
    }
}

api! {
    /// An installed module.
    pub struct InstalledModule {
        /// Name to use in a database's modulesList.
        pub name: Option<String>,
        /// Name for people.
        pub display_name: Option<String>,
        /// Versions at hand.
        pub versions: Option<Vec<String>>,
    }
}

api! {
    /// A database version that comes with the cluster.
    pub struct BundledDatabaseVersion {
        /// Kind of database, such as Redis.
        pub db_type: String,
        /// Version.
        pub version: String,
        /// Whether the policy `major` may choose it.
        pub major: Option<bool>,
        /// What it can do.
        pub feature_support: Option<FeatureSupport>,
    }
}

api! {
    /// What a database version can do.
    pub struct FeatureSupport {
        /// Active-Active.
        pub active_active: bool,
        /// Data on flash.
        pub flex: bool,
    }
}

api! {
    /// Storage of the nodes.
    pub struct PersistenceStatus {
        /// Provisioned, Provisioning, Resizing or ResizeFailed.
        pub status: Option<String>,
        /// How many volumes are there, such as 2/3.
        pub succeeded: Option<String>,
    }
}

api! {
    /// Certificates of proxy and syncer.
    pub struct CertificatesStatus {
        /// Grows whenever one of them changes.
        pub generation: Option<i64>,
        /// InProgress or Completed.
        pub update_status: Option<String>,
    }
}

api! {
    /// Optional parts of the REST API that the spec has taken over.
    pub struct ManagedApis {
        /// Whether the LDAP settings come from the spec.
        pub ldap: Option<bool>,
    }
}

api! {
    /// Last answer of the OCSP responder.
    pub struct OcspStatus {
        /// GOOD, REVOKED or UNKNOWN.
        pub cert_status: Option<String>,
        /// URL of the responder.
        pub responder_url: Option<String>,
        /// When the answer was made.
        pub produced_at: Option<String>,
        /// Since when it is known to be so.
        pub this_update: Option<String>,
        /// When the next answer will be made.
        pub next_update: Option<String>,
        /// When the certificate was revoked.
        pub revocation_time: Option<String>,
    }
}
