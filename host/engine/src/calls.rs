//! One call of a guest: a store and an instance of its own, limits set before any of its code runs, and both gone after.

use std::time::{Duration, Instant};

use stepwright_core::guest::{GuestError, Usage};
use stepwright_core::manifest::Limits;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::backend::Backend;
use crate::contract::World;
use crate::fault::{self, Phase};
use crate::lines::Flood;
use crate::state::HostState;
use crate::wasi::Ending;
use crate::worlds::admission::{AdmissionPlugin, AdmissionPluginPre};
use crate::worlds::policy::{PolicyPlugin, PolicyPluginPre};
use crate::worlds::step::{StepPlugin, StepPluginPre};
use crate::worlds::types;

/// A component of one of the worlds, linked.
pub(crate) enum Pre {
    Step(StepPluginPre<HostState>),
    Policy(PolicyPluginPre<HostState>),
    Admission(AdmissionPluginPre<HostState>),
}

impl Pre {
    pub(crate) fn new(world: World, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(match world {
            World::Step => Self::Step(StepPluginPre::new(pre)?),
            World::Policy => Self::Policy(PolicyPluginPre::new(pre)?),
            World::Admission => Self::Admission(AdmissionPluginPre::new(pre)?),
        })
    }

    fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<Instance> {
        Ok(match self {
            Self::Step(pre) => Instance::Step(pre.instantiate(store)?),
            Self::Policy(pre) => Instance::Policy(pre.instantiate(store)?),
            Self::Admission(pre) => Instance::Admission(pre.instantiate(store)?),
        })
    }
}

/// What every world exports, and what only one does.
pub(crate) enum Instance {
    Step(StepPlugin),
    Policy(PolicyPlugin),
    Admission(AdmissionPlugin),
}

impl Instance {
    fn describe(&self, store: &mut Store<HostState>) -> wasmtime::Result<String> {
        match self {
            Self::Step(plugin) => plugin.stepwright_plugin_plugin().call_describe(store),
            Self::Policy(plugin) => plugin.stepwright_plugin_plugin().call_describe(store),
            Self::Admission(plugin) => plugin.stepwright_plugin_plugin().call_describe(store),
        }
    }

    pub(crate) fn validate_settings(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
    ) -> wasmtime::Result<Vec<types::Violation>> {
        let settings = &settings.to_owned();
        match self {
            Self::Step(plugin) => plugin.stepwright_plugin_plugin().call_validate_settings(store, settings),
            Self::Policy(plugin) => plugin.stepwright_plugin_plugin().call_validate_settings(store, settings),
            Self::Admission(plugin) => plugin.stepwright_plugin_plugin().call_validate_settings(store, settings),
        }
    }
}

/// What the guest's clock and randomness are made of.
pub(crate) struct Moment {
    pub(crate) now: Duration,
    pub(crate) seed: [u8; 32],
}

impl Moment {
    /// For calls that are about no observation.
    pub(crate) const NONE: Self = Self { now: Duration::ZERO, seed: [0; 32] };
}

/// Makes a fresh instance and gives it to `call`. Says what that used, too, however it ended.
pub(crate) fn once<R>(
    backend: &Backend,
    pre: &Pre,
    name: &str,
    limits: &Limits,
    moment: &Moment,
    call: impl FnOnce(&Instance, &mut Store<HostState>) -> wasmtime::Result<R>,
) -> (Result<R, GuestError>, Usage) {
    let started = Instant::now();
    let mut store = Store::new(&backend.engine, HostState::new(limits, moment.now, moment.seed));
    store.limiter(|state| &mut state.limiter);
    // Counts what a guest hands over in one go, its answer as well as a log line. The default would let it make the
    // host copy 128 MiB.
    store.set_hostcall_fuel((limits.plan_kib as usize).saturating_mul(1024));
    let fuel = limits.fuel.unwrap_or(u64::MAX);
    if backend.fuel {
        // Fails only where none is counted.
        let _ = store.set_fuel(fuel);
    }

    let _running = backend.ticker.running();
    // Before instantiating: a start function is guest code, too.
    store.set_epoch_deadline(backend.ticker.ticks(Duration::from_millis(limits.milliseconds.into())));
    let outcome = match pre.instantiate(&mut store) {
        Ok(instance) => call(&instance, &mut store).map_err(|error| (Phase::Call, error)),
        Err(error) => Err((Phase::Instantiate, error)),
    };
    let took = started.elapsed();
    let left = store.get_fuel().ok();
    // Whatever happened, the instance is not entered again. Dropping it gives its memory back to the pool.
    let Ending { last_words, log_lines, flood, memory_bytes } = store.into_data().finish();
    let fuel = limits.fuel.and(left).map(|left| fuel.saturating_sub(left));
    let usage = Usage { took, memory_bytes, fuel, log_lines, ..Usage::default() };
    let outcome = match (outcome, flood) {
        (Err((phase, error)), _) => Err(fault::classify(name, limits, phase, took, last_words, &error)),
        (Ok(_), Some(Flood { lines, kib })) => Err(GuestError::LogExceeded {
            plugin: name.to_owned(),
            lines,
            kib,
            limit_lines: limits.log_lines,
            limit_kib: limits.log_kib,
        }),
        (Ok(answer), None) => Ok(answer),
    };
    (outcome, usage)
}

/// A plugin that has not yet said what it is.
pub(crate) struct Loading<'a> {
    pub(crate) backend: &'a Backend,
    pub(crate) pre: &'a Pre,
    pub(crate) name: &'a str,
}

impl Loading<'_> {
    pub(crate) fn describe(&self, limits: &Limits) -> Result<String, GuestError> {
        once(self.backend, self.pre, self.name, limits, &Moment::NONE, |instance, store| instance.describe(store)).0
    }
}
