//! All that one call looks at, decoded once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use stepwright_sdk::{Fact, Failure, Observation, Observed};

use crate::Unsupported;
use crate::naming::ServicesRiggerSpec;
use crate::routing::{OldRouting, Routing};

pub(crate) type Map = BTreeMap<String, String>;

pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observation,
    pub(crate) spec: Spec,
    pub(crate) routing: Option<Routing>,
    /// The method of routing that the status tells of.
    pub(crate) routed_by: Option<String>,
    pub(crate) pods: Vec<Observed<Pod>>,
    /// Services made for this cluster, whichever step did.
    pub(crate) owned: Vec<Observed<Service>>,
    /// Names of all Services of the namespace.
    pub(crate) taken: BTreeSet<String>,
    pub(crate) bdbs: Fact<Vec<Bdb>>,
    pub(crate) nodes: Fact<BTreeMap<String, NodeStatus>>,
    pub(crate) members: Fact<Vec<NamedNode>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cluster {
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    ingress_or_route_method_status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) extra_labels: Map,
    pub(crate) services: Services,
    pub(crate) services_rigger_spec: ServicesRiggerSpec,
    pub(crate) ui_annotations: Map,
    pub(crate) ui_service_type: Option<String>,
    pub(crate) oss_cluster_settings: OssClusterSettings,
    ingress_or_route_spec: Option<Routing>,
    active_active: Option<OldRouting>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct OssClusterSettings {
    pub(crate) external_access_type: Option<String>,
    pub(crate) load_balancer: BalancerSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BalancerSettings {
    pub(crate) service_annotations: Map,
    pub(crate) external_traffic_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Services {
    pub(crate) api_service: ApiService,
    pub(crate) services_annotations: Map,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ApiService {
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: PodMetadata,
    pub(crate) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodMetadata {
    pub(crate) labels: Map,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodStatus {
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(crate) spec: ServiceSpec,
    pub(crate) status: ServiceStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceStatus {
    pub(crate) load_balancer: LoadBalancer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadBalancer {
    ingress: Vec<BalancerIngress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BalancerIngress {
    ip: Option<String>,
}

impl LoadBalancer {
    /// The address that it was given. A host name is none: nodes take addresses only.
    pub(crate) fn address(&self) -> Option<&str> {
        self.ingress.iter().find_map(|it| it.ip.as_deref().filter(|ip| !ip.is_empty()))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Option<String>,
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) selector: Map,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServicePort {
    pub(crate) port: u16,
    pub(crate) target_port: TargetPort,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum TargetPort {
    Number(u16),
    Name(IgnoredAny),
}

impl Default for TargetPort {
    fn default() -> Self {
        Self::Name(IgnoredAny)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Anything {}

/// One of `GET /v1/bdbs` (REST reference, 6.2 and 8).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bdb {
    pub(crate) uid: u64,
    pub(crate) name: String,
    /// Databases that the cluster keeps for itself.
    pub(crate) internal: Option<bool>,
    pub(crate) port: Option<u16>,
    pub(crate) endpoints: Option<Vec<Endpoint>>,
    pub(crate) tags: Option<Vec<Tag>>,
    /// It is Active-Active.
    pub(crate) crdt: Option<bool>,
    pub(crate) oss_cluster: Option<bool>,
    /// `internal` or `external`.
    pub(crate) oss_cluster_api_preferred_ip_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    pub(crate) addr: Vec<String>,
    pub(crate) addr_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Bdb {
    /// The endpoints that pods of this cluster serve.
    pub(crate) fn internal_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let all = self.endpoints.iter().flatten();
        all.filter(|endpoint| endpoint.addr_type.as_deref().unwrap_or("internal") == "internal")
    }

    /// The port that its proxies listen on, once it has one.
    pub(crate) fn listens_on(&self) -> Option<u16> {
        let ports = self.internal_endpoints().map(|endpoint| endpoint.port).chain(self.port);
        ports.into_iter().find(|port| *port != 0)
    }

    /// The port that its RedisEnterpriseDatabase wants for its Services.
    pub(crate) fn service_port(&self) -> Option<u16> {
        self.tag("db_service_port")?.parse().ok()
    }

    /// Its RedisEnterpriseDatabase is in another namespace than this one.
    pub(crate) fn is_of_guest(&self, namespace: &str) -> bool {
        self.tag("redb_namespace").is_some_and(|home| home != namespace)
    }

    fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().flatten().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }
}

/// One of `GET /v1/nodes/status` (REST reference, 5.2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    pub(crate) hostname: String,
    pub(crate) role: String,
}

/// One of `GET /v1/nodes` (REST reference, 5.1).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NamedNode {
    pub(crate) uid: u64,
    pub(crate) addr: String,
    /// Addresses that it tells to clients outside.
    pub(crate) external_addr: Vec<String>,
}

impl<'a> Seen<'a> {
    pub(crate) fn read(observed: &'a Observation) -> Result<Self, Failure> {
        let mut cluster: Cluster = observed.primary()?;
        let old = cluster.spec.active_active.take().map(Routing::from);
        let services: Vec<Observed<Anything>> = observed.set("services")?;
        Ok(Self {
            observed,
            routing: cluster.spec.ingress_or_route_spec.take().or(old),
            routed_by: cluster.status.ingress_or_route_method_status,
            spec: cluster.spec,
            pods: observed.set("pods")?,
            owned: observed.set("owned")?,
            taken: services.into_iter().map(|service| service.id.name).collect(),
            bdbs: observed.fact("bdbs"),
            nodes: observed.fact("nodes-status"),
            members: observed.fact("nodes"),
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.observed.name()
    }

    /// Labels of every object that is made for the cluster (reference, 2.2).
    pub(crate) fn labels(&self) -> Map {
        let mut labels = self.spec.extra_labels.clone();
        labels.insert("app".to_owned(), "redis-enterprise".to_owned());
        labels.insert("redis.io/cluster".to_owned(), self.name().to_owned());
        labels
    }

    /// While the cluster goes away only what is still there is kept: its namespace may refuse new objects.
    pub(crate) fn may_make(&self, service: &str) -> bool {
        !self.observed.deleting || self.owned.iter().any(|owned| owned.id.name == service)
    }

    pub(crate) fn unsupported(&self) -> Vec<Unsupported> {
        let external_name = self.spec.ui_service_type.as_deref() == Some("ExternalName");
        external_name
            .then_some(Unsupported {
                field: "spec.uiServiceType",
                reason: "ExternalName has no name to point at; the Service is a ClusterIP",
            })
            .into_iter()
            .collect()
    }
}
