//! What the test components of the step world share: bindings, and a plugin that is correct but for its one sin.
//!
//! On purpose without the SDK: these components stand for guests that nobody of ours wrote.

#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "step-plugin",
        pub_export_macro: true,
        export_macro_name: "export_step_plugin",
        default_bindings_module: "guest_kit::bindings",
        generate_all,
    });
}

pub use bindings::exports::stepwright::plugin::{plugin, step};
pub use bindings::stepwright::plugin::log;
pub use bindings::stepwright::plugin::types::{self, Failure, Observation, Plan, Progress};

/// A plan that wants nothing.
pub fn nothing() -> Plan {
    Plan {
        desired: Vec::new(),
        amended: Vec::new(),
        calls: Vec::new(),
        status: None,
        defaults: None,
        events: Vec::new(),
        notes: None,
        progress: Progress::Done,
    }
}

/// The manifest of a plugin with one step of the same name, which answers for `redb` too: so that it can be put in the
/// place of a built-in one.
pub fn manifest(name: &str, limits: &str) -> String {
    let step = |step: &str| format!(r#"{{"name":"{step}","primary":["spec","metadata.labels"],"limits":{limits}}}"#);
    format!(r#"{{"name":"{name}","version":"0.1.0","steps":[{},{}]}}"#, step(name), step("redb"))
}

/// JSON text of a string.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if (control as u32) < 0x20 => json.push_str(&format!("\\u{:04x}", control as u32)),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// Exports a plugin whose only step is the given function.
#[macro_export]
macro_rules! step_plugin {
    ($name:literal, $limits:literal, $reconcile:expr) => {
        struct Component;

        impl $crate::plugin::Guest for Component {
            fn describe() -> String {
                $crate::manifest($name, $limits)
            }

            fn validate_settings(_settings: String) -> Vec<$crate::types::Violation> {
                Vec::new()
            }
        }

        impl $crate::step::Guest for Component {
            fn reconcile(observed: $crate::Observation) -> Result<$crate::Plan, $crate::Failure> {
                ($reconcile)(observed)
            }
        }

        #[cfg(target_family = "wasm")]
        $crate::bindings::export_step_plugin!(Component with_types_in $crate::bindings);
    };
}
