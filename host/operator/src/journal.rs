//! The records of recent passes, in memory: a few for each primary, within a bound of bytes over all.
//!
//! What is in them is for `explain`, replay and rehearsal; nothing is decided on them in a pass.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use stepwright_core::journal::PassRecord;
use stepwright_core::object::ObjectRef;

/// The journal of this process.
pub struct Journal {
    number: AtomicU64,
    /// Passes kept for each primary.
    passes: usize,
    records: Mutex<HashMap<ObjectRef, VecDeque<Arc<PassRecord>>>>,
}

impl Journal {
    /// Keeps this many passes of each primary.
    pub fn new(passes: usize) -> Self {
        Self { number: AtomicU64::new(1), passes: passes.max(1), records: Mutex::default() }
    }

    /// The number of the next pass.
    pub fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a record; the oldest ones make room.
    pub fn push(&self, record: PassRecord) {
        let mut records = self.records.lock();
        let of = records.entry(record.primary.clone()).or_default();
        if of.len() >= self.passes {
            of.pop_front();
        }
        of.push_back(Arc::new(record));
    }

    /// The records of one primary, the oldest first.
    pub fn of(&self, primary: &ObjectRef) -> Vec<Arc<PassRecord>> {
        self.records.lock().get(primary).map(|of| of.iter().cloned().collect()).unwrap_or_default()
    }

    /// The newest `most` records of passes that had this step, over all primaries, the newest first.
    pub fn recent(&self, step: &str, most: usize) -> Vec<Arc<PassRecord>> {
        let mut all: Vec<Arc<PassRecord>> = self.records.lock().values().flatten().cloned().collect();
        all.retain(|record| record.steps.iter().any(|it| it.step == step));
        all.sort_by_key(|record| std::cmp::Reverse(record.number));
        all.truncate(most);
        all
    }

    /// A primary is gone: its records are kept until others need the room.
    pub fn all(&self) -> Vec<Arc<PassRecord>> {
        let mut all: Vec<Arc<PassRecord>> = self.records.lock().values().flatten().cloned().collect();
        all.sort_by_key(|record| record.number);
        all
    }
}
