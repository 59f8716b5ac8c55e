//! Would a server-side apply change anything? Decided from the observed object and the record of field ownership
//! (`metadata.managedFields`) that the API server keeps, so that a pass that changes nothing writes nothing.
//!
//! The API server's own record says which lists are keyed, which are sets and which are replaced whole, so no schema is
//! needed. The answer errs towards writing: an apply too many is harmless, one too few is not.

use serde_json::{Map, Value};

use crate::admit::PLUGIN_ANNOTATION;

/// Keys of the object that name it rather than describe it.
const IDENTITY: [&str; 2] = ["apiVersion", "kind"];
const IDENTITY_METADATA: [&str; 7] =
    ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"];

/// Maps whose string values are quantities: `1`, `1000m` and `1.0` are one value there.
const QUANTITY_MAPS: [&str; 4] = ["requests", "limits", "capacity", "hard"];

/// The first field, as a dotted path, in which applying `desired` would change `observed`; `None` if in none.
///
/// `manager` is the field manager that would apply, `subresource` empty or `status`. Which plugin changed the object last is no
/// difference: that is written only along with something else.
pub fn difference(desired: &Value, observed: &Value, manager: &str, subresource: &str) -> Option<String> {
    let owned = owned_fields(observed, manager, subresource);
    let mut path = Path::default();
    let desired = without_identity(desired);
    node(&mut path, &desired, Some(observed), Some(&owned), false)
}

/// The fields that `manager` owns, in the form of `fieldsV1`; an empty object when it owns none.
pub fn owned_fields(observed: &Value, manager: &str, subresource: &str) -> Value {
    observed
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry.get("manager").and_then(Value::as_str) == Some(manager)
                && entry.get("operation").and_then(Value::as_str) == Some("Apply")
                && entry.get("subresource").and_then(Value::as_str).unwrap_or("") == subresource
        })
        .find_map(|entry| entry.get("fieldsV1").cloned())
        .unwrap_or_else(|| Value::Object(Map::new()))
}

/// The field manager that wrote `field` (a path as `difference` gives it), something in it or something that holds it, and is
/// not one of `ours` (a manager of this name or of one that begins with it and a slash); the latest if there are several.
pub fn other_manager(observed: &Value, field: &str, ours: &str) -> Option<String> {
    let entries = observed.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    entries
        .filter_map(|entry| {
            let manager = entry.get("manager").and_then(Value::as_str)?;
            let is_ours = manager.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let time = entry.get("time").and_then(Value::as_str).unwrap_or_default();
            (!is_ours && names(entry.get("fieldsV1")?, &mut Path::default(), field)).then_some((time, manager))
        })
        .max()
        .map(|(_, manager)| manager.to_owned())
}

/// Whether a set of owned fields names a path, something in it or something that holds it.
fn names(owned: &Value, path: &mut Path, field: &str) -> bool {
    let leaf = owned.as_object().is_none_or(|fields| fields.keys().all(|key| key == "."));
    let here = path.here();
    let below = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
    };
    if !here.is_empty() && (below(&here, field) || (leaf && below(field, &here))) {
        return true;
    }
    owned.as_object().into_iter().flatten().any(|(key, child)| {
        let name = match key.split_once(':') {
            Some(("f", name)) => name.to_owned(),
            Some(("k", keys)) => format!("[{}]", label(&serde_json::from_str(keys).unwrap_or_default())),
            _ => return false,
        };
        path.within(&name, |path| names(child, path, field))
    })
}

/// How an item of a keyed list stands in a path.
fn label(keys: &Value) -> String {
    keys.as_object().and_then(|keys| keys.values().next()).map_or_else(String::new, plain)
}

/// The part of `observed` that is described by `owned` (in the form of `fieldsV1`): what a manager applied, with the
/// values that stand there now. Lists come whole.
pub fn project(observed: &Value, owned: &Value) -> Value {
    let (Some(fields), Some(object)) = (owned.as_object(), observed.as_object()) else { return observed.clone() };
    if fields.keys().all(|key| key == ".") && !fields.contains_key(".") {
        return observed.clone();
    }
    let mut kept = Map::new();
    for (key, child) in fields {
        let Some(name) = key.strip_prefix("f:") else { continue };
        if let Some(value) = object.get(name) {
            kept.insert(name.to_owned(), if value.is_object() { project(value, child) } else { value.clone() });
        }
    }
    Value::Object(kept)
}

/// `observed` without what is described by `owned` (in the form of `fieldsV1`): what others say. Lists of which a part is
/// owned go whole.
pub fn without(observed: &Value, owned: &Value) -> Value {
    let (Some(fields), Some(object)) = (owned.as_object(), observed.as_object()) else { return observed.clone() };
    let mut kept = Map::new();
    for (key, value) in object {
        match fields.get(&format!("f:{key}")).and_then(Value::as_object) {
            None => {
                kept.insert(key.clone(), value.clone());
            }
            Some(inner) if value.is_object() && inner.keys().any(|key| key.starts_with("f:")) => {
                kept.insert(key.clone(), without(value, &Value::Object(inner.clone())));
            }
            Some(_) => {}
        }
    }
    Value::Object(kept)
}

