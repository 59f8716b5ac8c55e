//! Admission: admits what is not called `bad`, and warns how much else it was shown. On what is called `spins` it never answers, on
//! what is called `traps` it ends badly.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "admission-plugin", generate_all });
}

use bindings::exports::stepwright::plugin::{admission, plugin};
use bindings::stepwright::plugin::types::Violation;

struct Component;

impl plugin::Guest for Component {
    fn describe() -> String {
        let check = |name: &str| format!(r#"{{"name":"{name}","primary":[],"limits":{{"milliseconds":200}}}}"#);
        let checks = [check("things"), check("admit-redb")].join(",");
        format!(r#"{{"name":"admission-pass","version":"0.1.0","steps":[{checks}]}}"#)
    }

    fn validate_settings(_settings: String) -> Vec<Violation> {
        Vec::new()
    }
}

impl admission::Guest for Component {
    fn review(question: admission::Question) -> admission::Answer {
        let shown: usize = question.objects.iter().map(|set| set.objects.len()).sum();
        let is_called = |name: &str| question.request.contains(&format!(r#""name":"{name}""#));
        if is_called("traps") {
            panic!("I do not like it");
        }
        let mut turns = 0_u64;
        while is_called("spins") {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
        let mut violations = Vec::new();
        if question.request.contains(r#""name":"bad""#) {
            violations.push(Violation { field: "metadata.name".to_owned(), message: "bad is a bad name".to_owned() });
        }
        admission::Answer { violations, warnings: vec![format!("saw {shown} objects")] }
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);
