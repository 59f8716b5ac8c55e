//! Compiling in a child with limits, and compiled code that is kept under a seal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use stepwright_core::guest::{Guest, GuestError};
use stepwright_engine::{Bounds, CacheConfig, CacheKey, ChildCompiler, Compiler, Engine, EngineConfig, Loads};

use support::{bomb, component, load, observation, packed};

fn child(memory_mib: u32, seconds: u32) -> EngineConfig {
    let program = env!("CARGO_BIN_EXE_stepwright-pack").into();
    let compiler = ChildCompiler { memory_mib, seconds, ..ChildCompiler::new(program, ["compile".into()]) };
    EngineConfig { compiler: Compiler::Child(compiler), ..EngineConfig::default() }
}

fn refusal(engine: &Engine, bytes: &[u8]) -> GuestError {
    engine.load(bytes).map(|_| ()).unwrap_err()
}

#[test]
fn what_a_child_compiles_runs() {
    let engine = Engine::new(child(1024, 30)).unwrap();
    load(&engine, "echo").reconcile(&observation("echo")).unwrap().unwrap();
    assert_eq!(engine.loads(), Loads { compiled: 1, ..Loads::default() });
}

#[test]
fn a_compile_bomb_is_killed_in_time_and_the_host_goes_on() {
    let mut config = child(2048, 1);
    config.bounds = Bounds { function: usize::MAX, locals: usize::MAX, ..Bounds::default() };
    let engine = Engine::new(config).unwrap();
    let began = Instant::now();
    let error = refusal(&engine, &bomb(60_000));
    assert!(matches!(error, GuestError::CompileTimeout { limit, .. } if limit == Duration::from_secs(1)), "{error}");
    assert!(error.to_string().contains("limit of 1s"), "{error}");
    // One second is the limit; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_compiler_that_wants_too_much_memory_is_ended_by_its_limit() {
    let mut config = child(32, 60);
    config.bounds = Bounds { function: usize::MAX, locals: usize::MAX, ..Bounds::default() };
    let error = refusal(&Engine::new(config).unwrap(), &bomb(60_000));
    assert!(matches!(error, GuestError::CompileMemory { limit_mib: 32, .. }), "{error:?}");
    assert!(error.to_string().contains("32 MiB"), "{error}");
}

#[test]
fn a_compile_bomb_is_seen_before_compiling_by_the_size_of_its_function() {
    let engine = Engine::new(child(1024, 30)).unwrap();
    let error = refusal(&engine, &bomb(60_000));
    assert!(matches!(error, GuestError::TooLarge { limit: 524_288, .. }), "{error}");
    assert_eq!(engine.loads().compiled, 0);
}

#[test]
fn what_is_not_valid_is_the_component_s_fault_and_a_missing_compiler_ours() {
    let engine = Engine::new(child(1024, 30)).unwrap();
    // The module adds where there is nothing to add.
    let error = refusal(&engine, &packed("(core module (func i32.add))"));
    assert!(matches!(&error, GuestError::Incompatible { message, .. } if message.contains("type mismatch")), "{error}");

    let nowhere = ChildCompiler::new("/nonexistent/compiler".into(), []);
    let engine = Engine::new(EngineConfig { compiler: Compiler::Child(nowhere), ..EngineConfig::default() }).unwrap();
    assert_eq!(refusal(&engine, &component("echo")).reason(), "SandboxUnavailable");
}

#[test]
fn a_compiler_that_crashes_is_told_apart() {
    let compiler = |script: &str| {
        let child = ChildCompiler::new("/bin/sh".into(), ["-c".into(), script.into()]);
        let config = EngineConfig { compiler: Compiler::Child(child), ..EngineConfig::default() };
        refusal(&Engine::new(config).unwrap(), &component("echo"))
    };
    let error = compiler("echo first >&2; echo 'thread main panicked' >&2; exit 101");
    assert!(
        matches!(&error, GuestError::CompileCrashed { message, .. } if message.starts_with("thread main panicked")),
        "{error}"
    );
    let error = compiler("kill -SEGV $$");
    assert!(matches!(&error, GuestError::CompileCrashed { message, .. } if message.contains("signal: 11")), "{error}");
    // It says that all went well, and what it wrote is no code.
    assert_eq!(compiler("echo no code").reason(), "SandboxUnavailable");
}

fn cached(folder: &Path, key: u8) -> Engine {
    let cache = CacheConfig { folder: folder.to_owned(), key: CacheKey([key; 32]), max_mib: 64 };
    Engine::new(EngineConfig { cache: Some(cache), ..EngineConfig::default() }).unwrap()
}

#[test]
fn the_second_load_does_not_compile_unless_the_code_was_tampered_with() {
    let folder = tempfile::tempdir().unwrap();
    let run = |key| {
        let engine = cached(folder.path(), key);
        load(&engine, "echo").reconcile(&observation("echo")).unwrap().unwrap();
        let Loads { compiled, cached, refused } = engine.loads();
        (compiled, cached, refused)
    };
    assert_eq!(run(1), (1, 0, 0));
    assert_eq!(run(1), (0, 1, 0));

    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let code = entries.into_iter().find(|path| path.extension().is_some_and(|it| it == "cwasm")).unwrap();
    let mut bytes = std::fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&code, &bytes).unwrap();
    assert_eq!(run(1), (1, 0, 1));
    assert_eq!(run(1), (0, 1, 0));

    std::fs::write(&code, &bytes[..100]).unwrap();
    assert_eq!(run(1), (1, 0, 1));
    assert_eq!(run(2), (1, 0, 1), "under another installation's key");
    assert_eq!(run(2), (0, 1, 0));
}

#[test]
fn code_that_counts_fuel_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = cached(folder.path(), 1);
    load(&engine, "echo");
    engine.load(&support::with_limits("echo", r#"{"fuel":1000000}"#)).map(|_| ()).unwrap_err();
    assert_eq!(engine.loads().compiled, 2);
}
