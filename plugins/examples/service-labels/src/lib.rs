//! A policy: puts labels and annotations on every Service that a step wants. Objects that somebody else makes are left alone.

mod syntax;

use std::collections::BTreeMap;

use serde::Deserialize;
use stepwright_sdk::{
    Amendment, Failure, Manifest, Observation, Plan, Policy, PolicyManifest, Verdict, Violation, export_policy,
    parse_settings,
};

/// The policy.
pub struct ServiceLabels;

export_policy!(ServiceLabels);

/// What an admin says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Policy for ServiceLabels {
    fn manifest() -> Manifest {
        Manifest::new("service-labels", env!("CARGO_PKG_VERSION"))
            .description("Puts labels and annotations on every Service")
            .policy(PolicyManifest::reviewing(["*"]).writes("v1", "Service"))
    }

    fn validate_settings(settings: &str) -> Vec<Violation> {
        let settings: Settings = match parse_settings(settings) {
            Ok(settings) => settings,
            Err(error) => return vec![Violation::new("settings", error.to_string())],
        };
        if settings.labels.is_empty() && settings.annotations.is_empty() {
            return vec![Violation::new(
                "settings",
                "say neither `labels` nor `annotations`: give at least one label or annotation",
            )];
        }
        let mut violations = Vec::new();
        for (key, value) in &settings.labels {
            let field = format!("labels[{key}]");
            violations.extend(syntax::key(key).map(|why| Violation::new(&field, why)));
            violations.extend(syntax::label_value(value).map(|why| Violation::new(&field, why)));
        }
        for key in settings.annotations.keys() {
            violations.extend(syntax::key(key).map(|why| Violation::new(format!("annotations[{key}]"), why)));
        }
        violations
    }

    fn review(observed: &Observation, plan: &Plan) -> Result<Verdict, Failure> {
        let settings: Settings = observed.settings()?;
        let mut amendment = Amendment::new(plan)?;
        for service in amendment.desired("Service") {
            for (field, values) in [("labels", &settings.labels), ("annotations", &settings.annotations)] {
                for (key, value) in values {
                    amendment.set(&service, ["metadata", field, key], value)?;
                }
            }
        }
        Ok(amendment.verdict())
    }
}
