//! When the window opens, and what waits for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;
use serde_json::{Value, json};
use stepwright_maintenance_window::{MaintenanceWindow, Window};
use stepwright_sdk::testing::Given;
use stepwright_sdk::{Plan, Policy, Verdict};

fn window(days: &[&str], from: &str, to: &str) -> Window {
    Window::new(&days.iter().map(|day| (*day).to_owned()).collect::<Vec<_>>(), from, to).unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

#[track_caller]
fn check(window: &Window, now: &str, open: bool, next: &str) {
    assert_eq!(window.is_open(at(now)), open, "{now}");
    assert_eq!(window.next(at(now)).unwrap(), at(next), "{now}");
}

#[test]
fn it_opens_and_closes_on_time() {
    // 2026-11-21 is a Saturday.
    let window = window(&["Sun", "Sat"], "01:00", "05:30");
    assert_eq!(window.to_string(), "Sat, Sun 01:00 to 05:30 UTC");
    check(&window, "2026-11-21T00:59:59.999Z", false, "2026-11-21T01:00:00Z");
    check(&window, "2026-11-21T01:00:00Z", true, "2026-11-22T01:00:00Z");
    check(&window, "2026-11-21T05:29:59Z", true, "2026-11-22T01:00:00Z");
    check(&window, "2026-11-21T05:30:00Z", false, "2026-11-22T01:00:00Z");
    check(&window, "2026-11-22T06:00:00Z", false, "2026-11-28T01:00:00Z");
    check(&window, "2026-12-31T12:00:30Z", false, "2027-01-02T01:00:00Z");
}

#[test]
fn one_that_ends_before_it_begins_ends_on_the_next_day() {
    let late = window(&["Sun"], "22:00", "02:00");
    assert_eq!(late.to_string(), "Sun 22:00 to 02:00 UTC");
    check(&late, "2026-11-22T21:59:00Z", false, "2026-11-22T22:00:00Z");
    check(&late, "2026-11-23T01:59:00Z", true, "2026-11-29T22:00:00Z");
    check(&late, "2026-11-23T02:00:00Z", false, "2026-11-29T22:00:00Z");
    let day = window(&["Sun"], "00:00", "24:00");
    assert_eq!(day.to_string(), "Sun 00:00 to 24:00 UTC");
    check(&day, "2026-11-22T23:59:59Z", true, "2026-11-29T00:00:00Z");
    check(&day, "2026-11-23T00:00:00Z", false, "2026-11-29T00:00:00Z");
}

prop_compose! {
    fn windows()(days in prop::collection::vec(0..7usize, 1..4), from in 0..1440u32, length in 1..1440u32) -> Window {
        const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let time = |minute: u32| format!("{:02}:{:02}", minute % 1440 / 60, minute % 60);
        let days: Vec<_> = days.into_iter().map(|day| NAMES[day]).collect();
        window(&days, &time(from), &time(from + length))
    }
}

proptest! {
    #[test]
    fn a_hold_ends_in_the_future_inside_a_window_and_none_opens_before(
        window in windows(),
        second in 0..4_000_000_000i64,
        share in 0.0..1.0f64,
    ) {
        let now = Timestamp::from_second(second).unwrap();
        let next = window.next(now).unwrap();
        prop_assert!(next > now && next <= now + (7 * 24).hours());
        prop_assert!(window.is_open(next));
        if !window.is_open(now) {
            // Closed all the time in between; the last second before it as well.
            let wait = (next.as_second() - second - 1) as f64;
            for between in [(wait * share) as i64, wait as i64] {
                prop_assert!(!window.is_open(Timestamp::from_second(second + between).unwrap()));
            }
        }
    }

    #[test]
    fn it_is_open_in_a_window_and_only_there(window in windows(), second in 0..4_000_000_000i64) {
        // Open exactly when it would have opened within its length: found minute by minute, the slow way.
        let now = Timestamp::from_second(second).unwrap();
        let text = window.to_string();
        let clock = now.strftime("%a %H:%M").to_string();
        let (days, times) = text.trim_end_matches(" UTC").rsplit_once(" to ").map(|(left, to)| {
            let (days, from) = left.rsplit_once(' ').unwrap();
            (days.to_owned(), (from.to_owned(), to.to_owned()))
        }).unwrap();
        let (today, time) = clock.split_once(' ').unwrap();
        let yesterday = (now - 24.hours()).strftime("%a").to_string();
        let (from, to) = times;
        let expected = if from < to {
            days.contains(today) && from.as_str() <= time && time < to.as_str()
        } else {
            days.contains(today) && from.as_str() <= time || days.contains(&yesterday) && time < to.as_str()
        };
        prop_assert_eq!(window.is_open(now), expected, "{} at {}", text, clock);
    }
}

/// Pod template with this image, as a step wants it.
fn wanted(image: &str) -> Value {
    let container = json!({ "name": "node", "image": image, "resources": { "requests": { "cpu": "1000m" } } });
    json!({ "spec": { "replicas": 3, "template": { "spec": { "containers": [container] } } } })
}

/// The same as the API server shows it: defaults filled in, quantities in its own form.
fn running(image: &str) -> Value {
    let container = json!({
        "name": "node", "image": image, "imagePullPolicy": "IfNotPresent", "resources": { "requests": { "cpu": "1" } },
    });
    let owned = json!({ "f:spec": { "f:replicas": {}, "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"node\"}": {
            ".": {}, "f:name": {}, "f:image": {}, "f:resources": { "f:requests": { "f:cpu": {} } },
        },
    } } } } });
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": "rec",
            "managedFields": [{ "manager": "stepwright/rec", "operation": "Apply", "fieldsV1": owned }],
        },
        "spec": { "template": { "spec": { "containers": [container], "dnsPolicy": "ClusterFirst" } } },
    })
}

