//! Who has how much, and what the settings allow.

use std::collections::BTreeMap;

use serde::Deserialize;
use stepwright_sdk::{Failure, Violation};

use crate::size;

/// What an admin says: sizes as in `memorySize`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// For namespaces that are not named. Absent: those have no quota.
    default: Option<String>,
    namespaces: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn violations(&self) -> Vec<Violation> {
        if self.default.is_none() && self.namespaces.is_empty() {
            let message = "say neither `default` nor `namespaces`, so nothing has a quota: give one, such as 10GB";
            return vec![Violation::new("settings", message)];
        }
        let default = self.default.iter().map(|size| ("default".to_owned(), size));
        let named = self.namespaces.iter().map(|(name, size)| (format!("namespaces[{name}]"), size));
        let mut violations: Vec<Violation> = default
            .chain(named)
            .filter(|(_, size)| size::parse(size).is_none())
            .map(|(field, size)| {
                Violation::new(field, format!("`{size}` is no size: a number with MB, GB or TB, such as 2GB"))
            })
            .collect();
        let is_name = |name: &str| {
            let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
        };
        violations.extend(self.namespaces.keys().filter(|name| !is_name(name)).map(|name| {
            Violation::new(
                format!("namespaces[{name}]"),
                "is no name that a namespace can have: patterns are not known here",
            )
        }));
        violations
    }

    /// In bytes; `None`: there is no quota.
    pub(crate) fn quota(&self, namespace: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.namespaces.get(namespace).or(self.default.as_ref()) else { return Ok(None) };
        let quota = size::parse(text).ok_or_else(|| Failure::transient(format!("the quota `{text}` is no size")))?;
        Ok(Some(quota))
    }
}

#[derive(Debug)]
struct Entry {
    created: String,
    name: String,
    wanted: u64,
    /// Bytes of a database that exists.
    has: Option<u64>,
}

/// The databases of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Account {
    own: Option<Entry>,
    others: Vec<Entry>,
}

impl Account {
    /// `created` as Kubernetes writes it; sizes in bytes, `has` only of one that exists.
    pub(crate) fn add(&mut self, is_own: bool, created: &str, name: &str, wanted: u64, has: Option<u64>) {
        let entry = Entry { created: created.into(), name: name.into(), wanted, has };
        if is_own {
            self.own = Some(entry);
        } else {
            self.others.push(entry);
        }
    }

    /// The database has this much already: to keep or give back memory is always allowed.
    pub(crate) fn own_is_at_least(&self, bytes: u64) -> bool {
        self.own.as_ref().and_then(|own| own.has).is_some_and(|has| has >= bytes)
    }

    /// Names and bytes of the other databases: those that exist, and those to come that are older and fit.
    pub(crate) fn given_to_others(&self, quota: u64) -> Vec<(&str, u64)> {
        let exists = self.others.iter().filter_map(|entry| Some((entry.name.as_str(), entry.has?)));
        let mut given: Vec<(&str, u64)> = exists.collect();
        let order = |entry: &Entry| (entry.created.clone(), entry.name.clone());
        let own = self.own.as_ref();
        // One that exists and wants more does not wait for those that do not.
        let is_older = |entry: &&Entry| {
            entry.has.is_none() && own.is_none_or(|own| own.has.is_none() && order(entry) < order(own))
        };
        let mut to_come: Vec<&Entry> = self.others.iter().filter(is_older).collect();
        to_come.sort_by_key(|entry| order(entry));
        let mut total: u64 = given.iter().map(|(_, bytes)| bytes).sum();
        for entry in to_come {
            if total.saturating_add(entry.wanted) <= quota {
                total += entry.wanted;
                given.push((&entry.name, entry.wanted));
            }
        }
        given.sort_unstable();
        given
    }
}

/// `1.5GB`, `100MB`: at most two digits behind the point, rounded down.
pub(crate) fn human(bytes: u64) -> String {
    let (unit, name) = if bytes >= 1 << 30 { (1 << 30, "GB") } else { (1 << 20, "MB") };
    let hundredths = u128::from(bytes) * 100 / unit;
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
}
