//! An amendment's patch, applied to the plan's document, gives the document that the amendment shows.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};
use stepwright_sdk::testing::carried_out;
use stepwright_sdk::{Amendment, Call, Plan, Verdict, document, secret_ref};

fn plan() -> Plan {
    Plan::done()
        .desire(
            "v1",
            "Service",
            "web",
            &json!({ "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }, { "port": 81 }] } }),
        )
        .desire("apps/v1", "StatefulSet", "web", &json!({ "metadata": { "labels": { "a/b": "1" } }, "spec": null }))
        .desire("v1", "Service", "admin", &json!({}))
        .amend("v1", "ConfigMap", "shared", &json!({ "data": { "x~y": "1" } }))
        .call(Call::put("b", "/v1/bdbs/2").target("rec-0").body(&json!({ "password": secret_ref("s", "p") })))
        .call(Call::get("a", "/v1/nodes"))
        .status(&json!({ "state": "Running" }))
}

#[test]
fn the_document_is_sorted_and_whole() {
    let expected = json!({
        "desired": [
            { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "admin" } },
            {
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
                "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }, { "port": 81 }] },
            },
            {
                "apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": { "name": "web", "labels": { "a/b": "1" } }, "spec": null,
            },
        ],
        "amended": [
            { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shared" }, "data": { "x~y": "1" } },
        ],
        "calls": [
            { "id": "a", "target": null, "method": "GET", "path": "/v1/nodes", "body": null },
            {
                "id": "b", "target": "rec-0", "method": "PUT", "path": "/v1/bdbs/2",
                "body": { "password": { "$secretKeyRef": { "name": "s", "key": "p" } } },
            },
        ],
        "status": { "state": "Running" },
    });
    assert_eq!(document(&plan()).unwrap(), expected);
}

#[test]
fn what_is_missing_on_the_way_is_made_and_names_are_escaped() {
    let mut amendment = Amendment::new(&plan()).unwrap();
    let services = amendment.desired("Service");
    assert_eq!(services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>(), ["admin", "web"]);
    amendment.set(&services[0], ["metadata", "labels", "a/b~c"], &"1").unwrap();
    amendment.set(&services[0], "metadata.labels.team", &"x").unwrap();
    amendment.set(&services[1], "spec.ports.1.port", &82).unwrap();
    amendment.set(&services[1], "spec.ports.-.port", &83).unwrap();
    amendment.remove(&services[1], "spec.ports.0");
    let config = amendment.amended("ConfigMap").remove(0);
    amendment.remove(&config, ["data", "x~y"]);
    let call = amendment.calls().remove(1);
    amendment.set(&call, "body.size", &1).unwrap();
    let expected = json!([
        { "op": "add", "path": "/desired/0/metadata/labels", "value": { "a/b~c": "1" } },
        { "op": "add", "path": "/desired/0/metadata/labels/team", "value": "x" },
        // Of a member that is there, `add` replaces the value.
        { "op": "add", "path": "/desired/1/spec/ports/1/port", "value": 82 },
        { "op": "add", "path": "/desired/1/spec/ports/-", "value": { "port": 83 } },
        { "op": "remove", "path": "/desired/1/spec/ports/0" },
        { "op": "remove", "path": "/amended/0/data/x~0y" },
        { "op": "add", "path": "/calls/1/body/size", "value": 1 },
    ]);
    let written: Value = serde_json::from_str(&amendment.patch()).unwrap();
    assert_eq!(written, expected);
    assert_eq!(carried_out(&plan(), &amendment.verdict()), Ok(Some(amendment.document().clone())));
}

#[test]
fn what_is_already_so_is_no_change() {
    let mut amendment = Amendment::new(&plan()).unwrap();
    let web = amendment.desired("Service").remove(1);
    amendment.set(&web, "spec.type", &"ClusterIP").unwrap();
    amendment.remove(&web, "spec.selector");
    assert_eq!(amendment.verdict(), Verdict::Pass);
}

#[test]
fn what_cannot_be_set_is_told() {
    let mut amendment = Amendment::new(&plan()).unwrap();
    let web = amendment.desired("Service").remove(1);
    for (path, why) in [
        ("spec.type.x", "what is on the way to it is neither an object nor a list"),
        ("spec.ports.7", "the list has no such entry"),
        ("spec.ports.01", "the list has no such entry"),
    ] {
        let failure = amendment.set(&web, path, &1).unwrap_err();
        assert_eq!(failure.to_string(), format!("`{path}` of `web` (desired) cannot be set: {why}"));
    }
    assert_eq!(amendment.verdict(), Verdict::Pass);
}

#[test]
fn a_body_that_is_no_object_is_told() {
    let failure = document(&Plan::done().desire("v1", "Service", "web", &json!([]))).unwrap_err();
    assert_eq!(failure.to_string(), "the body of Service `web` is no JSON object");
}

proptest! {
    #[test]
    fn the_patch_gives_what_the_amendment_shows(
        steps in prop::collection::vec(
            (0..4usize, prop::collection::vec("[ab~/0-]{1,2}", 1..4), prop::option::of(0..3u8)),
            1..12,
        ),
    ) {
        let mut amendment = Amendment::new(&plan()).unwrap();
        let mut places = amendment.desired("Service");
        places.extend(amendment.calls());
        for (place, path, value) in &steps {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            match value {
                // Refusals are fine; they change nothing.
                Some(0) => drop(amendment.set(&places[*place], path.as_slice(), &json!([1, { "a": 2 }]))),
                Some(value) => drop(amendment.set(&places[*place], path.as_slice(), value)),
                None => amendment.remove(&places[*place], path.as_slice()),
            }
        }
        prop_assert_eq!(carried_out(&plan(), &amendment.verdict()), Ok(Some(amendment.document().clone())));
    }
}
