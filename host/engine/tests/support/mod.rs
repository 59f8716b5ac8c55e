//! Finds the test components, and makes observations for them.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::observation::Observation;
use stepwright_engine::{Engine, EngineConfig, LoadedPlugin};
use tracing::field::{Field, Visit};

pub(crate) fn engine() -> Engine {
    Engine::new(EngineConfig::default()).unwrap()
}

/// `$STEPWRIGHT_GUESTS`, or `guests` in the folder that cargo builds into.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let folder = match std::env::var_os("STEPWRIGHT_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        // …/target/debug/deps/<this test>
        None => std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("guests"),
    };
    let path = folder.join(name).with_extension("wasm");
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}; run `cargo xtask build-plugins`", path.display()),
    }
}

pub(crate) fn load(engine: &Engine, name: &str) -> LoadedPlugin {
    engine.load(&component(name)).unwrap()
}

pub(crate) fn observation(step: &str) -> Observation {
    Observation {
        step: step.into(),
        primary: Object {
            id: ObjectRef {
                api_version: "app.redislabs.com/v1".into(),
                kind: "RedisEnterpriseCluster".into(),
                namespace: Some("ns".into()),
                name: "rec".into(),
            },
            body: r#"{"metadata":{"labels":{"a":"b"}},"spec":{"nodes":3}}"#.into(),
        },
        deleting: false,
        objects: Vec::new(),
        facts: Vec::new(),
        replies: Vec::new(),
        notes: Vec::new(),
        settings: "null".into(),
        round: 0,
        now: "2026-11-21T07:23:00Z".into(),
    }
}

/// The events under `stepwright::guest` that `call` causes on this thread, as text.
pub(crate) fn logged<R>(call: impl FnOnce() -> R) -> (R, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let result = tracing::subscriber::with_default(Collect(Arc::clone(&lines)), call);
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    (result, lines)
}

struct Collect(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Collect {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "stepwright::guest"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

/// Memory of this process that is in RAM.
pub(crate) fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// A component of the step world as far as its names go, with this inside and a manifest. It does not link.
pub(crate) fn packed(inside: &str) -> Vec<u8> {
    let manifest = r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]}]}"#;
    let section = format!(r#"{{"contract":"0.1.0","world":"step-plugin","manifest":{manifest}}}"#);
    sectioned(&format!(r#"{inside} (instance) (export "stepwright:plugin/step@0.1.0" (instance 0))"#), &section)
}

/// A component with this section.
pub(crate) fn sectioned(inside: &str, section: &str) -> Vec<u8> {
    let mut text = String::new();
    for byte in section.bytes() {
        write!(text, "\\{byte:02x}").unwrap();
    }
    wat::parse_str(format!(r#"(component {inside} (@custom "stepwright:manifest" "{text}"))"#)).unwrap()
}

/// One function of this many conditions over 2,000 locals: register allocation takes minutes.
pub(crate) fn bomb(conditions: usize) -> Vec<u8> {
    let mut body = "(local i64)".repeat(2_000);
    for at in 0..conditions {
        let (one, two) = (at * 7 % 2_000 + 1, at * 13 % 2_000 + 1);
        write!(body, "local.get 0 if local.get {one} i64.const {at} i64.add local.set {two} end ").unwrap();
    }
    packed(&format!("(core module (func (export \"f\") (param i32) {body}))"))
}

/// A component whose section asks for other limits than its `describe` does.
pub(crate) fn with_limits(name: &str, limits: &str) -> Vec<u8> {
    let bytes = component(name);
    let bare = stepwright_engine::section::strip(&bytes);
    let section = format!(
        r#"{{"contract":"0.1.0","world":"step-plugin","manifest":{{"name":"{name}","version":"0.1.0","steps":[{{"name":"{name}","primary":["spec","metadata.labels"],"limits":{limits}}},{{"name":"redb","primary":["spec","metadata.labels"],"limits":{limits}}}]}}}}"#
    );
    let packed = sectioned("", &section);
    // Behind the header.
    [bare.as_slice(), packed.get(8..).unwrap()].concat()
}
