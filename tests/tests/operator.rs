//! The operator over a real API server, its plugins plain Rust: what is written, put back, pruned, refused, reported.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stepwright_core::guest::{Guest, GuestError};
use stepwright_core::plan::{Call, Event, Failure, Plan, Progress, Severity, Violation, Wait};
use stepwright_operator::plugin_maps::Loader;
use stepwright_tests::api_server::{Running, SOON, Setup, client, namespace, operator, operator_with};
use stepwright_tests::native::{Native, core_object, primary};
use stepwright_tests::wait::until;

fn manifest(writes: &[&str], more: Value) -> Value {
    let writes: Vec<Value> = writes.iter().map(|kind| json!({"apiVersion": "v1", "kind": kind})).collect();
    let mut step = json!({"name": "step", "primary": ["spec", "status"], "writes": writes});
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "native", "version": "1", "steps": [step]})
}

/// Makes a ConfigMap `<name>-config` with the spec's `value`, unless `spec.config` is false.
fn configures() -> Arc<Native> {
    Native::new(manifest(&["ConfigMap"], json!({})), "1", |observed| {
        let thing = primary(observed);
        if thing["spec"]["config"] == false {
            return Ok(Ok(Plan::done()));
        }
        let name = format!("{}-config", observed.primary.id.name);
        let body = json!({"metadata": {"labels": {"ours": "yes"}}, "data": {"value": thing["spec"]["value"]}});
        let status = json!({"seen": thing["spec"]["value"]}).to_string();
        Ok(Ok(Plan { desired: vec![core_object("ConfigMap", &name, body)], status: Some(status), ..Plan::done() }))
    })
}

fn data(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("value").map(String::as_str)
}

