//! Removes from a shard the keys that a resharding made foreign to it, a piece at a time (REST reference, 16.9, step 3).

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    resp::{Connection, strings_of},
    slots,
};

/// A piece of work; in between the shard is looked at, and asked whether it is still wanted.
const PIECE: Duration = Duration::from_millis(150);

/// Keys looked at in one go.
const BATCH: &str = "2000";

/// How far the trimming of a process is.
pub(crate) struct Trim {
    /// Slots that stay.
    pub(crate) slots: (u16, u16),
    /// Whether every key was looked at.
    pub(crate) done: bool,
    cursor: Vec<u8>,
}

impl Trim {
    pub(crate) fn new(slots: (u16, u16)) -> Self {
        Self { slots, done: false, cursor: b"0".to_vec() }
    }

    /// Does a piece and returns how many keys went. `SCAN` meets every key that is there all the time, and proxies let
    /// no foreign one come in any more.
    pub(crate) async fn go_on(&mut self, connection: &mut Connection) -> io::Result<u64> {
        let started = Instant::now();
        let mut removed = 0;
        while !self.done && started.elapsed() < PIECE {
            let reply =
                connection.demand(&[b"SCAN".as_slice(), &self.cursor, b"COUNT".as_slice(), BATCH.as_bytes()]).await?;
            let mut found = strings_of(&reply).into_iter();
            self.cursor = found.next().unwrap_or_default();
            let mut words = vec![b"UNLINK".to_vec()];
            words.extend(found.filter(|key| {
                let slot = slots::slot_of(key);
                slot < self.slots.0 || slot > self.slots.1
            }));
            if words.len() > 1 {
                connection.demand(&words).await?;
                removed += words.len() as u64 - 1;
            }
            self.done = self.cursor == b"0";
        }
        Ok(removed)
    }
}
