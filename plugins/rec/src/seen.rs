//! All that one call looks at, decoded once.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use stepwright_sdk::{Fact, FactPart, Failure, Limits, Manifest, Observation, Observe, Observed, StepManifest};

use crate::board;
use crate::budgets::Budget;
use crate::facts;
use crate::managed::{FACTS, Fields};
use crate::objects::broker;
use crate::quantity::Quantity;
use crate::recovery;
use crate::spec::{Cluster, Metadata, said};

/// Annotation-free labels that every pod of a cluster has, and that the StatefulSet selects by.
const POD_LABELS: [(&str, &str); 3] =
    [("app", "redis-enterprise"), ("redis.io/cluster", "$(metadata.name)"), ("redis.io/role", "node")];

/// Secrets that the spec may name, and the two that this step makes.
const SECRETS: [&str; 18] = [
    "$(metadata.name)",
    "$(metadata.name)-in-force",
    "$(spec.backup.s3.caCertificateSecretName)",
    "$(spec.certificates.apiCertificateSecretName)",
    "$(spec.certificates.cmCertificateSecretName)",
    "$(spec.certificates.cpInternodeEncryptionCertificateSecretName)",
    "$(spec.certificates.dpInternodeEncryptionCertificateSecretName)",
    "$(spec.certificates.ldapClientCertificateSecretName)",
    "$(spec.certificates.metricsExporterCertificateSecretName)",
    "$(spec.certificates.proxyCertificateSecretName)",
    "$(spec.certificates.ssoIssuerCertificateSecretName)",
    "$(spec.certificates.ssoServiceCertificateSecretName)",
    "$(spec.certificates.syncerCertificateSecretName)",
    "$(spec.clusterCredentialSecretName)",
    "$(spec.ldap.bindCredentialsSecretName)",
    "$(spec.ldap.caCertificateSecretName)",
    "$(spec.licenseSecretName)",
    "$(spec.sso.saml.idpMetadataSecretName)",
];

pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observation,
    pub(crate) cluster: Cluster,
    pub(crate) image: Image,
    pub(crate) pods: Vec<Observed<Pod>>,
    /// Only where the spec asks for racks.
    pub(crate) kubernetes_nodes: Fact<Vec<Observed<KubernetesNode>>>,
    pub(crate) statefulset: Option<Observed<StatefulSet>>,
    pub(crate) claims: Vec<Observed<Claim>>,
    /// Every one of the namespace.
    pub(crate) budgets: Vec<Observed<Budget>>,
    pub(crate) secrets: Vec<Observed<Secret>>,
    pub(crate) rivals: Vec<Observed<Rival>>,
    /// Names of the databases of this cluster; of one in another namespace `namespace/name`.
    pub(crate) databases: Vec<String>,
    pub(crate) configmaps: Vec<Observed<ConfigMap>>,
    pub(crate) bdbs: Fact<Vec<facts::Bdb>>,
    pub(crate) bootstrap: Fact<BTreeMap<String, facts::PodBootstrap>>,
    pub(crate) nodes: Fact<Vec<facts::Node>>,
    pub(crate) nodes_status: Fact<BTreeMap<String, facts::NodeStatus>>,
    pub(crate) settings: Fact<Fields>,
    pub(crate) policy: Fact<Fields>,
    /// Optional parts of the configuration, by the names of their facts.
    pub(crate) parts: BTreeMap<&'static str, Fact<Fields>>,
    pub(crate) license: Fact<facts::License>,
    pub(crate) modules: Fact<Vec<facts::Module>>,
    pub(crate) host: Fact<facts::Host>,
    /// The date in UTC: `2026-01-31`.
    pub(crate) today: Fact<String>,
    /// The account of the service broker is there.
    pub(crate) has_broker_account: bool,
    /// The ServiceAccount of the services rigger, if it is there.
    pub(crate) rigger_account: Option<Observed<Account>>,
}

