use std::time::Duration;

use serde_json::json;

use super::*;
use crate::field_path::FieldPath;
use crate::journal::{PluginRef, Reason, Used};
use crate::object::ObjectRef;
use crate::observation::{Fact, ObjectSet, Reply};
use crate::plan::{Call, Event, Severity, Violation};
use std::sync::Arc;

fn id(kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: Some("default".to_owned()),
        name: name.to_owned(),
    }
}

fn object(kind: &str, name: &str, body: serde_json::Value) -> Object {
    Object { id: id(kind, name), body: body.to_string() }
}

fn plugin_ref(name: &str, digest: char, source: &str) -> PluginRef {
    PluginRef {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        digest: digest.to_string().repeat(64),
        source: source.to_owned(),
    }
}

fn observation() -> Observation {
    Observation {
        step: "rec".to_owned(),
        primary: object("Cluster", "rec", json!({})),
        deleting: false,
        objects: vec![
            ObjectSet { name: "pods".to_owned(), objects: vec![object("Pod", "rec-0", json!({}))] },
            ObjectSet { name: "secrets".to_owned(), objects: vec![] },
        ],
        facts: vec![
            Fact { name: "nodes".to_owned(), value: Ok("[]".to_owned()) },
            Fact { name: "license".to_owned(), value: Err("the node does not answer".to_owned()) },
        ],
        replies: vec![],
        notes: vec![("upgrade".to_owned(), "{}".to_owned())],
        settings: "{}".to_owned(),
        round: 0,
        now: "2026-01-02T03:04:05Z".to_owned(),
    }
}

