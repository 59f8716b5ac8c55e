//! Which objects an `observes` entry means for one primary. Pure: the operator brings the objects.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::manifest::Select;

/// A selection with the primary's values filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// What Stepwright made for the primary.
    Owned,
    /// With all of these labels, in the primary's namespace.
    Labels(BTreeMap<String, String>),
    /// By name, in the primary's namespace.
    Names(Vec<String>),
}

impl Selection {
    /// Fills `$(path)` in. Names that come out empty are dropped; a label that does selects nothing.
    pub fn resolve(select: &Select, primary: &Value) -> Self {
        Self::resolve_by(select, &|path| text(path.split('.').try_fold(primary, |value, key| value.get(key))?))
    }

    /// The same by whoever knows the primary's fields.
    pub fn resolve_by(select: &Select, field: &dyn Fn(&str) -> Option<String>) -> Self {
        match select {
            Select::Owned => Self::Owned,
            Select::Labels(labels) => {
                let resolved: Option<BTreeMap<_, _>> =
                    labels.iter().map(|(key, value)| Some((key.clone(), fill(value, field)?))).collect();
                resolved.map_or_else(|| Self::Names(Vec::new()), Self::Labels)
            }
            Select::Names(names) => Self::Names(names.iter().filter_map(|name| fill(name, field)).collect()),
        }
    }

    /// Whether an object of the primary's namespace is meant. `Owned` is answered by the caller's index, not here.
    pub fn matches(&self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        match self {
            Self::Owned => false,
            Self::Names(names) => names.iter().any(|wanted| wanted == name),
            Self::Labels(wanted) => {
                wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
            }
        }
    }
}

/// Whether a primary says something at a dotted path: a value that is neither empty nor `false`.
pub fn says(primary: &Value, path: &str) -> bool {
    match path.split('.').try_fold(primary, |value, key| value.get(key)) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}

/// `$(metadata.name)-x` with the primary's name. `None` when a path leads nowhere or to an empty string.
pub(crate) fn fill(template: &str, field: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("$(") {
        let (path, after) = after.split_once(')')?;
        let text = field(path).filter(|text| !text.is_empty())?;
        out.push_str(before);
        out.push_str(&text);
        rest = after;
    }
    out.push_str(rest);
    (!out.is_empty()).then_some(out)
}

/// A text or a number, as text.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_filled_in_and_absent_ones_dropped() {
        let primary = json!({"metadata": {"name": "mydb"}, "spec": {"databaseSecretName": ""}});
        let select = Select::Names(vec![
            "$(spec.databaseSecretName)".into(),
            "redb-$(metadata.name)".into(),
            "$(spec.x.y)".into(),
        ]);
        assert_eq!(Selection::resolve(&select, &primary), Selection::Names(vec!["redb-mydb".into()]));
    }

    #[test]
    fn an_empty_value_says_nothing() {
        let primary = json!({"spec": {"a": "", "b": {}, "c": [], "d": false, "e": null, "f": {"g": 0}, "h": "x"}});
        for path in ["spec.a", "spec.b", "spec.c", "spec.d", "spec.e", "spec.none", "spec.h.x", ""] {
            assert!(!says(&primary, path), "{path}");
        }
        for path in ["spec", "spec.f", "spec.f.g", "spec.h"] {
            assert!(says(&primary, path), "{path}");
        }
    }

    #[test]
    fn a_label_that_cannot_be_filled_selects_nothing() {
        let select = Select::Labels([("cluster".to_owned(), "$(spec.name)".to_owned())].into());
        let selection = Selection::resolve(&select, &json!({}));
        assert!(!selection.matches("x", Some(&BTreeMap::new())));
    }

    #[test]
    fn no_labels_select_every_object() {
        assert!(Selection::resolve(&Select::Labels(BTreeMap::new()), &json!({})).matches("any", None));
    }
}
