//! The plan as the document that an amendment is a patch of, and the patch under construction.
//!
//! What a policy may change is the host's to check; here a patch is only written so that it fits.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::observation::Object;
use crate::plan::Plan;
use crate::policy::Verdict;

/// The plan as one JSON document:
///
/// ```json
/// {"desired": [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "rec"}, "spec": {}}], "amended": [],
///  "calls": [{"id": "create", "target": null, "method": "POST", "path": "/v1/bdbs", "body": {}}], "status": null}
/// ```
///
/// Objects are sorted by kind and then by name, calls by id, so that the same plan is the same document. In `metadata` is the
/// namespace, too, where an object has one.
///
/// # Errors
/// A body that is no JSON object.
pub fn document(plan: &Plan) -> Result<Value, Failure> {
    let objects = |objects: &[Object]| -> Result<Value, Failure> {
        let mut sorted: Vec<&Object> = objects.iter().collect();
        sorted.sort_by(|a, b| (&a.id.kind, &a.id.name).cmp(&(&b.id.kind, &b.id.name)));
        sorted.into_iter().map(whole).collect()
    };
    let mut calls: Vec<_> = plan.calls.iter().collect();
    calls.sort_by(|a, b| a.id.cmp(&b.id));
    let mut shown = Vec::with_capacity(calls.len());
    for call in calls {
        let body = parsed(call.body.as_deref(), || format!("the body of call `{}`", call.id))?;
        shown.push(json!({
            "id": call.id, "target": call.target, "method": call.method, "path": call.path, "body": body,
        }));
    }
    Ok(json!({
        "desired": objects(&plan.desired)?,
        "amended": objects(&plan.amended)?,
        "calls": shown,
        "status": parsed(plan.status.as_deref(), || "the status".to_owned())?,
    }))
}

fn parsed(text: Option<&str>, what: impl FnOnce() -> String) -> Result<Value, Failure> {
    let Some(text) = text else { return Ok(Value::Null) };
    serde_json::from_str(text).map_err(|error| Failure::transient(format!("{} cannot be read: {error}", what())))
}

/// The body with what the identity says.
fn whole(object: &Object) -> Result<Value, Failure> {
    let what = || format!("the body of {} `{}`", object.id.kind, object.id.name);
    let mut body = parsed(Some(&object.body), what)?;
    let no_object = || Failure::transient(format!("{} is no JSON object", what()));
    let fields = body.as_object_mut().ok_or_else(no_object)?;
    fields.insert("apiVersion".into(), Value::from(object.id.api_version.as_str()));
    fields.insert("kind".into(), Value::from(object.id.kind.as_str()));
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let metadata = metadata.as_object_mut().ok_or_else(no_object)?;
    metadata.insert("name".into(), Value::from(object.id.name.as_str()));
    if let Some(namespace) = &object.id.namespace {
        metadata.insert("namespace".into(), Value::from(namespace.as_str()));
    }
    Ok(body)
}

/// Where something is in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    part: &'static str,
    index: usize,
    /// Of the object, or the id of the call.
    pub name: String,
}

/// The way to a field: `"spec.type"`, or `["metadata", "labels", "example.com/team"]` where names hold dots.
/// In a list, a number stands for an entry and `-` for the one behind the last.
pub trait Path {
    /// The names on the way.
    fn segments(&self) -> Vec<&str>;
}

impl Path for &str {
    fn segments(&self) -> Vec<&str> {
        self.split('.').collect()
    }
}

