//! For tests that walk the schema of a primary: which leaves it has, where each is, and what it changes in a plan. So that
//! no field is read by nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The leaves of an OpenAPI schema as dotted paths: `spec.nodes`, `ports[].name`, and `labels{}` for a map.
pub fn leaves(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(fields) = schema["properties"].as_object() {
        fields.iter().for_each(|(name, field)| collect(field, &below(name), found));
    } else if schema["type"] == "array" {
        collect(&schema["items"], &format!("{path}[]"), found);
    } else if schema["additionalProperties"].is_object() {
        found.insert(format!("{path}{{}}"));
    } else {
        found.insert(path.to_owned());
    }
}

/// The place of a leaf, made where it is not there; the first item of each list on the way.
pub fn place<'a>(value: &'a mut Value, leaf: &str) -> &'a mut Value {
    leaf.trim_end_matches("{}").split('.').fold(value, |value, part| {
        let (name, list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        if value.is_null() {
            *value = json!({});
        }
        let field = &mut value[name];
        if !list {
            return field;
        }
        if field.is_null() {
            *field = json!([null]);
        }
        &mut field[0]
    })
}

/// Each field that differs, in words of at most `longest` characters: `path/field: before -> after`.
pub fn changes(path: &str, before: &Value, after: &Value, longest: usize) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let below = |name: &&String| changes(&format!("{path}/{name}"), &before[*name], &after[*name], longest);
        return names.iter().flat_map(below).collect();
    }
    let text = |value: &Value| if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    vec![format!("{path}: {} -> {}", text(before), text(after)).chars().take(longest).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_walked_to_its_leaves_and_each_has_a_place() {
        let schema = json!({"properties": {
            "nodes": {"type": "integer"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "ports": {"type": "array", "items": {"properties": {"name": {"type": "string"}}}},
        }});
        let found = leaves(&schema);
        assert_eq!(found, ["labels{}", "nodes", "ports[].name"].map(str::to_owned).into());
        let mut spec = json!({});
        for leaf in &found {
            *place(&mut spec, leaf) = json!("x");
        }
        assert_eq!(spec, json!({"labels": "x", "nodes": "x", "ports": [{"name": "x"}]}));
    }

    #[test]
    fn changes_are_named_and_cut() {
        let found = changes("plan", &json!({"a": 1, "b": {"c": 2}}), &json!({"b": {"c": 3}}), 15);
        assert_eq!(found, ["plan/a: 1 -> no", "plan/b/c: 2 -> "]);
    }
}
