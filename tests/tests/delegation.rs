//! Two operators over one real API server: one leaves a step to the other, which runs it alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use stepwright_core::delegation::Part;
use stepwright_core::guest::{Guest, GuestError};
use stepwright_core::plan::{Failure, Plan, Progress, Violation, Wait};
use stepwright_operator::delegation::{Delegation, Host};
use stepwright_operator::lease;
use stepwright_operator::plugin_maps::Loader;
use stepwright_operator::plugins::PluginSettings;
use stepwright_tests::api_server::{Running, SOON, Setup, client, namespace, operator_with};
use stepwright_tests::native::{Native, core_object, primary};
use stepwright_tests::wait::until;

/// The step that is run apart.
const APART: &str = "apart";
const STEPS: [&str; 2] = ["first", APART];
const LEASE: &str = "main";

/// Makes a ConfigMap `<name>-<step>` with the spec's `value`, unless the spec's `without` names the step; waits while the
/// spec's `waits` does; finds a spec invalid whose `bad` does.
fn maker(step: &'static str, label: &'static str) -> Arc<Native> {
    let steps = json!([{"name": step, "primary": ["spec"], "writes": [{"apiVersion": "v1", "kind": "ConfigMap"}]}]);
    Native::new(json!({"name": step, "version": "1", "steps": steps}), label, move |observed| {
        let thing = primary(observed);
        let is = |field: &str| thing["spec"][field] == step;
        if is("bad") {
            let violation = Violation { field: "spec.bad".into(), message: "is bad".into() };
            return Ok(Err(Failure::Invalid(vec![violation])));
        }
        let mut plan = Plan::done();
        if is("waits") {
            plan.progress = Progress::Waiting(Wait { word: None, reason: "it takes its time".into(), again_in: None });
        }
        if !is("without") && !observed.deleting {
            let name = format!("{}-{step}", observed.primary.id.name);
            let body = json!({"metadata": {"labels": {"by": label}}, "data": {"value": thing["spec"]["value"]}});
            plan.desired.push(core_object("ConfigMap", &name, body));
        }
        Ok(Ok(plan))
    })
}

fn first() -> Arc<Native> {
    maker("first", "one")
}

fn apart() -> Arc<Native> {
    maker(APART, "one")
}

fn part(part: impl FnOnce(std::collections::BTreeSet<String>) -> Part) -> Delegation {
    let steps = STEPS.map(str::to_owned).to_vec();
    Delegation { part: part([APART.to_owned()].into()), host: Host::default(), steps, lease: Some(LEASE.to_owned()) }
}

/// Components of these tests are manifests as JSON.
fn plugins() -> (Loader, PluginSettings) {
    let loader = |bytes: &[u8]| -> Result<Arc<dyn Guest>, GuestError> {
        let name = if bytes.windows(APART.len()).any(|it| it == APART.as_bytes()) { APART } else { "first" };
        Ok(maker(name, "another"))
    };
    // As in a component that was packed.
    let section = Arc::new(|bytes: &[u8]| {
        let manifest: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        Ok(json!({"contract": "0.1.0", "world": "plugin", "manifest": manifest}).to_string().into_bytes())
    });
    (Arc::new(loader), PluginSettings { section, rehearsal_passes: 0, ..PluginSettings::default() })
}

fn setup(delegation: Delegation) -> Setup {
    let (loader, plugins) = plugins();
    Setup { loader, plugins, delegation, ..Setup::default() }
}

/// The one that speaks for the whole.
async fn main_process(namespace: &str, plugins: Vec<Arc<dyn Guest>>, delegation: Delegation) -> Running {
    operator_with(client().await, namespace.to_owned(), &STEPS, plugins, setup(delegation)).await
}

/// The one that runs the step alone.
async fn lone(namespace: &str, plugin: Arc<Native>) -> Running {
    let client = client().await;
    let leadership = lease::compete(client.clone(), namespace, "main-apart", "lone").await.unwrap();
    let setup = Setup { leadership, ..setup(part(Part::Only)) };
    operator_with(client, namespace.to_owned(), &STEPS, vec![plugin], setup).await
}

async fn fresh() -> String {
    namespace(&client().await).await
}

fn data(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("value").map(String::as_str)
}

