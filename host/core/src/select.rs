//! Which objects an `observes` entry means for one primary. Pure: the operator brings the objects.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Fills `$(path)` in, in names also `$(list[].path)`, for each item of a list. Names that come out empty are dropped; a label
    /// that does selects nothing.
    pub fn resolve(select: &Select, primary: &Value) -> Self {
        Self::resolve_by(select, &|path| each(primary, path))
    }

    /// The same by whoever knows the primary's fields.
    pub fn resolve_by(select: &Select, field: &dyn Fn(&str) -> Vec<String>) -> Self {
        let first = |path: &str| field(path).into_iter().next();
        match select {
            Select::Owned => Self::Owned,
            Select::Labels(labels) => {
                let resolved: Option<BTreeMap<_, _>> =
                    labels.iter().map(|(key, value)| Some((key.clone(), fill(value, &first)?))).collect();
                resolved.map_or_else(|| Self::Names(Vec::new()), Self::Labels)
            }
            Select::Names(names) => {
                let all: BTreeSet<String> = names.iter().flat_map(|name| fill_each(name, field)).collect();
                Self::Names(all.into_iter().filter(|name| !name.is_empty()).collect())
            }
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
fn fill(template: &str, field: &dyn Fn(&str) -> Option<String>) -> Option<String> {
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

/// The same for each value that a path with `[]` leads to; nothing where one leads nowhere or to an empty string.
pub fn fill_each(template: &str, field: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let Some((before, after)) = template.split_once("$(") else { return vec![template.to_owned()] };
    let Some((path, after)) = after.split_once(')') else { return Vec::new() };
    let rests = fill_each(after, field);
    let texts = field(path).into_iter().filter(|text| !text.is_empty());
    texts.flat_map(|text| rests.iter().map(move |rest| format!("{before}{text}{rest}"))).collect()
}

/// The texts and numbers that a dotted path leads to, as text; `list[]` on the way stands for each item of a list.
pub fn each(value: &Value, path: &str) -> Vec<String> {
    let mut values = vec![value];
    for segment in path.split('.') {
        let (key, each) = segment.strip_suffix("[]").map_or((segment, false), |key| (key, true));
        let found = values.into_iter().filter_map(|value| value.get(key));
        values = if each { found.filter_map(Value::as_array).flatten().collect() } else { found.collect() };
    }
    values.into_iter().filter_map(text).collect()
}

/// A text or a number, as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
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
    fn each_item_of_a_list_gives_a_name() {
        let sources = json!([{"name": "a", "cert": "c"}, {"name": "b"}, {"name": ""}, {"name": "a"}]);
        let primary = json!({"metadata": {"name": "mydb"}, "spec": {"sources": sources, "certs": ["x", "y"]}});
        let names = |template: &str| match Selection::resolve(&Select::Names(vec![template.into()]), &primary) {
            Selection::Names(names) => names,
            other => vec![format!("{other:?}")],
        };
        assert_eq!(names("redb-$(spec.sources[].name)"), ["redb-a", "redb-b"]);
        assert_eq!(names("$(spec.sources[].cert)"), ["c"]);
        assert_eq!(names("$(metadata.name)-$(spec.certs[])"), ["mydb-x", "mydb-y"]);
        for nothing in
            ["$(spec.sources.name)", "$(spec.certs)", "$(spec.none[].name)", "$(spec.certs[]", "$(spec.certs[].x)"]
        {
            assert_eq!(names(nothing), Vec::<String>::new(), "{nothing}");
        }
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
