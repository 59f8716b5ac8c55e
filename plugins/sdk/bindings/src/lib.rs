//! The world `step-plugin` as generated code, for the SDK alone.
//!
//! A crate of its own because generated export macros land in their crate's root under fixed names: two worlds that export
//! the interface `plugin` do not fit into one. The other one is in the SDK, and takes its types from here.

#![cfg(target_family = "wasm")]
#![allow(missing_docs, clippy::all, reason = "generated")]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "step-plugin",
    pub_export_macro: true,
    export_macro_name: "export_step_plugin",
    default_bindings_module: "stepwright_sdk_bindings",
    generate_all,
});
