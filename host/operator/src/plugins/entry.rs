//! What is known of the plugin of one ConfigMap, and what follows for its slots. Pure but for the guests that it holds.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use stepwright_core::delegation::Whose;
use stepwright_core::guest::Digest;
use stepwright_core::slot::Mode;
use stepwright_core::world::World;

use super::prepare::Prepared;
use super::refusal::Refusal;
use crate::offer::{Component, Offer, Wishes};
use crate::slots::{Installation, Slots, Source, Version};

/// Everything in an offer that loading it depends on, as a digest.
pub(crate) type Key = [u8; 32];

/// The key of an offer.
pub(crate) fn key(offer: &Offer) -> Key {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match &offer.component {
        Component::Inline(bytes) => put(bytes),
        Component::Oci { reference } => put(reference.as_bytes()),
    }
    put(offer.settings.as_bytes());
    put(offer.signature.as_deref().unwrap_or_default());
    put(offer.wishes.service_account.as_deref().unwrap_or_default().as_bytes());
    put(format!("{:?}", offer.wishes.calls).as_bytes());
    put(&[u8::from(offer.wishes.rehearse_live)]);
    hash.finalize().into()
}

/// After the first refusal that may pass by itself, and after many.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(5 * 60);

/// How long to wait after so many refusals in a row before this one.
fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << failures.min(16)).min(LONGEST_DELAY)
}

/// The plugin of one ConfigMap.
pub(crate) struct Entry {
    pub(crate) source: Source,
    /// As last read.
    pub(crate) wishes: Wishes,
    /// What was last tried.
    pub(crate) key: Key,
    /// When the wish for it arrived.
    pub(crate) since: Instant,
    /// Prepared and not taken up yet: the set that it belongs to is not complete.
    pub(crate) ready: Option<Prepared>,
    /// What the slots have of it.
    pub(crate) current: Option<Prepared>,
    /// The wishes by which it takes part; those of a refused version are not its own.
    pub(crate) placed: Wishes,
    /// What answered before it, and would again.
    pub(crate) before: Option<Prepared>,
    /// And the digest of what was refused, where that is known.
    pub(crate) refusal: Option<(Refusal, Option<String>)>,
    /// Taken back by the host. Stands until the annotation says the same.
    pub(crate) taken_back: Option<Digest>,
    /// Promoted by the host: stands until the annotation says the same.
    pub(crate) promoted: Option<Digest>,
    /// Why what is rolled back was: for as long as it is.
    pub(crate) cause: Option<String>,
    pub(crate) retry_at: Option<Instant>,
    /// Refusals in a row whose remedy lies outside of the ConfigMap.
    pub(crate) failures: u32,
    /// It is to be tried again although nothing in the offer changed.
    pub(crate) is_due: bool,
    /// What the slots were given last.
    pub(crate) installed: Option<Installed>,
    pub(crate) whose: Whose,
}

/// What the slots were given: to see whether something else would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) source: Source,
    /// Digest, mode and the rest of each version.
    versions: Vec<(Digest, String)>,
}

impl Installed {
    pub(crate) fn of(installation: &Installation) -> Self {
        let rest = |it: &Version| {
            let Version { settings, mode, promote_after, on_failure, identity, priority, .. } = it;
            format!("{settings:?} {mode:?} {promote_after:?} {on_failure:?} {identity:?} {priority}")
        };
        let versions = installation.versions.iter().map(|it| (it.guest.digest().clone(), rest(it))).collect();
        Self { source: installation.source.clone(), versions }
    }

    /// The uppermost version.
    pub(crate) fn top(&self) -> Option<&Digest> {
        self.versions.last().map(|(digest, _)| digest)
    }
}

/// The part of an entry that a swap changes: to go back to where a set cannot be taken up.
pub(crate) struct Saved {
    ready: Option<Prepared>,
    current: Option<Prepared>,
    before: Option<Prepared>,
    placed: Wishes,
    cause: Option<String>,
}

