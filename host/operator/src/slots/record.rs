//! How one version fares, over all of its steps: shared by the copies of it that lie in the slots.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stepwright_core::guest::Digest;
use stepwright_core::slot::{Decision, Health, Judgement, Rules, Tally};

use super::Source;

/// What became known of a version by its passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The first pass on it is done: the time since the wish for it arrived.
    FirstPass { source: Source, digest: Digest, step: String, took: Duration },
    /// A shadow planned something else.
    Differed { step: String, plugin: String, digest: Digest, fields: usize },
    /// It has earned to answer for every primary, and does.
    Promoted { source: Source, digest: Digest, steps: Vec<String> },
    /// It failed too often, and is not asked any more.
    RolledBack { source: Source, digest: Digest, steps: Vec<String>, reason: String, message: String },
}

pub(crate) struct Record {
    health: Mutex<Health>,
    /// Until the first pass.
    since: Mutex<Option<Instant>>,
}

impl Record {
    pub(super) fn new(rules: Rules, since: Option<Instant>) -> Self {
        Self { health: Mutex::new(Health::new(rules)), since: Mutex::new(since) }
    }

    /// The time until now if it is the first pass that ended well, and what follows.
    pub(super) fn judged(&self, now: u64, judgement: &Judgement) -> (Option<Duration>, Decision) {
        let ended_well = !matches!(judgement, Judgement::Bad { .. });
        let first = if ended_well { self.since.lock().take().map(|since| since.elapsed()) } else { None };
        (first, self.health.lock().record(now, judgement))
    }

    pub(super) fn tally(&self) -> Tally {
        self.health.lock().tally()
    }
}
