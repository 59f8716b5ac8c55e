//! How two plans differ, field by field: behind rehearsal, shadows, amendments and replay. Order of objects is no difference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::journal::FieldChange;
use crate::object::Object;
use crate::plan::{Plan, Progress};

/// Every field that differs, in the order of the objects' names. Empty: the plans say the same.
pub fn differences(before: &Plan, after: &Plan) -> Vec<FieldChange> {
    let (left, right) = (parts(before), parts(after));
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        match (left.get(name), right.get(name)) {
            (Some(left), Some(right)) => fields(name, "", left, right, &mut all),
            (left, right) => all.push(change(name, "", left, right)),
        }
    }
    all
}

/// A plan as named values. A body that is not JSON stands as its text.
fn parts(plan: &Plan) -> BTreeMap<String, Value> {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let mut parts = BTreeMap::new();
    let object = |amended: &str, object: &Object| (format!("{amended}{}", object.id), json(&object.body));
    parts.extend(plan.desired.iter().map(|it| object("", it)));
    parts.extend(plan.amended.iter().map(|it| object("amended ", it)));
    for call in &plan.calls {
        let mut value = serde_json::to_value(call).unwrap_or_default();
        if let (Some(fields), Some(body)) = (value.as_object_mut(), &call.body) {
            fields.insert("body".to_owned(), json(body));
        }
        parts.insert(format!("call {}", call.id), value);
    }
    for (name, text) in [("status", &plan.status), ("defaults", &plan.defaults), ("notes", &plan.notes)] {
        if let Some(text) = text {
            parts.insert(name.to_owned(), json(text));
        }
    }
    for (number, event) in plan.events.iter().enumerate() {
        let value = format!("{:?} {}: {}", event.severity, event.reason, event.message);
        parts.insert(format!("event {number}"), Value::String(value));
    }
    let progress = match &plan.progress {
        Progress::Done => "done".to_owned(),
        Progress::Waiting(wait) => format!("waiting: {}", wait.reason),
        Progress::Blocked(wait) => format!("blocked: {}", wait.reason),
    };
    parts.insert("progress".to_owned(), Value::String(progress));
    parts
}

fn fields(object: &str, path: &str, before: &Value, after: &Value, all: &mut Vec<FieldChange>) {
    match (before, after) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                // A key with dots, such as a label's, is one step of the path.
                let key_text = if key.contains('.') { format!("[{key}]") } else { key.clone() };
                let path = if path.is_empty() { key_text } else { format!("{path}.{key_text}") };
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => fields(object, &path, left, right, all),
                    (left, right) => all.push(change(object, &path, left, right)),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                fields(object, &format!("{path}[{number}]"), left, right, all);
            }
        }
        _ if before == after => {}
        _ => all.push(change(object, path, Some(before), Some(after))),
    }
}

fn change(object: &str, field: &str, before: Option<&Value>, after: Option<&Value>) -> FieldChange {
    FieldChange { object: object.to_owned(), field: field.to_owned(), before: before.cloned(), after: after.cloned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::ObjectRef;

    fn plan(objects: &[(&str, Value)]) -> Plan {
        let object = |(name, body): &(&str, Value)| Object {
            id: ObjectRef {
                api_version: "v1".into(),
                kind: "Service".into(),
                namespace: None,
                name: (*name).to_owned(),
            },
            body: body.to_string(),
        };
        Plan { desired: objects.iter().map(object).collect(), ..Plan::done() }
    }

    #[test]
    fn order_is_no_difference() {
        let (a, b) = (("a", json!({"x": 1})), ("b", json!({"y": [1, 2]})));
        assert_eq!(differences(&plan(&[a.clone(), b.clone()]), &plan(&[b, a])), []);
    }

    #[test]
    fn fields_are_named() {
        let before = plan(&[("a", json!({"spec": {"ports": [{"port": 1}]}})), ("gone", json!({}))]);
        let mut after =
            plan(&[("a", json!({"spec": {"ports": [{"port": 2}]}, "metadata": {"labels": {"x.y/z": "1"}}}))]);
        after.status = Some(r#"{"state":"ok"}"#.into());
        let found: Vec<(String, String)> =
            differences(&before, &after).into_iter().map(|it| (it.object, it.field)).collect();
        let expected =
            [("Service a", "metadata"), ("Service a", "spec.ports[0].port"), ("Service gone", ""), ("status", "")];
        assert_eq!(found, expected.map(|(object, field)| (object.to_owned(), field.to_owned())));
    }
}