fn plan(replicas: u32) -> Plan {
    Plan {
        desired: vec![
            object("Service", "rec-ui", json!({"spec": {"type": "LoadBalancer"}})),
            object("StatefulSet", "rec", json!({"spec": {"replicas": replicas}})),
            object("Service", "rec", json!({"spec": {"type": "ClusterIP"}})),
        ],
        amended: vec![object("Secret", "license", json!({"metadata": {"labels": {"a.b/c": "1"}}}))],
        calls: vec![],
        status: Some(r#"{"state":"Running","nodes":3}"#.to_owned()),
        defaults: Some(r#"{"nodes":3}"#.to_owned()),
        events: vec![Event {
            severity: Severity::Normal,
            reason: "Bootstrapped".to_owned(),
            message: "node 1 is up".to_owned(),
        }],
        notes: None,
        progress: Progress::Waiting(Wait {
            word: None,
            reason: "2 of 3 nodes are up".to_owned(),
            again_in: Some(Duration::from_secs(5)),
        }),
    }
}

fn round(plan: Plan) -> RoundRecord {
    RoundRecord {
        observation: Arc::new(observation()),
        remembered: false,
        answer: Answer::Planned(Arc::new(plan)),
        policies: vec![],
        effects: vec![],
        usage: Used { micros: 1_240, memory_bytes: 3_250_586, bytes_in: 14_541, bytes_out: 812 },
    }
}

fn step_record(rounds: Vec<RoundRecord>) -> StepRecord {
    StepRecord {
        step: "rec".to_owned(),
        plugin: plugin_ref("rec", 'a', "embedded"),
        role: Role::Active,
        rounds,
        error: None,
    }
}

fn record(number: u64, steps: Vec<StepRecord>) -> PassRecord {
    PassRecord {
        number,
        primary: id("Cluster", "rec"),
        uid: "u".to_owned(),
        generation: 2,
        started: format!("2026-01-02T03:04:{number:02}.123Z"),
        micros: 12_345,
        outcome: "again".to_owned(),
        message: None,
        steps,
    }
}

fn effect(verb: &str, on: &str) -> Effect {
    Effect { verb: verb.to_owned(), on: on.to_owned(), field: None, status: None, error: None }
}

fn amendment() -> ReviewRecord {
    ReviewRecord {
        plugin: plugin_ref("no-load-balancer", 'c', "ConfigMap default/no-lb"),
        role: Role::Active,
        verdict: Ok(Verdict::Amend("[]".to_owned())),
        changes: vec![
            FieldChange {
                object: "Service default/rec-ui".to_owned(),
                field: "spec.type".to_owned(),
                before: Some(json!("LoadBalancer")),
                after: Some(json!("ClusterIP")),
            },
            FieldChange {
                object: "Service default/rec-ui".to_owned(),
                field: "metadata".to_owned(),
                before: None,
                after: Some(json!({"labels": {"team.example/x": "blue"}})),
            },
        ],
    }
}

#[test]
fn a_pass_that_did_something() {
    let mut first = round(plan(3));
    first.policies = vec![amendment()];
    first.effects = vec![
        effect("apply", "Service default/rec"),
        Effect { field: Some("spec.replicas".to_owned()), ..effect("apply", "StatefulSet default/rec") },
        Effect {
            error: Some(Reason {
                reason: "FieldConflict".to_owned(),
                message: "spec.type is also managed by kubectl-edit".to_owned(),
            }),
            ..effect("apply", "Service default/rec-ui")
        },
    ];
    let shadow = StepRecord {
        role: Role::Shadow,
        plugin: plugin_ref("rec", 'b', "ConfigMap default/next"),
        ..step_record(vec![RoundRecord { effects: vec![], ..round(plan(5)) }])
    };
    let record = record(7, vec![step_record(vec![first]), shadow]);
    insta::assert_snapshot!(pass(&record));
}

#[test]
fn a_pass_with_calls_in_rounds() {
    let call = Call {
        id: "create".to_owned(),
        target: Some("node-1".to_owned()),
        method: "POST".to_owned(),
        path: "/v1/bdbs".to_owned(),
        body: None,
    };
    let nothing = Plan { ..Plan::done() };
    let mut first = round(Plan { calls: vec![call], ..nothing.clone() });
    first.effects = vec![Effect { status: Some(200), ..effect("call", "POST /v1/bdbs") }];
    let mut second = round(nothing);
    let observed = Observation {
        replies: vec![
            Reply { id: "create".to_owned(), status: 200, body: String::new() },
            Reply { id: "other".to_owned(), status: 0, body: String::new() },
        ],
        round: 1,
        ..observation()
    };
    second.observation = Arc::new(observed);
    second.remembered = true;
    insta::assert_snapshot!(pass(&record(8, vec![step_record(vec![first, second])])));
}

#[test]
fn a_pass_in_which_everything_went_wrong() {
    let failed = |step: &str, answer: Answer| StepRecord {
        step: step.to_owned(),
        ..step_record(vec![RoundRecord { answer, ..round(plan(3)) }])
    };
    let trapped =
        Reason { reason: "PluginTrapped".to_owned(), message: "plugin `rec` trapped: unreachable".to_owned() };
    let mut denied = step_record(vec![round(plan(3))]);
    denied.rounds[0].policies = vec![
        ReviewRecord { verdict: Ok(Verdict::Pass), changes: vec![], ..amendment() },
        ReviewRecord {
            verdict: Ok(Verdict::Deny("no more memory in team-a".to_owned())),
            changes: vec![],
            ..amendment()
        },
        ReviewRecord {
            role: Role::Shadow,
            verdict: Ok(Verdict::Hold { until: "2026-01-03T00:00:00Z".to_owned(), reason: "it is day".to_owned() }),
            changes: vec![],
            ..amendment()
        },
        ReviewRecord { verdict: Err(trapped.clone()), changes: vec![], ..amendment() },
    ];
    denied.error = Some(Reason { reason: "Denied".to_owned(), message: "no more memory in team-a".to_owned() });
    let held = StepRecord { role: Role::Held, ..step_record(vec![round(plan(3))]) };
    let violation = Violation { field: "spec.nodes".to_owned(), message: "must be odd".to_owned() };
    let record = PassRecord {
        outcome: "PluginTrapped".to_owned(),
        message: Some("plugin `rec` trapped\nunreachable".to_owned()),
        ..record(
            9,
            vec![
                failed("one", Answer::Failed(Failure::Transient("no quorum".to_owned()))),
                failed("two", Answer::Failed(Failure::Invalid(vec![violation]))),
                failed("three", Answer::Broken(trapped)),
                denied,
                held,
            ],
        )
    };
    insta::assert_snapshot!(pass(&record));
}

/// What decided a field, as text; records from the oldest to the newest.
fn who(records: Vec<PassRecord>, of: Option<(&str, &str)>, field: &str) -> String {
    let newest_first: Vec<Arc<PassRecord>> = records.into_iter().rev().map(Arc::new).collect();
    let found = decided(&newest_first, &id("Cluster", "rec"), of, &FieldPath::parse(field).unwrap());
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn passes(replicas: &[u32]) -> Vec<PassRecord> {
    replicas
        .iter()
        .zip(1..)
        .map(|(replicas, number)| record(number, vec![step_record(vec![round(plan(*replicas))])]))
        .collect()
}

#[test]
fn a_field_is_decided_by_the_newest_plan_that_has_it() {
    let mut all = passes(&[3, 5, 5, 5]);
    all[3].steps[0].rounds[0].effects = vec![effect("apply", "StatefulSet default/rec")];
    // The newest pass did not come to that step.
    all.push(record(5, vec![]));
    insta::assert_snapshot!(who(all, None, "spec.replicas"), @r"
    spec.replicas of StatefulSet/rec: 5
      decided by  plugin rec 0.1.0 @aaaaaaaaaaaa (embedded), step rec
      planned in  pass 4, 2026-01-02T03:04:04.123Z
      since       pass 2, 2026-01-02T03:04:02.123Z; before that 3
      written in  pass 4
    ");
}

#[test]
fn a_policy_that_amended_it_decided_it() {
    let mut all = passes(&[3]);
    all[0].steps[0].rounds[0].policies = vec![amendment()];
    insta::assert_snapshot!(who(all.clone(), Some(("Service", "rec-ui")), "spec.type"), @r#"
    spec.type of Service/rec-ui: "ClusterIP"
      decided by  policy no-load-balancer 0.1.0 @cccccccccccc (ConfigMap default/no-lb)
      instead of  "LoadBalancer", planned by rec 0.1.0 @aaaaaaaaaaaa (embedded), step rec
      planned in  pass 1, 2026-01-02T03:04:01.123Z
      since       pass 1, 2026-01-02T03:04:01.123Z, or earlier: that is the oldest record of it
      written in  an earlier pass: it is so already
    "#);
    // What came with a whole map that it put there.
    let label = who(all.clone(), None, "metadata.labels[team.example/x]");
    assert!(label.starts_with("metadata.labels[team.example/x] of Service/rec-ui: \"blue\""), "{label}");
    // The other Service is the step's own.
    assert!(who(all, Some(("Service", "rec")), "spec.type").contains("plugin rec 0.1.0"));
}

#[test]
fn fields_of_the_primary_are_status_and_defaults() {
    assert!(who(passes(&[3]), None, "status.state").starts_with("status.state of Cluster/rec: \"Running\""));
    assert!(who(passes(&[3]), None, "spec.nodes").starts_with("spec.nodes of Cluster/rec: 3"));
    assert!(who(passes(&[3]), Some(("Secret", "license")), "metadata.labels[a.b/c]").contains("\"1\""));
    assert_eq!(who(passes(&[3]), None, "spec.unknown"), "");
}

#[test]
fn what_had_no_effect_decides_nothing() {
    let mut shadow = passes(&[3]);
    shadow[0].steps[0].role = Role::Shadow;
    let mut refused = passes(&[3]);
    refused[0].steps[0].error = Some(Reason { reason: "NotGranted".to_owned(), message: String::new() });
    let mut denied = passes(&[3]);
    let deny = ReviewRecord { verdict: Ok(Verdict::Deny(String::new())), changes: vec![], ..amendment() };
    denied[0].steps[0].rounds[0].policies = vec![deny.clone()];
    for all in [shadow, refused, denied] {
        assert_eq!(who(all, None, "spec.replicas"), "");
    }
    let mut advised = passes(&[3]);
    advised[0].steps[0].rounds[0].policies = vec![ReviewRecord { role: Role::Shadow, ..deny }];
    assert!(who(advised, None, "spec.replicas").contains("step rec"));
}
