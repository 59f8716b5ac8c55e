//! What a plugin is for: the WIT world that it was built for.

use serde::{Deserialize, Serialize};

/// A world of the package `stepwright:plugin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum World {
    /// Plans.
    #[serde(rename = "step-plugin")]
    Step,
    /// Reviews plans.
    #[serde(rename = "policy-plugin")]
    Policy,
    /// Answers the API server.
    #[serde(rename = "admission-plugin")]
    Admission,
}

impl World {
    pub const ALL: [Self; 3] = [Self::Step, Self::Policy, Self::Admission];

    /// The world's name in WIT.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step-plugin",
            Self::Policy => "policy-plugin",
            Self::Admission => "admission-plugin",
        }
    }

    /// The exported interface that marks it.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Policy => "policy",
            Self::Admission => "admission",
        }
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
