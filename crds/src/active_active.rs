//! RedisEnterpriseActiveActiveDatabase (`reaadb`): one database on several clusters, each copy of which takes writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;

use crate::database::RedisEnterpriseDatabaseSpec;
use crate::database::settings::ClusterReference;
use crate::embedded::conditions;
use crate::rule::Rule;

words! {
    /// Whether data passes.
    pub enum ReplicationStatus {
        Up = "up",
        Down = "down",
    }
}

words! {
    /// Whether a Secret is there and equal everywhere.
    pub enum SecretValidity {
        Valid = "Valid",
        Invalid = "Invalid",
    }
}

api! {
    #[derive(CustomResource)]
    #[kube(
        group = "app.redislabs.com",
        version = "v1alpha1",
        kind = "RedisEnterpriseActiveActiveDatabase",
        plural = "redisenterpriseactiveactivedatabases",
        singular = "redisenterpriseactiveactivedatabase",
        shortname = "reaadb",
        category = "redis-enterprise",
        namespaced,
        schema = "disabled",
        status = "ActiveActiveStatus",
        derive = "PartialEq",
        label("app", "redis-enterprise"),
        printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
        printcolumn(name = "Spec Status", type_ = "string", json_path = ".status.specStatus"),
        printcolumn(name = "Linked REDBs", type_ = "string", json_path = ".status.linkedRedbs[*]"),
        printcolumn(name = "Replication Status", type_ = "string", json_path = ".status.replicationStatus")
    )]
    /// The Active-Active database that is wanted.
    pub struct RedisEnterpriseActiveActiveDatabaseSpec {
        /// Clusters that have a copy. Adding and removing one is possible at any time.
        #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
        pub participating_clusters: Vec<ParticipatingCluster>,
        /// What every copy is like: the spec of a RedisEnterpriseDatabase. Its password Secret must exist beforehand on every cluster.
        pub global_configurations: Option<RedisEnterpriseDatabaseSpec>,
        /// Cluster of this namespace that has a copy. If empty: the only one.
        pub redis_enterprise_cluster: Option<ClusterReference>,
    }
}

api! {
    /// A cluster that has a copy.
    pub struct ParticipatingCluster {
        /// Name of its RedisEnterpriseRemoteCluster, which exists for every cluster, this one included.
        pub name: String,
        /// Namespace of the copy on that cluster; that of this object if empty.
        pub namespace: Option<String>,
        /// Port that the other clusters reach it at, if that is not 443.
        #[schemars(range(min = 1, max = 65535))]
        pub external_replication_port: Option<i32>,
    }
}

api! {
    /// What is seen of the Active-Active database from this cluster.
    #[derive(Default)]
    pub struct ActiveActiveStatus {
        /// Where the database is in its life: pending, active, active-change-pending, delete-pending, creation-failed, error. Empty means not known. Whether data passes is replicationStatus.
        pub status: Option<String>,
        /// Valid, or Invalid: then the database is left as it is and an Event names field and rule.
        pub spec_status: Option<String>,
        /// Standard conditions, Ready among them.
        #[schemars(schema_with = "conditions")]
        pub conditions: Option<Vec<Condition>>,
        /// The metadata.generation that the operator last worked on.
        pub observed_generation: Option<i64>,
        /// Whether data passes on all links.
        pub replication_status: Option<ReplicationStatus>,
        /// The clusters that have a copy.
        pub participating_clusters: Option<Vec<ParticipatingClusterStatus>>,
        /// Uid of the database across clusters.
        pub guid: Option<String>,
        /// Id of the last task on it.
        pub last_task_uid: Option<String>,
        /// Databases of this cluster that belong to it.
        pub linked_redbs: Option<Vec<String>>,
        /// What was last agreed upon with the other clusters, as JSON.
        pub global_configurations: Option<String>,
        /// Name of the cluster of this namespace.
        pub redis_enterprise_cluster: Option<String>,
        /// Secrets that must be there and equal on every cluster.
        pub secrets_status: Option<Vec<SecretStatus>>,
        /// Generation of the cluster's certificates when they were last passed on.
        pub cluster_certificates_generation: Option<i64>,
        /// Tags that the spec has taken over, so that removing one removes it.
        pub managed_tags: Option<Vec<String>>,
    }
}

api! {
    /// A cluster that has a copy.
    pub struct ParticipatingClusterStatus {
        /// Name of its RedisEnterpriseRemoteCluster.
        pub name: String,
        /// Its number among the copies.
        pub id: Option<i64>,
        /// Whether data passes to and from it.
        pub replication_status: Option<ReplicationStatus>,
        /// The resourceVersion of the Secret with its login when the other clusters were last told that.
        pub internal_observed_secret_resource_version: Option<String>,
    }
}

api! {
    /// A Secret that every cluster needs.
    pub struct SecretStatus {
        /// Its name.
        pub name: String,
        /// Whether it is there and equal.
        pub status: Option<SecretValidity>,
    }
}

/// Rules for this kind. Those for its `globalConfigurations` are with the database.
pub const RULES: &[Rule] = &[Rule::new(
    "",
    "oldSelf.hasValue() || self.metadata.name.matches('^[a-z][a-z0-9-]{0,61}$')",
    "metadata.name must begin with a letter, hold only lower-case letters, digits and hyphens, and be shorter than 63; choose another",
)
.seeing_old()];
