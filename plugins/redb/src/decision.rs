//! What is decided of a resource, before it is written down as a plan.

use std::time::Duration;

use heck::ToUpperCamelCase as _;
use stepwright_sdk::{Call, Event, Failure, Progress, Wait};

use crate::rules;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::status::Status;

/// Again after something that will be over soon.
pub(crate) const SOON: u64 = 1;
/// Again after a reply that did not come.
pub(crate) const AFTER_SILENCE: u64 = 2;
/// Again after a refusal: what would help is a change, which is noticed sooner.
pub(crate) const AFTER_REFUSAL: u64 = 30;

/// What is decided before it is written down as a plan.
pub(crate) struct Decision {
    pub(crate) progress: Progress,
    pub(crate) status: Status,
    pub(crate) calls: Vec<Call>,
    pub(crate) events: Vec<Event>,
}

impl Decision {
    pub(crate) fn done(status: Status) -> Self {
        Self { progress: Progress::Done, status, calls: Vec::new(), events: Vec::new() }
    }

    pub(crate) fn waiting(status: Status, reason: impl Into<String>, seconds: impl Into<Option<u64>>) -> Self {
        let wait = Wait { word: None, reason: reason.into(), again_in: seconds.into().map(Duration::from_secs) };
        Self { progress: Progress::Waiting(wait), status, calls: Vec::new(), events: Vec::new() }
    }

    /// What it waits for, where the status does not say it ([`word_of`]).
    pub(crate) fn word(mut self, word: &str) -> Self {
        self.progress.waits_for(word);
        self
    }

    pub(crate) fn call(mut self, call: Call) -> Self {
        self.calls.push(call);
        self
    }

    pub(crate) fn failed(mut self) -> Self {
        if let Progress::Waiting(wait) = &self.progress {
            self.events.push(Event::warning("DatabaseFailed", wait.reason.clone()));
        }
        self
    }
}

/// What a resource with this status waits for, in one word: `active-change-pending` is `ActiveChangePending`. One that is `active` says
/// nothing of that.
pub fn word_of(status: &str) -> Option<String> {
    (!matches!(status, "" | "active")).then(|| status.to_upper_camel_case())
}

/// Why nothing may be sent now.
pub(crate) fn license_holds(
    seen: &Seen<'_>,
    own: Option<&Bdb>,
    listed: &[Bdb],
    status: &Status,
) -> Result<Option<Decision>, Failure> {
    // What is not known of the license, the cluster judges.
    let Some(license) = seen.license.known() else { return Ok(None) };
    if license.expired == Some(true) {
        let text = "the cluster's license has expired, so databases cannot be made or changed: install another";
        return Ok(Some(Decision::waiting(status.clone(), text, None).word("LicenseExpired")));
    }
    match rules::license(seen, license, own, listed) {
        Some(violation) => Err(Failure::Invalid(vec![violation])),
        None => Ok(None),
    }
}
