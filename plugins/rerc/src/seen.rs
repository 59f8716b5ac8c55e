//! All that one call looks at, decoded once.

use std::collections::BTreeMap;

use serde::Deserialize;
use stepwright_reaadb::record::{Crdb, Participant};
use stepwright_sdk::{Fact, FactPart, Failure, Manifest, Observation, Observe, Observed, StepManifest};

use crate::status::Status;

pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observation,
    pub(crate) remote: Remote,
    /// It stands for the cluster beside it.
    pub(crate) local: bool,
    /// The Secret with its login.
    pub(crate) secret: Option<Observed<Secret>>,
    /// The Secret with the login of the cluster beside it.
    own_login: Option<Observed<Secret>>,
    databases: Vec<Observed<ActiveActive>>,
    pub(crate) cluster: Fact<Cluster>,
    pub(crate) crdbs: Fact<Vec<Crdb>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Remote {
    pub(crate) metadata: Generation,
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Generation {
    pub(crate) generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) rec_name: String,
    pub(crate) rec_namespace: String,
    pub(crate) api_fqdn_url: String,
    pub(crate) api_port: Option<u16>,
    pub(crate) secret_name: Option<String>,
}

impl Spec {
    /// Where its API is, for people.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.api_fqdn_url, self.api_port.unwrap_or(443))
    }
}

/// Values are fingerprints.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Secret {
    metadata: Version,
    data: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Version {
    resource_version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocalCluster {
    spec: LocalSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LocalSpec {
    cluster_credential_secret_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ActiveActive {
    spec: ActiveActiveSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ActiveActiveSpec {
    participating_clusters: Vec<Participant>,
}

/// `GET /v1/cluster` (REST reference, 4.1).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) name: Option<String>,
}

pub(crate) fn manifest() -> Manifest {
    let active_active = "RedisEnterpriseActiveActiveDatabase";
    let step = StepManifest::new("rerc")
        .primary([
            "spec",
            "status.status",
            "status.specStatus",
            "status.observedGeneration",
            "status.local",
            "status.clusterName",
            "status.internalObservedSecretResourceVersion",
        ])
        .observe(
            Observe::new("credentials", "v1", "Secret")
                .names(["redis-enterprise-$(metadata.name)"])
                .fields(["metadata.resourceVersion", "data"]),
        )
        .observe(Observe::new("logins", "v1", "Secret").names(["$(spec.recName)"]).fields(["data"]))
        .observe(
            Observe::new("clusters", "app.redislabs.com/v1", "RedisEnterpriseCluster")
                .names(["$(spec.recName)"])
                .fields(["spec.clusterCredentialSecretName"]),
        )
        .observe(
            Observe::new("databases", "app.redislabs.com/v1alpha1", active_active)
                .all()
                .anywhere()
                .fields(["spec.participatingClusters"]),
        )
        .facts(["cluster"])
        .fact_part("cluster", FactPart::fields(["name"]))
        // Of the cluster beside it only: those that have a copy there.
        .fact_when("crdbs", "status.local")
        .fact_part("crdbs", FactPart::fields(["guid", "name", "default_db_config.tags"]))
        .begins("app.redislabs.com/v1alpha1", active_active)
        .calls(["GET /v1/crdbs"]);
    Manifest::new("rerc", env!("CARGO_PKG_VERSION"))
        .description("Says of a remote Redis Enterprise cluster whether it can be worked with")
        .step(step)
}

impl<'a> Seen<'a> {
    pub(crate) fn read(observed: &'a Observation) -> Result<Self, Failure> {
        let remote: Remote = observed.primary()?;
        let clusters: Vec<Observed<LocalCluster>> = observed.set("clusters")?;
        let beside = clusters.first().filter(|_| remote.spec.rec_namespace == observed.namespace());
        let own_secret = |cluster: &&Observed<LocalCluster>| {
            let named = cluster.spec.cluster_credential_secret_name.as_deref().unwrap_or_default();
            named.is_empty() || named == remote.spec.rec_name
        };
        let logins: Vec<Observed<Secret>> = observed.set("logins")?;
        Ok(Self {
            observed,
            local: beside.is_some(),
            own_login: logins.into_iter().next().filter(|_| beside.as_ref().is_some_and(own_secret)),
            secret: observed.set("credentials")?.into_iter().next(),
            databases: observed.set("databases")?,
            cluster: observed.fact("cluster"),
            crdbs: observed.fact("crdbs"),
            remote,
        })
    }

    /// The Secret's name is not for people to choose (reference, 2.7).
    pub(crate) fn secret_name(&self) -> String {
        format!("redis-enterprise-{}", self.observed.name())
    }

    pub(crate) fn secret_version(&self) -> Option<String> {
        self.secret.as_ref()?.metadata.resource_version.clone()
    }

    /// The cluster beside it is managed by another login than others are given for it.
    pub(crate) fn login_differs(&self) -> bool {
        let (Some(given), Some(own)) = (&self.secret, &self.own_login) else { return false };
        ["username", "password"].iter().any(|key| given.data.get(*key) != own.data.get(*key))
    }

    /// Active-Active databases that list it.
    pub(crate) fn listed_by(&self) -> Vec<String> {
        let name = self.observed.name();
        let lists = |it: &&Observed<ActiveActive>| it.spec.participating_clusters.iter().any(|one| one.name == name);
        let named = |it: &Observed<ActiveActive>| {
            format!("`{}/{}`", it.id.namespace.as_deref().unwrap_or_default(), it.id.name)
        };
        self.databases.iter().filter(lists).map(named).collect()
    }

    /// A resource of this name is there.
    pub(crate) fn has_database(&self, namespace: &str, name: &str) -> bool {
        self.databases.iter().any(|it| it.id.name == name && it.id.namespace.as_deref() == Some(namespace))
    }
}
