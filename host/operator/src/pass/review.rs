//! The chain of policies after a step: what each is shown, what becomes of the plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use stepwright_core::admit::AdmittedPlan;
use stepwright_core::amend::{Amended, amend};
use stepwright_core::error::Blame;
use stepwright_core::guest::Called;
use stepwright_core::journal::{Reason, ReviewRecord};
use stepwright_core::observation::Observation;
use stepwright_core::plan::Plan;
use stepwright_core::policy::Verdict;
use stepwright_core::slot::{OnFailure, Role};
use tracing::{info, warn};

use super::ask::call;
use super::record::Log;
use super::turn::Turn;
use crate::apply::Primary;
use crate::error::{PassError, PolicyFault};
use crate::memory::{Hash, Stopped};
use crate::observe::{Reads, Round, observe};
use crate::slots::{Active, Chained, Judgement};

/// A hold is at least so long, whatever time the policy names, and is looked at again after so long at most.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// What the chain made of a plan.
pub(super) enum Reviewed {
    /// Carried out as planned, or as amended.
    Passed(Option<Box<AdmittedPlan>>),
    Stopped(Stopped),
}

/// What one policy made of it.
enum Effect {
    None,
    Amended(Box<(Plan, AdmittedPlan)>),
    Stopped(Stopped),
}

/// What each policy of the chain sees.
pub(super) async fn observe_all(
    turn: &Turn<'_>,
    primary: &Primary,
    notes: &[(String, String)],
    number: u32,
    now: &str,
) -> Vec<Arc<Observation>> {
    let mut all = Vec::with_capacity(turn.chain.len());
    for chained in turn.chain {
        let round = Round { number, replies: &[], notes, settings: &chained.settings, now };
        let reads = Reads::of_policy(&chained.policy, turn.step);
        all.push(Arc::new(observe(turn.context, primary, reads, turn.system, round).await));
    }
    all
}

/// A digest of all that the answer depends on: what the step sees, which policies are asked, and what they see.
pub(super) fn question(observed: &Observation, clock: bool, chain: &[Arc<Chained>], seen: &[Arc<Observation>]) -> Hash {
    let own = observed.digest(clock);
    if chain.is_empty() {
        return own;
    }
    let mut hash = Sha256::new();
    hash.update(own);
    for (chained, seen) in chain.iter().zip(seen) {
        hash.update(chained.guest.digest().to_string());
        hash.update([chained.role as u8, chained.on_failure as u8]);
        hash.update(seen.digest(chained.policy.clock));
    }
    hash.finalize().into()
}

