//! The host's gate, for plans of a plugin: what is not admitted is a mistake of the plugin.

use stepwright_core::admit::{Gate, Grants, Scope, admit};
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::{manifest, plan};
use stepwright_sdk::{Plan, Plugin};

fn id(id: &stepwright_sdk::ObjectRef) -> ObjectRef {
    ObjectRef {
        api_version: id.api_version.clone(),
        kind: id.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

/// Fails the test unless the host would carry the plan out.
#[track_caller]
pub(crate) fn check<P: Plugin>(planned: &Plan, primary: &stepwright_sdk::ObjectRef) {
    let manifest: manifest::Manifest = serde_json::from_value(serde_json::to_value(P::manifest()).unwrap()).unwrap();
    let objects = |objects: &[stepwright_sdk::Object]| -> Vec<Object> {
        objects.iter().map(|object| Object { id: id(&object.id), body: object.body.clone() }).collect()
    };
    let calls = planned.calls.iter().map(|call| plan::Call {
        id: call.id.clone(),
        target: call.target.clone(),
        method: call.method.clone(),
        path: call.path.clone(),
        body: call.body.clone(),
    });
    let events = planned.events.iter().map(|event| plan::Event {
        severity: plan::Severity::Normal,
        reason: event.reason.clone(),
        message: event.message.clone(),
    });
    let planned = plan::Plan {
        desired: objects(&planned.desired),
        amended: objects(&planned.amended),
        calls: calls.collect(),
        status: planned.status.clone(),
        defaults: planned.defaults.clone(),
        events: events.collect(),
        notes: planned.notes.clone(),
        progress: plan::Progress::Done,
    };
    let step = &manifest.steps[0];
    let gate = Gate {
        step: &step.name,
        primary: &id(primary),
        grants: &Grants::asked_by(step),
        limits: &step.limits,
        scope_of: &|_| Some(Scope::Namespaced),
        may_use_secret: &|_| true,
        is_system_secret: &|_| false,
    };
    admit(planned, &gate).unwrap();
}
