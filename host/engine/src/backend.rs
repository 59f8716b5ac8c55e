//! One of wasmtime's engines with what belongs to it: pool, clock, and what guests can be linked to.
//!
//! There are two kinds: counting fuel costs every call a quarter, so only plugins that ask for it run where it is counted.

use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};

use crate::config::EngineConfig;
use crate::engine::EngineError;
use crate::state::HostState;
use crate::ticker::Ticker;
use crate::wasi;
use crate::worlds::{log, types};

pub(crate) struct Backend {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) linker: Linker<HostState>,
    pub(crate) ticker: Ticker,
    /// Whether fuel is counted.
    pub(crate) fuel: bool,
}

impl Backend {
    /// Sets up the pool and starts the clock.
    pub(crate) fn new(config: &EngineConfig, fuel: bool) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config.running(fuel)).map_err(failed)?;
        let linker = linker(&engine).map_err(failed)?;
        let tick = config.tick.max(Duration::from_millis(1));
        let ticker = Ticker::start(engine.clone(), tick).map_err(|error| EngineError(error.to_string()))?;
        Ok(Self { engine, linker, ticker, fuel })
    }
}

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    log::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
