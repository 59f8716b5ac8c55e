//! Steps of a pipeline that are run by processes of their own: who runs what, and what the processes tell each other in
//! conditions of the primary. Who may lead, and whether somebody does, is not decided here.
//!
//! Two parties: the main process, which leaves the delegated steps out and speaks for the primary as a whole, and a lone
//! process, which runs these steps and nothing else. The main one says when a step is due (`<Step>Delegated`), so that a spec
//! that an earlier step refuses never reaches it; the lone one says how it went (`<Step>Ready`), and the main one folds that
//! into `Ready`.

use std::collections::BTreeSet;

use crate::conditions::{Condition, reason_word, types, upsert};
use crate::manifest::Manifest;
use crate::pipeline::Pipeline;

/// Which steps of the pipelines a process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    #[default]
    Whole,
    /// All but these, which other processes run.
    Without(BTreeSet<String>),
    /// These, and nothing else.
    Only(BTreeSet<String>),
}

/// A step that no pipeline has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no pipeline has a step `{step}`; there are {known}")]
pub struct UnknownStep {
    step: String,
    known: String,
}

/// Whose a plugin is, of the processes that share the pipelines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whose {
    /// It is to be taken up here, and told of here.
    #[default]
    Ours,
    /// It is to be taken up here, and somebody else tells of it: it has to do with steps of the main process as well.
    Shared,
    /// It has to do with no step of this process.
    Theirs,
}

impl Part {
    /// Whether this process runs the step, as long as the primary is not on its way out.
    pub fn runs(&self, step: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Without(steps) => !steps.contains(step),
            Self::Only(steps) => steps.contains(step),
        }
    }

    /// The steps that other processes run.
    pub fn delegated(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Without(steps) => Some(steps),
            Self::Whole | Self::Only(_) => None,
        }
    }

    /// The steps of a lone process.
    pub fn alone(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Only(steps) => Some(steps),
            Self::Whole | Self::Without(_) => None,
        }
    }

    /// Every step that is named must be one of `known`.
    pub fn check(&self, known: &[String]) -> Result<(), UnknownStep> {
        let (Self::Without(named) | Self::Only(named)) = self else { return Ok(()) };
        match named.iter().find(|step| !known.contains(step)) {
            Some(step) => Err(UnknownStep { step: step.clone(), known: known.join(", ") }),
            None => Ok(()),
        }
    }

    /// The pipelines as this process goes through them. A lone one has no finalizer and no words for the whole status: these
    /// are the main process' to say.
    pub fn pipelines(&self, all: Vec<Pipeline>) -> Vec<Pipeline> {
        let Self::Only(steps) = self else { return all };
        let only = |pipeline: Pipeline| Pipeline {
            steps: pipeline.steps.into_iter().filter(|step| steps.contains(step)).collect(),
            admission: Vec::new(),
            finalizer: None,
            invalid_status: None,
            ..pipeline
        };
        all.into_iter().map(only).filter(|pipeline| !pipeline.steps.is_empty()).collect()
    }

    /// Whose a plugin with this manifest is. `all` are the steps of all pipelines, whichever process runs them.
    pub fn whose(&self, manifest: &Manifest, all: &[String]) -> Whose {
        let concerns = |step: &&String| {
            manifest.steps.iter().any(|it| it.name == **step)
                || manifest.policy.as_ref().is_some_and(|policy| policy.reviews(step))
        };
        let (ours, theirs): (Vec<&String>, Vec<&String>) = all.iter().filter(concerns).partition(|it| self.runs(it));
        match (self, ours.is_empty(), theirs.is_empty()) {
            (Self::Only(_), false, false) => Whose::Shared,
            // One that has to do with nothing at all is the main process' to refuse.
            (_, false, _) | (Self::Whole | Self::Without(_), true, true) => Whose::Ours,
            (_, true, _) => Whose::Theirs,
        }
    }
}

/// The Lease of the process that runs these steps alone, where that of the main process is `main`.
pub fn lease_name<'a>(main: &str, steps: impl IntoIterator<Item = &'a String>) -> String {
    let steps: Vec<&str> = steps.into_iter().map(String::as_str).collect();
    format!("{main}-{}", steps.join("."))
}

/// The steps that the holder of a Lease runs alone; none if it is no such Lease.
pub fn steps_of_lease<'a>(main: &str, lease: &'a str) -> impl Iterator<Item = &'a str> {
    let steps = lease.strip_prefix(main).and_then(|rest| rest.strip_prefix('-'));
    steps.into_iter().flat_map(|steps| steps.split('.')).filter(|step| !step.is_empty())
}

