//! The records of recent passes, in memory: a few for each primary, within a bound of bytes over all.
//!
//! What is in them is for `explain`, replay and rehearsal; nothing is decided on them in a pass.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use stepwright_core::journal::PassRecord;
use stepwright_core::object::ObjectRef;

/// Bytes that a journal keeps where nothing else is said.
const BYTES: usize = 32 << 20;
/// Records of one primary, however much room there is: a primary that never rests would fill it alone.
const MOST: usize = 50;
/// Records of one primary that go only when no other primary has more than these.
const KEPT: usize = 3;

/// The journal of this process.
///
/// Passes of a primary at rest are one record, of the newest. Over its bound the oldest record goes, first of primaries with more than three, then of those with more than one. So
/// what is known of a quiet primary outlasts the noise of the others, and the bound holds whatever happens.
pub struct Journal {
    number: AtomicU64,
    bytes: usize,
    records: Mutex<Records>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl Journal {
    /// Keeps about this many bytes of records.
    pub fn new(bytes: usize) -> Self {
        Self { number: AtomicU64::new(1), bytes, records: Mutex::default() }
    }

    /// The number of the next pass.
    pub fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a record; others make room. One that is larger than the whole journal is not kept.
    pub fn push(&self, record: PassRecord) {
        self.records.lock().push(record, self.bytes);
    }

    /// The records of one primary, the oldest first.
    pub fn of(&self, primary: &ObjectRef) -> Vec<Arc<PassRecord>> {
        self.records.lock().of.get(primary).map(|of| of.iter().cloned().collect()).unwrap_or_default()
    }

    /// The newest `most` records of passes that had this step, over all primaries, the newest first.
    pub fn recent(&self, step: &str, most: usize) -> Vec<Arc<PassRecord>> {
        let mut all = self.all();
        all.retain(|record| record.steps.iter().any(|it| it.step == step));
        all.reverse();
        all.truncate(most);
        all
    }

    /// Every record, the oldest first. A primary that is gone has its own until others need the room.
    pub fn all(&self) -> Vec<Arc<PassRecord>> {
        let mut all: Vec<Arc<PassRecord>> = self.records.lock().of.values().flatten().cloned().collect();
        all.sort_by_key(|record| record.number);
        all
    }

    /// The record of this number.
    pub fn get(&self, number: u64) -> Option<Arc<PassRecord>> {
        self.records.lock().of.values().flatten().find(|record| record.number == number).cloned()
    }

    /// What the records that are kept come to, in bytes. What several share counts once.
    pub fn bytes(&self) -> usize {
        self.records.lock().bytes
    }
}

#[derive(Default)]
struct Records {
    of: HashMap<ObjectRef, VecDeque<Arc<PassRecord>>>,
    /// The oldest record of each primary, in the order in which they go.
    order: BTreeSet<(Rank, u64, ObjectRef)>,
    /// How many records hold each shared part, by its address.
    shares: HashMap<usize, usize>,
    bytes: usize,
}

/// Smaller ones go first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Spare,
    Kept,
    Last,
}

impl Records {
    fn push(&mut self, mut record: PassRecord, bound: usize) {
        let id = record.primary.clone();
        if let Some(before) = self.of.get(&id).and_then(VecDeque::back) {
            record.share_with(before);
            // Of a primary at rest the newest pass tells all that the ones before it would.
            if record.repeats(before) {
                self.remove(&id, VecDeque::pop_back);
            }
        }
        if record.size() > bound {
            return;
        }
        if self.of.get(&id).is_some_and(|of| of.len() >= MOST) {
            self.remove(&id, VecDeque::pop_front);
        }
        self.unrank(&id);
        self.bytes += record.own_size();
        for (address, size) in record.shared() {
            let holders = self.shares.entry(address).or_insert(0);
            *holders += 1;
            if *holders == 1 {
                self.bytes += size;
            }
        }
        self.of.entry(id.clone()).or_default().push_back(Arc::new(record));
        self.rank(&id);
        while self.bytes > bound {
            let Some(id) = self.order.first().map(|(_, _, id)| id.clone()) else { return };
            self.remove(&id, VecDeque::pop_front);
        }
    }

    /// Takes one record out of those of a primary.
    fn remove(&mut self, id: &ObjectRef, take: fn(&mut VecDeque<Arc<PassRecord>>) -> Option<Arc<PassRecord>>) {
        self.unrank(id);
        let Some(of) = self.of.get_mut(id) else { return };
        let taken = take(of);
        if of.is_empty() {
            self.of.remove(id);
        }
        self.rank(id);
        let Some(taken) = taken else { return };
        self.bytes -= taken.own_size();
        for (address, size) in taken.shared() {
            let Some(holders) = self.shares.get_mut(&address) else { continue };
            *holders -= 1;
            if *holders == 0 {
                self.shares.remove(&address);
                self.bytes -= size;
            }
        }
    }

    fn key(&self, id: &ObjectRef) -> Option<(Rank, u64, ObjectRef)> {
        let of = self.of.get(id)?;
        let rank = match of.len() {
            0 | 1 => Rank::Last,
            len if len <= KEPT => Rank::Kept,
            _ => Rank::Spare,
        };
        Some((rank, of.front()?.number, id.clone()))
    }

    fn rank(&mut self, id: &ObjectRef) {
        if let Some(key) = self.key(id) {
            self.order.insert(key);
        }
    }

    fn unrank(&mut self, id: &ObjectRef) {
        if let Some(key) = self.key(id) {
            self.order.remove(&key);
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
