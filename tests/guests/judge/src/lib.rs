//! A policy that does as its settings say: `{}` lets pass, `{"amend":[…]}` is a JSON Patch, `{"deny":"words"}`,
//! `{"hold":"2030-01-01T00:00:00Z"}` and `{"trap":"words"}`. Nothing is parsed that does not have to be.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "policy-plugin", generate_all });
}

use bindings::exports::stepwright::plugin::{plugin, policy};
use bindings::stepwright::plugin::types::{Observation, Plan, Violation};

struct Component;

impl plugin::Guest for Component {
    fn describe() -> String {
        r#"{"name":"judge","version":"0.1.0","policy":{"reviews":["step"],"primary":["spec"],"writes":[{"apiVersion":"v1","kind":"ConfigMap"}]}}"#
            .to_owned()
    }

    fn validate_settings(_settings: String) -> Vec<Violation> {
        Vec::new()
    }
}

impl policy::Guest for Component {
    fn review(observed: Observation, planned: Plan) -> policy::Verdict {
        let settings = observed.settings.trim();
        let after = |key: &str| {
            let rest = settings.strip_prefix(&format!("{{\"{key}\":"))?.strip_suffix('}')?;
            Some(rest.trim().trim_matches('"').to_owned())
        };
        if planned.desired.is_empty() {
            return policy::Verdict::Pass;
        }
        if let Some(patch) = after("amend") {
            return policy::Verdict::Amend(patch);
        }
        if let Some(words) = after("deny") {
            return policy::Verdict::Deny(words);
        }
        if let Some(until) = after("hold") {
            return policy::Verdict::Hold((until, "not before noon".to_owned()));
        }
        if let Some(words) = after("trap") {
            panic!("{words}");
        }
        policy::Verdict::Pass
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);
