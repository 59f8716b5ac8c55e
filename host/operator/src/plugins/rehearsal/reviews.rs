//! The rehearsal of a policy: it is shown plans that steps made lately, and on wish those that they would make now. What it
//! looks at itself is as it is now, since nobody recorded it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use stepwright_core::amend::amend;
use stepwright_core::guest::Guest;
use stepwright_core::journal::{Answer, FieldChange, PassRecord};
use stepwright_core::manifest::{PolicyManifest, StepManifest};
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::pipeline::Pipeline;
use stepwright_core::plan::Plan;
use stepwright_core::policy::Verdict;
use stepwright_core::slot::Role;

use super::{Candidate, ENOUGH, Rehearsal, Verdicts, admitted, ask, look, primaries};
use crate::apply::Primary;
use crate::context::Context;
use crate::observe::{Reads, Round, observe};
use crate::slots::Chained;
use crate::system::Reader;

/// What a policy is shown besides its own observation.
struct Shown<'a> {
    primary: &'a Primary,
    step: &'a StepManifest,
    plan: Arc<Plan>,
    notes: Vec<(String, String)>,
}

/// Shows it plans of every step that it reviews and some pipeline has.
pub(super) async fn rehearse(
    context: &Arc<Context>,
    pipelines: &[Arc<Pipeline>],
    candidate: &Candidate<'_>,
    policy: &PolicyManifest,
    found: &mut Rehearsal,
) {
    found.verdicts = Some(Verdicts::default());
    let steps: BTreeSet<&String> = pipelines.iter().flat_map(|it| &it.steps).filter(|it| policy.reviews(it)).collect();
    for step in steps {
        let Some(active) = context.slots.active(step) else { continue };
        for record in context.journal.recent(step, candidate.passes) {
            let Some(primary) = still_there(context, &record.primary) else { continue };
            for (plan, notes) in planned(&record, step) {
                if found.failed >= ENOUGH {
                    return;
                }
                found.recorded += 1;
                let shown = Shown { primary: &primary, step: &active.step, plan, notes };
                show(context, candidate, policy, shown, found).await;
            }
        }
        if !candidate.live {
            continue;
        }
        for primary in primaries(context, pipelines, step) {
            if found.failed >= ENOUGH {
                return;
            }
            let labels = primary.object.labels().clone();
            let uid = primary.object.uid().unwrap_or_default();
            let Some(choice) = context.slots.choose(step, &uid, &labels) else { continue };
            let system = context.system.locate(&primary.object, context.caches.as_ref());
            let active = choice.active;
            let observed = look(context, &primary, &active.step, system.as_ref(), &active.settings).await;
            let notes = observed.notes.clone();
            // What has no plan is not shown to policies.
            let Ok(Ok(plan)) = ask(context, &active.guest, observed).await else { continue };
            found.live += 1;
            let shown = Shown { primary: &primary, step: &active.step, plan: Arc::new(plan), notes };
            show(context, candidate, policy, shown, found).await;
        }
    }
}

/// A primary that is gone has nothing that could be looked at.
fn still_there(context: &Context, id: &ObjectRef) -> Option<Primary> {
    let kind = TypeRef::from(id);
    let object = context.caches.get(&kind, id.namespace.as_deref().unwrap_or_default(), &id.name)?;
    Some(Primary::new(kind, object))
}

/// The plans that the step made in that pass, which no policy has seen yet, and the notes that went with each.
fn planned<'a>(record: &'a PassRecord, step: &'a str) -> impl Iterator<Item = (Arc<Plan>, Vec<(String, String)>)> + 'a {
    let of_step = record.steps.iter().filter(move |it| it.step == step);
    let answered = of_step.filter(|it| matches!(it.role, Role::Active | Role::Canary));
    answered.flat_map(|it| &it.rounds).filter_map(|round| match &round.answer {
        Answer::Planned(plan) => Some((plan.clone(), round.observation.notes.clone())),
        Answer::Failed(_) | Answer::Broken(_) => None,
    })
}

