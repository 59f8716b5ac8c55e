//! What a pass saw, planned and did, as a record: the data behind `explain`, `replay` and rehearsal. Never a secret's value,
//! since guests are never given one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::ObjectRef;
use crate::observation::Observation;
use crate::plan::{Failure, Plan};
use crate::policy::Verdict;
use crate::slot::Role;

/// Which version of which plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRef {
    pub name: String,
    pub version: String,
    /// The whole digest of the component.
    pub digest: String,
    /// `embedded`, `file …`, `ConfigMap namespace/name`, `OCI …`.
    pub source: String,
}

/// The first line of an exported journal; a `PassRecord` on each of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Of the file: `FORMAT`. One that a reader does not know is refused.
    pub format: u32,
    /// The version of the host that recorded it.
    pub host: String,
    /// The version of the contract that its plugins were asked in.
    pub contract: String,
    /// RFC 3339, UTC.
    pub exported: String,
}

/// The format of exported journals that this code writes and reads.
pub const FORMAT: u32 = 1;

/// One pass over one primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassRecord {
    /// Rises by one with each pass of this process.
    pub number: u64,
    pub primary: ObjectRef,
    pub uid: String,
    pub generation: i64,
    /// RFC 3339, UTC, with milliseconds.
    pub started: String,
    pub micros: u64,
    /// `settled`, `again`, or the reason word of an error.
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub steps: Vec<StepRecord>,
}

/// One step of a pass; a shadow's is beside that of the version that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    pub step: String,
    pub plugin: PluginRef,
    pub role: Role,
    pub rounds: Vec<RoundRecord>,
    /// Why it ended without effect, if it did: reason word and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
}

/// A reason word and a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    pub reason: String,
    pub message: String,
}

/// One question to a plugin, and what became of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundRecord {
    pub observation: Arc<Observation>,
    /// The answer is an earlier one: the same version was asked the same before.
    #[serde(default)]
    pub remembered: bool,
    pub answer: Answer,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ReviewRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    #[serde(default)]
    pub usage: Used,
}

/// What the plugin said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Planned(Arc<Plan>),
    Failed(Failure),
    /// The sandbox ended the call.
    Broken(Reason),
}

/// One policy's look at a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewRecord {
    pub plugin: PluginRef,
    pub role: Role,
    pub verdict: Result<Verdict, Reason>,
    /// What an amendment changed, field by field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
}

/// One field that differs between two plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// `Service default/rec`, `status`, `call bdb-create`.
    pub object: String,
    /// Dotted: `spec.replicas`. Empty: the whole object came or went.
    pub field: String,
    /// JSON; absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

/// One thing that was carried out, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// `apply`, `amend`, `delete`, `call`, `status`, `defaults`, `reset`, `follow`, `begin`, `event`.
    pub verb: String,
    /// The object, or method and path of a call.
    pub on: String,
    /// The first field that made it necessary, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// HTTP status of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
}

/// What the calls of a round used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    pub micros: u64,
    pub memory_bytes: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What a record takes in memory besides its texts: fields, pointers, allocations. An estimate.
const OVERHEAD: usize = 256;

impl PassRecord {
    /// What the record takes in memory, its shared parts included, in bytes. An estimate from above.
    pub fn size(&self) -> usize {
        let mut seen = std::collections::BTreeMap::new();
        seen.extend(self.shared());
        self.own_size() + seen.values().sum::<usize>()
    }

    /// The same without observations and plans, which other records may hold too.
    pub fn own_size(&self) -> usize {
        let reason = |reason: &Option<Reason>| reason.as_ref().map_or(0, Reason::size);
        let steps: usize = self
            .steps
            .iter()
            .map(|step| OVERHEAD + reason(&step.error) + step.rounds.iter().map(RoundRecord::own_size).sum::<usize>())
            .sum();
        OVERHEAD + self.message.as_ref().map_or(0, String::len) + steps
    }

    /// Address and size of each observation and plan in it. One that is in it twice is named twice.
    pub fn shared(&self) -> Vec<(usize, usize)> {
        let rounds = self.steps.iter().flat_map(|step| &step.rounds);
        rounds
            .flat_map(|round| {
                let observation = &round.observation;
                let plan = match &round.answer {
                    Answer::Planned(plan) => Some((Arc::as_ptr(plan).addr(), plan_size(plan))),
                    Answer::Failed(_) | Answer::Broken(_) => None,
                };
                [Some((Arc::as_ptr(observation).addr(), observation_size(observation))), plan].into_iter().flatten()
            })
            .collect()
    }

