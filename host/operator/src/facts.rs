//! Facts as passes read them, and whom a change of one concerns. What a part of a fact is, is `core::part`'s; here it is found
//! quickly, since one fact may list thousands of things, and thousands of primaries read one of them each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use stepwright_core::part::{Difference, FactPart, Having, has, texts};
use stepwright_core::select::{each, fill_each, says};

use crate::apply::whole;
use crate::slots::Watched;

/// Positions of items by the texts at one path.
type Index = HashMap<String, Vec<usize>>;

/// A fact's value, with indices of its items that are made when first needed.
///
/// Items of a list are shared between one value and the next: of thousands of things one changes at a time.
#[derive(Debug)]
pub struct FactValue {
    content: Content,
    indices: Arc<Indices>,
    /// How the items differ from those that the indices are of.
    gone: HashSet<usize>,
    come: Vec<Arc<Value>>,
}

/// Positions of items by the texts at a path, by path.
#[derive(Debug, Default)]
struct Indices {
    items: Vec<Arc<Value>>,
    of: Mutex<HashMap<String, Arc<Index>>>,
}

/// Items that came or went before the indices are made anew.
const FEW: usize = 64;

/// Tells an item from every other that is kept.
fn identity(item: &Arc<Value>) -> usize {
    Arc::as_ptr(item).addr()
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Items(Vec<Arc<Value>>),
    Other(Value),
}

impl FactValue {
    /// Its text is that of the value: whoever wants one form of it gives it in that form.
    pub fn new(value: Value) -> Self {
        match value {
            Value::Array(items) => Self::of_items(items.into_iter().map(Arc::new).collect()),
            other => Self::of(Content::Other(other)),
        }
    }

    /// A list.
    pub fn of_items(items: Vec<Arc<Value>>) -> Self {
        let indices = Indices { items: items.clone(), of: Mutex::default() };
        Self { indices: Arc::new(indices), ..Self::of(Content::Items(items)) }
    }

    fn of(content: Content) -> Self {
        Self { content, indices: Arc::default(), gone: HashSet::new(), come: Vec::new() }
    }

    /// A list that differs from this one in few items: what was made to find these is used on.
    #[must_use]
    pub fn followed_by(&self, items: Vec<Arc<Value>>) -> Self {
        let indexed: HashSet<usize> = self.indices.items.iter().map(identity).collect();
        let there: HashSet<usize> = items.iter().map(identity).collect();
        let gone: HashSet<usize> = indexed.difference(&there).copied().collect();
        let come: Vec<Arc<Value>> = items.iter().filter(|item| !indexed.contains(&identity(item))).cloned().collect();
        if gone.len() + come.len() > FEW {
            return Self::of_items(items);
        }
        Self { content: Content::Items(items), indices: self.indices.clone(), gone, come }
    }

    /// All of it, as JSON. Written anew each time: mostly parts are read.
    pub fn text(&self) -> String {
        match &self.content {
            Content::Items(items) => list(items.iter().map(AsRef::as_ref).map(ToString::to_string)),
            Content::Other(value) => value.to_string(),
        }
    }

    /// How it differs from what it was `before`, if it does.
    pub fn since(&self, before: &Self) -> Option<Difference> {
        match (&before.content, &self.content) {
            (Content::Items(before), Content::Items(after)) => {
                let other_than = |all: &[Arc<Value>], others: &[Arc<Value>]| -> Vec<Value> {
                    let others: HashSet<usize> = others.iter().map(identity).collect();
                    all.iter().filter(|it| !others.contains(&identity(it))).map(|it| it.as_ref().clone()).collect()
                };
                // What is shared did not change, so only the rest is compared.
                let (was, is) = (other_than(before, after), other_than(after, before));
                match Difference::between(&Value::Array(was), &Value::Array(is)) {
                    Difference::Items { before, after } if before.is_empty() && after.is_empty() => None,
                    difference => Some(difference),
                }
            }
            (Content::Other(before), Content::Other(after)) => {
                (before != after).then(|| Difference::between(before, after))
            }
            _ => Some(Difference::Whole),
        }
    }

    /// A part of it, as JSON.
    pub(crate) fn part(&self, part: &FactPart, field: &dyn Fn(&str) -> Vec<String>) -> String {
        let mask = part.mask();
        let shown =
            |value: &Value| mask.as_ref().map_or_else(|| value.to_string(), |mask| mask.apply(value).to_string());
        match &self.content {
            Content::Items(items) if !part.items.is_empty() => {
                let found: Vec<Arc<Value>> = part.wanted(field).iter().flat_map(|having| self.having(having)).collect();
                let at = |item: &Arc<Value>| items.iter().position(|it| Arc::ptr_eq(it, item));
                let chosen: BTreeSet<usize> = found.iter().filter_map(at).collect();
                list(chosen.into_iter().filter_map(|at| items.get(at)).map(|item| shown(item)))
            }
            Content::Items(items) => list(items.iter().map(|item| shown(item))),
            Content::Other(value) => shown(value),
        }
    }

