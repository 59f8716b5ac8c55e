//! Policies as components in ConfigMaps: rehearsed, chained by priority, swapped; what they amend, deny and hold.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::json;
use stepwright_tests::api_server::{Running, SOON};
use stepwright_tests::components::{guest, noted};
use stepwright_tests::wait::until;

use crate::{Offered, delete, operator, put, still_answers, told};

/// A policy that does as told. `mark` tells versions apart.
async fn policy(running: &Running, name: &str, mark: &str, settings: &str, annotations: &[(&str, &str)]) {
    let component = noted(guest("judge"), mark.as_bytes());
    let data = json!({"settings": settings});
    put(running, name, Offered { component: Some(&component), data, annotations }).await;
}

async fn trail(running: &Running, expected: Option<&str>) {
    running
        .object::<ConfigMap>("a-config", |map| {
            map.data.as_ref().is_some_and(|data| data.get("trail").map(String::as_str) == expected)
        })
        .await;
}

fn rehearsal(map: &ConfigMap) -> String {
    map.annotations().get("stepwright.dev/rehearsal").cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_amend_in_the_order_of_their_priorities() {
    let running = operator(|_| {}).await;
    // The second can do nothing unless the first came before it.
    let first = r#"{"amend":[{"op":"add","path":"/desired/0/data/trail","value":"a"}]}"#;
    let second = r#"{"amend":[{"op":"test","path":"/desired/0/data/trail","value":"a"},{"op":"replace","path":"/desired/0/data/trail","value":"ab"}]}"#;
    policy(&running, "z-first", "1", first, &[("stepwright.dev/priority", "1")]).await;
    told(&running, "z-first", "active", "PluginActive").await;
    trail(&running, Some("a")).await;
    let map = running.api::<ConfigMap>().get("z-first").await.unwrap();
    let line = rehearsal(&map);
    assert!(line.starts_with("shown 1 recorded and 0 live plans: 0 passed, 1 amended in 1 fields"), "{line}");
    assert!(line.contains("a-config data.trail"), "{line}");

    // In rehearsal as well, what comes before has been there first.
    policy(&running, "a-second", "1", second, &[("stepwright.dev/priority", "0")]).await;
    let reason = told(&running, "a-second", "refused", "RehearsalFailed").await;
    assert!(reason.contains("AmendDoesNotApply"), "{reason}");
    trail(&running, Some("a")).await;
    policy(&running, "a-second", "1", second, &[("stepwright.dev/priority", "2")]).await;
    told(&running, "a-second", "active", "PluginActive").await;
    trail(&running, Some("ab")).await;

    // A swap is a new question although nothing that it is about changed.
    let other = r#"{"amend":[{"op":"add","path":"/desired/0/data/trail","value":"x"}]}"#;
    policy(&running, "a-second", "2", other, &[("stepwright.dev/priority", "2")]).await;
    trail(&running, Some("x")).await;
    delete(&running, "a-second").await;
    trail(&running, Some("a")).await;
    delete(&running, "z-first").await;
    trail(&running, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_denies_or_holds_is_told_in_its_words() {
    let running = operator(|_| {}).await;
    policy(&running, "strict", "1", r#"{"deny":"not on Fridays"}"#, &[]).await;
    told(&running, "strict", "active", "PluginActive").await;
    let map = running.api::<ConfigMap>().get("strict").await.unwrap();
    assert!(rehearsal(&map).contains("1 denied") && rehearsal(&map).contains("not on Fridays"), "{}", rehearsal(&map));
    running.apply("a", json!({"value": "2"})).await;
    let (reason, message) = running.condition("a", "Ready", "False").await;
    assert!(reason == "PolicyDenied" && message.ends_with("denies it: not on Fridays"), "{reason}: {message}");
    until("an Event", SOON, || async {
        let events = running.events("a").await;
        if events.iter().any(|it| *it == ("PolicyDenied".to_owned(), message.clone())) { Ok(()) } else { Err(events) }
    })
    .await;

    policy(&running, "strict", "2", r#"{"hold":"2099-01-01T12:00:00Z"}"#, &[]).await;
    let held = until("the hold", SOON, || async {
        let (reason, message) = running.condition("a", "Progressing", "True").await;
        if reason == "PolicyHold" { Ok(message) } else { Err(reason) }
    })
    .await;
    assert!(held.contains("not before noon (until 2099-01-01T12:00:00Z)"), "{held}");
    let map = running.api::<ConfigMap>().get("a-config").await.unwrap();
    assert_eq!(map.data.unwrap()["value"], "1", "what was denied or held was carried out");
    delete(&running, "strict").await;
    still_answers(&running, "embedded", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_traps_is_found_out_in_rehearsal() {
    let running = operator(|_| {}).await;
    policy(&running, "broken", "1", r#"{"trap":"I cannot judge this"}"#, &[]).await;
    let reason = told(&running, "broken", "refused", "RehearsalFailed").await;
    assert!(reason.contains("PluginTrapped") && reason.contains("I cannot judge this"), "{reason}");
    still_answers(&running, "embedded", "2").await;

    // What is too bad to answer may do to be tried out.
    policy(&running, "broken", "1", r#"{"trap":"I cannot judge this"}"#, &[("stepwright.dev/mode", "shadow")]).await;
    told(&running, "broken", "shadow", "PluginShadow").await;
    still_answers(&running, "embedded", "3").await;

    // With `live`, what every primary would be told now is shown as well.
    policy(&running, "broken", "2", "{}", &[("stepwright.dev/rehearse", "live")]).await;
    told(&running, "broken", "active", "PluginActive").await;
    let map = running.api::<ConfigMap>().get("broken").await.unwrap();
    let line = rehearsal(&map);
    assert!(line.contains("and 1 live plans") && line.ends_with("0 failed"), "{line}");
}
