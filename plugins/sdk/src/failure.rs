//! Why a step made no plan.

/// A rule that the primary's spec breaks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// JSON path, for example `spec.nodes`.
    pub field: String,
    /// The rule and the remedy, in words.
    pub message: String,
}

impl Violation {
    /// A broken rule.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
pub enum Failure {
    /// Trying again later may help.
    #[error("{0}")]
    Transient(String),
    /// Only a change of the spec can help. What runs already is left alone.
    #[error("the spec breaks {} rule(s)", .0.len())]
    Invalid(Vec<Violation>),
}

impl Failure {
    /// Trying again later may help.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient(reason.into())
    }

    /// One rule that the spec breaks.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, message)])
    }

    /// `Ok` when the list is empty: the end of a function that collects violations.
    pub fn unless_empty(violations: Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() { Ok(()) } else { Err(Self::Invalid(violations)) }
    }
}
