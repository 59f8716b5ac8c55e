//! Tells people: conditions, Events, the vendor's words for an invalid spec. Writes only what changed.

use kube::Resource;
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};
use stepwright_core::compare::{owned_fields, project};
use stepwright_core::conditions::{Condition, reason_word, types, upsert};
use stepwright_core::delegation::{Heard, delegated_type, fold, heard_of, told_of};
use stepwright_core::object::ObjectRef;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::plan::{self, Severity};
use tracing::{debug, warn};

use crate::apply::{self, Done, MANAGER, Primary};
use crate::context::Context;
use crate::delegation;
use crate::error::PassError;
use crate::pass::Outcome;

/// A message in a condition or Event is cut here, as the API server would refuse more.
const MAX_MESSAGE: usize = 1_000;

/// The pass reached its end: conditions, and the status of an invalid spec.
pub(crate) async fn passed(
    context: &Context,
    pipeline: &Pipeline,
    mut primary: Primary,
    outcome: &Outcome,
    writes: &mut u32,
) -> Result<(), PassError> {
    let generation = primary.object.metadata.generation.unwrap_or_default();
    let now = context.now();
    let mut all = conditions(context, pipeline, &primary);
    let before = all.clone();
    let mut set = |type_: &str, status: bool, reason: &str, message: &str| {
        upsert(&mut all, Condition::new(type_, status, reason, &cut(message), generation, &now));
    };
    if let Some((step, violations)) = &outcome.invalid {
        let texts: Vec<String> = violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
        let message = texts.join("; ");
        set(types::READY, false, "InvalidConfiguration", &message);
        set(types::PROGRESSING, false, "InvalidConfiguration", "waiting for a change of the spec");
        let news = !before.iter().any(|it| it.reason == "InvalidConfiguration" && it.message == cut(&message));
        if news {
            warn!(step, message, "the spec is invalid; what runs is left as it is");
            publish(context, &primary, EventType::Warning, "InvalidConfiguration", &message).await;
        }
        if let Some(words) = &pipeline.invalid_status {
            primary = invalid_status(context, primary, step, words, writes).await?;
        }
    } else if let Some((step, stopped)) = &outcome.stopped {
        let message = format!("step {step}: {}", stopped.message);
        let held = stopped.until.is_some();
        set(types::READY, false, stopped.reason, &message);
        set(types::PROGRESSING, held, stopped.reason, if held { &message } else { "waiting for a change" });
        set(types::DEGRADED, false, "AsExpected", "");
        if !before.iter().any(|it| it.reason == stopped.reason && it.message == cut(&message)) {
            let severity = if held { EventType::Normal } else { EventType::Warning };
            publish(context, &primary, severity, stopped.reason, &message).await;
        }
    } else if let Some((step, wait)) = &outcome.waiting {
        let reason = wait.word.as_ref().map_or_else(|| "Waiting".to_owned(), |word| reason_word(word, usize::MAX));
        set(types::READY, false, &reason, &wait.reason);
        set(types::PROGRESSING, true, &reason, &format!("step {step}: {}", wait.reason));
        set(types::DEGRADED, false, "AsExpected", "");
    } else {
        set(types::READY, true, "Reconciled", "every step reached what it wants");
        set(types::PROGRESSING, false, "Reconciled", "");
        set(types::DEGRADED, false, "AsExpected", "");
    }
    let unsupported = unsupported(&outcome.notes);
    if unsupported.is_empty() {
        set(types::FIELDS_SUPPORTED, true, "AllFieldsSupported", "");
    } else {
        set(types::FIELDS_SUPPORTED, false, "UnsupportedFields", &unsupported.join("; "));
    }
    speak_for_others(context, pipeline, &primary, outcome, &mut all, &now).await;
    write_conditions(context, pipeline, primary, &all, writes).await
}

/// Says which delegated steps are due, and takes what is known of them into account.
async fn speak_for_others(
    context: &Context,
    pipeline: &Pipeline,
    primary: &Primary,
    outcome: &Outcome,
    all: &mut Vec<Condition>,
    now: &str,
) {
    let generation = primary.object.metadata.generation.unwrap_or_default();
    let told = delegation::told(primary);
    let was_ready = told.iter().any(|it| it.type_ == types::READY && it.status == "True");
    for step in context.delegation.of(pipeline) {
        let due = outcome.delegated.contains(step);
        let (reason, message) = if due {
            ("Reached", format!("a process of its own runs the step {step}"))
        } else {
            ("NotReached", format!("the step {step} is not run by a process of its own for as long as this is so"))
        };
        upsert(all, Condition::new(&delegated_type(step), due, reason, &message, generation, now));
        if due {
            let heard = Heard { step, told: &told, generation, is_run: context.runners.run(step) };
            fold(all, &heard, now);
        }
    }
    if was_ready && let Some(it) = all.iter().find(|it| it.type_ == types::READY && it.reason == "StepNotRun") {
        publish(context, primary, EventType::Warning, &it.reason, &it.message).await;
    }
}

/// The pass failed: condition and Event, each best effort, since the first error is what counts.
pub(crate) async fn failed(context: &Context, pipeline: &Pipeline, primary: Primary, error: &PassError) {
    let generation = primary.object.metadata.generation.unwrap_or_default();
    let message = cut(&error.chain());
    let mut all = conditions(context, pipeline, &primary);
    let news = !all.iter().any(|it| it.type_ == types::DEGRADED && it.status == "True" && it.message == message);
    let now = context.now();
    upsert(&mut all, Condition::new(types::DEGRADED, true, error.reason(), &message, generation, &now));
    upsert(&mut all, Condition::new(types::READY, false, error.reason(), &message, generation, &now));
    if news {
        publish(context, &primary, EventType::Warning, error.reason(), &message).await;
    }
    let mut writes = 0;
    if let Err(error) = write_conditions(context, pipeline, primary, &all, &mut writes).await {
        debug!(error = &error as &dyn std::error::Error, "the failure could not be written to the status");
    }
}

