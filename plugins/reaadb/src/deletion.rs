//! The resource goes away, and the database with it, on all its clusters (reference, 3.16).
//!
//! Finished is only what was seen to be gone. A cluster that is gone took its copy along, and that one only.

use stepwright_sdk::{Event, Failure, Plan};

use crate::living::{Decision, follow_task, fresh, look, written};
use crate::seen::Seen;
use crate::status::{DELETING, Status};
use crate::work::Work;

pub(crate) fn plan(seen: &Seen<'_>) -> Result<Plan, Failure> {
    let name = seen.name();
    let status = |crdb| {
        let mut status = Status::of(seen, crdb);
        DELETING.clone_into(&mut status.status);
        status
    };
    let Some(cluster) = seen.cluster() else {
        return Ok(finished(seen, format!("database `{name}` is gone with its cluster")));
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Ok(finished(seen, format!("database `{name}` is gone with its cluster")));
    }
    let Some(crdbs) = seen.crdbs.known() else {
        let nothing_was_sent = seen.guid().is_none() && seen.database.status.last_task_uid.is_none();
        if nothing_was_sent {
            return Ok(finished(seen, format!("database `{name}` is gone")));
        }
        let why = seen.crdbs.unknown().unwrap_or_default();
        let text = format!("waiting to learn whether database `{name}` is gone: {why}");
        return Ok(written(seen, None, Decision::waiting(status(None), text, 5)));
    };
    let crdb = seen.own(crdbs);
    let work = crdb.map(|crdb| Work::removal_of_lost(seen, crdb).unwrap_or_else(|| Work::deletion(seen, crdb)));
    if crdb.is_none() && seen.database.status.last_task_uid.is_none() && seen.guid().is_none() {
        return Ok(finished(seen, format!("database `{name}` is gone")));
    }
    let mut decision = follow_task(seen, crdb, work, status(crdb))?;
    if crdb.is_none() && fresh(seen).is_none() && decision.calls.is_empty() {
        // It never sent anything itself.
        decision.calls.push(look());
    }
    // The list of this very moment, and no task under way.
    let gone = matches!(fresh(seen), Some(Ok(list)) if seen.own(&list).is_none());
    if gone && matches!(decision.progress, stepwright_sdk::Progress::Done) {
        return Ok(finished(seen, format!("database `{name}` was deleted")));
    }
    let decision = match decision.progress {
        stepwright_sdk::Progress::Done => {
            let mut again = Decision::waiting(decision.status, format!("looking whether database `{name}` is gone"), 1);
            again.calls = decision.calls;
            again
        }
        _ => decision,
    };
    Ok(written(seen, crdb, decision))
}

/// Nothing is wanted any more, so what was made for the database goes too.
fn finished(seen: &Seen<'_>, text: String) -> Plan {
    match seen.guid() {
        Some(_) => Plan::done().event(Event::normal("DatabaseDeleted", text)),
        None => Plan::done(),
    }
}
