//! The life of plugins in ConfigMaps over a real API server, the plugins plain Rust: swapped, shadowed, tried on a share,
//! promoted, rolled back, refused, given back.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use stepwright_core::guest::{Digest, Guest, GuestError};
use stepwright_core::plan::Plan;
use stepwright_operator::plugins::history;
use stepwright_tests::api_server::{Running, SOON, Setup, client, namespace, operator_with};
use stepwright_tests::native::{Native, core_object};
use stepwright_tests::wait::until;

/// A plugin for `step` that writes `value` into the ConfigMap `<primary>-<step>`, after `misbehave`.
fn writer(
    step: &str,
    value: &str,
    writes: &[&str],
    misbehave: impl Fn(&str) -> Result<(), GuestError> + Send + Sync + 'static,
) -> Arc<dyn Guest> {
    let writes: Vec<Value> = writes.iter().map(|kind| json!({"apiVersion": "v1", "kind": kind})).collect();
    let manifest = json!({"name": "native", "version": value,
        "steps": [{"name": step, "primary": ["spec"], "writes": writes}]});
    let (step, data) = (step.to_owned(), value.to_owned());
    Native::new(manifest, value, move |observed| {
        let primary = &observed.primary.id.name;
        misbehave(primary)?;
        let body = json!({"data": {"value": data}});
        Ok(Ok(Plan { desired: vec![core_object("ConfigMap", &format!("{primary}-{step}"), body)], ..Plan::done() }))
    })
}

fn good(step: &str, value: &str) -> Arc<dyn Guest> {
    writer(step, value, &["ConfigMap"], |_| Ok(()))
}

fn trapped() -> GuestError {
    GuestError::Trapped { plugin: "native".into(), message: "out of bounds".into() }
}

/// `STEP VALUE WORD…`: traps on primaries that begin with `late` if a word is `traps`; writes Secrets if one is `secrets`.
fn load(bytes: &[u8]) -> Result<Arc<dyn Guest>, GuestError> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let words: Vec<&str> = text.split(' ').collect();
    let [step, value, rest @ ..] = words.as_slice() else {
        return Err(GuestError::Garbled { plugin: "?".into(), message: "not a component".into() });
    };
    let traps = rest.contains(&"traps");
    let writes: &[&str] = if rest.contains(&"secrets") { &["ConfigMap", "Secret"] } else { &["ConfigMap"] };
    let always = rest.contains(&"always");
    Ok(writer(step, value, writes, move |primary| {
        if traps && (always || primary.starts_with("late")) { Err(trapped()) } else { Ok(()) }
    }))
}

/// What the loader makes of it, by digest.
fn digest(component: &str) -> String {
    load(component.as_bytes()).unwrap().digest().to_string()
}

fn setup() -> Setup {
    Setup { loader: Arc::new(load), ..Setup::default() }
}

/// An operator with embedded plugins for `step` and `other`, and one primary that is ready.
async fn started() -> Running {
    let client = client().await;
    let home = namespace(&client).await;
    let embedded = vec![good("step", "embedded"), good("other", "embedded")];
    let running = operator_with(client, home, &["step", "other"], embedded, setup()).await;
    running.apply("a", json!({})).await;
    written(&running, "a-step", "embedded").await;
    running
}

async fn written(running: &Running, name: &str, value: &str) {
    running.object::<ConfigMap>(name, |map| data(map) == Some(value)).await;
}

fn data(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("value").map(String::as_str)
}

/// Applies a plugin as an admin would.
async fn put(running: &Running, name: &str, component: &str, annotations: &[(&str, &str)], text: &[(&str, &str)]) {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(component);
    let annotations: BTreeMap<String, &str> =
        annotations.iter().map(|(key, value)| (format!("stepwright.dev/{key}"), *value)).collect();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations,
        "labels": {"stepwright.dev/plugin": "true"}}, "binaryData": {"plugin.wasm": encoded},
        "data": text.iter().copied().collect::<BTreeMap<_, _>>()});
    let parameters = PatchParams::apply("admin").force();
    running.api::<ConfigMap>().patch(name, &parameters, &Patch::Apply(&body)).await.unwrap();
}

