//! One engine for all plugins: from a component's bytes to one that can be called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use stepwright_core::guest::{Digest, GuestError};
use stepwright_core::manifest::{Limits, Manifest};
use wasmtime::component::Component;

use crate::backend::Backend;
use crate::cache::{Cache, Found};
use crate::calls::{Loading, Pre};
use crate::compiler::Compiler;
use crate::config::EngineConfig;
use crate::contract::World;
use crate::inspect::{self, Inspection, Shape};
use crate::manifest;
use crate::plugin::LoadedPlugin;
use crate::sealed::SealedCode;
use crate::section::{self, Section};

/// The engine could not be set up; nothing was loaded.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox could not be set up: {0}")]
pub struct EngineError(pub(crate) String);

/// Loads plugins. Cheap to clone; plugins keep what they need of it alive.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    plain: Arc<Backend>,
    /// Made for the first plugin that asks for fuel.
    fueled: Mutex<Option<Arc<Backend>>>,
    /// One at a time, so that a burst of plugins does not take all memory at once.
    compiling: Mutex<()>,
    cache: Option<Cache>,
    counts: Counts,
    config: EngineConfig,
}

#[derive(Default)]
struct Counts {
    compiled: AtomicU64,
    cached: AtomicU64,
    refused: AtomicU64,
}

/// What loading took so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loads {
    /// Components that were compiled.
    pub compiled: u64,
    /// Components whose code came from the cache.
    pub cached: u64,
    /// Files of the cache that were not trusted.
    pub refused: u64,
}

/// What a plugin may use before it has said what it needs. The memory is the ceiling's: what it takes to start differs
/// between languages.
fn limits_while_loading(ceiling: &Limits) -> Limits {
    Limits { milliseconds: ceiling.milliseconds.min(2_000), log_lines: 20, log_kib: 16, ..*ceiling }
}

