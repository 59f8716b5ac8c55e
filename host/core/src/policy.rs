//! What a policy answers (WIT `policy`). Plain data; what becomes of a plan is decided elsewhere.

use serde::{Deserialize, Serialize};

/// What a policy makes of a step's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    Pass,
    /// A JSON Patch (RFC 6902), as JSON text, over the plan's objects, calls and status as one document.
    Amend(String),
    /// Not like this: nothing of the plan is carried out.
    Deny(String),
    /// Not now: asked again at that time (RFC 3339, UTC).
    Hold {
        until: String,
        reason: String,
    },
}

impl Verdict {
    /// A metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Amend(_) => "amend",
            Self::Deny(_) => "deny",
            Self::Hold { .. } => "hold",
        }
    }
}
