//! Plain data and decisions of the Stepwright host.
//!
//! Everything here is a total function over values: what a plugin is shown, what it may plan, what of a plan has to be
//! written. There is no I/O, no clock, no randomness and no `async`; the crates around this one bring those.
//! It knows nothing of Redis.

pub mod admission;
pub mod admit;
pub mod amend;
pub mod compare;
pub mod conditions;
pub mod delegation;
pub mod error;
pub mod explain;
pub mod field_path;
pub mod follow;
pub mod guest;
pub mod journal;
pub mod manifest;
pub mod mask;
pub mod object;
pub mod observation;
pub mod part;
pub mod pipeline;
pub mod plan;
pub mod plan_diff;
pub mod policy;
pub mod replay;
pub mod reset;
pub mod secrets;
pub mod select;
pub mod slot;
pub mod strict;
pub mod take;
pub mod world;
