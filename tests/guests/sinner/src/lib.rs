//! One component for many tests: what it is called, what it asks for and how it misbehaves is written into it after the
//! build (`card`).
//!
//! For most primaries it is a good step, which keeps a ConfigMap with the spec's `value` and the component's own words. For a
//! primary whose spec says `"victim": true` it sins. So one slot shows both: what a sin costs, and that it costs nobody else.

mod card;
mod sins;

use guest_kit::types::{Object, ObjectRef, Violation};
use guest_kit::{Failure, Observation, Plan, nothing, quoted};

struct Component;

impl guest_kit::plugin::Guest for Component {
    fn describe() -> String {
        let manifest = card::manifest();
        match card::sin().as_str() {
            "trap-in-describe" => panic!("I would rather not say who I am"),
            "huge-manifest" => manifest.replacen('{', &format!(r#"{{"description":"{}","#, "x".repeat(900_000)), 1),
            _ => manifest,
        }
    }

    fn validate_settings(_settings: String) -> Vec<Violation> {
        Vec::new()
    }
}

impl guest_kit::step::Guest for Component {
    fn reconcile(observed: Observation) -> Result<Plan, Failure> {
        if observed.primary.body.contains(r#""victim":true"#) {
            sins::commit(&card::sin(), observed)
        } else {
            Ok(good(&observed))
        }
    }
}

/// The plan of a step that behaves.
fn good(observed: &Observation) -> Plan {
    let value = quoted(&value(observed));
    let words = quoted(String::from_utf8_lossy(card::words().as_bytes()).trim_end());
    let name = format!("{}-config", observed.primary.id.name);
    let body = format!(r#"{{"data":{{"value":{value},"by":{words}}}}}"#);
    Plan { desired: vec![object("ConfigMap", &name, body)], ..nothing() }
}

/// The spec's `value`, a plain word.
fn value(observed: &Observation) -> String {
    let after = observed.primary.body.split_once(r#""value":""#).map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default().to_owned()
}

/// An object of the core group in the primary's namespace.
fn object(kind: &str, name: &str, body: String) -> Object {
    let id = ObjectRef { api_version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() };
    Object { id, body }
}

#[cfg(target_family = "wasm")]
guest_kit::bindings::export_step_plugin!(Component with_types_in guest_kit::bindings);
