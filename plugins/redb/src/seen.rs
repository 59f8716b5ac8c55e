//! All that one call looks at, decoded once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use stepwright_sdk::{Fact, FactPart, Failure, Manifest, Observation, Observe, Observed, StepManifest};

use crate::asked::Named;
use crate::bdb::Identity;
use crate::settings::Bdb;
use crate::spec::{Cluster, Database, said};

pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observation,
    pub(crate) database: Database,
    /// Those of the namespace where the cluster is, or would be.
    pub(crate) clusters: Vec<Observed<Cluster>>,
    statefulsets: BTreeSet<String>,
    pub(crate) secrets: Vec<Observed<Secret>>,
    /// Names of Secrets that were made for this database.
    pub(crate) own_secrets: BTreeSet<String>,
    pub(crate) bdbs: Fact<Vec<Bdb>>,
    pub(crate) license: Fact<License>,
    cluster_settings: Fact<ClusterSettings>,
    pub(crate) policy: Fact<Policy>,
    /// Read only where the spec names some.
    pub(crate) roles: Fact<Vec<Named>>,
    pub(crate) acls: Fact<Vec<Named>>,
    /// By database: alerts that are enabled.
    pub(crate) alerts: Fact<BTreeMap<String, BTreeMap<String, EnabledAlert>>>,
}

/// One of `GET /v1/bdbs/alerts` (REST reference, 6.7), of those that are enabled.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EnabledAlert {
    pub(crate) threshold: Option<crate::spec::Threshold>,
}

/// Values are fingerprints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Secret {
    pub(crate) data: BTreeMap<String, String>,
}

/// `GET /v1/license` (REST reference, 4.3).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct License {
    pub(crate) expired: Option<bool>,
    pub(crate) shards_limit: Option<u64>,
    pub(crate) ram_shards_limit: Option<u64>,
    pub(crate) flash_shards_limit: Option<u64>,
}

/// `GET /v1/cluster` (REST reference, 4.1).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClusterSettings {
    mask_bdb_credentials: Option<bool>,
}

/// `GET /v1/cluster/policy` (REST reference, 4.2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Policy {
    pub(crate) redis_upgrade_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Anything {}

pub(crate) fn manifest() -> Manifest {
    let step = StepManifest::new("redb")
        .primary([
            "spec",
            "status.status",
            "status.specStatus",
            "status.observedGeneration",
            "status.databaseUID",
            "status.createdTime",
            "status.lastUpdated",
            "status.version",
            "status.internalEndpoints",
            "status.redisEnterpriseCluster",
            "status.shardStatuses",
            "status.lastActionUid",
            "status.lastActionStatus",
            "status.backupInfo",
            "status.managedTags",
            "status.managedFields",
            "status.replicaSourceStatuses",
            "status.bigstoreVersion",
        ])
        .observe(
            Observe::new("clusters", "app.redislabs.com/v1", "RedisEnterpriseCluster").all().within_system().fields([
                "spec.servicesRiggerSpec",
                "spec.rackAwarenessNodeLabel",
                "spec.redisOnFlashSpec",
                "status.state",
                "status.modules",
                "status.bundledDatabaseVersions",
            ]),
        )
        .observe(
            Observe::new("statefulsets", "apps/v1", "StatefulSet")
                .labels([("app", "redis-enterprise")])
                .within_system()
                .fields(["metadata.name"]),
        )
        .observe(
            Observe::new("secrets", "v1", "Secret")
                .names([
                    "$(spec.databaseSecretName)",
                    "redb-$(metadata.name)",
                    "redb-$(metadata.name)-in-force",
                    "$(spec.memcachedSaslSecretName)",
                    "$(spec.backup.s3.awsSecretName)",
                    "$(spec.backup.abs.absSecretName)",
                    "$(spec.backup.gcs.gcsSecretName)",
                    "$(spec.backup.sftp.sftpSecretName)",
                    "$(spec.clientAuthenticationCertificates[])",
                    "$(spec.replicaSources[].replicaSourceName)",
                    "$(spec.replicaSources[].serverCertSecret)",
                    "$(spec.replicaSources[].clientKeySecret)",
                ])
                .fields(["data"]),
        )
        .observe(Observe::new("own-secrets", "v1", "Secret").fields(["metadata.name"]))
        .facts(["bdbs", "license", "cluster", "policy", "alerts"])
        // Somebody may rename one, or make it anew with another uid.
        .fact_when("roles", "spec.rolesPermissions")
        .fact_when("redis-acls", "spec.rolesPermissions")
        .fact_part("roles", FactPart::fields(["uid", "name"]))
        .fact_part("redis-acls", FactPart::fields(["uid", "name"]))
        // Of thousands of databases: this one, those that it copies, those that stand in its way by name or by port.
        .fact_part(
            "bdbs",
            FactPart::having("name", "$(metadata.name)")
                .or_having("uid", "$(status.databaseUID)")
                .or_having("tags.value", "$(metadata.name)")
                .or_having("tags.value", "$(spec.replicaSources[].replicaSourceName)")
                .or_having("port", "$(spec.databasePort)")
                .or_having("endpoints.port", "$(spec.databasePort)"),
        )
        // How much of the license is used changes with every database.
        .fact_part("license", FactPart::fields(["expired", "shards_limit", "ram_shards_limit", "flash_shards_limit"]))
        .fact_part("cluster", FactPart::fields(["mask_bdb_credentials"]))
        .fact_part("policy", FactPart::fields(["redis_upgrade_policy"]))
        .writes("v1", "Secret")
        .writes("v1", "Service")
        .calls([
            "GET /v1/bdbs",
            "POST /v1/bdbs",
            "PUT /v1/bdbs/*",
            "DELETE /v1/bdbs/*",
            "POST /v1/bdbs/*/upgrade",
            "POST /v1/bdbs/alerts/*",
        ]);
    Manifest::new("redb", env!("CARGO_PKG_VERSION"))
        .description("Makes a Redis Enterprise database and keeps it as its resource says")
        .step(step)
}

