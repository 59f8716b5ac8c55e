//! Admission: admits what is not called `bad`, and warns how much else it was shown.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "admission-plugin", generate_all });
}

use bindings::exports::stepwright::plugin::{admission, plugin};
use bindings::stepwright::plugin::types::Violation;

struct Component;

impl plugin::Guest for Component {
    fn describe() -> String {
        r#"{"name":"admission-pass","version":"0.1.0"}"#.to_owned()
    }

    fn validate_settings(_settings: String) -> Vec<Violation> {
        Vec::new()
    }
}

impl admission::Guest for Component {
    fn review(question: admission::Question) -> admission::Answer {
        let shown: usize = question.objects.iter().map(|set| set.objects.len()).sum();
        let mut violations = Vec::new();
        if question.request.contains(r#""name":"bad""#) {
            violations.push(Violation { field: "metadata.name".to_owned(), message: "bad is a bad name".to_owned() });
        }
        admission::Answer { violations, warnings: vec![format!("saw {shown} objects")] }
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);
