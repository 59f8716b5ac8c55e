//! The Deployment of the services rigger: made where the host leaves the step to a process of its own, and only there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use insta::assert_yaml_snapshot as golden;
use serde_json::{Value, json};
use world::{World, account, host};

fn apart(spec: Value) -> World {
    let mut world = World::running();
    world.spec = spec;
    world.facts.push(("host".into(), host()));
    world.accounts.push(account());
    world
}

/// What the plan wants under the rigger's name, by kind.
fn desired(world: &World) -> Vec<Value> {
    let plan = world.plan();
    let all = plan["desired"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|it| it.to_string().contains("rec-services-rigger")).collect()
}

fn pod(spec: Value) -> Value {
    let all = desired(&apart(spec));
    let text = |it: &Value| it["id"].as_str().unwrap_or_default().to_owned();
    let deployment = all.iter().find(|it| text(it).contains("Deployment")).expect("a Deployment");
    deployment["body"]["spec"]["template"].clone()
}

#[test]
fn account_rights_and_deployment() {
    golden!(desired(&apart(json!({ "nodes": 3 }))));
}

#[test]
fn without_a_host_that_delegates_there_is_none() {
    for fact in [
        json!({ "delegated": {} }),
        json!({ "image": "i:1", "delegated": {} }),
        json!({ "delegated": host()["delegated"] }),
    ] {
        let mut world = World::running();
        world.facts.push(("host".into(), fact));
        assert!(desired(&world).is_empty());
    }
    assert!(desired(&World::running()).is_empty());
}

#[test]
fn the_pods_go_with_their_account() {
    let mut world = apart(json!({ "nodes": 3 }));
    world.accounts.clear();
    let all = desired(&world);
    assert!(all.iter().any(|it| it["id"].to_string().contains("ServiceAccount")));
    assert!(!all.iter().any(|it| it["id"].to_string().contains("Deployment")));
}

#[test]
fn fields_of_the_spec_reach_its_pod() {
    golden!(pod(json!({
        "nodes": 3,
        "extraLabels": { "team": "data", "name": "not this" },
        "nodeSelector": { "disk": "fast" },
        "podAnnotations": { "both": "1" },
        "podTolerations": [{ "key": "a", "operator": "Exists" }],
        "priorityClassName": "high",
        "pullSecrets": [{ "name": "mine" }, { "name": "operator-pull" }],
        "redisEnterpriseServicesRiggerResources": { "limits": { "cpu": 1, "memory": "1024Mi" } },
        "servicesRiggerSpec": {
            "podAnnotations": { "only": "1" },
            "extraEnvVars": [{ "name": "RUST_LOG", "value": "debug" }, { "name": "POD_NAME", "value": "not this" }],
            "servicesRiggerAdditionalPodSpecAttributes": {
                "dnsPolicy": "Default", "serviceAccountName": "not-this",
                "tolerations": [{ "key": "a", "operator": "Exists" }, { "key": "b", "operator": "Exists" }],
            },
        },
    })));
}

#[test]
fn an_attribute_that_is_the_operator_s_own_is_told_of() {
    let attributes = json!({ "serviceAccountName": "x", "dnsPolicy": "Default" });
    let plan =
        apart(json!({ "servicesRiggerSpec": { "servicesRiggerAdditionalPodSpecAttributes": attributes } })).plan();
    let field = "spec.servicesRiggerSpec.servicesRiggerAdditionalPodSpecAttributes.serviceAccountName";
    let told = json!([{ "field": field, "reason": "the operator sets this attribute itself" }]);
    assert_eq!(plan["notes"]["unsupported"], told);
}

#[test]
fn the_image_is_the_operator_s_own_unless_the_spec_says_otherwise() {
    let image = |spec: Value| {
        let pod = pod(json!({ "redisEnterpriseServicesRiggerImageSpec": spec }));
        pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    assert_eq!(image(json!({})), "registry:5000/stepwright/operator:0.1.0");
    assert_eq!(image(json!({ "versionTag": "2" })), "registry:5000/stepwright/operator:2");
    assert_eq!(image(json!({ "repository": "mine/operator" })), "mine/operator:0.1.0");
    assert_eq!(
        image(json!({ "repository": "mine/operator", "versionTag": "2", "digestHash": "ab" })),
        "mine/operator@sha256:ab"
    );
}
