//! Parts of Kubernetes types that users write and that are handed on: unread, but for quantities, which are written as
//! the API server writes them.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::spec::Raw;

/// The value with its quantities in canonical form. Raw JSON always parses: it was parsed before.
pub(crate) fn canonical(raw: &Raw) -> Value {
    let mut value = serde_json::from_str(raw.get()).unwrap_or_default();
    walk(&mut value);
    value
}

pub(crate) fn canonical_all(raw: &[Raw]) -> impl Iterator<Item = Value> {
    raw.iter().map(canonical)
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("limits" | "requests", Value::Object(quantities)) => quantities.values_mut().for_each(write),
                    ("sizeLimit" | "divisor", quantity) => write(quantity),
                    (_, field) => walk(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        _ => {}
    }
}

fn write(value: &mut Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    *value = Value::String(Quantity::new(&text).as_str().to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_side_containers_are_canonical() {
        let raw: Raw = serde_json::from_str(
            r#"{"name":"x","resources":{"requests":{"cpu":0.5,"memory":"1024Mi"}},"ports":[{"containerPort":1}]}"#,
        )
        .unwrap();
        let expected =
            r#"{"name":"x","ports":[{"containerPort":1}],"resources":{"requests":{"cpu":"500m","memory":"1Gi"}}}"#;
        assert_eq!(canonical(&raw).to_string(), expected);
    }
}
