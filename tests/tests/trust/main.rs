//! What plugins are trusted with, on a real API server with real components: who signed them, where they came from, as whom
//! they act, what they call, which policies stand after them, how much they may compute.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

mod accounts;
mod binary;
mod fuel;
mod labels;
mod parts;
mod policies;
mod registries;
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of fetching alone, which use more of it")]
#[path = "../../../host/operator/tests/sources_oci/registry.rs"]
mod registry;
mod signatures;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use stepwright_core::guest::{Guest, GuestError};
use stepwright_dev_cluster::programs_folder;
use stepwright_engine::{Engine, EngineConfig};
use stepwright_operator::plugins::PluginSettings;
use stepwright_tests::api_server::{Running, Setup, client, namespace, operator_with};
use stepwright_tests::components::Card;
use stepwright_tests::wait::until;

/// What is tried again by itself is, after a few times, within this.
const TRIED_AGAIN: Duration = Duration::from_secs(60);

/// An operator whose step `step` answers with the word `embedded`, and a primary `a`.
async fn operator(set: impl FnOnce(&mut PluginSettings)) -> Running {
    let client = client().await;
    let home = namespace(&client).await;
    let engine = Arc::new(Engine::new(EngineConfig::default()).expect("a sandbox"));
    let sections = engine.clone();
    let load = move |bytes: &[u8]| -> Result<Arc<dyn Guest>, GuestError> { Ok(Arc::new(engine.load(bytes)?)) };
    let embedded = load(&component("embedded")).expect("the embedded plugin loads");
    let mut settings = PluginSettings {
        section: Arc::new(move |bytes| sections.section(bytes).map_err(|error| error.to_string())),
        ..PluginSettings::default()
    };
    set(&mut settings);
    let setup = Setup { loader: Arc::new(load), plugins: settings, ..Setup::default() };
    let running = operator_with(client, home, &["step"], vec![embedded], setup).await;
    running.apply("a", json!({"value": "1"})).await;
    answers(&running, "embedded").await;
    running
}

/// A good component for `step` that writes this word and asks for no more than ConfigMaps and one call.
fn component(words: &str) -> Vec<u8> {
    let mut card = Card::good(words, words);
    card.manifest["steps"][0]["writes"] = json!([{"apiVersion": "v1", "kind": "ConfigMap"}]);
    card.component()
}

/// Waits until the primary `a` has what the version with this word writes.
async fn answers(running: &Running, words: &str) {
    running.object::<ConfigMap>("a-config", |map| map.data.as_ref().is_some_and(|data| data["by"] == words)).await;
}

/// Changes the primary, and sees that it is this version that answers.
async fn still_answers(running: &Running, words: &str, value: &str) {
    running.apply("a", json!({"value": value})).await;
    let map = running
        .object::<ConfigMap>("a-config", |map| map.data.as_ref().is_some_and(|data| data["value"] == value))
        .await;
    assert_eq!(map.data.unwrap()["by"], words);
}

/// A ConfigMap of a plugin, as an admin would apply it.
#[derive(Clone, Default)]
struct Offered<'a> {
    component: Option<&'a [u8]>,
    data: Value,
    annotations: &'a [(&'a str, &'a str)],
}

async fn put(running: &Running, name: &str, offered: Offered<'_>) {
    let annotations: BTreeMap<&str, &str> = offered.annotations.iter().copied().collect();
    let mut body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"stepwright.dev/plugin": "true"}, "annotations": annotations}});
    if !offered.data.is_null() {
        body["data"] = offered.data;
    }
    if let Some(bytes) = offered.component {
        body["binaryData"] = json!({"plugin.wasm": ByteString(bytes.to_vec())});
    }
    apply(running, name, &body).await;
}

async fn apply(running: &Running, name: &str, body: &Value) {
    let parameters = PatchParams::apply("admin").force();
    running.api::<ConfigMap>().patch(name, &parameters, &Patch::Apply(body)).await.expect("it is applied");
}

async fn delete(running: &Running, name: &str) {
    running.api::<ConfigMap>().delete(name, &DeleteParams::default()).await.unwrap();
}

/// Waits until the ConfigMap says this state and a reason that begins so; the whole reason.
async fn told(running: &Running, name: &str, state: &str, reason: &str) -> String {
    until(&format!("{name} to be {state} with {reason}"), TRIED_AGAIN, || async {
        let map = running.api::<ConfigMap>().get(name).await.map_err(|error| error.to_string())?;
        let said = |key: &str| map.annotations().get(key).cloned().unwrap_or_default();
        let whole = said("stepwright.dev/reason");
        if said("stepwright.dev/state") == state && whole.starts_with(reason) { Ok(whole) } else { Err(whole) }
    })
    .await
}

/// Runs the operator's binary as a command-line tool, in a folder.
fn stepwright(folder: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = Command::new(programs_folder().unwrap().join("stepwright"));
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
