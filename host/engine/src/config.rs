//! How many guests may run at once, and the most that any of them may ask for.

use std::time::Duration;

use stepwright_core::manifest::Limits;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::cache::CacheConfig;
use crate::compiler::Compiler;
use crate::inspect::Bounds;

/// Settings of an [`Engine`](crate::Engine). The defaults suit a host of any size.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Instances that can be alive at once. A call beyond that fails as the host's fault, so the caller bounds its
    /// concurrency to this.
    pub slots: u32,
    /// The clock by which deadlines are kept.
    pub tick: Duration,
    /// The most that a manifest may ask for. A plugin that asks for more is refused when it is loaded.
    pub ceiling: Limits,
    /// How large a component may be before it is compiled.
    pub bounds: Bounds,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Where compiled code is kept. None: it is made anew in each process.
    pub cache: Option<CacheConfig>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            // More would not run sooner, and the pool keeps memory resident for each slot that was ever used.
            slots: u32::try_from(cores.saturating_mul(4)).unwrap_or(u32::MAX).clamp(8, 256),
            tick: Duration::from_millis(5),
            ceiling: Limits {
                memory_mib: 256,
                milliseconds: 10_000,
                // Minutes of work: only a cap against numbers that are no bound.
                fuel: Some(100_000_000_000),
                plan_kib: 16 * 1024,
                log_lines: 1_000,
                log_kib: 1_024,
                objects: 5_000,
                calls: 256,
                rounds: 8,
            },
            bounds: Bounds::default(),
            compiler: Compiler::default(),
            cache: None,
        }
    }
}

/// What one instance may have of each; enough for components made by Python and JavaScript toolchains, which are built
/// from tens of core modules.
pub(crate) const INSTANCES: u32 = 64;
pub(crate) const MEMORIES: u32 = 8;
pub(crate) const TABLES: u32 = 64;
/// In each table. A component whose tables begin with more is refused before it is compiled.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

impl EngineConfig {
    /// For an engine that runs guests.
    pub(crate) fn running(&self, fuel: bool) -> Config {
        let mut pool = PoolingAllocationConfig::new();
        pool.max_memory_size((self.ceiling.memory_mib as usize) << 20)
            // Pages that stay mapped in a used slot: what a fresh instance pays for is page faults.
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10)
            // Resets only the pages that a guest wrote. Auto: where the kernel can (6.7 and later).
            .pagemap_scan(Enabled::Auto)
            .max_unused_warm_slots(self.slots)
            .table_elements(TABLE_ELEMENTS)
            .max_core_instances_per_component(INSTANCES)
            .max_memories_per_component(MEMORIES)
            .max_tables_per_component(TABLES)
            .total_component_instances(self.slots)
            // Pools are shared: a component of many parts takes what ten small ones leave.
            .total_core_instances(self.slots.saturating_mul(40))
            .total_memories(self.slots.saturating_mul(4))
            .total_tables(self.slots.saturating_mul(16));

        let mut config = compiling(fuel);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config
    }
}

/// What decides on the code that is made: the same for whoever compiles and for who runs it.
pub(crate) fn compiling(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(fuel)
        // Nothing here is asynchronous, and the support costs time in every call.
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed);
    config
}
