//! Facts that are lists, item by item: of thousands of databases, only those are worked on that are not as they were. What an item
//! is made into is `facts`' business.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// An object of a list, ready to be handed out.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) value: Arc<Value>,
    /// It is on its way to another state.
    pub(crate) moving: bool,
    /// Digest of the text that it was made of.
    raw: [u8; 32],
}

/// What it was made of does not count.
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.moving == other.moving && self.value == other.value
    }
}

impl Eq for Item {}

impl Item {
    /// `make` gives what is handed out of it, and whether it moves.
    pub(crate) fn of(text: &str, make: &dyn Fn(Value) -> (Value, bool)) -> Option<Self> {
        let (value, moving) = make(serde_json::from_str(text).ok()?);
        Some(Self { value: Arc::new(value), moving, raw: digest(text) })
    }

    pub(crate) fn uid(&self) -> Option<u64> {
        self.value.get("uid")?.as_u64()
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The items of a list, in order of their uids: the order of a list of objects is the server's whim. What was made of the same text
/// `before` is taken from there. `None`: the body is no list.
pub(crate) fn read(body: &[u8], before: &[Item], make: &dyn Fn(Value) -> (Value, bool)) -> Option<Vec<Item>> {
    let texts: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let before: HashMap<&[u8; 32], &Item> = before.iter().map(|item| (&item.raw, item)).collect();
    let item = |text: &&RawValue| {
        let known = before.get(&digest(text.get())).map(|item| (*item).clone());
        known.or_else(|| Item::of(text.get(), make))
    };
    let mut items: Vec<Item> = texts.iter().map(item).collect::<Option<_>>()?;
    // Active-Active databases have a guid.
    let other = |item: &Item| item.value.get("uid").or_else(|| item.value.get("guid")).map(Value::to_string);
    items.sort_by_key(|item| (item.uid(), item.uid().is_none().then(|| other(item))));
    Some(items)
}

/// The list with one item more, another, or less.
pub(crate) fn with(items: &[Item], uid: u64, item: Option<Item>) -> Vec<Item> {
    let mut items = items.to_vec();
    let at = items.partition_point(|item| item.uid() < Some(uid));
    let is_there = items.get(at).is_some_and(|item| item.uid() == Some(uid));
    items.splice(at..at + usize::from(is_there), item);
    items
}

/// What is handed out of a list.
pub(crate) fn values(items: &[Item]) -> Vec<Arc<Value>> {
    items.iter().map(|item| item.value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwright_operator::system::FactValue;

    use super::*;

    fn make(value: Value) -> (Value, bool) {
        let moving = value["status"] != "active";
        (value, moving)
    }

    #[test]
    fn what_did_not_change_is_shared_and_the_rest_is_made() {
        let before = read(br#"[{"uid":2,"status":"active"},{"uid":1,"status":"pending"}]"#, &[], &make).unwrap();
        assert_eq!(
            before.iter().map(|item| (item.uid(), item.moving)).collect::<Vec<_>>(),
            [(Some(1), true), (Some(2), false)]
        );
        let after = read(br#"[{"uid":1,"status":"active"}, {"uid":2,"status":"active"}]"#, &before, &|value| {
            assert_eq!(value["uid"], 1, "made anew for nothing");
            make(value)
        });
        let after = after.unwrap();
        assert!(Arc::ptr_eq(&before[1].value, &after[1].value));
        assert!(!after[0].moving);
        assert!(read(br#"{"uid":1}"#, &[], &make).is_none());
        assert!(read(br#"[{"uid":1"#, &[], &make).is_none());
    }

    #[test]
    fn one_item_comes_changes_and_goes() {
        let items = read(br#"[{"uid":2},{"uid":10}]"#, &[], &make).unwrap();
        let uids = |items: &[Item]| items.iter().filter_map(Item::uid).collect::<Vec<_>>();
        let item = |text: &str| Item::of(text, &make);
        assert_eq!(uids(&with(&items, 7, item(r#"{"uid":7}"#))), [2, 7, 10]);
        assert_eq!(uids(&with(&items, 11, item(r#"{"uid":11}"#))), [2, 10, 11]);
        assert_eq!(uids(&with(&items, 2, None)), [10]);
        assert_eq!(uids(&with(&items, 3, None)), [2, 10]);
        let changed = with(&items, 10, item(r#"{"uid":10,"name":"a"}"#));
        assert_eq!(
            FactValue::of_items(values(&changed)),
            FactValue::new(json!([{"uid": 2}, {"name": "a", "uid": 10}]))
        );
    }
}
