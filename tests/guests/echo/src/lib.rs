//! Behaves: its plan repeats everything that it was shown, so that a test can tell what crossed the wall and came back.

use guest_kit::types::{Call, Event, Object, ObjectRef, Severity, Violation, Wait};
use guest_kit::{Failure, Observation, Plan, Progress, log, quoted};

struct Component;

impl guest_kit::plugin::Guest for Component {
    fn describe() -> String {
        guest_kit::manifest("echo", r#"{"milliseconds":2000}"#)
    }

    fn validate_settings(settings: String) -> Vec<Violation> {
        match settings.as_str() {
            "{}" => Vec::new(),
            other => vec![Violation { field: "$".into(), message: format!("expected {{}}, found {other}") }],
        }
    }
}

impl guest_kit::step::Guest for Component {
    fn reconcile(observed: Observation) -> Result<Plan, Failure> {
        match observed.settings.as_str() {
            r#""transient""# => return Err(Failure::Transient("as the settings say".into())),
            r#""invalid""# => {
                let violation = Violation { field: "spec.nodes".into(), message: "as the settings say".into() };
                return Err(Failure::Invalid(vec![violation]));
            }
            _ => {}
        }
        log::write(log::Level::Info, "echoing", &[("round".into(), observed.round.to_string())]);

        let id = &observed.primary.id;
        let labels = Object {
            id: ObjectRef {
                api_version: "v1".into(),
                kind: "ConfigMap".into(),
                namespace: id.namespace.clone(),
                name: format!("{}-echo", id.name),
            },
            body: observed.primary.body.clone(),
        };
        let mut desired = vec![labels];
        desired.extend(observed.objects.into_iter().flat_map(|set| set.objects));
        let facts = observed.facts.iter().map(|fact| Event {
            severity: if fact.value.is_ok() { Severity::Normal } else { Severity::Warning },
            reason: "Fact".into(),
            message: format!("{}={}", fact.name, fact.value.as_ref().map_or_else(|e| e, |v| v)),
        });
        let calls = observed.replies.iter().map(|reply| Call {
            id: reply.id.clone(),
            target: None,
            method: "PUT".into(),
            path: format!("/{}", reply.status),
            body: Some(reply.body.clone()),
        });
        let notes: Vec<String> = observed.notes.iter().map(|(step, note)| format!("{}:{note}", quoted(step))).collect();
        let wait = Wait { word: None, reason: format!("round {} at {}", observed.round, observed.now), again_in: Some(1500) };
        Ok(Plan {
            desired,
            amended: vec![observed.primary.clone()],
            calls: calls.collect(),
            status: Some(quoted(&observed.step)),
            defaults: Some(observed.settings),
            events: facts.collect(),
            notes: Some(format!("{{{}}}", notes.join(","))),
            progress: if observed.deleting { Progress::Blocked(wait) } else { Progress::Waiting(wait) },
        })
    }
}

#[cfg(target_family = "wasm")]
guest_kit::bindings::export_step_plugin!(Component with_types_in guest_kit::bindings);
