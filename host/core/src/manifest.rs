//! What a plugin says of itself (`describe`): what it implements, observes and asks to be allowed.
//!
//! The manifest is a wish list. What is granted is decided elsewhere; nothing here acts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::object::TypeRef;
use crate::part::FactPart;
use crate::reset::Resets;
use crate::select::says;

/// The JSON text that `describe` returns. Unknown fields are refused, so that a misspelt grant is an error, not a silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Lower-case, as in file names: `services-rigger`.
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub description: String,
    /// Of a plugin of the admission world, its checks: what each is called in a pipeline's `admission`, and what it sees. They
    /// plan nothing, so they write and call nothing.
    #[serde(default)]
    pub steps: Vec<StepManifest>,
    /// Only of a plugin of the policy world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyManifest>,
}

/// What a policy reviews, sees, and may change in the plans that it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyManifest {
    /// Names of the steps whose plans it is shown; `*` for every step.
    pub reviews: Vec<String>,
    /// Fields of the primary that are read, as in `StepManifest::primary`.
    #[serde(default)]
    pub primary: Vec<String>,
    #[serde(default)]
    pub observes: Vec<Observe>,
    #[serde(default)]
    pub facts: Vec<String>,
    /// Kinds that an amendment may add, change or remove in a plan. The step's own grants bound it as well.
    #[serde(default)]
    pub writes: Vec<TypeRef>,
    /// Calls that an amendment may add or change, as in `StepManifest::calls`.
    #[serde(default)]
    pub calls: Vec<String>,
    /// An amendment may change the plan's `status`.
    #[serde(default)]
    pub status: bool,
    /// The verdict depends on `now`.
    #[serde(default)]
    pub clock: bool,
    #[serde(default)]
    pub limits: Limits,
}

impl PolicyManifest {
    /// Whether it is shown the plans of this step.
    pub fn reviews(&self, step: &str) -> bool {
        self.reviews.iter().any(|it| it == "*" || it == step)
    }
}

/// One step that the plugin implements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepManifest {
    /// The step's name; a pipeline refers to it.
    pub name: String,
    /// Fields of the primary that are read: dotted paths. `spec`, `status.state`, `metadata.labels`.
    /// `metadata.name`, `namespace`, `uid`, `generation` and `deletionTimestamp` are always there.
    pub primary: Vec<String>,
    #[serde(default)]
    pub observes: Vec<Observe>,
    /// Names of facts, as the managed system offers them.
    #[serde(default)]
    pub facts: Vec<String>,
    /// Further facts, each read only for primaries that say something at this path: `ldap` → `spec.ldap`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts_when: BTreeMap<String, String>,
    /// What is read of a fact, by its name, where that is not all of it. A change of the rest is none for this step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fact_parts: BTreeMap<String, FactPart>,
    /// Kinds that the step's plan may hold in `desired` or `amended`.
    #[serde(default)]
    pub writes: Vec<TypeRef>,
    /// Fields that an amendment may take from another field manager.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<Takes>,
    /// Fields of the primary's spec that are requests, each with the value at which it rests: `spec.recover` → `false`. A plan
    /// whose `defaults` have such a field says that the request is done, and the host sets it back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resets: Resets,
    /// Fields of the primary's spec that follow something elsewhere, which the step reads too: `spec.copies`. What a plan's
    /// `defaults` say of such a field is put there, whatever stands there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub follows: BTreeSet<String>,
    /// Kinds of which the plan's `desired` may hold objects that are made once: one that is there is left as it is, to whoever
    /// it belongs, and none is ever deleted. They may be in any namespace that is watched.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub begins: BTreeSet<TypeRef>,
    /// The step may find that the primary has no object any more: a plan whose `notes` have `retire`, a text, has the host delete
    /// the primary, for that reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retires: bool,
    /// Secrets of the managed system's namespace whose values calls may hold, by name as in `Select::Names`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub system_secrets: BTreeSet<String>,
    /// Calls that the step's plan may hold: `GET /v1/bdbs`, `PUT /v1/bdbs/*`. A `*` stands for one path segment.
    #[serde(default)]
    pub calls: Vec<String>,
    /// The plan depends on `now`. Without it the time is not part of what decides whether the step is asked again.
    #[serde(default)]
    pub clock: bool,
    #[serde(default)]
    pub limits: Limits,
}