impl Engine {
    /// Sets up pool and cache, and starts the clock.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let plain = Arc::new(Backend::new(&config, false)?);
        let cache = config.cache.as_ref().map(Cache::open).transpose();
        let cache = cache.map_err(|error| EngineError(format!("its cache cannot be used: {error}")))?;
        let fueled = Mutex::new(None);
        let (compiling, counts) = (Mutex::new(()), Counts::default());
        Ok(Self { shared: Arc::new(Shared { plain, fueled, compiling, cache, counts, config }) })
    }

    /// The settings that it runs with.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// What loading took so far.
    pub fn loads(&self) -> Loads {
        let Counts { compiled, cached, refused } = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Loads { compiled: read(compiled), cached: read(cached), refused: read(refused) }
    }

    /// Reads a component without compiling or running it, as [`inspect`](crate::inspect()) with this engine's bounds.
    pub fn inspect(&self, bytes: &[u8]) -> Result<Inspection, GuestError> {
        inspect::inspect(bytes, &self.shared.config.bounds)
    }

    /// The bytes of its manifest's section, read with this engine's bounds; nothing is compiled.
    pub fn section(&self, bytes: &[u8]) -> Result<Vec<u8>, GuestError> {
        inspect::section(bytes, &self.shared.config.bounds)
    }

    /// Reads a packed component, compiles it or finds it compiled, links it, and asks it once what it is. Blocks the
    /// thread, mostly for compiling.
    ///
    /// Until a plugin's name is known, errors call it by its digest.
    #[tracing::instrument(name = "guest.load", level = "debug", skip_all, fields(size = bytes.len()))]
    pub fn load(&self, bytes: &[u8]) -> Result<LoadedPlugin, GuestError> {
        let Inspection { digest, world, manifest, .. } = self.inspect(bytes)?;
        manifest::within(&manifest, &self.shared.config.ceiling)
            .map_err(|unfit| GuestError::Incompatible { plugin: manifest.name.clone(), message: unfit.to_string() })?;
        let shape = inspect::shape(bytes, &self.shared.config.bounds, digest.short())?;
        let backend = self.backend(asks_for_fuel(&manifest), &manifest.name)?;
        let pre = self.link(&backend, &digest, &manifest.name, world, bytes)?;
        let text = self.describe(&backend, &pre, &manifest.name)?;
        let garbled =
            |unfit: manifest::Unfit| GuestError::Garbled { plugin: manifest.name.clone(), message: unfit.to_string() };
        let described = manifest::read(&text, world).map_err(garbled)?;
        if let Some(message) = manifest::difference(&manifest, &described).map_err(garbled)? {
            return Err(GuestError::ManifestDiffers { plugin: manifest.name, message });
        }
        tracing::debug!(plugin = manifest.name, version = manifest.version, %world, digest = digest.short(), "loaded");
        Ok(LoadedPlugin::new(backend, digest, manifest, pre, shape.draws))
    }

    /// Asks a component what it is, and returns it with the answer in its section `stepwright:manifest`.
    pub fn pack(&self, bytes: &[u8]) -> Result<Vec<u8>, GuestError> {
        let digest = Digest::of(bytes);
        let plugin = digest.short();
        let garbled = |message| GuestError::Garbled { plugin: plugin.to_owned(), message };
        let bounds = &self.shared.config.bounds;
        let Shape { world, contract, .. } = inspect::shape(bytes, bounds, plugin)?;
        let backend = &self.shared.plain;
        let pre = self.link(backend, &digest, plugin, world, bytes)?;
        let text = self.describe(backend, &pre, plugin)?;
        manifest::read(&text, world).map_err(|unfit| garbled(unfit.to_string()))?;
        let manifest = RawValue::from_string(text).map_err(|error| garbled(error.to_string()))?;
        let section = Section { contract, world, manifest: &manifest };
        let packed = section::write(bytes, &section).map_err(|error| garbled(error.to_string()))?;
        // What would be refused later is not worth writing.
        inspect::inspect(&packed, bounds)?;
        Ok(packed)
    }

    fn backend(&self, fuel: bool, plugin: &str) -> Result<Arc<Backend>, GuestError> {
        if !fuel {
            return Ok(Arc::clone(&self.shared.plain));
        }
        let mut fueled = self.shared.fueled.lock();
        if let Some(backend) = &*fueled {
            return Ok(Arc::clone(backend));
        }
        let made = Backend::new(&self.shared.config, true)
            .map_err(|error| GuestError::Host { plugin: plugin.to_owned(), message: error.to_string() })?;
        Ok(Arc::clone(fueled.insert(Arc::new(made))))
    }

    fn link(
        &self,
        backend: &Backend,
        digest: &Digest,
        plugin: &str,
        world: World,
        bytes: &[u8],
    ) -> Result<Pre, GuestError> {
        let component = self.component(backend, digest, plugin, bytes)?;
        backend
            .linker
            .instantiate_pre(&component)
            .and_then(|pre| Pre::new(world, pre))
            .map_err(|error| GuestError::Incompatible { plugin: plugin.to_owned(), message: format!("{error:#}") })
    }

    fn component(
        &self,
        backend: &Backend,
        digest: &Digest,
        plugin: &str,
        bytes: &[u8],
    ) -> Result<Component, GuestError> {
        let counts = &self.shared.counts;
        let Some(cache) = &self.shared.cache else {
            let code = self.compile(backend, plugin, bytes)?;
            return mapped(&code, backend, plugin);
        };
        let name = Cache::name(digest, &backend.engine);
        match cache.get(&name) {
            Found::Code(code) => match mapped(&code, backend, plugin) {
                Ok(component) => {
                    counts.cached.fetch_add(1, Ordering::Relaxed);
                    return Ok(component);
                }
                Err(error) => self.distrust(cache, &name, plugin, &error),
            },
            Found::Refused(why) => self.distrust(cache, &name, plugin, &why),
            Found::Nothing => {}
        }
        let code = self.compile(backend, plugin, bytes)?;
        if let Err(error) = cache.put(&name, &code) {
            tracing::warn!(plugin, %error, "compiled code could not be kept; it is compiled again at the next start");
        }
        mapped(&code, backend, plugin)
    }

    fn distrust(&self, cache: &Cache, name: &str, plugin: &str, why: &dyn std::fmt::Display) {
        self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
        cache.remove(name);
        tracing::warn!(plugin, entry = name, %why, "compiled code from the cache is not trusted; compiling anew");
    }

    fn compile(&self, backend: &Backend, plugin: &str, bytes: &[u8]) -> Result<SealedCode, GuestError> {
        let _one_at_a_time = self.shared.compiling.lock();
        self.shared.counts.compiled.fetch_add(1, Ordering::Relaxed);
        match &self.shared.config.compiler {
            Compiler::Child(child) => child.compile(plugin, bytes, backend.fuel),
            Compiler::InProcess => {
                let code = backend.engine.precompile_component(bytes).map_err(|error| GuestError::Incompatible {
                    plugin: plugin.to_owned(),
                    message: format!("it cannot be compiled: {error:#}"),
                })?;
                SealedCode::of(&code)
                    .map_err(|error| GuestError::Host { plugin: plugin.to_owned(), message: error.to_string() })
            }
        }
    }

    fn describe(&self, backend: &Backend, pre: &Pre, name: &str) -> Result<String, GuestError> {
        let loading = Loading { backend, pre, name };
        loading.describe(&limits_while_loading(&self.shared.config.ceiling))
    }
}

fn mapped(code: &SealedCode, backend: &Backend, plugin: &str) -> Result<Component, GuestError> {
    code.component(&backend.engine).map_err(|error| GuestError::Host {
        plugin: plugin.to_owned(),
        message: format!("its code cannot be mapped: {error:#}"),
    })
}

fn asks_for_fuel(manifest: &Manifest) -> bool {
    let steps = manifest.steps.iter().map(|step| &step.limits);
    steps.chain(manifest.policy.as_ref().map(|policy| &policy.limits)).any(|limits| limits.fuel.is_some())
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
