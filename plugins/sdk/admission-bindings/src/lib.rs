//! The world `admission-plugin` as generated code, for the SDK alone; why a crate of its own is said in `bindings`. Its types are
//! those of the step world.

#![cfg(target_family = "wasm")]
#![allow(missing_docs, clippy::all, reason = "generated")]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "admission-plugin",
    pub_export_macro: true,
    export_macro_name: "export_admission_plugin",
    default_bindings_module: "stepwright_sdk_admission_bindings",
    with: {
        "stepwright:plugin/types@0.1.0": stepwright_sdk_bindings::stepwright::plugin::types,
        "stepwright:plugin/log@0.1.0": stepwright_sdk_bindings::stepwright::plugin::log,
    },
});
