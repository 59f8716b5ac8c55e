//! One request of the API server: which checks are asked, what each is shown, what becomes of their answers. Writes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::DynamicObject;
use kube::core::TypeMeta;
use serde_json::value::RawValue;
use stepwright_core::admission::{Answer, Question};
use stepwright_core::error::Blame;
use stepwright_core::guest::{Called, GuestError};
use stepwright_core::object::TypeRef;
use stepwright_core::observation::Fact;
use stepwright_core::pipeline::Pipeline;
use stepwright_core::slot::{OnFailure, Role};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::request::{Request, Verdict};
use super::shadow;
use crate::apply::Primary;
use crate::context::Context;
use crate::observe::{Reads, sets};
use crate::slots::{Active, Judgement};
use crate::system::SystemId;

/// How long what is known of a managed system may take to be read. What takes longer counts as not known.
const FACTS: Duration = Duration::from_secs(2);

pub(super) struct Reviewer {
    pub(super) context: Arc<Context>,
    /// With those of kinds that are not reconciled.
    pub(super) pipelines: Vec<Arc<Pipeline>>,
}

/// Why one check gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("{0}")]
    Guest(#[from] GuestError),
    #[error("what it looks at is not in the caches yet: {0}")]
    NotSynced(String),
    #[error("the operator is stopping")]
    Stopping,
}

impl Unanswered {
    fn is_the_plugins_fault(&self) -> bool {
        matches!(self, Self::Guest(error) if error.blame() == Blame::Plugin)
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Guest(error) => error.reason(),
            Self::NotSynced(_) => "NotSynced",
            Self::Stopping => "Stopping",
        }
    }
}

/// What the checks of one request look at.
pub(super) struct Subject {
    pub(super) request: Box<RawValue>,
    pub(super) primary: Primary,
    pub(super) system: Option<SystemId>,
}

impl Reviewer {
    /// Answers within the time; what cannot be judged in it is not admitted.
    pub(super) async fn review(&self, raw: &RawValue, request: &Request, within: Duration) -> Verdict {
        let started = Instant::now();
        let kind = request.kind();
        let judged = tokio::time::timeout(within, self.judge(raw, request, &kind)).await;
        let (verdict, in_plugins) = judged.unwrap_or_else(|_| {
            let failure = Some(format!("it could not be judged within {within:?}; try again"));
            (Verdict { failure, ..Verdict::default() }, Duration::ZERO)
        });
        self.context.metrics.review(&kind.kind, verdict.outcome(), started.elapsed(), in_plugins);
        if verdict.outcome() != "admitted" {
            let (namespace, name, outcome) = (&request.namespace, &request.name, verdict.outcome());
            info!(%kind, %namespace, %name, outcome, failure = verdict.failure, "not admitted");
        }
        verdict
    }

