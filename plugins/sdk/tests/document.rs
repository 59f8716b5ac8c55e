//! The document that an amendment is written against is the one that the host patches.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::plan as host;
use stepwright_core::{amend, manifest};
use stepwright_sdk::{Amendment, Call, Plan, PolicyManifest, Verdict};

fn object(object: &stepwright_sdk::Object) -> Object {
    let stepwright_sdk::ObjectRef { api_version, kind, namespace, name } = object.id.clone();
    Object { id: ObjectRef { api_version, kind, namespace, name }, body: object.body.clone() }
}

/// The plan as the host has it; the SDK knows its parts under the same names.
fn of_the_host(plan: &Plan) -> host::Plan {
    let call = |call: &Call| host::Call {
        id: call.id.clone(),
        target: call.target.clone(),
        method: call.method.clone(),
        path: call.path.clone(),
        body: call.body.clone(),
    };
    host::Plan {
        desired: plan.desired.iter().map(object).collect(),
        amended: plan.amended.iter().map(object).collect(),
        calls: plan.calls.iter().map(call).collect(),
        status: plan.status.clone(),
        defaults: None,
        events: Vec::new(),
        notes: None,
        progress: host::Progress::Done,
    }
}

fn plan() -> Plan {
    let mut plan = Plan::done()
        .desire("v1", "Service", "web", &json!({ "spec": {}, "metadata": { "labels": { "a": "b" } } }))
        .desire("apps/v1", "StatefulSet", "web", &json!({ "spec": null }))
        .desire("v1", "Service", "admin", &json!({}))
        .amend("v1", "Service", "foreign", &json!({ "spec": {} }))
        .amend("v1", "ConfigMap", "shared", &json!({ "data": {} }))
        .call(Call::put("b", "/v1/bdbs/2").target("rec-0").body(&json!({ "x": 1 })))
        .call(Call::get("a", "/v1/nodes"))
        .status(&json!({ "state": "Running" }));
    // As a policy is shown it: with namespaces.
    for object in plan.desired.iter_mut().chain(&mut plan.amended) {
        object.id.namespace = Some("ns".into());
    }
    plan
}

#[test]
fn both_make_the_same_document() {
    for plan in [plan(), Plan::done()] {
        assert_eq!(stepwright_sdk::document(&plan).unwrap(), amend::document(&of_the_host(&plan)).unwrap());
    }
}

#[test]
fn the_host_takes_an_amendment_that_is_written_here() {
    let mut amendment = Amendment::new(&plan()).unwrap();
    for service in amendment.desired("Service") {
        amendment.set(&service, ["metadata", "labels", "example.com/team"], &"data").unwrap();
    }
    let Verdict::Amend(patch) = amendment.verdict() else { unreachable!("something changed") };
    let policy = serde_json::to_string(&PolicyManifest::reviewing(["*"]).writes("v1", "Service")).unwrap();
    let policy: manifest::PolicyManifest = serde_json::from_str(&policy).unwrap();
    let amended = amend::amend(&of_the_host(&plan()), &patch, &policy).unwrap();
    assert_eq!(amend::document(&amended.plan).unwrap(), *amendment.document());
    assert_eq!(amended.changes.len(), 2);
}
