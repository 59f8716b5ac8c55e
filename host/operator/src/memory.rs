//! What was decided and applied before, so that a step is not asked the same thing twice and drift is told from news.
//!
//! Only ever a shortcut, but for one thing: the last good plan, which is kept up while a step gives none. Losing it costs
//! that, never correctness.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stepwright_core::admit::AdmittedPlan;
use stepwright_core::guest::Digest;
use stepwright_core::journal::PluginRef;
use stepwright_core::object::ObjectRef;
use stepwright_core::observation::Refused;
use stepwright_core::plan::Plan;

use crate::slots::Identity;

pub(crate) type Hash = [u8; 32];

/// A plan that was carried out.
#[derive(Clone)]
pub(crate) struct Planned {
    /// As the step made it; for records and comparisons.
    pub raw: Arc<Plan>,
    /// As the policies left it.
    pub plan: Arc<AdmittedPlan>,
}

/// A policy's no.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    /// `PolicyDenied` or `PolicyHold`.
    pub reason: &'static str,
    pub message: String,
    /// Asked again then.
    pub until: Option<Instant>,
}

/// How a question was answered.
#[derive(Clone)]
pub(crate) enum Kept {
    Planned(Planned),
    Stopped(Stopped),
}

#[derive(Clone)]
struct Answer {
    plugin: Digest,
    question: Hash,
    kept: Kept,
}

/// The last plan of a step that was carried out whole, and in whose name.
#[derive(Clone)]
pub(crate) struct Good {
    pub planned: Planned,
    pub plugin: PluginRef,
    pub identity: Option<Identity>,
}

#[derive(Default)]
struct OfPrimary {
    /// The last answer of each step.
    answers: HashMap<String, Answer>,
    good: HashMap<String, Good>,
    /// What the shadow of each step was asked last.
    shadows: HashMap<String, Hash>,
    /// What of the last plan of each step was left undone, as JSON text.
    refused: HashMap<String, String>,
    /// What was last applied to each object.
    applied: HashMap<ObjectRef, Hash>,
    /// The version of each object in which everything was found to be as wanted, and who wanted it.
    as_wanted: HashMap<ObjectRef, (Hash, String)>,
    /// Failed passes in a row.
    failures: u32,
    /// Bytes that its steps were shown in the pass under way, or the last one.
    shown: usize,
    /// When the last pass ended.
    ended: Option<Instant>,
}

/// Who is shown little needs no rest.
const LITTLE: usize = 256 << 10;
/// For each MiB that its steps are shown, a primary rests this long between two passes: what is about thousands of things is looked at
/// as a whole each time that one of them changes.
const REST_PER_MIB: Duration = Duration::from_secs(1);
/// But no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// How long a primary rests after a pass in which its steps were shown so many bytes.
fn rest_after(shown: usize) -> Duration {
    if shown <= LITTLE {
        return Duration::ZERO;
    }
    let hundredths = u32::try_from(shown / (1 << 20) * 100 + (shown % (1 << 20)) * 100 / (1 << 20)).unwrap_or(u32::MAX);
    (REST_PER_MIB / 100).saturating_mul(hundredths).min(LONGEST_REST)
}

/// The memory of all primaries.
#[derive(Default)]
pub(crate) struct Memory {
    primaries: Mutex<HashMap<ObjectRef, OfPrimary>>,
}

impl Memory {
    /// The answer to a question with this digest, if the plugin was asked it last and planned no calls.
    pub(crate) fn answer(&self, primary: &ObjectRef, step: &str, plugin: &Digest, question: &Hash) -> Option<Kept> {
        let primaries = self.primaries.lock();
        let answer = primaries.get(primary)?.answers.get(step)?;
        let passed =
            matches!(&answer.kept, Kept::Stopped(Stopped { until: Some(until), .. }) if *until <= Instant::now());
        (answer.plugin == *plugin && answer.question == *question && !passed).then(|| answer.kept.clone())
    }

    /// A plan with calls is not kept: whether to call is decided afresh each time.
    pub(crate) fn keep(&self, primary: &ObjectRef, step: &str, plugin: &Digest, question: Hash, kept: Kept) {
        let mut primaries = self.primaries.lock();
        let of = primaries.entry(primary.clone()).or_default();
        if matches!(&kept, Kept::Planned(planned) if !planned.plan.calls().is_empty()) {
            of.answers.remove(step);
        } else {
            of.answers.insert(step.to_owned(), Answer { plugin: plugin.clone(), question, kept });
        }
    }

    /// The last good plan of a step.
    pub(crate) fn good(&self, primary: &ObjectRef, step: &str) -> Option<Good> {
        self.primaries.lock().get(primary)?.good.get(step).cloned()
    }

    pub(crate) fn set_good(&self, primary: &ObjectRef, step: &str, good: Good) {
        self.primaries.lock().entry(primary.clone()).or_default().good.insert(step.to_owned(), good);
    }

    /// Whether the shadow of a step was not asked this last; from now on it was.
    pub(crate) fn is_new_to_shadow(&self, primary: &ObjectRef, step: &str, question: Hash) -> bool {
        let mut primaries = self.primaries.lock();
        let of = primaries.entry(primary.clone()).or_default();
        of.shadows.insert(step.to_owned(), question) != Some(question)
    }

