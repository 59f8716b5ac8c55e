//! Parts of facts: what of a fact a step reads for one primary, and whether a change of the fact concerns that primary. Pure:
//! the operator brings the facts, and keeps what makes a search in them quick.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mask::Mask;
use crate::select::fill_each;

/// What of a fact is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FactPart {
    /// Fields that are read, of each item if the fact is a list: dotted paths. None: every field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Of a list, the items that are read: those of which one of these is true. None: every item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Having>,
}

/// True of an item that has all of these values, each at its dotted path. `$(path)` in a value stands for that field of the
/// primary; where that is absent or empty, it is true of no item. Of an array on the way, one item has to lead there.
pub type Having = BTreeMap<String, String>;

impl FactPart {
    /// Ready for use on many items.
    pub fn mask(&self) -> Option<Mask> {
        (!self.fields.is_empty()).then(|| Mask::exactly(&self.fields))
    }

    /// What items have to have for a primary with these fields, each asked for by its dotted path; with `list[]` on the way one
    /// for each item of that list.
    pub fn wanted(&self, field: &dyn Fn(&str) -> Vec<String>) -> Vec<Having> {
        let filled = |having: &Having| {
            having.iter().fold(vec![Having::new()], |all, (path, value)| {
                let texts = fill_each(value, field);
                let with = |one: &Having, text: &String| {
                    let mut one = one.clone();
                    one.insert(path.clone(), text.clone());
                    one
                };
                all.iter().flat_map(|one| texts.iter().map(move |text| with(one, text))).collect()
            })
        };
        self.items.iter().flat_map(filled).collect()
    }
}

/// Whether an item has all of these values.
pub fn has(item: &Value, having: &Having) -> bool {
    !having.is_empty() && having.iter().all(|(path, wanted)| texts(item, path).iter().any(|found| found == wanted))
}

/// The texts that a dotted path leads to: several where arrays are on the way.
pub fn texts(value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    gather(value, path, &mut found);
    found
}

fn gather(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, path, found)),
        Value::Object(fields) => {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(value) = fields.get(name).filter(|_| !path.is_empty()) {
                gather(value, rest, found);
            }
        }
        Value::String(text) if path.is_empty() => found.push(text.clone()),
        Value::Number(number) if path.is_empty() => found.push(number.to_string()),
        Value::Bool(yes) if path.is_empty() => found.push(yes.to_string()),
        _ => {}
    }
}

/// How a fact changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// In some way that is not told more exactly.
    Whole,
    /// It is no list, and this is what it was and is.
    Value(Box<(Value, Value)>),
    /// These items of a list, as they were and as they are; of one that came or went, one of the two.
    Items { before: Vec<Value>, after: Vec<Value> },
}

impl Difference {
    /// Between two values of one fact.
    pub fn between(before: &Value, after: &Value) -> Self {
        match (before, after) {
            (Value::Array(before), Value::Array(after)) => {
                let missing_in = |all: &[Value], others: &[Value]| {
                    let others: HashSet<&Value> = others.iter().collect();
                    all.iter().filter(|item| !others.contains(item)).cloned().collect()
                };
                Self::Items { before: missing_in(before, after), after: missing_in(after, before) }
            }
            (Value::Object(_), Value::Object(_)) => Self::Value(Box::new((before.clone(), after.clone()))),
            _ => Self::Whole,
        }
    }

