//! The development cluster, as those who use it see it. Every test needs the built control plane
//! (`cargo xtask build-control-plane`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod api_server;
mod common;
mod pods;