    /// The items that have all of this.
    fn having(&self, having: &Having) -> Vec<Arc<Value>> {
        let Some((path, wanted)) = having.first_key_value() else { return Vec::new() };
        let indexed = &self.indices.items;
        let make = || Arc::new(index(indexed.iter().map(AsRef::as_ref), path));
        let index = self.indices.of.lock().entry(path.clone()).or_insert_with(make).clone();
        let found = index.get(wanted).into_iter().flatten().filter_map(|at| indexed.get(*at));
        let found = found.filter(|item| !self.gone.contains(&identity(item))).chain(&self.come);
        found.filter(|item| has(item, having)).cloned().collect()
    }
}

impl PartialEq for FactValue {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl Eq for FactValue {}

/// A JSON array of these.
fn list(items: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push(']');
    text
}

fn index<'a>(items: impl Iterator<Item = &'a Value>, path: &str) -> Index {
    let mut index = Index::new();
    for (at, item) in items.enumerate() {
        for text in texts(item, path) {
            index.entry(text).or_default().push(at);
        }
    }
    index
}

/// Fields of an object by a dotted path, which leads to several where `list[]` is on it, without the whole object made one JSON
/// value.
pub(crate) fn fields(object: &DynamicObject, path: &str) -> Vec<String> {
    match path {
        "metadata.name" => vec![object.name_any()],
        "metadata.namespace" => object.namespace().into_iter().collect(),
        "metadata.uid" => object.uid().into_iter().collect(),
        path if path.starts_with("metadata.") => each(&whole(object), path),
        _ => each(&object.data, path),
    }
}

/// Whom of a kind's primaries a change of facts concerns.
#[derive(Default)]
pub(crate) struct Concerned {
    all: bool,
    /// Paths at which a primary has to say something.
    says: Vec<String>,
    /// A part, the items that changed, and which texts are in these at each of the part's paths.
    items: Vec<(FactPart, Vec<Value>, HashMap<String, Index>)>,
}

impl Concerned {
    /// By what the steps read.
    pub(crate) fn by(watched: &[Arc<Watched>], facts: &[(String, Difference)]) -> Self {
        let mut concerned = Self::default();
        for watched in watched {
            for (name, difference) in facts {
                concerned.add(watched, name, difference);
            }
        }
        concerned
    }

    fn add(&mut self, watched: &Watched, name: &String, difference: &Difference) {
        let (always, when) = (watched.facts.contains(name), watched.facts_when.get(name));
        if !always && when.is_none() {
            return;
        }
        let part = watched.fact_parts.get(name).cloned().unwrap_or_default();
        match (difference.seen(&part), when) {
            (None, _) => {}
            (Some(Difference::Items { before, after }), _) if always && !part.items.is_empty() => {
                let items = [before, after].concat();
                let paths = part.items.iter().filter_map(|having| having.keys().next());
                let indices = paths.map(|path| (path.clone(), index(items.iter(), path))).collect();
                self.items.push((part, items, indices));
            }
            (Some(_), Some(path)) if !always => self.says.push(path.clone()),
            (Some(_), _) => self.all = true,
        }
    }

    pub(crate) fn is_nobody(&self) -> bool {
        !self.all && self.says.is_empty() && self.items.is_empty()
    }

    pub(crate) fn is(&self, primary: &DynamicObject) -> bool {
        if self.all {
            return true;
        }
        if !self.says.is_empty() {
            let value = whole(primary);
            if self.says.iter().any(|path| says(&value, path)) {
                return true;
            }
        }
        self.items.iter().any(|(part, items, indices)| {
            let field = |path: &str| fields(primary, path);
            // Most primaries have to do with none of the items, and that is soon seen.
            let may_be = part.items.iter().any(|having| {
                let Some((path, value)) = having.first_key_value() else { return false };
                let Some(index) = indices.get(path) else { return false };
                fill_each(value, &field).iter().any(|text| index.contains_key(text))
            });
            may_be && part.wanted(&field).iter().any(|having| items.iter().any(|item| has(item, having)))
        })
    }
}

