//! What is known of one cluster, how fresh that is, and what has to be read next. Decides; reads nothing itself.
//!
//! Freshness is counted in generations: whatever may have changed the cluster (a mutating call, another pod, another
//! Secret) begins a new one, and a fact counts as fresh only if its reading began in the generation that the asker needs.
//!
//! A call that changes one database begins none: that database is read, alone, before the call counts as answered, and takes its
//! place in the list. So what a change costs does not grow with the number of databases.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stepwright_core::part::Difference;
use stepwright_operator::system;

use crate::facts::{FactKind, Known, Source};
use crate::items::Item;
use crate::settings::Settings;

/// After looking at something that moves, so many times as long as that took nothing is looked at.
const RESTS: u32 = 2;
/// But no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// No list of databases is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoList;

#[derive(Debug, Clone)]
struct Slot {
    /// When somebody last asked for it.
    asked: Instant,
    /// Somebody waits for it.
    wanted: bool,
    /// It is read by itself; if not, nobody asked for long and what is known may be old.
    polled: bool,
    /// The generation in which its last reading began; 0: never read.
    generation: u64,
    known: Option<Known>,
    /// Digest of the body that it was made of.
    raw: Option<[u8; 32]>,
}

/// The generations that facts have to be of for one asker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    any: u64,
    slow: u64,
}

impl Needed {
    fn of(self, kind: FactKind) -> u64 {
        if Source::of(kind).is_some_and(|source| source.slow) { self.slow } else { self.any }
    }
}

