//! One pass over one primary: observe, ask, admit, apply, report, step by step. The list of a reconcile's stages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stepwright_core::admit::{AdmittedPlan, admit};
use stepwright_core::object::TypeRef;
use stepwright_core::observation::Reply;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::plan::{Failure, Progress, Violation, Wait};
use tracing::{Instrument, field, info_span};

use crate::apply::{self, Done, Primary};
use crate::controller::Context;
use crate::error::PassError;
use crate::observe::{Round, observe};
use crate::report;
use crate::slots::Active;
use crate::system::{Reader, SystemId};

/// Rounds of calls in one pass. A step that needs more goes on in the next pass.
const MAX_ROUNDS: u32 = 8;
/// A pass that wrote something is followed by another after this long: the floor against busy loops.
const AFTER_WRITES: Duration = Duration::from_millis(50);

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    AwaitChange,
    After(Duration),
}

/// How the steps of a pass ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The first step that is not done, and why.
    pub waiting: Option<(String, Wait)>,
    /// Rules that the spec breaks, with the step that says so.
    pub invalid: Option<(String, Vec<Violation>)>,
    /// What steps noted.
    pub notes: Vec<(String, String)>,
    pub writes: u32,
    pub again_in: Option<Duration>,
}

/// Runs the pipeline over the primary of this name; nothing to do when it is gone.
pub(crate) async fn pass(
    context: &Context,
    pipeline: &Pipeline,
    namespace: &str,
    name: &str,
) -> Result<Next, PassError> {
    let kind = pipeline.type_ref();
    context.check_leader()?;
    context.check_synced(pipeline)?;
    let Some(object) = context.caches.get(&kind, namespace, name) else { return Ok(Next::AwaitChange) };
    let mut primary = Primary::new(kind, object);

    if let Some(finalizer) = &pipeline.finalizer {
        let ours = primary.object.metadata.finalizers.iter().flatten().any(|it| it == finalizer);
        if primary.deleting() && !ours {
            return Ok(Next::AwaitChange);
        }
        if !primary.deleting() {
            primary = apply::finalizer(context, primary, finalizer, true).await?;
        }
    } else if primary.deleting() {
        return Ok(Next::AwaitChange);
    }

    let mut outcome = Outcome::default();
    let result = steps(context, pipeline, &mut primary, &mut outcome).await;
    if let Err(error) = result {
        if !error.is_quiet() {
            report::failed(context, primary, &error).await;
        }
        return Err(error);
    }

    // A step that cannot even read the spec has not said that nothing is left to undo.
    if primary.deleting() && outcome.waiting.is_none() && outcome.invalid.is_none() {
        if let Some(finalizer) = &pipeline.finalizer {
            let gone = primary.object.clone();
            apply::finalizer(context, primary, finalizer, false).await?;
            context.released(&gone);
        }
        return Ok(Next::AwaitChange);
    }
    let again_in = outcome.again_in;
    let mut writes = outcome.writes;
    report::passed(context, pipeline, primary, &outcome, &mut writes).await?;
    if writes > 0 {
        return Ok(Next::After(AFTER_WRITES));
    }
    Ok(again_in.map_or(Next::AwaitChange, Next::After))
}