    /// What of it is seen by whoever reads this part; `None`: nothing.
    pub fn seen(&self, part: &FactPart) -> Option<Self> {
        let Some(mask) = part.mask() else { return Some(self.clone()) };
        match self {
            Self::Whole => Some(Self::Whole),
            Self::Value(values) => (mask.apply(&values.0) != mask.apply(&values.1)).then(|| self.clone()),
            Self::Items { before, after } => {
                let masked =
                    |items: &[Value]| -> HashSet<Value> { items.iter().map(|item| mask.apply(item)).collect() };
                let (was, is) = (masked(before), masked(after));
                let news = |items: &[Value], others: &HashSet<Value>| -> Vec<Value> {
                    items.iter().filter(|item| !others.contains(&mask.apply(item))).cloned().collect()
                };
                let (before, after) = (news(before, &is), news(after, &was));
                (!before.is_empty() || !after.is_empty()).then_some(Self::Items { before, after })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn part(fields: &[&str], items: &[(&str, &str)]) -> FactPart {
        let having = |(path, value): &(&str, &str)| Having::from([((*path).to_owned(), (*value).to_owned())]);
        FactPart {
            fields: fields.iter().map(|it| (*it).to_owned()).collect(),
            items: items.iter().map(having).collect(),
        }
    }

    #[test]
    fn items_are_chosen_by_what_the_primary_says() {
        let part = part(&[], &[("uid", "$(status.uid)"), ("tags.value", "$(metadata.name)"), ("port", "$(spec.port)")]);
        let primary = json!({"metadata": {"name": "mydb"}, "status": {"uid": "7"}});
        let wanted = part.wanted(&|path| texts(&primary, path));
        // The primary names no port, so nothing is chosen by it.
        assert_eq!(wanted.len(), 2);
        let chosen = |item: &Value| wanted.iter().any(|having| has(item, having));
        assert!(chosen(&json!({"uid": 7})));
        assert!(chosen(&json!({"uid": 8, "tags": [{"key": "k", "value": "x"}, {"key": "redb", "value": "mydb"}]})));
        assert!(!chosen(&json!({"uid": 8, "tags": [], "port": 0})));
        assert!(!has(&json!({"uid": 7}), &Having::new()));
    }

    #[test]
    fn of_a_list_the_items_that_changed_are_told_as_they_were_and_are() {
        let item = |uid: u64, status: &str| json!({"uid": uid, "status": status, "time": status.len()});
        let before = json!([item(1, "active"), item(2, "pending"), item(3, "active")]);
        let after = json!([item(1, "active"), item(2, "active"), item(4, "pending")]);
        let difference = Difference::between(&before, &after);
        let Difference::Items { before, after } = &difference else { panic!("{difference:?}") };
        assert_eq!(*before, [item(2, "pending"), item(3, "active")]);
        assert_eq!(*after, [item(2, "active"), item(4, "pending")]);
        // Whoever reads only numbers sees that one went and one came.
        let seen = difference.seen(&part(&["uid"], &[])).unwrap();
        assert_eq!(seen, Difference::Items { before: vec![item(3, "active")], after: vec![item(4, "pending")] });
        assert_eq!(difference.seen(&part(&["none"], &[])), None);
    }

    #[test]
    fn of_anything_else_the_fields_that_are_read_decide() {
        let difference = Difference::between(&json!({"limit": 4, "used": 1}), &json!({"limit": 4, "used": 2}));
        assert_eq!(difference.seen(&part(&["limit"], &[])), None);
        assert!(difference.seen(&part(&["limit", "used"], &[])).is_some());
        assert_eq!(Difference::between(&json!([]), &json!({})).seen(&part(&["x"], &[])), Some(Difference::Whole));
    }

    fn lists() -> impl Strategy<Value = Vec<(u8, bool)>> {
        prop::collection::vec((0..6u8, any::<bool>()), 0..8)
    }

    proptest! {
        /// Whoever would be shown something else is told of a change.
        #[test]
        fn nobody_misses_a_change(before in lists(), after in lists(), name in 0..6u8, narrow in any::<bool>()) {
            let value = |items: &[(u8, bool)]| -> Value {
                items.iter().map(|(name, on)| json!({"name": name.to_string(), "on": on})).collect()
            };
            let (before, after) = (value(&before), value(&after));
            let part = part(if narrow { &["name"] } else { &[] }, &[("name", "$(name)")]);
            let wanted = part.wanted(&|_| vec![name.to_string()]);
            let concerns = |item: &Value| wanted.iter().any(|having| has(item, having));
            let shown = |all: &Value| -> HashSet<Value> {
                let mask = part.mask();
                let items = all.as_array().into_iter().flatten().filter(|item| concerns(item));
                items.map(|item| mask.as_ref().map_or_else(|| item.clone(), |mask| mask.apply(item))).collect()
            };
            let told = match Difference::between(&before, &after).seen(&part) {
                Some(Difference::Items { before, after }) => before.iter().chain(&after).any(concerns),
                other => other.is_some(),
            };
            prop_assert!(told || shown(&before) == shown(&after));
        }
    }
}
