//! What becomes of plans, and which settings are refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use stepwright_sdk::testing::{Given, carried_out};
use stepwright_sdk::{Plan, Policy, Verdict, document};
use stepwright_service_labels::ServiceLabels;

fn given() -> Given {
    let rec = json!({ "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" } });
    Given::planned_by::<ServiceLabels>("rec", &rec)
        .settings(&json!({ "labels": { "example.com/team": "data" }, "annotations": { "note": "for /all~" } }))
}

#[test]
fn every_desired_service_is_labelled_and_nothing_else_differs() {
    let labelled = json!({ "metadata": { "labels": { "app": "x", "example.com/team": "other" } }, "spec": {} });
    let plan = Plan::done()
        .desire("v1", "Service", "rec", &labelled)
        .desire("v1", "Service", "rec-ui", &json!({ "spec": {} }))
        .desire("v1", "Secret", "rec", &json!({}))
        .amend("v1", "Service", "foreign", &json!({ "spec": {} }));
    let mut expected = document(&plan).unwrap();
    for service in [1, 2] {
        expected["desired"][service]["metadata"]["annotations"] = json!({ "note": "for /all~" });
        expected["desired"][service]["metadata"]["labels"]["example.com/team"] = json!("data");
    }
    assert_eq!(expected["desired"][1]["metadata"]["labels"]["app"], json!("x"));
    assert_eq!(carried_out(&plan, &given().review::<ServiceLabels>(&plan)), Ok(Some(expected)));
}

#[test]
fn a_plan_without_services_or_with_labelled_ones_passes() {
    let metadata = json!({ "labels": { "example.com/team": "data" }, "annotations": { "note": "for /all~" } });
    for plan in [
        Plan::done().desire("v1", "Secret", "rec", &json!({})),
        Plan::done().desire("v1", "Service", "rec", &json!({ "metadata": metadata })),
    ] {
        assert_eq!(given().review::<ServiceLabels>(&plan), Verdict::Pass);
    }
}

#[track_caller]
fn refused(settings: &Value, field: &str, words: &str) {
    let violations = ServiceLabels::validate_settings(&settings.to_string());
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].field, field);
    assert!(violations[0].message.contains(words), "{}", violations[0].message);
}

#[test]
fn bad_settings_are_refused_in_words() {
    assert_eq!(ServiceLabels::validate_settings(r#"{"labels":{"example.com/a_B.c":"1","b":""}}"#), []);
    assert_eq!(ServiceLabels::validate_settings(r#"{"annotations":{"a":"any text at all"}}"#), []);
    refused(&json!(null), "settings", "neither `labels` nor `annotations`");
    refused(&json!({ "label": {} }), "settings", "unknown field `label`, expected `labels` or `annotations`");
    refused(&json!({ "labels": { "a": 1 } }), "settings", "expected a string");
    refused(&json!({ "labels": { "a": "x y" } }), "labels[a]", "it is `x y`: use an annotation");
    refused(&json!({ "labels": { "-a": "" } }), "labels[-a]", "the name of a key is made of letters");
    refused(&json!({ "labels": { "": "" } }), "labels[]", "the name of a key is made of letters");
    refused(&json!({ "annotations": { "A/a": "" } }), "annotations[A/a]", "`A` is no DNS name");
    refused(&json!({ "labels": { "a": "x".repeat(64) } }), "labels[a]", "at most 63");
    refused(&json!({ "labels": { "stepwright.dev/owner": "me" } }), "labels[stepwright.dev/owner]", "operator's own");
}