/// Fields of a kind among `writes` that an amendment may take from another field manager. Any other conflict is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Takes {
    pub api_version: String,
    pub kind: String,
    /// Dotted paths of at least two names: `spec.resources.requests.storage`. What is below a path is meant with it.
    pub fields: Vec<String>,
}

impl Takes {
    pub fn type_ref(&self) -> TypeRef {
        TypeRef::new(self.api_version.clone(), self.kind.clone())
    }
}

/// Which objects of a kind a step sees, under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observe {
    /// The name of the object set in the observation.
    pub name: String,
    pub api_version: String,
    pub kind: String,
    pub select: Select,
    /// In whose namespace they are looked for. What is `owned` is with its primary.
    #[serde(default, skip_serializing_if = "Within::is_primary")]
    pub within: Within,
    /// Fields that are read, as in `StepManifest::primary`.
    pub fields: Vec<String>,
    /// A dotted path: for primaries that say nothing there the set is empty, and the kind is not watched for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The operator may have no right to read the kind: its Role does not hold it, and a set that cannot be read holds one
    /// object, the `v1 Status` that says why. Without this, nothing is planned until the kind can be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// Whose namespace is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Within {
    /// The primary's.
    #[default]
    Primary,
    /// That of the managed system that the primary belongs to, which may be another one. Nothing is found while that cannot
    /// be told.
    System,
    /// Every namespace that is watched: objects that belong to the same managed system as the primary, wherever they are.
    /// Another operator's are not among them.
    SameSystem,
    /// Every namespace that is watched: objects of whichever system, but for another operator's.
    Anywhere,
}

impl Within {
    fn is_primary(&self) -> bool {
        *self == Self::Primary
    }
}

impl Observe {
    pub fn type_ref(&self) -> TypeRef {
        TypeRef::new(self.api_version.clone(), self.kind.clone())
    }

    /// Watched from the start, for every primary.
    pub fn is_required(&self) -> bool {
        !self.optional && self.when.is_none()
    }

    /// Whether it means anything for this primary.
    pub fn concerns(&self, primary: &serde_json::Value) -> bool {
        self.when.as_deref().is_none_or(|path| says(primary, path))
    }
}

/// How objects are chosen. `$(path)` in a value stands for that field of the primary, for example `$(metadata.name)`.
/// A value whose path is absent or empty selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Select {
    /// Objects that Stepwright made for this primary, whichever step did.
    Owned,
    /// Objects of the primary's namespace with all of these labels; of a cluster-scoped kind, all with these labels. No
    /// labels: every object of the kind there.
    Labels(BTreeMap<String, String>),
    /// Objects of the primary's namespace, or of a cluster-scoped kind, by name. `$(spec.list[].field)` stands for the field of each
    /// item of a list, and so for as many names.
    Names(Vec<String>),
}

/// What one call of a step or policy may use, and what one pass may ask for. Each is capped by the operator's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Sum over all linear memories and tables of an instance.
    pub memory_mib: u32,
    /// Wall time of one call, to within a tick of the epoch clock.
    pub milliseconds: u32,
    /// A deterministic bound: units of wasmtime's fuel, about one for each instruction. Absent: none is counted, and calls are
    /// a quarter faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Size of what one call may hand back, checked before it is lifted.
    pub plan_kib: u32,
    /// Lines that one call may log.
    pub log_lines: u32,
    /// Bytes that one call may log, over all lines.
    pub log_kib: u32,
    /// Objects, desired and amended, in one plan.
    pub objects: u32,
    /// Calls to the managed system in one round.
    pub calls: u32,
    /// Rounds of calls in one pass. A step that needs more goes on in the next pass.
    pub rounds: u32,
}

impl Default for Limits {
    /// Roomy for a step written in Rust.
    fn default() -> Self {
        Self {
            memory_mib: 64,
            milliseconds: 500,
            fuel: None,
            plan_kib: 4096,
            log_lines: 100,
            log_kib: 64,
            objects: 5_000,
            calls: 256,
            rounds: 8,
        }
    }
}
