//! Makes an Active-Active database on several Redis Enterprise clusters, keeps it as its resource says, and deletes it with the resource
//! (reference, 1.7 and 3.18; REST reference, 11).
//!
//! One cluster is asked, the one beside the resource; it works with the others. Every change is a task, under an id that is written
//! down before it is sent: a reply that got lost is a lookup, and never a second database. The same resource is on every
//! cluster; what was last agreed is in the database's tags and in the status, which tells whose change is the newer one.

mod deletion;
mod guest;
mod instances;
mod living;
mod password;
pub mod record;
mod remotes;
mod rules;
mod seen;
mod status;
mod task;
mod unsupported;
mod work;

use stepwright_sdk::{Failure, Manifest, Observation, Plan, Plugin};

pub use rules::judge;

/// The annotation of a resource that stands for a database which was made through another cluster: its id. Such a resource never
/// makes one.
pub const GUID_ANNOTATION: &str = "app.redislabs.com/crdb-guid";
/// The annotation by which a person has clusters removed without asking them: their names, separated by commas.
pub const FORCE_ANNOTATION: &str = "app.redislabs.com/force-remove";

/// The plugin.
pub struct Reaadb;

impl Plugin for Reaadb {
    fn manifest() -> Manifest {
        seen::manifest()
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let seen = seen::Seen::read(observed);
        if observed.deleting {
            // A spec that cannot be read must not pass for one with nothing left to delete.
            let seen = seen.map_err(|failure| Failure::transient(failure.to_string()))?;
            return deletion::plan(&seen);
        }
        living::plan(&seen?)
    }
}
