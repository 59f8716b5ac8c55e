//! A policy: what would restart the pods of a running cluster waits for a maintenance window.
//!
//! What restarts them is a change of a StatefulSet's pod template: another image, other resources. Whether there is one is
//! decided as the host decides whether to write at all. A StatefulSet that is not there yet has nothing to restart.

mod window;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use stepwright_core::compare;
use stepwright_sdk::{
    Failure, Manifest, Observation, Observe, Plan, Policy, PolicyManifest, Verdict, Violation, document, export_policy,
    parse_settings,
};

pub use window::Window;

/// The policy.
pub struct MaintenanceWindow;

export_policy!(MaintenanceWindow);

/// What an admin says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    weekdays: Vec<String>,
    from: String,
    to: String,
}

impl Policy for MaintenanceWindow {
    fn manifest() -> Manifest {
        let sets =
            Observe::new("statefulsets", "apps/v1", "StatefulSet").fields(["spec.template", "metadata.managedFields"]);
        Manifest::new("maintenance-window", env!("CARGO_PKG_VERSION"))
            .description("Holds upgrades and rolling restarts until a maintenance window opens")
            .policy(PolicyManifest::reviewing(["*"]).observe(sets).clock())
    }

    fn validate_settings(settings: &str) -> Vec<Violation> {
        match parse_settings::<Settings>(settings) {
            Ok(Settings { weekdays, from, to }) => Window::new(&weekdays, &from, &to)
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|(field, message)| Violation::new(field, message))
                .collect(),
            Err(error) => vec![Violation::new("settings", error.to_string())],
        }
    }

    fn review(observed: &Observation, plan: &Plan) -> Result<Verdict, Failure> {
        let Some((name, field)) = restart(observed, plan)? else { return Ok(Verdict::Pass) };
        let Settings { weekdays, from, to } = observed.settings()?;
        let window = Window::new(&weekdays, &from, &to).map_err(|wrong| {
            let wrong: Vec<_> = wrong.into_iter().map(|(field, message)| format!("{field}: {message}")).collect();
            Failure::transient(format!("settings are not right: {}", wrong.join("; ")))
        })?;
        let now: Timestamp = observed
            .now
            .parse()
            .map_err(|error| Failure::transient(format!("the time `{}` cannot be read: {error}", observed.now)))?;
        if window.is_open(now) {
            return Ok(Verdict::Pass);
        }
        let until = window.next(now).ok_or_else(|| Failure::transient("the window never opens again"))?;
        let reason = format!(
            "{field} of StatefulSet `{name}` changes, which restarts its pods: held until the maintenance window opens ({window})"
        );
        Ok(Verdict::hold(until.to_string(), reason))
    }
}

/// The first StatefulSet whose pods the plan would restart, and the field that does it.
fn restart(observed: &Observation, plan: &Plan) -> Result<Option<(String, String)>, Failure> {
    let sets = observed.set::<Value>("statefulsets")?;
    if sets.is_empty() {
        return Ok(None);
    }
    let manager = format!("stepwright/{}", observed.step);
    let document = document(plan)?;
    let desired = document.get("desired").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for wanted in desired.iter().filter(|object| object.get("kind").is_some_and(|kind| kind == "StatefulSet")) {
        let Some(name) = wanted.pointer("/metadata/name").and_then(Value::as_str) else { continue };
        let Some(running) = sets.iter().find(|set| set.id.name == name) else { continue };
        if let Some(field) = compare::difference(&template(wanted), &owned_template(running), &manager, "") {
            return Ok(Some((name.to_owned(), field)));
        }
    }
    Ok(None)
}

/// The pod template, and nothing else of the StatefulSet.
fn template(set: &Value) -> Value {
    json!({ "spec": { "template": set.pointer("/spec/template") } })
}

/// The same, with the API server's record of whose its fields are: a field that its owner no longer lists is a change.
fn owned_template(set: &Value) -> Value {
    let entries = set.pointer("/metadata/managedFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let entries: Vec<Value> = entries
        .iter()
        .filter_map(|entry| {
            let fields = json!({ "f:spec": { "f:template": entry.pointer("/fieldsV1/f:spec/f:template")? } });
            let mut entry = entry.clone();
            *entry.get_mut("fieldsV1")? = fields;
            Some(entry)
        })
        .collect();
    let mut set = template(set);
    if let Some(fields) = set.as_object_mut() {
        fields.insert("metadata".into(), json!({ "managedFields": entries }));
    }
    set
}
