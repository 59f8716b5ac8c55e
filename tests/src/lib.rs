//! What the tests share: an operator in this process over a real API server, and helpers that wait for conditions.
//!
//! Tests in `tests/` only: nothing of the product depends on this crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

pub mod api_server;
pub mod native;
pub mod wait;
pub mod world;
