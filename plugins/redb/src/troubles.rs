//! What goes wrong, and right again, with a database whose settings are as they should be: its backups and its sources (REST
//! reference, 6.2). Told once for each turn, by comparing the status with the one before; nothing is done about it, since the
//! cluster tries again by itself.

use stepwright_sdk::Event;

use crate::seen::Seen;
use crate::status::{ReplicaSourceStatus, Status};

/// Words of the API.
const BACKUP_FAILED: &str = "failed";
const BROKEN: &str = "out-of-sync";
const IN_SYNC: &str = "in-sync";

/// What `status` tells that the one before did not.
pub(crate) fn news(seen: &Seen<'_>, status: &Status) -> Vec<Event> {
    backup(seen, status).into_iter().chain(sources(seen, status)).collect()
}

fn backup(seen: &Seen<'_>, status: &Status) -> Option<Event> {
    let name = seen.observed.name();
    let (now, last) = (status.backup_info.as_ref()?, seen.database.status.backup_info.as_ref());
    let outcome = |info: &crate::status::BackupInfo| (info.backup_status.clone(), info.backup_failure_reason.clone());
    if now.backup_status.as_deref() != Some(BACKUP_FAILED) || last.map(outcome) == Some(outcome(now)) {
        return None;
    }
    let reason = now.backup_failure_reason.as_deref().unwrap_or("unknown");
    let remedy = match reason {
        "no-permission" => "let the credentials of spec.backup write there, or name others",
        "wrong-file-path" => "name a place in spec.backup that exists, on every node",
        _ => "look at the place that spec.backup names, and at the cluster's log",
    };
    let last = now.last_backup_time.as_ref().map_or(String::new(), |time| format!(" of {time}"));
    let text = format!(
        "a backup of database `{name}` failed: {reason}: {remedy}; the next one is tried when it is due, and earlier backups{last} stay"
    );
    Some(Event::warning("BackupFailed", text))
}

/// A source is not followed for a reason that the cluster gives; before it is reached for the first time it has none.
fn is_broken(source: &ReplicaSourceStatus) -> bool {
    source.status.as_deref() == Some(BROKEN) && source.last_error.is_some()
}

fn sources(seen: &Seen<'_>, status: &Status) -> Vec<Event> {
    let name = seen.observed.name();
    let last = &seen.database.status.replica_source_statuses;
    let turn = |source: &ReplicaSourceStatus| {
        let host = &source.endpoint_host;
        let before = last.iter().find(|last| last.endpoint_host == *host);
        if is_broken(source) && !before.is_some_and(is_broken) {
            let why = source.last_error.as_deref().unwrap_or_default();
            let text = format!(
                "database `{name}` does not follow its source {host}: {why}; it serves what it has, and the cluster tries on: see \
                 that the source is there and takes the credentials of spec.replicaSources"
            );
            return Some(Event::warning("ReplicaOutOfSync", text));
        }
        let in_sync = |source: &ReplicaSourceStatus| source.status.as_deref() == Some(IN_SYNC);
        (in_sync(source) && !before.is_some_and(in_sync))
            .then(|| Event::normal("ReplicaInSync", format!("database `{name}` follows its source {host}")))
    };
    status.replica_source_statuses.iter().filter_map(turn).collect()
}
