//! What an Active-Active database says of the resource that it comes from, in its tags (reference, 2.9): the operators of all its clusters
//! read it there, make the same resource, and see who changed what since.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stepwright_sdk::Reply;

const MANAGED_BY: &str = "managed_by";
const RESOURCE: &str = "redb_resource";
const RESOURCE_NAME: &str = "redb_resource_name";
const GLOBAL: &str = "global_configurations_spec";
const PARTICIPANTS: &str = "participating_clusters_spec";
const SERVICE_PORT: &str = "db_service_port";
/// What [`RESOURCE`] says.
const KIND: &str = "reaadb";

/// A cluster that has a copy, as the spec has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Participant {
    /// Name of its RedisEnterpriseRemoteCluster.
    pub name: String,
    /// Namespace of the resource there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port at which the others reach the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_replication_port: Option<u16>,
}

/// The resource, as far as it is the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `metadata.name`.
    pub name: String,
    /// Each with a namespace.
    pub participants: Vec<Participant>,
    /// `spec.globalConfigurations`.
    pub global: Value,
}

/// An Active-Active database as the cluster lists it (REST reference, 11.2).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Crdb {
    /// Its id on all clusters.
    pub guid: String,
    /// The name of its databases.
    pub name: String,
    /// What all copies are like.
    pub default_db_config: Value,
    /// The copies.
    pub instances: Vec<Instance>,
}

/// A copy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Its number.
    pub id: u64,
    /// Where it is.
    pub cluster: Cluster,
}

/// The cluster of a copy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Its name (FQDN).
    pub name: String,
    /// Of its REST API.
    pub url: String,
    /// Where its copy is reached by the others.
    pub replication_endpoint: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tag {
    key: String,
    value: String,
}

/// The databases in an answer to `GET /v1/crdbs`, if it is one: some servers are said to put the list into an object.
pub fn listed(reply: &Reply) -> Option<Vec<Crdb>> {
    #[derive(Deserialize)]
    struct Wrapped {
        crdbs: Vec<Crdb>,
    }
    let list = reply.json::<Vec<Crdb>>().or_else(|| Some(reply.json::<Wrapped>()?.crdbs));
    list.filter(|_| reply.is_success())
}

impl Record {
    /// `None` of a database that no resource made.
    pub fn of(crdb: &Crdb) -> Option<Self> {
        let tags = crdb.default_db_config.get("tags").cloned().unwrap_or_default();
        let tags: Vec<Tag> = serde_json::from_value(tags).ok()?;
        let tag = |key: &str| tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str());
        if tag(RESOURCE) != Some(KIND) {
            return None;
        }
        Some(Self {
            name: tag(RESOURCE_NAME)?.to_owned(),
            participants: serde_json::from_str(tag(PARTICIPANTS)?).ok()?,
            global: serde_json::from_str(tag(GLOBAL)?).ok()?,
        })
    }

    /// As tags of every copy, beside those that the spec asks for.
    pub fn tags(&self) -> Vec<Value> {
        let own = [
            (MANAGED_BY, "stepwright".to_owned()),
            (RESOURCE, KIND.to_owned()),
            (RESOURCE_NAME, self.name.clone()),
            (GLOBAL, self.global.to_string()),
            (PARTICIPANTS, json!(self.participants).to_string()),
        ];
        // The port of its Services, for whoever makes those.
        let port = self.global.get("databaseServicePort").and_then(Value::as_i64);
        let port = port.map(|port| (SERVICE_PORT.to_owned(), port.to_string()));
        let wanted = self.global.get("tags").and_then(Value::as_object).cloned().unwrap_or_default();
        let wanted = wanted.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
        own.chain(port).chain(wanted).map(|(key, value)| json!({"key": key, "value": value})).collect()
    }

    /// What is agreed, in a form that is the same everywhere.
    pub fn text(&self) -> String {
        json!({"participatingClusters": self.participants, "globalConfigurations": self.global}).to_string()
    }

    /// The spec of the resource on the cluster of this participant.
    pub fn spec(&self, cluster: Option<&str>) -> Value {
        let mut spec = Map::new();
        spec.insert("participatingClusters".to_owned(), json!(self.participants));
        spec.insert("globalConfigurations".to_owned(), self.global.clone());
        if let Some(cluster) = cluster {
            spec.insert("redisEnterpriseCluster".to_owned(), json!({"name": cluster}));
        }
        Value::Object(spec)
    }
}

/// The same value with the fields of every object in order, and without those that say nothing.
pub(crate) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            let sorted: std::collections::BTreeMap<&String, Value> =
                said.map(|(key, value)| (key, canonical(value))).collect();
            sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}