/// Shows the plan to each policy in order. `active` is the version that made it, whose grants bind what is amended.
pub(super) async fn review(
    turn: &Turn<'_>,
    active: &Active,
    primary: &Primary,
    raw: Arc<Plan>,
    seen: &[Arc<Observation>],
    log: &mut Log,
) -> Result<Reviewed, PassError> {
    let mut plan = raw;
    let mut admitted = None;
    for (chained, seen) in turn.chain.iter().zip(seen) {
        let shown = plan.clone();
        let called = call(&turn.context.guest_calls, turn.step, &chained.guest, seen, move |guest, seen| {
            guest.review(seen, &shown)
        })
        .await?;
        let Called { answer, usage } = called;
        let outcome = answer.as_ref().map_or_else(|error| error.reason(), Verdict::as_str);
        turn.context.metrics.guest_call(turn.step, outcome, usage.took);
        turn.context.metrics.guest(turn.step, &chained.plugin(), chained.role, outcome, &usage);
        let verdict = answer.as_ref().ok().cloned();
        let mut changes = Vec::new();
        let effect = match answer {
            Err(error) => Err(PolicyFault::Guest(error)),
            Ok(Verdict::Pass) => Ok(Effect::None),
            Ok(Verdict::Amend(patch)) => amended(turn, active, primary, chained, &plan, &patch, &mut changes),
            Ok(Verdict::Deny(words)) => Ok(Effect::Stopped(stopped(chained, "PolicyDenied", "denies", &words, None))),
            Ok(Verdict::Hold { until, reason }) => hold(chained, &until, &reason),
        };
        let verdict = match (&effect, verdict) {
            (Err(fault), _) => Err(Reason { reason: fault.reason().to_owned(), message: fault_text(fault) }),
            (Ok(_), Some(verdict)) => Ok(verdict),
            (Ok(_), None) => Ok(Verdict::Pass),
        };
        judge(turn, primary, chained, &effect);
        log.review(ReviewRecord { plugin: chained.plugin(), role: chained.role, verdict, changes });
        if chained.role == Role::Shadow {
            continue;
        }
        match effect {
            Ok(Effect::None) => {}
            Ok(Effect::Amended(both)) => {
                let (amended, result) = *both;
                plan = Arc::new(amended);
                admitted = Some(result);
            }
            Ok(Effect::Stopped(stopped)) => {
                info!(step = turn.step, reason = stopped.reason, message = stopped.message, "a policy stopped a plan");
                return Ok(Reviewed::Stopped(stopped));
            }
            Err(fault) => {
                let error = PassError::Policy {
                    policy: chained.guest.manifest().name.clone(),
                    digest: chained.guest.digest().short().to_owned(),
                    step: turn.step.to_owned(),
                    source: Box::new(fault),
                };
                if chained.on_failure == OnFailure::Skip {
                    warn!(error = &error as &dyn std::error::Error, "the plan goes on without a policy that failed");
                    continue;
                }
                return Err(error);
            }
        }
    }
    Ok(Reviewed::Passed(admitted.map(Box::new)))
}

fn amended(
    turn: &Turn<'_>,
    active: &Active,
    primary: &Primary,
    chained: &Chained,
    plan: &Plan,
    patch: &str,
    changes: &mut Vec<stepwright_core::journal::FieldChange>,
) -> Result<Effect, PolicyFault> {
    let Amended { plan, changes: found } = amend(plan, patch, &chained.policy)?;
    *changes = found;
    let admitted = turn.admit(active, primary, plan.clone()).map_err(PolicyFault::NotAdmitted)?;
    Ok(Effect::Amended(Box::new((plan, admitted))))
}

fn hold(chained: &Chained, until: &str, reason: &str) -> Result<Effect, PolicyFault> {
    let time: Timestamp = until.parse().map_err(|_| PolicyFault::Until(until.chars().take(80).collect()))?;
    let left = time.duration_since(Timestamp::now());
    let left = Duration::try_from(left).unwrap_or_default().clamp(SHORTEST_HOLD, LONGEST_HOLD);
    let words = format!("{reason} (until {time})");
    Ok(Effect::Stopped(stopped(chained, "PolicyHold", "holds", &words, Some(Instant::now() + left))))
}

fn stopped(chained: &Chained, reason: &'static str, verb: &str, words: &str, until: Option<Instant>) -> Stopped {
    let (name, digest) = (&chained.guest.manifest().name, chained.guest.digest().short());
    Stopped { reason, message: format!("policy {name}@{digest} {verb} it: {words}"), until }
}

/// What a policy's version is worth: only what is its own fault counts against it.
fn judge(turn: &Turn<'_>, primary: &Primary, chained: &Chained, effect: &Result<Effect, PolicyFault>) {
    let judgement = match effect {
        Ok(_) => Judgement::Good,
        Err(PolicyFault::Guest(error)) if error.blame() != Blame::Plugin => return,
        Err(fault) => Judgement::Bad { reason: fault.reason().to_owned(), message: fault_text(fault) },
    };
    turn.context.slots.judged(turn.step, chained.guest.digest(), primary.uid(), &judgement);
}

fn fault_text(fault: &PolicyFault) -> String {
    match std::error::Error::source(fault) {
        Some(source) if !fault.to_string().contains(&source.to_string()) => format!("{fault}: {source}"),
        _ => fault.to_string(),
    }
}
