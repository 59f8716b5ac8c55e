//! Guests that behave, in all three worlds.

mod support;

use std::time::Duration;

use stepwright_core::guest::{Digest, Guest, GuestError};
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::observation::{Fact, ObjectSet, Reply};
use stepwright_core::plan::{Call, Event, Failure, Progress, Severity, Violation, Wait};
use stepwright_engine::World;
use stepwright_engine::admission::Question;
use stepwright_engine::policy::Verdict;

use support::{component, engine, load, observation};

#[test]
fn everything_observed_reaches_the_guest_and_everything_planned_comes_back() {
    let echo = load(&engine(), "echo");
    let object = Object {
        id: ObjectRef { api_version: "v1".into(), kind: "Node".into(), namespace: None, name: "n1".into() },
        body: r#"{"ä":"\u0000"}"#.into(),
    };
    let mut observed = observation("echo");
    observed.objects = vec![ObjectSet { name: "nodes".into(), objects: vec![object.clone()] }];
    observed.facts = vec![
        Fact { name: "bdbs".into(), value: Ok("[]".into()) },
        Fact { name: "nodes".into(), value: Err("not reachable".into()) },
    ];
    observed.replies = vec![Reply { id: "c1".into(), status: 503, body: "null".into() }];
    observed.notes = vec![("upgrade".into(), r#"{"image":"x"}"#.into())];
    observed.settings = "{}".into();
    observed.round = 3;
    observed.deleting = true;

    let plan = echo.reconcile(&observed).unwrap().unwrap();

    assert_eq!(plan.desired[0].id.name, "rec-echo");
    assert_eq!(plan.desired[0].body, observed.primary.body);
    assert_eq!(plan.desired[1..], [object]);
    assert_eq!(plan.amended, [observed.primary.clone()]);
    let call =
        Call { id: "c1".into(), target: None, method: "PUT".into(), path: "/503".into(), body: Some("null".into()) };
    assert_eq!(plan.calls, [call]);
    let event = |severity, message: &str| Event { severity, reason: "Fact".into(), message: message.into() };
    assert_eq!(plan.events, [event(Severity::Normal, "bdbs=[]"), event(Severity::Warning, "nodes=not reachable")]);
    assert_eq!(plan.status.as_deref(), Some(r#""echo""#));
    assert_eq!(plan.defaults.as_deref(), Some("{}"));
    assert_eq!(plan.notes.as_deref(), Some(r#"{"upgrade":{"image":"x"}}"#));
    let wait = Wait {
        word: None,
        reason: format!("round 3 at {}", observed.now),
        again_in: Some(Duration::from_millis(1500)),
    };
    assert_eq!(plan.progress, Progress::Blocked(wait));
}

#[test]
fn a_call_is_accounted_for() {
    let echo = load(&engine(), "echo");
    let usage = echo.ask(&observation("echo")).usage;
    assert!(usage.memory_bytes >= 64 << 10 && usage.memory_bytes <= 64 << 20, "{usage:?}");
    assert!(usage.took > Duration::ZERO && usage.bytes_in > 0 && usage.bytes_out > 0, "{usage:?}");
    assert_eq!((usage.log_lines, usage.fuel), (1, None));
}

#[test]
fn a_step_s_own_failures_are_answers() {
    let echo = load(&engine(), "echo");
    let mut observed = observation("echo");
    observed.settings = r#""transient""#.into();
    assert_eq!(echo.reconcile(&observed).unwrap(), Err(Failure::Transient("as the settings say".into())));
    observed.settings = r#""invalid""#.into();
    let violation = Violation { field: "spec.nodes".into(), message: "as the settings say".into() };
    assert_eq!(echo.reconcile(&observed).unwrap(), Err(Failure::Invalid(vec![violation])));
}

#[test]
fn a_plugin_says_what_it_is_and_checks_its_settings() {
    let echo = load(&engine(), "echo");
    assert_eq!(echo.world(), World::Step);
    assert_eq!(echo.manifest().name, "echo");
    assert_eq!(echo.manifest().steps[0].limits.milliseconds, 2000);
    assert_eq!(*echo.digest(), Digest::of(&component("echo")));
    assert_eq!(echo.validate_settings("{}").unwrap(), []);
    assert_eq!(echo.validate_settings("[]").unwrap()[0].field, "$");
}

#[test]
fn what_a_guest_logs_is_an_event_of_the_call() {
    let echo = load(&engine(), "echo");
    let (answer, lines) = support::logged(|| echo.reconcile(&observation("echo")));
    answer.unwrap().unwrap();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("echoing") && lines[0].contains("round=0"), "{}", lines[0]);
}

#[test]
fn the_world_outside_is_empty_and_a_call_can_be_repeated_exactly() {
    let plugin = load(&engine(), "looks-around");
    let mut observed = observation("looks-around");
    let first = plugin.reconcile(&observed).unwrap().unwrap();
    let notes = first.notes.clone().unwrap();
    let now = 1_795_245_780;
    assert!(notes.starts_with(&format!(r#"{{"slept":true,"seconds":{now},"random":"#)), "{notes}");
    assert!(notes.ends_with(r#""arguments":0,"variables":0,"files":false,"input":0}"#), "{notes}");

    for _ in 0..3 {
        assert_eq!(plugin.reconcile(&observed).unwrap().unwrap(), first);
    }
    // Another observation has other randomness.
    observed.round = 1;
    assert_ne!(plugin.reconcile(&observed).unwrap().unwrap(), first);
}

#[test]
fn plugins_are_called_at_once_from_many_threads() {
    let engine = engine();
    let (echo, looks) = (load(&engine, "echo"), load(&engine, "looks-around"));
    let expected = (
        echo.reconcile(&observation("echo")).unwrap().unwrap(),
        looks.reconcile(&observation("looks-around")).unwrap().unwrap(),
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(echo.reconcile(&observation("echo")).unwrap().unwrap(), expected.0);
                    assert_eq!(looks.reconcile(&observation("looks-around")).unwrap().unwrap(), expected.1);
                }
            });
        }
    });
}

#[test]
fn a_plugin_outlives_the_handle_of_its_engine() {
    let echo = {
        let engine = engine();
        load(&engine, "echo")
    };
    echo.clone().reconcile(&observation("echo")).unwrap().unwrap();
}

#[test]
fn a_step_that_the_plugin_does_not_have_is_the_host_s_mistake() {
    let error = load(&engine(), "echo").reconcile(&observation("other")).unwrap_err();
    assert_eq!(error.reason(), "SandboxUnavailable");
}

#[test]
fn a_policy_passes_amends_denies_and_holds() {
    let engine = engine();
    let policy = load(&engine, "policy-pass");
    assert_eq!(policy.world(), World::Policy);
    let observed = observation("echo");
    let mut plan = load(&engine, "echo").reconcile(&observed).unwrap().unwrap();
    assert!(
        matches!(policy.review(&observed, &plan).answer.unwrap(), Verdict::Amend(patch) if patch.contains("remove"))
    );
    plan.status = None;
    assert_eq!(policy.review(&observed, &plan).answer.unwrap(), Verdict::Pass);
    plan.progress = Progress::Blocked(Wait { word: None, reason: "later".into(), again_in: None });
    let hold = Verdict::Hold { until: observed.now.clone(), reason: "later".into() };
    assert_eq!(policy.review(&observed, &plan).answer.unwrap(), hold);
    plan.desired[0].id.kind = "Pod".into();
    assert_eq!(policy.review(&observed, &plan).answer.unwrap(), Verdict::Deny("no Pods".into()));
}

#[test]
fn admission_admits_and_refuses() {
    let admission = load(&engine(), "admission-pass");
    assert_eq!(admission.world(), World::Admission);
    let mut question = Question {
        check: "things".into(),
        request: r#"{"object":{"metadata":{"name":"good"}}}"#.into(),
        objects: vec![ObjectSet { name: "all".into(), objects: vec![observation("echo").primary] }],
        facts: Vec::new(),
        settings: "{}".into(),
    };
    let answer = admission.admit(&question).answer.unwrap();
    assert_eq!((answer.violations.len(), answer.warnings), (0, vec!["saw 1 objects".to_owned()]));
    question.request = r#"{"object":{"metadata":{"name":"bad"}}}"#.into();
    assert_eq!(admission.admit(&question).answer.unwrap().violations[0].field, "metadata.name");
}

#[test]
fn a_call_that_belongs_to_another_world_is_refused() {
    let engine = engine();
    let policy = load(&engine, "policy-pass");
    let error = policy.reconcile(&observation("echo")).unwrap_err();
    assert!(matches!(error, GuestError::Incompatible { .. }), "{error}");
    let observed = observation("echo");
    let echo = load(&engine, "echo");
    let plan = echo.reconcile(&observed).unwrap().unwrap();
    assert!(matches!(echo.review(&observed, &plan).answer.unwrap_err(), GuestError::Incompatible { .. }));
}
