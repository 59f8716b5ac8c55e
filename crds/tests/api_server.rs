//! The definitions and their rules as a real API server takes them.
//!
//! One server for all of it, in one test: a server costs seconds, and only the end of a test ends it for certain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is a test"
)]

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use stepwright_crds::definition;

mod cases;
mod support;

use cases::{CREATIONS, Case, TRANSITIONS, base};
use support::ApiServer;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_the_definitions_and_enforces_the_rules() {
    let server = ApiServer::start().await;
    definitions_fit_a_plain_apply(&server).await;
    manifests_are_accepted(&server);
    explain_and_columns_help(&server).await;
    older_version_knows_one_more_method(&server).await;

    let mut refusals = Vec::new();
    let mut wrong = Vec::new();
    for case in CREATIONS {
        judge(case, create(&server, case.manifest()).await, &mut refusals, &mut wrong);
    }
    for case in TRANSITIONS {
        let before = case.before();
        let name = before["metadata"]["name"].as_str().unwrap().to_owned();
        let api = api(&server, &before);
        api.create(&PostParams::default(), &serde_json::from_value(before).unwrap()).await.unwrap();
        if let Some(status) = case.status() {
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        }
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let outcome = api.patch(&name, &params, &Patch::Merge(case.change())).await.map(drop);
        judge(case, outcome, &mut refusals, &mut wrong);
        api.delete(&name, &Default::default()).await.unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    every_rule_was_broken_once(&refusals);
    what_is_older_than_a_rule_can_still_be_deleted(&server).await;
}

async fn definitions_fit_a_plain_apply(server: &ApiServer) {
    let folder = env!("CARGO_MANIFEST_DIR");
    for definition in definition::all().unwrap() {
        let file = format!("{folder}/{}.yaml", definition.spec.names.plural);
        server.kubectl(&["apply", "-f", &file]).unwrap();
        let again = server.kubectl(&["apply", "-f", &file]).unwrap();
        assert!(again.ends_with(" unchanged\n"), "{again}");

        let name = definition.metadata.name.unwrap();
        let api: Api<CustomResourceDefinition> = Api::all(server.client.clone());
        await_condition(api.clone(), &name, is_crd_established()).await.unwrap();
        let conditions = api.get(&name).await.unwrap().status.unwrap().conditions.unwrap();
        let structural = conditions.iter().all(|condition| condition.type_ != "NonStructuralSchema");
        assert!(structural, "{name}: {conditions:?}");
    }
}

fn manifests_are_accepted(server: &ApiServer) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    // kubectl asks for strict validation: an unknown field would be an error.
    let applied = server.kubectl(&["apply", "-f", folder.to_str().unwrap()]).unwrap();
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(applied.matches(" created\n").count(), files, "{applied}");
    let spec = server.kubectl(&["get", "redb", "small", "-o", "jsonpath={.spec}"]).unwrap();
    let spec: Value = serde_json::from_str(&spec).unwrap();
    assert_eq!(spec.get("shardCount"), None, "the API server writes no defaults into a spec");
}