/// Children that were put back.
pub(crate) async fn drift(context: &Context, primary: &Primary, restored: &[(ObjectRef, String)]) {
    for (object, field) in restored {
        let message = if field == "missing" {
            format!("made {} {} again: it was deleted", object.kind, object.name)
        } else {
            format!("put {} {} back: {field} was changed", object.kind, object.name)
        };
        publish(context, primary, EventType::Warning, "DriftCorrected", &message).await;
    }
}

/// Events that a step planned.
pub(crate) async fn events(context: &Context, primary: &Primary, events: &[plan::Event]) {
    for plan::Event { severity, reason, message } in events {
        event(context, primary, *severity, reason, message).await;
    }
}

/// One Event about a primary.
pub(crate) async fn event(context: &Context, primary: &Primary, severity: Severity, reason: &str, message: &str) {
    let severity = match severity {
        Severity::Normal => EventType::Normal,
        Severity::Warning => EventType::Warning,
    };
    publish(context, primary, severity, reason, message).await;
}

async fn publish(context: &Context, primary: &Primary, severity: EventType, reason: &str, message: &str) {
    let event = Event {
        type_: severity,
        reason: reason.to_owned(),
        note: Some(cut(message)),
        // The recorder counts Events of one reason and action as one and keeps the first text; so texts that differ must
        // differ in the action.
        action: reason_word(message, usize::MAX),
        secondary: None,
    };
    let mut reference = primary.object.object_ref(&api_resource(context, primary));
    reference.api_version = Some(primary.id.api_version.clone());
    reference.kind = Some(primary.id.kind.clone());
    context.metrics.event(reason);
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        warn!(error = &error as &dyn std::error::Error, reason, "an Event could not be published");
    }
}

fn api_resource(context: &Context, primary: &Primary) -> kube::api::ApiResource {
    context.caches.served(&primary.kind).map_or_else(
        || {
            let gvk =
                kube::core::GroupVersionKind::gvk(primary.kind.group(), primary.kind.version(), &primary.kind.kind);
            kube::api::ApiResource::from_gvk(&gvk)
        },
        |served| served.resource,
    )
}

/// The vendor's words for an invalid spec go over what the step said last; the rest of its status stays.
async fn invalid_status(
    context: &Context,
    primary: Primary,
    step: &str,
    words: &Value,
    writes: &mut u32,
) -> Result<Primary, PassError> {
    let manager = apply::step_manager(step);
    let owned = owned_fields(&primary.value, &manager, "status");
    let kept = if owned.as_object().is_none_or(serde_json::Map::is_empty) {
        json!({})
    } else {
        project(&primary.value, &owned)
    };
    let mut status = kept.get("status").cloned().unwrap_or_else(|| json!({}));
    if let (Some(status), Some(words)) = (status.as_object_mut(), words.as_object()) {
        status.extend(words.clone());
    }
    let mut done = Done::default();
    let written = apply::status(context, primary, &manager, &status, &mut done).await;
    *writes += done.writes;
    written
}

/// Each process under names and field managers of its own, so that none is in another's way.
async fn write_conditions(
    context: &Context,
    pipeline: &Pipeline,
    mut primary: Primary,
    all: &[Condition],
    writes: &mut u32,
) -> Result<(), PassError> {
    if !context.has_conditions(&primary.kind).await {
        return Ok(());
    }
    let alone = context.delegation.part.alone().is_some();
    let mut statuses = Vec::new();
    if !alone {
        statuses.push((MANAGER.to_owned(), json!({"conditions": all})));
    }
    for step in &pipeline.steps {
        let manager = delegation::manager(step);
        if alone {
            statuses.push((manager, json!({"conditions": told_of(all, step)})));
        } else if context.delegation.part.runs(step) {
            // What a process said that ran it alone before, and does so no longer.
            statuses.push((manager, json!({})));
        }
    }
    for (manager, status) in statuses {
        let mut done = Done::default();
        let written = apply::status(context, primary, &manager, &status, &mut done).await;
        *writes += done.writes;
        primary = written?;
    }
    Ok(())
}

/// This process' conditions as they stand.
fn conditions(context: &Context, pipeline: &Pipeline, primary: &Primary) -> Vec<Condition> {
    let all = delegation::told(primary);
    if context.delegation.part.alone().is_some() {
        return pipeline.steps.first().map(|step| heard_of(&all, step)).unwrap_or_default();
    }
    let mut own =
        [types::READY, types::PROGRESSING, types::DEGRADED, types::FIELDS_SUPPORTED].map(str::to_owned).to_vec();
    own.extend(context.delegation.of(pipeline).map(|step| delegated_type(step)));
    all.into_iter().filter(|it| own.contains(&it.type_)).collect()
}

/// Fields that a step says it does not act on: `{"unsupported": [{"field": …, "reason": …}]}` in its notes.
fn unsupported(notes: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    for (_, note) in notes {
        let note: Value = serde_json::from_str(note).unwrap_or_default();
        for entry in note.get("unsupported").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            all.push(format!("{}: {}", text("field"), text("reason")));
        }
    }
    all
}

fn cut(message: &str) -> String {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default().to_owned()
}