/// As `kubectl annotate` does; `None` takes it away.
async fn annotate(running: &Running, name: &str, key: &str, value: Option<&str>) {
    let body = json!({"metadata": {"annotations": {format!("stepwright.dev/{key}"): value}}});
    running.api::<ConfigMap>().patch(name, &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
}

/// Waits until the ConfigMap is told to be in this state for this reason word; returns its annotations.
async fn told(running: &Running, name: &str, state: &str, reason: &str) -> BTreeMap<String, String> {
    let map: ConfigMap = running
        .object(name, |map: &ConfigMap| {
            let said = |key: &str| map.annotations().get(&format!("stepwright.dev/{key}")).map(String::as_str);
            said("state") == Some(state) && said("reason").is_some_and(|it| it.starts_with(&format!("{reason}:")))
        })
        .await;
    map.annotations().iter().map(|(key, value)| (key.replace("stepwright.dev/", ""), value.clone())).collect()
}

/// Waits until an Event with this reason says that about the ConfigMap.
async fn event(running: &Running, name: &str, reason: &str, says: &str) {
    until(&format!("an Event {reason} about {name}"), SOON, || async {
        let all = running.events(name).await;
        if all.iter().any(|(it, note)| it == reason && note.contains(says)) { Ok(()) } else { Err(all) }
    })
    .await;
}

async fn metric(running: &Running, line: &str) {
    until(line, SOON, || async {
        let text = running.metrics.text(&BTreeMap::new());
        if text.lines().any(|it| it.starts_with(line)) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_rehearsed_measured_told_and_written_down_and_taking_it_away_uncovers_what_is_below() {
    let running = started().await;
    put(&running, "p", "step one", &[("rehearse", "live")], &[]).await;
    written(&running, "a-step", "one").await;
    let said = told(&running, "p", "active", "PluginActive").await;
    assert_eq!(said["digest"], digest("step one"));
    assert!(
        said["rehearsal"].contains("differ in") && said["rehearsal"].contains("ConfigMap a-step data.value"),
        "{said:?}"
    );
    event(&running, "p", "PluginActive", "answers for step step").await;
    event(&running, "p", "PluginRehearsed", "would change").await;
    metric(&running, "stepwright_plugin_swap_seconds_count 1").await;
    put(&running, "p", "step two", &[], &[]).await;
    written(&running, "a-step", "two").await;
    // What it did is there before what is said of it.
    until("word of the second", SOON, || async {
        let said = told(&running, "p", "active", "PluginActive").await;
        if said.get("previous") == Some(&digest("step one")) { Ok(()) } else { Err(said) }
    })
    .await;
    written(&running, "a-other", "embedded").await;

    running.api::<ConfigMap>().delete("p", &DeleteParams::default()).await.unwrap();
    written(&running, "a-step", "embedded").await;
    until("the history", SOON, || async {
        let map = running.api::<ConfigMap>().get(history::NAME).await.map_err(|error| error.to_string())?;
        let all = history::read(&map, history::KEY);
        let whats: Vec<&str> = all.iter().map(|it| it.what.as_str()).collect();
        if whats == ["activated", "activated", "removed"] { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_writes_nothing_until_it_is_promoted() {
    let running = started().await;
    put(&running, "p", "step shadow", &[("mode", "shadow")], &[]).await;
    told(&running, "p", "shadow", "PluginShadow").await;
    running.apply("b", json!({})).await;
    written(&running, "b-step", "embedded").await;
    let short: String = digest("step shadow").chars().take(12).collect();
    let labels = format!(r#"{{plugin="native",digest="{short}",step="step"}}"#);
    metric(&running, &format!("stepwright_plugin_shadow_differences_total{labels}")).await;
    written(&running, "a-step", "embedded").await;
    annotate(&running, "p", "promoted", Some(&digest("step shadow"))).await;
    written(&running, "a-step", "shadow").await;
    told(&running, "p", "active", "PluginPromoted").await;
    event(&running, "p", "PluginPromoted", "since it was promoted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_answers_for_its_labels_and_is_promoted_by_itself() {
    let running = started().await;
    put(&running, "p", "step canary", &[("mode", "canary"), ("canary-labels", "try=yes"), ("promote-after", "2")], &[])
        .await;
    told(&running, "p", "canary", "PluginCanary").await;
    written(&running, "a-step", "embedded").await;
    let labelled = json!({"metadata": {"labels": {"try": "yes"}}});
    running.things().patch("a", &PatchParams::default(), &Patch::Merge(&labelled)).await.unwrap();
    running.apply("b", json!({})).await;
    written(&running, "a-step", "canary").await;
    for value in 0..3 {
        running.apply("a", json!({"value": value})).await;
        running.things().patch("a", &PatchParams::default(), &Patch::Merge(&labelled)).await.unwrap();
    }
    written(&running, "b-step", "canary").await;
    told(&running, "p", "active", "PluginPromoted").await;
    let map: ConfigMap = running.object("p", |_| true).await;
    assert_eq!(map.annotations()["stepwright.dev/promoted"], digest("step canary"), "it outlasts the process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_hand_brings_back_the_version_before_and_taking_the_annotation_away_undoes_it() {
    let running = started().await;
    put(&running, "p", "step one", &[], &[]).await;
    written(&running, "a-step", "one").await;
    put(&running, "p", "step two", &[], &[]).await;
    written(&running, "a-step", "two").await;
    annotate(&running, "p", "rolled-back", Some(&digest("step two"))).await;
    written(&running, "a-step", "one").await;
    let said = told(&running, "p", "rolled-back", "PluginRolledBack").await;
    assert!(said["reason"].contains("by annotation stepwright.dev/rolled-back; now answers: native one"), "{said:?}");
    annotate(&running, "p", "rolled-back", None).await;
    written(&running, "a-step", "two").await;
    told(&running, "p", "active", "PluginActive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_is_rolled_back_by_itself_and_not_taken_again() {
    let running = started().await;
    put(&running, "p", "step one", &[], &[]).await;
    written(&running, "a-step", "one").await;
    put(&running, "p", "step two traps", &[], &[]).await;
    written(&running, "a-step", "two").await;
    // Fine on all that was there when it was rehearsed, and not on this one.
    running.apply("late", json!({})).await;
    written(&running, "late-step", "one").await;
    written(&running, "a-step", "one").await;
    let said = told(&running, "p", "rolled-back", "PluginRolledBack").await;
    assert_eq!(said["rolled-back"], digest("step two traps"));
    assert!(said["reason"].contains("PluginTrapped: ") && said["reason"].contains("within 5 minutes"), "{said:?}");
    event(&running, "p", "PluginRolledBack", "plugin `native` trapped: out of bounds").await;
    metric(&running, r#"stepwright_plugin_swaps_total{reason="PluginRolledBack"} 1"#).await;
    put(&running, "p", "step three", &[], &[]).await;
    written(&running, "late-step", "three").await;
    told(&running, "p", "active", "PluginActive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fights_for_a_field_is_rolled_back_by_itself_with_the_other_manager_named() {
    let running = started().await;
    put(&running, "p", "step two", &[("mode", "canary"), ("canary-percent", "100")], &[]).await;
    written(&running, "a-step", "two").await;
    // Somebody who wants what the version before wants: with that one back, there is nothing to fight about.
    let api = running.api::<ConfigMap>();
    let theirs = PatchParams { field_manager: Some("meddler".into()), ..PatchParams::default() };
    until("the end of the fight", Duration::from_secs(60), || async {
        let map = api.get("a-step").await?;
        if data(&map) == Some("two") {
            api.patch("a-step", &theirs, &Patch::Merge(&json!({"data": {"value": "embedded"}}))).await?;
        }
        let map = api.get("p").await?;
        let state = map.annotations().get("stepwright.dev/state").cloned().unwrap_or_default();
        if state == "rolled-back" { Ok(()) } else { anyhow::bail!("it is {state}") }
    })
    .await;
    let said = told(&running, "p", "rolled-back", "PluginRolledBack").await;
    assert!(said["reason"].contains("FieldFight: ") && said["reason"].contains("meddler"), "{said:?}");
    event(&running, "p", "PluginRolledBack", "meddler").await;
    written(&running, "a-step", "embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_taken_up_when_all_of_it_is_there() {
    let running = started().await;
    let set = [("set", "release"), ("set-size", "2")];
    put(&running, "p", "step one", &set, &[]).await;
    let said = told(&running, "p", "waiting", "SetIncomplete").await;
    assert!(said["reason"].contains("1 of the 2 plugins of set `release` are ready"), "{said:?}");
    put(&running, "q", "other one secrets", &set, &[]).await;
    told(&running, "q", "refused", "PluginAsksForMore").await;
    let said = told(&running, "p", "waiting", "SetIncomplete").await;
    assert!(said["reason"].contains("not ready: q"), "{said:?}");
    written(&running, "a-step", "embedded").await;
    put(&running, "q", "other one", &set, &[]).await;
    written(&running, "a-step", "one").await;
    written(&running, "a-other", "one").await;
    told(&running, "p", "active", "PluginActive").await;
    told(&running, "q", "active", "PluginActive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_its_rehearsal_or_cannot_be_read_leaves_the_old_one_at_work() {
    let running = started().await;
    put(&running, "p", "step one", &[], &[]).await;
    written(&running, "a-step", "one").await;
    put(&running, "p", "step two traps always", &[("rehearse", "live")], &[]).await;
    let said = told(&running, "p", "refused", "RehearsalFailed").await;
    assert!(said["reason"].contains("PluginTrapped on Thing"), "{said:?}");
    event(&running, "p", "RehearsalFailed", "plugin `native` trapped").await;
    put(&running, "p", "rubbish", &[], &[]).await;
    told(&running, "p", "refused", "PluginGarbled").await;
    put(&running, "p", "step two", &[("mode", "sometimes")], &[]).await;
    told(&running, "p", "refused", "AnnotationInvalid").await;
    running.apply("b", json!({})).await;
    written(&running, "b-step", "one").await;
    let view = running.plugins();
    let of_map: Vec<&str> =
        view.plugins.iter().filter(|it| it.config_map.as_deref() == Some("p")).map(|it| it.state.as_str()).collect();
    assert_eq!(of_map, ["active", "refused"], "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_account_rbac_decides_and_calls_have_to_be_confirmed() {
    let running = started().await;
    let account = [("service-account", "acts")];
    put(&running, "p", "step one secrets", &account, &[]).await;
    let said = told(&running, "p", "refused", "ServiceAccountMissing").await;
    assert!(said["reason"].contains("kubectl create serviceaccount acts"), "{said:?}");
    let body: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "acts"}})).unwrap();
    running.api::<ServiceAccount>().create(&PostParams::default(), &body).await.unwrap();
    told(&running, "p", "refused", "ServiceAccountNotOptedIn").await;
    let body = json!({"metadata": {"annotations": {"stepwright.dev/act-as": "x, p"}}});
    running.api::<ServiceAccount>().patch("acts", &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    let said = told(&running, "p", "refused", "ServiceAccountForbidden").await;
    let remedy = format!(
        "kubectl create role acts --verb=create,delete,patch --resource=configmaps,secrets -n {}",
        running.namespace
    );
    assert!(said["reason"].contains(&remedy), "{said:?}");
    let body: Role = serde_json::from_value(json!({"metadata": {"name": "acts"}, "rules": [{"apiGroups": [""],
        "resources": ["configmaps", "secrets"], "verbs": ["create", "patch", "delete"]}]}))
    .unwrap();
    running.api::<Role>().create(&PostParams::default(), &body).await.unwrap();
    let body: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "acts"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "acts"},
        "subjects": [{"kind": "ServiceAccount", "name": "acts", "namespace": running.namespace}]}))
    .unwrap();
    running.api::<RoleBinding>().create(&PostParams::default(), &body).await.unwrap();
    written(&running, "a-step", "one").await;
    told(&running, "p", "active", "PluginActive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_stays_so_after_a_restart() {
    let client = client().await;
    let home = namespace(&client).await;
    let start = || {
        let embedded = vec![good("step", "embedded"), good("other", "embedded")];
        operator_with(client.clone(), home.clone(), &["step", "other"], embedded, setup())
    };
    let running = start().await;
    running.apply("a", json!({})).await;
    // The digest by which it is known in a ConfigMap is that of the bytes.
    put(&running, "p", "step one", &[("rolled-back", &Digest::of(b"step one").to_string())], &[]).await;
    told(&running, "p", "rolled-back", "PluginRolledBack").await;
    written(&running, "a-step", "embedded").await;
    drop(running);
    let running = start().await;
    running.apply("b", json!({})).await;
    written(&running, "b-step", "embedded").await;
    annotate(&running, "p", "rolled-back", None).await;
    written(&running, "b-step", "one").await;
}