impl<const N: usize> Path for [&str; N] {
    fn segments(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Path for &[&str] {
    fn segments(&self) -> Vec<&str> {
        self.to_vec()
    }
}

/// Changes to a plan under construction. What is already as it is to be is no change.
#[derive(Debug, Clone)]
pub struct Amendment {
    document: Value,
    patch: Vec<Value>,
}

impl Amendment {
    /// No change yet.
    ///
    /// # Errors
    /// A body that is no JSON object.
    pub fn new(plan: &Plan) -> Result<Self, Failure> {
        Ok(Self { document: document(plan)?, patch: Vec::new() })
    }

    /// The plan's document, with the changes so far.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The desired objects of a kind, whichever their API version.
    pub fn desired(&self, kind: &str) -> Vec<Place> {
        self.objects("desired", kind)
    }

    /// The amended objects of a kind, whichever their API version.
    pub fn amended(&self, kind: &str) -> Vec<Place> {
        self.objects("amended", kind)
    }

    /// The calls.
    pub fn calls(&self) -> Vec<Place> {
        self.entries("calls", "/id", |_| true)
    }

    fn objects(&self, part: &'static str, kind: &str) -> Vec<Place> {
        self.entries(part, "/metadata/name", |object| object.get("kind").and_then(Value::as_str) == Some(kind))
    }

    fn entries(&self, part: &'static str, name: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Place> {
        let entries = self.document.get(part).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let wanted = entries.iter().enumerate().filter(|(_, entry)| wanted(entry));
        let name = |entry: &Value| entry.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        wanted.map(|(index, entry)| Place { part, index, name: name(entry) }).collect()
    }

    /// The value of a field, if it is there.
    pub fn get(&self, place: &Place, path: impl Path) -> Option<&Value> {
        self.document.pointer(&pointer(place, &path.segments()))
    }

    /// Sets a field. What is missing on the way to it is made; `null` counts as missing.
    ///
    /// # Errors
    /// Something on the way is neither an object nor a list with that entry, or the value cannot be written.
    pub fn set(&mut self, place: &Place, path: impl Path, value: &impl Serialize) -> Result<(), Failure> {
        let segments = path.segments();
        let failed = |why: &str| {
            let Place { part, name, .. } = place;
            Failure::transient(format!("`{}` of `{name}` ({part}) cannot be set: {why}", segments.join(".")))
        };
        let value = serde_json::to_value(value).map_err(|error| failed(&error.to_string()))?;
        if self.document.pointer(&pointer(place, &segments)) == Some(&value) {
            return Ok(());
        }
        // The longest way that is there, and what is added below it as one value.
        let mut there = segments.len().saturating_sub(1);
        while there > 0 && is_missing(self.document.pointer(&pointer(place, segments.get(..there).unwrap_or_default())))
        {
            there -= 1;
        }
        let (way, below) = segments.split_at_checked(there + 1).ok_or_else(|| failed("the path is empty"))?;
        let value = below.iter().rev().fold(value, |inner, name| json!({ *name: inner }));
        let (parent, name) = (segments.get(..there).unwrap_or_default(), way.last().copied().unwrap_or_default());
        match self.document.pointer_mut(&pointer(place, parent)) {
            Some(Value::Object(fields)) => {
                fields.insert(name.to_owned(), value.clone());
                self.patch.push(json!({ "op": "add", "path": pointer(place, way), "value": value }));
            }
            Some(Value::Array(entries)) if name == "-" => {
                entries.push(value.clone());
                self.patch.push(json!({ "op": "add", "path": pointer(place, way), "value": value }));
            }
            Some(Value::Array(entries)) => {
                let entry = index(name).and_then(|index| entries.get_mut(index));
                *entry.ok_or_else(|| failed("the list has no such entry"))? = value.clone();
                self.patch.push(json!({ "op": "replace", "path": pointer(place, way), "value": value }));
            }
            _ => return Err(failed("what is on the way to it is neither an object nor a list")),
        }
        Ok(())
    }

    /// Takes a field away, if it is there.
    pub fn remove(&mut self, place: &Place, path: impl Path) {
        let segments = path.segments();
        let Some((name, parent)) = segments.split_last() else { return };
        let removed = match self.document.pointer_mut(&pointer(place, parent)) {
            Some(Value::Object(fields)) => fields.remove(*name).is_some(),
            Some(Value::Array(entries)) => match index(name) {
                Some(index) if index < entries.len() => {
                    entries.remove(index);
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if removed {
            self.patch.push(json!({ "op": "remove", "path": pointer(place, &segments) }));
        }
    }

    /// The patch, as JSON text.
    pub fn patch(&self) -> String {
        Value::from(self.patch.clone()).to_string()
    }

    /// `Pass` when nothing changed.
    pub fn verdict(&self) -> Verdict {
        if self.patch.is_empty() { Verdict::Pass } else { Verdict::Amend(self.patch()) }
    }
}

fn is_missing(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_null)
}

/// As RFC 6901 writes it: `1`, not `01`.
fn index(name: &str) -> Option<usize> {
    name.parse().ok().filter(|index: &usize| index.to_string() == name)
}

/// RFC 6901.
fn pointer(place: &Place, segments: &[&str]) -> String {
    let mut pointer = format!("/{}/{}", place.part, place.index);
    for segment in segments {
        pointer.push('/');
        pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}
