//! Makes a database on a Redis Enterprise cluster, keeps it as its resource says, and deletes it with the resource
//! (reference, 3.6 and 3.16).
//!
//! It makes no Services beside the cluster: the services-rigger does, for every database, whoever made it. In another
//! namespace a Service that points there is its own (`guest`).
//!
//! A pass reads what is there, and plans at most one change. Nothing is remembered but in the status; whether a database
//! exists is always asked of the cluster's list, so that a reply that got lost never makes a second one.

mod asked;
mod backup;
mod bdb;
pub mod copy;
mod decision;
mod deletion;
mod given;
mod guest;
mod hidden;
mod judged;
mod keeping;
mod living;
mod refusal;
mod replica;
mod rules;
mod secret;
mod seen;
mod settings;
mod size;
mod spec;
mod status;
mod troubles;
mod unsupported;
mod version;
mod wanted;

use stepwright_sdk::{Failure, Manifest, Observation, Plan, Plugin};

pub use decision::word_of;
pub use judged::{judge, judge_alone};

/// The plugin.
pub struct Redb;

impl Plugin for Redb {
    fn manifest() -> Manifest {
        seen::manifest()
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let seen = seen::Seen::read(observed);
        if observed.deleting {
            // A spec that cannot be read must not pass for one with nothing left to delete.
            let seen = seen.map_err(|failure| Failure::transient(failure.to_string()))?;
            return Ok(deletion::plan(&seen));
        }
        living::plan(&seen?)
    }
}
