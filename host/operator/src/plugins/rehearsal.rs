//! Before a swap the candidate is asked what others were asked lately, and on wish what it would be asked now. Nothing is
//! carried out. What comes out is a report: how many plans would be the same, and a sample of what would change.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use stepwright_core::admit::{Gate, Grants, NotAdmitted, admit};
use stepwright_core::guest::Guest;
use stepwright_core::journal::{Answer, FieldChange};
use stepwright_core::manifest::StepManifest;
use stepwright_core::object::{ObjectRef, TypeRef};
use stepwright_core::observation::Observation;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::plan::{Failure, Plan};
use stepwright_core::plan_diff::differences;
use stepwright_core::slot::Role;

use crate::apply::Primary;
use crate::context::Context;
use crate::observe::{Round, observe};
use crate::pass::system_secrets;
use crate::slots::Source;
use crate::system::{Reader, SystemId};

mod reviews;

/// Differences that are shown.
const SAMPLE: usize = 5;
/// Failures after which nothing more is asked: the verdict is clear, and each may cost a whole deadline.
const ENOUGH: usize = 3;

/// What a rehearsal found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsal {
    /// RFC 3339, UTC.
    pub at: String,
    /// Recorded questions that were asked again.
    pub recorded: usize,
    /// Primaries that were observed for it.
    pub live: usize,
    /// Plans that were the same.
    pub same: usize,
    /// Plans that differ.
    pub differing: usize,
    /// Fields in which they do, in all.
    pub fields: usize,
    /// Questions without a plan that could be carried out; of a policy: without a verdict that could.
    pub failed: usize,
    /// Of a policy: what it made of the plans that it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// A few of the differences.
    pub sample: Vec<Difference>,
    /// A few of the failures: reason word, primary and message.
    pub errors: Vec<String>,
    /// What could not be rehearsed, and why.
    pub notes: Vec<String>,
}

/// How many plans a policy would pass, change, and stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdicts {
    pub passed: usize,
    pub amended: usize,
    pub denied: usize,
    pub held: usize,
}

/// One field that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// For which primary: `Kind namespace/name`.
    pub primary: String,
    pub step: String,
    pub change: FieldChange,
}

impl Rehearsal {
    /// Questions that were asked.
    pub fn asked(&self) -> usize {
        let Verdicts { passed, amended, denied, held } = self.verdicts.unwrap_or_default();
        passed + amended + denied + held + self.same + self.differing + self.failed
    }

    /// On one line. `None` when there was nothing to ask.
    pub fn line(&self) -> Option<String> {
        if self.asked() == 0 && self.notes.is_empty() {
            return None;
        }
        let mut line = match &self.verdicts {
            None => format!(
                "asked {} recorded and {} live questions: {} plans the same, {} differ in {} fields, {} failed",
                self.recorded, self.live, self.same, self.differing, self.fields, self.failed,
            ),
            Some(Verdicts { passed, amended, denied, held }) => format!(
                "shown {} recorded and {} live plans: {passed} passed, {amended} amended in {} fields, {denied} denied, {held} held, {} failed",
                self.recorded, self.live, self.fields, self.failed,
            ),
        };
        if !self.sample.is_empty() {
            let shown: Vec<String> = self.sample.iter().map(|it| it.to_string()).collect();
            line.push_str(&format!("; would change: {}", shown.join(", ")));
        }
        for text in self.errors.iter().take(1).chain(&self.notes) {
            line.push_str("; ");
            line.push_str(text);
        }
        Some(line)
    }

    fn compared(&mut self, step: &str, primary: &ObjectRef, changes: Vec<FieldChange>) {
        if changes.is_empty() {
            self.same += 1;
            return;
        }
        self.differing += 1;
        self.fields += changes.len();
        self.show(step, primary, changes);
    }

    fn show(&mut self, step: &str, primary: &ObjectRef, changes: Vec<FieldChange>) {
        for change in changes {
            // One of a kind: ten primaries with the same change need not be shown.
            let known =
                self.sample.iter().any(|it| it.change.object == change.object && it.change.field == change.field);
            if self.sample.len() < SAMPLE && !known {
                let primary = primary.to_string();
                self.sample.push(Difference { primary, step: step.to_owned(), change });
            }
        }
    }

    fn failed(&mut self, reason: &str, primary: &ObjectRef, message: &str) {
        self.failed += 1;
        if self.errors.len() < ENOUGH {
            self.errors.push(format!("{reason} on {primary}: {message}"));
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FieldChange { object, field, before, after } = &self.change;
        match (before, after) {
            _ if !field.is_empty() => write!(f, "{object} {field}"),
            (None, _) => write!(f, "{object} comes"),
            (_, None) => write!(f, "{object} goes"),
            _ => write!(f, "{object}"),
        }
    }
}

/// A candidate in rehearsal.
pub(super) struct Candidate<'a> {
    pub(super) guest: &'a Arc<dyn Guest>,
    pub(super) settings: &'a str,
    pub(super) source: &'a Source,
    /// Of a policy.
    pub(super) priority: i32,
    /// On every primary in the cache, too.
    pub(super) live: bool,
    /// Recorded passes of each step.
    pub(super) passes: usize,
}

