//! One pass over one primary: choose, observe, ask, review, admit, apply, report, step by step. The list of a reconcile's
//! stages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stepwright_core::object::TypeRef;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::plan::{Progress, Severity, Violation, Wait};

use crate::apply::{self, Actor, Primary};
use crate::context::{Context, SCHEMA_RETRY};
use crate::delegation;
use crate::error::PassError;
use crate::memory::Stopped;
use crate::report;
use crate::slots::{Chained, Choice};
use crate::system::{Reader, SystemId};

mod ask;
pub(crate) mod claim;
mod instead;
mod record;
mod review;
mod shadow;
mod turn;

pub(crate) use ask::Purity;
use claim::Claim;
use record::Log;
pub(crate) use turn::system_secrets;
use turn::{Ended, Turn};

/// A pass that wrote something is followed by another after this long: the floor against busy loops.
const AFTER_WRITES: Duration = Duration::from_millis(50);

/// A spec that breaks a rule is judged again after this long, where the step sees no more than a part of a fact.
const INVALID_AGAIN: Duration = Duration::from_secs(30);

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
    /// The step whose plan a policy stopped, and why.
    pub stopped: Option<(String, Stopped)>,
    /// What went wrong without ending the pass: the first of it. The pass is tried again with back-off.
    pub failed: Option<PassError>,
    /// A step that failed is not in the way of its primary's end: its slot says so.
    pub skipped: bool,
    /// What steps noted.
    pub notes: Vec<(String, String)>,
    /// Steps that were come to, and that other processes run.
    pub delegated: Vec<String>,
    pub writes: u32,
    pub again_in: Option<Duration>,
}

impl Outcome {
    fn again_in(&mut self, after: Duration) {
        self.again_in = Some(self.again_in.map_or(after, |it| it.min(after)));
    }

    fn is_through(&self) -> bool {
        let failed = self.failed.is_some() && !self.skipped;
        self.waiting.is_none() && self.invalid.is_none() && self.stopped.is_none() && !failed
    }
}

/// Who is asked about one step in this pass. Chosen once for all steps, so that no pass mixes two states of the slots.
struct Asked {
    step: String,
    choice: Choice,
    chain: Vec<Arc<Chained>>,
}

/// Runs the pipeline over the primary of this name; nothing to do when it is gone.
pub(crate) async fn pass(
    context: &Arc<Context>,
    pipeline: &Pipeline,
    namespace: &str,
    name: &str,
) -> Result<Next, PassError> {
    let kind = pipeline.type_ref();
    context.check_leader()?;
    let there = || context.caches.get(&kind, namespace, name);
    // Gone, or in a namespace that was dropped.
    if there().is_none() && !context.caches.watches(namespace) {
        return Ok(Next::AwaitChange);
    }
    if let Err(error) = context.check_synced(pipeline, namespace) {
        if let Some(object) = there().filter(|_| !error.is_quiet()) {
            report::failed(context, pipeline, Primary::new(kind.clone(), object), &error).await;
        }
        return Err(error);
    }
    let Some(object) = there() else { return Ok(Next::AwaitChange) };
    let primary = Primary::new(kind.clone(), object);
    let mut log = Log::begin(context);
    let id = primary.id.clone();
    let about = (primary.uid().to_owned(), primary.object.metadata.generation.unwrap_or_default());
    let result = over(context, pipeline, primary, &mut log).await;
    log.end(context, id, about, &result);
    result
}

async fn over(
    context: &Arc<Context>,
    pipeline: &Pipeline,
    mut primary: Primary,
    log: &mut Log,
) -> Result<Next, PassError> {
    if primary.deleting() {
        context.check_fellows(pipeline)?;
    }
    let system = context.system.locate(&primary.object, context.caches.as_ref());
    // A process that runs some steps alone puts on no finalizers, and claims nothing.
    let claim = if pipeline.in_guests && pipeline.finalizer.is_some() {
        let exists = system.as_ref().is_some_and(|system| context.system.exists(system));
        match claim::of(&primary.object, &context.home, exists) {
            Claim::AnotherHasIt => return Ok(Next::AwaitChange),
            Claim::Ours => None,
            Claim::Take(value) => Some(value),
        }
    } else {
        None
    };
    if let Some(finalizer) = &pipeline.finalizer {
        let ours = primary.object.metadata.finalizers.iter().flatten().any(|it| it == finalizer);
        if primary.deleting() && !ours {
            return Ok(Next::AwaitChange);
        }
        if !primary.deleting() {
            primary = apply::finalizer(context, primary, finalizer, true, claim.as_deref()).await?;
        }
    } else if primary.deleting() {
        context.released(&primary.object);
        return Ok(Next::AwaitChange);
    }
    if context.delegation.part.alone().is_some() && !delegation::due(pipeline, &primary) {
        // The main process says when: its word is a change of the primary.
        return Ok(Next::AwaitChange);
    }

    let mut outcome = Outcome::default();
    let result = steps(context, pipeline, system.as_ref(), &mut primary, &mut outcome, log).await;
    if let Err(error) = result {
        if !error.is_quiet() {
            report::failed(context, pipeline, primary, &error).await;
        }
        return Err(error);
    }

    // A step that cannot even read the spec has not said that nothing is left to undo.
    if primary.deleting() && outcome.is_through() {
        if let Some(finalizer) = &pipeline.finalizer {
            let gone = primary.object.clone();
            apply::finalizer(context, primary, finalizer, false, None).await?;
            context.released(&gone);
        }
        return Ok(Next::AwaitChange);
    }
    if let Some(error) = outcome.failed {
        report::failed(context, pipeline, primary, &error).await;
        return Err(error);
    }
    let (mut again_in, mut writes) = (outcome.again_in, outcome.writes);
    let kind = primary.kind.clone();
    report::passed(context, pipeline, primary, &outcome, &mut writes).await?;
    if writes > 0 {
        return Ok(Next::After(AFTER_WRITES));
    }
    if context.may_get_conditions(&kind) {
        again_in = Some(again_in.map_or(SCHEMA_RETRY, |it| it.min(SCHEMA_RETRY)));
    }
    Ok(again_in.map_or(Next::AwaitChange, Next::After))
}

