//! Field masks: of an object, only what a manifest names. Less to send, fewer passes, an honest list of dependencies.
//!
//! A path is field names joined by dots; under an array it applies to each item. Names that hold dots themselves (label
//! keys) cannot be named one by one: name the map that holds them. Nothing is ever added here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Always there, so that a step can tell objects apart and see that one is being deleted.
const ALWAYS: [&str; 5] =
    ["metadata.name", "metadata.namespace", "metadata.uid", "metadata.generation", "metadata.deletionTimestamp"];

/// Of `value`, the fields that `paths` name and `metadata` name, namespace, uid, generation and deletionTimestamp.
pub fn mask(value: &Value, paths: &[String]) -> Value {
    Mask::new(paths).apply(value)
}

/// Paths made ready for use on many objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    fields: Fields,
}

/// A field that is named itself is kept whole, whatever else is named below it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Keep {
    Whole,
    Within(Fields),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fields(BTreeMap<String, Keep>);

impl Mask {
    pub fn new(paths: &[String]) -> Self {
        let mut fields = Fields::default();
        for path in ALWAYS.into_iter().chain(paths.iter().map(String::as_str)) {
            fields.insert(path);
        }
        Self { fields }
    }

    /// These and nothing else: for what is no Kubernetes object.
    pub fn exactly(paths: &[String]) -> Self {
        let mut fields = Fields::default();
        paths.iter().for_each(|path| fields.insert(path));
        Self { fields }
    }

    pub fn apply(&self, value: &Value) -> Value {
        self.fields.apply(value).unwrap_or_else(|| Value::Object(Map::new()))
    }
}

impl Fields {
    fn insert(&mut self, path: &str) {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        if first.is_empty() {
            return;
        }
        match rest {
            None => {
                self.0.insert(first.to_owned(), Keep::Whole);
            }
            Some(rest) => {
                let entry = self.0.entry(first.to_owned()).or_insert_with(|| Keep::Within(Self::default()));
                if let Keep::Within(fields) = entry {
                    fields.insert(rest);
                }
            }
        }
    }

    /// `None` where there is nothing that could hold a field.
    fn apply(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Object(fields) => {
                let kept = self.0.iter().filter_map(|(name, keep)| {
                    let value = fields.get(name)?;
                    let value = match keep {
                        Keep::Whole => value.clone(),
                        Keep::Within(within) => within.apply(value)?,
                    };
                    Some((name.clone(), value))
                });
                Some(Value::Object(kept.collect()))
            }
            Value::Array(items) => Some(Value::Array(items.iter().filter_map(|item| self.apply(item)).collect())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, paths: &[&str], expected: Value) {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(mask(&value, &paths), expected);
    }

    #[test]
    fn only_named_fields_and_identity_stay() {
        check(
            json!({"kind": "Pod", "metadata": {"name": "p", "uid": "u", "labels": {"a.b/c": "d"}, "annotations": {"x": "y"}},
                   "spec": {"nodeName": "n", "hostname": "h"}, "status": {"podIP": "10.0.0.1"}}),
            &["metadata.labels", "spec.nodeName"],
            json!({"metadata": {"name": "p", "uid": "u", "labels": {"a.b/c": "d"}}, "spec": {"nodeName": "n"}}),
        );
    }

    #[test]
    fn a_path_under_an_array_applies_to_each_item() {
        check(
            json!({"spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}, {"image": "i"}, 7]}}),
            &["spec.containers.name", "spec.containers.env.name"],
            json!({"spec": {"containers": [{"name": "a", "env": [{"name": "X"}]}, {}]}}),
        );
    }

    #[test]
    fn a_field_named_whole_stays_whole_in_either_order() {
        let value = json!({"spec": {"a": 1, "b": 2}});
        check(value.clone(), &["spec", "spec.a"], value.clone());
        check(value.clone(), &["spec.a", "spec"], value);
    }

    #[test]
    fn what_holds_no_fields_goes() {
        check(json!({"spec": 3, "status": null}), &["spec.a", "status.b", "none.c", ""], json!({}));
        check(json!("text"), &["spec"], json!({}));
        check(json!({"data": null}), &["data"], json!({"data": null}));
    }

    fn names() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["metadata", "name", "labels", "spec", "a", "b"]).prop_map(str::to_owned)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(names(), inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn paths() -> impl Strategy<Value = Vec<String>> {
        let path = prop::collection::vec(names(), 1..4).prop_map(|parts| parts.join("."));
        prop::collection::vec(path, 0..5)
    }

    fn is_part_of(part: &Value, whole: &Value) -> bool {
        match (part, whole) {
            (Value::Object(part), Value::Object(whole)) => {
                part.iter().all(|(name, value)| whole.get(name).is_some_and(|whole| is_part_of(value, whole)))
            }
            (Value::Array(part), Value::Array(whole)) => {
                let mut rest = whole.iter();
                part.iter().all(|item| rest.any(|whole| is_part_of(item, whole)))
            }
            _ => part == whole,
        }
    }

    proptest! {
        #[test]
        fn masking_twice_is_masking_once(value in values(), paths in paths()) {
            let once = mask(&value, &paths);
            prop_assert_eq!(mask(&once, &paths), once);
        }

        #[test]
        fn nothing_is_added(value in values(), paths in paths()) {
            let masked = mask(&value, &paths);
            let part = is_part_of(&masked, &value) || masked.as_object().is_some_and(Map::is_empty);
            prop_assert!(part);
        }

        #[test]
        fn what_is_masked_away_does_not_matter(value in values(), paths in paths(), other in values()) {
            // A field that nobody names may change without changing the result.
            let mut changed = value.clone();
            if let Value::Object(fields) = &mut changed {
                fields.insert("unnamed".to_owned(), other);
            }
            prop_assert_eq!(mask(&changed, &paths), mask(&value, &paths));
        }
    }
}
