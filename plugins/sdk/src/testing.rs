//! For tests of plugins: observations said in few words, plans as readable values. Not part of a built plugin.

mod asked;
pub mod schema;

pub use asked::Asked;

use serde_json::{Value, json};

use crate::observation::{Object, ObjectRef, ObjectSet, Observation, RawFact, Reply};
use crate::plan::{Plan, Progress, Wait};
use crate::policy::{Policy, Verdict};
use crate::{Failure, Plugin, document, review, run};

/// An observation under construction.
#[derive(Debug, Clone)]
pub struct Given {
    observation: Observation,
    /// `factParts` of the manifest.
    parts: serde_json::Map<String, Value>,
}

fn text(value: &Value, path: &str) -> Option<String> {
    value.pointer(path).and_then(Value::as_str).map(str::to_owned)
}

fn object(value: &Value) -> Object {
    Object {
        id: ObjectRef {
            api_version: text(value, "/apiVersion").unwrap_or_else(|| "v1".to_owned()),
            kind: text(value, "/kind").unwrap_or_default(),
            namespace: Some(text(value, "/metadata/namespace").unwrap_or_else(|| "ns".to_owned())),
            name: text(value, "/metadata/name").unwrap_or_default(),
        },
        body: value.to_string(),
    }
}

impl Given {
    /// Plugin `P` is asked about this primary; every object set of its manifest is there and empty, no fact is known.
    ///
    /// Identity is read from `apiVersion`, `kind` and `metadata`; the namespace is `ns` where it is not said.
    pub fn new<P: Plugin>(primary: &Value) -> Self {
        let manifest = serde_json::to_value(P::manifest()).unwrap_or_default();
        let step = manifest.pointer("/steps/0").cloned().unwrap_or_default();
        Self::asked(&text(&step, "/name").unwrap_or_default(), &step, primary)
    }

    /// Policy `P` is shown a plan that this step made for this primary; the rest as in [`Given::new`].
    pub fn planned_by<P: Policy>(step: &str, primary: &Value) -> Self {
        let manifest = serde_json::to_value(P::manifest()).unwrap_or_default();
        Self::asked(step, &manifest.get("policy").cloned().unwrap_or_default(), primary)
    }

    fn asked(step: &str, manifest: &Value, primary: &Value) -> Self {
        let names = |path: &str| -> Vec<Value> {
            manifest.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let objects = names("/observes")
            .iter()
            .filter_map(|observe| text(observe, "/name"))
            .map(|name| ObjectSet { name, objects: Vec::new() })
            .collect();
        let further =
            manifest.get("factsWhen").and_then(Value::as_object).into_iter().flat_map(|it| it.keys().cloned());
        let facts = names("/facts")
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .chain(further)
            .map(|name| RawFact { name, value: Err("not reachable".to_owned()) })
            .collect();
        let observation = Observation {
            step: step.to_owned(),
            primary: object(primary),
            deleting: primary.pointer("/metadata/deletionTimestamp").is_some(),
            objects,
            facts,
            replies: Vec::new(),
            notes: Vec::new(),
            settings: "{}".to_owned(),
            round: 0,
            now: "2026-01-01T00:00:00Z".to_owned(),
        };
        let parts = manifest.get("factParts").and_then(Value::as_object).cloned().unwrap_or_default();
        Self { observation, parts }
    }

    /// Adds an object to a set.
    pub fn object(mut self, set: &str, value: &Value) -> Self {
        match self.observation.objects.iter_mut().find(|known| known.name == set) {
            Some(known) => known.objects.push(object(value)),
            None => self.observation.objects.push(ObjectSet { name: set.into(), objects: vec![object(value)] }),
        }
        self
    }

    /// A set of objects that the operator may not read, and the API server's words for it.
    pub fn unreadable(mut self, set: &str, message: &str) -> Self {
        self.observation.objects.retain(|known| known.name != set);
        let status = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": message });
        let objects =
            vec![Object { id: ObjectRef { namespace: None, ..object(&status).id }, body: status.to_string() }];
        self.observation.objects.push(ObjectSet { name: set.into(), objects });
        self
    }

    /// What of the step's last plan was left undone: kind, name, reason and message.
    pub fn refused(self, kind: &str, name: &str, reason: &str, message: &str) -> Self {
        let refused = json!([{ "kind": kind, "name": name, "reason": reason, "message": message }]);
        self.note("stepwright.dev/refused", &refused)
    }

    /// Makes a fact known: of its fields those that the manifest says are read, of a list every item that is given here.
    pub fn fact(mut self, name: &str, value: &Value) -> Self {
        let mut value = value.clone();
        let fields = self.parts.get(name).and_then(|part| part.get("fields")?.as_array());
        if let Some(fields) = fields {
            let read = |field: &str| {
                let mut paths = fields.iter().filter_map(Value::as_str);
                paths.any(|path| path.split('.').next() == Some(field))
            };
            match &mut value {
                Value::Array(items) => {
                    items
                        .iter_mut()
                        .filter_map(Value::as_object_mut)
                        .for_each(|item| item.retain(|field, _| read(field)));
                }
                Value::Object(item) => item.retain(|field, _| read(field)),
                _ => {}
            }
        }
        self.observation.facts.retain(|fact| fact.name != name);
        self.observation.facts.push(RawFact { name: name.into(), value: Ok(value.to_string()) });
        self
    }

    /// Makes a fact unknown, for this reason.
    pub fn unknown(mut self, name: &str, reason: &str) -> Self {
        self.observation.facts.retain(|fact| fact.name != name);
        self.observation.facts.push(RawFact { name: name.into(), value: Err(reason.into()) });
        self
    }

    /// Adds a reply; the round becomes 1 unless it was said.
    pub fn reply(mut self, id: &str, status: u16, body: &Value) -> Self {
        self.observation.replies.push(Reply { id: id.into(), status, body: body.to_string() });
        self.observation.round = self.observation.round.max(1);
        self
    }

    /// What an earlier step noted.
    pub fn note(mut self, step: &str, note: &Value) -> Self {
        self.observation.notes.push((step.into(), note.to_string()));
        self
    }

    /// The step's settings.
    pub fn settings(mut self, settings: &Value) -> Self {
        self.observation.settings = settings.to_string();
        self
    }

    /// The round within the pass.
    pub fn round(mut self, round: u32) -> Self {
        self.observation.round = round;
        self
    }

    /// The time (RFC 3339, UTC).
    pub fn now(mut self, now: &str) -> Self {
        self.observation.now = now.to_owned();
        self
    }

    /// The primary is going away.
    pub fn deleting(mut self) -> Self {
        self.observation.deleting = true;
        self
    }

    /// The observation as it is now.
    pub fn observation(&self) -> &Observation {
        &self.observation
    }

    /// Asks the plugin.
    pub fn run<P: Plugin>(&self) -> Result<Plan, Failure> {
        run::<P>(&self.observation)
    }

    /// Shows the policy a plan.
    pub fn review<P: Policy>(&self, plan: &Plan) -> Verdict {
        review::<P>(&self.observation, plan)
    }
}

fn parsed(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| json!({ "not JSON": text })))
}

