use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::plan::Progress;

fn object(kind: &str, name: &str, body: Value) -> Object {
    let id = ObjectRef { api_version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() };
    Object { id, body: body.to_string() }
}

fn call(id: &str, path: &str) -> Call {
    Call { id: id.into(), target: None, method: "PUT".into(), path: path.into(), body: Some(r#"{"a":1}"#.into()) }
}

fn plan() -> Plan {
    Plan {
        desired: vec![
            object("Service", "b", json!({"spec": {"type": "LoadBalancer"}})),
            object("Service", "a", json!({"metadata": {"labels": {"x": "y"}}})),
            object("ConfigMap", "c", json!({"data": {"k": "v"}})),
        ],
        amended: vec![],
        calls: vec![call("second", "/v1/bdbs/2"), call("first", "/v1/bdbs/1")],
        status: Some(r#"{"state":"Running"}"#.into()),
        defaults: Some(r#"{"nodes":3}"#.into()),
        events: vec![],
        notes: None,
        progress: Progress::Done,
    }
}

fn policy(writes: &[&str], calls: &[&str], status: bool) -> PolicyManifest {
    let writes: Vec<TypeRef> = writes.iter().map(|kind| TypeRef::new("v1", *kind)).collect();
    let manifest = json!({"reviews": ["*"], "writes": writes, "calls": calls, "status": status});
    serde_json::from_value(manifest).unwrap()
}

fn run(patch: Value, policy: &PolicyManifest) -> Result<Amended, AmendError> {
    amend(&plan(), &patch.to_string(), policy)
}

#[test]
fn the_document_stands_in_order() {
    let document = document(&plan()).unwrap();
    let names: Vec<&Value> = document["desired"].as_array().unwrap().iter().map(|it| &it["metadata"]["name"]).collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert_eq!(document["desired"][2]["apiVersion"], "v1");
    assert_eq!(document["calls"][0]["id"], "first");
    assert_eq!(document["calls"][0]["body"]["a"], 1);
    assert_eq!(document["status"]["state"], "Running");
}

#[test]
fn a_label_is_added_and_told() {
    let patch = json!([{"op": "add", "path": "/desired/1/metadata/labels/team", "value": "t"}]);
    let amended = run(patch, &policy(&["Service"], &[], false)).unwrap();
    let told: Vec<String> = amended.changes.iter().map(|it| format!("{}: {}", it.object, it.field)).collect();
    assert_eq!(told, ["Service a: metadata.labels.team"]);
    // The order of calls is the step's still, and what cannot be amended is untouched.
    let ids: Vec<&str> = amended.plan.calls.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["second", "first"]);
    assert_eq!(amended.plan.defaults, plan().defaults);
}

#[test]
fn what_the_manifest_does_not_grant_is_refused_by_name() {
    let replace = json!([{"op": "replace", "path": "/desired/2/spec/type", "value": "ClusterIP"}]);
    assert_eq!(
        run(replace.clone(), &policy(&["ConfigMap"], &[], false)).unwrap_err().to_string(),
        "its amendment changes Service b; its manifest grants v1/ConfigMap"
    );
    assert!(run(replace, &policy(&["Service"], &[], false)).is_ok());

    let remove = json!([{"op": "remove", "path": "/calls/0"}]);
    assert_eq!(
        run(remove.clone(), &policy(&["Service"], &["PUT /v1/bdbs/9"], false)).unwrap_err().to_string(),
        "its amendment changes call PUT /v1/bdbs/1; its manifest grants v1/Service, PUT /v1/bdbs/9"
    );
    assert!(run(remove, &policy(&[], &["PUT /v1/bdbs/*"], false)).is_ok());

    let status = json!([{"op": "replace", "path": "/status/state", "value": "Fine"}]);
    assert_eq!(run(status.clone(), &policy(&[], &[], false)).unwrap_err().reason(), "AmendNotGranted");
    assert!(run(status, &policy(&[], &[], true)).is_ok());

    let again = json!([{"op": "copy", "from": "/calls/0", "path": "/calls/-"}]);
    assert_eq!(run(again, &policy(&["Service"], &[], false)).unwrap_err().reason(), "AmendNotGranted");

    // A kind turned into another counts as both.
    let disguise = json!([{"op": "replace", "path": "/desired/0/kind", "value": "Service"}]);
    assert!(run(disguise.clone(), &policy(&["Service"], &[], false)).is_err());
    assert!(run(disguise, &policy(&["Service", "ConfigMap"], &[], false)).is_ok());
}

#[test]
fn nothing_else_can_be_amended() {
    let all = policy(&["Service", "ConfigMap"], &["PUT /v1/bdbs/*"], true);
    let refused = |patch: Value, reason: &str| assert_eq!(run(patch, &all).unwrap_err().reason(), reason);
    refused(json!([{"op": "add", "path": "/progress", "value": "done"}]), "AmendDoesNotApply");
    refused(json!([{"op": "replace", "path": "", "value": []}]), "AmendDoesNotApply");
    refused(json!([{"op": "remove", "path": "/desired"}]), "AmendDoesNotApply");
    refused(json!([{"op": "remove", "path": "/desired/0/metadata/name"}]), "AmendDoesNotApply");
    refused(json!([{"op": "add", "path": "/desired/-", "value": 7}]), "AmendDoesNotApply");
    refused(json!([{"op": "test", "path": "/status/state", "value": "Other"}]), "AmendDoesNotApply");
    refused(json!([{"op": "remove", "path": "/desired/9"}]), "AmendDoesNotApply");
    refused(json!({"op": "remove"}), "AmendNotJson");
    assert_eq!(amend(&plan(), "[", &all).unwrap_err().reason(), "AmendNotJson");
}

#[test]
fn an_amendment_has_its_limits() {
    let all = policy(&["Service", "ConfigMap"], &[], true);
    let test = json!({"op": "test", "path": "/status/state", "value": "Running"});
    let many: Vec<&Value> = std::iter::repeat_n(&test, MAX_OPERATIONS + 1).collect();
    assert_eq!(
        run(json!(many), &all).unwrap_err().to_string(),
        "its amendment has 1001 operations; at most 1000 are taken"
    );
    let long = json!([{"op": "add", "path": "/status/x", "value": "x".repeat(MAX_PATCH)}]);
    assert_eq!(run(long, &all).unwrap_err().reason(), "AmendTooLarge");
    // Each copy doubles what is there, and how deep it is.
    let mut doubling = vec![json!({"op": "add", "path": "/status/a", "value": "x".repeat(1_000)})];
    doubling.extend((0..40).map(|n| json!({"op": "copy", "from": "/status", "path": format!("/status/c{n}")})));
    let error = run(json!(doubling), &all).unwrap_err();
    assert_eq!(error.reason(), "AmendDoesNotApply", "{error}");
}

fn plans() -> impl Strategy<Value = Plan> {
    let objects = prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..5).prop_map(|found| {
        found.iter().map(|(name, value)| object("Service", name, json!({"data": {"k": value}}))).collect::<Vec<_>>()
    });
    let calls = prop::collection::vec("[a-c]", 0..4)
        .prop_map(|ids| ids.iter().enumerate().map(|(n, id)| call(id, &format!("/{n}"))).collect::<Vec<_>>());
    (objects, calls).prop_map(|(desired, calls)| Plan { desired, calls, ..plan() })
}

proptest! {
    /// A patch without operations changes nothing, whatever the plan, and needs no grant.
    #[test]
    fn no_operation_is_no_change(plan in plans()) {
        let amended = amend(&plan, "[]", &policy(&[], &[], false)).unwrap();
        prop_assert_eq!(amended.changes, vec![]);
        prop_assert_eq!(differences(&plan, &amended.plan), vec![]);
    }

    /// Whatever is patched, a policy without grants changes nothing.
    #[test]
    fn without_a_grant_nothing_changes(plan in plans(), path in "/(desired|calls|status|amended)(/[0-3])?(/data|/body|/x)?") {
        for patch in [
            json!([{"op": "remove", "path": path}]),
            json!([{"op": "add", "path": path, "value": {"a": 1}}]),
            json!([{"op": "replace", "path": path, "value": "x"}]),
        ] {
            if let Ok(amended) = amend(&plan, &patch.to_string(), &policy(&[], &[], false)) {
                prop_assert_eq!(amended.changes, vec![]);
            }
        }
    }
}