/// Whether a call can change nothing but databases, and what follows from them: how much of the license is used is seen when
/// the cluster is looked at next, and nobody waits for it.
fn changes_databases_only(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let Some(bdbs) = Source::of(FactKind::Bdbs) else { return false };
    let below = path.strip_prefix(bdbs.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // What is read there and slow, as the alerts of databases, is changed by it.
    below && !Source::is_slow_at(path)
}

/// The database that a call changes and none but it, if its path says so.
pub(crate) fn database_of(path: &str) -> Option<u64> {
    let below = path.strip_prefix(Source::of(FactKind::Bdbs)?.path)?.strip_prefix('/')?;
    below.split(['/', '?']).next()?.parse().ok()
}

/// What the fact source knows of one cluster.
#[derive(Debug)]
pub(crate) struct Snapshot {
    generation: u64,
    /// Databases that were read alone, with the number of that reading. Those from before the last whole list are forgotten.
    alone: BTreeMap<u64, (u64, Option<Item>)>,
    clock: u64,
    /// The number of the last such reading when what is being read now was begun, and when that was.
    began: (u64, Instant),
    /// What is under way is a look at something that moves.
    often: bool,
    /// Looking takes its time; before this nothing is looked at again only because it moves.
    not_before: Instant,
    /// The generation that slow facts have to be of: calls that change databases leave those alone.
    slow: u64,
    /// What Kubernetes said of pods and credentials when this generation began.
    key: String,
    slots: BTreeMap<FactKind, Slot>,
    /// The configuration's number when all facts were last read.
    state_id: Option<String>,
    tick_at: Instant,
    /// The pause that follows the look under way; `None` once something asks for an earlier one.
    pause: Option<Duration>,
    full_at: Instant,
    last_change: Instant,
    /// Until then the cluster counts as moving.
    busy_until: Instant,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Sleep(Instant),
    /// Read these, as of this generation.
    Read {
        kinds: Vec<FactKind>,
        generation: u64,
    },
    /// Facts that nobody asked for any more are given up: say so once, so that whoever needs them asks.
    GivenUp,
}

impl Snapshot {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            generation: 1,
            alone: BTreeMap::new(),
            clock: 0,
            began: (0, now),
            often: false,
            not_before: now,
            slow: 1,
            key: String::new(),
            slots: BTreeMap::new(),
            state_id: None,
            tick_at: now,
            pause: None,
            full_at: now,
            last_change: now,
            busy_until: now,
        }
    }

    /// Something may have changed the cluster.
    pub(crate) fn invalidate(&mut self) {
        self.generation += 1;
        self.slow = self.generation;
    }

    /// What a fact has to be of now.
    fn needed(&self, kind: FactKind) -> u64 {
        Needed { any: self.generation, slow: self.slow }.of(kind)
    }

    /// A mutating call was made: look again soon, and often for a while.
    pub(crate) fn called(&mut self, path: &str, now: Instant, settings: &Settings) {
        self.generation += 1;
        if !changes_databases_only(path) {
            self.slow = self.generation;
        }
        self.busy_until = now + settings.settle;
        self.last_change = now;
        self.tick_at = self.tick_at.min(now + settings.moving_interval);
        self.pause = None;
    }

    /// Something is under way: look again soon, and often for a while, but not more often than looking takes.
    pub(crate) fn stirred(&mut self, now: Instant, settings: &Settings) {
        self.busy_until = now + settings.settle;
        self.last_change = now;
        match &mut self.pause {
            Some(pause) => *pause = (*pause).min(settings.moving_interval),
            None => self.tick_at = self.tick_at.min((now + settings.moving_interval).max(self.not_before)),
        }
    }

    /// A database is going to be read alone. What that says belongs to this number.
    pub(crate) fn begin_alone(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Takes in a database that was read alone; `None`: there is none. Says how the list differs from what it was; an error, if no
    /// list is known in which it could take its place.
    pub(crate) fn store_alone(
        &mut self,
        uid: u64,
        began: u64,
        item: Option<Item>,
        now: Instant,
    ) -> Result<Option<Difference>, NoList> {
        let slot = self.slots.get_mut(&FactKind::Bdbs).filter(|slot| slot.polled).ok_or(NoList)?;
        let before = slot.known.as_ref().ok_or(NoList)?;
        if self.alone.get(&uid).is_some_and(|(newer, _)| *newer > began) {
            return Ok(None);
        }
        let known = before.with(uid, item.clone()).ok_or(NoList)?;
        let changed = difference(before, &known);
        slot.known = Some(known);
        slot.raw = None;
        self.alone.insert(uid, (began, item));
        if changed.is_some() {
            self.last_change = now;
        }
        Ok(changed)
    }

    /// What Kubernetes says now. If that differs, what is known is stale.
    pub(crate) fn meet(&mut self, key: String, now: Instant) {
        if self.key != key {
            self.key = key;
            self.last_change = now;
            self.tick_at = now;
            self.pause = None;
            self.invalidate();
        }
    }

    /// What is not known of the cluster may be known now. `bootstrap` itself is not read again for this, so that a node that
    /// answers differently each time costs no more than any other.
    pub(crate) fn doubt_unknown(&mut self) {
        for (kind, slot) in &mut self.slots {
            if *kind != FactKind::Bootstrap && slot.known.as_ref().is_some_and(|known| known.value.is_err()) {
                slot.generation = 0;
            }
        }
    }

    /// Somebody wants these facts. Returns the generations that they have to be of.
    pub(crate) fn ask(&mut self, kinds: &[FactKind], now: Instant) -> Needed {
        let needed = Needed { any: self.generation, slow: self.slow };
        for kind in kinds {
            let slot = self.slots.entry(*kind).or_insert_with(|| Slot {
                asked: now,
                wanted: true,
                polled: true,
                generation: 0,
                known: None,
                raw: None,
            });
            slot.asked = now;
            if !slot.polled {
                slot.polled = true;
                slot.generation = 0;
            }
            slot.wanted |= slot.generation < needed.of(*kind);
        }
        needed
    }

    /// The facts as they are known, if all are as fresh as needed.
    pub(crate) fn answer(&self, kinds: &[FactKind], needed: Needed) -> Option<Vec<system::Known>> {
        let facts = kinds.iter().map(|kind| {
            let slot = self.slots.get(kind).filter(|slot| slot.generation >= needed.of(*kind))?;
            Some(system::Known { name: Source::of(*kind)?.name.to_owned(), value: slot.known.as_ref()?.value.clone() })
        });
        facts.collect()
    }

    /// What to do next.
    pub(crate) fn next(&mut self, now: Instant, settings: &Settings) -> Next {
        let wanted: Vec<FactKind> = self.slots.iter().filter(|(_, slot)| slot.wanted).map(|(kind, _)| *kind).collect();
        if now < self.tick_at {
            return if wanted.is_empty() { Next::Sleep(self.tick_at) } else { self.read(wanted, now) };
        }
        let mut given_up = false;
        for slot in self.slots.values_mut().filter(|slot| slot.polled && !slot.wanted) {
            if now.saturating_duration_since(slot.asked) >= settings.interest {
                slot.polled = false;
                given_up = true;
            }
        }
        if given_up {
            return Next::GivenUp;
        }
        let moving = self.moving(now, settings);
        let full = now >= self.full_at;
        if full {
            self.full_at = now + settings.full_interval;
        }
        let pause = if moving { settings.moving_interval } else { settings.rest_interval };
        self.tick_at = now + pause;
        self.pause = Some(pause);
        self.often = moving;
        // With the configuration's number at hand one small answer tells whether anything else has to be read.
        let telling = !moving && self.state_id.is_some();
        let mut kinds = wanted;
        for (kind, slot) in self.slots.iter().filter(|(_, slot)| slot.polled) {
            let stale = slot.generation < self.needed(*kind);
            let troubled = slot.known.as_ref().is_none_or(|known| known.passing);
            let quick =
                Source::of(*kind).is_some_and(|source| !source.slow) || (*kind == FactKind::Bootstrap && moving);
            if stale || troubled || full || (quick && !telling) {
                kinds.push(*kind);
            }
        }
        if telling && self.slots.values().any(|slot| slot.polled) {
            kinds.push(FactKind::NodesStatus);
        }
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() { Next::Sleep(self.tick_at) } else { self.read(kinds, now) }
    }

    /// What was to be read was read. The pause counts from here, so that a slow server is not asked all the time.
    pub(crate) fn finished(&mut self, now: Instant) {
        self.not_before = now + (now.saturating_duration_since(self.began.1) * RESTS).min(LONGEST_REST);
        if let Some(pause) = self.pause.take() {
            self.tick_at = now + pause;
            if self.often {
                self.tick_at = self.tick_at.max(self.not_before);
            }
        }
    }

    fn read(&mut self, kinds: Vec<FactKind>, now: Instant) -> Next {
        self.began = (self.clock, now);
        Next::Read { kinds, generation: self.generation }
    }

    /// Takes in a fact that was read. Says how it differs from what was known, if it does.
    pub(crate) fn store(
        &mut self,
        kind: FactKind,
        generation: u64,
        mut known: Known,
        mut raw: Option<[u8; 32]>,
        now: Instant,
    ) -> Option<Difference> {
        let current = self.needed(kind);
        if kind == FactKind::Bdbs && known.value.is_ok() {
            // What was read alone since then is newer than the list.
            self.alone.retain(|_, (began, _)| *began > self.began.0);
            for (uid, (_, item)) in &self.alone {
                known = known.with(*uid, item.clone()).unwrap_or(known);
                // The next list may be this one again, and be what counts then.
                raw = None;
            }
        }
        // The sign of a change is read whether or not anybody asked for it; such a slot is not polled for itself.
        let slot = self.slots.entry(kind).or_insert_with(|| Slot {
            asked: now,
            wanted: false,
            polled: false,
            generation: 0,
            known: None,
            raw: None,
        });
        let changed = slot.known.as_ref().and_then(|before| difference(before, &known));
        slot.known = Some(known);
        slot.raw = raw;
        slot.generation = slot.generation.max(generation);
        if slot.generation >= current {
            slot.wanted = false;
        }
        if changed.is_some() {
            self.last_change = now;
        }
        changed
    }

    /// What a list was made of when it was last read.
    pub(crate) fn items(&self, kind: FactKind) -> Vec<Item> {
        self.slots.get(&kind).and_then(|slot| slot.known.as_ref()).map(|known| known.items.clone()).unwrap_or_default()
    }

    /// What was made of a body before, if it was this body.
    pub(crate) fn same(&self, kind: FactKind, raw: &[u8; 32]) -> Option<Known> {
        let slot = self.slots.get(&kind)?;
        (slot.raw.as_ref() == Some(raw)).then(|| slot.known.clone()).flatten()
    }

    /// Takes in the configuration's number. If it is another one, or the nodes' status `changed`, returns what else has to
    /// be read.
    pub(crate) fn note_state(&mut self, id: Option<String>, changed: bool) -> Vec<FactKind> {
        let another = id.is_some() && id != self.state_id;
        self.state_id = id;
        if !another && !changed {
            return Vec::new();
        }
        let rest = self
            .slots
            .iter()
            .filter(|(kind, slot)| slot.polled && !matches!(kind, FactKind::NodesStatus | FactKind::Bootstrap));
        rest.map(|(kind, _)| *kind).collect()
    }

    /// Whether the cluster is worth looking at often.
    fn moving(&self, now: Instant, settings: &Settings) -> bool {
        if now < self.busy_until {
            return true;
        }
        let moving =
            self.slots.values().any(|slot| slot.polled && slot.known.as_ref().is_some_and(|known| known.moving));
        moving && now.saturating_duration_since(self.last_change) < settings.restless
    }
}

/// How what is known now differs from what was.
fn difference(before: &Known, after: &Known) -> Option<Difference> {
    match (&before.value, &after.value) {
        (Ok(before), Ok(after)) => after.since(before),
        (before, after) => (before != after).then_some(Difference::Whole),
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