/// Parts of facts by their names: nothing where a manifest says nothing.
pub(crate) type Parts = BTreeMap<String, FactPart>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn part() -> FactPart {
        let by = |path: &str, value: &str| Having::from([(path.to_owned(), value.to_owned())]);
        FactPart {
            fields: vec!["uid".to_owned(), "name".to_owned(), "status".to_owned()],
            items: vec![by("uid", "$(status.uid)"), by("name", "$(metadata.name)")],
        }
    }

    fn primary(name: &str, uid: u64) -> DynamicObject {
        let object = json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name}, "status": {"uid": uid}});
        serde_json::from_value(object).unwrap()
    }

    fn fact() -> Value {
        json!([{"name": "a", "status": "on", "uid": 1, "x": 1}, {"name": "b", "status": "on", "uid": 2, "x": 1},
            {"name": "a", "status": "off", "uid": 3, "x": 1}])
    }

    #[test]
    fn a_primary_is_shown_its_items_and_fields() {
        let value = FactValue::new(fact());
        let shown = |object: &DynamicObject| value.part(&part(), &|path| fields(object, path));
        assert_eq!(
            shown(&primary("a", 1)),
            r#"[{"name":"a","status":"on","uid":1},{"name":"a","status":"off","uid":3}]"#
        );
        assert_eq!(shown(&primary("c", 9)), "[]");
        assert_eq!(value.part(&FactPart::default(), &|_| Vec::new()), value.text());
    }

    #[test]
    fn what_two_values_share_is_not_compared_and_what_changed_is_told() {
        let item = |uid: u64, on: bool| Arc::new(json!({"on": on, "uid": uid}));
        let (one, two) = (item(1, true), item(2, true));
        let before = FactValue::of_items(vec![one.clone(), two.clone()]);
        let after = FactValue::of_items(vec![one.clone(), item(2, false), item(3, true)]);
        let told = Difference::Items {
            before: vec![two.as_ref().clone()],
            after: vec![json!({"on": false, "uid": 2}), json!({"on": true, "uid": 3})],
        };
        assert_eq!(after.since(&before), Some(told));
        // Equal, whether shared or not.
        let same = FactValue::of_items(vec![one, item(2, true)]);
        assert_eq!(same.since(&before), None);
        assert_eq!(same, before);
        assert_eq!(after.text(), r#"[{"on":true,"uid":1},{"on":false,"uid":2},{"on":true,"uid":3}]"#);
        assert_eq!(FactValue::new(json!({})).since(&before), Some(Difference::Whole));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

        /// What is found does not depend on whether the indices were made for it or for a list before it.
        #[test]
        fn a_list_that_followed_another_shows_the_same(changes in prop::collection::vec((0..90u64, 0..4u8), 0..150)) {
            let item = |uid: u64, name: u8| Arc::new(json!({"name": name.to_string(), "status": "on", "uid": uid}));
            let mut items: BTreeMap<u64, Arc<Value>> = (0..40).map(|uid| (uid, item(uid, 0))).collect();
            let all = |items: &BTreeMap<u64, Arc<Value>>| items.values().cloned().collect::<Vec<_>>();
            let mut value = FactValue::of_items(all(&items));
            for (uid, name) in changes {
                match name {
                    3 => drop(items.remove(&uid)),
                    name => drop(items.insert(uid, item(uid, name))),
                }
                value = value.followed_by(all(&items));
                let anew = FactValue::of_items(all(&items));
                prop_assert_eq!(&value, &anew);
                for object in [primary("1", uid), primary("2", 7)] {
                    let shown = |value: &FactValue| value.part(&part(), &|path| fields(&object, path));
                    prop_assert_eq!(shown(&value), shown(&anew));
                }
            }
        }
    }

    #[test]
    fn a_change_concerns_those_who_are_shown_it() {
        let watched = |parts: Parts| {
            let facts = vec!["things".to_owned()];
            let (observes, writes, facts_when) = (Vec::new(), Vec::new(), BTreeMap::new());
            [Arc::new(Watched { observes, writes, facts, facts_when, fact_parts: parts })]
        };
        let narrow = watched([("things".to_owned(), part())].into());
        let concerned = |watched: &[Arc<Watched>], change: &dyn Fn(&mut Value)| {
            let mut after = fact();
            change(&mut after);
            let difference = Difference::between(&fact(), &after);
            let concerned = Concerned::by(watched, &[("things".to_owned(), difference)]);
            ["a", "b", "c"].map(|name| concerned.is(&primary(name, 9)))
        };
        assert_eq!(concerned(&narrow, &|it| it[1]["status"] = json!("off")), [false, true, false]);
        // Who had the name is told as well as who has it.
        assert_eq!(concerned(&narrow, &|it| it[1]["name"] = json!("c")), [false, true, true]);
        assert_eq!(concerned(&narrow, &|it| it[1]["x"] = json!(2)), [false; 3]);
        assert_eq!(concerned(&watched(Parts::new()), &|it| it[1]["x"] = json!(2)), [true; 3]);
        let other = Concerned::by(&narrow, &[("others".to_owned(), Difference::Whole)]);
        assert!(other.is_nobody());
    }
}
