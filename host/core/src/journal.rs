//! What a pass saw, planned and did, as a record: the data behind `explain`, `replay` and rehearsal. Never a secret's value,
//! since guests are never given one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::ObjectRef;
use crate::observation::Observation;
use crate::plan::{Failure, Plan};
use crate::policy::Verdict;
use crate::slot::Role;

/// Which version of which plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRef {
    pub name: String,
    pub version: String,
    /// The whole digest of the component.
    pub digest: String,
    /// `embedded`, `file …`, `ConfigMap namespace/name`, `OCI …`.
    pub source: String,
}

/// One pass over one primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassRecord {
    /// Rises by one with each pass of this process.
    pub number: u64,
    pub primary: ObjectRef,
    pub uid: String,
    pub generation: i64,
    /// RFC 3339, UTC, with milliseconds.
    pub started: String,
    pub micros: u64,
    /// `settled`, `again`, or the reason word of an error.
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub steps: Vec<StepRecord>,
}

/// One step of a pass; a shadow's is beside that of the version that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    pub step: String,
    pub plugin: PluginRef,
    pub role: Role,
    pub rounds: Vec<RoundRecord>,
    /// Why it ended without effect, if it did: reason word and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
}

/// A reason word and a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    pub reason: String,
    pub message: String,
}

/// One question to a plugin, and what became of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundRecord {
    pub observation: Arc<Observation>,
    /// The answer is an earlier one: the same version was asked the same before.
    #[serde(default)]
    pub remembered: bool,
    pub answer: Answer,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ReviewRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    #[serde(default)]
    pub usage: Used,
}

/// What the plugin said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Planned(Arc<Plan>),
    Failed(Failure),
    /// The sandbox ended the call.
    Broken(Reason),
}

/// One policy's look at a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewRecord {
    pub plugin: PluginRef,
    pub role: Role,
    pub verdict: Result<Verdict, Reason>,
    /// What an amendment changed, field by field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
}

/// One field that differs between two plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// `Service default/rec`, `status`, `call bdb-create`.
    pub object: String,
    /// Dotted: `spec.replicas`. Empty: the whole object came or went.
    pub field: String,
    /// JSON; absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

/// One thing that was carried out, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// `apply`, `amend`, `delete`, `call`, `status`, `defaults`, `event`.
    pub verb: String,
    /// The object, or method and path of a call.
    pub on: String,
    /// The first field that made it necessary, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// HTTP status of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
}

/// What the calls of a round used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    pub micros: u64,
    pub memory_bytes: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}
