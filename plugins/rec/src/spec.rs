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
    pub(crate) redis_on_flash_spec: Option<Raw>,
    pub(crate) ingress_or_route_spec: Option<IngressOrRoute>,
    pub(crate) active_active: Option<Raw>,
    pub(crate) ldap: Option<Ldap>,
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
    pub(crate) authentication_query: LdapQuery,
    pub(crate) authorization_query: LdapQuery,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LdapQuery {
    pub(crate) template: Option<String>,
    pub(crate) attribute: Option<String>,
    pub(crate) query: Option<Raw>,
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
        let given = &self.redis_enterprise_node_resources;
        match (given.requests.clone(), given.limits.clone()) {
            (None, None) => (default(), default()),
            (Some(requests), None) => (requests.clone(), requests),
            (None, Some(limits)) => (limits.clone(), limits),
            (Some(requests), Some(limits)) => (requests, limits),
        }
    }
}

/// A string that says something.
pub(crate) fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
