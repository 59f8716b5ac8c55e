//! Questions to checks, as the API server and the host put them together.

use serde_json::{Value, json};

use super::{object, text};
use crate::admission::{Admission, Judged, Question, judge};
use crate::observation::{ObjectSet, RawFact};

/// A question under construction.
#[derive(Debug, Clone)]
pub struct Asked(Question);

impl Asked {
    /// Plugin `A` is asked by its check of this name about an object that is to be created; every object set of the check is there
    /// and empty, no fact is known. The object's kind is read from `apiVersion` and `kind`; the namespace is `ns` where it is not
    /// said.
    pub fn new<A: Admission>(check: &str, object: &Value) -> Self {
        let manifest = serde_json::to_value(A::manifest()).unwrap_or_default();
        let checks = manifest.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
        let of_check = checks.into_iter().find(|it| text(it, "/name").as_deref() == Some(check)).unwrap_or_default();
        let all = |path: &str| of_check.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
        let sets = all("/observes").into_iter().filter_map(|set| text(&set, "/name"));
        let facts = all("/facts").into_iter().filter_map(|name| name.as_str().map(str::to_owned));
        let api_version = text(object, "/apiVersion").unwrap_or_else(|| "v1".to_owned());
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let request = json!({
            "uid": "u", "operation": "CREATE",
            "kind": {"group": group, "version": version, "kind": text(object, "/kind")},
            "namespace": text(object, "/metadata/namespace").unwrap_or_else(|| "ns".to_owned()),
            "name": text(object, "/metadata/name"), "object": object, "oldObject": null,
        });
        Self(Question {
            check: check.to_owned(),
            request: request.to_string(),
            objects: sets.map(|name| ObjectSet { name, objects: Vec::new() }).collect(),
            facts: facts.map(|name| RawFact { name, value: Err("not known".to_owned()) }).collect(),
            settings: "{}".to_owned(),
        })
    }

    /// It is an update of this object.
    #[must_use]
    pub fn instead_of(mut self, old: &Value) -> Self {
        if let Ok(Value::Object(mut request)) = serde_json::from_str::<Value>(&self.0.request) {
            request.insert("oldObject".to_owned(), old.clone());
            request.insert("operation".to_owned(), json!("UPDATE"));
            self.0.request = Value::Object(request).to_string();
        }
        self
    }

    /// Adds an object to a set; nothing if the check has no such set.
    #[must_use]
    pub fn object(mut self, set: &str, value: &Value) -> Self {
        let sets = self.0.objects.iter_mut().filter(|it| it.name == set);
        sets.for_each(|set| set.objects.push(object(value)));
        self
    }

    /// Makes a fact known; nothing if the check does not name it.
    #[must_use]
    pub fn fact(mut self, name: &str, value: &Value) -> Self {
        let facts = self.0.facts.iter_mut().filter(|it| it.name == name);
        facts.for_each(|fact| fact.value = Ok(value.to_string()));
        self
    }

    /// The plugin's settings.
    #[must_use]
    pub fn settings(mut self, settings: &Value) -> Self {
        self.0.settings = settings.to_string();
        self
    }

    /// Asks.
    pub fn judge<A: Admission>(&self) -> Judged {
        judge::<A>(&self.0)
    }
}
