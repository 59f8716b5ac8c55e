//! What the tests share: an operator in this process over a real API server, and helpers that wait for conditions.
//!
//! Tests in `tests/` only: nothing of the product depends on this crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

pub mod api_server;
pub mod checklist;
pub mod children;
pub mod components;
pub mod databases;
pub mod life;
pub mod native;
pub mod plugins;
pub mod proxy;
pub mod tls;
pub mod wait;
pub mod world;
pub mod writer;

/// Memory of this process that is in RAM, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
