//! What a step is given, and how its JSON bodies become the author's own types.

use std::ops::Deref;

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Names one Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `ConfigMap`.
    pub kind: String,
    /// `None` for a cluster-scoped object; in a plan, `None` also stands for the primary's namespace.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

/// A Kubernetes object, its body as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Who it is.
    pub id: ObjectRef,
    /// JSON text.
    pub body: String,
}

/// The objects behind one `observes` entry of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSet {
    /// As in the manifest.
    pub name: String,
    /// As last seen.
    pub objects: Vec<Object>,
}

/// A fact as it crossed: its JSON text, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFact {
    /// As in the manifest.
    pub name: String,
    /// JSON text, or a reason.
    pub value: Result<String, String>,
}

/// The answer to a call of the round before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The call's.
    pub id: String,
    /// HTTP status; 0 when no answer came, and then `body` is the reason as a JSON string.
    pub status: u16,
    /// JSON text; may be empty.
    pub body: String,
}

/// All that a step may base its plan on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The step that is asked.
    pub step: String,
    /// The custom resource that is being reconciled.
    pub primary: Object,
    /// The primary is going away: undo.
    pub deleting: bool,
    /// Object sets, as the manifest names them.
    pub objects: Vec<ObjectSet>,
    /// Facts, as the manifest names them.
    pub facts: Vec<RawFact>,
    /// Answers to the calls of the round before this one.
    pub replies: Vec<Reply>,
    /// What earlier steps of this pass noted: step name, JSON text.
    pub notes: Vec<(String, String)>,
    /// JSON text.
    pub settings: String,
    /// 0, 1, 2 … within one pass.
    pub round: u32,
    /// RFC 3339, UTC. Only for steps whose manifest asks for the clock.
    pub now: String,
}

/// An object of a set, decoded. Reads like the decoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed<T> {
    /// Who it is.
    pub id: ObjectRef,
    /// The fields that the author's type names.
    pub value: T,
}

impl<T> Deref for Observed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One thing of the managed system, decoded. Not to know is a fact too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// What it answered.
    Known(T),
    /// Why it is not known.
    Unknown(String),
}

impl<T> Fact<T> {
    /// What is known, if it is.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why it is not known, if it is not.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }
}

/// The name of the note in which the host says what of the step's last plan was left undone.
const REFUSED_NOTE: &str = "stepwright.dev/refused";

/// An effect of the step's last plan that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Refused {
    /// `PersistentVolumeClaim`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// The first field that it would have changed.
    #[serde(default)]
    pub field: Option<String>,
    /// One stable word: `Forbidden`, `FieldConflict`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Why a set could not be read: it holds the `v1 Status` that the API server answered with.
fn unreadable(set: &ObjectSet) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    let [object] = set.objects.as_slice() else { return None };
    if object.id.kind != "Status" || object.id.api_version != "v1" {
        return None;
    }
    Some(serde_json::from_str::<Status>(&object.body).map_or_else(|_| object.body.clone(), |status| status.message))
}

/// Settings from their JSON text. None at all (empty text, or `null`) are the type's answer to an empty object.
pub fn parse_settings<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let text = text.trim();
    serde_json::from_str(if matches!(text, "" | "null") { "{}" } else { text })
}

impl Observation {
    /// The primary's name.
    pub fn name(&self) -> &str {
        &self.primary.id.name
    }

    /// The primary's namespace; empty for a cluster-scoped one.
    pub fn namespace(&self) -> &str {
        self.primary.id.namespace.as_deref().unwrap_or_default()
    }

