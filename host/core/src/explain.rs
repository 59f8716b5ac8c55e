//! Recorded passes as text for people: what was seen, planned, amended and done, and why not. Records in, text out.

mod decided;
mod managers;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::journal::{Answer, Effect, FieldChange, PassRecord, ReviewRecord, RoundRecord, StepRecord};
use crate::object::Object;
use crate::observation::Observation;
use crate::plan::{Failure, Plan, Progress, Wait};
use crate::plan_diff::differences;
use crate::policy::Verdict;
use crate::slot::Role;

pub use decided::{Decision, decided};
pub use managers::{Manager, managers};
pub use words::plugin;
use words::{bytes, count, time, value};

/// Names of one kind, and effects of one round, that are listed before the rest is counted.
const LISTED: usize = 12;

/// One pass, its steps below it.
pub fn pass(record: &PassRecord) -> String {
    let mut text = format!(
        "pass {}  {}  generation {}  took {}  {}\n",
        record.number,
        record.started,
        record.generation,
        time(record.micros),
        record.outcome
    );
    if let Some(message) = &record.message {
        indented(&mut text, 2, message);
    }
    for it in &record.steps {
        match record.steps.iter().find(|other| other.step == it.step && other.role != Role::Shadow) {
            Some(active) if it.role == Role::Shadow => shadow(&mut text, it, active),
            _ => step(&mut text, it),
        }
    }
    text
}

/// A shadow was shown the same; what counts is where its last plan differs.
fn shadow(text: &mut String, shadow: &StepRecord, active: &StepRecord) {
    let last = |step: &StepRecord| match &step.rounds.last()?.answer {
        Answer::Planned(plan) => Some(plan.clone()),
        Answer::Failed(_) | Answer::Broken(_) => None,
    };
    let (Some(wanted), Some(planned)) = (last(shadow), last(active)) else {
        return step(text, shadow);
    };
    let _ = writeln!(text, "  {}  {}  {}", shadow.step, plugin(&shadow.plugin), role(shadow.role));
    let changes = differences(&planned, &wanted);
    if changes.is_empty() {
        row(text, "agrees", &["its plan is the same".to_owned()]);
        return;
    }
    let mut lines = vec![count(changes.len(), "field")];
    lines.extend(changes.iter().take(LISTED).map(change));
    if changes.len() > LISTED {
        lines.push(format!("and {} more", changes.len() - LISTED));
    }
    row(text, "differs", &lines);
}

/// Every line of `words` at this depth.
fn indented(text: &mut String, depth: usize, words: &str) {
    for line in words.lines() {
        let _ = writeln!(text, "{:depth$}{line}", "");
    }
}

/// `label` in a column of its own, and what belongs to it beside it, line by line.
fn row(text: &mut String, label: &str, lines: &[String]) {
    for (number, line) in lines.iter().flat_map(|it| it.lines()).enumerate() {
        let label = if number == 0 { label } else { "" };
        let _ = writeln!(text, "    {label:<9} {line}");
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Canary => "canary",
        Role::Shadow => "shadow: compared, without effect",
        Role::Fallback => "fallback: in the place of one that failed",
        Role::Held => "held: the last good plan was kept up",
    }
}

fn step(text: &mut String, step: &StepRecord) {
    let _ = writeln!(text, "  {}  {}  {}", step.step, plugin(&step.plugin), role(step.role));
    for (number, it) in step.rounds.iter().enumerate() {
        round(text, step, number, it);
    }
    if let Some(error) = &step.error {
        row(text, "ended", &[format!("without effect: {}: {}", error.reason, error.message)]);
    }
}

fn round(text: &mut String, step: &StepRecord, number: usize, round: &RoundRecord) {
    let which = if step.rounds.len() > 1 { format!("round {}: ", number + 1) } else { String::new() };
    let used = &round.usage;
    let asked = if step.role == Role::Held {
        "nobody".to_owned()
    } else if round.remembered {
        "not again: the same was asked and answered before".to_owned()
    } else {
        let (memory, into, out) = (bytes(used.memory_bytes), bytes(used.bytes_in), bytes(used.bytes_out));
        format!("{}, {memory} of memory, {into} in, {out} out", time(used.micros))
    };
    row(text, "asked", &[format!("{which}{asked}")]);
    row(text, "saw", &seen(&round.observation));
    match &round.answer {
        Answer::Planned(plan) => row(text, "planned", &planned(plan)),
        Answer::Failed(Failure::Transient(message)) => row(text, "failed", &[format!("for now: {message}")]),
        Answer::Failed(Failure::Invalid(violations)) => {
            let lines: Vec<String> = violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
            row(text, "invalid", &lines);
        }
        Answer::Broken(reason) => row(text, "broken", &[format!("{}: {}", reason.reason, reason.message)]),
    }
    for it in &round.policies {
        row(text, "policy", &review(it));
    }
    if step.role == Role::Shadow {
        return;
    }
    let (done, not): (Vec<&Effect>, Vec<&Effect>) = round.effects.iter().partition(|it| it.error.is_none());
    if !done.is_empty() {
        row(text, "done", &effects(&done));
    } else if not.is_empty() && step.error.is_none() && matches!(round.answer, Answer::Planned(_)) {
        row(text, "done", &["nothing: all of it is so already".to_owned()]);
    }
    row(text, "not done", &effects(&not));
}

