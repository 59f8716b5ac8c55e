//! What was decided and applied before, so that a step is not asked the same thing twice and drift is told from news.
//!
//! Only ever a shortcut: losing it costs a call, never correctness.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stepwright_core::admit::AdmittedPlan;
use stepwright_core::guest::Digest;
use stepwright_core::object::ObjectRef;

type Hash = [u8; 32];

#[derive(Clone)]
struct Answer {
    plugin: Digest,
    observation: Hash,
    plan: Arc<AdmittedPlan>,
}

#[derive(Default)]
struct OfPrimary {
    /// The last answer of each step.
    answers: HashMap<String, Answer>,
    /// What was last applied to each object.
    applied: HashMap<ObjectRef, Hash>,
    /// Failed passes in a row.
    failures: u32,
}

/// The memory of all primaries.
#[derive(Default)]
pub(crate) struct Memory {
    primaries: Mutex<HashMap<ObjectRef, OfPrimary>>,
}

impl Memory {
    /// The step's plan for an observation with this digest, if it was asked before and planned no calls.
    pub(crate) fn answer(
        &self,
        primary: &ObjectRef,
        step: &str,
        plugin: &Digest,
        observation: &Hash,
    ) -> Option<Arc<AdmittedPlan>> {
        let primaries = self.primaries.lock();
        let answer = primaries.get(primary)?.answers.get(step)?;
        (answer.plugin == *plugin && answer.observation == *observation).then(|| answer.plan.clone())
    }

    /// A plan with calls is not kept: whether to call is decided afresh each time.
    pub(crate) fn keep(
        &self,
        primary: &ObjectRef,
        step: &str,
        plugin: &Digest,
        observation: Hash,
        plan: &Arc<AdmittedPlan>,
    ) {
        let mut primaries = self.primaries.lock();
        let of = primaries.entry(primary.clone()).or_default();
        if plan.calls().is_empty() {
            let answer = Answer { plugin: plugin.clone(), observation, plan: plan.clone() };
            of.answers.insert(step.to_owned(), answer);
        } else {
            of.answers.remove(step);
        }
    }

    pub(crate) fn digest_of(&self, body: &Value) -> Hash {
        Sha256::digest(body.to_string()).into()
    }

    pub(crate) fn applied(&self, primary: &ObjectRef, object: &ObjectRef) -> Option<Hash> {
        self.primaries.lock().get(primary)?.applied.get(object).copied()
    }

    pub(crate) fn set_applied(&self, primary: &ObjectRef, object: &ObjectRef, digest: Hash) {
        self.primaries.lock().entry(primary.clone()).or_default().applied.insert(object.clone(), digest);
    }

    pub(crate) fn forget_applied(&self, primary: &ObjectRef, object: &ObjectRef) {
        if let Some(of) = self.primaries.lock().get_mut(primary) {
            of.applied.remove(object);
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

    /// The primary is gone.
    pub(crate) fn forget(&self, primary: &ObjectRef) {
        self.primaries.lock().remove(primary);
    }
}
