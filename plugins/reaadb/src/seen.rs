//! All that one call looks at, decoded once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepwright_redb::copy;
use stepwright_rigging::naming::ServicesRiggerSpec;
use stepwright_sdk::{
    Fact, FactPart, Failure, Manifest, ObjectSet, Observation, Observe, Observed, Reply, StepManifest,
};

use crate::record::{Crdb, Participant, Record, canonical};
use crate::remotes::Remote;
use crate::status::Status;
use crate::{FORCE_ANNOTATION, GUID_ANNOTATION};

pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observation,
    pub(crate) database: Database,
    pub(crate) clusters: Vec<Observed<Cluster>>,
    pub(crate) remotes: Vec<Observed<Remote>>,
    pub(crate) secrets: Vec<Observed<Secret>>,
    pub(crate) redbs: Vec<Observed<Redb>>,
    pub(crate) crdbs: Fact<Vec<Crdb>>,
    pub(crate) bdbs: Fact<Vec<Bdb>>,
    pub(crate) health: Fact<BTreeMap<String, Value>>,
    pub(crate) settings: Fact<Settings>,
}

/// `GET /v1/cluster` (REST reference, 4.1).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) mask_bdb_credentials: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Database {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub(crate) generation: i64,
    pub(crate) uid: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) participating_clusters: Vec<Participant>,
    pub(crate) global_configurations: Value,
    redis_enterprise_cluster: Named,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

