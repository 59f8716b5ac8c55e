//! The built-in steps without a sandbox: the same Rust that is in the components, behind the operator's own port.

use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::Context as _;
use stepwright_core::guest::{Called, Digest, Guest, GuestError, Usage};
use stepwright_core::manifest::Manifest;
use stepwright_core::object as core_object;
use stepwright_core::observation as core;
use stepwright_core::plan as core_plan;
use stepwright_core::world::World;
use stepwright_sdk as sdk;

/// A plugin that is called instead of run.
pub struct CompiledIn<P> {
    digest: Digest,
    manifest: Manifest,
    plugin: PhantomData<fn() -> P>,
}

impl<P: sdk::Plugin> CompiledIn<P> {
    /// Reads the manifest as the host reads that of a component.
    pub fn new() -> anyhow::Result<Self> {
        let text = serde_json::to_string(&P::manifest())?;
        let manifest = serde_json::from_str(&text).context("the manifest is none that the host reads")?;
        Ok(Self { digest: Digest::of(text.as_bytes()), manifest, plugin: PhantomData })
    }
}

impl<P: sdk::Plugin> Guest for CompiledIn<P> {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn validate_settings(&self, settings: &str) -> Result<Vec<core_plan::Violation>, GuestError> {
        Ok(P::validate_settings(settings).into_iter().map(violation).collect())
    }

    fn world(&self) -> World {
        World::Step
    }

    fn ask(&self, observed: &core::Observation) -> Called<Result<core_plan::Plan, core_plan::Failure>> {
        let answer = Ok(sdk::run::<P>(&observation(observed)).map(plan).map_err(failure));
        Called { answer, usage: Usage::default() }
    }
}

/// A plugin that is shown the primary's annotations as well. Each new annotation then makes an observation that no memory of
/// answers knows, so that the plugin is asked, and its plan is the same as before.
pub struct Inquisitive {
    inner: Arc<dyn Guest>,
    manifest: Manifest,
}

impl Inquisitive {
    pub fn new(inner: Arc<dyn Guest>) -> Self {
        let mut manifest = inner.manifest().clone();
        for step in &mut manifest.steps {
            step.primary.push("metadata.annotations".to_owned());
        }
        Self { inner, manifest }
    }
}

impl Guest for Inquisitive {
    fn digest(&self) -> &Digest {
        self.inner.digest()
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn validate_settings(&self, settings: &str) -> Result<Vec<core_plan::Violation>, GuestError> {
        self.inner.validate_settings(settings)
    }

    fn world(&self) -> World {
        self.inner.world()
    }

    fn ask(&self, observed: &core::Observation) -> Called<Result<core_plan::Plan, core_plan::Failure>> {
        self.inner.ask(observed)
    }
}

fn object(object: &core_object::Object) -> sdk::Object {
    let core_object::ObjectRef { api_version, kind, namespace, name } = object.id.clone();
    sdk::Object { id: sdk::ObjectRef { api_version, kind, namespace, name }, body: object.body.clone() }
}

fn object_back(object: sdk::Object) -> core_object::Object {
    let sdk::ObjectRef { api_version, kind, namespace, name } = object.id;
    core_object::Object { id: core_object::ObjectRef { api_version, kind, namespace, name }, body: object.body }
}

/// The host's observation as a plugin has it.
pub fn observation(observed: &core::Observation) -> sdk::Observation {
    let set = |set: &core::ObjectSet| sdk::ObjectSet {
        name: set.name.clone(),
        objects: set.objects.iter().map(object).collect(),
    };
    let fact = |fact: &core::Fact| sdk::RawFact { name: fact.name.clone(), value: fact.value.clone() };
    let reply =
        |reply: &core::Reply| sdk::Reply { id: reply.id.clone(), status: reply.status, body: reply.body.clone() };
    sdk::Observation {
        step: observed.step.clone(),
        primary: object(&observed.primary),
        deleting: observed.deleting,
        objects: observed.objects.iter().map(set).collect(),
        facts: observed.facts.iter().map(fact).collect(),
        replies: observed.replies.iter().map(reply).collect(),
        notes: observed.notes.clone(),
        settings: observed.settings.clone(),
        round: observed.round,
        now: observed.now.clone(),
    }
}

/// A plugin's plan as the host has it.
pub fn plan(plan: sdk::Plan) -> core_plan::Plan {
    let objects = |objects: Vec<sdk::Object>| objects.into_iter().map(object_back).collect();
    core_plan::Plan {
        desired: objects(plan.desired),
        amended: objects(plan.amended),
        calls: plan
            .calls
            .into_iter()
            .map(|call| core_plan::Call {
                id: call.id,
                target: call.target,
                method: call.method,
                path: call.path,
                body: call.body,
            })
            .collect(),
        status: plan.status,
        defaults: plan.defaults,
        events: plan
            .events
            .into_iter()
            .map(|event| core_plan::Event {
                severity: match event.severity {
                    sdk::Severity::Normal => core_plan::Severity::Normal,
                    sdk::Severity::Warning => core_plan::Severity::Warning,
                },
                reason: event.reason,
                message: event.message,
            })
            .collect(),
        notes: plan.notes,
        progress: match plan.progress {
            sdk::Progress::Done => core_plan::Progress::Done,
            sdk::Progress::Waiting(wait) => core_plan::Progress::Waiting(waited(wait)),
            sdk::Progress::Blocked(wait) => core_plan::Progress::Blocked(waited(wait)),
        },
    }
}

fn waited(wait: sdk::Wait) -> core_plan::Wait {
    core_plan::Wait { word: wait.word, reason: wait.reason, again_in: wait.again_in }
}

fn violation(violation: sdk::Violation) -> core_plan::Violation {
    core_plan::Violation { field: violation.field, message: violation.message }
}

fn failure(failure: sdk::Failure) -> core_plan::Failure {
    match failure {
        sdk::Failure::Transient(reason) => core_plan::Failure::Transient(reason),
        sdk::Failure::Invalid(violations) => {
            core_plan::Failure::Invalid(violations.into_iter().map(violation).collect())
        }
    }
}
