//! A plugin that was loaded: the port's implementation, and its likes for policies and admission.

use std::sync::Arc;

use stepwright_core::guest::{Digest, Guest, GuestError};
use stepwright_core::manifest::{Limits, Manifest};
use stepwright_core::observation::Observation;
use stepwright_core::plan::{Failure, Plan, Violation};
use tracing::field::Empty;

use crate::admission::{Answer, Question};
use crate::calls::{Instance, Moment, Pre, once};
use crate::contract::World;
use crate::convert;
use crate::engine::Shared;
use crate::policy::Verdict;
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
    shared: Arc<Shared>,
    digest: Digest,
    manifest: Manifest,
    pre: Pre,
    /// It can ask for randomness, so calls need a seed. Hashing an observation is not free.
    draws: bool,
}

impl LoadedPlugin {
    pub(crate) fn new(shared: Arc<Shared>, digest: Digest, manifest: Manifest, pre: Pre, draws: bool) -> Self {
        Self { inner: Arc::new(Inner { shared, digest, manifest, pre, draws }) }
    }

    /// What it is for. A call that belongs to another world fails as `Incompatible`.
    pub fn world(&self) -> World {
        self.inner.pre.world()
    }

    /// Shows a step's plan to a policy.
    #[tracing::instrument(
        name = "guest.review",
        skip_all,
        fields(plugin = self.inner.manifest.name, digest = self.inner.digest.short(), step = observed.step, outcome = Empty)
    )]
    pub fn review(&self, observed: &Observation, planned: &Plan) -> Result<Verdict, GuestError> {
        let moment = self.moment(observed, false)?;
        let (observed, planned) = (convert::observation(observed), convert::plan(planned));
        let verdict = self.once(&Limits::default(), &moment, |instance, store| match instance {
            Instance::Policy(plugin) => {
                Ok(Some(plugin.stepwright_plugin_policy().call_review(store, &observed, &planned)?))
            }
            _ => Ok(None),
        });
        let verdict = verdict.and_then(|verdict| verdict.ok_or_else(|| self.elsewhere(World::Policy)));
        record(match &verdict {
            Ok(policy::Verdict::Pass) => "pass",
            Ok(policy::Verdict::Amend(_)) => "amend",
            Ok(policy::Verdict::Deny(_)) => "deny",
            Ok(policy::Verdict::Hold(_)) => "hold",
            Err(error) => error.reason(),
        });
        Ok(match verdict? {
            policy::Verdict::Pass => Verdict::Pass,
            policy::Verdict::Amend(patch) => Verdict::Amend(patch),
            policy::Verdict::Deny(why) => Verdict::Deny(why),
            policy::Verdict::Hold((until, reason)) => Verdict::Hold { until, reason },
        })
    }

    /// Asks an admission plugin about a resource that is about to be stored.
    #[tracing::instrument(
        name = "guest.admit",
        skip_all,
        fields(plugin = self.inner.manifest.name, digest = self.inner.digest.short(), outcome = Empty)
    )]
    pub fn admit(&self, question: &Question) -> Result<Answer, GuestError> {
        let question = admission::Question {
            request: question.request.clone(),
            objects: convert::object_sets(&question.objects),
            settings: question.settings.clone(),
        };
        let answer = self.once(&Limits::default(), &Moment::NONE, |instance, store| match instance {
            Instance::Admission(plugin) => {
                Ok(Some(plugin.stepwright_plugin_admission().call_review(store, &question)?))
            }
            _ => Ok(None),
        });
        let answer = answer.and_then(|answer| answer.ok_or_else(|| self.elsewhere(World::Admission)));
        record(match &answer {
            Ok(answer) if answer.violations.is_empty() => "admitted",
            Ok(_) => "refused",
            Err(error) => error.reason(),
        });
        let answer = answer?;
        Ok(Answer { violations: convert::violations(answer.violations), warnings: answer.warnings })
    }

    fn ask(&self, observed: &Observation) -> Result<Result<Plan, Failure>, GuestError> {
        let inner = &self.inner;
        if self.world() != World::Step {
            return Err(self.elsewhere(World::Step));
        }
        let Some(step) = inner.manifest.steps.iter().find(|step| step.name == observed.step) else {
            let message = format!("it has no step `{}`", observed.step);
            return Err(GuestError::Host { plugin: inner.manifest.name.clone(), message });
        };
        let moment = self.moment(observed, step.clock)?;
        let observed = convert::observation(observed);
        let answer = self.once(&step.limits, &moment, |instance, store| match instance {
            Instance::Step(plugin) => Ok(Some(plugin.stepwright_plugin_step().call_reconcile(store, &observed)?)),
            _ => Ok(None),
        })?;
        answer.map(convert::answer).ok_or_else(|| self.elsewhere(World::Step))
    }

    fn once<R>(
        &self,
        limits: &Limits,
        moment: &Moment,
        call: impl FnOnce(&Instance, &mut wasmtime::Store<crate::state::HostState>) -> wasmtime::Result<R>,
    ) -> Result<R, GuestError> {
        once(&self.inner.shared, &self.inner.pre, &self.inner.manifest.name, limits, moment, call)
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
        self.once(&Limits::default(), &Moment::NONE, |instance, store| instance.validate_settings(store, settings))
            .map(convert::violations)
    }

    #[tracing::instrument(
        name = "guest.reconcile",
        skip_all,
        fields(plugin = self.inner.manifest.name, digest = self.inner.digest.short(), step = observed.step, outcome = Empty)
    )]
    fn reconcile(&self, observed: &Observation) -> Result<Result<Plan, Failure>, GuestError> {
        let answer = self.ask(observed);
        record(match &answer {
            Ok(Ok(_)) => "planned",
            Ok(Err(Failure::Transient(_))) => "transient",
            Ok(Err(Failure::Invalid(_))) => "invalid",
            Err(error) => error.reason(),
        });
        answer
    }
}
