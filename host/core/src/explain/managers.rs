//! Who the API server says has set a field: `metadata.managedFields` of a live object.

use serde_json::Value;

use crate::field_path::{FieldPath, Segment};

/// One manager of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    pub name: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// RFC 3339, UTC: when it last set any of its fields.
    pub time: String,
}

/// Every manager of the field, or of a part of it, in this live object.
pub fn managers(live: &Value, field: &FieldPath) -> Vec<Manager> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("fieldsV1").is_some_and(|fields| owns(fields, live, field.segments())))
        .map(|entry| Manager {
            name: text(entry, "manager"),
            operation: text(entry, "operation"),
            time: text(entry, "time"),
        })
        .collect()
}

/// Whether a tree of owned fields has the path; `live` is the value that the tree is about.
fn owns(fields: &Value, live: &Value, path: &[Segment]) -> bool {
    let Some((segment, rest)) = path.split_first() else { return true };
    let Some(fields) = fields.as_object() else { return false };
    // A list or map that is owned as one has nothing below it.
    if fields.is_empty() {
        return true;
    }
    match segment {
        Segment::Key(key) => named(fields, live, key, rest),
        Segment::Index(index) if live.is_object() => named(fields, live, &index.to_string(), rest),
        Segment::Index(index) => {
            let Some(item) = live.get(index) else { return false };
            fields.iter().any(|(name, below)| is_item(name, item, *index) && owns(below, item, rest))
        }
    }
}

fn named(fields: &serde_json::Map<String, Value>, live: &Value, key: &str, rest: &[Segment]) -> bool {
    let below = fields.get(&format!("f:{key}"));
    below.is_some_and(|below| owns(below, live.get(key).unwrap_or(&Value::Null), rest))
}

/// Whether `k:{"port":80}`, `v:"a"` or `i:0` is about this item.
fn is_item(name: &str, item: &Value, index: usize) -> bool {
    match name.split_once(':') {
        Some(("k", keys)) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let keys = keys.as_object();
            keys.is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
        }
        Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
        Some(("i", at)) => at.parse() == Ok(index),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managers_are_found_through_maps_and_lists() {
        let live = json!({
            "metadata": {"managedFields": [
                {"manager": "stepwright/rec", "operation": "Apply", "time": "t1", "fieldsV1": {
                    "f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}, "f:type": {}}}},
                {"manager": "kubectl-edit", "operation": "Update", "time": "t2", "fieldsV1": {
                    "f:spec": {"f:ports": {"k:{\"port\":81}": {"f:name": {}}}, "f:selector": {}},
                    "f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}},
            ], "finalizers": ["b", "a"]},
            "spec": {"ports": [{"port": 80, "name": "x"}, {"port": 81, "name": "y"}], "type": "A", "selector": {"q": "r"}},
        });
        let names = |path: &str| -> Vec<String> {
            managers(&live, &FieldPath::parse(path).unwrap()).into_iter().map(|it| it.name).collect()
        };
        assert_eq!(names("spec.type"), ["stepwright/rec"]);
        assert_eq!(names("spec.ports[0].name"), ["stepwright/rec"]);
        assert_eq!(names("spec.ports[1].name"), ["kubectl-edit"]);
        assert_eq!(names("spec.ports"), ["stepwright/rec", "kubectl-edit"]);
        assert_eq!(names("spec.selector.q"), ["kubectl-edit"], "owned as one");
        assert_eq!(names("metadata.finalizers[1]"), ["kubectl-edit"]);
        assert!(names("metadata.finalizers[0]").is_empty());
        assert!(names("spec.ports[7]").is_empty() && names("spec.other").is_empty());
    }
}
