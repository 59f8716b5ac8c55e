//! Calls plugins on threads that may block, a bounded number at a time; now and then twice, to see that they are pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stepwright_core::guest::{Called, Guest, Usage};
use stepwright_core::observation::Observation;
use stepwright_core::plan::{Failure, Plan};
use stepwright_core::plan_diff::differences;
use tokio::sync::Semaphore;
use tracing::{Instrument, field, info_span};

use crate::context::Context;
use crate::error::PassError;
use crate::slots::Active;

/// Which questions are asked twice.
pub(crate) struct Purity {
    every: u64,
    asked: AtomicU64,
}

impl Purity {
    /// One in so many; 0: none.
    pub(crate) fn new(every: u64) -> Self {
        Self { every, asked: AtomicU64::new(0) }
    }

    fn is_due(&self) -> bool {
        self.every > 0 && (self.asked.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every)
    }
}

/// One call of a guest, whatever it is asked.
pub(super) async fn call<T: Send + 'static>(
    turns: &Semaphore,
    step: &str,
    guest: &Arc<dyn Guest>,
    observed: &Arc<Observation>,
    question: impl FnOnce(&dyn Guest, &Observation) -> Called<T> + Send + 'static,
) -> Result<Called<T>, PassError> {
    let _permit = turns.acquire().await.map_err(|_| PassError::Internal {
        attempted: "wait for a turn to call a plugin",
        message: "the operator is stopping".to_owned(),
    })?;
    let span = info_span!("guest.call", step, plugin = %guest.manifest().name, plugin.digest = guest.digest().short(),
        bytes = observed.size(), outcome = field::Empty);
    let (guest, observed, inner) = (guest.clone(), observed.clone(), span.clone());
    let called = tokio::task::spawn_blocking(move || {
        let _entered = inner.enter();
        question(guest.as_ref(), &observed)
    })
    .instrument(span.clone())
    .await
    .map_err(|error| PassError::Internal { attempted: "call a plugin", message: error.to_string() })?;
    span.record("outcome", called.answer.as_ref().err().map_or("answered", |error| error.reason()));
    Ok(called)
}

/// A step's answer, and what it used.
pub(super) type Asked = (Result<Arc<Plan>, Failure>, Usage);

/// Asks the version of a step that answers.
pub(super) async fn ask(
    context: &Context,
    step: &str,
    active: &Active,
    observed: &Arc<Observation>,
) -> Result<Asked, PassError> {
    let (answer, usage) = once(context, &context.guest_calls, step, active, observed).await?;
    if context.purity.is_due() {
        let (again, _) = once(context, &context.guest_calls, step, active, observed).await?;
        if let Some(field) = first_difference(&answer, &again) {
            return Err(PassError::Impure { plugin: active.guest.manifest().name.clone(), field });
        }
    }
    Ok((answer, usage))
}

/// Asks one version of a step, once.
pub(super) async fn once(
    context: &Context,
    turns: &Semaphore,
    step: &str,
    active: &Active,
    observed: &Arc<Observation>,
) -> Result<Asked, PassError> {
    let Called { answer, usage } = call(turns, step, &active.guest, observed, |guest, seen| guest.ask(seen)).await?;
    let outcome = match &answer {
        Ok(Ok(_)) => "planned",
        Ok(Err(Failure::Transient(_))) => "transient",
        Ok(Err(Failure::Invalid(_))) => "invalid",
        Err(error) => error.reason(),
    };
    context.metrics.guest_call(step, outcome, usage.took);
    context.metrics.guest(step, &active.plugin(), active.role, outcome, &usage);
    Ok((answer?.map(Arc::new), usage))
}

/// Where two answers to one question differ.
fn first_difference(one: &Result<Arc<Plan>, Failure>, other: &Result<Arc<Plan>, Failure>) -> Option<String> {
    match (one, other) {
        (Ok(one), Ok(other)) if one == other => None,
        (Ok(one), Ok(other)) => {
            let first = differences(one, other).into_iter().next();
            // Another order or spelling of the same.
            first.map(|it| if it.field.is_empty() { it.object } else { format!("{}: {}", it.object, it.field) })
        }
        (Err(one), Err(other)) if one == other => None,
        _ => Some("the answer as a whole".to_owned()),
    }
}