/// `services-rigger` gives `ServicesRigger`.
fn word(step: &str) -> String {
    reason_word(step, usize::MAX)
}

/// The condition by which the main process says that a step is due: `True` for the generation that the steps before it took.
pub fn delegated_type(step: &str) -> String {
    format!("{}Delegated", word(step))
}

/// What a condition of the host is called where a lone process says it of its step.
fn own_type(step: &str, type_: &str) -> String {
    format!("{}{type_}", word(step))
}

/// The condition by which a lone process says whether its step reached what it wants.
pub fn ready_type(step: &str) -> String {
    own_type(step, types::READY)
}

fn find<'a>(all: &'a [Condition], type_: &str, generation: i64) -> Option<&'a Condition> {
    all.iter().find(|it| it.type_ == type_ && it.observed_generation == generation)
}

/// Whether a lone process is to run the step now.
pub fn is_due(all: &[Condition], step: &str, generation: i64) -> bool {
    find(all, &delegated_type(step), generation).is_some_and(|it| it.status == "True")
}

/// What a lone process says of its step, from what it would say of a primary of its own. What is as expected is left out, but
/// for `<Step>Ready`.
pub fn told_of(all: &[Condition], step: &str) -> Vec<Condition> {
    let said = |it: &&Condition| match it.type_.as_str() {
        types::READY => true,
        types::DEGRADED => it.status == "True",
        types::FIELDS_SUPPORTED => it.status == "False",
        _ => false,
    };
    all.iter().filter(said).map(|it| Condition { type_: own_type(step, &it.type_), ..it.clone() }).collect()
}

/// The way back: what was said of the step, under the host's own names.
pub fn heard_of(all: &[Condition], step: &str) -> Vec<Condition> {
    let own = [types::READY, types::DEGRADED, types::FIELDS_SUPPORTED];
    let heard = |type_: &&str| {
        let told = own_type(step, type_);
        all.iter().find(|it| it.type_ == told).map(|it| Condition { type_: (*type_).to_owned(), ..it.clone() })
    };
    own.iter().filter_map(heard).collect()
}

/// What the main process needs to know to speak for a delegated step.
pub struct Heard<'a> {
    pub step: &'a str,
    /// Every condition of the primary as it stands.
    pub told: &'a [Condition],
    pub generation: i64,
    /// Some process holds the Lease for the step. What was said by one that is gone may not be so any more.
    pub is_run: bool,
}

/// Folds what is known of a delegated step into what the main process says of the primary. A trouble of its own goes first.
pub fn fold(all: &mut Vec<Condition>, heard: &Heard<'_>, now: &str) {
    let Heard { step, told, generation, is_run } = *heard;
    let status = |all: &[Condition], type_: &str| all.iter().find(|it| it.type_ == type_).map(|it| it.status == "True");
    let set = |all: &mut Vec<Condition>, type_: &str, status: bool, reason: &str, message: &str| {
        upsert(all, Condition::new(type_, status, reason, message, generation, now));
    };
    let said = |type_: &str| find(told, &own_type(step, type_), generation);
    if let Some(it) = said(types::FIELDS_SUPPORTED).filter(|it| it.status == "False") {
        let own = all.iter().find(|it| it.type_ == types::FIELDS_SUPPORTED && it.status == "False");
        let message = own.map_or_else(|| it.message.clone(), |own| format!("{}; {}", own.message, it.message));
        set(all, types::FIELDS_SUPPORTED, false, &it.reason, &message);
    }
    let degraded = said(types::DEGRADED).filter(|it| it.status == "True" && is_run);
    if let Some(it) = degraded
        && status(all, types::DEGRADED) != Some(true)
    {
        set(all, types::DEGRADED, true, &it.reason, &format!("step {step}: {}", it.message));
    }
    if status(all, types::READY) != Some(true) {
        return;
    }
    let (reason, message) = match said(types::READY) {
        _ if !is_run => {
            let message = format!("no process runs the step {step}, which is delegated to one of its own");
            ("StepNotRun".to_owned(), message)
        }
        None => ("StepPending".to_owned(), format!("the process that runs the step {step} has not come to it yet")),
        Some(it) if it.status == "True" => return,
        Some(it) => (it.reason.clone(), format!("step {step}: {}", it.message)),
    };
    set(all, types::READY, false, &reason, &message);
    if degraded.is_none() {
        set(all, types::PROGRESSING, true, &reason, &message);
    }
}

#[cfg(test)]
#[path = "delegation_tests.rs"]
mod tests;
