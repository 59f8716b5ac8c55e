//! The resource goes away, and the database with it (reference, 3.16).
//!
//! Finished is only what was seen to be gone: a list that cannot be read proves nothing. A cluster that is gone took its
//! databases along. A database that is not this resource's is left alone.

use std::time::Duration;

use stepwright_sdk::{Call, Event, Plan};

use crate::refusal::{Outcome, outcome};
use crate::secret::DatabaseSecret;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::status::Status;

pub(crate) fn plan(seen: &Seen<'_>) -> Plan {
    let name = seen.observed.name();
    let Some(cluster) = seen.cluster() else {
        return finished(seen, format!("database `{name}` is gone with its cluster"));
    };
    if cluster.metadata.deletion_timestamp.is_some() && !seen.cluster_has_pods() {
        return finished(seen, format!("database `{name}` is gone with its cluster"));
    }
    let forming = ["", "PendingCreation", "BootstrappingFirstPod"].contains(&cluster.status.state.as_str());
    let bdbs = match (seen.bdbs.known(), seen.bdbs.unknown()) {
        (Some(bdbs), _) => bdbs,
        // Databases are made on a running cluster only, so there cannot be one yet.
        (None, _) if forming && seen.database.status.uid().is_none() => {
            return finished(seen, format!("database `{name}` is gone"));
        }
        (None, reason) => {
            let text = format!("waiting to learn whether database `{name}` is gone: {}", reason.unwrap_or_default());
            return waiting(seen, None, &text, 5);
        }
    };
    let Some(bdb) = seen.own(bdbs) else { return finished(seen, format!("database `{name}` was deleted")) };
    if bdb.status == "delete-pending" {
        return waiting(seen, Some(bdb), &format!("database `{name}` is being deleted"), 1);
    }
    let Some((reply, _)) = seen.reply("delete") else {
        let text = format!("deleting database `{name}`");
        return waiting(seen, Some(bdb), &text, 1).call(Call::delete("delete", format!("/v1/bdbs/{}", bdb.uid)));
    };
    match outcome(reply) {
        Outcome::Accepted | Outcome::NotFound => {
            waiting(seen, Some(bdb), &format!("database `{name}` is being deleted"), 1)
        }
        Outcome::Busy => waiting(seen, Some(bdb), &format!("database `{name}` is busy and cannot be deleted yet"), 1),
        Outcome::Unknown(why) => {
            waiting(seen, Some(bdb), &format!("whether database `{name}` is being deleted is not known: {why}"), 2)
        }
        Outcome::Refused(why) => {
            let text = format!("database `{name}` cannot be deleted: {why}");
            waiting(seen, Some(bdb), &text, 30).event(Event::warning("DatabaseFailed", text))
        }
    }
}

fn waiting(seen: &Seen<'_>, bdb: Option<&Bdb>, text: &str, seconds: u64) -> Plan {
    let mut status = bdb.map_or_else(|| Status::waiting(seen), |bdb| Status::of(seen, bdb));
    "delete-pending".clone_into(&mut status.status);
    let plan = Plan::waiting(text, Duration::from_secs(seconds)).word("DeletePending");
    let plan = match DatabaseSecret::of(seen) {
        Some(secret) => secret.keep(plan, seen, status.port()),
        None => plan,
    };
    plan.status(&status)
}

/// Nothing is wanted any more, so what was made for the database goes too.
fn finished(seen: &Seen<'_>, text: String) -> Plan {
    match seen.database.status.uid() {
        Some(_) => Plan::done().event(Event::normal("DatabaseDeleted", text)),
        None => Plan::done(),
    }
}
