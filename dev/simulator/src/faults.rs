//! Failures on demand (REST reference, 16.7): a list of what shall go wrong, asked at the places where it would.
//!
//! A fault is one entry of [`Kind`] and one question here; the place that asks carries it out.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// What can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Kind {
    /// F2: this node hears no peer and no peer hears it.
    Isolate,
    /// F4: every login is refused, as if the password had been changed.
    RefuseLogins,
    /// F5: state machines do not end, and tasks stand still.
    StuckActions,
    /// F6: changes of databases fail after they were accepted.
    FailUpdate,
    /// F7: creations of databases fail after they were accepted.
    FailCreation,
    /// F8: no memory is left for databases.
    NoMemory,
    /// F9: the license has expired.
    LicenseExpired,
    /// F10: changes of databases are answered with 409.
    Busy,
    /// F11: the connection is cut after the work is done.
    LoseReply {
        /// Only for paths that begin so.
        #[serde(default)]
        path: String,
    },
    /// F12: the gateway answers instead of the API.
    Gateway {
        /// How.
        form: GatewayForm,
        /// Only for paths that begin so.
        #[serde(default)]
        path: String,
    },
    /// F13: what listens with TLS shows a certificate that has expired.
    ExpiredCertificate,
    /// F14: places refuse what is taken out of databases.
    BackupRefused,
    /// F15: data files are not found.
    MissingFiles,
    /// F16: this cluster and the others of its Active-Active databases do not reach each other.
    CrdbPeer,
    /// F17: links to sources of Replica Of are broken.
    ReplicaLink,
    /// F18: paths and fields of newer versions are not there.
    OldVersion,
    /// F19: this node's clock is off, so that it cannot join.
    ClockSkew,
    /// F20: no other node has room for the shards of one that is to go.
    NoRoom,
}

/// What a broken gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayForm {
    /// 502 with a page.
    Html502,
    /// 504 with a page.
    Html504,
    /// 200 with nothing.
    Empty,
    /// The answer, cut in half.
    Truncated,
}

/// A fault in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
    /// How many more times; without a number until it is taken back.
    #[serde(default)]
    pub times: Option<u32>,
}

/// The faults in force on this node.
#[derive(Default)]
pub struct Faults {
    list: Mutex<Vec<Fault>>,
}

impl Faults {
    /// Adds one.
    pub fn add(&self, fault: Fault) {
        self.list.lock().push(fault);
    }

    /// Takes all back.
    pub fn clear(&self) {
        self.list.lock().clear();
    }

    /// All in force.
    pub fn list(&self) -> Vec<Fault> {
        self.list.lock().clone()
    }

    /// The first that matches, used up by one.
    pub fn take(&self, matches: impl Fn(&Kind) -> bool) -> Option<Kind> {
        let mut list = self.list.lock();
        let index = list.iter().position(|fault| matches(&fault.kind))?;
        let fault = list.get_mut(index)?;
        let kind = fault.kind.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                list.remove(index);
            }
        }
        Some(kind)
    }

    /// Uses up one of this kind.
    pub fn strikes(&self, kind: &Kind) -> bool {
        self.take(|one| one == kind).is_some()
    }

    /// Whether one of this kind is in force; uses nothing up.
    pub fn stands(&self, kind: &Kind) -> bool {
        self.list.lock().iter().any(|fault| fault.kind == *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_fault_is_used_up() {
        let faults = Faults::default();
        faults.add(serde_json::from_str(r#"{"kind":"busy","times":2}"#).unwrap());
        assert!(faults.strikes(&Kind::Busy) && faults.stands(&Kind::Busy));
        assert!(faults.strikes(&Kind::Busy) && !faults.strikes(&Kind::Busy));
        faults.add(serde_json::from_str(r#"{"kind":"gateway","form":"html502"}"#).unwrap());
        assert_eq!(faults.list().len(), 1);
    }
}
