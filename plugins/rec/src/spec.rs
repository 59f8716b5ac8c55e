//! The fields of a RedisEnterpriseCluster that this step reads (reference, 1.3 and 1.4), and no others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::quantity::Quantity;

/// Part of a Kubernetes type that is handed on unread.
pub(crate) type Raw = Box<RawValue>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) status: LastStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) creation_timestamp: String,
    pub(crate) deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) nodes: Option<i64>,
    pub(crate) allow_scale_down: bool,
    pub(crate) cluster_recovery: bool,
    pub(crate) auto_recovery: bool,
    pub(crate) persistent_spec: PersistentSpec,
    pub(crate) redis_enterprise_node_resources: Resources,
    pub(crate) license: Option<String>,
    pub(crate) license_secret_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) cluster_credential_secret_name: Option<String>,
    pub(crate) create_service_account: Option<bool>,
    pub(crate) service_account_name: Option<String>,
    pub(crate) pull_secrets: Vec<Raw>,
    pub(crate) extra_labels: BTreeMap<String, String>,
    pub(crate) pod_annotations: BTreeMap<String, String>,
    pub(crate) redis_enterprise_pod_annotations: BTreeMap<String, String>,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) pod_tolerations: Vec<Raw>,
    pub(crate) pod_anti_affinity: Option<Raw>,
    pub(crate) anti_affinity_additional_topology_keys: Vec<String>,
    pub(crate) rack_awareness_node_label: Option<String>,
    pub(crate) priority_class_name: Option<String>,
    pub(crate) host_aliases: Vec<Raw>,
    pub(crate) container_timezone: Timezone,
    pub(crate) extra_env_vars: Vec<Raw>,
    pub(crate) volumes: Vec<Raw>,
    pub(crate) redis_enterprise_volume_mounts: Vec<Raw>,
    pub(crate) side_containers_spec: Vec<Raw>,
    pub(crate) redis_enterprise_additional_pod_spec_attributes: BTreeMap<String, Raw>,
    pub(crate) redis_enterprise_termination_grace_period_seconds: Option<i64>,
    #[serde(rename = "enforceIPv4")]
    pub(crate) enforce_ipv4: bool,
    pub(crate) security_context: SecurityContext,
    #[serde(rename = "redisEnterpriseIPFamily")]
    pub(crate) ip_family: Option<String>,
    pub(crate) redis_on_flash_spec: Flash,
    pub(crate) user_defined_modules: Vec<UserDefinedModule>,
    pub(crate) ingress_or_route_spec: Option<IngressOrRoute>,
    pub(crate) active_active: Option<Raw>,
    pub(crate) certificates: BTreeMap<String, String>,
    pub(crate) data_internode_encryption: Option<bool>,
    pub(crate) encrypt_pkeys: Option<bool>,
    pub(crate) resp3_default: Option<bool>,
    pub(crate) redis_upgrade_policy: Option<String>,
    #[serde(rename = "slaveHA")]
    pub(crate) slave_ha: SlaveHa,
    pub(crate) redis_enterprise_services_configuration: BTreeMap<String, OptionalService>,
    pub(crate) backup: Backup,
    pub(crate) ldap: Option<Ldap>,
    pub(crate) sso: Option<Sso>,
    pub(crate) ocsp_configuration: Ocsp,
    pub(crate) auditing: Auditing,
    pub(crate) metrics_config: Metrics,
    pub(crate) services_rigger_spec: Rigger,
    pub(crate) redis_enterprise_services_rigger_image_spec: Image,
    pub(crate) redis_enterprise_services_rigger_resources: Resources,
    pub(crate) service_broker_spec: Broker,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PersistentSpec {
    pub(crate) enabled: Option<bool>,
    pub(crate) storage_class_name: Option<String>,
    pub(crate) volume_size: Option<Quantity>,
    pub(crate) enable_persistent_volume_resize: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) limits: Option<BTreeMap<String, Quantity>>,
    pub(crate) requests: Option<BTreeMap<String, Quantity>>,
    pub(crate) claims: Vec<Raw>,
}

impl Resources {
    /// Requests and limits; what is not said of one is that of the other, and of neither the default.
    pub(crate) fn or(
        &self,
        default: impl Fn() -> BTreeMap<String, Quantity>,
    ) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
        match (self.requests.clone(), self.limits.clone()) {
            (None, None) => (default(), default()),
            (Some(requests), None) => (requests.clone(), requests),
            (None, Some(limits)) => (limits.clone(), limits),
            (Some(requests), Some(limits)) => (requests, limits),
        }
    }
}

/// What concerns the pod of the services rigger; the rest is that step's own to read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rigger {
    pub(crate) extra_env_vars: Vec<Raw>,
    pub(crate) pod_annotations: BTreeMap<String, String>,
    pub(crate) services_rigger_additional_pod_spec_attributes: BTreeMap<String, Raw>,
}

