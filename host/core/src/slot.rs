//! How a version takes part in its slot, and what happens when it fails. Data and decisions; who is loaded is kept elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod health;

pub use health::{Decision, Health, Judgement, Rules, Tally};

/// How a version takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// It answers for every primary.
    Active,
    /// It is asked beside the one that answers; its plans are compared and thrown away.
    Shadow,
    /// It answers for a share of the primaries.
    Canary(Share),
}

impl Mode {
    /// As in the annotation and in tables.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Shadow => "shadow",
            Self::Canary(_) => "canary",
        }
    }
}

/// Which primaries a canary answers for. The same ones on every pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Share {
    /// 0 to 100, by a hash of the primary's UID.
    Percent(u8),
    /// Primaries with all of these labels.
    Labels(BTreeMap<String, String>),
}

impl Share {
    /// Whether the primary is in the share.
    pub fn holds(&self, uid: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Percent(percent) => {
                let digest = Sha256::digest(uid.as_bytes());
                let bucket = digest.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)) % 100;
                bucket < u64::from(*percent)
            }
            Self::Labels(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
        }
    }
}

/// What a slot does when its plugin gives no plan that can be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The last good plan is kept up, and the pipeline goes on.
    #[default]
    Hold,
    /// The pipeline goes on without the step.
    Skip,
    /// The pass ends there.
    Stop,
    /// The embedded version is asked instead.
    Fallback,
}

impl OnFailure {
    pub const ALL: [Self; 4] = [Self::Hold, Self::Skip, Self::Stop, Self::Fallback];

    /// As in the annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Skip => "skip",
            Self::Stop => "stop",
            Self::Fallback => "fallback",
        }
    }
}

/// In which part a version was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    Active,
    Canary,
    Shadow,
    /// The embedded version in the place of one that failed.
    Fallback,
    /// Nobody was asked: the last good plan was kept up.
    Held,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_by_percent_is_stable_and_about_right() {
        let none = BTreeMap::new();
        let uids: Vec<String> = (0..10_000).map(|n| format!("uid-{n}")).collect();
        let ten = Share::Percent(10);
        let in_it: Vec<&String> = uids.iter().filter(|uid| ten.holds(uid, &none)).collect();
        assert!((900..1_100).contains(&in_it.len()), "{}", in_it.len());
        // A larger share holds all of a smaller one, so that raising it takes nobody out.
        assert!(in_it.iter().all(|uid| Share::Percent(50).holds(uid, &none)));
        assert!(uids.iter().all(|uid| Share::Percent(100).holds(uid, &none) && !Share::Percent(0).holds(uid, &none)));
    }

    #[test]
    fn a_share_by_labels_wants_all_of_them() {
        let wanted = BTreeMap::from([("tier".to_owned(), "dev".to_owned())]);
        let share = Share::Labels(wanted.clone());
        assert!(share.holds("any", &wanted));
        assert!(!share.holds("any", &BTreeMap::new()));
    }
}
