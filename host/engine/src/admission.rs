//! What an admission plugin is asked and answers (WIT `admission`). Plain data; nothing here speaks to the API server.

use stepwright_core::observation::ObjectSet;
use stepwright_core::plan::Violation;

/// A resource that is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// JSON text: the `request` member of an AdmissionReview.
    pub request: String,
    pub objects: Vec<ObjectSet>,
    /// JSON text.
    pub settings: String,
}

/// Whether it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Empty: admitted.
    pub violations: Vec<Violation>,
    pub warnings: Vec<String>,
}
