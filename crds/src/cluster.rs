//! RedisEnterpriseCluster (`rec`): a cluster of Redis Enterprise nodes, each of them a pod.
//!
//! Served as v1, and as the older v1alpha1 whose schema is the same but for one word. This file has the fields of
//! `spec` itself; what is nested below them stands in the modules by subject.

use kube::CustomResource;

use crate::embedded::{
    AnyObject, EnvVar, HostAlias, ImageSpec, Labels, LocalReference, Resources, Toleration, VolumeMount, any_object,
    named_objects,
};

pub mod access;
pub mod network;
pub mod operations;
pub mod pods;
pub mod rules;
pub mod status;

use access::{Certificates, CredentialStore, Ldap, Sso};
use network::{ActiveActiveRouting, IpFamily, OssCluster, Routing, Services, ServicesRigger, UiServiceType};
use operations::{
    AccessControl, Auditing, ClusterBackup, Flash, Metrics, Ocsp, OptionalServices, ReplicaHa, UpgradePolicy,
    UpgradeSpec, UsageMeter, UsageReportFields, UserDefinedModule,
};
use pods::{ContainerTimezone, PersistentSpec, PodSecurity, PodStarting, ServiceBroker};
use status::ClusterStatus;

api! {
    #[derive(Default, CustomResource)]
    #[kube(
        group = "app.redislabs.com",
        version = "v1",
        kind = "RedisEnterpriseCluster",
        plural = "redisenterpriseclusters",
        singular = "redisenterprisecluster",
        shortname = "rec",
        category = "redis-enterprise",
        namespaced,
        schema = "disabled",
        status = "ClusterStatus",
        derive = "PartialEq",
        label("app", "redis-enterprise"),
        printcolumn(name = "Nodes", type_ = "integer", json_path = ".spec.nodes"),
        printcolumn(name = "Shards", type_ = "string", json_path = ".status.licenseStatus.shardsUsage"),
        printcolumn(name = "Version", type_ = "string", json_path = ".status.redisEnterpriseVersion"),
        printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
        printcolumn(name = "Spec Status", type_ = "string", json_path = ".status.specStatus"),
        printcolumn(name = "License State", type_ = "string", json_path = ".status.licenseStatus.licenseState"),
        printcolumn(name = "License Expiration Date", type_ = "string", json_path = ".status.licenseStatus.expirationDate"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )]
    /// The cluster that is wanted.
    pub struct RedisEnterpriseClusterSpec {
        /// Number of nodes (pods): odd, at least 3, and fewer than before only with allowScaleDown. 3 if empty.
        pub nodes: Option<i32>,
        /// Whether nodes may be removed: drained one after another, the highest number first, their volumes with them. Stepwright only.
        pub allow_scale_down: Option<bool>,
        /// Storage of each node.
        pub persistent_spec: Option<PersistentSpec>,
        /// Resources of each node's container. Requests should equal limits. 2 CPU and 4Gi if empty.
        pub redis_enterprise_node_resources: Option<Resources>,
        /// Image of the nodes. If empty: redislabs/redis with the tag that the operator was built for.
        pub redis_enterprise_image_spec: Option<ImageSpec>,
        /// Image of the services rigger. If empty: the operator's own.
        pub redis_enterprise_services_rigger_image_spec: Option<ImageSpec>,
        /// Resources of the services rigger.
        pub redis_enterprise_services_rigger_resources: Option<Resources>,
        /// Image of the bootstrapper.
        pub bootstrapper_image_spec: Option<ImageSpec>,
        /// Resources of the bootstrapper.
        pub bootstrapper_resources: Option<Resources>,
        /// Whether the operator upgrades the cluster by itself.
        pub upgrade_spec: Option<UpgradeSpec>,
        /// Which of the bundled database versions an upgrade of a database may choose.
        pub redis_upgrade_policy: Option<UpgradePolicy>,
        /// Set to true to recover a cluster that lost its quorum from its volumes. It happens once; set it to false before another time.
        pub cluster_recovery: Option<bool>,
        /// Whether such a recovery begins by itself once every node has begun anew and none finds the cluster. Stepwright only.
        pub auto_recovery: Option<bool>,
        /// Text of the license. Empty means a trial: 4 shards, 30 days. Excludes licenseSecretName.
        pub license: Option<String>,
        /// Secret (or path in Vault) with the license under the key `license`. Excludes license.
        pub license_secret_name: Option<String>,
        /// Login of the administrator, shaped like an e-mail address. demo@redis.com if empty, unless the credential Secret names one.
        #[schemars(length(max = 254))]
        pub username: Option<String>,
        /// Secret (or path in Vault) with the administrator's `username` and `password`. Named like the cluster if empty.
        pub cluster_credential_secret_name: Option<String>,
        /// Where secrets are kept; in Kubernetes if empty.
        pub cluster_credential_secret_type: Option<CredentialStore>,
        /// Role to log into Vault with. Vault only.
        pub cluster_credential_secret_role: Option<String>,
        /// Secret with the certificate of the authority that Vault's own was signed by. Vault only.
        #[serde(rename = "vaultCASecret")]
        pub vault_ca_secret: Option<String>,
        /// Whether to make a ServiceAccount for the nodes; true if empty.
        pub create_service_account: Option<bool>,
        /// ServiceAccount of the nodes. Named like the cluster if empty.
        pub service_account_name: Option<String>,
        /// Secrets to pull images with, for all pods of the cluster.
        pub pull_secrets: Option<Vec<LocalReference>>,
        /// Labels to add to every object made for the cluster.
        pub extra_labels: Option<Labels>,
        /// Annotations for the pods of nodes and services rigger.
        pub pod_annotations: Option<Labels>,
        /// Annotations for the pods of nodes only.
        pub redis_enterprise_pod_annotations: Option<Labels>,
        /// Labels that a Kubernetes node must have to run pods of the cluster.
        pub node_selector: Option<Labels>,
        /// Tolerations of all pods of the cluster.
        pub pod_tolerations: Option<Vec<Toleration>>,
        /// A PodAntiAffinity in place of the default, which keeps the nodes of a cluster on different hosts.
        #[schemars(schema_with = "any_object")]
        pub pod_anti_affinity: Option<AnyObject>,
        /// Further topology keys, such as a zone, of which no two nodes may share a value.
        pub anti_affinity_additional_topology_keys: Option<Vec<String>>,
        /// Label of Kubernetes nodes that tells their rack or zone. Turns rack awareness on. Every eligible node needs it.
        pub rack_awareness_node_label: Option<String>,
        /// PriorityClass of all pods of the cluster.
        pub priority_class_name: Option<String>,
        /// Entries for the hosts file of the nodes.
        pub host_aliases: Option<Vec<HostAlias>>,
        /// Time zone of the containers; UTC if empty.
        pub container_timezone: Option<ContainerTimezone>,
        /// Environment variables to add to the node containers.
        pub extra_env_vars: Option<Vec<EnvVar>>,
        /// Volumes to add to the pods of the nodes, as in a Pod.
        #[schemars(schema_with = "named_objects")]
        pub volumes: Option<Vec<AnyObject>>,
        /// Where the added volumes appear in the node containers.
        pub redis_enterprise_volume_mounts: Option<Vec<VolumeMount>>,
        /// Containers to run beside each node, as in a Pod.
        #[schemars(schema_with = "named_objects")]
        pub side_containers_spec: Option<Vec<AnyObject>>,
        /// Any other attribute of a PodSpec for the nodes. What the operator sets itself wins.
        #[schemars(schema_with = "any_object")]
        pub redis_enterprise_additional_pod_spec_attributes: Option<AnyObject>,
        /// How long a node may take to end, in seconds. A year (31536000) if empty, so that it can hand over its shards.
        #[schemars(range(min = 0))]
        pub redis_enterprise_termination_grace_period_seconds: Option<i64>,
        /// What to do with pods that do not start.
        pub pod_starting_policy: Option<PodStarting>,
        /// Whether the nodes use IPv4 only.
        #[serde(rename = "enforceIPv4")]
        pub enforce_ipv4: Option<bool>,
        /// IP family of the nodes. Reserved.
        #[serde(rename = "redisEnterpriseIPFamily")]
        pub redis_enterprise_ip_family: Option<IpFamily>,
        /// What the node containers may and may not do.
        pub security_context: Option<PodSecurity>,
        /// Type of the Service of the admin UI; ClusterIP if empty.
        pub ui_service_type: Option<UiServiceType>,
        /// Annotations of the Service of the admin UI. They win over services.servicesAnnotations.
        pub ui_annotations: Option<Labels>,
        /// Settings of the Services made for the cluster.
        pub services: Option<Services>,
        /// Settings of the services rigger, which makes the Services of the databases.
        pub services_rigger_spec: Option<ServicesRigger>,
        /// How the API and the Active-Active databases are reached from outside. Excludes activeActive.
        pub ingress_or_route_spec: Option<Routing>,
        /// Deprecated form of ingressOrRouteSpec, and excluded by it.
        pub active_active: Option<ActiveActiveRouting>,
        /// How databases with the OSS cluster API are reached from outside.
        pub oss_cluster_settings: Option<OssCluster>,
        /// Certificates to use in place of the self-signed ones.
        pub certificates: Option<Certificates>,
        /// Whether new databases encrypt what passes between nodes.
        pub data_internode_encryption: Option<bool>,
        /// Whether private keys are encrypted at rest.
        pub encrypt_pkeys: Option<bool>,
        /// Whether databases speak RESP3 after an upgrade. Removing this changes nothing.
        pub resp3_default: Option<bool>,
        /// When lost replicas are made anew on another node.
        #[serde(rename = "slaveHA")]
        pub slave_ha: Option<ReplicaHa>,
        /// Switches for the optional services inside the nodes.
        pub redis_enterprise_services_configuration: Option<OptionalServices>,
        /// Flash storage for databases larger than memory.
        pub redis_on_flash_spec: Option<Flash>,
        /// Modules of your own, fetched and installed on the cluster.
        #[schemars(length(max = 64))]
        pub user_defined_modules: Option<Vec<UserDefinedModule>>,
        /// Settings for the backups of all databases.
        pub backup: Option<ClusterBackup>,
        /// Login by LDAP.
        pub ldap: Option<Ldap>,
        /// Single sign-on for the admin UI.
        pub sso: Option<Sso>,
        /// OCSP stapling of the proxy certificate.
        pub ocsp_configuration: Option<Ocsp>,
        /// Recording of connections.
        pub auditing: Option<Auditing>,
        /// Reports of usage.
        pub usage_meter: Option<UsageMeter>,
        /// How much a usage report says; restricted if empty.
        pub usage_report_fields: Option<UsageReportFields>,
        /// Rules about access control on databases.
        pub access_control: Option<AccessControl>,
        /// Whether logins by client certificate are handed to an external gRPC service.
        #[serde(rename = "dmcExternalCBAAuthentication")]
        pub dmc_external_cba_authentication: Option<bool>,
        /// Settings of the metrics engine.
        pub metrics_config: Option<Metrics>,
        /// The Service Broker, which no current version of Redis Enterprise has. Accepted, and reported as not supported.
        pub service_broker_spec: Option<ServiceBroker>,
    }
}