const CLOSED: &str = "2026-11-20T12:00:00Z";
const OPEN: &str = "2026-11-21T02:00:00Z";

fn given(now: &str) -> Given {
    let rec = json!({ "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" } });
    Given::planned_by::<MaintenanceWindow>("rec", &rec)
        .settings(&json!({ "weekdays": ["Sat"], "from": "01:00", "to": "05:00" }))
        .now(now)
}

fn plan(body: &Value) -> Plan {
    Plan::done().desire("v1", "Service", "rec", &json!({})).desire("apps/v1", "StatefulSet", "rec", body)
}

#[test]
fn an_upgrade_waits_for_the_window_and_passes_in_it() {
    let verdict = |now| {
        given(now).object("statefulsets", &running("redis:1")).review::<MaintenanceWindow>(&plan(&wanted("redis:2")))
    };
    let Verdict::Hold { until, reason } = verdict(CLOSED) else { unreachable!("{:?}", verdict(CLOSED)) };
    assert_eq!(until, "2026-11-21T01:00:00Z");
    assert_eq!(
        reason,
        "spec.template.spec.containers.[node].image of StatefulSet `rec` changes, which restarts its pods: \
         held until the maintenance window opens (Sat 01:00 to 05:00 UTC)"
    );
    assert_eq!(verdict(OPEN), Verdict::Pass);
}

#[test]
fn what_restarts_nothing_passes_at_any_time() {
    let mut scaled = wanted("redis:1");
    scaled["spec"]["replicas"] = json!(5);
    scaled["metadata"] = json!({ "labels": { "new": "1" } });
    let with = given(CLOSED).object("statefulsets", &running("redis:1"));
    for plan in [plan(&wanted("redis:1")), plan(&scaled), Plan::done()] {
        assert_eq!(with.review::<MaintenanceWindow>(&plan), Verdict::Pass);
    }
}

#[test]
fn a_new_cluster_passes_at_any_time() {
    assert_eq!(given(CLOSED).review::<MaintenanceWindow>(&plan(&wanted("redis:1"))), Verdict::Pass);
    let mut other = running("redis:1");
    other["metadata"]["name"] = json!("other");
    let with = given(CLOSED).object("statefulsets", &other);
    assert_eq!(with.review::<MaintenanceWindow>(&plan(&wanted("redis:2"))), Verdict::Pass);
}

#[test]
fn a_field_that_is_taken_away_is_a_change() {
    let mut less = wanted("redis:1");
    less["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("resources");
    let verdict = given(CLOSED).object("statefulsets", &running("redis:1")).review::<MaintenanceWindow>(&plan(&less));
    assert!(matches!(&verdict, Verdict::Hold { reason, .. } if reason.contains("resources")), "{verdict:?}");
}

#[track_caller]
fn refused(settings: &Value, field: &str, words: &str) {
    let violations = MaintenanceWindow::validate_settings(&settings.to_string());
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].field, field);
    assert!(violations[0].message.contains(words), "{}", violations[0].message);
}

#[test]
fn bad_settings_are_refused_in_words() {
    let good = json!({ "weekdays": ["Sat", "Sat"], "from": "22:00", "to": "24:00" });
    assert_eq!(MaintenanceWindow::validate_settings(&good.to_string()), []);
    let with = |field: &str, value: Value| {
        let mut settings = good.clone();
        settings[field] = value;
        settings
    };
    refused(&json!(null), "settings", "missing field `weekdays`");
    refused(&with("zone", json!("CET")), "settings", "unknown field `zone`");
    refused(&with("weekdays", json!([])), "weekdays", "names no day");
    refused(&with("weekdays", json!(["Sat", "Caturday"])), "weekdays[1]", "`Caturday` is no weekday: one of Mon, Tue");
    refused(&with("from", json!("24:00")), "from", "`24:00` is no time of day: 00:00 to 23:59");
    refused(&with("from", json!("1:00")), "from", "`1:00` is no time of day");
    refused(&with("to", json!("12:60")), "to", "`12:60` is no time of day: 00:00 to 24:00");
    refused(&with("to", json!("+1:00")), "to", "is no time of day");
    refused(&with("to", json!("22:00")), "to", "for a whole day give 00:00 to 24:00");
}

#[test]
fn settings_that_were_never_checked_do_not_let_a_restart_pass() {
    let given = given(CLOSED).settings(&json!({})).object("statefulsets", &running("redis:1"));
    assert!(matches!(given.review::<MaintenanceWindow>(&plan(&wanted("redis:2"))), Verdict::Deny(_)));
}
