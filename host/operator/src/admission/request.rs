//! AdmissionReview, `admission.k8s.io/v1`, as far as it is read and answered here.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use stepwright_core::object::TypeRef;
use stepwright_core::plan::Violation;

/// HTTP status of a refusal, as the API server hands it on: the resource can be read, and what it says cannot be had.
const REFUSED: u16 = 422;
/// The same where nobody could judge.
const NOT_JUDGED: u16 = 503;

/// An AdmissionReview that asks.
#[derive(Deserialize)]
pub(super) struct Review<'a> {
    /// As it was sent.
    #[serde(borrow)]
    pub(super) request: &'a RawValue,
}

/// Its request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    kind: Kind,
    pub(super) operation: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) name: String,
    /// Empty for the resource itself, as against its status.
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) object: Option<Value>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    version: String,
    kind: String,
}

impl Request {
    pub(super) fn kind(&self) -> TypeRef {
        let Kind { group, version, kind } = &self.kind;
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        TypeRef::new(api_version, kind.clone())
    }

    /// There is something to judge: a resource as it is to be stored, and that is not on its way out. What goes must never be
    /// kept by a rule, or its finalizers could not be taken off.
    pub(super) fn judged(&self) -> Option<&Value> {
        let stores = ["CREATE", "UPDATE"].contains(&self.operation.as_str()) && self.sub_resource.is_empty();
        let object = self.object.as_ref().filter(|_| stores)?;
        let going = object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
        (!going).then_some(object)
    }
}

/// What became of a request.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) violations: Vec<Violation>,
    pub(super) warnings: Vec<String>,
    /// Nobody could judge it, and it is not admitted for that: why.
    pub(super) failure: Option<String>,
    /// Who answered: `check` to `name@digest`, for the audit log.
    pub(super) asked: Vec<(String, String)>,
}

impl Verdict {
    pub(super) fn outcome(&self) -> &'static str {
        match (&self.failure, self.violations.is_empty()) {
            (Some(_), _) => "failed",
            (None, true) => "admitted",
            (None, false) => "refused",
        }
    }

    /// The AdmissionReview that answers.
    pub(super) fn answer(self, uid: &str) -> Value {
        let allowed = self.failure.is_none() && self.violations.is_empty();
        let mut response = json!({"uid": uid, "allowed": allowed});
        let Some(fields) = response.as_object_mut() else { return Value::Null };
        if let Some(why) = &self.failure {
            fields.insert("status".to_owned(), json!({"code": NOT_JUDGED, "message": why}));
        } else if !allowed {
            let text: Vec<String> = self.violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
            let cause =
                |it: &Violation| json!({"reason": "FieldValueInvalid", "field": it.field, "message": it.message});
            let causes: Vec<Value> = self.violations.iter().map(cause).collect();
            // Without a `reason`: with one of its own kubectl prints its own words in the place of ours.
            let status = json!({"code": REFUSED, "message": text.join("; "), "details": {"causes": causes}});
            fields.insert("status".to_owned(), status);
        }
        if !self.warnings.is_empty() {
            fields.insert("warnings".to_owned(), json!(self.warnings));
        }
        if !self.asked.is_empty() {
            // The API server puts the webhook's name before the keys.
            let asked = self.asked.into_iter().map(|(check, plugin)| (check, Value::String(plugin)));
            fields.insert("auditAnnotations".to_owned(), Value::Object(asked.collect()));
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: &str, object: Value) -> Request {
        let kind = json!({"group": "g", "version": "v1", "kind": "Thing"});
        serde_json::from_value(json!({"uid": "u", "kind": kind, "operation": operation, "object": object})).unwrap()
    }

    #[test]
    fn what_goes_and_what_is_not_stored_is_not_judged() {
        let judged = |operation, object| request(operation, object).judged().is_some();
        assert!(judged("CREATE", json!({"metadata": {}})) && judged("UPDATE", json!({"metadata": {}})));
        assert!(!judged("UPDATE", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
        assert!(!judged("DELETE", json!({"metadata": {}})) && !judged("CREATE", Value::Null));
        assert_eq!(request("CREATE", Value::Null).kind(), TypeRef::new("g/v1", "Thing"));
    }

    #[test]
    fn a_refusal_names_every_field() {
        let violations = vec![
            Violation { field: "a".into(), message: "x".into() },
            Violation { field: "b".into(), message: "y".into() },
        ];
        let verdict = Verdict { violations, warnings: vec!["w".to_owned()], ..Verdict::default() };
        let answer = verdict.answer("u");
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["message"], "a: x; b: y");
        assert_eq!(answer["response"]["status"]["details"]["causes"][1]["field"], "b");
        assert_eq!(answer["response"]["warnings"][0], "w");
        let admitted = Verdict::default().answer("u");
        assert_eq!(admitted["response"], json!({"uid": "u", "allowed": true}));
    }
}
