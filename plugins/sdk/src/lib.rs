//! What the author of a step, a policy or an admission plugin writes against.
//!
//! A step is a pure function from an [`Observation`] to a [`Plan`], a policy one from both to a [`Verdict`], an admission plugin one
//! from a [`Question`] about a resource that is not stored yet to what is wrong with it ([`Judged`]). This crate turns
//! the contract's JSON bodies into the author's own narrow types and back, and exports the plugin as a WebAssembly component. Natively nothing is exported, so
//! that the same code runs under plain `cargo test`. There is no business logic here, and nothing that does I/O.

mod admission;
mod amendment;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod export;
mod failure;
pub mod log;
mod manifest;
mod observation;
mod plan;
mod policy;
mod secret;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use admission::{Admission, Judged, Question, judge};
pub use amendment::{Amendment, Path, Place, document};
pub use failure::{Failure, Violation};
pub use manifest::{FactPart, Limits, Manifest, Observe, PolicyManifest, Select, StepManifest, Takes, TypeRef};
pub use observation::{
    Fact, Object, ObjectRef, ObjectSet, Observation, Observed, RawFact, Refused, Reply, parse_settings,
};
pub use plan::{Call, Event, Plan, Progress, Severity, Wait};
pub use policy::{Policy, Verdict, review};
pub use secret::{SecretValue, address, generate, plain, secret_ref};

/// A plugin: what it says of itself, and what it does.
pub trait Plugin {
    /// What the plugin implements, observes and asks to be allowed.
    fn manifest() -> Manifest;

    /// Rules that the settings break; `settings` is JSON text, empty when there are none.
    fn validate_settings(settings: &str) -> Vec<Violation> {
        let _ = settings;
        Vec::new()
    }

    /// The plan for one object. Must depend on nothing but the observation.
    fn reconcile(observed: &Observation) -> Result<Plan, Failure>;
}

/// Calls a plugin as the host does: objects without a namespace get the primary's, and a plan with a body that could not
/// be written as JSON is a failure.
pub fn run<P: Plugin>(observed: &Observation) -> Result<Plan, Failure> {
    P::reconcile(observed)?.complete(observed)
}

/// Exports a [`Plugin`] as a component of the world `step-plugin`. Natively it does nothing.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::export::Adapter<$plugin>;
    $crate::export::bindings::export_step_plugin!(Exported with_types_in $crate::export::bindings);
        };
    };
}

/// Exports a [`Policy`] as a component of the world `policy-plugin`. Natively it does nothing.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::export::PolicyAdapter<$policy>;
            $crate::export::policy_bindings::export_policy_plugin!(
                Exported with_types_in $crate::export::policy_bindings
            );
        };
    };
}

/// Exports an [`Admission`] as a component of the world `admission-plugin`. Natively it does nothing.
#[macro_export]
macro_rules! export_admission {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::export::AdmissionAdapter<$plugin>;
            $crate::export::admission_bindings::export_admission_plugin!(
                Exported with_types_in $crate::export::admission_bindings
            );
        };
    };
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