    /// Holds observations and plans of an earlier record instead of equal ones of its own.
    ///
    /// An answer that was remembered was given to an earlier observation, which differs in the time at most; so that one
    /// is what belongs to it.
    pub fn share_with(&mut self, before: &Self) {
        for step in &mut self.steps {
            let same = |it: &&StepRecord| {
                it.step == step.step && it.role == step.role && it.plugin.digest == step.plugin.digest
            };
            let Some(earlier) = before.steps.iter().find(same) else { continue };
            for (round, earlier) in step.rounds.iter_mut().zip(&earlier.rounds) {
                if round.remembered && same_but_for_time(&round.observation, &earlier.observation) {
                    round.observation = earlier.observation.clone();
                }
                if let (Answer::Planned(plan), Answer::Planned(earlier)) = (&mut round.answer, &earlier.answer)
                    && plan == earlier
                {
                    *plan = earlier.clone();
                }
            }
        }
    }
}

impl PassRecord {
    /// Whether this pass, and the one before, were nothing but the same answers remembered and nothing left to do. To be asked
    /// after `share_with`.
    pub fn repeats(&self, before: &Self) -> bool {
        let quiet = |round: &RoundRecord| round.remembered && round.effects.is_empty();
        let same_answer = |left: &Answer, right: &Answer| match (left, right) {
            (Answer::Planned(left), Answer::Planned(right)) => Arc::ptr_eq(left, right),
            (left, right) => left == right,
        };
        let same_round = |left: &RoundRecord, right: &RoundRecord| {
            quiet(left)
                && quiet(right)
                && Arc::ptr_eq(&left.observation, &right.observation)
                && same_answer(&left.answer, &right.answer)
                && left.policies == right.policies
        };
        let same_step = |left: &StepRecord, right: &StepRecord| {
            (&left.step, &left.plugin, left.role, &left.error) == (&right.step, &right.plugin, right.role, &right.error)
                && left.rounds.len() == right.rounds.len()
                && left.rounds.iter().zip(&right.rounds).all(|(left, right)| same_round(left, right))
        };
        !self.steps.is_empty()
            && (self.generation, &self.outcome, &self.message) == (before.generation, &before.outcome, &before.message)
            && self.steps.len() == before.steps.len()
            && self.steps.iter().zip(&before.steps).all(|(left, right)| same_step(left, right))
    }
}

fn same_but_for_time(left: &Observation, right: &Observation) -> bool {
    // Taken apart, so that a new field does not compile until it is compared.
    let Observation { step, primary, deleting, objects, facts, replies, notes, settings, round, now: _ } = left;
    *primary == right.primary
        && *objects == right.objects
        && *facts == right.facts
        && *replies == right.replies
        && (step, deleting, notes, settings, round)
            == (&right.step, &right.deleting, &right.notes, &right.settings, &right.round)
}

fn observation_size(observation: &Observation) -> usize {
    let entries = observation.objects.iter().map(|set| 1 + set.objects.len()).sum::<usize>()
        + observation.facts.len()
        + observation.replies.len()
        + observation.notes.len();
    let notes: usize = observation.notes.iter().map(|(_, note)| note.len()).sum();
    OVERHEAD * (1 + entries) + observation.size() + observation.settings.len() + notes
}

fn plan_size(plan: &Plan) -> usize {
    let entries = plan.desired.len() + plan.amended.len() + plan.calls.len() + plan.events.len();
    OVERHEAD * (1 + entries) + plan.size()
}

impl RoundRecord {
    fn own_size(&self) -> usize {
        let answer = match &self.answer {
            Answer::Planned(_) => 0,
            Answer::Failed(Failure::Transient(message)) => message.len(),
            Answer::Failed(Failure::Invalid(violations)) => {
                violations.iter().map(|it| it.field.len() + it.message.len()).sum()
            }
            Answer::Broken(reason) => reason.size(),
        };
        let effect = |it: &Effect| {
            OVERHEAD
                + it.on.len()
                + it.field.as_ref().map_or(0, String::len)
                + it.error.as_ref().map_or(0, Reason::size)
        };
        OVERHEAD
            + answer
            + self.policies.iter().map(ReviewRecord::size).sum::<usize>()
            + self.effects.iter().map(effect).sum::<usize>()
    }
}

impl ReviewRecord {
    fn size(&self) -> usize {
        let verdict = match &self.verdict {
            Ok(Verdict::Pass) => 0,
            Ok(Verdict::Amend(text) | Verdict::Deny(text)) => text.len(),
            Ok(Verdict::Hold { until, reason }) => until.len() + reason.len(),
            Err(reason) => reason.size(),
        };
        let value = |it: &Option<serde_json::Value>| it.as_ref().map_or(0, |it| it.to_string().len());
        let change =
            |it: &FieldChange| OVERHEAD + it.object.len() + it.field.len() + value(&it.before) + value(&it.after);
        OVERHEAD + verdict + self.changes.iter().map(change).sum::<usize>()
    }
}

impl Reason {
    fn size(&self) -> usize {
        self.reason.len() + self.message.len()
    }
}
