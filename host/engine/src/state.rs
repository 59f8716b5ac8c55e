//! What the host keeps for one call: limits, the log, and the empty world. Lives and ends with the store.

use std::time::Duration;

use stepwright_core::manifest::Limits;

use crate::limiter::Limiter;
use crate::lines::Lines;
use crate::wasi::EmptyWorld;
use crate::worlds::{log, types};

pub(crate) struct HostState {
    pub(crate) limiter: Limiter,
    pub(crate) lines: Lines,
    pub(crate) world: EmptyWorld,
}

impl HostState {
    pub(crate) fn new(limits: &Limits, now: Duration, seed: [u8; 32]) -> Self {
        Self { limiter: Limiter::new(limits), lines: Lines::new(limits), world: EmptyWorld::new(now, seed) }
    }
}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        self.lines.write(level, &message, &fields);
    }
}

impl types::Host for HostState {}
