//! Whose a primary is that several operators can see: each of them watches namespaces beside its own.
//!
//! The one that has the managed system that the primary names; of several, the first to say so, in an annotation. One that has
//! it not may only tell so, and gives way.

use kube::ResourceExt;
use kube::api::DynamicObject;
use stepwright_core::admit::{OPERATOR_ANNOTATION, WITHOUT_SYSTEM};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It says so.
    Ours,
    /// It says nothing that would be in the way: this is to be said.
    Take(String),
    /// Nothing is done for it here.
    AnotherHasIt,
}

/// `home` is this operator's namespace; `exists` says whether it has the system that the primary belongs to.
pub(super) fn of(primary: &DynamicObject, home: &str, exists: bool) -> Claim {
    let said = primary.annotations().get(OPERATOR_ANNOTATION).map(String::as_str);
    let loose = said.is_some_and(|said| said.ends_with(WITHOUT_SYSTEM));
    let whose = said.map(|said| said.strip_suffix(WITHOUT_SYSTEM).unwrap_or(said));
    match whose {
        Some(whose) if whose == home && (!loose || !exists) => Claim::Ours,
        Some(whose) if whose != home && !(loose && exists) => Claim::AnotherHasIt,
        _ if exists => Claim::Take(home.to_owned()),
        _ => Claim::Take(format!("{home}{WITHOUT_SYSTEM}")),
    }
}

/// Another operator, not that of `home`, said that it has the managed system of this object.
pub(crate) fn of_another_operator(object: &DynamicObject, home: &str) -> bool {
    let said = object.annotations().get(OPERATOR_ANNOTATION);
    said.is_some_and(|said| said != home && !said.ends_with(WITHOUT_SYSTEM))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(said: Option<&str>, exists: bool, claim: Claim) {
        let annotations = said.map(|said| json!({OPERATOR_ANNOTATION: said})).unwrap_or_default();
        let primary =
            json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a", "annotations": annotations}});
        assert_eq!(of(&serde_json::from_value(primary).unwrap(), "here", exists), claim);
    }

    #[test]
    fn whoever_has_the_system_has_the_primary_and_keeps_it() {
        check(None, true, Claim::Take("here".to_owned()));
        check(Some("here"), true, Claim::Ours);
        // Its system went: whose it is stays, so that it can be taken down.
        check(Some("here"), false, Claim::Ours);
        check(Some("there"), true, Claim::AnotherHasIt);
        check(Some("there"), false, Claim::AnotherHasIt);
    }

    #[test]
    fn whoever_has_it_not_says_so_and_gives_way() {
        check(None, false, Claim::Take("here/none".to_owned()));
        check(Some("here/none"), false, Claim::Ours);
        check(Some("here/none"), true, Claim::Take("here".to_owned()));
        check(Some("there/none"), false, Claim::AnotherHasIt);
        check(Some("there/none"), true, Claim::Take("here".to_owned()));
    }
}
