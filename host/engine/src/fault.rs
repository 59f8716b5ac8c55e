//! What went wrong in a call, told apart by the type of wasmtime's error.

use std::time::Duration;

use stepwright_core::guest::GuestError;
use stepwright_core::manifest::Limits;
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::limiter::MemoryLimit;
use crate::wasi::Stop;

/// How far a call had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Instantiate,
    Call,
}

/// `took`: since the call began. `last_words`: what the guest last said of an error, such as the text of a panic.
pub(crate) fn classify(
    plugin: &str,
    limits: &Limits,
    phase: Phase,
    took: Duration,
    last_words: Option<String>,
    error: &wasmtime::Error,
) -> GuestError {
    let plugin = plugin.to_owned();
    if let Some(MemoryLimit { asked }) = error.downcast_ref::<MemoryLimit>() {
        let asked_mib = (*asked as u64).div_ceil(1 << 20);
        return GuestError::MemoryExceeded { plugin, asked_mib, limit_mib: limits.memory_mib };
    }
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return GuestError::Trapped { plugin, message: stop.to_string() };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return GuestError::Host { plugin, message: error.root_cause().to_string() };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let limit = Duration::from_millis(limits.milliseconds.into());
            return GuestError::DeadlineExceeded { plugin, took, limit };
        }
        Some(Trap::OutOfFuel) => {
            return GuestError::FuelExhausted { plugin, limit: limits.fuel.unwrap_or(u64::MAX) };
        }
        Some(trap) => {
            let message = match last_words {
                Some(words) => format!("{words} ({trap})"),
                None => trap.to_string(),
            };
            return GuestError::Trapped { plugin, message };
        }
        None => {}
    }
    let message = error.root_cause().to_string();
    // wasmtime keeps the type of this one to itself. A test holds a plan over the limit against this text.
    if message.contains("fuel allocated for hostcalls has been exhausted") {
        return GuestError::PlanTooLarge { plugin, limit_kib: limits.plan_kib };
    }
    let message = format!("{error:#}");
    match phase {
        // Types that do not fit come to light only here.
        Phase::Instantiate => GuestError::Incompatible { plugin, message },
        // What is left are answers against the canonical ABI: strings out of bounds or not UTF-8, unknown cases.
        Phase::Call => GuestError::Garbled { plugin, message },
    }
}
