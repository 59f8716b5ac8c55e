//! The fact source and caller against nodes that answer over TLS on loopback.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

mod calls;
mod facts;
mod remote;
mod support;
