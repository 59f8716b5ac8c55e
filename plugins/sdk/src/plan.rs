//! What a step returns, and the builder that writes it.

use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::observation::{Object, ObjectRef, Observation};

/// Severity of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Normal,
    /// Somebody should look.
    Warning,
}

/// A Kubernetes Event about the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whether somebody should look.
    pub severity: Severity,
    /// PascalCase and stable: people alert on it.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl Event {
    /// Good to know.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason: reason.into(), message: message.into() }
    }

    /// Somebody should look.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason: reason.into(), message: message.into() }
    }
}

/// A request to the managed system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The reply carries it back.
    pub id: String,
    /// Which member is asked; `None`: whichever answers for the whole.
    pub target: Option<String>,
    /// `GET`, `POST`, `PUT`, `DELETE`.
    pub method: String,
    /// With the leading slash.
    pub path: String,
    /// JSON text.
    pub body: Option<String>,
    fault: Option<String>,
}

impl Call {
    /// A call. The id is the author's choice.
    pub fn new(id: impl Into<String>, method: &str, path: impl Into<String>) -> Self {
        Self { id: id.into(), target: None, method: method.into(), path: path.into(), body: None, fault: None }
    }

    /// `GET`.
    pub fn get(id: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(id, "GET", path)
    }

    /// `POST`.
    pub fn post(id: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(id, "POST", path)
    }

    /// `PUT`.
    pub fn put(id: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(id, "PUT", path)
    }

    /// `DELETE`.
    pub fn delete(id: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(id, "DELETE", path)
    }

    /// Asks this member alone.
    pub fn target(mut self, member: impl Into<String>) -> Self {
        self.target = Some(member.into());
        self
    }

    /// Sends this; it may hold [`crate::secret_ref`].
    pub fn body(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(text) => self.body = Some(text),
            Err(error) => self.fault = Some(format!("the body of call `{}` cannot be written: {error}", self.id)),
        }
        self
    }
}

/// Why a step is not done yet, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// One word in PascalCase, always the same for this kind of wait: the reason of the condition `Ready`. Without one it is `Waiting`.
    pub word: Option<String>,
    /// In words, for the status.
    pub reason: String,
    /// Look again after this long, or sooner when something observed changes.
    pub again_in: Option<Duration>,
}

/// How far a step has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The desired state is reached.
    Done,
    /// On its way; later steps run all the same.
    Waiting(Wait),
    /// Later steps of this pass must not run.
    Blocked(Wait),
}

impl Progress {
    /// Says what is waited for in one word ([`Wait::word`]), unless that was said. Of what is done it says nothing.
    pub fn waits_for(&mut self, word: impl Into<String>) {
        if let Self::Waiting(wait) | Self::Blocked(wait) = self {
            wait.word.get_or_insert_with(|| word.into());
        }
    }
}

/// A step's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Objects as this step wants them. One that it wanted before and no longer lists is deleted.
    pub desired: Vec<Object>,
    /// Fields that this step sets on objects that somebody else makes.
    pub amended: Vec<Object>,
    /// Requests to the managed system.
    pub calls: Vec<Call>,
    /// JSON text: the fields of the primary's status that this step owns.
    pub status: Option<String>,
    /// JSON text: fields of the primary's spec that the user left empty, and requests that are done.
    pub defaults: Option<String>,
    /// Events about the primary: for change only, not for each pass.
    pub events: Vec<Event>,
    /// JSON text for later steps; a list under `unsupported` becomes a condition.
    pub notes: Option<String>,
    /// How far the step has come.
    pub progress: Progress,
    fault: Option<String>,
}

impl Plan {
    /// The desired state is reached.
    pub fn done() -> Self {
        Self::with(Progress::Done)
    }

    /// On its way; later steps run all the same.
    pub fn waiting(reason: impl Into<String>, again_in: impl Into<Option<Duration>>) -> Self {
        Self::with(Progress::Waiting(Wait { word: None, reason: reason.into(), again_in: again_in.into() }))
    }

