//! What faults cost the host in memory. A process of its own: other tests would disturb the measurement.

mod support;

use stepwright_core::guest::Guest;

use support::{engine, load, observation};

#[test]
fn memory_comes_back_after_every_fault() {
    let engine = engine();
    let sinners = ["eats-memory", "traps", "huge-plan", "deep-recursion"].map(|name| (name, load(&engine, name)));
    let round = || {
        for (name, plugin) in &sinners {
            let error = plugin.reconcile(&observation(name)).unwrap_err();
            // A slot that is not given back would end in this one.
            assert_ne!(error.reason(), "SandboxUnavailable", "{error}");
        }
    };
    // The first rounds fill what is kept on purpose: slots' resident pages, the allocator's arenas.
    for _ in 0..5 {
        round();
    }
    let before = support::resident_mib();
    for _ in 0..50 {
        round();
    }
    let after = support::resident_mib();
    // Each round allocates 16 MiB in the guest alone: kept, it would be 800.
    assert!(after < before + 100, "{before} MiB before, {after} after");
}