    /// The shadow of a step has to be asked again.
    pub(crate) fn forget_shadow(&self, primary: &ObjectRef, step: &str) {
        if let Some(of) = self.primaries.lock().get_mut(primary) {
            of.shadows.remove(step);
        }
    }

    /// What of a step's last plan was left undone, as JSON text; `None`: nothing.
    pub(crate) fn refused(&self, primary: &ObjectRef, step: &str) -> Option<String> {
        self.primaries.lock().get(primary)?.refused.get(step).cloned()
    }

    pub(crate) fn set_refused(&self, primary: &ObjectRef, step: &str, refused: &[Refused]) {
        let mut primaries = self.primaries.lock();
        let text = (!refused.is_empty()).then(|| serde_json::to_string(refused).ok()).flatten();
        match text {
            Some(text) => {
                primaries.entry(primary.clone()).or_default().refused.insert(step.to_owned(), text);
            }
            None => {
                if let Some(of) = primaries.get_mut(primary) {
                    of.refused.remove(step);
                }
            }
        }
    }

    pub(crate) fn digest_of(&self, body: &Value) -> Hash {
        Sha256::digest(body.to_string()).into()
    }

    pub(crate) fn applied(&self, primary: &ObjectRef, object: &ObjectRef) -> Option<Hash> {
        self.primaries.lock().get(primary)?.applied.get(object).copied()
    }

    /// Whether this version of an object was found to be as wanted, when the same was wanted.
    pub(crate) fn is_as_wanted(&self, primary: &ObjectRef, object: &ObjectRef, wanted: &Hash, version: &str) -> bool {
        let primaries = self.primaries.lock();
        let known = primaries.get(primary).and_then(|of| of.as_wanted.get(object));
        known.is_some_and(|(digest, seen)| digest == wanted && seen == version)
    }

    pub(crate) fn set_as_wanted(&self, primary: &ObjectRef, object: &ObjectRef, wanted: Hash, version: String) {
        self.primaries.lock().entry(primary.clone()).or_default().as_wanted.insert(object.clone(), (wanted, version));
    }

    pub(crate) fn set_applied(&self, primary: &ObjectRef, object: &ObjectRef, digest: Hash) {
        self.primaries.lock().entry(primary.clone()).or_default().applied.insert(object.clone(), digest);
    }

    pub(crate) fn forget_applied(&self, primary: &ObjectRef, object: &ObjectRef) {
        if let Some(of) = self.primaries.lock().get_mut(primary) {
            of.applied.remove(object);
            of.as_wanted.remove(object);
        }
    }

    /// Counts a failed pass; how many in a row it is now.
    pub(crate) fn failed(&self, primary: &ObjectRef) -> u32 {
        let mut primaries = self.primaries.lock();
        let of = primaries.entry(primary.clone()).or_default();
        of.failures = of.failures.saturating_add(1);
        of.failures
    }

    pub(crate) fn succeeded(&self, primary: &ObjectRef) {
        if let Some(of) = self.primaries.lock().get_mut(primary) {
            of.failures = 0;
        }
    }

    /// A step was shown so many bytes.
    pub(crate) fn shown(&self, primary: &ObjectRef, bytes: usize) {
        if let Some(of) = self.primaries.lock().get_mut(primary) {
            of.shown = of.shown.saturating_add(bytes);
        }
    }

    /// A pass ended.
    pub(crate) fn ended(&self, primary: &ObjectRef, now: Instant) {
        if let Some(of) = self.primaries.lock().get_mut(primary) {
            of.ended = Some(now);
        }
    }

    /// How long it still rests; if it does not, its next pass begins.
    pub(crate) fn rests(&self, primary: &ObjectRef, now: Instant) -> Option<Duration> {
        let mut primaries = self.primaries.lock();
        let of = primaries.get_mut(primary)?;
        let left = of.ended.map(|ended| (ended + rest_after(of.shown)).saturating_duration_since(now));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Some(left);
        }
        of.shown = 0;
        None
    }

    /// The primary is gone.
    pub(crate) fn forget(&self, primary: &ObjectRef) {
        self.primaries.lock().remove(primary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_shown_much_rests_between_two_passes() {
        let memory = Memory::default();
        let id =
            ObjectRef { api_version: "v1".to_owned(), kind: "Thing".to_owned(), namespace: None, name: "a".to_owned() };
        let now = Instant::now();
        assert_eq!(memory.rests(&id, now), None);
        memory.failed(&id);
        let pass = |bytes: usize| {
            memory.shown(&id, bytes);
            memory.ended(&id, now);
            memory.rests(&id, now)
        };
        assert_eq!(pass(LITTLE), None);
        assert_eq!(pass(1 << 20), Some(REST_PER_MIB));
        assert_eq!(memory.rests(&id, now + REST_PER_MIB / 2), Some(REST_PER_MIB / 2));
        assert_eq!(memory.rests(&id, now + REST_PER_MIB), None);
        assert_eq!(pass(usize::MAX), Some(LONGEST_REST));
    }
}
