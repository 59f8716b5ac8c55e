//! The status (reference, 1.7): what is known now over what was known before. What cannot be read now stays as it was.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::instances::named;
use crate::password;
use crate::record::Crdb;
use crate::seen::Seen;

pub(crate) const PENDING: &str = "pending";
pub(crate) const ACTIVE: &str = "active";
pub(crate) const CHANGING: &str = "active-change-pending";
pub(crate) const DELETING: &str = "delete-pending";
pub(crate) const CREATION_FAILED: &str = "creation-failed";
pub(crate) const ERROR: &str = "error";

const UP: &str = "up";
const DOWN: &str = "down";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) spec_status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replication_status: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) participating_clusters: Vec<ParticipantStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_task_uid: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) linked_redbs: Vec<String>,
    /// What was last agreed with the other clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) global_configurations: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis_enterprise_cluster: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets_status: Vec<SecretStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_certificates_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) managed_tags: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ParticipantStatus {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replication_status: Option<String>,
    /// The version of the Secret with the cluster's login that the others were told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) internal_observed_secret_resource_version: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SecretStatus {
    pub(crate) name: String,
    pub(crate) status: String,
}

impl Status {
    /// The status with what is seen of the database, if there is one.
    pub(crate) fn of(seen: &Seen<'_>, crdb: Option<&Crdb>) -> Self {
        let mut status = seen.database.status.clone();
        "Valid".clone_into(&mut status.spec_status);
        status.linked_redbs = seen.linked();
        if let Some(cluster) = seen.cluster_name() {
            status.redis_enterprise_cluster = Some(cluster.to_owned());
        }
        status.secrets_status = password::secrets(seen, crdb);
        let Some(crdb) = crdb else {
            if status.status.is_empty() {
                PENDING.clone_into(&mut status.status);
            }
            return status;
        };
        status.guid = Some(crdb.guid.clone());
        // In its place may stand why there is none.
        let report = seen.health.known().and_then(|all| all.get(&crdb.guid)).filter(|report| report.is_array());
        let links = report.map(links);
        status.participating_clusters = crdb
            .instances
            .iter()
            .map(|instance| {
                let name = named(seen, instance);
                let was = seen.database.status.participating_clusters.iter().find(|it| it.name == name);
                let known = links.as_ref().map(|links| if links.is_down(&instance.cluster.name) { DOWN } else { UP });
                let replication_status =
                    known.map(str::to_owned).or_else(|| was.and_then(|it| it.replication_status.clone()));
                // As it is when it is first seen, they were told of it.
                let told = was.and_then(|it| it.internal_observed_secret_resource_version.clone());
                let internal_observed_secret_resource_version =
                    told.or_else(|| seen.remote(&name).and_then(|remote| remote.secret_version().map(str::to_owned)));
                let id = Some(instance.id);
                ParticipantStatus { name, id, replication_status, internal_observed_secret_resource_version }
            })
            .collect();
        if let Some(links) = &links {
            status.replication_status = Some(if links.down.is_empty() { UP } else { DOWN }.to_owned());
        }
        status
    }

    /// All that this generation of the spec says is agreed upon.
    pub(crate) fn settled(&mut self, seen: &Seen<'_>) {
        self.observed_generation = Some(seen.database.metadata.generation);
        self.managed_tags = seen.global().tags.into_keys().collect();
        ACTIVE.clone_into(&mut self.status);
    }

    /// All clusters were told of the logins that there are now.
    pub(crate) fn told_logins(&mut self, seen: &Seen<'_>) {
        for participant in &mut self.participating_clusters {
            let now = seen.remote(&participant.name).and_then(|remote| remote.secret_version());
            if let Some(now) = now {
                participant.internal_observed_secret_resource_version = Some(now.to_owned());
            }
        }
    }

    /// Participants that no data passes to or from.
    pub(crate) fn down(&self) -> Vec<&str> {
        let down = |it: &&ParticipantStatus| it.replication_status.as_deref() == Some(DOWN);
        self.participating_clusters.iter().filter(down).map(|it| it.name.as_str()).collect()
    }
}

/// What a health report says of links between clusters, by the names of these.
#[derive(Default)]
struct Links {
    /// Why, of clusters that are not linked as they should be.
    down: std::collections::BTreeMap<String, String>,
}

impl Links {
    fn is_down(&self, cluster: &str) -> bool {
        self.down.contains_key(cluster)
    }
}

fn links(report: &Value) -> Links {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut broken, mut pairs) = (Links::default(), Vec::new());
    for entry in report.as_array().into_iter().flatten() {
        let cluster = text(entry, "cluster_name");
        let error = text(entry, "connection_error");
        if !error.is_empty() {
            broken.down.insert(cluster, error);
            continue;
        }
        for connection in entry.get("connections").and_then(Value::as_array).into_iter().flatten() {
            let links = connection.get("replication_links").and_then(Value::as_array);
            let down = links.into_iter().flatten().any(|link| text(link, "status") != UP);
            if down || text(connection, "status") == "disconnected" {
                pairs.push((cluster.clone(), text(connection, "name")));
            }
        }
    }
    // A link has two ends. Where one of them does not answer at all, it is that one; else, both are told.
    for (one, other) in pairs {
        if broken.down.get(&one).or_else(|| broken.down.get(&other)).is_none_or(String::is_empty) {
            broken.down.entry(one).or_default();
            broken.down.entry(other).or_default();
        }
    }
    broken
}