/// Rehearses every step of the candidate that some pipeline has.
pub(super) async fn rehearse(
    context: &Arc<Context>,
    pipelines: &[Arc<Pipeline>],
    candidate: &Candidate<'_>,
) -> Rehearsal {
    let mut found = Rehearsal { at: context.now(), ..Rehearsal::default() };
    let wanted = |name: &String| pipelines.iter().any(|pipeline| pipeline.steps.contains(name));
    for step in candidate.guest.manifest().steps.iter().filter(|step| wanted(&step.name)) {
        let looked_alike = recorded(context, candidate, step, &mut found).await;
        if !looked_alike {
            found.notes.push(format!(
                "step {} looks at other things than the version before, so what was recorded says nothing of it",
                step.name
            ));
        }
        if candidate.live || !looked_alike {
            let most = if candidate.live { usize::MAX } else { candidate.passes };
            live(context, pipelines, candidate, step, most, &mut found).await;
        }
    }
    if let Some(policy) = &candidate.guest.manifest().policy {
        reviews::rehearse(context, pipelines, candidate, policy, &mut found).await;
    }
    found
}

/// Whether what was recorded is what the candidate would have been shown.
async fn recorded(
    context: &Arc<Context>,
    candidate: &Candidate<'_>,
    step: &StepManifest,
    found: &mut Rehearsal,
) -> bool {
    let manifests: HashMap<String, StepManifest> = context
        .slots
        .versions()
        .into_iter()
        .filter(|(name, _)| *name == step.name)
        .map(|(_, version)| (version.guest.digest().to_string(), version.step.clone()))
        .collect();
    let mut looked_alike = true;
    for record in context.journal.recent(&step.name, candidate.passes) {
        let of_step = record.steps.iter().filter(|it| it.step == step.name);
        for asked in of_step.filter(|it| matches!(it.role, Role::Active | Role::Canary)) {
            if !manifests.get(&asked.plugin.digest).is_some_and(|then| looks_alike(then, step)) {
                looked_alike = false;
                continue;
            }
            for round in &asked.rounds {
                if found.failed >= ENOUGH {
                    return looked_alike;
                }
                let before = match &round.answer {
                    Answer::Planned(plan) => Some(plan.as_ref().clone()),
                    Answer::Failed(_) | Answer::Broken(_) => None,
                };
                let observed =
                    Observation { settings: candidate.settings.to_owned(), ..round.observation.as_ref().clone() };
                found.recorded += 1;
                compare(context, candidate.guest, step, &record.primary, observed, before.as_ref(), found).await;
            }
        }
    }
    looked_alike
}

/// Both are shown the same.
fn looks_alike(one: &StepManifest, other: &StepManifest) -> bool {
    one.primary == other.primary
        && one.observes == other.observes
        && one.facts == other.facts
        && one.facts_when == other.facts_when
        && one.fact_parts == other.fact_parts
}

async fn live(
    context: &Arc<Context>,
    pipelines: &[Arc<Pipeline>],
    candidate: &Candidate<'_>,
    step: &StepManifest,
    most: usize,
    found: &mut Rehearsal,
) {
    for primary in primaries(context, pipelines, &step.name).into_iter().take(most) {
        if found.failed >= ENOUGH {
            return;
        }
        let system = context.system.locate(&primary.object, context.caches.as_ref());
        let labels = primary.object.labels().clone();
        let uid = primary.object.uid().unwrap_or_default();
        let before = match context.slots.choose(&step.name, &uid, &labels).map(|choice| choice.active) {
            Some(active) => {
                let observed = look(context, &primary, &active.step, system.as_ref(), &active.settings).await;
                ask(context, &active.guest, observed).await.ok()
            }
            None => None,
        };
        let observed = look(context, &primary, step, system.as_ref(), candidate.settings).await;
        found.live += 1;
        let before = before.and_then(Result::ok);
        compare(context, candidate.guest, step, &primary.id, observed, before.as_ref(), found).await;
    }
}

/// All in the cache whose pipeline has the step.
fn primaries(context: &Context, pipelines: &[Arc<Pipeline>], step: &str) -> Vec<Primary> {
    let of_step = pipelines.iter().filter(|pipeline| pipeline.steps.iter().any(|it| it == step));
    let all = of_step.flat_map(|pipeline| {
        let kind = pipeline.type_ref();
        context.caches.all(&kind).into_iter().map(move |object| Primary::new(kind.clone(), object))
    });
    all.collect()
}

