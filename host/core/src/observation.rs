//! What a step is given (WIT `observation`). Built by the operator from its caches, consumed by a guest.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::object::{Object, ObjectRef};

/// The name of the note in which a step finds what of its last plan was left undone, as a list of [`Refused`]. No step can
/// have this name.
pub const REFUSED_NOTE: &str = "stepwright.dev/refused";

/// An effect of the step's last plan that was not carried out, while the rest was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub kind: String,
    pub name: String,
    /// The first field that it would have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// One stable word, as in conditions.
    pub reason: String,
    pub message: String,
}

/// The objects behind one `observes` entry of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSet {
    pub name: String,
    /// Of an optional set that could not be read, one object: the `v1 Status` that says why.
    pub objects: Vec<Object>,
}

impl ObjectSet {
    /// A set that could not be read, so that nobody takes it for an empty one. `status` is a Kubernetes `Status`.
    pub fn unreadable(name: String, status: &Value) -> Self {
        let id = ObjectRef { api_version: "v1".into(), kind: "Status".into(), namespace: None, name: String::new() };
        Self { name, objects: vec![Object { id, body: status.to_string() }] }
    }
}

/// A Kubernetes `Status` of a failure.
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// One thing known of the managed system; the error says why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    /// JSON text, secret values already replaced by fingerprints.
    pub value: Result<String, String>,
}

/// The answer to a call of the round before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub id: String,
    /// HTTP status; 0 when no answer came, and then `body` is the reason as a JSON string.
    pub status: u16,
    pub body: String,
}

/// All that a step may base its plan on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub step: String,
    pub primary: Object,
    pub deleting: bool,
    pub objects: Vec<ObjectSet>,
    pub facts: Vec<Fact>,
    pub replies: Vec<Reply>,
    /// What earlier steps of this pass noted: step name, JSON text.
    pub notes: Vec<(String, String)>,
    /// JSON text.
    pub settings: String,
    pub round: u32,
    /// RFC 3339, UTC.
    pub now: String,
}

impl Observation {
    /// A digest of everything but the time, which counts only for steps whose manifest asks for the clock.
    ///
    /// Equal digests mean that a pure step gives the same plan again, so it need not be asked.
    pub fn digest(&self, with_clock: bool) -> [u8; 32] {
        let mut hash = Sha256::new();
        // Each field is preceded by its length, so that no two observations run together into the same bytes.
        let mut put = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let put_object = |put: &mut dyn FnMut(&[u8]), object: &Object| {
            put(object.id.api_version.as_bytes());
            put(object.id.kind.as_bytes());
            put(object.id.namespace.as_deref().unwrap_or("").as_bytes());
            put(object.id.name.as_bytes());
            put(object.body.as_bytes());
        };
        put(self.step.as_bytes());
        put_object(&mut put, &self.primary);
        put(&[u8::from(self.deleting)]);
        put(&(self.objects.len() as u64).to_le_bytes());
        for set in &self.objects {
            put(set.name.as_bytes());
            put(&(set.objects.len() as u64).to_le_bytes());
            for object in &set.objects {
                put_object(&mut put, object);
            }
        }
        put(&(self.facts.len() as u64).to_le_bytes());
        for fact in &self.facts {
            put(fact.name.as_bytes());
            match &fact.value {
                Ok(value) => {
                    put(b"ok");
                    put(value.as_bytes());
                }
                Err(reason) => {
                    put(b"err");
                    put(reason.as_bytes());
                }
            }
        }
        put(&(self.replies.len() as u64).to_le_bytes());
        for reply in &self.replies {
            put(reply.id.as_bytes());
            put(&reply.status.to_le_bytes());
            put(reply.body.as_bytes());
        }
        for (step, note) in &self.notes {
            put(step.as_bytes());
            put(note.as_bytes());
        }
        put(self.settings.as_bytes());
        put(&self.round.to_le_bytes());
        if with_clock {
            put(self.now.as_bytes());
        }
        hash.finalize().into()
    }

    /// Bytes that cross into the sandbox, bodies only: a size for logs and metrics.
    pub fn size(&self) -> usize {
        self.primary.body.len()
            + self.objects.iter().flat_map(|set| &set.objects).map(|object| object.body.len()).sum::<usize>()
            + self.facts.iter().map(|fact| fact.value.as_ref().map_or_else(String::len, String::len)).sum::<usize>()
            + self.replies.iter().map(|reply| reply.body.len()).sum::<usize>()
    }
}