fn without_identity(desired: &Value) -> Value {
    let mut desired = desired.clone();
    if let Some(object) = desired.as_object_mut() {
        object.retain(|key, _| !IDENTITY.contains(&key.as_str()));
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !IDENTITY_METADATA.contains(&key.as_str()));
            if metadata.is_empty() {
                object.remove("metadata");
            }
        }
    }
    desired
}

#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn here(&self) -> String {
        self.0.join(".")
    }

    fn within<T>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(key.to_owned());
        let result = f(self);
        self.0.pop();
        result
    }
}

/// Values that Kubernetes leaves out when it stores an object, so their absence is no difference.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_blank),
        _ => false,
    }
}

fn node(
    path: &mut Path,
    desired: &Value,
    observed: Option<&Value>,
    owned: Option<&Value>,
    quantity: bool,
) -> Option<String> {
    let Some(observed) = observed else {
        return if is_blank(desired) { None } else { Some(path.here()) };
    };
    if desired.is_null() {
        return None;
    }
    let Some(owned) = owned.and_then(Value::as_object) else {
        // The value may even be equal; but it is somebody else's, and it would not be put back if they changed it.
        return if is_blank(desired) { None } else { Some(innermost(path, desired, observed)) };
    };
    match desired {
        Value::Object(fields) => object(path, fields, observed, owned),
        Value::Array(items) => array(path, items, observed, owned, quantity),
        _ => (!scalar_equal(desired, observed, quantity)).then(|| path.here()),
    }
}

/// The first field in `desired` whose value is another in `observed`; the whole where none is.
fn innermost(path: &mut Path, desired: &Value, observed: &Value) -> String {
    if let (Value::Object(fields), Value::Object(there)) = (desired, observed) {
        for (key, value) in fields {
            match there.get(key) {
                Some(found) if covers(value, found, false) => {}
                Some(found) => return path.within(key, |path| innermost(path, value, found)),
                None if is_blank(value) => {}
                None => return path.within(key, |path| path.here()),
            }
        }
    }
    path.here()
}

fn object(
    path: &mut Path,
    fields: &Map<String, Value>,
    observed: &Value,
    owned: &Map<String, Value>,
) -> Option<String> {
    let atomic = owned.is_empty() && !path.0.is_empty();
    if atomic {
        return (!covers(&Value::Object(fields.clone()), observed, false)).then(|| path.here());
    }
    let told = |path: &Path, key: &str| key == PLUGIN_ANNOTATION && path.0 == ["metadata", "annotations"];
    for (key, value) in fields {
        if told(path, key) {
            continue;
        }
        let quantity = QUANTITY_MAPS.contains(&path.0.last().map_or("", String::as_str));
        let child = owned.get(&format!("f:{key}"));
        let found = path.within(key, |path| node(path, value, observed.get(key), child, quantity));
        if found.is_some() {
            return found;
        }
    }
    // What was applied before and is no longer wanted has to be given up.
    for key in owned.keys() {
        if let Some(name) = key.strip_prefix("f:")
            && fields.get(name).is_none_or(Value::is_null)
            && !told(path, name)
        {
            return Some(path.within(name, |path| path.here()));
        }
    }
    None
}

fn array(
    path: &mut Path,
    items: &[Value],
    observed: &Value,
    owned: &Map<String, Value>,
    quantity: bool,
) -> Option<String> {
    let keyed: Vec<(Value, &Value)> = owned
        .iter()
        .filter_map(|(key, child)| {
            let keys = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
            Some((keys, child))
        })
        .collect();
    if !keyed.is_empty() {
        return keyed_list(path, items, observed, &keyed);
    }
    let set: Vec<Value> = owned.keys().filter_map(|key| serde_json::from_str(key.strip_prefix("v:")?).ok()).collect();
    if !set.is_empty() {
        let same = set.len() == items.len() && items.iter().all(|item| set.contains(item));
        let there = observed.as_array().is_some_and(|there| items.iter().all(|item| there.contains(item)));
        return (!(same && there)).then(|| path.here());
    }
    (!covers(&Value::Array(items.to_vec()), observed, quantity)).then(|| path.here())
}

