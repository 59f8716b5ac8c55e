//! The contract as Rust: one set of bindings per world, with the types of the first shared by all.
//!
//! Old versions of the package will get modules of their own beside this one, and conversions to it.

#[allow(clippy::all, unreachable_pub, reason = "generated")]
pub(crate) mod step {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "step-plugin",
    });
}

#[allow(clippy::all, unreachable_pub, reason = "generated")]
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "policy-plugin",
        with: {
            "stepwright:plugin/types": crate::worlds::step::stepwright::plugin::types,
            "stepwright:plugin/log": crate::worlds::step::stepwright::plugin::log,
        },
    });
}

#[allow(clippy::all, unreachable_pub, reason = "generated")]
pub(crate) mod admission {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "admission-plugin",
        with: {
            "stepwright:plugin/types": crate::worlds::step::stepwright::plugin::types,
            "stepwright:plugin/log": crate::worlds::step::stepwright::plugin::log,
        },
    });
}

pub(crate) use step::stepwright::plugin::{log, types};
