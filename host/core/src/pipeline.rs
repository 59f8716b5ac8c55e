//! Which steps reconcile a kind, in which order. Data: the core knows of no kind by name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::TypeRef;

/// The steps of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pipeline {
    pub api_version: String,
    pub kind: String,
    /// Names of steps, in order. None: the kind is not reconciled here.
    pub steps: Vec<String>,
    /// Names of the checks that are asked before such a resource is stored, in order. No step may have the name of a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admission: Vec<String>,
    /// Put on the primary before anything is done for it, taken off when every step says that nothing is left to undo.
    #[serde(default)]
    pub finalizer: Option<String>,
    /// Primaries in namespaces that are watched besides the operator's own are reconciled as well. Another operator may do
    /// the same, so each primary is claimed by one of them.
    #[serde(default)]
    pub in_guests: bool,
    /// Merged into the status when a step finds the spec invalid: the vendor's words for it.
    #[serde(default)]
    pub invalid_status: Option<Value>,
}

impl Pipeline {
    pub fn type_ref(&self) -> TypeRef {
        TypeRef::new(self.api_version.clone(), self.kind.clone())
    }
}
