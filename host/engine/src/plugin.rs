//! A plugin that was loaded: the port's implementation, and its likes for policies and admission.

use std::sync::Arc;

use stepwright_core::admission::{Answer, Question};
use stepwright_core::guest::{Called, Digest, Guest, GuestError, Usage};
use stepwright_core::manifest::{Limits, Manifest};
use stepwright_core::observation::Observation;
use stepwright_core::plan::{Failure, Plan, Violation};
use stepwright_core::policy::Verdict;
use tracing::field::Empty;

use crate::backend::Backend;
use crate::calls::{Instance, Moment, Pre, once};
use crate::contract::World;
use crate::convert;
use crate::time;
use crate::worlds::admission::exports::stepwright::plugin::admission;
use crate::worlds::policy::exports::stepwright::plugin::policy;

/// Compiled, linked and described. Cheap to clone, and callable from many threads at once: each call has an instance of
/// its own.
#[derive(Clone)]
pub struct LoadedPlugin {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<Backend>,
    digest: Digest,
    manifest: Manifest,
    pre: Pre,
    /// It can ask for randomness, so calls need a seed. Hashing an observation is not free.
    draws: bool,
}

impl LoadedPlugin {
    pub(crate) fn new(backend: Arc<Backend>, digest: Digest, manifest: Manifest, pre: Pre, draws: bool) -> Self {
        Self { inner: Arc::new(Inner { backend, digest, manifest, pre, draws }) }
    }

    fn admitted(&self, question: &Question) -> Called<Answer> {
        let inner = &self.inner;
        let failed = |error| Called { answer: Err(error), usage: Usage::default() };
        if self.world() != World::Admission {
            return failed(self.elsewhere(World::Admission));
        }
        let Some(check) = inner.manifest.steps.iter().find(|step| step.name == question.check) else {
            let message = format!("it has no check `{}`", question.check);
            return failed(GuestError::Host { plugin: inner.manifest.name.clone(), message });
        };
        let bytes_in = question.size() as u64;
        let question = admission::Question {
            check: question.check.clone(),
            request: question.request.clone(),
            objects: convert::object_sets(&question.objects),
            facts: convert::facts(&question.facts),
            settings: question.settings.clone(),
        };
        let (answer, usage) = self.once(&check.limits, &Moment::NONE, |instance, store| match instance {
            Instance::Admission(plugin) => {
                Ok(Some(plugin.stepwright_plugin_admission().call_review(store, &question)?))
            }
            _ => Ok(None),
        });
        let answer = answer
            .and_then(|answer| answer.ok_or_else(|| self.elsewhere(World::Admission)))
            .map(|it| Answer { violations: convert::violations(it.violations), warnings: it.warnings });
        let length = |it: &Answer| {
            let violations: usize = it.violations.iter().map(|it| it.field.len() + it.message.len()).sum();
            (violations + it.warnings.iter().map(String::len).sum::<usize>()) as u64
        };
        let bytes_out = answer.as_ref().map_or(0, length);
        Called { answer, usage: Usage { bytes_in, bytes_out, ..usage } }
    }

    fn asked(&self, observed: &Observation) -> Called<Result<Plan, Failure>> {
        let inner = &self.inner;
        let failed = |error| Called { answer: Err(error), usage: Usage::default() };
        if self.world() != World::Step {
            return failed(self.elsewhere(World::Step));
        }
        let Some(step) = inner.manifest.steps.iter().find(|step| step.name == observed.step) else {
            let message = format!("it has no step `{}`", observed.step);
            return failed(GuestError::Host { plugin: inner.manifest.name.clone(), message });
        };
        let moment = match self.moment(observed, step.clock) {
            Ok(moment) => moment,
            Err(error) => return failed(error),
        };
        let bytes_in = observed.size() as u64;
        let observed = convert::observation(observed);
        let (answer, usage) = self.once(&step.limits, &moment, |instance, store| match instance {
            Instance::Step(plugin) => Ok(Some(plugin.stepwright_plugin_step().call_reconcile(store, &observed)?)),
            _ => Ok(None),
        });
        let answer = answer.and_then(|answer| answer.ok_or_else(|| self.elsewhere(World::Step))).map(convert::answer);
        let bytes_out = answer.as_ref().ok().and_then(|it| it.as_ref().ok()).map_or(0, |plan| plan.size() as u64);
        Called { answer, usage: Usage { bytes_in, bytes_out, ..usage } }
    }