    async fn judge(&self, raw: &RawValue, request: &Request, kind: &TypeRef) -> (Verdict, Duration) {
        let mut verdict = Verdict::default();
        let mut in_plugins = Duration::ZERO;
        let same = |it: &&Arc<Pipeline>| it.type_ref().group() == kind.group() && it.kind == kind.kind;
        let Some(pipeline) = self.pipelines.iter().find(same).filter(|it| !it.admission.is_empty()) else {
            return (verdict, in_plugins);
        };
        let Some(object) = request.judged() else { return (verdict, in_plugins) };
        let home = self.context.home.as_str();
        let (namespace, caches) = (request.namespace.as_str(), &self.context.caches);
        if !caches.watches(namespace) || (!pipeline.in_guests && caches.guests().contains(namespace)) {
            let text = format!("not checked: the operator in namespace `{home}` does not look after `{namespace}`");
            verdict.warnings.push(text);
            return (verdict, in_plugins);
        }
        let mut object: DynamicObject = match serde_json::from_value(object.clone()) {
            Ok(object) => object,
            Err(error) => {
                verdict.failure = Some(format!("the resource cannot be read: {error}"));
                return (verdict, in_plugins);
            }
        };
        object.types = Some(TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
        object.metadata.namespace = Some(namespace.to_owned()).filter(|it| !it.is_empty());
        let system = self.context.system.locate(&object, caches.as_ref());
        let primary = Primary::new(kind.clone(), Arc::new(object));
        let subject = Arc::new(Subject { request: raw.to_owned(), primary, system });
        for check in &pipeline.admission {
            let labels = subject.primary.object.metadata.labels.clone().unwrap_or_default();
            let Some(choice) = self.context.slots.choose(check, subject.primary.uid(), &labels) else {
                verdict.warnings.push(format!("not checked: no plugin answers for `{check}`"));
                continue;
            };
            let (answer, took) = self.answer(check, &choice.active, &subject, &mut verdict).await;
            in_plugins += took;
            if let Some(shadow) = choice.shadow {
                shadow::ask(&self.context, check, shadow, subject.clone(), answer.clone());
            }
            match answer {
                Some(answer) => {
                    verdict.violations.extend(answer.violations);
                    verdict.warnings.extend(answer.warnings);
                }
                None if verdict.failure.is_some() => break,
                None => {}
            }
        }
        (verdict, in_plugins)
    }

    /// The answer of a check; what becomes of the request where there is none is written into the verdict.
    async fn answer(
        &self,
        check: &str,
        active: &Arc<Active>,
        subject: &Subject,
        verdict: &mut Verdict,
    ) -> (Option<Answer>, Duration) {
        let told = |it: &Active| format!("{}@{}", it.guest.manifest().name, it.guest.digest().short());
        let (error, mut took) =
            match once(&self.context, &self.context.admission_calls, check, active, active.role, subject).await {
                (Ok(answer), took) => {
                    verdict.asked.push((check.to_owned(), told(active)));
                    return (Some(answer), took);
                }
                (Err(error), took) => (error, took),
            };
        let message = format!("plugin {} gave no answer for check `{check}`: {error}", told(active));
        warn!(check, plugin = %told(active), reason = error.reason(), %error, "a check gave no answer");
        match active.on_failure {
            OnFailure::Skip => {
                verdict.warnings.push(format!("not checked: {message}"));
                return (None, took);
            }
            OnFailure::Fallback => {
                let embedded = self.context.slots.embedded(check);
                if let Some(embedded) = embedded.filter(|it| it.guest.digest() != active.guest.digest()) {
                    let calls = &self.context.admission_calls;
                    let (answer, more) = once(&self.context, calls, check, &embedded, Role::Fallback, subject).await;
                    took += more;
                    if let Ok(answer) = answer {
                        verdict
                            .warnings
                            .push(format!("{message}; the version that came with the operator was asked instead"));
                        verdict.asked.push((check.to_owned(), told(&embedded)));
                        return (Some(answer), took);
                    }
                }
            }
            OnFailure::Hold | OnFailure::Stop => {}
        }
        verdict.failure = Some(message);
        (None, took)
    }
}

/// Asks one version once, and takes note of how it fared.
pub(super) async fn once(
    context: &Context,
    turns: &Semaphore,
    check: &str,
    version: &Active,
    role: Role,
    subject: &Subject,
) -> (Result<Answer, Unanswered>, Duration) {
    let question = match question(context, check, version, subject).await {
        Ok(question) => question,
        Err(error) => return (Err(error), Duration::ZERO),
    };
    let Ok(turn) = turns.acquire().await else { return (Err(Unanswered::Stopping), Duration::ZERO) };
    let guest = version.guest.clone();
    let called = tokio::task::spawn_blocking(move || guest.admit(&question)).await;
    drop(turn);
    let Ok(Called { answer, usage }) = called else { return (Err(Unanswered::Stopping), Duration::ZERO) };
    let outcome = match &answer {
        Ok(answer) if answer.violations.is_empty() => "admitted",
        Ok(_) => "refused",
        Err(error) => error.reason(),
    };
    context.metrics.guest_call(check, outcome, usage.took);
    context.metrics.guest(check, &version.plugin(), role, outcome, &usage);
    let answer = answer.map_err(Unanswered::from);
    // A shadow is judged by whoever compares it.
    if role != Role::Shadow {
        let judgement = match &answer {
            Ok(_) => Some(Judgement::Good),
            Err(error) => judgement_of(error),
        };
        if let Some(judgement) = judgement {
            context.slots.judged(check, version.guest.digest(), subject.primary.uid(), &judgement);
        }
    }
    (answer, usage.took)
}

/// Only what is its own fault counts against a version.
pub(super) fn judgement_of(error: &Unanswered) -> Option<Judgement> {
    let bad = || Judgement::Bad { reason: error.reason().to_owned(), message: error.to_string() };
    error.is_the_plugins_fault().then(bad)
}

async fn question(context: &Context, check: &str, version: &Active, subject: &Subject) -> Result<Question, Unanswered> {
    let Subject { request, primary, system } = subject;
    let concerned = version.step.observes.iter().filter(|it| it.concerns(&primary.value));
    let kinds: Vec<TypeRef> = concerned.filter(|it| !it.optional).map(|it| it.type_ref()).collect();
    // Some are watched only from when a resource needs them.
    let late = context.caches.missing(&kinds);
    if !late.is_empty() {
        context.caches.ensure(late.clone());
        // How it went is seen below.
        let _ = tokio::time::timeout(FACTS, context.caches.synced(&late)).await;
    }
    context.check_filled(kinds, primary.namespace()).map_err(|error| Unanswered::NotSynced(error.to_string()))?;
    let objects = sets(context, primary, &version.step.observes, system.as_ref());
    let reads = Reads::from(&version.step);
    let names = reads.facts_for(&primary.value);
    let facts = match tokio::time::timeout(FACTS, context.facts(primary, &names, reads.parts, system.as_ref())).await {
        Ok(facts) => facts,
        Err(_) => {
            let unknown = || Err(format!("not answered within {FACTS:?}"));
            names.into_iter().map(|name| Fact { name, value: unknown() }).collect()
        }
    };
    let request = shown(context, request, primary);
    Ok(Question { check: check.to_owned(), request, objects, facts, settings: version.settings.clone() })
}

/// The request as a plugin is shown it: of a Secret no value.
fn shown(context: &Context, request: &RawValue, primary: &Primary) -> String {
    if primary.kind != TypeRef::new("v1", "Secret") {
        return request.get().to_owned();
    }
    let Ok(mut request) = serde_json::from_str::<serde_json::Value>(request.get()) else { return "{}".to_owned() };
    for object in ["object", "oldObject"] {
        if let Some(object) = request.get_mut(object).filter(|it| it.is_object()) {
            context.fingerprinter.fingerprint_secret_object(object);
            // kubectl leaves a copy of the values there.
            if let Some(metadata) = object.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
                metadata.remove("annotations");
            }
        }
    }
    request.to_string()
}