async fn steps(
    context: &Context,
    pipeline: &Pipeline,
    primary: &mut Primary,
    outcome: &mut Outcome,
) -> Result<(), PassError> {
    let system = context.system.locate(&primary.object, context.caches.as_ref());
    for name in &pipeline.steps {
        let active = context.slots.active(name).ok_or_else(|| PassError::NoPlugin { step: name.clone() })?;
        let ended = step(context, name, &active, system.as_ref(), primary, outcome).await?;
        match ended {
            Ended::Invalid(violations) => {
                outcome.invalid = Some((name.clone(), violations));
                return Ok(());
            }
            Ended::Planned(plan) => {
                if let Some(notes) = plan.notes() {
                    outcome.notes.push((name.clone(), notes.to_owned()));
                }
                let (wait, blocked) = match plan.progress() {
                    Progress::Done => continue,
                    Progress::Waiting(wait) => (wait, false),
                    Progress::Blocked(wait) => (wait, true),
                };
                if let Some(again_in) = wait.again_in {
                    outcome.again_in = Some(outcome.again_in.map_or(again_in, |it| it.min(again_in)));
                }
                outcome.waiting.get_or_insert_with(|| (name.clone(), wait.clone()));
                if blocked {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

enum Ended {
    Planned(Arc<AdmittedPlan>),
    Invalid(Vec<Violation>),
}

async fn step(
    context: &Context,
    name: &str,
    active: &Active,
    system: Option<&SystemId>,
    primary: &mut Primary,
    outcome: &mut Outcome,
) -> Result<Ended, PassError> {
    let mut replies: Vec<Reply> = Vec::new();
    for round in 0..MAX_ROUNDS {
        let input = Round {
            number: round,
            replies: &replies,
            notes: &outcome.notes,
            settings: &active.settings,
            now: context.now(),
        };
        let observed = observe(context, primary, &active.step, system, input).await;
        let digest = observed.digest(active.step.clock);
        let known = context.memory.answer(&primary.id, name, active.guest.digest(), &digest);
        let fresh = known.is_none();
        let plan = match known {
            Some(plan) => plan,
            None => match ask(context, name, active, observed).await? {
                Err(Failure::Transient(message)) => {
                    return Err(PassError::Transient { step: name.to_owned(), message });
                }
                Err(Failure::Invalid(violations)) => return Ok(Ended::Invalid(violations)),
                Ok(plan) => {
                    let scope_of = |kind: &TypeRef| context.caches.served(kind).map(|served| served.scope);
                    let admitted = admit(plan, name, &primary.id, &active.grants, &scope_of).map_err(|source| {
                        let digest = active.guest.digest().short().to_owned();
                        PassError::NotAdmitted { step: name.to_owned(), digest, source: Box::new(source) }
                    })?;
                    Arc::new(admitted)
                }
            },
        };
        let mut done = Done::default();
        let applied = apply::objects(context, primary, name, &plan, &mut done).await;
        report::drift(context, primary, &done.drift).await;
        applied?;
        take(primary, |it| apply::defaults(context, it, name, &plan, &mut done)).await?;
        apply::calls(context, primary, system, &plan, &mut done).await?;
        outcome.writes += done.writes;
        if !plan.calls().is_empty() {
            // What this round changed is for the next one to see; its status would be a guess.
            if fresh {
                report::events(context, primary, plan.events()).await;
            }
            replies = done.replies;
            continue;
        }
        if let Some(status) = plan.status() {
            let manager = apply::step_manager(name);
            take(primary, |it| apply::status(context, it, &manager, status, &mut outcome.writes)).await?;
        }
        if fresh {
            report::events(context, primary, plan.events()).await;
        }
        // Kept only now: had an effect failed, the step would have been asked again.
        context.memory.keep(&primary.id, name, active.guest.digest(), digest, &plan);
        return Ok(Ended::Planned(plan));
    }
    Err(PassError::TooManyRounds { step: name.to_owned(), rounds: MAX_ROUNDS })
}

/// Replaces the primary by what a stage returns.
async fn take<F, R>(primary: &mut Primary, stage: F) -> Result<(), PassError>
where
    F: FnOnce(Primary) -> R,
    R: Future<Output = Result<Primary, PassError>>,
{
    *primary = stage(primary.clone()).await?;
    Ok(())
}

/// Calls the guest on a thread that may block, one of a bounded number.
async fn ask(
    context: &Context,
    step: &str,
    active: &Active,
    observed: stepwright_core::observation::Observation,
) -> Result<Result<stepwright_core::plan::Plan, Failure>, PassError> {
    let _permit = context.guest_calls.acquire().await.map_err(|_| PassError::Internal {
        attempted: "wait for a turn to call a plugin",
        message: "the operator is stopping".to_owned(),
    })?;
    let span = info_span!("guest.call", step, plugin = %active.guest.manifest().name,
        plugin.digest = active.guest.digest().short(), bytes = observed.size(), outcome = field::Empty);
    let guest = active.guest.clone();
    let started = Instant::now();
    let inner = span.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let _entered = inner.enter();
        guest.reconcile(&observed)
    })
    .instrument(span.clone())
    .await
    .map_err(|error| PassError::Internal { attempted: "call a plugin", message: error.to_string() })?;
    let outcome = match &answer {
        Ok(Ok(_)) => "planned",
        Ok(Err(Failure::Transient(_))) => "transient",
        Ok(Err(Failure::Invalid(_))) => "invalid",
        Err(error) => error.reason(),
    };
    span.record("outcome", outcome);
    context.metrics.guest_call(step, outcome, started.elapsed());
    Ok(answer?)
}