async fn explain_and_columns_help(server: &ApiServer) {
    let text = server.kubectl(&["explain", "redb.spec.memorySize"]).unwrap();
    assert!(text.contains("a number with MB or GB"), "{text}");
    let text = server.kubectl(&["explain", "rec.spec.ldap.servers"]).unwrap();
    assert!(text.contains("VERSION:    v1\n") && text.contains("Host name or address."), "{text}");

    let status = json!({ "status": {
        "state": "Running",
        "redisEnterpriseVersion": "8.0.20-44.23",
        "licenseStatus": { "shardsUsage": "1/4", "ramShardsLimit": null },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Running", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    let rec = base("app.redislabs.com/v1", "RedisEnterpriseCluster", "rec", json!({}));
    api(server, &rec).patch_status("rec", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let table = server.kubectl(&["get", "rec", "rec"]).unwrap();
    let mut lines = table.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim));
    let head: Vec<_> = lines.next().unwrap().collect();
    let names =
        ["NAME", "NODES", "SHARDS", "VERSION", "STATE", "SPEC STATUS", "LICENSE STATE", "LICENSE EXPIRATION DATE"];
    assert_eq!(head, [&names[..], &["AGE"]].concat(), "{table}");
    let cells: Vec<_> = lines.next().unwrap().collect();
    assert_eq!(cells[..5], ["rec", "3", "1/4", "8.0.20-44.23", "Running"], "{table}");
    let all = server.kubectl(&["get", "redis-enterprise", "-o", "name"]).unwrap();
    assert!(all.contains("redisenterprisedatabase.app.redislabs.com/mydb\n"), "{all}");
}

async fn older_version_knows_one_more_method(server: &ApiServer) {
    let routing = json!({ "activeActive": { "method": "istio", "apiIngressUrl": "a", "dbIngressSuffix": "b" } });
    let older = base("app.redislabs.com/v1alpha1", "RedisEnterpriseCluster", "older", routing.clone());
    create(server, older).await.unwrap();
    let current = base("app.redislabs.com/v1", "RedisEnterpriseCluster", "current", routing);
    let refusal = create(server, current).await.unwrap_err().to_string();
    assert!(refusal.contains("\"istio\": supported values"), "{refusal}");
}

fn api(server: &ApiServer, manifest: &Value) -> Api<DynamicObject> {
    let (group, version) = manifest["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let kind = manifest["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(server.client.clone(), "default", &resource)
}

/// As a dry run: nothing of it stays.
async fn create(server: &ApiServer, manifest: Value) -> kube::Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    api(server, &manifest).create(&params, &serde_json::from_value(manifest).unwrap()).await.map(drop)
}

fn judge(case: &Case, outcome: kube::Result<()>, refusals: &mut Vec<String>, wrong: &mut Vec<String>) {
    match (case.refusal, outcome) {
        (None, Ok(())) => {}
        (None, Err(error)) => wrong.push(format!("{}: should be accepted, but: {error}", case.name)),
        (Some(expected), Ok(())) => wrong.push(format!("{}: accepted, but should say: {expected}", case.name)),
        (Some(expected), Err(error)) => {
            let text = error.to_string();
            if !text.contains(expected) {
                wrong.push(format!("{}: says\n  {text}\nbut should say\n  {expected}", case.name));
            }
            refusals.push(text);
        }
    }
}

/// A finalizer has to come off whatever the spec says, or the namespace could never go.
async fn what_is_older_than_a_rule_can_still_be_deleted(server: &ApiServer) {
    const V1ALPHA1: &str = "app.redislabs.com/v1alpha1";
    let older = [
        base(
            "app.redislabs.com/v1",
            "RedisEnterpriseCluster",
            "even",
            json!({ "nodes": 4, "license": "a", "licenseSecretName": "b" }),
        ),
        base(V1ALPHA1, "RedisEnterpriseDatabase", "illegal", json!({ "evictionPolicy": "illegal", "rofRamRatio": 1 })),
        base(
            V1ALPHA1,
            "RedisEnterpriseActiveActiveDatabase",
            "1-digit",
            json!({ "participatingClusters": [{ "name": "a" }] }),
        ),
        base(
            V1ALPHA1,
            "RedisEnterpriseRemoteCluster",
            "other",
            json!({ "recName": "a", "recNamespace": "b", "apiFqdnUrl": "c", "secretName": "d" }),
        ),
    ];
    let definitions: Api<CustomResourceDefinition> = Api::all(server.client.clone());
    for mut definition in definition::all().unwrap() {
        for version in &mut definition.spec.versions {
            let mut schema = serde_json::to_value(&version.schema).unwrap();
            forget_rules(&mut schema);
            version.schema = serde_json::from_value(schema).unwrap();
        }
        let name = definition.metadata.name.clone().unwrap();
        definition.metadata.resource_version = definitions.get(&name).await.unwrap().metadata.resource_version;
        definitions.replace(&name, &PostParams::default(), &definition).await.unwrap();
    }
    for mut object in older.clone() {
        support::until("an object is accepted without rules", async || create(server, object.clone()).await.is_ok())
            .await;
        object["metadata"]["finalizers"] = json!(["example.com/test"]);
        let object_in = serde_json::from_value(object.clone()).unwrap();
        api(server, &object).create(&PostParams::default(), &object_in).await.unwrap();
    }
    server.kubectl(&["apply", "-f", env!("CARGO_MANIFEST_DIR")]).unwrap();
    for object in older {
        let mut another = object.clone();
        another["metadata"]["name"] = format!("{}-2", object["metadata"]["name"].as_str().unwrap()).into();
        support::until("the rules are back", async || create(server, another.clone()).await.is_err()).await;

        let (api, name) = (api(server, &object), object["metadata"]["name"].as_str().unwrap());
        let status = Patch::Merge(json!({ "status": { "specStatus": "Invalid" } }));
        api.patch_status(name, &PatchParams::default(), &status).await.unwrap();
        api.delete(name, &Default::default()).await.unwrap();
        let drained = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        api.patch(name, &PatchParams::default(), &drained).await.unwrap();
        assert!(api.get_opt(name).await.unwrap().is_none(), "{name} is still there");
    }
}

fn forget_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(forget_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_rules),
        _ => {}
    }
}

/// Each rule has its case, so that none is there which never fires.
fn every_rule_was_broken_once(refusals: &[String]) {
    let mut silent = Vec::new();
    for definition in definition::all().unwrap() {
        let schema = serde_json::to_value(&definition.spec.versions[0]).unwrap();
        let mut messages = Vec::new();
        collect_messages(&schema, &mut messages);
        silent.extend(messages.into_iter().filter(|message| !refusals.iter().any(|text| text.contains(message))));
    }
    assert!(silent.is_empty(), "no case breaks the rules that say\n{}", silent.join("\n"));
}

fn collect_messages(schema: &Value, messages: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                // Where an expression makes the message, its fixed part stands for it.
                let made = rule.get("messageExpression").is_some();
                let text = if made { "is an invalid value for" } else { rule["message"].as_str().unwrap() };
                messages.push(text.to_owned());
            }
            fields.values().for_each(|field| collect_messages(field, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}