/// An image of the operator's own programs.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Image {
    pub(crate) repository: Option<String>,
    pub(crate) version_tag: Option<String>,
    pub(crate) digest_hash: Option<String>,
    pub(crate) image_pull_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Broker {
    pub(crate) enabled: bool,
    pub(crate) image_spec: Image,
    pub(crate) resources: Resources,
    pub(crate) persistent_spec: PersistentSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Timezone {
    pub(crate) propagate_host: Option<Raw>,
    pub(crate) timezone_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SecurityContext {
    pub(crate) read_only_root_filesystem_policy: Enabled,
    pub(crate) resource_limits: ResourceLimits,
    pub(crate) fips: Enabled,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Enabled {
    pub(crate) enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ResourceLimits {
    pub(crate) allow_auto_adjustment: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct IngressOrRoute {
    pub(crate) method: String,
    pub(crate) ingress_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ldap {
    pub(crate) protocol: String,
    pub(crate) servers: Vec<LdapServer>,
    pub(crate) bind_credentials_secret_name: Option<String>,
    pub(crate) ca_certificate_secret_name: Option<String>,
    pub(crate) authentication_query: LdapQuery,
    pub(crate) authorization_query: LdapQuery,
    pub(crate) enabled_for_control_plane: Option<bool>,
    pub(crate) enabled_for_data_plane: Option<bool>,
    #[serde(rename = "cacheTTLSeconds")]
    pub(crate) cache_ttl_seconds: Option<i64>,
    pub(crate) directory_timeout_seconds: Option<i64>,
    pub(crate) cba: Option<bool>,
    pub(crate) cba_identity_source: Option<String>,
    pub(crate) cba_identity_oid: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LdapServer {
    pub(crate) host: String,
    pub(crate) port: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LdapQuery {
    pub(crate) template: Option<String>,
    pub(crate) attribute: Option<String>,
    pub(crate) query: Option<LdapSearch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LdapSearch {
    pub(crate) base: String,
    pub(crate) filter: String,
    pub(crate) scope: String,
}

/// Flash storage; absent is the same as not enabled.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Flash {
    pub(crate) enabled: bool,
    pub(crate) storage_class_name: Option<String>,
    pub(crate) big_store_driver: Option<String>,
    pub(crate) flash_storage_engine: Option<String>,
    pub(crate) flash_disk_size: Option<Quantity>,
}

impl Flash {
    /// The engine, under its name or its deprecated one.
    pub(crate) fn driver(&self) -> Option<&str> {
        said(self.big_store_driver.as_ref()).or_else(|| said(self.flash_storage_engine.as_ref()))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UserDefinedModule {
    pub(crate) name: String,
    pub(crate) source: ModuleSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ModuleSource {
    pub(crate) http: Option<Download>,
    pub(crate) https: Option<Download>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Download {
    pub(crate) url: String,
    pub(crate) credentials_secret: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SlaveHa {
    #[serde(rename = "slaveHAGracePeriod")]
    pub(crate) grace_period: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OptionalService {
    pub(crate) operating_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Backup {
    pub(crate) s3: BackupS3,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BackupS3 {
    pub(crate) url: Option<String>,
    pub(crate) ca_certificate_secret_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sso {
    pub(crate) enabled: bool,
    #[serde(rename = "enforceSSO")]
    pub(crate) enforce: bool,
    pub(crate) saml: Saml,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Saml {
    pub(crate) idp_metadata_secret_name: Option<String>,
    pub(crate) sp_metadata_secret_name: Option<String>,
    pub(crate) issuer: Option<SamlIssuer>,
    pub(crate) service_provider: SamlServiceProvider,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SamlIssuer {
    #[serde(rename = "entityID")]
    pub(crate) entity_id: String,
    #[serde(rename = "loginURL")]
    pub(crate) login_url: String,
    #[serde(rename = "logoutURL")]
    pub(crate) logout_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SamlServiceProvider {
    pub(crate) base_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ocsp {
    pub(crate) ocsp_functionality: Option<bool>,
    pub(crate) query_frequency: Option<i64>,
    pub(crate) recovery_frequency: Option<i64>,
    pub(crate) recovery_max_tries: Option<i64>,
    pub(crate) response_timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Auditing {
    pub(crate) config: Option<AuditConfig>,
    pub(crate) db_conns_auditing: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AuditConfig {
    pub(crate) audit_protocol: String,
    pub(crate) audit_address: String,
    pub(crate) audit_port: Option<i64>,
    pub(crate) audit_reconnect_interval: Option<i64>,
    pub(crate) audit_reconnect_max_attempts: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metrics {
    pub(crate) expose_database_tags: Option<bool>,
    pub(crate) key_distribution_enabled: Option<bool>,
    pub(crate) metrics_tag_keys_exposed: Option<Vec<String>>,
    pub(crate) key_size_buckets: Option<String>,
    pub(crate) key_items_buckets: Option<String>,
    pub(crate) max_requests_in_flight: Option<i64>,
    pub(crate) local_storage_max_size_mb: Option<i64>,
    pub(crate) local_storage_retention_days: Option<i64>,
}

/// The status as this step wrote it before: what it remembers of the cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LastStatus {
    pub(crate) state: String,
    pub(crate) cluster_credential_secret_name: Option<String>,
    pub(crate) license_status: Option<Raw>,
    pub(crate) modules: Option<Raw>,
    pub(crate) bundled_database_versions: Option<Raw>,
    #[serde(rename = "redisEnterpriseIPFamily")]
    pub(crate) ip_family: Option<String>,
    #[serde(rename = "managedAPIs")]
    pub(crate) managed_apis: LastManaged,
    pub(crate) certificates_status: LastCertificates,
    pub(crate) persistence_status: LastPersistence,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastPersistence {
    pub(crate) status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastManaged {
    pub(crate) ldap: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastCertificates {
    pub(crate) generation: i64,
}

impl Spec {
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes.and_then(|nodes| u32::try_from(nodes).ok()).unwrap_or(3)
    }

    pub(crate) fn persistent(&self) -> bool {
        self.persistent_spec.enabled.unwrap_or(true)
    }

    /// Requests and limits are equal by default, so that the pods are of class Guaranteed.
    pub(crate) fn resources(&self) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
        let default =
            || BTreeMap::from([("cpu".to_owned(), Quantity::new("2")), ("memory".to_owned(), Quantity::new("4Gi"))]);
        self.redis_enterprise_node_resources.or(default)
    }
}

/// A string that says something.
pub(crate) fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