async fn conditions(running: &Running, name: &str) -> Vec<String> {
    let thing = running.things().get(name).await.unwrap();
    let all = thing.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.iter().map(|it| it["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_runs_its_steps_and_one_speaks_for_the_whole() {
    let namespace = fresh().await;
    let (of_main, of_lone) = (apart(), apart());
    let main = main_process(&namespace, vec![first(), of_main.clone()], part(Part::Without)).await;
    main.apply("a", json!({"value": "1"})).await;
    main.object::<ConfigMap>("a-first", |map| data(map) == Some("1")).await;
    let (reason, message) = main.condition("a", "Ready", "False").await;
    assert_eq!((reason.as_str(), message.contains("the step apart")), ("StepNotRun", true), "{message}");

    let lone = lone(&namespace, of_lone.clone()).await;
    let map = main.object::<ConfigMap>("a-apart", |map| data(map) == Some("1")).await;
    main.condition("a", "Ready", "True").await;
    let managers: Vec<_> = map.managed_fields().iter().filter_map(|it| it.manager.as_deref()).collect();
    assert_eq!(managers, ["stepwright/apart"]);
    assert_eq!(map.annotations()["stepwright.dev/owner"], format!("Thing/{namespace}/a/apart"));
    let thing = main.things().get("a").await.unwrap();
    assert_eq!(thing.finalizers(), ["test.stepwright.dev/finalizer"]);
    let mut said = conditions(&main, "a").await;
    said.sort();
    assert_eq!(said, ["ApartDelegated", "ApartReady", "Degraded", "FieldsSupported", "Progressing", "Ready"]);

    main.apply("a", json!({"value": "2", "waits": APART})).await;
    main.object::<ConfigMap>("a-apart", |map| data(map) == Some("2")).await;
    let (reason, message) = main.condition("a", "Ready", "False").await;
    until("what the step waits for", SOON, || async {
        let (reason, message) = main.condition("a", "Ready", "False").await;
        if reason == "Waiting" && message.contains("it takes its time") {
            Ok(())
        } else {
            Err(format!("{reason}: {message}"))
        }
    })
    .await;
    assert!(message.starts_with("step apart") || reason == "StepPending", "{reason}: {message}");
    main.apply("a", json!({"value": "3"})).await;
    main.condition("a", "Ready", "True").await;
    main.object::<ConfigMap>("a-apart", |map| data(map) == Some("3")).await;
    assert!(of_main.asked().is_empty(), "the main process asked about a step that it delegates");
    assert!(main.journal.all().iter().all(|pass| pass.steps.iter().all(|step| step.step != APART)));
    assert!(lone.journal.all().iter().all(|pass| pass.steps.iter().all(|step| step.step == APART)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_an_earlier_step_refuses_never_reaches_it() {
    let namespace = fresh().await;
    let of_lone = apart();
    let main = main_process(&namespace, vec![first()], part(Part::Without)).await;
    let _lone = lone(&namespace, of_lone.clone()).await;
    main.apply("a", json!({"value": "1"})).await;
    main.condition("a", "Ready", "True").await;
    main.apply("a", json!({"value": "2", "bad": "first"})).await;
    main.condition("a", "ApartDelegated", "False").await;
    assert_eq!(main.condition("a", "Ready", "False").await.0, "InvalidConfiguration");
    // Drift is the lone one's to put right, as long as the step is due.
    main.apply("a", json!({"value": "3"})).await;
    main.condition("a", "Ready", "True").await;
    main.api::<ConfigMap>().delete("a-apart", &DeleteParams::default()).await.unwrap();
    main.object::<ConfigMap>("a-apart", |map| data(map) == Some("3")).await;
    let values: Vec<Value> = of_lone.asked().iter().map(|it| primary(it)["spec"]["value"].clone()).collect();
    assert!(!values.contains(&json!("2")), "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_delegate_and_to_take_back_changes_nothing_that_was_made() {
    let namespace = fresh().await;
    let made =
        async |running: &Running| running.object::<ConfigMap>("a-apart", |_| true).await.resource_version().unwrap();
    let version = {
        let whole = main_process(&namespace, vec![first(), apart()], Delegation::default()).await;
        whole.apply("a", json!({"value": "1"})).await;
        whole.condition("a", "Ready", "True").await;
        made(&whole).await
    };
    {
        let main = main_process(&namespace, vec![first(), apart()], part(Part::Without)).await;
        let lone = lone(&namespace, apart()).await;
        main.condition("a", "ApartReady", "True").await;
        main.condition("a", "Ready", "True").await;
        assert_eq!(made(&main).await, version);
        drop(lone);
    }
    let whole = main_process(&namespace, vec![first(), apart()], Delegation::default()).await;
    until("what was said of the delegated step to go", SOON, || async {
        let all = conditions(&whole, "a").await;
        if all.iter().any(|it| it.starts_with("Apart")) { Err(all) } else { Ok(()) }
    })
    .await;
    whole.condition("a", "Ready", "True").await;
    assert_eq!(made(&whole).await, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_prunes_what_its_steps_no_longer_want() {
    let namespace = fresh().await;
    let main = main_process(&namespace, vec![first(), apart()], part(Part::Without)).await;
    let lone = lone(&namespace, apart()).await;
    main.apply("a", json!({"value": "1"})).await;
    main.condition("a", "Ready", "True").await;
    main.apply("a", json!({"value": "1", "without": "first"})).await;
    main.gone::<ConfigMap>("a-first").await;
    main.condition("a", "Ready", "True").await;
    main.object::<ConfigMap>("a-apart", |_| true).await;
    main.apply("a", json!({"value": "2", "without": APART})).await;
    main.gone::<ConfigMap>("a-apart").await;
    main.object::<ConfigMap>("a-first", |map| data(map) == Some("2")).await;
    drop(lone);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_tells_that_nobody_runs_the_step_any_more() {
    let namespace = fresh().await;
    let main = main_process(&namespace, vec![first()], part(Part::Without)).await;
    let alone = lone(&namespace, apart()).await;
    main.apply("a", json!({"value": "1"})).await;
    main.condition("a", "Ready", "True").await;
    drop(alone);
    until("Ready to tell of it", SOON * 2, || async {
        let (reason, message) = main.condition("a", "Ready", "False").await;
        if reason == "StepNotRun" { Ok(()) } else { Err(message) }
    })
    .await;
    until("an Event", SOON, || async {
        let all = main.events("a").await;
        if all.iter().any(|(reason, _)| reason == "StepNotRun") { Ok(()) } else { Err(all) }
    })
    .await;
    // What it made stays, and what is the main process' own goes on.
    main.object::<ConfigMap>("a-apart", |_| true).await;
    main.apply("a", json!({"value": "2"})).await;
    main.object::<ConfigMap>("a-first", |map| data(map) == Some("2")).await;
    let _again = lone(&namespace, apart()).await;
    main.object::<ConfigMap>("a-apart", |map| data(map) == Some("2")).await;
    main.condition("a", "Ready", "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_has_to_undo_is_undone_by_the_process_with_the_finalizer() {
    let namespace = fresh().await;
    let (of_main, of_lone) = (apart(), apart());
    let main = main_process(&namespace, vec![first(), of_main.clone()], part(Part::Without)).await;
    let _lone = lone(&namespace, of_lone.clone()).await;
    main.apply("a", json!({"value": "1"})).await;
    main.condition("a", "Ready", "True").await;
    main.things().delete("a", &DeleteParams::default()).await.unwrap();
    until("the thing to go", SOON, || async {
        match main.things().get_opt("a").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(of_main.asked().iter().any(|it| it.deleting));
    assert!(of_lone.asked().iter().all(|it| !it.deleting));
    main.gone::<ConfigMap>("a-apart").await;
}

async fn put(running: &Running, name: &str, step: &str) {
    let manifest = json!({"name": step, "version": "2", "steps": [{"name": step, "primary": []}]});
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"stepwright.dev/plugin": "true"}},
        "binaryData": {"plugin.wasm": k8s_openapi::ByteString(manifest.to_string().into_bytes())}});
    let parameters = PatchParams::apply("admin").force();
    running.api::<ConfigMap>().patch(name, &parameters, &Patch::Apply(&body)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_taken_up_by_the_process_that_runs_its_step() {
    let namespace = fresh().await;
    let main = main_process(&namespace, vec![first(), apart()], part(Part::Without)).await;
    let lone = lone(&namespace, apart()).await;
    main.apply("a", json!({"value": "1"})).await;
    main.condition("a", "Ready", "True").await;
    put(&main, "for-apart", APART).await;
    put(&main, "for-first", "first").await;
    let by = |map: &ConfigMap| map.labels().get("by").cloned();
    main.object::<ConfigMap>("a-apart", |map| by(map).as_deref() == Some("another")).await;
    main.object::<ConfigMap>("a-first", |map| by(map).as_deref() == Some("another")).await;
    for name in ["for-apart", "for-first"] {
        let told = |map: &ConfigMap| map.annotations().get("stepwright.dev/state").cloned();
        let map = main.object::<ConfigMap>(name, |map| told(map).is_some()).await;
        assert_eq!(told(&map).as_deref(), Some("active"), "{:?}", map.annotations());
    }
    let has = |running: &Running, name: &str| {
        let all = serde_json::to_value(running.plugins()).unwrap();
        all["plugins"].as_array().unwrap().iter().any(|it| it["configMap"] == name)
    };
    assert!(has(&lone, "for-apart") && !has(&lone, "for-first"));
    assert!(has(&main, "for-first") && !has(&main, "for-apart"));
    until("both swaps in the history", SOON, || async {
        let map = main.api::<ConfigMap>().get("stepwright-history").await.map_err(|error| error.to_string())?;
        let keys: Vec<String> = map.data.unwrap_or_default().into_keys().collect();
        if keys == ["swaps.apart.jsonl", "swaps.jsonl"] { Ok(()) } else { Err(keys.join(", ")) }
    })
    .await;
    main.api::<ConfigMap>().delete("for-apart", &DeleteParams::default()).await.unwrap();
    main.object::<ConfigMap>("a-apart", |map| by(map).as_deref() == Some("one")).await;
}
