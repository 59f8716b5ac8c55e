//! What a step returns (WIT `plan` and `failure`). Still a wish: only `admit` turns it into something to carry out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::object::Object;

/// A request to the managed system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub id: String,
    /// Which member is asked; `None`: whichever answers for the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub method: String,
    pub path: String,
    /// JSON text, may hold `$secretKeyRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Severity of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    Normal,
    Warning,
}

/// A Kubernetes Event about the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub severity: Severity,
    pub reason: String,
    pub message: String,
}

/// Why a step is not done yet, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What scripts look for, in the condition `Ready`; none = `Waiting`.
    #[serde(default)]
    pub word: Option<String>,
    /// For people.
    pub reason: String,
    pub again_in: Option<Duration>,
}

/// How far a step has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// The desired state is reached.
    Done,
    /// On its way; later steps run all the same.
    Waiting(Wait),
    /// Later steps of this pass must not run.
    Blocked(Wait),
}

/// A step's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub desired: Vec<Object>,
    pub amended: Vec<Object>,
    pub calls: Vec<Call>,
    /// JSON text.
    pub status: Option<String>,
    /// JSON text: fields of `spec`.
    pub defaults: Option<String>,
    pub events: Vec<Event>,
    /// JSON text.
    pub notes: Option<String>,
    pub progress: Progress,
}

impl Plan {
    /// A plan that wants nothing and is done.
    pub fn done() -> Self {
        Self {
            desired: Vec::new(),
            amended: Vec::new(),
            calls: Vec::new(),
            status: None,
            defaults: None,
            events: Vec::new(),
            notes: None,
            progress: Progress::Done,
        }
    }

    /// Bytes that came out of the sandbox, bodies only: a size for logs and metrics.
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.desired.iter().chain(&self.amended).map(|object| object.body.len()).sum::<usize>()
            + self.calls.iter().map(|call| call.path.len() + text(&call.body)).sum::<usize>()
            + self.events.iter().map(|event| event.message.len()).sum::<usize>()
            + text(&self.status)
            + text(&self.defaults)
            + text(&self.notes)
    }
}

/// A rule that the primary's spec breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON path, for example `spec.nodes`.
    pub field: String,
    pub message: String,
}

/// Why a step made no plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Trying again later may help.
    Transient(String),
    /// Only a change of the spec can help. What runs already is left alone.
    Invalid(Vec<Violation>),
}
