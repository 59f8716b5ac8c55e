//! Standard conditions: what the host says of a primary besides the vendor's own words.

use serde::{Deserialize, Serialize};

/// The types that the host sets. `docs/conditions.md` tells users what each means.
pub mod types {
    /// Every step of the last pass reached what it wants.
    pub const READY: &str = "Ready";
    /// Something is on its way; the message says what is waited for.
    pub const PROGRESSING: &str = "Progressing";
    /// The last pass failed; the message says at what.
    pub const DEGRADED: &str = "Degraded";
    /// Every field of the spec that is set is acted upon.
    pub const FIELDS_SUPPORTED: &str = "FieldsSupported";
}

/// `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    /// RFC 3339. When `status` last changed.
    pub last_transition_time: String,
    #[serde(default)]
    pub observed_generation: i64,
}

impl Condition {
    /// A condition as of now; `upsert` puts the earlier time in where the status did not flip.
    pub fn new(type_: &str, status: bool, reason: &str, message: &str, generation: i64, now: &str) -> Self {
        Self {
            type_: type_.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: now.to_owned(),
            observed_generation: generation,
        }
    }
}

/// Puts `new` in; its transition time moves only when the status flips.
pub fn upsert(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == new.type_) {
        Some(old) if old.status == new.status => {
            let since = old.last_transition_time.clone();
            *old = Condition { last_transition_time: since, ..new };
        }
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// A PascalCase word that the API server takes as a reason, from the first `words` of any text: `waiting for rec-0` gives
/// `WaitingForRec0`.
pub fn reason_word(text: &str, words: usize) -> String {
    let mut word = String::new();
    for part in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).take(words) {
        let mut characters = part.chars();
        if let Some(first) = characters.next() {
            word.push(first.to_ascii_uppercase());
            word.extend(characters);
        }
    }
    if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        word.insert_str(0, "Reason");
    }
    word.truncate(128);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_when_the_status_flips() {
        let mut all = vec![Condition::new("Ready", true, "A", "", 1, "t1")];
        upsert(&mut all, Condition::new("Ready", true, "B", "", 2, "t2"));
        assert_eq!((all[0].last_transition_time.as_str(), all[0].reason.as_str()), ("t1", "B"));
        upsert(&mut all, Condition::new("Ready", false, "C", "", 2, "t3"));
        assert_eq!(all[0].last_transition_time, "t3");
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(reason_word("waiting for rec-0", 6), "WaitingForRec0");
        assert_eq!(reason_word("3 nodes", 6), "Reason3Nodes");
        assert_eq!(reason_word("", 6), "Reason");
    }
}
