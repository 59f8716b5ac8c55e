//! What is known of one cluster, how fresh that is, and what has to be read next. Decides; reads nothing itself.
//!
//! Freshness is counted in generations: whatever may have changed the cluster (a mutating call, another pod, another
//! Secret) begins a new one, and a fact counts as fresh only if its reading began in the generation that the asker needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stepwright_core::part::Difference;
use stepwright_operator::system;

use crate::facts::{FactKind, Known, Source};
use crate::settings::Settings;

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

/// What the fact source knows of one cluster.
#[derive(Debug)]
pub(crate) struct Snapshot {
    generation: u64,
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
            return if wanted.is_empty() { Next::Sleep(self.tick_at) } else { self.read(wanted) };
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
        if kinds.is_empty() { Next::Sleep(self.tick_at) } else { self.read(kinds) }
    }

    /// What was to be read was read. The pause counts from here, so that a slow server is not asked all the time.
    pub(crate) fn finished(&mut self, now: Instant) {
        if let Some(pause) = self.pause.take() {
            self.tick_at = now + pause;
        }
    }

    fn read(&self, kinds: Vec<FactKind>) -> Next {
        Next::Read { kinds, generation: self.generation }
    }

    /// Takes in a fact that was read. Says how it differs from what was known, if it does.
    pub(crate) fn store(
        &mut self,
        kind: FactKind,
        generation: u64,
        known: Known,
        raw: Option<[u8; 32]>,
        now: Instant,
    ) -> Option<Difference> {
        let current = self.needed(kind);
        // The sign of a change is read whether or not anybody asked for it; such a slot is not polled for itself.
        let slot = self.slots.entry(kind).or_insert_with(|| Slot {
            asked: now,
            wanted: false,
            polled: false,
            generation: 0,
            known: None,
            raw: None,
        });
        let before = slot.known.as_ref().filter(|before| before.value != known.value);
        let changed = before.map(|before| match (&before.value, &known.value) {
            (Ok(before), Ok(after)) => Difference::between(before.value(), after.value()),
            _ => Difference::Whole,
        });
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

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