/// The note of the `upgrade` step.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Image {
    pub(crate) image: String,
    pub(crate) pull_policy: String,
    /// The version is changing.
    #[serde(default)]
    pub(crate) upgrading: bool,
    /// Why the version that is asked for is not taken.
    #[serde(default)]
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: PodMetadata,
    pub(crate) spec: PodPlace,
    pub(crate) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodPlace {
    pub(crate) node_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KubernetesNode {
    pub(crate) metadata: PodMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodMetadata {
    pub(crate) deletion_timestamp: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<String>,
    pub(crate) container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerStatus {
    pub(crate) state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    pub(crate) waiting: Option<Waiting>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatefulSet {
    pub(crate) metadata: Generation,
    pub(crate) spec: StatefulSetSpec,
    pub(crate) status: StatefulSetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Generation {
    pub(crate) generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct StatefulSetSpec {
    pub(crate) replicas: Option<u32>,
    pub(crate) update_strategy: UpdateStrategy,
    pub(crate) volume_claim_templates: Vec<ClaimTemplate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct UpdateStrategy {
    pub(crate) rolling_update: RollingUpdate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RollingUpdate {
    pub(crate) partition: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigMap {
    pub(crate) data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimTemplate {
    pub(crate) metadata: ClaimName,
    pub(crate) spec: ClaimSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimName {
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClaimSpec {
    pub(crate) storage_class_name: Option<String>,
    pub(crate) resources: ClaimResources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimResources {
    pub(crate) requests: ClaimRequests,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimRequests {
    pub(crate) storage: Option<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct StatefulSetStatus {
    pub(crate) observed_generation: i64,
    pub(crate) ready_replicas: u32,
    pub(crate) current_revision: String,
    pub(crate) update_revision: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claim {
    pub(crate) metadata: ClaimMetadata,
    pub(crate) spec: ClaimSpec,
    pub(crate) status: ClaimStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClaimMetadata {
    pub(crate) creation_timestamp: String,
    /// The StatefulSet controller names the pod here with which the claim is to go.
    pub(crate) owner_references: Vec<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimStatus {
    pub(crate) phase: String,
    pub(crate) capacity: ClaimRequests,
    pub(crate) conditions: Vec<ClaimCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimCondition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) message: String,
}

/// Values are fingerprints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Secret {
    pub(crate) data: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Account {
    pub(crate) metadata: AccountMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AccountMetadata {
    pub(crate) uid: String,
}

/// Another RedisEnterpriseCluster of the namespace.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rival {
    pub(crate) metadata: Metadata,
    pub(crate) status: RivalStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RivalStatus {
    pub(crate) state: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Database {
    spec: DatabaseSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DatabaseSpec {
    redis_enterprise_cluster: ClusterName,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClusterName {
    name: String,
}

pub(crate) fn manifest() -> Manifest {
    let step = StepManifest::new("rec")
        .primary([
            "metadata.creationTimestamp",
            "spec",
            "status.state",
            "status.clusterCredentialSecretName",
            "status.licenseStatus",
            "status.modules",
            "status.bundledDatabaseVersions",
            "status.redisEnterpriseIPFamily",
            "status.managedAPIs",
            "status.certificatesStatus",
            "status.persistenceStatus",
        ])
        .observe(Observe::new("pods", "v1", "Pod").labels(POD_LABELS).fields([
            "metadata.labels",
            "spec.nodeName",
            "status.podIP",
            "status.containerStatuses",
        ]))
        .observe(
            Observe::new("kubernetes-nodes", "v1", "Node")
                .all()
                .fields(["metadata.labels"])
                .when("spec.rackAwarenessNodeLabel")
                .optional(),
        )
        .observe(Observe::new("statefulsets", "apps/v1", "StatefulSet").names(["$(metadata.name)"]).fields([
            "spec.replicas",
            "spec.updateStrategy",
            "spec.volumeClaimTemplates",
            "status.observedGeneration",
            "status.readyReplicas",
            "status.currentRevision",
            "status.updateRevision",
        ]))
        .observe(Observe::new("claims", "v1", "PersistentVolumeClaim").labels(POD_LABELS).fields([
            "metadata.creationTimestamp",
            "metadata.ownerReferences",
            "spec.resources",
            "status.phase",
            "status.capacity",
            "status.conditions",
        ]))
        .observe(Observe::new("secrets", "v1", "Secret").names(SECRETS).fields(["data"]))
        .observe(
            Observe::new("configmaps", "v1", "ConfigMap").names(["$(metadata.name)-bulletin-board"]).fields(["data"]),
        )
        .observe(Observe::new("accounts", "v1", "ServiceAccount").names([broker::ACCOUNT]).fields(["metadata.name"]))
        .observe(
            Observe::new("rivals", "app.redislabs.com/v1", "RedisEnterpriseCluster")
                .all()
                .fields(["metadata.creationTimestamp", "status.state"]),
        )
        .observe(
            Observe::new("databases", "app.redislabs.com/v1alpha1", "RedisEnterpriseDatabase")
                .all()
                .of_same_system()
                .fields(["spec.redisEnterpriseCluster"]),
        )
        .observe(
            Observe::new("rigger-accounts", "v1", "ServiceAccount")
                .names(["$(metadata.name)-services-rigger"])
                .fields(["metadata.uid"]),
        )
        .observe(Observe::new("budgets", "policy/v1", "PodDisruptionBudget").all().fields(["spec.selector"]))
        .facts([
            "bdbs",
            "bootstrap",
            "nodes",
            "nodes-status",
            "cluster",
            "policy",
            "license",
            "modules",
            "host",
            "today",
        ])
        .fact_part("bdbs", FactPart::fields(["uid", "name", "status", "endpoints"]))
        // Thousands of databases take longer to read than anything else here.
        .limits(Limits { milliseconds: 2_000, ..Limits::default() })
        .writes("v1", "PersistentVolumeClaim")
        // The StatefulSet controller wrote it when it made the claim.
        .takes("v1", "PersistentVolumeClaim", ["spec.resources.requests.storage"])
        .resets(recovery::REQUEST, false)
        .writes("v1", "ServiceAccount")
        .writes("rbac.authorization.k8s.io/v1", "Role")
        .writes("rbac.authorization.k8s.io/v1", "RoleBinding")
        .writes("v1", "Secret")
        .writes("v1", "ConfigMap")
        .writes("v1", "Service")
        .writes("policy/v1", "PodDisruptionBudget")
        .writes("apps/v1", "StatefulSet")
        .writes("apps/v1", "Deployment")
        .calls([
            "POST /v1/bootstrap/create_cluster",
            "POST /v1/bootstrap/join_cluster",
            "POST /v1/bootstrap/recover_cluster",
            "POST /v1/cluster/actions/change_master",
            "GET /v1/nodes/*/actions/remove",
            "POST /v1/nodes/*/actions/remove",
            "DELETE /v1/nodes/*/actions/remove",
            "GET /v1/nodes/*/actions/maintenance_on",
            "POST /v1/nodes/*/actions/maintenance_on",
            "POST /v1/nodes/*/actions/maintenance_off",
            "PUT /v1/cluster",
            "PUT /v1/cluster/policy",
            "PUT /v1/license",
            "PUT /v1/cluster/auditing/db_conns",
            "PUT /v1/cluster/certificates",
            "PUT /v1/cluster/ldap",
            "DELETE /v1/cluster/ldap",
            "PUT /v1/cluster/services_configuration",
            "PUT /v1/cluster/sso",
            "POST /v1/cluster/sso/saml/metadata/idp",
            "PUT /v1/metrics_config",
            "PUT /v1/ocsp",
            "POST /v1/users/password",
            "DELETE /v1/users/password",
        ]);
    let step = FACTS.iter().fold(step, |step, (name, path)| step.fact_when(name, path));
    Manifest::new("rec", env!("CARGO_PKG_VERSION"))
        .description("Makes a Redis Enterprise cluster: its objects, its formation, its state")
        .step(step)
}

impl<'a> Seen<'a> {
    pub(crate) fn read(observed: &'a Observation) -> Result<Self, Failure> {
        let name = observed.name();
        let image = observed.note("upgrade")?;
        let databases: Vec<Observed<Database>> = observed.set("databases")?;
        let databases = databases
            .into_iter()
            // Without a name it is the only cluster of the namespace that is meant.
            .filter(|database| ["", name].contains(&database.spec.redis_enterprise_cluster.name.as_str()))
            .map(|database| match database.id.namespace {
                Some(elsewhere) if elsewhere != observed.namespace() => format!("{elsewhere}/{}", database.id.name),
                _ => database.id.name,
            })
            .collect();
        let mut rivals: Vec<Observed<Rival>> = observed.set("rivals")?;
        rivals.retain(|rival| rival.id.name != name);
        let rigger_accounts: Vec<Observed<Account>> = observed.set("rigger-accounts")?;
        let statefulsets: Vec<Observed<StatefulSet>> = observed.set("statefulsets")?;
        Ok(Self {
            observed,
            cluster: observed.primary()?,
            image: image.ok_or_else(|| Failure::transient("the step `upgrade` has not said which image to run"))?,
            pods: observed.set("pods")?,
            kubernetes_nodes: observed.optional_set("kubernetes-nodes")?,
            statefulset: statefulsets.into_iter().next(),
            claims: observed.set("claims")?,
            budgets: observed.set("budgets")?,
            secrets: observed.set("secrets")?,
            rivals,
            databases,
            configmaps: observed.set("configmaps")?,
            bdbs: observed.fact("bdbs"),
            bootstrap: observed.fact("bootstrap"),
            nodes: observed.fact("nodes"),
            nodes_status: observed.fact("nodes-status"),
            settings: observed.fact("cluster"),
            policy: observed.fact("policy"),
            parts: FACTS.map(|(name, _)| (name, observed.fact(name))).into(),
            license: observed.fact("license"),
            modules: observed.fact("modules"),
            host: observed.fact("host"),
            today: observed.fact("today"),
            has_broker_account: !observed.set::<serde::de::IgnoredAny>("accounts")?.is_empty(),
            rigger_account: rigger_accounts.into_iter().next(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.observed.name()
    }

    /// The name of the `ordinal`th pod.
    pub(crate) fn pod_name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.name())
    }

    /// The cluster's name in Redis Enterprise; it cannot be chosen (reference, 2.3).
    pub(crate) fn fqdn(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name(), self.observed.namespace())
    }

    /// The Secret with the administrator's name and password.
    pub(crate) fn credentials(&self) -> &str {
        said(self.cluster.spec.cluster_credential_secret_name.as_ref()).unwrap_or_else(|| self.name())
    }

    /// The Secret with copies of what the cluster took of other Secrets.
    pub(crate) fn in_force(&self) -> String {
        format!("{}-in-force", self.name())
    }

    /// The recovery that the spec asks for is done.
    pub(crate) fn recovered(&self) -> bool {
        board::kept(self, board::RECOVERY) == Some(recovery::DONE)
    }

    /// The status said so the last time.
    pub(crate) fn license_was_expired(&self) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Last {
            license_state: String,
        }
        let last = self.cluster.status.license_status.as_ref();
        last.and_then(|raw| serde_json::from_str::<Last>(raw.get()).ok())
            .is_some_and(|last| last.license_state == "Expired")
    }

    pub(crate) fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.id.name == name).map(|secret| &secret.value)
    }

    /// A cluster was formed at some time: remembered in the status, because the nodes may be out of reach now.
    pub(crate) fn formed_before(&self) -> bool {
        let last = &self.cluster.status;
        last.cluster_credential_secret_name.is_some() || last.license_status.is_some()
    }
}
