//! What a policy is, and what it may answer.

use crate::failure::{Failure, Violation};
use crate::manifest::Manifest;
use crate::observation::Observation;
use crate::plan::Plan;

/// What a policy makes of a step's plan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Verdict {
    /// As it is.
    Pass,
    /// With these changes: a JSON Patch (RFC 6902) over [`document`](crate::document), as JSON text.
    /// [`Amendment`](crate::Amendment) writes it.
    Amend(String),
    /// Not like this: nothing of the plan is carried out. The words go to the primary's owner: say what would pass.
    Deny(String),
    /// Not now: asked again at that time.
    Hold {
        /// RFC 3339, UTC.
        until: String,
        /// For the primary's owner.
        reason: String,
    },
}

impl Verdict {
    /// Not like this, for this reason.
    pub fn deny(why: impl Into<String>) -> Self {
        Self::Deny(why.into())
    }

    /// Not before that time (RFC 3339, UTC), for this reason.
    pub fn hold(until: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Hold { until: until.into(), reason: reason.into() }
    }
}

/// A policy: what it says of itself, and what it makes of plans.
pub trait Policy {
    /// What the policy reviews, observes and asks to be allowed; see [`Manifest::policy`].
    fn manifest() -> Manifest;

    /// Rules that the settings break; `settings` is JSON text, empty when there are none.
    fn validate_settings(settings: &str) -> Vec<Violation> {
        let _ = settings;
        Vec::new()
    }

    /// The verdict on one plan. Must depend on nothing but the two arguments; `observed.step` says whose plan it is.
    ///
    /// # Errors
    /// What cannot be judged does not pass: a failure becomes a denial with the failure's words.
    fn review(observed: &Observation, plan: &Plan) -> Result<Verdict, Failure>;
}

/// Calls a policy as the host does.
pub fn review<P: Policy>(observed: &Observation, plan: &Plan) -> Verdict {
    P::review(observed, plan).unwrap_or_else(|failure| {
        let why = match failure {
            Failure::Transient(reason) => reason,
            Failure::Invalid(rules) => {
                let rules: Vec<_> = rules.into_iter().map(|rule| format!("{} {}", rule.field, rule.message)).collect();
                rules.join("; ")
            }
        };
        Verdict::Deny(format!("the plan could not be judged: {why}"))
    })
}
