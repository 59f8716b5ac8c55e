//! Checks resources of Redis Enterprise before they are stored (reference, 3.20). The rules are those of the steps, run on the resource
//! as if it were stored (3.2, 3.3).
//!
//! What cannot be known yet is a warning, never a refusal: without the webhook, and after it, the steps judge again.

use serde::Deserialize;
use serde::de::IgnoredAny;
use stepwright_reaadb::Reaadb;
use stepwright_rec::Rec;
use stepwright_redb::Redb;
use stepwright_rerc::Rerc;
use stepwright_sdk::{Admission, Failure, Judged, Manifest, Plugin, Question, StepManifest, export_admission};

const CLUSTER: &str = "admit-rec";
const DATABASE: &str = "admit-redb";
const ACTIVE_ACTIVE: &str = "admit-reaadb";
const REMOTE_CLUSTER: &str = "admit-rerc";

/// The plugin.
pub struct Rules;

export_admission!(Rules);

impl Admission for Rules {
    fn manifest() -> Manifest {
        let part = |step: &Manifest, name, sets: &[&str], facts: &[&str]| {
            let step = step.steps().first().map(|step| step.part(name, sets, facts));
            step.unwrap_or_else(|| StepManifest::new(name))
        };
        Manifest::new("admission", env!("CARGO_PKG_VERSION"))
            .description("Checks resources of Redis Enterprise before they are stored, by the rules of the steps")
            .check(part(&Rec::manifest(), CLUSTER, &["statefulsets", "claims", "rivals"], &["bootstrap"]))
            .check(part(&Redb::manifest(), DATABASE, &["clusters"], &["bdbs", "license", "policy"]))
            .check(part(&Reaadb::manifest(), ACTIVE_ACTIVE, &["clusters", "remote-clusters"], &[]))
            .check(part(&Rerc::manifest(), REMOTE_CLUSTER, &["credentials"], &[]))
    }

    fn review(question: &Question) -> Result<Judged, Failure> {
        if spec_is_as_it_was(question)? {
            return Ok(Judged::default());
        }
        match question.check.as_str() {
            CLUSTER => {
                let observed = question.for_step(&Rec::manifest())?;
                let (mut judged, more) = (stepwright_upgrade::judge(&observed)?, stepwright_rec::judge(&observed)?);
                judged.violations.extend(more.violations);
                judged.warnings.extend(more.warnings);
                Ok(judged)
            }
            DATABASE => stepwright_redb::judge(&question.for_step(&Redb::manifest())?),
            ACTIVE_ACTIVE => stepwright_reaadb::judge(&question.for_step(&Reaadb::manifest())?),
            REMOTE_CLUSTER => stepwright_rerc::judge(&question.for_step(&Rerc::manifest())?),
            other => Err(Failure::transient(format!("there is no check `{other}`"))),
        }
    }
}

/// A change of labels, annotations or finalizers alone. A resource that was stored before a rule was there must stay such that
/// the operator can work on it.
fn spec_is_as_it_was(question: &Question) -> Result<bool, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Request {
        object: Whole,
        old_object: Option<Whole>,
    }
    #[derive(Deserialize)]
    struct Whole {
        #[serde(default)]
        spec: serde_json::Value,
        #[serde(default, rename = "status")]
        _status: IgnoredAny,
    }
    let Request { object, old_object } = question.request()?;
    Ok(old_object.is_some_and(|old| old.spec == object.spec))
}

#[cfg(test)]
mod tests;
