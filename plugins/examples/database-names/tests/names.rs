//! Which databases are refused, and which settings.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use stepwright_database_names::DatabaseNames;
use stepwright_sdk::Admission as _;
use stepwright_sdk::testing::Asked;

fn database(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": name, "namespace": namespace}, "spec": {},
    })
}

fn asked(namespace: &str, name: &str) -> Asked {
    Asked::new::<DatabaseNames>("database-names", &database(namespace, name))
        .settings(&json!({"prefixes": {"team-a": "a-"}}))
}

fn refused(asked: &Asked) -> Vec<String> {
    let judged = asked.judge::<DatabaseNames>();
    assert!(judged.warnings.is_empty(), "{judged:?}");
    judged.violations.into_iter().map(|it| format!("{}: {}", it.field, it.message)).collect()
}

#[test]
fn names_begin_as_their_namespace_says() {
    assert_eq!(refused(&asked("team-a", "a-orders")), [""; 0]);
    let words = "metadata.name: must begin with `a-` in namespace `team-a`, such as `a-orders`; it is `orders`";
    assert_eq!(refused(&asked("team-a", "orders")), [words]);
    assert_eq!(refused(&asked("team-a", "a-")).len(), 1, "nothing but the beginning");
    assert_eq!(refused(&asked("team-b", "orders")), [""; 0], "no rule for this namespace");
}

#[test]
fn what_is_there_can_be_changed() {
    let asked = asked("team-a", "orders").instead_of(&database("team-a", "orders"));
    assert_eq!(refused(&asked), [""; 0]);
}

#[test]
fn settings_that_help_nobody_are_refused() {
    let wrong = |settings: &str| {
        let found = DatabaseNames::validate_settings(settings);
        found.into_iter().map(|it| it.field).collect::<Vec<_>>()
    };
    assert_eq!(wrong(r#"{"prefixes": {"team-a": "a-"}}"#), [""; 0]);
    assert_eq!(wrong(""), ["settings.prefixes"]);
    assert_eq!(wrong(r#"{"prefix": {}}"#), ["settings"]);
    assert_eq!(wrong(r#"{"prefixes": {"x": "-a", "y": ""}}"#), ["settings.prefixes[x]", "settings.prefixes[y]"]);
}