async fn show(
    context: &Arc<Context>,
    candidate: &Candidate<'_>,
    policy: &PolicyManifest,
    shown: Shown<'_>,
    found: &mut Rehearsal,
) {
    let Some(shown) = before(context, candidate, shown).await else { return };
    let Shown { primary, step, plan, .. } = &shown;
    let verdict = match review(context, candidate.guest, policy, candidate.settings, &shown).await {
        Ok(verdict) => verdict,
        Err((reason, message)) => return found.failed(&reason, &primary.id, &message),
    };
    let said = |what: &str, words: &str| {
        let words: String = words.chars().take(200).collect();
        vec![FieldChange { object: "plan".to_owned(), field: format!("{what}: {words}"), before: None, after: None }]
    };
    let mut verdicts = found.verdicts.unwrap_or_default();
    match verdict {
        Verdict::Pass => verdicts.passed += 1,
        Verdict::Deny(words) => {
            verdicts.denied += 1;
            found.show(&step.name, &primary.id, said("denied", &words));
        }
        Verdict::Hold { until, reason } => {
            if until.parse::<Timestamp>().is_err() {
                let message = format!("it holds the plan until {until:?}, which is no time as RFC 3339 writes it");
                return found.failed("PolicyHoldMalformed", &primary.id, &message);
            }
            verdicts.held += 1;
            found.show(&step.name, &primary.id, said("held", &format!("{reason} (until {until})")));
        }
        Verdict::Amend(patch) => {
            let amended = match amend(plan, &patch, policy) {
                Ok(amended) => amended,
                Err(error) => return found.failed(error.reason(), &primary.id, &error.to_string()),
            };
            if let Err(error) = admitted(context, step, &primary.id, amended.plan) {
                return found.failed(error.reason(), &primary.id, &error.to_string());
            }
            verdicts.amended += 1;
            found.fields += amended.changes.len();
            found.show(&step.name, &primary.id, amended.changes);
        }
    }
    found.verdicts = Some(verdicts);
}

/// The plan as the policies leave it that are asked before this one. `None`: they stop it, or fail.
async fn before<'a>(context: &Arc<Context>, candidate: &Candidate<'_>, mut shown: Shown<'a>) -> Option<Shown<'a>> {
    let labels = shown.primary.object.labels();
    let chain = context.slots.policies(&shown.step.name, shown.primary.uid(), labels);
    let comes_before = |it: &&Arc<Chained>| {
        it.role != Role::Shadow
            && it.source != *candidate.source
            && (it.priority, &it.source) < (candidate.priority, candidate.source)
    };
    for chained in chain.iter().filter(comes_before) {
        match review(context, &chained.guest, &chained.policy, &chained.settings, &shown).await {
            Ok(Verdict::Pass) => {}
            Ok(Verdict::Amend(patch)) => {
                shown.plan = Arc::new(amend(&shown.plan, &patch, &chained.policy).ok()?.plan);
            }
            Ok(Verdict::Deny(_) | Verdict::Hold { .. }) | Err(_) => return None,
        }
    }
    Some(shown)
}

/// Asks on a thread that may block, in turn with the passes. An error is a reason word and a message.
async fn review(
    context: &Context,
    guest: &Arc<dyn Guest>,
    policy: &PolicyManifest,
    settings: &str,
    shown: &Shown<'_>,
) -> Result<Verdict, (String, String)> {
    let system = context.system.locate(&shown.primary.object, context.caches.as_ref());
    let now = context.now();
    let round = Round { number: 0, replies: &[], notes: &shown.notes, settings, now: &now };
    let reads = Reads::of_policy(policy, &shown.step.name);
    let observed = observe(context, shown.primary, reads, system.as_ref(), round).await;
    let plan = shown.plan.clone();
    let internal = |message: String| ("Internal".to_owned(), message);
    let _permit = context.guest_calls.acquire().await.map_err(|error| internal(error.to_string()))?;
    let guest = guest.clone();
    let called = tokio::task::spawn_blocking(move || guest.review(&observed, &plan))
        .await
        .map_err(|error| internal(error.to_string()))?;
    called.answer.map_err(|error| (error.reason().to_owned(), error.to_string()))
}
