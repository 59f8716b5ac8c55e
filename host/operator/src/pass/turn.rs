//! One step's turn in a pass: rounds of question, review, admission and effects, until a plan asks for no more calls.

use std::sync::Arc;

use stepwright_core::admit::{AdmittedPlan, Gate, Grants, NotAdmitted, admit};
use stepwright_core::journal::{Answer, Effect, RoundRecord};
use stepwright_core::manifest::Select;
use stepwright_core::object::TypeRef;
use stepwright_core::observation::{Observation, REFUSED_NOTE, Reply};
use stepwright_core::plan::{Failure, Plan, Violation};
use stepwright_core::select::Selection;

use super::ask::ask;
use super::record::{Log, used};
use super::review::{self, Reviewed};
use super::shadow::Beside;
use super::{Outcome, shadow};
use crate::apply::{self, Actor, Done, Primary};
use crate::context::Context;
use crate::error::PassError;
use crate::memory::{Good, Kept, Planned, Stopped};
use crate::observe::{Round, observe};
use crate::report;
use crate::slots::{Active, Chained, Judgement};
use crate::system::SystemId;

/// How a step's turn ended.
pub(super) enum Ended {
    Planned(Arc<AdmittedPlan>),
    Invalid(Vec<Violation>),
    Stopped(Stopped),
    /// The pipeline goes on without it.
    Skipped,
    /// Nothing that later steps could build on.
    Blocked,
}

/// What a turn is about, whoever is asked.
pub(super) struct Turn<'a> {
    pub context: &'a Arc<Context>,
    pub step: &'a str,
    pub chain: &'a [Arc<Chained>],
    pub system: Option<&'a SystemId>,
}

/// An answer that may be carried out, or why there is none.
enum Decided {
    Planned(Planned),
    Ended(Ended),
}

