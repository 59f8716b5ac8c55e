//! The built-in `services-rigger` as a component.
//!
//! What it decides is in `stepwright-rigging`, a crate apart: whoever links that one, to wrap it or to share its naming
//! rules, does not link the exports that are made here, of which a component can have one set only.

use stepwright_sdk::export_plugin;

pub use stepwright_rigging::ServicesRigger;

export_plugin!(ServicesRigger);
