//! Values of Secrets that the cluster was given, and never shows again as they are.
//!
//! What it was given is kept in a Secret of our own, copied by reference: its fingerprints tell whether a value is another
//! one by now. Without the copy a value passes for new, and is given once more, which harms nobody.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::{Plan, SecretValue, secret_ref};

use crate::seen::Seen;

/// A value that a call holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// The field of the call's body.
    pub(crate) of: &'static str,
    pub(crate) secret: String,
    pub(crate) key: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copies {
    string_data: BTreeMap<String, SecretValue>,
}

impl Hidden {
    pub(crate) fn value(&self) -> SecretValue {
        secret_ref(self.secret.clone(), self.key)
    }

    fn copy(&self) -> String {
        format!("{}.{}.{}", self.of, self.secret, self.key)
    }

    /// Fingerprint of what the cluster was given.
    pub(crate) fn given<'s>(&self, seen: &'s Seen<'_>) -> Option<&'s str> {
        seen.secret_value(&seen.in_force(), &self.copy())
    }

    /// The cluster was not given it, or was given another.
    pub(crate) fn is_new(&self, seen: &Seen<'_>) -> bool {
        let Some(given) = self.given(seen) else { return true };
        seen.secret_value(&self.secret, self.key).is_some_and(|now| now != given)
    }

    /// Why it cannot be given, to a cluster that does not have it yet.
    pub(crate) fn lacks(&self, seen: &Seen<'_>, field: &str) -> Option<String> {
        if self.given(seen).is_some() { None } else { self.missing(seen, field) }
    }

    /// Why it cannot be given.
    pub(crate) fn missing(&self, seen: &Seen<'_>, field: &str) -> Option<String> {
        let Self { secret, key, .. } = self;
        match seen.secret(secret) {
            None => Some(format!("{field} names Secret `{secret}`, which does not exist: make it")),
            Some(found) if !found.data.contains_key(*key) => {
                Some(format!("Secret `{secret}` of {field} has no key `{key}`: add it"))
            }
            Some(_) => None,
        }
    }
}

/// Keeps copies of those that the cluster has, and of those that it took with the last call.
pub(crate) fn keep(plan: Plan, seen: &Seen<'_>, all: &[Hidden]) -> Plan {
    let created = seen.reply("create").is_some_and(|(reply, _)| reply.is_success());
    let updated = seen.reply("update:").filter(|(reply, _)| reply.is_success()).map(|(_, names)| names);
    let own = seen.in_force();
    let mut copies = BTreeMap::new();
    for hidden in all {
        let copy = hidden.copy();
        let taken = created || updated.is_some_and(|names| names.split(',').any(|name| name == hidden.of));
        if taken {
            copies.insert(copy, hidden.value());
        } else if seen.secret_value(&own, &copy).is_some() {
            let kept = secret_ref(own.clone(), copy.clone());
            copies.insert(copy, kept);
        }
    }
    if copies.is_empty() { plan } else { plan.desire("v1", "Secret", own, &Copies { string_data: copies }) }
}