impl<'a> Seen<'a> {
    pub(crate) fn read(observed: &'a Observation) -> Result<Self, Failure> {
        let names = |set: Vec<Observed<Anything>>| set.into_iter().map(|object| object.id.name).collect();
        Ok(Self {
            observed,
            database: observed.primary()?,
            clusters: observed.set("clusters")?,
            statefulsets: names(observed.set("statefulsets")?),
            secrets: observed.set("secrets")?,
            own_secrets: names(observed.set("own-secrets")?),
            bdbs: observed.fact("bdbs"),
            license: observed.fact("license"),
            cluster_settings: observed.fact("cluster"),
            policy: observed.fact("policy"),
            roles: observed.fact("roles"),
            acls: observed.fact("redis-acls"),
            alerts: observed.fact("alerts"),
        })
    }

    /// The name of the cluster: as the spec says, else as it was, else the only one there is.
    pub(crate) fn cluster_name(&self) -> Option<&str> {
        let spec = Some(self.database.spec.redis_enterprise_cluster.name.as_str()).filter(|name| !name.is_empty());
        let only = match self.clusters.as_slice() {
            [only] => Some(only.id.name.as_str()),
            _ => None,
        };
        spec.or_else(|| said(self.database.status.redis_enterprise_cluster.as_ref())).or(only)
    }

    pub(crate) fn cluster(&self) -> Option<&Observed<Cluster>> {
        let name = self.cluster_name()?;
        self.clusters.iter().find(|cluster| cluster.id.name == name)
    }

    /// The namespace of the clusters that can be chosen; the resource's own while there is none.
    pub(crate) fn cluster_namespace(&self) -> &str {
        let namespace = self.clusters.first().and_then(|cluster| cluster.id.namespace.as_deref());
        namespace.unwrap_or_else(|| self.observed.namespace())
    }

    /// The cluster is in another namespace.
    pub(crate) fn is_guest(&self) -> bool {
        self.cluster_namespace() != self.observed.namespace()
    }

    /// The host of an endpoint: as the cluster says, or as it names them.
    pub(crate) fn host(&self, said: Option<&str>, port: u16) -> String {
        let cluster = self.cluster_name().unwrap_or_default();
        said.map_or_else(
            || format!("redis-{port}.{cluster}.{}.svc.cluster.local", self.cluster_namespace()),
            str::to_owned,
        )
    }

    /// The cluster's pods are still wanted by somebody.
    pub(crate) fn cluster_has_pods(&self) -> bool {
        self.cluster_name().is_some_and(|name| self.statefulsets.contains(name))
    }

    /// The Secret with copies of what the cluster was given of other Secrets.
    pub(crate) fn in_force(&self) -> String {
        format!("redb-{}-in-force", self.observed.name())
    }

    pub(crate) fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.id.name == name).map(|secret| &secret.value)
    }

    /// Fingerprint of a value; `None` when it is not there, or not seen.
    pub(crate) fn secret_value(&self, name: &str, key: &str) -> Option<&str> {
        self.secret(name)?.data.get(key).map(String::as_str)
    }

    /// The spec was not sent as a whole yet.
    pub(crate) fn spec_is_new(&self) -> bool {
        self.database.status.observed_generation != Some(self.database.metadata.generation)
    }

    /// A part of the spec was sent once, so that its removal has to be sent too.
    pub(crate) fn managed(&self, field: &str) -> bool {
        self.database.status.managed_fields.iter().any(|managed| managed == field)
    }

    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity { namespace: self.observed.namespace(), name: self.observed.name(), uid: self.database.status.uid() }
    }

    /// The database of this resource, among those listed.
    pub(crate) fn own<'b>(&self, bdbs: &'b [Bdb]) -> Option<&'b Bdb> {
        let identity = self.identity();
        let mut own: Vec<&Bdb> = bdbs.iter().filter(|bdb| bdb.belongs_to(&identity)).collect();
        own.sort_by_key(|bdb| (Some(bdb.uid) != identity.uid, bdb.uid));
        own.first().copied()
    }

    /// Passwords are shown as something else than they are, so they cannot be compared (REST reference, 4.1).
    pub(crate) fn passwords_are_masked(&self) -> bool {
        self.cluster_settings.known().is_some_and(|settings| settings.mask_bdb_credentials.unwrap_or_default())
    }

    /// A reply to a call whose id starts so, and the rest of that id.
    pub(crate) fn reply(&self, id: &str) -> Option<(&'a stepwright_sdk::Reply, &'a str)> {
        self.observed.replies.iter().find_map(|reply| Some((reply, reply.id.strip_prefix(id)?)))
    }
}