fn seen(observation: &Observation) -> Vec<String> {
    let mut lines = Vec::new();
    if observation.deleting {
        lines.push(format!("{} being deleted", observation.primary.id));
    }
    let sets: Vec<String> =
        observation.objects.iter().map(|set| format!("{} {}", set.objects.len(), set.name)).collect();
    let unknown = observation.facts.iter().filter_map(|fact| Some((&fact.name, fact.value.as_ref().err()?)));
    let known: Vec<&str> =
        observation.facts.iter().filter(|fact| fact.value.is_ok()).map(|fact| fact.name.as_str()).collect();
    if !sets.is_empty() {
        lines.push(format!("objects: {}", sets.join(", ")));
    }
    if !known.is_empty() {
        lines.push(format!("facts: {}", known.join(", ")));
    }
    lines.extend(unknown.map(|(name, why)| format!("unknown: {name}: {why}")));
    let replies: Vec<String> =
        observation.replies.iter().map(|it| format!("{} {}", it.id, status(it.status))).collect();
    if !replies.is_empty() {
        lines.push(format!("replies: {}", replies.join(", ")));
    }
    let notes: Vec<&str> = observation.notes.iter().map(|(step, _)| step.as_str()).collect();
    if !notes.is_empty() {
        lines.push(format!("notes of: {}", notes.join(", ")));
    }
    if lines.is_empty() {
        lines.push(format!("{} alone", observation.primary.id));
    }
    lines
}

fn status(status: u16) -> String {
    if status == 0 { "no answer".to_owned() } else { status.to_string() }
}

/// `Service: a, b`, a line for each kind.
fn by_kind(prefix: &str, objects: &[Object]) -> Vec<String> {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for object in objects {
        kinds.entry(&object.id.kind).or_default().push(&object.id.name);
    }
    let line = |(kind, mut names): (&str, Vec<&str>)| {
        names.sort_unstable();
        format!("{prefix}{kind}: {}", listed(&names))
    };
    kinds.into_iter().map(line).collect()
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED).copied().collect();
    let more = names.len().saturating_sub(LISTED);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn planned(plan: &Plan) -> Vec<String> {
    let mut lines = by_kind("", &plan.desired);
    lines.extend(by_kind("fields of ", &plan.amended));
    for call in &plan.calls {
        let target = call.target.as_ref().map(|it| format!(" on {it}")).unwrap_or_default();
        lines.push(format!("call {} {}{target} ({})", call.method, call.path, call.id));
    }
    for (name, document) in [("status", &plan.status), ("defaults", &plan.defaults)] {
        let document = document.as_deref().and_then(|it| serde_json::from_str(it).ok());
        if let Some(serde_json::Value::Object(fields)) = document {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            lines.push(format!("{name}: {}", listed(&names)));
        }
    }
    lines.extend(plan.events.iter().map(|it| format!("event {}: {}", it.reason, it.message)));
    let wait = |how: &str, wait: &Wait| {
        let again =
            wait.again_in.map(|it| format!(", again in {}", time(u64::try_from(it.as_micros()).unwrap_or(u64::MAX))));
        format!("{how}: {}{}", wait.reason, again.unwrap_or_default())
    };
    if lines.is_empty() {
        lines.push("nothing".to_owned());
    }
    lines.push(match &plan.progress {
        Progress::Done => "and is done".to_owned(),
        Progress::Waiting(it) => wait("and waits", it),
        Progress::Blocked(it) => wait("and later steps must wait", it),
    });
    lines
}

fn review(review: &ReviewRecord) -> Vec<String> {
    let verdict = match &review.verdict {
        Ok(Verdict::Pass) => "passed".to_owned(),
        Ok(Verdict::Amend(_)) => format!("amended {}", count(review.changes.len(), "field")),
        Ok(Verdict::Deny(why)) => format!("denied: {why}"),
        Ok(Verdict::Hold { until, reason }) => format!("held until {until}: {reason}"),
        Err(reason) => format!("gave no verdict: {}: {}", reason.reason, reason.message),
    };
    let shadow = if review.role == Role::Shadow { " (shadow: without effect)" } else { "" };
    let mut lines = vec![format!("{}{shadow} {verdict}", plugin(&review.plugin))];
    lines.extend(review.changes.iter().map(|it| format!("  {}", change(it))));
    lines
}

/// `Service rec spec.type: "LoadBalancer" → "ClusterIP"`.
pub fn change(change: &FieldChange) -> String {
    let of =
        if change.field.is_empty() { change.object.clone() } else { format!("{} {}", change.object, change.field) };
    match (&change.before, &change.after) {
        (None, Some(after)) => format!("{of}: added {}", value(after)),
        (Some(before), None) => format!("{of}: removed, was {}", value(before)),
        (Some(before), Some(after)) => format!("{of}: {} → {}", value(before), value(after)),
        (None, None) => of,
    }
}

fn effects(effects: &[&Effect]) -> Vec<String> {
    let line = |it: &&Effect| {
        let field = it.field.as_ref().map(|field| format!(" ({field})")).unwrap_or_default();
        let status = it.status.map(|it| format!(": {}", status(it))).unwrap_or_default();
        let error = it.error.as_ref().map(|it| format!(": {}: {}", it.reason, it.message)).unwrap_or_default();
        format!("{} {}{field}{status}{error}", it.verb, it.on)
    };
    let mut lines: Vec<String> = effects.iter().take(LISTED).map(line).collect();
    if effects.len() > LISTED {
        lines.push(format!("and {} more", effects.len() - LISTED));
    }
    lines
}

#[cfg(test)]
#[path = "explain/tests.rs"]
mod tests;
