//! RedisEnterpriseRemoteCluster (`rerc`): a cluster that takes part in Active-Active databases, and how it is reached.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;

use crate::embedded::conditions;
use crate::rule::Rule;

api! {
    #[derive(CustomResource)]
    #[kube(
        group = "app.redislabs.com",
        version = "v1alpha1",
        kind = "RedisEnterpriseRemoteCluster",
        plural = "redisenterpriseremoteclusters",
        singular = "redisenterpriseremotecluster",
        shortname = "rerc",
        category = "redis-enterprise",
        namespaced,
        schema = "disabled",
        status = "RemoteClusterStatus",
        derive = "PartialEq",
        label("app", "redis-enterprise"),
        printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
        printcolumn(name = "Spec Status", type_ = "string", json_path = ".status.specStatus"),
        printcolumn(name = "Local", type_ = "boolean", json_path = ".status.local")
    )]
    /// The cluster that is meant.
    pub struct RedisEnterpriseRemoteClusterSpec {
        /// Name of its RedisEnterpriseCluster.
        pub rec_name: String,
        /// Namespace of its RedisEnterpriseCluster.
        pub rec_namespace: String,
        /// Host name of its API, without a scheme.
        #[schemars(length(max = 253))]
        pub api_fqdn_url: String,
        /// Port of its API; 443 if empty.
        #[schemars(range(min = 1, max = 65535))]
        pub api_port: Option<i32>,
        /// What follows the name of a database in the host name that the other clusters reach it at.
        pub db_fqdn_suffix: Option<String>,
        /// Secret with `username` and `password` of its administrator: redis-enterprise- and the name of this object, which is also meant if empty.
        #[schemars(length(max = 253))]
        pub secret_name: Option<String>,
    }
}

api! {
    /// What is seen of the remote cluster.
    #[derive(Default)]
    pub struct RemoteClusterStatus {
        /// Active, or Error.
        pub status: Option<String>,
        /// Valid, or Invalid: then an Event names field and rule.
        pub spec_status: Option<String>,
        /// Standard conditions, Ready among them.
        #[schemars(schema_with = "conditions")]
        pub conditions: Option<Vec<Condition>>,
        /// The metadata.generation that the operator last worked on.
        pub observed_generation: Option<i64>,
        /// Whether it is the cluster of this namespace.
        pub local: Option<bool>,
        /// Name of the cluster, as it says itself.
        pub cluster_name: Option<String>,
        /// The resourceVersion of the Secret that the operator last worked with.
        pub internal_observed_secret_resource_version: Option<String>,
    }
}

/// Rules for this kind.
pub const RULES: &[Rule] = &[
    Rule::new(
        "",
        // With has(), not optionals: those hide the length of the text from the estimate of the rule's cost.
        "!has(self.spec.secretName) || self.spec.secretName in ['', 'redis-enterprise-' + self.metadata.name] || \
         (oldSelf.hasValue() && has(oldSelf.value().spec.secretName) && \
         oldSelf.value().spec.secretName == self.spec.secretName)",
        "spec.secretName must be redis-enterprise- and the name of this object; correct it, or leave it out",
    )
    .about(".spec.secretName")
    .seeing_old(),
    Rule::new(
        "spec.apiFqdnUrl",
        "!self.contains('/')",
        "spec.apiFqdnUrl must be a host name alone; remove scheme and path",
    ),
];