/// Of `spec.globalConfigurations`, what is read here; the rest is read as a database's spec.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Global {
    pub(crate) database_secret_name: Option<String>,
    pub(crate) default_user: Option<bool>,
    pub(crate) database_service_port: Option<u16>,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) metadata: Deletion,
    pub(crate) spec: ClusterSpec,
    pub(crate) status: ClusterStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Deletion {
    pub(crate) deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClusterSpec {
    pub(crate) services_rigger_spec: ServicesRiggerSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClusterStatus {
    pub(crate) state: String,
    pub(crate) certificates_status: Certificates,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Certificates {
    pub(crate) generation: Option<i64>,
}

/// Values are fingerprints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Secret {
    pub(crate) data: BTreeMap<String, String>,
}

/// A RedisEnterpriseDatabase.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Redb {
    spec: RedbSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RedbSpec {
    active_active: Option<Named>,
}

/// A database of the cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bdb {
    pub(crate) uid: u64,
    pub(crate) name: String,
    pub(crate) crdt: Option<bool>,
    port: Option<u16>,
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    port: u16,
}

impl Bdb {
    /// The port of its proxies, once it has one.
    pub(crate) fn listens_on(&self) -> Option<u16> {
        let ports = self.endpoints.iter().flatten().map(|endpoint| endpoint.port).chain(self.port);
        ports.into_iter().find(|port| *port != 0)
    }
}

pub(crate) fn manifest() -> Manifest {
    let group = "app.redislabs.com/v1alpha1";
    let step = StepManifest::new("reaadb")
        .primary([
            "metadata.annotations",
            "spec",
            "status.status",
            "status.specStatus",
            "status.observedGeneration",
            "status.replicationStatus",
            "status.participatingClusters",
            "status.guid",
            "status.lastTaskUid",
            "status.linkedRedbs",
            "status.globalConfigurations",
            "status.redisEnterpriseCluster",
            "status.secretsStatus",
            "status.clusterCertificatesGeneration",
            "status.managedTags",
        ])
        .observe(
            Observe::new("clusters", "app.redislabs.com/v1", "RedisEnterpriseCluster").all().within_system().fields([
                "spec.servicesRiggerSpec",
                "spec.rackAwarenessNodeLabel",
                "status.state",
                "status.certificatesStatus",
                "status.modules",
                "status.bundledDatabaseVersions",
            ]),
        )
        .observe(Observe::new("remote-clusters", group, "RedisEnterpriseRemoteCluster").all().within_system().fields([
            "spec",
            "status.status",
            "status.local",
            "status.clusterName",
            "status.internalObservedSecretResourceVersion",
            "status.conditions",
        ]))
        .observe(
            Observe::new("secrets", "v1", "Secret")
                .names([
                    "$(spec.globalConfigurations.databaseSecretName)",
                    "reaadb-$(metadata.name)-in-force",
                    "$(spec.globalConfigurations.backup.s3.awsSecretName)",
                    "$(spec.globalConfigurations.backup.abs.absSecretName)",
                    "$(spec.globalConfigurations.backup.gcs.gcsSecretName)",
                    "$(spec.globalConfigurations.backup.sftp.sftpSecretName)",
                    "$(spec.globalConfigurations.clientAuthenticationCertificates[])",
                ])
                .fields(["data"]),
        )
        .observe(Observe::new("redbs", group, "RedisEnterpriseDatabase").all().fields(["spec.activeActive"]))
        .facts(["crdbs", "bdbs", "crdb-health", "cluster", "policy"])
        .fact_part("crdbs", FactPart::having("name", "$(metadata.name)").or_having("guid", "$(status.guid)"))
        .fact_part("bdbs", FactPart::having("name", "$(metadata.name)"))
        .fact_part("cluster", FactPart::fields(["mask_bdb_credentials"]))
        .fact_part("policy", FactPart::fields(["redis_upgrade_policy"]))
        // What was changed through another cluster.
        .follows("spec.globalConfigurations")
        .follows("spec.participatingClusters")
        // What was deleted through another cluster.
        .retires()
        .system_secrets(["redis-enterprise-$(spec.participatingClusters[].name)"])
        .writes("v1", "Secret")
        .writes("v1", "Service")
        .calls([
            "GET /v1/crdbs",
            "POST /v1/crdbs",
            "PATCH /v1/crdbs/*",
            "DELETE /v1/crdbs/*",
            "POST /v1/crdbs/*/updates",
            "GET /v1/crdb_tasks/*",
        ])
        // A task that failed is not tried again at once.
        .clock();
    Manifest::new("reaadb", env!("CARGO_PKG_VERSION"))
        .description(
            "Makes an Active-Active database on several Redis Enterprise clusters and keeps it as its resource says",
        )
        .step(step)
}

impl<'a> Seen<'a> {
    pub(crate) fn read(observed: &'a Observation) -> Result<Self, Failure> {
        Ok(Self {
            observed,
            database: observed.primary()?,
            clusters: observed.set("clusters")?,
            remotes: observed.set("remote-clusters")?,
            secrets: observed.set("secrets")?,
            redbs: observed.set("redbs")?,
            crdbs: observed.fact("crdbs"),
            bdbs: observed.fact("bdbs"),
            health: observed.fact("crdb-health"),
            settings: observed.fact("cluster"),
        })
    }

    pub(crate) fn name(&self) -> &'a str {
        self.observed.name()
    }

    pub(crate) fn global(&self) -> Global {
        Global::deserialize(&self.database.spec.global_configurations).unwrap_or_default()
    }

    /// The name of the cluster beside it: as the spec says, else as it was, else the only one.
    pub(crate) fn cluster_name(&self) -> Option<&str> {
        let said = |name: &'_ str| !name.is_empty();
        let named = Some(self.database.spec.redis_enterprise_cluster.name.as_str()).filter(|name| said(name));
        let was = self.database.status.redis_enterprise_cluster.as_deref().filter(|name| said(name));
        let only = match self.clusters.as_slice() {
            [only] => Some(only.id.name.as_str()),
            _ => None,
        };
        named.or(was).or(only)
    }

    pub(crate) fn cluster(&self) -> Option<&Observed<Cluster>> {
        let name = self.cluster_name()?;
        self.clusters.iter().find(|cluster| cluster.id.name == name)
    }

    pub(crate) fn remote(&self, name: &str) -> Option<&Observed<Remote>> {
        self.remotes.iter().find(|remote| remote.id.name == name)
    }

    /// The remote cluster that stands for the cluster beside it.
    pub(crate) fn own_remote(&self) -> Option<&Observed<Remote>> {
        self.remotes.iter().find(|remote| remote.status.local)
    }

    /// The id of its database, once it has one.
    pub(crate) fn guid(&self) -> Option<&str> {
        let annotated = self.database.metadata.annotations.get(GUID_ANNOTATION);
        self.database.status.guid.as_ref().or(annotated).map(String::as_str).filter(|guid| !guid.is_empty())
    }

    /// Names of clusters that a person wants removed without their being asked.
    pub(crate) fn forced(&self) -> BTreeSet<&str> {
        let said = self.database.metadata.annotations.get(FORCE_ANNOTATION);
        said.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
    }

    /// Its database among those listed: by its id, or by what it says of its resource.
    pub(crate) fn own<'c>(&self, crdbs: &'c [Crdb]) -> Option<&'c Crdb> {
        match self.guid() {
            Some(guid) => crdbs.iter().find(|crdb| crdb.guid == guid),
            None => crdbs.iter().find(|crdb| {
                crdb.name == self.name() && Record::of(crdb).is_some_and(|record| record.name == self.name())
            }),
        }
    }

    /// The spec, in the form in which it is agreed upon.
    pub(crate) fn record(&self) -> Record {
        let mut participants = self.database.spec.participating_clusters.clone();
        for participant in &mut participants {
            participant.namespace.get_or_insert_with(|| self.observed.namespace().to_owned());
        }
        participants.sort_by(|a, b| a.name.cmp(&b.name));
        let global = match &self.database.spec.global_configurations {
            Value::Null => Value::Object(Map::new()),
            global => canonical(global),
        };
        Record { name: self.name().to_owned(), participants, global }
    }

    /// The same observation as of a database with the spec of the copies: for whoever knows databases.
    pub(crate) fn as_database(&self) -> Observation {
        let mut observed = self.observed.clone();
        let mut spec = match &self.database.spec.global_configurations {
            Value::Object(fields) => fields.clone(),
            _ => Map::new(),
        };
        // By its server name a copy is told apart only where there is TLS; clients need none for that.
        if spec.get("tlsMode").is_none() && self.goes_by_server_name() {
            spec.insert("tlsMode".to_owned(), json!("replica_ssl"));
        }
        let status = json!({"redisEnterpriseCluster": self.cluster_name()});
        let metadata = json!({"name": self.name(), "generation": self.database.metadata.generation});
        observed.primary.body = json!({"metadata": metadata, "spec": spec, "status": status}).to_string();
        for name in copy::SETS {
            if !observed.objects.iter().any(|set| set.name == name) {
                observed.objects.push(ObjectSet { name: name.to_owned(), objects: Vec::new() });
            }
        }
        observed
    }

    /// Some copy is reached by the others through a proxy that goes by server names.
    pub(crate) fn goes_by_server_name(&self) -> bool {
        let mut remotes =
            self.database.spec.participating_clusters.iter().filter_map(|participant| self.remote(&participant.name));
        remotes.any(|remote| remote.spec.db_fqdn_suffix.as_deref().is_some_and(|suffix| !suffix.is_empty()))
    }

    /// Fingerprint of a value of a Secret.
    pub(crate) fn secret_value(&self, name: &str, key: &str) -> Option<&str> {
        let secret = self.secrets.iter().find(|secret| secret.id.name == name)?;
        secret.data.get(key).map(String::as_str)
    }

    /// RedisEnterpriseDatabases that say that they belong to it.
    pub(crate) fn linked(&self) -> Vec<String> {
        let belongs =
            |redb: &&Observed<Redb>| redb.spec.active_active.as_ref().is_some_and(|it| it.name == self.name());
        self.redbs.iter().filter(belongs).map(|redb| redb.id.name.clone()).collect()
    }

    pub(crate) fn reply(&self, id: &str) -> Option<&'a Reply> {
        self.observed.reply(id)
    }
}
