//! A shadow is asked beside the version that answers, in the background, and compared; what it plans is never carried out.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use stepwright_core::error::Blame;
use stepwright_core::journal::{Answer, PassRecord, Reason, RoundRecord, StepRecord};
use stepwright_core::observation::Observation;
use stepwright_core::plan_diff::differences;
use stepwright_core::slot::Role;
use tracing::{debug, info};

use super::ask::once;
use super::record::{moment, used};
use super::turn::Turn;
use crate::apply::Primary;
use crate::context::Context;
use crate::memory::Hash;
use crate::observe::{Round, observe};
use crate::slots::{Active, Judgement};

/// A shadow and what it would have seen in the first round, before anything was carried out.
pub(super) struct Beside {
    shadow: Arc<Active>,
    observed: Arc<Observation>,
    /// Of what both see.
    question: Hash,
}

impl Beside {
    /// `question` is that of the version that answers.
    pub(super) async fn new(
        turn: &Turn<'_>,
        shadow: &Arc<Active>,
        primary: &Primary,
        round: Round<'_>,
        question: &Hash,
    ) -> Self {
        let observed = observe(turn.context, primary, (&shadow.step).into(), turn.system, round).await;
        let mut hash = Sha256::new();
        hash.update(question);
        hash.update(shadow.guest.digest().to_string());
        hash.update(observed.digest(shadow.step.clock));
        Self { shadow: shadow.clone(), observed: Arc::new(observed), question: hash.finalize().into() }
    }
}

/// Asks the shadow in the background what `answer` is the active version's answer to. Nothing waits for it: when the shadows
/// are busy, or were asked the same last, it is left out.
pub(super) fn ask(turn: &Turn<'_>, beside: Option<Beside>, answer: Option<Answer>, primary: &Primary) {
    let (Some(beside), Some(answer)) = (beside, answer) else { return };
    let context = turn.context.clone();
    if !context.memory.is_new_to_shadow(&primary.id, turn.step, beside.question) {
        return;
    }
    let Ok(turn_of_shadow) = context.shadow_turns.clone().try_acquire_owned() else {
        debug!(step = turn.step, "the shadows are busy; this question is left out");
        context.memory.forget_shadow(&primary.id, turn.step);
        return;
    };
    let (step, primary) = (turn.step.to_owned(), primary.clone());
    let tasks = context.background.clone();
    tasks.spawn(async move {
        let _turn = turn_of_shadow;
        compare(&context, &step, &beside, &answer, &primary).await;
    });
}

async fn compare(context: &Context, step: &str, beside: &Beside, answer: &Answer, primary: &Primary) {
    let Beside { shadow, observed, .. } = beside;
    let (started, clock) = (moment(Timestamp::now()), Instant::now());
    let asked = once(context, &context.shadow_calls, step, shadow, observed).await;
    let usage = asked.as_ref().map(|(_, usage)| used(usage)).unwrap_or_default();
    let (answered, judgement, error) = match asked {
        Ok((Ok(plan), _)) => {
            let found = match answer {
                Answer::Planned(active) => differences(active, &plan).len(),
                _ => 1,
            };
            let judgement = if found == 0 { Judgement::Agreed } else { Judgement::Differed(found) };
            (Answer::Planned(plan), Some(judgement), None)
        }
        Ok((Err(failure), _)) => {
            let same = matches!(answer, Answer::Failed(active) if *active == failure);
            let judgement = if same { Judgement::Agreed } else { Judgement::Differed(1) };
            (Answer::Failed(failure), Some(judgement), None)
        }
        Err(error) => {
            let told = error.told();
            let bad = Judgement::Bad { reason: told.reason.clone(), message: told.message.clone() };
            (Answer::Broken(told.clone()), (error.blame() == Blame::Plugin).then_some(bad), Some(told))
        }
    };
    let outcome = match &judgement {
        Some(Judgement::Agreed) => "agreed",
        Some(Judgement::Differed(_)) => "differed",
        _ => "failed",
    };
    info!(step, primary = %primary.id, plugin = %shadow.guest.manifest().name, outcome, "a shadow was compared");
    if let Some(Judgement::Differed(fields)) = &judgement {
        let guest = &shadow.guest;
        context.metrics.shadow_differed(step, &guest.manifest().name, &guest.digest().to_string(), *fields);
    }
    if let Some(judgement) = judgement {
        context.slots.judged(step, shadow.guest.digest(), primary.uid(), &judgement);
    }
    record(context, step, shadow, primary, Recorded { started, clock, observed, answered, usage, outcome, error });
}

struct Recorded<'a> {
    started: String,
    clock: Instant,
    observed: &'a Arc<Observation>,
    answered: Answer,
    usage: stepwright_core::journal::Used,
    outcome: &'static str,
    error: Option<Reason>,
}

/// In a record of its own: the pass that it goes with has ended by now.
fn record(context: &Context, step: &str, shadow: &Active, primary: &Primary, it: Recorded<'_>) {
    let round = RoundRecord {
        observation: it.observed.clone(),
        remembered: false,
        answer: it.answered,
        policies: Vec::new(),
        effects: Vec::new(),
        usage: it.usage,
    };
    let plugin = shadow.plugin();
    let step = StepRecord { step: step.to_owned(), plugin, role: Role::Shadow, rounds: vec![round], error: it.error };
    context.journal.push(PassRecord {
        number: context.journal.next_number(),
        primary: primary.id.clone(),
        uid: primary.uid().to_owned(),
        generation: primary.object.metadata.generation.unwrap_or_default(),
        started: it.started,
        micros: u64::try_from(it.clock.elapsed().as_micros()).unwrap_or(u64::MAX),
        outcome: format!("shadow {}", it.outcome),
        message: None,
        steps: vec![step],
    });
}
