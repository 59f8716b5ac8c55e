//! What an admission plugin is, what it is asked, and what it may answer.

use serde::de::DeserializeOwned;

use crate::failure::{Failure, Violation};
use crate::manifest::Manifest;
use crate::observation::{Object, ObjectRef, ObjectSet, Observation, RawFact};

/// A resource that is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name of the check: one of the manifest's.
    pub check: String,
    /// JSON text: the `request` member of an AdmissionReview, as the API server sent it.
    pub request: String,
    /// Object sets, as the manifest names them for the check.
    pub objects: Vec<ObjectSet>,
    /// Facts, as the manifest names them for the check.
    pub facts: Vec<RawFact>,
    /// JSON text.
    pub settings: String,
}

/// What was found wrong or doubtful.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Judged {
    /// None: it is admitted.
    pub violations: Vec<Violation>,
    /// Shown to whoever applied it, one in a line.
    pub warnings: Vec<String>,
}

/// An admission plugin: what it says of itself, and what it makes of resources.
pub trait Admission {
    /// What it checks and observes; see [`Manifest::check`].
    fn manifest() -> Manifest;

    /// Rules that the settings break; `settings` is JSON text, empty when there are none.
    fn validate_settings(settings: &str) -> Vec<Violation> {
        let _ = settings;
        Vec::new()
    }

    /// The judgement on one resource. Must depend on nothing but the question.
    ///
    /// # Errors
    /// What cannot be judged is admitted with a warning: whoever acts on the resource will judge it again.
    fn review(question: &Question) -> Result<Judged, Failure>;
}

/// Asks an admission plugin as the host does.
pub fn judge<A: Admission>(question: &Question) -> Judged {
    A::review(question).unwrap_or_else(|failure| match failure {
        Failure::Transient(reason) => {
            Judged { violations: Vec::new(), warnings: vec![format!("not checked as a whole: {reason}")] }
        }
        Failure::Invalid(violations) => Judged { violations, warnings: Vec::new() },
    })
}

impl Question {
    /// The request, as far as the type reads it.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn request<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.request)
            .map_err(|error| Failure::transient(format!("the request cannot be read: {error}")))
    }

    /// The same as a step would be asked about the resource if it were stored: what a step's rules can be run on. Object sets
    /// of `manifest`'s first step that were not asked for are empty, and facts unknown.
    ///
    /// # Errors
    /// When there is no resource in the request.
    pub fn for_step(&self, manifest: &Manifest) -> Result<Observation, Failure> {
        #[derive(serde::Deserialize)]
        struct Request {
            kind: Kind,
            #[serde(default)]
            namespace: String,
            object: serde_json::Value,
        }
        #[derive(serde::Deserialize)]
        struct Kind {
            #[serde(default)]
            group: String,
            version: String,
            kind: String,
        }
        let Request { kind, namespace, object } = self.request()?;
        let Kind { group, version, kind } = kind;
        let api_version = if group.is_empty() { version } else { format!("{group}/{version}") };
        let name = object.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let id = ObjectRef { api_version, kind, namespace: Some(namespace).filter(|it| !it.is_empty()), name };
        let step = manifest.steps().first();
        let mut objects = self.objects.clone();
        for name in step.iter().flat_map(|step| step.sets()) {
            if !objects.iter().any(|set| set.name == name) {
                objects.push(ObjectSet { name: name.to_owned(), objects: Vec::new() });
            }
        }
        Ok(Observation {
            step: step.map(|step| step.name().to_owned()).unwrap_or_default(),
            primary: Object { id, body: object.to_string() },
            deleting: false,
            objects,
            facts: self.facts.clone(),
            replies: Vec::new(),
            notes: Vec::new(),
            settings: "{}".to_owned(),
            round: 0,
            now: String::new(),
        })
    }
}