    fn reviewed(&self, observed: &Observation, planned: &Plan) -> Called<Verdict> {
        let limits = self.inner.manifest.policy.as_ref().map(|policy| policy.limits).unwrap_or_default();
        let clock = self.inner.manifest.policy.as_ref().is_some_and(|policy| policy.clock);
        let moment = match self.moment(observed, clock) {
            Ok(moment) => moment,
            Err(error) => return Called { answer: Err(error), usage: Usage::default() },
        };
        let bytes_in = (observed.size() + planned.size()) as u64;
        let (observed, planned) = (convert::observation(observed), convert::plan(planned));
        let (verdict, usage) = self.once(&limits, &moment, |instance, store| match instance {
            Instance::Policy(plugin) => {
                Ok(Some(plugin.stepwright_plugin_policy().call_review(store, &observed, &planned)?))
            }
            _ => Ok(None),
        });
        let answer =
            verdict.and_then(|verdict| verdict.ok_or_else(|| self.elsewhere(World::Policy))).map(|it| match it {
                policy::Verdict::Pass => Verdict::Pass,
                policy::Verdict::Amend(patch) => Verdict::Amend(patch),
                policy::Verdict::Deny(why) => Verdict::Deny(why),
                policy::Verdict::Hold((until, reason)) => Verdict::Hold { until, reason },
            });
        let bytes_out = match &answer {
            Ok(Verdict::Amend(text) | Verdict::Deny(text)) => text.len() as u64,
            _ => 0,
        };
        Called { answer, usage: Usage { bytes_in, bytes_out, ..usage } }
    }

    fn once<R>(
        &self,
        limits: &Limits,
        moment: &Moment,
        call: impl FnOnce(&Instance, &mut wasmtime::Store<crate::state::HostState>) -> wasmtime::Result<R>,
    ) -> (Result<R, GuestError>, Usage) {
        once(&self.inner.backend, &self.inner.pre, &self.inner.manifest.name, limits, moment, call)
    }

    /// For calls that belong to no step: what it takes to start, it has asked for somewhere.
    fn roomiest(&self) -> Limits {
        let manifest = &self.inner.manifest;
        let steps = manifest.steps.iter().map(|step| &step.limits);
        steps.chain(manifest.policy.as_ref().map(|policy| &policy.limits)).fold(Limits::default(), |most, limits| {
            Limits {
                memory_mib: most.memory_mib.max(limits.memory_mib),
                milliseconds: most.milliseconds.max(limits.milliseconds),
                ..most
            }
        })
    }

    fn moment(&self, observed: &Observation, with_clock: bool) -> Result<Moment, GuestError> {
        let now = time::since_epoch(&observed.now).ok_or_else(|| GuestError::Host {
            plugin: self.inner.manifest.name.clone(),
            message: format!("the time of the observation, `{}`, is not RFC 3339 in UTC", observed.now),
        })?;
        let seed = if self.inner.draws { observed.digest(with_clock) } else { [0; 32] };
        Ok(Moment { now, seed })
    }

    fn elsewhere(&self, asked: World) -> GuestError {
        GuestError::Incompatible {
            plugin: self.inner.manifest.name.clone(),
            message: format!("it was asked as a {asked}, and is a {}", self.world()),
        }
    }
}

fn record(outcome: &'static str) {
    tracing::Span::current().record("outcome", outcome);
}

impl Guest for LoadedPlugin {
    fn digest(&self) -> &Digest {
        &self.inner.digest
    }

    fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    fn validate_settings(&self, settings: &str) -> Result<Vec<Violation>, GuestError> {
        self.once(&self.roomiest(), &Moment::NONE, |instance, store| instance.validate_settings(store, settings))
            .0
            .map(convert::violations)
    }

    fn world(&self) -> World {
        self.inner.pre.world()
    }

    #[tracing::instrument(
        name = "guest.reconcile",
        skip_all,
        fields(plugin = self.inner.manifest.name, digest = self.inner.digest.short(), step = observed.step, outcome = Empty)
    )]
    fn ask(&self, observed: &Observation) -> Called<Result<Plan, Failure>> {
        let called = self.asked(observed);
        record(match &called.answer {
            Ok(Ok(_)) => "planned",
            Ok(Err(Failure::Transient(_))) => "transient",
            Ok(Err(Failure::Invalid(_))) => "invalid",
            Err(error) => error.reason(),
        });
        called
    }

    #[tracing::instrument(
        name = "guest.review",
        skip_all,
        fields(plugin = self.inner.manifest.name, digest = self.inner.digest.short(), step = observed.step, outcome = Empty)
    )]
    fn review(&self, observed: &Observation, planned: &Plan) -> Called<Verdict> {
        let called = self.reviewed(observed, planned);
        record(called.answer.as_ref().map_or_else(GuestError::reason, Verdict::as_str));
        called
    }
    #[tracing::instrument(
        name = "guest.admit",
        skip_all,
        fields(plugin = self.inner.manifest.name, digest = self.inner.digest.short(), step = question.check, outcome = Empty)
    )]
    fn admit(&self, question: &Question) -> Called<Answer> {
        let called = self.admitted(question);
        record(match &called.answer {
            Ok(answer) if answer.violations.is_empty() => "admitted",
            Ok(_) => "refused",
            Err(error) => error.reason(),
        });
        called
    }
}
