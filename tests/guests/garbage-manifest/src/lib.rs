//! Describes itself with something that is no manifest.

struct Component;

impl guest_kit::plugin::Guest for Component {
    fn describe() -> String {
        r#"{"name":"garbage-manifest","version":"0.1.0","stepz":[]}"#.to_owned()
    }

    fn validate_settings(_settings: String) -> Vec<guest_kit::types::Violation> {
        Vec::new()
    }
}

impl guest_kit::step::Guest for Component {
    fn reconcile(_observed: guest_kit::Observation) -> Result<guest_kit::Plan, guest_kit::Failure> {
        Ok(guest_kit::nothing())
    }
}

#[cfg(target_family = "wasm")]
guest_kit::bindings::export_step_plugin!(Component with_types_in guest_kit::bindings);
