//! Everything that talks to Kubernetes: watch, observe, dispatch, apply, report.
//!
//! A pass over one primary is in `pass`; what a plan may do was decided in `stepwright_core` before anything here acts on
//! it. This crate knows neither wasmtime (plugins come as `dyn Guest`) nor any kind by name (pipelines are data).

pub mod admin;
pub mod admission;
pub mod apply;
pub mod cache;
pub mod calendar;
pub mod context;
pub mod controller;
pub mod delegation;
pub mod error;
mod facts;
mod fight;
pub mod guests;
mod identity;
pub mod journal;
pub mod lease;
pub mod local_api;
mod memory;
pub mod metrics;
mod observe;
pub mod offer;
mod pass;
pub mod plugin_maps;
pub mod plugins;
mod report;
pub mod router;
pub mod slots;
pub mod sources;
pub mod system;
