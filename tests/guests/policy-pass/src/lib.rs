//! A policy: denies plans that want a Pod, holds those that are blocked, amends those with a status, lets others pass.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "policy-plugin", generate_all });
}

use bindings::exports::stepwright::plugin::{plugin, policy};
use bindings::stepwright::plugin::types::{Observation, Plan, Progress, Violation};

struct Component;

impl plugin::Guest for Component {
    fn describe() -> String {
        r#"{"name":"policy-pass","version":"0.1.0","policy":{"reviews":["*"]}}"#.to_owned()
    }

    fn validate_settings(_settings: String) -> Vec<Violation> {
        Vec::new()
    }
}

impl policy::Guest for Component {
    fn review(observed: Observation, planned: Plan) -> policy::Verdict {
        if planned.desired.iter().any(|object| object.id.kind == "Pod") {
            return policy::Verdict::Deny("no Pods".to_owned());
        }
        match planned.progress {
            Progress::Blocked(wait) => policy::Verdict::Hold((observed.now, wait.reason)),
            _ if planned.status.is_some() => policy::Verdict::Amend(r#"[{"op":"remove","path":"/status"}]"#.to_owned()),
            _ => policy::Verdict::Pass,
        }
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);