fn put(into: &mut serde_json::Map<String, Value>, key: &str, value: Value) {
    let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if !empty {
        into.insert(key.to_owned(), value);
    }
}

/// The plan's document after the verdict: patched as the host does it; `None` when nothing of the plan is carried out.
///
/// # Errors
/// The patch does not fit the document.
pub fn carried_out(plan: &Plan, verdict: &Verdict) -> Result<Option<Value>, String> {
    let mut document = document(plan).map_err(|failure| failure.to_string())?;
    match verdict {
        Verdict::Pass => Ok(Some(document)),
        Verdict::Amend(patch) => {
            let patch: json_patch::Patch = serde_json::from_str(patch).map_err(|error| error.to_string())?;
            json_patch::patch(&mut document, &patch).map_err(|error| error.to_string())?;
            Ok(Some(document))
        }
        Verdict::Deny(_) | Verdict::Hold { .. } => Ok(None),
    }
}

/// `{"a": 1}` over `{"a": 0, "b": 2}`, to any depth; `null` removes.
pub fn merged(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut all = base.clone();
            for (key, value) in over {
                let new = merged(base.get(key).unwrap_or(&Value::Null), value);
                if value.is_null() {
                    all.remove(key)
                } else {
                    all.insert(key.clone(), new)
                };
            }
            Value::Object(all)
        }
        _ => over.clone(),
    }
}

/// A plan with its bodies decoded, empty parts left out: for snapshots.
pub fn readable(plan: &Plan) -> Value {
    let objects = |objects: &[Object]| -> Value {
        objects
            .iter()
            .map(|object| {
                let ObjectRef { api_version, kind, namespace, name } = &object.id;
                json!({
                    "id": format!("{api_version} {kind} {}/{name}", namespace.as_deref().unwrap_or("-")),
                    "body": parsed(Some(&object.body)),
                })
            })
            .collect()
    };
    let calls: Value = plan
        .calls
        .iter()
        .map(|call| {
            let target = call.target.as_deref().unwrap_or("-");
            json!({
                "id": call.id,
                "request": format!("{} {} to {target}", call.method, call.path),
                "body": parsed(call.body.as_ref()),
            })
        })
        .collect();
    let events: Value = plan
        .events
        .iter()
        .map(|event| json!(format!("{:?} {}: {}", event.severity, event.reason, event.message)))
        .collect();
    let wait = |kind: &str, wait: &Wait| {
        let mut said = json!({ kind: wait.reason, "again": format!("{:?}", wait.again_in) });
        if let (Some(word), Some(said)) = (&wait.word, said.as_object_mut()) {
            said.insert("word".to_owned(), json!(word));
        }
        said
    };
    let mut all = serde_json::Map::new();
    put(
        &mut all,
        "progress",
        match &plan.progress {
            Progress::Done => json!("done"),
            Progress::Waiting(why) => wait("waiting", why),
            Progress::Blocked(why) => wait("blocked", why),
        },
    );
    put(&mut all, "desired", objects(&plan.desired));
    put(&mut all, "amended", objects(&plan.amended));
    put(&mut all, "calls", calls);
    put(&mut all, "status", parsed(plan.status.as_ref()));
    put(&mut all, "defaults", parsed(plan.defaults.as_ref()));
    put(&mut all, "events", events);
    put(&mut all, "notes", parsed(plan.notes.as_ref()));
    Value::Object(all)
}
