//! Fields that an amendment takes from another field manager: which conflicts a grant covers, and what becomes of a taken
//! field when it is no longer listed. Decides; applies nothing.

use serde_json::{Map, Value};

use crate::compare::{owned_fields, project};

/// Whether a granted path means a field that the API server names in a conflict: that field, or one that is in it.
pub fn covers(granted: &str, field: &str) -> bool {
    let field = field.strip_prefix('.').unwrap_or(field);
    field.strip_prefix(granted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Adds to an amendment the granted fields that `manager` has taken and that the amendment does not name, with the values
/// that stand there. Whoever had them lost them for good, so to give one up would be to remove it.
pub fn keep(body: &mut Value, live: &Value, manager: &str, granted: &[String]) {
    let owned = owned_fields(live, manager, "");
    for path in granted {
        let taken = path.split('.').try_fold(&owned, |owned, name| owned.get(format!("f:{name}")));
        let value = path.split('.').try_fold(live, |value, name| value.get(name));
        if let (Some(taken), Some(value)) = (taken, value) {
            put(body, path, project(value, taken));
        }
    }
}

/// Sets a field unless it, or a value that cannot hold it, is there.
fn put(into: &mut Value, path: &str, value: Value) {
    let Some(fields) = into.as_object_mut() else { return };
    match path.split_once('.') {
        None => {
            fields.entry(path.to_owned()).or_insert(value);
        }
        Some((name, rest)) => {
            put(fields.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new())), rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_grant_means_the_field_and_what_is_in_it() {
        for field in [".spec.resources", "spec.resources", ".spec.resources.requests", ".spec.resources[name=\"x\"].y"]
        {
            assert!(covers("spec.resources", field), "{field}");
        }
        for field in [".spec", ".spec.resourcesNot", ".spec.volumeName", ".metadata.spec.resources"] {
            assert!(!covers("spec.resources", field), "{field}");
        }
    }

    fn claim(owned: &Value) -> Value {
        json!({"metadata": {"managedFields": [
            {"manager": "stepwright/x/1", "operation": "Apply", "fieldsV1": owned},
        ]}, "spec": {"resources": {"requests": {"storage": "30Gi", "other": "1"}}}})
    }

    #[track_caller]
    fn check(owned: Value, body: Value, expected: Value) {
        let mut kept = body;
        keep(&mut kept, &claim(&owned), "stepwright/x/1", &["spec.resources.requests.storage".to_owned()]);
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_was_taken_stays_as_it_is() {
        let owned = json!({"f:spec": {"f:resources": {"f:requests": {"f:storage": {}}}}});
        let kept = json!({"spec": {"resources": {"requests": {"storage": "30Gi"}}}});
        check(owned.clone(), json!({}), kept.clone());
        check(owned.clone(), json!({"metadata": {"labels": {"a": "b"}}}), {
            let mut with = kept;
            with["metadata"] = json!({"labels": {"a": "b"}});
            with
        });
        let named = json!({"spec": {"resources": {"requests": {"storage": "40Gi"}}}});
        check(owned, named.clone(), named);
    }

    #[test]
    fn what_was_not_taken_is_not_added() {
        check(json!({"f:metadata": {"f:labels": {"f:a": {}}}}), json!({}), json!({}));
        check(json!({}), json!({}), json!({}));
    }
}
