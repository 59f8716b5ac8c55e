//! Fields of a primary's spec that are requests: a person sets one, and the step that has done what was asked for sets it
//! back to its resting value, so that the next wish can be told from the last. Which fields these are and how they rest, the
//! manifest says. Decides; writes nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Dotted paths below `spec` and their resting values.
pub type Resets = BTreeMap<String, Value>;

/// A request may rest at this: plain, and no text, so that nothing of somebody else's can be named by it.
pub fn may_rest_at(value: &Value) -> bool {
    value.is_boolean() || value.is_number()
}

/// A field that is granted, and the value to which a plan sets it, which is not the resting one.
#[derive(Debug, Clone, PartialEq)]
pub struct Restless {
    pub field: String,
    pub value: Value,
    pub rests_at: Value,
}

/// Takes the requests among a plan's defaults out of them: those are done, and not what the user left empty.
pub fn split(defaults: &mut Value, granted: &Resets) -> Result<Resets, Restless> {
    let mut done = Resets::new();
    for (field, rests_at) in granted {
        let Some(path) = field.strip_prefix("spec.") else { continue };
        let Some(value) = remove(defaults, path) else { continue };
        if value != *rests_at {
            return Err(Restless { field: field.clone(), value, rests_at: rests_at.clone() });
        }
        done.insert(field.clone(), value);
    }
    Ok(done)
}

/// Takes a field out, and what holds nothing any more without it.
pub(crate) fn remove(from: &mut Value, path: &str) -> Option<Value> {
    let fields = from.as_object_mut()?;
    let Some((name, rest)) = path.split_once('.') else { return fields.remove(path) };
    let found = remove(fields.get_mut(name)?, rest);
    if found.is_some() && fields.get(name).and_then(Value::as_object).is_some_and(Map::is_empty) {
        fields.remove(name);
    }
    found
}

/// What is to be merged into the primary, and the first field of it: requests that stand there and are not at rest. One that
/// is absent was not made.
pub fn to_merge(primary: &Value, done: &Resets) -> Option<(Value, String)> {
    let mut body = Value::Object(Map::new());
    let mut first = None;
    for (field, rests_at) in done {
        let standing = field.split('.').try_fold(primary, |value, name| value.get(name));
        if standing.is_some_and(|value| !value.is_null() && value != rests_at) {
            put(&mut body, field, rests_at);
            first.get_or_insert_with(|| field.clone());
        }
    }
    first.map(|first| (body, first))
}

fn put(into: &mut Value, path: &str, value: &Value) {
    let Some(fields) = into.as_object_mut() else { return };
    match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value.clone());
        }
        Some((name, rest)) => {
            put(fields.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new())), rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn granted() -> Resets {
        [("spec.recover".to_owned(), json!(false)), ("spec.a.times".to_owned(), json!(0))].into()
    }

    #[test]
    fn requests_are_told_from_what_was_left_empty() {
        let mut defaults = json!({"recover": false, "name": "x", "a": {"times": 0}});
        assert_eq!(split(&mut defaults, &granted()), Ok(granted()));
        assert_eq!(defaults, json!({"name": "x"}));
        let mut defaults = json!({"a": {"times": 0, "other": 1}});
        assert_eq!(split(&mut defaults, &granted()).map(|done| done.len()), Ok(1));
        assert_eq!(defaults, json!({"a": {"other": 1}}));
        let mut defaults = json!({"recover": true});
        let restless = Restless { field: "spec.recover".into(), value: json!(true), rests_at: json!(false) };
        assert_eq!(split(&mut defaults, &granted()), Err(restless));
    }

    #[test]
    fn only_a_request_that_stands_is_set_back() {
        let merge = |spec: Value| to_merge(&json!({"spec": spec}), &granted());
        assert_eq!(merge(json!({})), None);
        assert_eq!(merge(json!({"recover": null, "a": {}})), None);
        assert_eq!(merge(json!({"recover": false, "a": {"times": 0}})), None);
        let both = json!({"spec": {"recover": false, "a": {"times": 0}}});
        assert_eq!(merge(json!({"recover": true, "a": {"times": 2}, "b": 1})), Some((both, "spec.a.times".to_owned())));
        assert_eq!(
            merge(json!({"recover": true})),
            Some((json!({"spec": {"recover": false}}), "spec.recover".to_owned()))
        );
    }
}