/// Who is asked, for every step; their caches must be filled.
fn choose(
    context: &Context,
    pipeline: &Pipeline,
    primary: &Primary,
    left_out: &BTreeSet<String>,
) -> Result<Vec<Asked>, PassError> {
    let labels = primary.object.metadata.labels.clone().unwrap_or_default();
    let (mut kinds, mut optional): (Vec<TypeRef>, Vec<TypeRef>) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for step in pipeline.steps.iter().filter(|step| !left_out.contains(*step)) {
        let choice = context.slots.choose(step, primary.uid(), &labels);
        let choice = choice.ok_or_else(|| PassError::NoPlugin { step: step.clone() })?;
        let chain = context.slots.policies(step, primary.uid(), &labels);
        let versions = || [Some(&choice.active), choice.shadow.as_ref()].into_iter().flatten();
        let observes = versions().flat_map(|active| &active.step.observes);
        let observes = observes.chain(chain.iter().flat_map(|it| &it.policy.observes));
        for observe in observes.filter(|it| it.concerns(&primary.value)) {
            (if observe.optional { &mut optional } else { &mut kinds }).push(observe.type_ref());
        }
        kinds.extend(versions().flat_map(|active| active.step.writes.iter().chain(&active.step.begins).cloned()));
        all.push(Asked { step: step.clone(), choice, chain });
    }
    // Some are watched only from when a primary needs them.
    let late = context.caches.missing(&[kinds.as_slice(), &optional].concat());
    if !late.is_empty() {
        context.caches.ensure(late);
    }
    context.check_filled(kinds, primary.namespace())?;
    match context.caches.unanswered(&optional, primary.namespace()).first() {
        Some(kind) => Err(PassError::NotSynced { missing: kind.to_string() }),
        None => Ok(all),
    }
}

async fn steps(
    context: &Arc<Context>,
    pipeline: &Pipeline,
    system: Option<&SystemId>,
    primary: &mut Primary,
    outcome: &mut Outcome,
    log: &mut Log,
) -> Result<(), PassError> {
    let left_out = context.left_out(pipeline, primary).await;
    let asked = choose(context, pipeline, primary, &left_out)?;
    for step in &pipeline.steps {
        let Some(Asked { choice, chain, .. }) = asked.iter().find(|it| it.step == *step) else {
            outcome.delegated.push(step.clone());
            continue;
        };
        let turn = Turn { context, step, chain, system };
        let ended = match turn.run(&choice.active, choice.shadow.as_ref(), primary, outcome, log).await {
            Ok(ended) => ended,
            Err(error) => instead::of(&turn, &choice.active, error, primary, outcome, log).await?,
        };
        match ended {
            Ended::Skipped => {}
            Ended::Invalid(violations) => {
                // A rule may rest on what it asked for in a round, and not on what it was shown: that wakes nobody.
                if choice.active.step.fact_parts.values().any(|part| !part.items.is_empty()) {
                    outcome.again_in(INVALID_AGAIN);
                }
                outcome.invalid = Some((step.clone(), violations));
                return Ok(());
            }
            Ended::Stopped(stopped) => {
                if let Some(until) = stopped.until {
                    // Until then, what there is stays as it is.
                    instead::keep_up(&turn, primary, outcome, log).await?;
                    outcome.again_in(until.saturating_duration_since(Instant::now()));
                }
                outcome.stopped = Some((step.clone(), stopped));
                return Ok(());
            }
            Ended::Blocked => return Ok(()),
            Ended::Planned(plan) => {
                if let Some(why) = plan.retire().filter(|_| !primary.deleting()) {
                    let active = &choice.active;
                    let actor = Actor::new(context, step, &active.plugin(), active.identity.as_ref());
                    report::event(context, primary, Severity::Normal, "Retired", why).await;
                    apply::retire(context, primary, &actor, why).await?;
                }
                if let Some(notes) = plan.notes() {
                    outcome.notes.push((step.clone(), notes.to_owned()));
                }
                let (wait, blocked) = match plan.progress() {
                    Progress::Done => continue,
                    Progress::Waiting(wait) => (wait, false),
                    Progress::Blocked(wait) => (wait, true),
                };
                if let Some(again_in) = wait.again_in {
                    outcome.again_in(again_in);
                }
                outcome.waiting.get_or_insert_with(|| (step.clone(), wait.clone()));
                if blocked {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
