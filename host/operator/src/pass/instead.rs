//! What is done when a step's plugin gives no plan that can be carried out: the slot's failure policy.

use std::sync::Arc;

use stepwright_core::error::Blame;
use stepwright_core::journal::{Answer, RoundRecord};
use stepwright_core::slot::{OnFailure, Role};

use super::Outcome;
use super::record::Log;
use super::turn::{Ended, Turn};
use crate::apply::{Actor, Done, Primary};
use crate::error::PassError;
use crate::memory::Good;
use crate::slots::{Active, Judgement};

const HELD: &str = "the last good plan is kept up";
const NOTHING_HELD: &str = "there is no earlier plan to keep up, so the pass ends there";
const SKIPPED: &str = "the pipeline goes on without the step";
const FELL_BACK: &str = "the embedded version answers instead";

/// What the turn of `active` comes to after `error`. Errors that are not about the plan end the pass, as does the wish to stop.
pub(super) async fn of(
    turn: &Turn<'_>,
    active: &Arc<Active>,
    error: PassError,
    primary: &mut Primary,
    outcome: &mut Outcome,
    log: &mut Log,
) -> Result<Ended, PassError> {
    log.error(error.told());
    if let PassError::Policy { .. } = &error {
        let on_failure = turn.chain.iter().find(|it| is_by(&error, it)).map_or(OnFailure::Hold, |it| it.on_failure);
        if on_failure == OnFailure::Stop {
            return Err(error);
        }
        // Nothing new is carried out past a policy that cannot be asked; later steps may build on what it held back.
        let instead = if keep_up(turn, primary, outcome, log).await?.is_some() { HELD } else { NOTHING_HELD };
        fail(outcome, error, instead);
        return Ok(Ended::Blocked);
    }
    if !error.is_no_plan() {
        return Err(error);
    }
    if error.blame() == Blame::Plugin {
        let judgement = Judgement::Bad { reason: error.reason().to_owned(), message: error.chain() };
        turn.context.slots.judged(turn.step, active.guest.digest(), primary.uid(), &judgement);
    }
    match active.on_failure {
        OnFailure::Stop => Err(error),
        OnFailure::Skip => {
            fail(outcome, error, SKIPPED);
            outcome.skipped = true;
            Ok(Ended::Skipped)
        }
        OnFailure::Fallback => match embedded(turn, active) {
            Some(embedded) => {
                fail(outcome, error, FELL_BACK);
                Box::pin(turn.run(&embedded, None, primary, outcome, log)).await
            }
            None => hold(turn, error, primary, outcome, log).await,
        },
        OnFailure::Hold => hold(turn, error, primary, outcome, log).await,
    }
}

fn is_by(error: &PassError, chained: &crate::slots::Chained) -> bool {
    matches!(error, PassError::Policy { digest, .. } if digest == chained.guest.digest().short())
}

fn fail(outcome: &mut Outcome, error: PassError, instead: &'static str) {
    outcome.failed.get_or_insert(PassError::Instead { source: Box::new(error), instead });
}

/// The version that came with the host, unless it is the one that failed.
fn embedded(turn: &Turn<'_>, failed: &Active) -> Option<Arc<Active>> {
    let embedded = turn.context.slots.embedded(turn.step)?;
    if embedded.guest.digest() == failed.guest.digest() {
        return None;
    }
    let mut fallback = embedded.as_ref().clone();
    fallback.role = Role::Fallback;
    Some(Arc::new(fallback))
}

async fn hold(
    turn: &Turn<'_>,
    error: PassError,
    primary: &mut Primary,
    outcome: &mut Outcome,
    log: &mut Log,
) -> Result<Ended, PassError> {
    let Some(good) = keep_up(turn, primary, outcome, log).await? else {
        // Later steps build on what this one notes; without any of it they could undo what another process did.
        fail(outcome, error, NOTHING_HELD);
        return Ok(Ended::Blocked);
    };
    fail(outcome, error, HELD);
    Ok(Ended::Planned(good.planned.plan))
}

/// Puts right what drifted from the last good plan: its objects, not its calls and Events. `None` when there is none, or when
/// the primary is going away and what was wanted before does not count any more.
pub(super) async fn keep_up(
    turn: &Turn<'_>,
    primary: &mut Primary,
    outcome: &mut Outcome,
    log: &mut Log,
) -> Result<Option<Good>, PassError> {
    let context = turn.context;
    if primary.deleting() {
        return Ok(None);
    }
    let Some(good) = context.memory.good(&primary.id, turn.step) else { return Ok(None) };
    let actor = Actor::new(context, turn.step, &good.plugin, good.identity.as_ref());
    let observation = log.observation();
    log.step(turn.step, good.plugin.clone(), Role::Held);
    if let Some(observation) = observation {
        log.round(RoundRecord {
            observation,
            remembered: true,
            answer: Answer::Planned(good.planned.raw.clone()),
            policies: Vec::new(),
            effects: Vec::new(),
            usage: Default::default(),
        });
    }
    let mut done = Done::default();
    let kept = crate::apply::objects(context, primary, &actor, &good.planned.plan, &mut done).await;
    crate::report::drift(context, primary, &done.drift).await;
    outcome.writes += done.writes;
    log.effects(&mut done.effects);
    kept?;
    if let Some(left) = done.left {
        outcome.failed.get_or_insert(left);
    }
    Ok(Some(good))
}
