//! Which databases get their memory, and what the others are told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use stepwright_redb_memory_quota::RedbMemoryQuota;
use stepwright_sdk::testing::Given;
use stepwright_sdk::{Call, Plan, Policy, Verdict};

const GB: u64 = 1 << 30;

fn database(name: &str, day: u8, size: Option<&str>, uid: Option<&str>) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": { "name": name, "namespace": "team-b", "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z") },
        "spec": { "memorySize": size },
        "status": { "databaseUID": uid },
    })
}

/// Database `own`, made on the tenth, among these; quota 10GB, 2GB in `team-a`.
fn given(own: &Value, others: &[Value]) -> Given {
    others.iter().chain([own]).fold(
        Given::planned_by::<RedbMemoryQuota>("redb", own)
            .settings(&json!({ "default": "10GB", "namespaces": { "team-a": "2GB" } })),
        |given, database| given.object("databases", database),
    )
}

fn create(bytes: u64) -> Plan {
    Plan::done().call(Call::post("create", "/v1/bdbs").body(&json!({ "name": "own", "memory_size": bytes })))
}

fn change(body: &Value) -> Plan {
    Plan::done().call(Call::put("change", "/v1/bdbs/9").body(body))
}

#[track_caller]
fn denied(verdict: &Verdict) -> String {
    assert!(matches!(verdict, Verdict::Deny(_)), "{verdict:?}");
    let Verdict::Deny(why) = verdict else { return String::new() };
    why.clone()
}

#[test]
fn a_database_that_fits_passes_and_one_that_does_not_is_told_the_numbers() {
    let own = database("own", 10, Some("4GB"), None);
    let others = [database("a", 1, Some("6GB"), Some("1")), database("b", 2, None, Some("2"))];
    let given = given(&own, &others);
    assert_eq!(given.review::<RedbMemoryQuota>(&create(3 * GB)), Verdict::Pass);
    assert_eq!(
        denied(&given.review::<RedbMemoryQuota>(&create(4 * GB))),
        "database `own` asks for 4GB of memory; the quota of namespace `team-b` is 10GB, and 6.09GB of it are taken \
         (a 6GB, b 100MB): at most 3.9GB can be had; lower spec.memorySize, delete another database, or have the quota raised"
    );
}

#[test]
fn the_last_byte_of_a_quota_can_be_had() {
    let own = database("own", 10, None, None);
    let given = given(&own, &[database("a", 1, Some("4GB"), Some("1"))]);
    assert_eq!(given.review::<RedbMemoryQuota>(&create(6 * GB)), Verdict::Pass);
    denied(&given.review::<RedbMemoryQuota>(&create(6 * GB + 1)));
}

#[test]
fn what_exists_counts_with_what_it_has() {
    let own = database("own", 10, None, None);
    let given = given(&own, &[database("a", 1, Some("1GB"), Some("1"))]);
    let with = given.clone().fact("bdbs", &json!([{ "uid": 1, "memory_size": 8 * GB }]));
    assert_eq!(given.review::<RedbMemoryQuota>(&create(3 * GB)), Verdict::Pass);
    assert!(denied(&with.review::<RedbMemoryQuota>(&create(3 * GB))).contains("(a 8GB): at most 2GB can be had"));
}

#[test]
fn of_those_to_come_the_older_is_first_and_one_that_never_fits_is_in_nobodys_way() {
    let own = database("own", 10, Some("6GB"), None);
    for (other, passes) in [
        (database("older", 9, Some("6GB"), None), false),
        (database("younger", 11, Some("6GB"), None), true),
        (database("also", 10, Some("6GB"), None), false),
        (database("too-large", 9, Some("11GB"), None), true),
    ] {
        let verdict = given(&own, std::slice::from_ref(&other)).review::<RedbMemoryQuota>(&create(6 * GB));
        assert_eq!(verdict == Verdict::Pass, passes, "{other}: {verdict:?}");
    }
}

#[test]
fn growth_is_counted_and_giving_back_is_always_allowed() {
    let own = database("own", 10, Some("9GB"), Some("9"));
    let others = [database("a", 1, Some("5GB"), Some("1"))];
    let bdbs = json!([{ "uid": 1, "memory_size": 5 * GB }, { "uid": 9, "memory_size": 8 * GB }]);
    let given = given(&own, &others).fact("bdbs", &bdbs);
    assert!(
        denied(&given.review::<RedbMemoryQuota>(&change(&json!({ "memory_size": 9 * GB })))).contains("at most 5GB")
    );
    // Over the quota already: the quota came later.
    for body in [json!({ "memory_size": 8 * GB }), json!({ "memory_size": 6 * GB }), json!({ "replication": true })] {
        assert_eq!(given.review::<RedbMemoryQuota>(&change(&body)), Verdict::Pass, "{body}");
    }
}

#[test]
fn a_namespace_has_its_own_quota_or_none() {
    let mut own = database("own", 10, None, None);
    own["metadata"]["namespace"] = json!("team-a");
    let given = given(&own, &[]);
    assert!(denied(&given.review::<RedbMemoryQuota>(&create(3 * GB))).contains("is 2GB, and none of it is taken"));
    let without = given.settings(&json!({ "namespaces": { "other": "1GB" } }));
    assert_eq!(without.review::<RedbMemoryQuota>(&create(3 * GB)), Verdict::Pass);
}

#[test]
fn other_calls_pass() {
    let given = given(&database("own", 10, None, None), &[]).settings(&json!({ "default": "1MB" }));
    for call in [Call::delete("d", "/v1/bdbs/9"), Call::get("g", "/v1/bdbs"), Call::post("a", "/v1/bdbs/9/actions/x")] {
        assert_eq!(given.review::<RedbMemoryQuota>(&Plan::done().call(call)), Verdict::Pass);
    }
}

#[track_caller]
fn refused(settings: &Value, field: &str, words: &str) {
    let violations = RedbMemoryQuota::validate_settings(&settings.to_string());
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].field, field);
    assert!(violations[0].message.contains(words), "{}", violations[0].message);
}

#[test]
fn bad_settings_are_refused_in_words() {
    assert_eq!(RedbMemoryQuota::validate_settings(r#"{"default":"10GB","namespaces":{"team-a":"0.5TB"}}"#), []);
    refused(&json!(null), "settings", "nothing has a quota");
    refused(&json!({ "defaults": "1GB" }), "settings", "unknown field `defaults`");
    refused(&json!({ "default": 10 }), "settings", "expected a string");
    refused(&json!({ "default": "10Gi" }), "default", "`10Gi` is no size: a number with MB, GB or TB");
    refused(&json!({ "namespaces": { "a": "lots" } }), "namespaces[a]", "`lots` is no size");
    refused(&json!({ "namespaces": { "team-*": "1GB" } }), "namespaces[team-*]", "patterns are not known here");
}
