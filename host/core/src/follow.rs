//! Fields of a primary's spec that follow something elsewhere: where the same is told in two places, and was last changed in the
//! other one, the step that looks at both has the spec say so. Which fields these are, the manifest says. Decides; writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::reset::remove;

/// Dotted paths below `spec`, and what is to stand there.
pub type Followed = BTreeMap<String, Value>;

/// Takes the fields that follow out of a plan's defaults.
pub fn split(defaults: &mut Value, granted: &BTreeSet<String>) -> Followed {
    let found = granted.iter().filter_map(|field| {
        let value = remove(defaults, field.strip_prefix("spec.")?)?;
        Some((field.clone(), value))
    });
    found.collect()
}

/// The merge patch (RFC 7396) that makes the primary say this, and the first field that it changes. `None`: it does already.
pub fn to_merge(primary: &Value, followed: &Followed) -> Option<(Value, String)> {
    let mut body = Map::new();
    let mut first = None;
    for (field, wanted) in followed {
        let standing = field.split('.').try_fold(primary, |value, name| value.get(name));
        if standing == Some(wanted) {
            continue;
        }
        first.get_or_insert_with(|| field.clone());
        let mut change = change(standing.unwrap_or(&Value::Null), wanted);
        for name in field.rsplit('.').filter(|name| *name != "spec") {
            change = Value::Object([(name.to_owned(), change)].into_iter().collect());
        }
        if let Value::Object(fields) = change {
            for (name, value) in fields {
                join(body.entry(name).or_insert(Value::Null), value);
            }
        }
    }
    first.map(|first| (Value::Object([("spec".to_owned(), Value::Object(body))].into_iter().collect()), first))
}

/// What is merged into `before` so that `after` comes out: what is gone is `null`.
fn change(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return after.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    let changed = changed.map(|(key, value)| (key.clone(), change(old.get(key).unwrap_or(&Value::Null), value)));
    Value::Object(gone.chain(changed).collect())
}

fn join(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                join(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// RFC 7396, as the API server does it.
    fn merged(into: &Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut all = into.as_object().cloned().unwrap_or_default();
        for (key, value) in patch {
            if value.is_null() {
                all.remove(key);
            } else {
                let below = merged(all.get(key).unwrap_or(&Value::Null), value);
                all.insert(key.clone(), below);
            }
        }
        Value::Object(all)
    }

    #[test]
    fn only_what_differs_is_merged() {
        let primary = json!({"spec": {"global": {"memory": "1", "port": 2}, "list": [1]}});
        let follow = |value: Value| to_merge(&primary, &[("spec.global".to_owned(), value)].into());
        assert_eq!(follow(json!({"memory": "1", "port": 2})), None);
        let expected = json!({"spec": {"global": {"memory": "3", "port": null}}});
        assert_eq!(follow(json!({"memory": "3"})), Some((expected, "spec.global".to_owned())));
    }

    #[test]
    fn what_is_not_granted_stays_among_the_defaults() {
        let mut defaults = json!({"global": {"memory": "1"}, "name": "x"});
        let followed = split(&mut defaults, &["spec.global".to_owned()].into());
        assert_eq!(followed, [("spec.global".to_owned(), json!({"memory": "1"}))].into());
        assert_eq!(defaults, json!({"name": "x"}));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![(0..3u8).prop_map(Value::from), Just(json!([1])), Just(json!("x"))];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map("[ab]", inner, 1..3).prop_map(|map| map.into_iter().collect())
        })
    }

    proptest! {
        #[test]
        fn what_is_merged_makes_the_primary_say_it(one in tree(), two in tree(), other in tree()) {
            let primary = json!({"spec": {"one": one, "kept": other}});
            let followed: Followed = [("spec.one".to_owned(), two.clone())].into();
            let after = match to_merge(&primary, &followed) {
                Some((patch, _)) => merged(&primary, &patch),
                None => primary.clone(),
            };
            prop_assert_eq!(&after["spec"]["one"], &two);
            prop_assert_eq!(&after["spec"]["kept"], &primary["spec"]["kept"]);
        }
    }
}
