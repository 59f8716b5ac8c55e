//! What an admission plugin is asked and answers (WIT `admission`). Plain data; nothing here speaks to the API server.

use crate::observation::{Fact, ObjectSet};
use crate::plan::Violation;

/// A resource that is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name of the check, as a pipeline's `admission` and the plugin's manifest have it.
    pub check: String,
    /// JSON text: the `request` member of an AdmissionReview.
    pub request: String,
    pub objects: Vec<ObjectSet>,
    pub facts: Vec<Fact>,
    /// JSON text.
    pub settings: String,
}

impl Question {
    /// Bytes that cross into the sandbox, bodies only: a size for logs and metrics.
    pub fn size(&self) -> usize {
        self.request.len()
            + self.objects.iter().flat_map(|set| &set.objects).map(|object| object.body.len()).sum::<usize>()
            + self.facts.iter().map(|fact| fact.value.as_ref().map_or_else(String::len, String::len)).sum::<usize>()
    }
}

/// Whether it may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Empty: admitted.
    pub violations: Vec<Violation>,
    pub warnings: Vec<String>,
}
