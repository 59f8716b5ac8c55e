//! Memory of one instance, summed over all that it has: wasmtime's own limits are for each memory and table alone.

use stepwright_core::manifest::Limits;
use wasmtime::ResourceLimiter;

use crate::config::{INSTANCES, MEMORIES, TABLES};

/// A guest asked for more than its limit. Ends the call.
#[derive(Debug, thiserror::Error)]
#[error("memory limit exceeded")]
pub(crate) struct MemoryLimit {
    /// Bytes over all memories and tables, had it been granted.
    pub(crate) asked: usize,
}

pub(crate) struct Limiter {
    used: usize,
    limit: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { used: 0, limit: (limits.memory_mib as usize).saturating_mul(1 << 20) }
    }

    /// The most that it ever had, in bytes: neither memories nor tables shrink.
    pub(crate) fn peak(&self) -> usize {
        self.used
    }

    /// Refused growth ends the call, rather than letting `memory.grow` fail: what a guest makes of that differs between
    /// languages, and the author should learn of the limit, not of its consequences.
    fn grow(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            return Err(MemoryLimit { asked: used }.into());
        }
        self.used = used;
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(current, desired)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(size_of::<usize>());
        self.grow(bytes(current), bytes(desired))
    }

    fn instances(&self) -> usize {
        INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_for_the_sum_of_memories_and_tables() {
        let mut limiter = Limiter::new(&Limits { memory_mib: 1, ..Limits::default() });
        let half = 512 << 10;
        assert!(limiter.memory_growing(0, half, None).unwrap());
        assert!(limiter.table_growing(0, half / size_of::<usize>(), None).unwrap());
        assert!(limiter.memory_growing(0, 1, None).unwrap_err().is::<MemoryLimit>());
        assert_eq!(limiter.peak(), 1 << 20);
        // Growth from what is already counted adds the difference only.
        assert!(limiter.memory_growing(half, half, None).unwrap());
    }
}