async fn look(
    context: &Context,
    primary: &Primary,
    step: &StepManifest,
    system: Option<&SystemId>,
    settings: &str,
) -> Observation {
    // What earlier steps noted the last time; they are not asked again for this.
    let records = context.journal.of(&primary.id);
    let last = records.iter().rev().flat_map(|record| &record.steps).find(|it| it.step == step.name);
    let notes = last.and_then(|it| it.rounds.first()).map(|round| round.observation.notes.clone()).unwrap_or_default();
    let now = context.now();
    let round = Round { number: 0, replies: &[], notes: &notes, settings, now: &now };
    observe(context, primary, step.into(), system, round).await
}

async fn compare(
    context: &Arc<Context>,
    guest: &Arc<dyn Guest>,
    step: &StepManifest,
    primary: &ObjectRef,
    observed: Observation,
    before: Option<&Plan>,
    found: &mut Rehearsal,
) {
    match ask(context, guest, observed).await {
        Err((reason, message)) => found.failed(&reason, primary, &message),
        // To have no plan is an answer; whether the one before had one decides whether it is a difference.
        Ok(Err(failure)) => match before {
            None => found.same += 1,
            Some(_) => {
                let field = match failure {
                    Failure::Transient(message) => format!("no plan for now: {message}"),
                    Failure::Invalid(violations) => {
                        let texts: Vec<String> =
                            violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
                        format!("the spec is found invalid: {}", texts.join("; "))
                    }
                };
                let change = FieldChange { object: "plan".to_owned(), field, before: None, after: None };
                found.compared(&step.name, primary, vec![change]);
            }
        },
        Ok(Ok(plan)) => match (admitted(context, step, primary, plan.clone()), before) {
            (Err(error), _) => found.failed(error.reason(), primary, &error.to_string()),
            (Ok(()), Some(before)) => found.compared(&step.name, primary, differences(before, &plan)),
            (Ok(()), None) => found.same += 1,
        },
    }
}

/// Whether the plan could be carried out. A primary that is gone by now has no plan to carry out.
fn admitted(context: &Context, step: &StepManifest, primary: &ObjectRef, plan: Plan) -> Result<(), NotAdmitted> {
    let kind = TypeRef::from(primary);
    let namespace = primary.namespace.as_deref().unwrap_or_default();
    let Some(object) = context.caches.get(&kind, namespace, &primary.name) else { return Ok(()) };
    let object = Primary::new(kind, object);
    let grants = Grants::asked_by(step);
    let shared = system_secrets(&grants, &object);
    let gate = Gate {
        step: &step.name,
        primary,
        grants: &grants,
        limits: &step.limits,
        scope_of: &|kind: &TypeRef| context.caches.served(kind).map(|served| served.scope),
        may_use_secret: &|name| context.may_use_secret(&object, name),
        is_system_secret: &|name| shared.matches(name, None),
    };
    admit(plan, &gate).map(|_| ())
}

type Asked = Result<Result<Plan, Failure>, (String, String)>;

/// Asks on a thread that may block, in turn with the passes.
async fn ask(context: &Context, guest: &Arc<dyn Guest>, observed: Observation) -> Asked {
    let internal = |message: String| ("Internal".to_owned(), message);
    let _permit = context.guest_calls.acquire().await.map_err(|error| internal(error.to_string()))?;
    let guest = guest.clone();
    let answer = tokio::task::spawn_blocking(move || guest.reconcile(&observed))
        .await
        .map_err(|error| internal(error.to_string()))?;
    answer.map_err(|error| (error.reason().to_owned(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary() -> ObjectRef {
        ObjectRef { api_version: "v1".into(), kind: "Thing".into(), namespace: Some("ns".into()), name: "a".into() }
    }

    fn change(object: &str, field: &str) -> FieldChange {
        FieldChange { object: object.into(), field: field.into(), before: None, after: Some(true.into()) }
    }

    #[test]
    fn the_line_counts_and_shows_a_sample_without_repeating_itself() {
        let mut found = Rehearsal { recorded: 3, ..Rehearsal::default() };
        found.compared("step", &primary(), vec![]);
        found.compared("step", &primary(), vec![change("Service x", "spec.ports"), change("Service y", "")]);
        found.compared("step", &primary(), vec![change("Service x", "spec.ports")]);
        let line = found.line().unwrap();
        let expected = "asked 3 recorded and 0 live questions: 1 plans the same, 2 differ in 3 fields, 0 failed; \
            would change: Service x spec.ports, Service y comes";
        assert_eq!(line, expected);
    }

    #[test]
    fn nothing_asked_is_nothing_to_say() {
        assert_eq!(Rehearsal::default().line(), None);
    }
}