    /// The primary. One that does not fit the type breaks the spec's rules, not ours.
    pub fn primary<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.primary.body)
            .map_err(|error| Failure::invalid("spec", format!("cannot be read: {error}")))
    }

    /// The objects of a set. An absent set is a mistake of the plugin's manifest, and is told.
    pub fn set<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<Observed<T>>, Failure> {
        let set = self.objects.iter().find(|set| set.name == name);
        let set = set.ok_or_else(|| Failure::transient(format!("the manifest does not observe `{name}`")))?;
        if let Some(why) = unreadable(set) {
            return Err(Failure::transient(format!("`{name}` cannot be read: {why}")));
        }
        let mut decoded = Vec::with_capacity(set.objects.len());
        for object in &set.objects {
            let value = serde_json::from_str(&object.body).map_err(|error| {
                Failure::transient(format!("{} `{}` cannot be read: {error}", object.id.kind, object.id.name))
            })?;
            decoded.push(Observed { id: object.id.clone(), value });
        }
        Ok(decoded)
    }

    /// The objects of a set whose entry in the manifest is optional, or why they cannot be read.
    pub fn optional_set<T: DeserializeOwned>(&self, name: &str) -> Result<Fact<Vec<Observed<T>>>, Failure> {
        match self.objects.iter().find(|set| set.name == name).and_then(unreadable) {
            Some(why) => Ok(Fact::Unknown(why)),
            None => self.set(name).map(Fact::Known),
        }
    }

    /// What of this step's last plan was left undone, while the rest was carried out: amendments that the API server refused,
    /// and fields of others that were not taken.
    pub fn refused(&self) -> Vec<Refused> {
        self.note(REFUSED_NOTE).ok().flatten().unwrap_or_default()
    }

    /// A fact. One that does not fit the type is not known.
    pub fn fact<T: DeserializeOwned>(&self, name: &str) -> Fact<T> {
        match self.facts.iter().find(|fact| fact.name == name).map(|fact| &fact.value) {
            Some(Ok(text)) => match serde_json::from_str(text) {
                Ok(value) => Fact::Known(value),
                Err(error) => Fact::Unknown(format!("`{name}` cannot be read: {error}")),
            },
            Some(Err(reason)) => Fact::Unknown(reason.clone()),
            None => Fact::Unknown(format!("the manifest does not ask for the fact `{name}`, or not for this primary")),
        }
    }

    /// The step's settings; without any, the type's answer to an empty object.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        parse_settings(&self.settings).map_err(|error| Failure::transient(format!("settings cannot be read: {error}")))
    }

    /// What an earlier step of this pass noted, if it did.
    pub fn note<T: DeserializeOwned>(&self, step: &str) -> Result<Option<T>, Failure> {
        let Some((_, text)) = self.notes.iter().find(|(name, _)| name == step) else { return Ok(None) };
        serde_json::from_str(text)
            .map(Some)
            .map_err(|error| Failure::transient(format!("the note of step `{step}` cannot be read: {error}")))
    }

    /// The answer to a call of the round before.
    pub fn reply(&self, id: &str) -> Option<&Reply> {
        self.replies.iter().find(|reply| reply.id == id)
    }
}

impl Reply {
    /// The system said yes.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body, if it fits.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.body).ok()
    }

    /// What went wrong, in the system's own words: at most 300 characters, whatever shape the body has.
    pub fn error_text(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Shape {
            error_code: Option<String>,
            message: Option<String>,
            description: Option<String>,
            detail: Option<String>,
        }
        let text = match self.json::<Shape>() {
            Some(shape) => {
                let words = shape.message.or(shape.description).or(shape.detail);
                let said: Vec<_> = shape.error_code.into_iter().chain(words).collect();
                said.join(": ")
            }
            None => self.json::<String>().unwrap_or_else(|| self.body.clone()),
        };
        let text: String = text.trim().chars().take(300).collect();
        match (self.status, text.is_empty()) {
            (0, true) => "no answer".to_owned(),
            (0, false) => text,
            (status, true) => format!("HTTP status {status}"),
            (status, false) => format!("HTTP status {status}, {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, text: &str) {
        assert_eq!(Reply { id: "x".into(), status, body: body.into() }.error_text(), text);
    }

    #[test]
    fn error_text_takes_any_shape() {
        check(
            406,
            r#"{"error_code":"port_unavailable","message":"12000"}"#,
            "HTTP status 406, port_unavailable: 12000",
        );
        check(503, r#"{"error_code":"no_quorum","description":"lost"}"#, "HTTP status 503, no_quorum: lost");
        check(400, r#"{"type":"about:blank","status":400,"detail":"None"}"#, "HTTP status 400, None");
        check(502, "<html>Bad Gateway</html>", "HTTP status 502, <html>Bad Gateway</html>");
        check(500, "", "HTTP status 500");
        check(0, r#""connection refused""#, "connection refused");
    }
}