impl Entry {
    pub(crate) fn new(source: Source, wishes: Wishes, key: Key, since: Instant) -> Self {
        Self {
            source,
            placed: wishes.clone(),
            wishes,
            key,
            since,
            ready: None,
            current: None,
            before: None,
            refusal: None,
            taken_back: None,
            promoted: None,
            cause: None,
            retry_at: None,
            failures: 0,
            is_due: false,
            installed: None,
            whose: Whose::Ours,
        }
    }

    pub(crate) fn save(&self) -> Saved {
        Saved {
            ready: self.ready.clone(),
            current: self.current.clone(),
            before: self.before.clone(),
            placed: self.placed.clone(),
            cause: self.cause.clone(),
        }
    }

    pub(crate) fn restore(&mut self, saved: Saved) {
        let Saved { ready, current, before, placed, cause } = saved;
        (self.ready, self.current, self.before, self.placed, self.cause) = (ready, current, before, placed, cause);
    }

    /// Sets when a refused one is tried again, if that may help: later with each time, and never more than five minutes on.
    pub(crate) fn retry_later(&mut self, may_pass: bool, now: Instant) {
        self.retry_at = may_pass.then(|| now + delay(self.failures));
        self.failures = if may_pass { self.failures.saturating_add(1) } else { 0 };
    }

    /// It is to be tried again now.
    pub(crate) fn retry_now(&mut self) {
        (self.is_due, self.retry_at) = (true, None);
    }

    /// Nothing more is to come before it can be taken up, or it was already.
    pub(crate) fn is_settled(&self) -> bool {
        self.whose == Whose::Theirs || (self.refusal.is_none() && (self.ready.is_some() || self.current.is_some()))
    }

    /// It is not for this process: what was taken up before is given up.
    pub(crate) fn leave(&mut self) {
        self.whose = Whose::Theirs;
        (self.ready, self.current, self.before, self.refusal) = (None, None, None, None);
        (self.taken_back, self.promoted, self.cause) = (None, None, None);
    }

    /// Whether this version is not to be asked.
    pub(crate) fn is_rolled_back(&self, digest: &Digest) -> bool {
        let digest_text = digest.to_string();
        self.wishes.rolled_back.as_ref() == Some(&digest_text) || self.taken_back.as_ref() == Some(digest)
    }

    fn is_promoted(&self, digest: &Digest) -> bool {
        self.wishes.promoted.as_ref() == Some(&digest.to_string()) || self.promoted.as_ref() == Some(digest)
    }

    /// How the current version takes part; `None`: there is none, or it was rolled back.
    pub(crate) fn mode(&self) -> Option<Mode> {
        let current = self.current.as_ref().filter(|it| !self.is_rolled_back(it.digest()))?;
        Some(if self.is_promoted(current.digest()) { Mode::Active } else { self.placed.mode.clone() })
    }

    /// It is as active as if it had said so.
    pub(crate) fn was_promoted(&self) -> bool {
        self.placed.mode != Mode::Active && self.current.as_ref().is_some_and(|it| self.is_promoted(it.digest()))
    }

    /// Takes what is ready for what is current. What answered becomes what answered before.
    pub(crate) fn take_ready(&mut self) {
        let Some(ready) = self.ready.take() else { return };
        let answered = self.mode() == Some(Mode::Active);
        self.placed = self.wishes.clone();
        self.cause = None;
        let Some(old) = self.current.replace(ready) else { return };
        let is_new = self.current.as_ref().is_some_and(|it| it.digest() != old.digest());
        if is_new && answered {
            self.before = Some(old);
        }
    }

    /// Takes the annotations as they are now. What the host decided and they say by now need not be remembered.
    pub(crate) fn hear(&mut self, wishes: Wishes) {
        let says = |annotated: &Option<String>, digest: &Digest| annotated.as_deref() == Some(&*digest.to_string());
        if self.taken_back.as_ref().is_some_and(|digest| says(&wishes.rolled_back, digest)) {
            self.taken_back = None;
        }
        if self.promoted.as_ref().is_some_and(|digest| says(&wishes.promoted, digest)) {
            self.promoted = None;
        }
        self.wishes = wishes;
    }