impl Turn<'_> {
    pub(super) async fn run(
        &self,
        active: &Arc<Active>,
        shadow: Option<&Arc<Active>>,
        primary: &mut Primary,
        outcome: &mut Outcome,
        log: &mut Log,
    ) -> Result<Ended, PassError> {
        let Self { context, step, .. } = *self;
        let plugin = active.plugin();
        let actor = Actor::new(context, step, &plugin, active.identity.as_ref());
        log.step(step, plugin.clone(), active.role);
        let mut replies: Vec<Reply> = Vec::new();
        let rounds = active.step.limits.rounds;
        let mut beside = None;
        let mut first = None;
        let mut clean = true;
        for number in 0..rounds {
            let now = context.now();
            let mut notes = outcome.notes.clone();
            notes.extend(context.memory.refused(&primary.id, step).map(|refused| (REFUSED_NOTE.to_owned(), refused)));
            let round = |settings| Round { number, replies: &replies, notes: &notes, settings, now: &now };
            let reads = (&active.step).into();
            let observed = Arc::new(observe(context, primary, reads, self.system, round(&active.settings)).await);
            context.memory.shown(&primary.id, observed.size());
            let seen = review::observe_all(self, primary, &outcome.notes, number, &now).await;
            let question = review::question(&observed, active.step.clock, self.chain, &seen);
            if number == 0 {
                beside = match shadow {
                    Some(shadow) => Some(Beside::new(self, shadow, primary, round(&shadow.settings), &question).await),
                    None => None,
                };
            }
            let known = context.memory.answer(&primary.id, step, active.guest.digest(), &question);
            let fresh = known.is_none();
            let decided = match known {
                Some(kept) => remembered(kept, &observed, log),
                None => self.decide(active, primary, &observed, &seen, log).await?,
            };
            if number == 0 {
                first = log.answer();
            }
            let planned = match decided {
                Decided::Planned(planned) => planned,
                Decided::Ended(ended) => {
                    if let Ended::Stopped(stopped) = &ended {
                        let kept = Kept::Stopped(stopped.clone());
                        context.memory.keep(&primary.id, step, active.guest.digest(), question, kept);
                    }
                    shadow::ask(self, beside, first, primary);
                    return Ok(ended);
                }
            };
            let plan = planned.plan.clone();
            let mut done = Done::default();
            let carried = self.carry_out(&actor, primary, &plan, &mut done).await;
            outcome.writes += done.writes;
            log.effects(&mut done.effects);
            context.memory.set_refused(&primary.id, step, &done.refused);
            carried?;
            if let Some(left) = done.left.take() {
                clean = false;
                self.left(active, primary, left, outcome);
            }
            if fresh {
                // Nothing is told twice, and nothing before it is done.
                report::events(context, primary, plan.events()).await;
                log.effects(&mut plan.events().iter().map(|event| told(&event.reason)).collect());
            }
            if !plan.calls().is_empty() {
                // What this round changed is for the next one to see; its status would be a guess.
                replies = done.replies;
                continue;
            }
            if let Some(status) = plan.status() {
                let manager = apply::step_manager(step);
                let mut done = Done::default();
                let written = take(primary, |it| apply::status(context, it, &manager, status, &mut done)).await;
                outcome.writes += done.writes;
                log.effects(&mut done.effects);
                written?;
            }
            // Kept only now: had an effect failed, the step would have been asked again.
            if fresh {
                if !primary.deleting() {
                    let good = Good { planned: planned.clone(), plugin, identity: active.identity.clone() };
                    context.memory.set_good(&primary.id, step, good);
                }
                let kept = Kept::Planned(planned);
                context.memory.keep(&primary.id, step, active.guest.digest(), question, kept);
            }
            if clean {
                context.slots.judged(step, active.guest.digest(), primary.uid(), &Judgement::Good);
            }
            shadow::ask(self, beside, first, primary);
            return Ok(Ended::Planned(plan));
        }
        Err(PassError::TooManyRounds { step: step.to_owned(), rounds })
    }

    /// Asks the step, shows the plan to the policies, and admits what they leave of it.
    async fn decide(
        &self,
        active: &Arc<Active>,
        primary: &Primary,
        observed: &Arc<Observation>,
        seen: &[Arc<Observation>],
        log: &mut Log,
    ) -> Result<Decided, PassError> {
        let asked = ask(self.context, self.step, active, observed).await;
        let usage = asked.as_ref().map(|(_, usage)| used(usage)).unwrap_or_default();
        let answer = match &asked {
            Ok((Ok(plan), _)) => Answer::Planned(plan.clone()),
            Ok((Err(failure), _)) => Answer::Failed(failure.clone()),
            Err(error) => Answer::Broken(error.told()),
        };
        log.round(RoundRecord {
            observation: observed.clone(),
            remembered: false,
            answer,
            policies: Vec::new(),
            effects: Vec::new(),
            usage,
        });
        let raw = match asked?.0 {
            Err(Failure::Transient(message)) => {
                return Err(PassError::Transient { step: self.step.to_owned(), message });
            }
            Err(Failure::Invalid(violations)) => return Ok(Decided::Ended(Ended::Invalid(violations))),
            Ok(plan) => plan,
        };
        let refused = |source| PassError::NotAdmitted {
            step: self.step.to_owned(),
            plugin: format!("{}@{}", active.guest.manifest().name, active.guest.digest().short()),
            source: Box::new(source),
        };
        let plan = self.admit(active, primary, raw.as_ref().clone()).map_err(refused)?;
        let plan = if self.chain.is_empty() {
            plan
        } else {
            match review::review(self, active, primary, raw.clone(), seen, log).await? {
                Reviewed::Stopped(stopped) => return Ok(Decided::Ended(Ended::Stopped(stopped))),
                Reviewed::Passed(None) => plan,
                Reviewed::Passed(Some(amended)) => *amended,
            }
        };
        Ok(Decided::Planned(Planned { raw, plan: Arc::new(plan) }))
    }

    pub(super) fn admit(&self, active: &Active, primary: &Primary, plan: Plan) -> Result<AdmittedPlan, NotAdmitted> {
        let context = self.context;
        let shared = system_secrets(&active.grants, primary);
        let gate = Gate {
            step: self.step,
            primary: &primary.id,
            grants: &active.grants,
            limits: &active.step.limits,
            scope_of: &|kind: &TypeRef| context.caches.served(kind).map(|served| served.scope),
            may_use_secret: &|name| context.may_use_secret(primary, name),
            is_system_secret: &|name| shared.matches(name, None),
        };
        admit(plan, &gate)
    }

    /// Objects, defaults, requests that are done, calls, in this order.
    pub(super) async fn carry_out(
        &self,
        actor: &Actor,
        primary: &mut Primary,
        plan: &AdmittedPlan,
        done: &mut Done,
    ) -> Result<(), PassError> {
        let context = self.context;
        let applied = apply::objects(context, primary, actor, plan, done).await;
        report::drift(context, primary, &done.drift).await;
        applied?;
        take(primary, |it| apply::defaults(context, it, actor, plan, done)).await?;
        take(primary, |it| apply::resets(context, it, actor, plan, done)).await?;
        take(primary, |it| apply::followed(context, it, actor, plan, done)).await?;
        apply::calls(context, primary, self.system, plan, done).await
    }

    /// Something was left alone because it is somebody else's. A fight counts against the version that fights.
    fn left(&self, active: &Active, primary: &Primary, left: PassError, outcome: &mut Outcome) {
        if let PassError::FieldFight { .. } = &left {
            let judgement = Judgement::Bad { reason: left.reason().to_owned(), message: left.chain() };
            self.context.slots.judged(self.step, active.guest.digest(), primary.uid(), &judgement);
        }
        outcome.failed.get_or_insert(left);
    }
}

/// The answer is that of an earlier pass.
fn remembered(kept: Kept, observed: &Arc<Observation>, log: &mut Log) -> Decided {
    match kept {
        Kept::Planned(planned) => {
            log.round(RoundRecord {
                observation: observed.clone(),
                remembered: true,
                answer: Answer::Planned(planned.raw.clone()),
                policies: Vec::new(),
                effects: Vec::new(),
                usage: Default::default(),
            });
            Decided::Planned(planned)
        }
        Kept::Stopped(stopped) => Decided::Ended(Ended::Stopped(stopped)),
    }
}

fn told(reason: &str) -> Effect {
    Effect { verb: "event".to_owned(), on: reason.to_owned(), field: None, status: None, error: None }
}

/// Names of the managed system's Secrets that calls for this primary may hold values of.
pub(crate) fn system_secrets(grants: &Grants, primary: &Primary) -> Selection {
    let names = grants.system_secrets.iter().cloned().collect();
    Selection::resolve(&Select::Names(names), &primary.value)
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
