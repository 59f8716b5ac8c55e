//! Built for a later minor version of the contract, which this host does not speak.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package stepwright:plugin@0.2.0;
            interface plugin { describe: func() -> string; }
            interface step { reconcile: func(observed: string) -> string; }
            world step-plugin { export plugin; export step; }
        ",
        world: "step-plugin",
    });
}

use bindings::exports::stepwright::plugin::{plugin, step};

struct Component;

impl plugin::Guest for Component {
    fn describe() -> String {
        String::new()
    }
}

impl step::Guest for Component {
    fn reconcile(observed: String) -> String {
        observed
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);