fn keyed_list(path: &mut Path, items: &[Value], observed: &Value, keyed: &[(Value, &Value)]) -> Option<String> {
    let there = observed.as_array()?;
    if items.len() != keyed.len() {
        return Some(path.here());
    }
    for item in items {
        let Some((keys, child)) = keyed.iter().find(|(keys, _)| has_keys(item, keys, true)) else {
            return Some(path.here());
        };
        let Some(live) = there.iter().find(|live| has_keys(live, keys, false)) else { return Some(path.here()) };
        let found = path.within(&format!("[{}]", label(keys)), |path| node(path, item, Some(live), Some(child), false));
        if found.is_some() {
            return found;
        }
    }
    None
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a list item is the one with these keys. A desired item may leave out a key that has a default
/// (`protocol: TCP`), hence `lenient`.
fn has_keys(item: &Value, keys: &Value, lenient: bool) -> bool {
    keys.as_object().is_some_and(|keys| {
        keys.iter().all(|(key, value)| match item.get(key) {
            Some(found) => found == value,
            None => lenient,
        })
    })
}

/// Everything in `desired` is in `observed`, which may hold more (defaults). Lists must be of one length.
fn covers(desired: &Value, observed: &Value, quantity: bool) -> bool {
    match (desired, observed) {
        (Value::Object(fields), Value::Object(there)) => fields.iter().all(|(key, value)| match there.get(key) {
            Some(found) => covers(value, found, quantity || QUANTITY_MAPS.contains(&key.as_str())),
            None => is_blank(value),
        }),
        (Value::Array(items), Value::Array(there)) => {
            items.len() == there.len() && items.iter().zip(there).all(|(item, found)| covers(item, found, quantity))
        }
        _ => scalar_equal(desired, observed, quantity),
    }
}

fn scalar_equal(desired: &Value, observed: &Value, quantity: bool) -> bool {
    if desired == observed {
        return true;
    }
    if let (Value::Number(a), Value::Number(b)) = (desired, observed) {
        return a.as_f64() == b.as_f64();
    }
    quantity && matches!((parse_quantity(desired), parse_quantity(observed)), (Some(a), Some(b)) if a == b)
}

/// A quantity in thousandths of its unit: `500m` is 500, `4Gi` is 4294967296000. `None` if it is not one.
pub fn parse_quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let split = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole_value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole_value.checked_mul(factor)?;
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let mut place = factor;
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(sign * place.checked_mul(i128::from(digit.to_digit(10)?))?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn observed(mut body: Value, owned: Value) -> Value {
        body["metadata"]["managedFields"] = json!([
            {"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": owned},
            {"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}},
        ]);
        body
    }

    #[track_caller]
    fn check(desired: Value, live: Value, owned: Value, want: Option<&str>) {
        assert_eq!(difference(&desired, &observed(live, owned), "m", "").as_deref(), want);
    }

    #[test]
    fn defaults_added_by_the_server_are_no_difference() {
        check(
            json!({"spec": {"ports": [{"name": "api", "port": 9443}], "selector": {"a": "b"}}}),
            json!({"spec": {"ports": [{"name": "api", "port": 9443, "protocol": "TCP", "targetPort": 9443}],
                "selector": {"a": "b"}, "clusterIP": "10.0.0.1"}}),
            json!({"f:spec": {"f:ports": {"k:{\"port\":9443,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}},
                "f:selector": {}}}),
            None,
        );
    }

    #[test]
    fn a_field_that_somebody_took_over_is_a_difference() {
        check(json!({"spec": {"replicas": 3}}), json!({"spec": {"replicas": 5}}), json!({"f:spec": {}}), Some("spec"));
        check(
            json!({"spec": {"replicas": 3, "serviceName": "x"}}),
            json!({"spec": {"replicas": 5, "serviceName": "x"}}),
            json!({"f:spec": {"f:serviceName": {}}}),
            Some("spec.replicas"),
        );
        // With its last field a map goes from our record; the field is named all the same.
        check(json!({"data": {"a": "1", "b": "2"}}), json!({"data": {"a": "1", "b": "x"}}), json!({}), Some("data.b"));
        check(json!({"data": {"a": "1"}}), json!({"data": {"a": "1"}}), json!({}), Some("data"));
    }

    #[test]
    fn a_field_no_longer_wanted_is_a_difference() {
        check(
            json!({"metadata": {"labels": {}}}),
            json!({"metadata": {"labels": {"redis.io/bdb-1": "1"}}}),
            json!({"f:metadata": {"f:labels": {"f:redis.io/bdb-1": {}}}}),
            Some("metadata.labels.redis.io/bdb-1"),
        );
    }

    #[test]
    fn which_plugin_wrote_last_is_no_difference() {
        let owned = json!({"f:metadata": {"f:annotations": {"f:a": {}, "f:stepwright.dev/plugin": {}}}});
        let live = json!({"metadata": {"annotations": {"a": "1", "stepwright.dev/plugin": "x@1"}}});
        let plugin = |value: &str| json!({"metadata": {"annotations": {"a": "1", "stepwright.dev/plugin": value}}});
        check(plugin("x@2"), live.clone(), owned.clone(), None);
        check(json!({"metadata": {"annotations": {"a": "1"}}}), live, owned, None);
        // An object from before there was this annotation.
        let owned = json!({"f:metadata": {"f:annotations": {"f:a": {}}}});
        check(plugin("x@2"), json!({"metadata": {"annotations": {"a": "1"}}}), owned, None);
    }

    #[test]
    fn the_other_manager_of_a_field_is_found() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "stepwright/step", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "old", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "hpa", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "list", "time": "2026-01-02T00:00:00Z", "fieldsV1":
                {"f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}, "f:whole": {}}}},
        ]}});
        let found = |field: &str| other_manager(&live, field, "stepwright");
        assert_eq!(found("spec.replicas").as_deref(), Some("hpa"));
        assert_eq!(found("spec.ports.[80].name").as_deref(), Some("list"));
        assert_eq!(found("spec.ports").as_deref(), Some("list"));
        assert_eq!(found("spec.whole.inner").as_deref(), Some("list"));
        assert_eq!(found("spec.ports.[81]"), None);
        assert_eq!(found("metadata.labels.x"), None);
    }

    #[test]
    fn a_label_of_somebody_else_is_left_alone() {
        check(
            json!({"metadata": {"labels": {"ours": "1"}}}),
            json!({"metadata": {"labels": {"ours": "1", "theirs": "2"}}}),
            json!({"f:metadata": {"f:labels": {"f:ours": {}}}}),
            None,
        );
    }

    #[test]
    fn quantities_are_compared_by_value_where_they_are_quantities() {
        let owned = json!({"f:spec": {"f:requests": {"f:cpu": {}}, "f:label": {}}});
        let live = json!({"spec": {"requests": {"cpu": "2"}, "label": "1"}});
        check(json!({"spec": {"requests": {"cpu": "2000m"}, "label": "1"}}), live.clone(), owned.clone(), None);
        check(json!({"spec": {"requests": {"cpu": "2"}, "label": "1.0"}}), live, owned, Some("spec.label"));
    }

    #[test]
    fn a_list_that_is_replaced_whole_may_hold_defaults_inside() {
        let owned = json!({"f:spec": {"f:volumeClaimTemplates": {}}});
        let live = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"volumeMode": "Filesystem"},
            "status": {"phase": "Pending"}}]}});
        check(
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}}]}}),
            live.clone(),
            owned.clone(),
            None,
        );
        check(json!({"spec": {"volumeClaimTemplates": []}}), live, owned, Some("spec.volumeClaimTemplates"));
    }

    #[test]
    fn a_missing_item_of_a_keyed_list_is_a_difference() {
        check(
            json!({"spec": {"c": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}),
            json!({"spec": {"c": [{"name": "a", "image": "x"}]}}),
            json!({"f:spec": {"f:c": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}}}}}),
            Some("spec.c"),
        );
        check(
            json!({"spec": {"c": [{"name": "a", "image": "x"}]}}),
            json!({"spec": {"c": [{"name": "a", "image": "z"}]}}),
            json!({"f:spec": {"f:c": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}}}}}),
            Some("spec.c.[a].image"),
        );
    }

    #[test]
    fn quantities_parse() {
        for (text, want) in [("4Gi", 4_294_967_296_000), ("0.5", 500), ("500m", 500), ("1.5Gi", 1_610_612_736_000)] {
            assert_eq!(parse_quantity(&json!(text)), Some(want), "{text}");
        }
        assert_eq!(parse_quantity(&json!("4 apples")), None);
    }

    #[test]
    fn projection_keeps_what_is_owned() {
        let live = json!({"status": {"state": "Running", "conditions": [1]}, "spec": {"nodes": 3}});
        assert_eq!(project(&live, &json!({"f:status": {"f:state": {}}})), json!({"status": {"state": "Running"}}));
    }

    #[test]
    fn what_others_say_is_without_what_is_owned() {
        let live = json!({"spec": {"a": {"b": 1, "c": "x"}, "list": [1], "d": 2}});
        let owned = json!({"f:spec": {"f:a": {"f:c": {}}, "f:list": {"k:{}": {}}}});
        assert_eq!(without(&live, &owned), json!({"spec": {"a": {"b": 1}, "d": 2}}));
    }

    proptest::proptest! {
        /// What was applied and stands there unchanged is never applied again.
        #[test]
        fn an_object_equals_itself(labels in proptest::collection::btree_map("[a-z]{1,4}", "[a-z0-9]{0,4}", 0..5)) {
            let owned: Map<String, Value> = labels.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
            let body = json!({"metadata": {"labels": labels}});
            let live = observed(body.clone(), json!({"f:metadata": {"f:labels": owned}}));
            proptest::prop_assert_eq!(difference(&body, &live, "m", ""), None);
        }
    }
}