/// Waits until no more writes are counted for a second; that is what rest means.
async fn rest(running: &Running) -> u64 {
    until("the operator to rest", SOON, || async {
        let before = running.writes();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = running.writes();
        if before == after { Ok(after) } else { Err(after - before) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_wants_is_made_owned_and_reported_and_then_nothing_is_written() {
    let plugin = configures();
    let running = operator(&["step"], vec![plugin.clone()]).await;
    let thing = running.apply("a", json!({"value": "1"})).await;
    let map: ConfigMap = running.object("a-config", |map| data(map) == Some("1")).await;
    assert_eq!(map.metadata.owner_references.as_ref().unwrap()[0].uid, thing.uid().unwrap());
    assert_eq!(map.labels()["app.kubernetes.io/managed-by"], "stepwright");
    assert_eq!(map.annotations()["stepwright.dev/owner"], format!("Thing/{}/a/step", running.namespace));
    running.condition("a", "Ready", "True").await;
    assert_eq!(running.things().get("a").await.unwrap().data["status"]["seen"], "1");

    rest(&running).await;
    let (writes, asked) = (running.writes(), plugin.asked().len());
    // A change that no step looks at: a pass, but no question and no write.
    let body = json!({"metadata": {"annotations": {"somebody": "else"}}});
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    rest(&running).await;
    assert_eq!((running.writes(), plugin.asked().len()), (writes, asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_put_back_and_told_and_what_is_not_ours_is_left_alone() {
    let running = operator(&["step"], vec![configures()]).await;
    running.apply("a", json!({"value": "1"})).await;
    running.condition("a", "Ready", "True").await;
    let change = json!({"data": {"value": "2", "theirs": "kept"}, "metadata": {"labels": {"theirs": "kept"}}});
    running.api::<ConfigMap>().patch("a-config", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    let map: ConfigMap = running.object("a-config", |map| data(map) == Some("1")).await;
    assert_eq!(map.data.unwrap()["theirs"], "kept");
    assert_eq!(map.metadata.labels.unwrap()["theirs"], "kept");

    let before: ConfigMap = running.object("a-config", |_| true).await;
    running.api::<ConfigMap>().delete("a-config", &DeleteParams::default()).await.unwrap();
    running.object::<ConfigMap>("a-config", |map| map.uid() != before.uid()).await;
    until("two Events of drift", SOON, || async {
        let all = running.events("a").await;
        let drift: Vec<_> = all.iter().filter(|it| it.0 == "DriftCorrected").cloned().collect();
        if drift.len() >= 2 { Ok(()) } else { Err(all) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_pass_writes_wakes_the_others_that_look_at_it() {
    let more = json!({"observes": [{"name": "things", "apiVersion": "test.stepwright.dev/v1", "kind": "Thing",
        "select": {"labels": {}}, "fields": ["status.count"]}]});
    // Each reports its count a while after it was asked, and notes what the first one reported.
    let plugin = Native::new(manifest(&["ConfigMap"], more), "1", |observed| {
        let first = observed.objects[0].objects.iter().find(|it| it.id.name == "first");
        let seen: Value = first.map_or(Value::Null, |it| serde_json::from_str(&it.body).unwrap());
        let name = format!("{}-sees", observed.primary.id.name);
        let body = json!({"data": {"value": seen["status"]["count"].to_string()}});
        if observed.primary.id.name == "first" {
            std::thread::sleep(Duration::from_millis(300));
        }
        let status = json!({"count": primary(observed)["spec"]["count"]}).to_string();
        Ok(Ok(Plan { desired: vec![core_object("ConfigMap", &name, body)], status: Some(status), ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    running.apply("second", json!({"count": 0})).await;
    running.condition("second", "Ready", "True").await;
    for count in ["1", "2", "3"] {
        running.apply("first", json!({"count": count.parse::<u32>().unwrap()})).await;
        running.object::<ConfigMap>("second-sees", |map| data(map) == Some(count)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_wanted_is_deleted() {
    let running = operator(&["step"], vec![configures()]).await;
    running.apply("a", json!({"value": "1"})).await;
    running.apply("b", json!({"value": "1"})).await;
    running.object::<ConfigMap>("a-config", |_| true).await;
    running.object::<ConfigMap>("b-config", |_| true).await;
    running.apply("a", json!({"value": "1", "config": false})).await;
    running.gone::<ConfigMap>("a-config").await;
    assert!(running.api::<ConfigMap>().get_opt("b-config").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn amendments_touch_what_others_made_and_are_given_up_again() {
    let more = json!({"observes": [{"name": "services", "apiVersion": "v1", "kind": "Service", "select": {"labels": {}},
        "fields": ["metadata.labels"]}]});
    let plugin = Native::new(manifest(&["Service"], more), "1", |observed| {
        let mut amended = Vec::new();
        for target in primary(observed)["spec"]["targets"].as_array().into_iter().flatten() {
            let body = json!({"metadata": {"labels": {"tagged": "yes"}}});
            amended.push(core_object("Service", target.as_str().unwrap(), body));
        }
        Ok(Ok(Plan { amended, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).unwrap();
    running.api::<Service>().create(&PostParams::default(), &service).await.unwrap();
    running.apply("a", json!({"targets": ["s", "not-there"]})).await;
    let tagged = |service: &Service| service.labels().contains_key("tagged");
    running.object::<Service>("s", tagged).await;
    running.apply("a", json!({"targets": []})).await;
    running.object::<Service>("s", |service| !tagged(service)).await;
    assert!(running.api::<Service>().get_opt("not-there").await.unwrap().is_none(), "amending makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_goes_only_when_its_steps_are_done_undoing() {
    let more = json!({"observes": [{"name": "gate", "apiVersion": "v1", "kind": "ConfigMap",
        "select": {"names": ["gate"]}, "fields": ["metadata.name"]}]});
    let plugin = Native::new(manifest(&["ConfigMap"], more), "1", |observed| {
        let shut = !observed.objects[0].objects.is_empty();
        let wait = Wait { word: Some("GateShut".into()), reason: "the gate is shut".into(), again_in: None };
        let progress = if observed.deleting && shut { Progress::Blocked(wait) } else { Progress::Done };
        Ok(Ok(Plan { progress, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    let gate: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "gate"}})).unwrap();
    running.api::<ConfigMap>().create(&PostParams::default(), &gate).await.unwrap();
    running.apply("a", json!({})).await;
    running.condition("a", "Ready", "True").await;
    running.things().delete("a", &DeleteParams::default()).await.unwrap();
    let (reason, message) = running.condition("a", "Ready", "False").await;
    assert_eq!((reason.as_str(), message.as_str()), ("GateShut", "the gate is shut"));
    running.api::<ConfigMap>().delete("gate", &DeleteParams::default()).await.unwrap();
    until("the thing to go", SOON, || async {
        match running.things().get_opt("a").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_made_once_kept_and_never_shown() {
    let more = json!({"observes": [{"name": "secrets", "apiVersion": "v1", "kind": "Secret",
        "select": {"names": ["$(metadata.name)-secret"]}, "fields": ["data"]}], "calls": ["PUT /password"]});
    let plugin = Native::new(manifest(&["Secret"], more), "1", |observed| {
        let name = format!("{}-secret", observed.primary.id.name);
        let body = json!({"stringData": {"password": {"$generate": {"length": 24}}, "port": "1"}});
        let mut calls = Vec::new();
        let known = !observed.objects[0].objects.is_empty();
        if known && observed.round == 0 && primary(observed)["status"]["sent"].is_null() {
            let body = json!({"password": {"$secretKeyRef": {"name": name, "key": "password"}}}).to_string();
            let (method, path) = ("PUT".into(), "/password".into());
            calls.push(Call { id: "p".into(), target: None, method, path, body: Some(body) });
        }
        let sent = observed.round > 0 || !primary(observed)["status"]["sent"].is_null();
        let status = sent.then(|| json!({"sent": true}).to_string());
        Ok(Ok(Plan { desired: vec![core_object("Secret", &name, body)], calls, status, ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin.clone()]).await;
    running.apply("a", json!({})).await;
    running.condition("a", "Ready", "True").await;
    let secret: Secret = running.object("a-secret", |_| true).await;
    let password = String::from_utf8(secret.data.clone().unwrap()["password"].0.clone()).unwrap();
    assert_eq!(password.len(), 24);
    until("the password to be sent", SOON, || async {
        let calls = running.table.calls.lock().clone();
        if calls.iter().any(|(_, _, body)| body.as_deref().is_some_and(|body| body.contains(&password))) {
            Ok(())
        } else {
            Err(calls)
        }
    })
    .await;
    running.apply("a", json!({"again": true})).await;
    rest(&running).await;
    let again: Secret = running.object("a-secret", |_| true).await;
    assert_eq!(again.data, secret.data);
    for observed in plugin.asked() {
        let text = serde_json::to_string(&observed).unwrap();
        assert!(!text.contains(&password), "a plugin was shown a password");
    }
    let journal = serde_json::to_string(&running.journal.all()).unwrap();
    let encoded = secret.data.as_ref().map(|data| serde_json::to_string(&data["password"]).unwrap()).unwrap();
    assert!(
        journal.contains("$secretKeyRef") && journal.contains("PUT /password"),
        "the passes are recorded: {journal}"
    );
    assert!(!journal.contains(&password) && !journal.contains(encoded.trim_matches('"')), "a password is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_beyond_its_grants_is_refused_whole() {
    let plugin = Native::new(manifest(&["ConfigMap"], json!({})), "1", |_| {
        let map = core_object("ConfigMap", "fine", json!({}));
        let secret = core_object("Secret", "sneaky", json!({"stringData": {"a": "b"}}));
        Ok(Ok(Plan { desired: vec![map, secret], ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    running.apply("a", json!({})).await;
    let (reason, message) = running.condition("a", "Degraded", "True").await;
    assert_eq!(reason, "KindNotGranted");
    assert!(message.contains("Secret") && message.contains("may write (v1/ConfigMap)"), "{message}");
    assert!(running.api::<ConfigMap>().get_opt("fine").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_spec_changes_nothing_says_why_and_heals() {
    let plugin = Native::new(manifest(&["ConfigMap"], json!({})), "1", |observed| {
        let thing = primary(observed);
        let nodes = thing["spec"]["nodes"].as_i64().unwrap_or(0);
        if nodes % 2 == 0 {
            let violation = Violation { field: "spec.nodes".into(), message: "must be odd".into() };
            return Ok(Err(Failure::Invalid(vec![violation])));
        }
        let map = core_object("ConfigMap", "m", json!({"data": {"value": nodes.to_string()}}));
        let status = json!({"specStatus": "Valid", "kept": "yes"}).to_string();
        Ok(Ok(Plan { desired: vec![map], status: Some(status), ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    running.apply("a", json!({"nodes": 3})).await;
    running.condition("a", "Ready", "True").await;
    running.apply("a", json!({"nodes": 4})).await;
    let (reason, message) = running.condition("a", "Ready", "False").await;
    assert_eq!((reason.as_str(), message.as_str()), ("InvalidConfiguration", "spec.nodes: must be odd"));
    until("the vendor's word", SOON, || async {
        let thing = running.things().get("a").await.unwrap();
        let status = &thing.data["status"];
        if status["specStatus"] == "Invalid" && status["kept"] == "yes" { Ok(()) } else { Err(status.clone()) }
    })
    .await;
    let map: ConfigMap = running.object("m", |_| true).await;
    assert_eq!(data(&map), Some("3"));
    rest(&running).await;
    let events = running.events("a").await;
    let told: Vec<_> = events.iter().filter(|it| it.0 == "InvalidConfiguration").collect();
    assert_eq!(told.len(), 1, "{events:?}");
    running.apply("a", json!({"nodes": 5})).await;
    running.object::<ConfigMap>("m", |map| data(map) == Some("5")).await;
    running.condition("a", "Ready", "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_in_the_next_round_and_events_are_told_once() {
    let plugin = Native::new(manifest(&[], json!({"calls": ["POST /v1/bdbs"]})), "1", |observed| {
        if let Some(uid) = primary(observed)["status"]["uid"].as_i64() {
            let status = json!({"uid": uid}).to_string();
            return Ok(Ok(Plan { status: Some(status), ..Plan::done() }));
        }
        match observed.replies.first() {
            None => {
                let (method, path) = ("POST".into(), "/v1/bdbs".into());
                let call = Call { id: "c".into(), target: None, method, path, body: Some("{}".into()) };
                Ok(Ok(Plan { calls: vec![call], ..Plan::done() }))
            }
            Some(reply) => {
                let body: Value = serde_json::from_str(&reply.body).unwrap();
                let reason = "DatabaseCreated".into();
                let event = Event { severity: Severity::Normal, reason, message: "made".into() };
                let status = json!({"uid": body["uid"]}).to_string();
                Ok(Ok(Plan { status: Some(status), events: vec![event], ..Plan::done() }))
            }
        }
    });
    let running = operator(&["step"], vec![plugin]).await;
    running.apply("a", json!({})).await;
    running.condition("a", "Ready", "True").await;
    rest(&running).await;
    assert_eq!(running.table.calls.lock().len(), 1);
    let events = running.events("a").await;
    assert_eq!(events.iter().filter(|it| it.0 == "DatabaseCreated").count(), 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_plugin_costs_its_own_pass_only() {
    let plugin = Native::new(manifest(&["ConfigMap"], json!({})), "1", |observed| {
        if observed.primary.id.name == "bad" {
            let error = GuestError::Trapped { plugin: "native".into(), message: "out of bounds".into() };
            return Err(error);
        }
        let body = json!({"data": {"value": primary(observed)["spec"]["value"]}});
        Ok(Ok(Plan { desired: vec![core_object("ConfigMap", "good", body)], ..Plan::done() }))
    });
    let running = operator(&["step"], vec![plugin]).await;
    running.apply("bad", json!({})).await;
    let (reason, message) = running.condition("bad", "Degraded", "True").await;
    assert_eq!(reason, "PluginTrapped");
    assert!(message.contains("plugin `native` trapped"), "{message}");
    for value in ["1", "2", "3"] {
        running.apply("good", json!({"value": value})).await;
        running.object::<ConfigMap>("good", |map| data(map) == Some(value)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_in_config_maps_are_taken_up_swapped_and_given_back() {
    fn writer(value: &'static str, writes: &[&str]) -> Arc<dyn Guest> {
        Native::new(manifest(writes, json!({})), value, move |_| {
            let body = json!({"data": {"value": value}});
            Ok(Ok(Plan { desired: vec![core_object("ConfigMap", "out", body)], ..Plan::done() }))
        })
    }
    let loader: Loader = Arc::new(|bytes: &[u8]| match bytes {
        b"two" => Ok(writer("two", &["ConfigMap"])),
        b"three" => Ok(writer("three", &["ConfigMap"])),
        b"greedy" => Ok(writer("greedy", &["ConfigMap", "Secret"])),
        _ => Err(GuestError::Garbled { plugin: "?".into(), message: "not a component".into() }),
    });
    let client = client().await;
    let home = namespace(&client).await;
    let setup = Setup { loader, ..Setup::default() };
    let running = operator_with(client, home, &["step"], vec![writer("one", &["ConfigMap"])], setup).await;
    running.apply("a", json!({})).await;
    running.object::<ConfigMap>("out", |map| data(map) == Some("one")).await;

    let put = async |bytes: &str| {
        let map = ConfigMap {
            metadata: kube::api::ObjectMeta {
                name: Some("plugin".into()),
                labels: Some(BTreeMap::from([("stepwright.dev/plugin".to_owned(), "true".to_owned())])),
                ..Default::default()
            },
            binary_data: Some([("plugin.wasm".to_owned(), ByteString(bytes.as_bytes().to_vec()))].into()),
            ..Default::default()
        };
        let parameters = PatchParams::apply("admin").force();
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": map.metadata, "binaryData": map.binary_data});
        running.api::<ConfigMap>().patch("plugin", &parameters, &Patch::Apply(&body)).await.unwrap();
    };
    let annotated = |state: &'static str, reason: &'static str| {
        move |map: &ConfigMap| {
            let annotations = map.annotations();
            annotations.get("stepwright.dev/state").is_some_and(|it| it == state)
                && annotations.get("stepwright.dev/reason").is_some_and(|it| it.starts_with(reason))
        }
    };
    put("two").await;
    running.object::<ConfigMap>("out", |map| data(map) == Some("two")).await;
    running.object("plugin", annotated("active", "PluginActive")).await;
    put("three").await;
    running.object::<ConfigMap>("out", |map| data(map) == Some("three")).await;
    put("greedy").await;
    running.object("plugin", annotated("refused", "PluginAsksForMore")).await;
    put("rubbish").await;
    running.object("plugin", annotated("refused", "PluginGarbled")).await;
    let map: ConfigMap = running.object("out", |_| true).await;
    assert_eq!(data(&map), Some("three"), "a refused plugin leaves the old one at work");
    running.api::<ConfigMap>().delete("plugin", &DeleteParams::default()).await.unwrap();
    running.object::<ConfigMap>("out", |map| data(map) == Some("one")).await;
}
