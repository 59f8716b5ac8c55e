//! What a pass leaves in the journal: gathered while it runs, kept only when something in it is news.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use stepwright_core::guest::Usage;
use stepwright_core::journal::{
    Answer, Effect, PassRecord, PluginRef, Reason, ReviewRecord, RoundRecord, StepRecord, Used,
};
use stepwright_core::object::ObjectRef;
use stepwright_core::observation::Observation;
use stepwright_core::slot::Role;

use super::Next;
use crate::context::Context;
use crate::error::PassError;

/// The record of a pass under way.
pub(crate) struct Log {
    number: u64,
    started: Timestamp,
    clock: Instant,
    steps: Vec<StepRecord>,
}

impl Log {
    pub(super) fn begin(context: &Context) -> Self {
        let (started, clock) = (Timestamp::now(), Instant::now());
        Self { number: context.journal.next_number(), started, clock, steps: Vec::new() }
    }

    /// What follows is about this version of this step.
    pub(super) fn step(&mut self, step: &str, plugin: PluginRef, role: Role) {
        self.steps.push(StepRecord { step: step.to_owned(), plugin, role, rounds: Vec::new(), error: None });
    }

    pub(super) fn round(&mut self, round: RoundRecord) {
        if let Some(step) = self.steps.last_mut() {
            step.rounds.push(round);
        }
    }

    pub(super) fn review(&mut self, review: ReviewRecord) {
        if let Some(round) = self.last() {
            round.policies.push(review);
        }
    }

    /// Moves them to the last round.
    pub(super) fn effects(&mut self, effects: &mut Vec<Effect>) {
        if let Some(round) = self.last() {
            round.effects.append(effects);
        }
    }

    pub(super) fn error(&mut self, error: Reason) {
        if let Some(step) = self.steps.last_mut() {
            step.error = Some(error);
        }
    }

    /// What was answered last.
    pub(super) fn answer(&self) -> Option<Answer> {
        Some(self.steps.last()?.rounds.last()?.answer.clone())
    }

    /// What was shown last.
    pub(super) fn observation(&self) -> Option<Arc<Observation>> {
        Some(self.steps.last()?.rounds.last()?.observation.clone())
    }

    fn last(&mut self) -> Option<&mut RoundRecord> {
        self.steps.last_mut()?.rounds.last_mut()
    }

    /// Something was asked, done or went wrong.
    fn is_news(&self) -> bool {
        self.steps.iter().any(|step| {
            step.error.is_some() || step.rounds.iter().any(|round| !round.remembered || !round.effects.is_empty())
        })
    }

    /// Hands the record to the journal. A pass in which all was remembered and nothing written leaves none.
    pub(super) fn end(
        &mut self,
        context: &Context,
        primary: ObjectRef,
        (uid, generation): (String, i64),
        result: &Result<Next, PassError>,
    ) {
        if !self.is_news() {
            return;
        }
        let (outcome, message) = match result {
            Ok(Next::AwaitChange) => ("settled", None),
            Ok(Next::After(_)) => ("again", None),
            Err(error) => (error.reason(), Some(error.chain())),
        };
        context.journal.push(PassRecord {
            number: self.number,
            primary,
            uid,
            generation,
            started: moment(self.started),
            micros: u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX),
            outcome: outcome.to_owned(),
            message,
            steps: std::mem::take(&mut self.steps),
        });
    }
}

/// As in a record: RFC 3339, UTC, with milliseconds.
pub(super) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

pub(super) fn used(usage: &Usage) -> Used {
    Used {
        micros: u64::try_from(usage.took.as_micros()).unwrap_or(u64::MAX),
        memory_bytes: usage.memory_bytes,
        bytes_in: usage.bytes_in,
        bytes_out: usage.bytes_out,
    }
}
