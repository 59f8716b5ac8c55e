//! An example of a plugin that takes the place of a built-in one: the services-rigger, with the label
//! `example.com/rigged-by: labelled` on every Service that it makes.
//!
//! It wraps the original rather than repeating it, and asks for no more than the original is granted.

use serde_json::{Map, Value};
use stepwright_rigging::ServicesRigger;
use stepwright_sdk::{Failure, Manifest, Object, Observation, Plan, Plugin, export_plugin};

/// The label.
pub const LABEL: (&str, &str) = ("example.com/rigged-by", "labelled");

/// The plugin.
pub struct LabelledRigger;

export_plugin!(LabelledRigger);

impl Plugin for LabelledRigger {
    fn manifest() -> Manifest {
        Manifest::new("labelled-rigger", env!("CARGO_PKG_VERSION"))
            .description("The services-rigger, with a label more on every Service")
            .step(ServicesRigger::step())
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let mut plan = ServicesRigger::reconcile(observed)?;
        for object in plan.desired.iter_mut().filter(|object| object.id.kind == "Service") {
            object.body = labelled(object)?;
        }
        Ok(plan)
    }
}

fn labelled(object: &Object) -> Result<String, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::transient(format!("Service `{}` cannot be labelled: {error}", object.id.name))
    };
    let mut body: Map<String, Value> = serde_json::from_str(&object.body).map_err(|error| unreadable(&error))?;
    let mut fields = &mut body;
    for key in ["metadata", "labels"] {
        let field = fields.entry(key).or_insert_with(|| Value::Object(Map::new()));
        fields = field.as_object_mut().ok_or_else(|| unreadable(&format!("{key} is not an object")))?;
    }
    fields.insert(LABEL.0.to_owned(), Value::String(LABEL.1.to_owned()));
    Ok(Value::Object(body).to_string())
}
