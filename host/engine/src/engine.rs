//! One engine for all plugins: compiler, pool, clock, and what guests can be linked to.

use std::sync::Arc;
use std::time::Duration;

use stepwright_core::guest::{Digest, GuestError};
use stepwright_core::manifest::Limits;
use wasmtime::component::{Component, HasSelf, Linker};

use crate::calls::{Loading, Pre};
use crate::config::EngineConfig;
use crate::contract::{self, World};
use crate::manifest;
use crate::plugin::LoadedPlugin;
use crate::section::{self, Section};
use crate::state::HostState;
use crate::ticker::Ticker;
use crate::wasi;
use crate::worlds::{log, types};

/// The engine could not be set up; nothing was loaded.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox could not be set up: {0}")]
pub struct EngineError(String);

/// Loads plugins. Cheap to clone; plugins keep what they need of it alive.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) ticker: Ticker,
    linker: Linker<HostState>,
    config: EngineConfig,
}

/// What a plugin may use before it has said what it needs. The memory is the ceiling's: what it takes to start differs
/// between languages.
fn limits_while_loading(ceiling: &Limits) -> Limits {
    Limits { milliseconds: ceiling.milliseconds.min(2_000), log_lines: 20, ..*ceiling }
}

impl Engine {
    /// Sets up the pool and starts the clock.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let failed = |error: &dyn std::fmt::Display| EngineError(error.to_string());
        let engine = wasmtime::Engine::new(&config.wasmtime()).map_err(|error| failed(&format!("{error:#}")))?;
        let linker = linker(&engine).map_err(|error| failed(&format!("{error:#}")))?;
        let tick = config.tick.max(Duration::from_millis(1));
        let ticker = Ticker::start(engine.clone(), tick).map_err(|error| failed(&error))?;
        Ok(Self { shared: Arc::new(Shared { engine, ticker, linker, config }) })
    }

    /// The settings that it runs with.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// Compiles a component, links it, and asks it once what it is. Blocks the thread, mostly for compiling.
    ///
    /// Until a plugin has said its name, errors call it by its digest.
    #[tracing::instrument(name = "guest.load", level = "debug", skip_all, fields(size = bytes.len()))]
    pub fn load(&self, bytes: &[u8]) -> Result<LoadedPlugin, GuestError> {
        let digest = Digest::of(bytes);
        let Linked { world, draws, pre } = self.link(&digest, bytes)?;
        let text = self.ask_what_it_is(&digest, &pre)?;
        let manifest = manifest::read(&text, world, &self.shared.config.ceiling)
            .map_err(|unfit| GuestError::Garbled { plugin: digest.short().to_owned(), message: unfit.to_string() })?;
        tracing::debug!(plugin = manifest.name, version = manifest.version, %world, digest = digest.short(), "loaded");
        Ok(LoadedPlugin::new(Arc::clone(&self.shared), digest, manifest, pre, draws))
    }

    /// Asks a component what it is, and returns it with the answer in its section `stepwright:manifest`.
    pub fn pack(&self, bytes: &[u8]) -> Result<Vec<u8>, GuestError> {
        let digest = Digest::of(bytes);
        let garbled = |message| GuestError::Garbled { plugin: digest.short().to_owned(), message };
        let Linked { world, pre, .. } = self.link(&digest, bytes)?;
        let text = self.ask_what_it_is(&digest, &pre)?;
        manifest::read(&text, world, &self.shared.config.ceiling).map_err(|unfit| garbled(unfit.to_string()))?;
        let manifest = serde_json::from_str(&text).map_err(|error| garbled(error.to_string()))?;
        let section = Section { contract: contract::CONTRACT.to_owned(), world, manifest };
        section::write(bytes, &section).map_err(|error| garbled(error.to_string()))
    }

    fn link(&self, digest: &Digest, bytes: &[u8]) -> Result<Linked, GuestError> {
        let incompatible = |message: String| GuestError::Incompatible { plugin: digest.short().to_owned(), message };
        let component = Component::new(&self.shared.engine, bytes)
            .map_err(|error| incompatible(format!("it is no component that can be compiled: {error:#}")))?;
        let ty = component.component_type();
        let imports: Vec<&str> = ty.imports(&self.shared.engine).map(|(name, _)| name).collect();
        let exports = ty.exports(&self.shared.engine).map(|(name, _)| name);
        let world =
            contract::world(imports.iter().copied(), exports).map_err(|misfit| incompatible(misfit.to_string()))?;
        let draws = imports.iter().any(|name| name.starts_with("wasi:random/"));
        let pre = self
            .shared
            .linker
            .instantiate_pre(&component)
            .and_then(|pre| Pre::new(world, pre))
            .map_err(|error| incompatible(format!("{error:#}")))?;
        Ok(Linked { world, draws, pre })
    }

    fn ask_what_it_is(&self, digest: &Digest, pre: &Pre) -> Result<String, GuestError> {
        let loading = Loading { shared: &self.shared, pre, name: digest.short() };
        loading.describe(&limits_while_loading(&self.shared.config.ceiling))
    }
}

/// Compiled, but not yet asked anything.
struct Linked {
    world: World,
    /// It imports randomness.
    draws: bool,
    pre: Pre,
}

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    log::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}

impl Pre {
    pub(crate) fn world(&self) -> World {
        match self {
            Self::Step(_) => World::Step,
            Self::Policy(_) => World::Policy,
            Self::Admission(_) => World::Admission,
        }
    }
}