    /// Later steps of this pass must not run.
    pub fn blocked(reason: impl Into<String>, again_in: impl Into<Option<Duration>>) -> Self {
        Self::with(Progress::Blocked(Wait { word: None, reason: reason.into(), again_in: again_in.into() }))
    }

    /// Says what it waits for in one word ([`Wait::word`]). Of a plan that is done it says nothing.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.progress.waits_for(word);
        self
    }

    /// An empty plan of this progress.
    pub fn with(progress: Progress) -> Self {
        Self {
            desired: Vec::new(),
            amended: Vec::new(),
            calls: Vec::new(),
            status: None,
            defaults: None,
            events: Vec::new(),
            notes: None,
            progress,
            fault: None,
        }
    }

    /// Wants an object in the primary's namespace: only the fields that are meant, without identity.
    pub fn desire(mut self, api_version: &str, kind: &str, name: impl Into<String>, body: &impl Serialize) -> Self {
        let object = self.object(api_version, kind, name.into(), body);
        self.desired.extend(object);
        self
    }

    /// Makes an object, of a kind that the manifest [begins](crate::StepManifest::begins), where it is not there; what is there is left
    /// as it is.
    pub fn begin(
        mut self,
        api_version: &str,
        kind: &str,
        namespace: impl Into<String>,
        name: impl Into<String>,
        body: &impl Serialize,
    ) -> Self {
        let mut object = self.object(api_version, kind, name.into(), body);
        if let Some(object) = &mut object {
            object.id.namespace = Some(namespace.into());
        }
        self.desired.extend(object);
        self
    }

    /// Sets fields on an object in the primary's namespace that somebody else makes.
    pub fn amend(mut self, api_version: &str, kind: &str, name: impl Into<String>, body: &impl Serialize) -> Self {
        let object = self.object(api_version, kind, name.into(), body);
        self.amended.extend(object);
        self
    }

    /// Asks the managed system.
    pub fn call(mut self, mut call: Call) -> Self {
        self.fault = self.fault.or(call.fault.take());
        self.calls.push(call);
        self
    }

    /// The fields of the primary's status that this step owns.
    pub fn status(mut self, status: &impl Serialize) -> Self {
        self.status = self.json("status", status);
        self
    }

    /// Fields of the primary's spec that the user left empty; and requests in it that are done, with their resting values
    /// ([`StepManifest::resets`](crate::StepManifest::resets)).
    pub fn defaults(mut self, spec: &impl Serialize) -> Self {
        self.defaults = self.json("defaults", spec);
        self
    }

    /// Tells an Event.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Leaves a note for later steps.
    pub fn note(mut self, note: &impl Serialize) -> Self {
        self.notes = self.json("note", note);
        self
    }

    /// The same plan with another progress.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    fn json(&mut self, what: &str, value: &impl Serialize) -> Option<String> {
        match serde_json::to_string(value) {
            Ok(text) => Some(text),
            Err(error) => {
                self.fault = Some(format!("the {what} cannot be written: {error}"));
                None
            }
        }
    }

    fn object(&mut self, api_version: &str, kind: &str, name: String, body: &impl Serialize) -> Option<Object> {
        let body = self.json(&format!("{kind} `{name}`"), body)?;
        let id = ObjectRef { api_version: api_version.into(), kind: kind.into(), namespace: None, name };
        Some(Object { id, body })
    }

    /// Fills in the primary's namespace; a body that could not be written makes the whole plan fail.
    pub(crate) fn complete(mut self, observed: &Observation) -> Result<Self, Failure> {
        if let Some(fault) = self.fault.take() {
            return Err(Failure::Transient(fault));
        }
        for object in self.desired.iter_mut().chain(&mut self.amended) {
            if object.id.namespace.is_none() {
                object.id.namespace.clone_from(&observed.primary.id.namespace);
            }
        }
        Ok(self)
    }
}
