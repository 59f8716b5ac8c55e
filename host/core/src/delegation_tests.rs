//! Who runs what, and what is said of it.
#![allow(clippy::unwrap_used, reason = "test code; helpers of tests count as code to the lint")]

use serde_json::json;

use super::*;

const STEP: &str = "services-rigger";

fn steps(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn known() -> Vec<String> {
    ["upgrade", "rec", STEP].map(str::to_owned).to_vec()
}

fn condition(type_: &str, status: bool, reason: &str, generation: i64) -> Condition {
    Condition::new(type_, status, reason, "words", generation, "t0")
}

/// What the main process says when its own steps are done.
fn well() -> Vec<Condition> {
    vec![
        condition("Ready", true, "Reconciled", 2),
        condition("Progressing", false, "Reconciled", 2),
        condition("Degraded", false, "AsExpected", 2),
        condition("FieldsSupported", true, "AllFieldsSupported", 2),
    ]
}

#[track_caller]
fn folded(own: Vec<Condition>, told: &[Condition], is_run: bool) -> Vec<String> {
    let mut all = own;
    fold(&mut all, &Heard { step: STEP, told, generation: 2, is_run }, "t1");
    all.iter().map(|it| format!("{}={} {}: {}", it.type_, it.status, it.reason, it.message)).collect()
}

#[test]
fn each_step_is_run_by_one_process() {
    let main = Part::Without(steps(&[STEP]));
    let lone = Part::Only(steps(&[STEP]));
    for step in known() {
        assert!(main.runs(&step) != lone.runs(&step), "{step}");
        assert!(Part::Whole.runs(&step));
    }
    assert!(main.check(&known()).is_ok());
    let error = Part::Only(steps(&["riger"])).check(&known()).unwrap_err().to_string();
    assert_eq!(error, "no pipeline has a step `riger`; there are upgrade, rec, services-rigger");
}

#[test]
fn a_lone_process_has_its_steps_and_nothing_of_the_whole() {
    let all: Vec<Pipeline> = serde_json::from_value(json!([
        {"apiVersion": "g/v1", "kind": "A", "steps": known(), "finalizer": "f", "invalidStatus": {"a": "b"}},
        {"apiVersion": "g/v1", "kind": "B", "steps": ["redb"], "finalizer": "f"},
    ]))
    .unwrap();
    assert_eq!(Part::Without(steps(&[STEP])).pipelines(all.clone()), all);
    let only = Part::Only(steps(&[STEP])).pipelines(all);
    assert_eq!(only.len(), 1);
    assert_eq!(
        (only[0].steps.as_slice(), &only[0].finalizer, &only[0].invalid_status),
        (&[STEP.to_owned()][..], &None, &None)
    );
}

#[test]
fn a_plugin_is_told_of_by_one_process() {
    let plugin = |value| serde_json::from_value::<Manifest>(value).unwrap();
    let of = |names: &[&str]| {
        let steps: Vec<_> = names.iter().map(|name| json!({"name": name, "primary": []})).collect();
        plugin(json!({"name": "p", "version": "1", "steps": steps}))
    };
    let policy = plugin(json!({"name": "p", "version": "1", "steps": [], "policy": {"reviews": ["*"]}}));
    let main = Part::Without(steps(&[STEP]));
    let lone = Part::Only(steps(&[STEP]));
    for (manifest, of_main, of_lone) in [
        (of(&["rec"]), Whose::Ours, Whose::Theirs),
        (of(&[STEP]), Whose::Theirs, Whose::Ours),
        (of(&["rec", STEP]), Whose::Ours, Whose::Shared),
        (of(&["nobody's"]), Whose::Ours, Whose::Theirs),
        (policy, Whose::Ours, Whose::Shared),
    ] {
        let found = (main.whose(&manifest, &known()), lone.whose(&manifest, &known()));
        assert_eq!(found, (of_main, of_lone), "{:?}", manifest.steps);
        assert_eq!(Part::Whole.whose(&manifest, &known()), Whose::Ours);
    }
}

#[test]
fn a_lease_names_the_steps_of_its_holder() {
    let name = lease_name("stepwright", &steps(&["b", "a-c"]));
    assert_eq!(name, "stepwright-a-c.b");
    assert_eq!(steps_of_lease("stepwright", &name).collect::<Vec<_>>(), ["a-c", "b"]);
    assert_eq!(steps_of_lease("stepwright", "stepwright").count(), 0);
    assert_eq!(steps_of_lease("stepwright", "another").count(), 0);
}

#[test]
fn a_step_is_due_for_the_generation_that_the_others_took() {
    let due = |status, generation| [condition(&delegated_type(STEP), status, "Reached", generation)];
    assert!(is_due(&due(true, 2), STEP, 2));
    assert!(!is_due(&due(true, 1), STEP, 2));
    assert!(!is_due(&due(false, 2), STEP, 2));
    assert!(!is_due(&[], STEP, 2));
}

#[test]
fn what_is_told_of_a_step_comes_back_as_it_was() {
    let mut all = well();
    assert_eq!(told_of(&all, STEP).iter().map(|it| it.type_.as_str()).collect::<Vec<_>>(), ["ServicesRiggerReady"]);
    upsert(&mut all, condition("Degraded", true, "PluginTrapped", 2));
    upsert(&mut all, condition("FieldsSupported", false, "UnsupportedFields", 2));
    let back = heard_of(&told_of(&all, STEP), STEP);
    let of_step: Vec<Condition> = all.into_iter().filter(|it| it.type_ != "Progressing").collect();
    assert_eq!(back, of_step);
}

#[test]
fn ready_waits_for_the_delegated_step() {
    let ready = |status, reason, generation| vec![condition("ServicesRiggerReady", status, reason, generation)];
    let first = |told: &[Condition], is_run| folded(well(), told, is_run)[0].clone();
    assert_eq!(first(&ready(true, "Reconciled", 2), true), "Ready=True Reconciled: words");
    assert_eq!(first(&ready(false, "Waiting", 2), true), "Ready=False Waiting: step services-rigger: words");
    assert!(first(&ready(true, "Reconciled", 1), true).starts_with("Ready=False StepPending"));
    assert!(first(&[], true).starts_with("Ready=False StepPending"));
    assert!(first(&ready(true, "Reconciled", 2), false).starts_with("Ready=False StepNotRun"));
}

#[test]
fn a_failure_of_the_delegated_step_degrades_the_whole() {
    let told = [
        condition("ServicesRiggerReady", false, "PluginTrapped", 2),
        condition("ServicesRiggerDegraded", true, "PluginTrapped", 2),
        condition("ServicesRiggerFieldsSupported", false, "UnsupportedFields", 2),
    ];
    let mut own = well();
    upsert(&mut own, Condition::new("FieldsSupported", false, "UnsupportedFields", "mine", 2, "t0"));
    assert_eq!(
        folded(own, &told, true),
        [
            "Ready=False PluginTrapped: step services-rigger: words",
            "Progressing=False Reconciled: words",
            "Degraded=True PluginTrapped: step services-rigger: words",
            "FieldsSupported=False UnsupportedFields: mine; words",
        ]
    );
}

#[test]
fn a_trouble_of_its_own_goes_first() {
    let mut own = well();
    upsert(&mut own, condition("Ready", false, "Mine", 2));
    let told = [condition("ServicesRiggerReady", false, "Theirs", 2)];
    assert_eq!(folded(own, &told, true)[0], "Ready=False Mine: words");
}