    /// It was rehearsed as one that is tried out, badly, and is to answer now.
    pub(crate) fn needs_another_rehearsal(&self) -> bool {
        self.wishes.mode == Mode::Active
            && self.placed.mode != Mode::Active
            && self.refusal.is_none()
            && self.current.as_ref().is_some_and(|it| !it.rehearsal.errors.is_empty() && !self.is_promoted(it.digest()))
    }

    /// There is nothing to say yet: it is being prepared, or nothing of it was ever taken up.
    pub(crate) fn is_untold(&self) -> bool {
        let is_known = self.refusal.is_some() || self.ready.is_some() || self.current.is_some();
        !is_known && self.wishes.rolled_back.is_none()
    }

    fn shown(&self) -> Option<&Prepared> {
        self.current.as_ref().or(self.ready.as_ref())
    }

    /// The plugin's name; empty where it could not be read.
    pub(crate) fn plugin_name(&self) -> String {
        self.shown().map(|it| it.guest.manifest().name.clone()).unwrap_or_default()
    }

    /// Those of the steps or checks of some pipeline that it answers for, or reviews.
    pub(crate) fn steps(&self, slots: &Slots) -> Vec<String> {
        let Some(guest) = self.shown().map(|it| &it.guest) else { return Vec::new() };
        let manifest = guest.manifest();
        let concerns = |step: &&String| {
            manifest.steps.iter().any(|it| it.name == **step)
                || manifest.policy.as_ref().is_some_and(|policy| policy.reviews(step))
        };
        slots.wanted(guest.world()).iter().filter(concerns).cloned().collect()
    }

    /// `answers for step a, b`.
    pub(crate) fn what(&self, slots: &Slots) -> String {
        let verb = match self.shown().map(|it| it.guest.world()) {
            Some(World::Policy) => "reviews the plans of step",
            Some(World::Admission) => "answers for check",
            Some(World::Step) | None => "answers for step",
        };
        format!("{verb} {}", self.steps(slots).join(", "))
    }

    /// The version that would answer if the current one were taken back.
    pub(crate) fn previous(&self) -> Option<&Prepared> {
        let current = self.current.as_ref()?.digest();
        self.before.as_ref().filter(|it| it.digest() != current && !self.is_rolled_back(it.digest()))
    }

    /// What the slots are to have of it.
    pub(crate) fn installation(&self) -> Installation {
        let version = |prepared: &Prepared, mode: Mode, since: Option<Instant>| Version {
            guest: prepared.guest.clone(),
            settings: prepared.settings.clone(),
            mode,
            promote_after: self.placed.promote_after,
            on_failure: self.placed.on_failure,
            identity: prepared.identity.clone(),
            priority: self.placed.priority,
            since,
        };
        let before = self.previous().map(|it| version(it, Mode::Active, None));
        let current = self.current.as_ref().zip(self.mode());
        let current = current.map(|(it, mode)| version(it, mode, Some(self.since)));
        Installation { source: self.source.clone(), versions: before.into_iter().chain(current).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_tried_again_ever_later_and_never_where_that_cannot_help() {
        let mut entry = Entry::new(Source::ConfigMap("ns/p".into()), Wishes::default(), [0; 32], Instant::now());
        let now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..9 {
            entry.retry_later(true, now);
            delays.push(entry.retry_at.unwrap().duration_since(now).as_secs());
        }
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        entry.retry_now();
        assert!(entry.is_due && entry.retry_at.is_none());
        entry.retry_later(false, now);
        assert_eq!((entry.retry_at, entry.failures), (None, 0));
        entry.failures = u32::MAX;
        entry.retry_later(true, now);
        assert_eq!(entry.retry_at.unwrap(), now + LONGEST_DELAY);
    }
}
