//! When backups begin, and when backups, exports and imports are over. Pure, like [`crate::conductor`], of which it is a part.

use serde_json::Value;

use crate::{
    conductor::{View, fresh},
    state::{Bdb, BdbStatus, bdbs::BdbCommand, transfer::TransferKind},
};

/// The step that is due.
pub(crate) fn step(view: &View<'_>, bdb: &Bdb) -> Option<BdbCommand> {
    let uid = bdb.uid;
    let Some(transfer) = &bdb.transfer else {
        if bdb.status == BdbStatus::Active && bdb.backup_due(view.now) {
            let places = bdb.config.get("backup_location").cloned().into_iter().collect();
            return Some(BdbCommand::Transfer { uid, kind: TransferKind::Backup, places });
        }
        return None;
    };
    let parts = bdb.transfer_parts(transfer);
    let of = |(shard, node): &(u32, u32)| {
        let mut parts = fresh(view, *node)?.transfers.iter();
        parts.find(|(id, part, _)| (id, part) == (&transfer.id, shard)).map(|(_, _, report)| report)
    };
    let reports: Vec<_> = parts.iter().filter_map(of).collect();
    if let Some(Err(failure)) = reports.iter().find_map(|report| report.outcome.clone().filter(Result::is_err)) {
        return Some(BdbCommand::TransferEnd { uid, failure: Some(failure) });
    }
    if reports.len() == parts.len() && reports.iter().all(|report| report.outcome.is_some()) {
        return Some(BdbCommand::TransferEnd { uid, failure: None });
    }
    // In quarters, so that a long one does not make a state of the cluster out of each percent.
    let sum: u32 = reports.iter().map(|report| report.percent).sum();
    let percent = sum / u32::try_from(parts.len()).unwrap_or(1).max(1) / 25 * 25;
    let said = bdb.config.get(&format!("{}_progress", transfer.kind.word())).and_then(Value::as_f64);
    said.is_none_or(|said| said < f64::from(percent)).then_some(BdbCommand::TransferAt { uid, percent })
}
