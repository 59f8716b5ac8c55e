//! Guests that misbehave: each ends as the fault that it is, within its limits, and harms nobody else.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::time::{Duration, Instant};

use stepwright_core::guest::{Guest, GuestError};
use stepwright_engine::{Engine, EngineConfig};

use support::{component, engine, load, observation};

/// Runs one sin, then a good call: the host must be none the worse.
fn sin(name: &str) -> GuestError {
    let engine = engine();
    let sinner = load(&engine, name);
    let error = sinner.reconcile(&observation(name)).unwrap_err();
    let echo = load(&engine, "echo");
    echo.reconcile(&observation("echo")).unwrap().unwrap();
    error
}

#[test]
fn a_panic_is_a_trap_and_its_text_is_kept() {
    let error = sin("traps");
    assert!(matches!(&error, GuestError::Trapped { plugin, .. } if plugin == "traps"), "{error}");
    assert!(error.to_string().contains("no idea what to do about rec"), "{error}");
    assert_eq!(error.reason(), "PluginTrapped");
}

#[test]
fn an_endless_loop_is_ended_at_its_deadline() {
    let engine = engine();
    let spins = load(&engine, "spins");
    let began = Instant::now();
    let error = spins.reconcile(&observation("spins")).unwrap_err();
    assert!(error.to_string().contains("past its deadline of 50ms"), "{error}");
    let limit = Duration::from_millis(50);
    assert!(matches!(error, GuestError::DeadlineExceeded { limit: kept, .. } if kept == limit), "{error}");
    assert!(began.elapsed() >= limit);
    // Two ticks are promised; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    load(&engine, "echo").reconcile(&observation("echo")).unwrap().unwrap();
}

#[test]
fn memory_beyond_the_limit_is_refused() {
    let error = sin("eats-memory");
    assert!(matches!(error, GuestError::MemoryExceeded { asked_mib: 17.., limit_mib: 16, .. }), "{error}");
}

#[test]
fn an_answer_beyond_the_limit_is_refused() {
    let error = sin("huge-plan");
    assert!(matches!(error, GuestError::PlanTooLarge { limit_kib: 64, .. }), "{error}");
}

#[test]
fn endless_recursion_is_a_trap() {
    let error = sin("deep-recursion");
    assert!(matches!(error, GuestError::Trapped { .. }), "{error}");
}

#[test]
fn ending_the_process_is_a_trap() {
    let error = sin("exits");
    assert!(matches!(error, GuestError::Trapped { .. }), "{error}");
}

#[test]
fn a_flood_of_log_lines_is_cut_and_costs_the_answer() {
    let engine = engine();
    let plugin = load(&engine, "floods-log");
    let (answer, lines) = support::logged(|| plugin.reconcile(&observation("floods-log")));
    let error = answer.unwrap_err();
    assert_eq!(error.reason(), "PluginLogExceeded");
    assert!(error.to_string().contains("logged 2001 lines"), "{error}");
    assert!(error.to_string().contains("its limits of 10 lines"), "{error}");
    assert_eq!(lines.len(), 10, "{lines:#?}");
    assert!(lines.iter().all(|line| line.len() < 4096));
}

#[test]
fn a_manifest_that_cannot_be_read_is_refused_with_the_misspelt_field() {
    // It cannot be packed, and so not be loaded either.
    let error = engine().pack(&component("garbage-manifest")).unwrap_err();
    assert!(matches!(error, GuestError::Garbled { .. }), "{error}");
    assert!(error.to_string().contains("stepz"), "{error}");
}

#[test]
fn another_version_of_the_contract_is_refused_with_both_named() {
    let error = engine().load(&component("newer-contract")).map(|_| ()).unwrap_err();
    assert!(matches!(error, GuestError::Incompatible { .. }), "{error}");
    assert!(error.to_string().contains("stepwright:plugin@0.2.0"), "{error}");
    assert!(error.to_string().contains("0.1.0"), "{error}");
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"not wasm", &component("echo")[..1000]] {
        let error = engine().load(bytes).map(|_| ()).unwrap_err();
        assert!(matches!(error, GuestError::Incompatible { .. }), "{error}");
    }
}

#[test]
fn a_limit_above_the_host_s_is_refused() {
    let mut config = EngineConfig::default();
    config.ceiling.memory_mib = 32;
    let engine = Engine::new(config).unwrap();
    // Asks for the default of 64 MiB.
    let error = engine.load(&component("echo")).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("memoryMib = 64"), "{error}");
}

#[test]
fn a_call_beyond_the_slots_is_the_host_s_fault_and_passes() {
    let engine = Engine::new(EngineConfig { slots: 1, ..EngineConfig::default() }).unwrap();
    let (spins, echo) = (load(&engine, "spins"), load(&engine, "echo"));
    let errors = std::thread::scope(|scope| {
        let spinning = scope.spawn(|| spins.reconcile(&observation("spins")).unwrap_err());
        let mut errors = Vec::new();
        while !spinning.is_finished() {
            errors.extend(echo.reconcile(&observation("echo")).err());
        }
        errors.push(spinning.join().unwrap());
        errors
    });
    assert!(errors.iter().any(|error| matches!(error, GuestError::Host { .. })), "{errors:#?}");
    assert!(
        errors.iter().all(|error| matches!(error, GuestError::Host { .. } | GuestError::DeadlineExceeded { .. })),
        "{errors:#?}"
    );
    echo.reconcile(&observation("echo")).unwrap().unwrap();
}
