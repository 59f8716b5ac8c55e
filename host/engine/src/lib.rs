//! Runs plugins: wasmtime behind the one port that core defines.
//!
//! A call gets a fresh instance from a pool, limits, and an empty world; what comes back is an answer or a
//! [`GuestError`](stepwright_core::guest::GuestError). Nothing outside this crate names a wasmtime type, and nothing in
//! it knows Kubernetes, sources of plugins, or what becomes of a plan.
//!
//! Calls are synchronous and block their thread, for at most the plugin's deadline: from async code, call them in
//! `spawn_blocking`.

pub mod admission;
mod backend;
mod cache;
mod calls;
pub mod compiler;
mod config;
mod contract;
mod convert;
mod engine;
mod fault;
mod inspect;
mod limiter;
mod lines;
mod manifest;
mod plugin;
pub mod policy;
mod sealed;
pub mod section;
mod state;
mod ticker;
mod time;
mod wasi;
mod worlds;

pub use cache::{CacheConfig, CacheKey};
pub use compiler::{ChildCompiler, Compiler};
pub use config::EngineConfig;
pub use contract::{CONTRACT, World};
pub use engine::{Engine, EngineError, Loads};
pub use inspect::{Bounds, Inspection, inspect};
pub use plugin::LoadedPlugin;
