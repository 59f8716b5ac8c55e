//! A credential that was refused is not tried again and again: five attempts lock the account (REST reference, 1.4).
//!
//! After a 401 the same credential rests for a minute, then three minutes, nine, at most half an hour: four attempts in the
//! fifteen minutes in which the server counts five. A changed Secret is a new credential and is tried at once.
//!
//! A remote cluster's login is in many hands: every other cluster's operator has it. There a refused one rests for longer than
//! the fifteen minutes, so that each costs one attempt.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const FIRST_REST: Duration = Duration::from_secs(60);
const FIRST_REST_OF_SHARED: Duration = Duration::from_secs(1200);
const LONGEST_REST: Duration = Duration::from_secs(1800);
const GROWTH: u32 = 3;

struct Refused {
    /// Fingerprint of the credential.
    credential: String,
    rest: Duration,
    until: Instant,
}

/// An answer to whether a credential may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    No,
    Yes,
    /// It was refused before and has rested: whoever gets this may try once, with all redirects that belong to it.
    OneAttempt,
}

/// What is remembered of refused credentials of one cluster: the latest. And which was taken last.
pub(crate) struct Lockout {
    first_rest: Duration,
    refused: Mutex<Option<Refused>>,
    proven: Mutex<Option<String>>,
}

impl Lockout {
    /// Of a login that only this operator uses.
    pub(crate) fn own() -> Self {
        Self { first_rest: FIRST_REST, refused: Mutex::default(), proven: Mutex::default() }
    }

    /// Of a login that the operators of other clusters use too.
    pub(crate) fn shared() -> Self {
        Self { first_rest: FIRST_REST_OF_SHARED, ..Self::own() }
    }

    /// Whether the credential may be sent.
    pub(crate) fn ask(&self, credential: &str, now: Instant) -> Permit {
        match self.refused.lock().as_mut() {
            Some(refused) if refused.credential == credential => {
                if now < refused.until {
                    return Permit::No;
                }
                refused.until = now + refused.rest;
                Permit::OneAttempt
            }
            _ => Permit::Yes,
        }
    }

    /// The server took this credential when it was last sent.
    pub(crate) fn is_proven(&self, credential: &str) -> bool {
        self.proven.lock().as_deref() == Some(credential)
    }

    /// The server answered 401 to the credential. Several that were under way together count as several attempts.
    pub(crate) fn refused(&self, credential: &str, now: Instant) {
        *self.proven.lock() = None;
        let mut refused = self.refused.lock();
        let rest = match refused.as_ref() {
            Some(earlier) if earlier.credential == credential => (earlier.rest * GROWTH).min(LONGEST_REST),
            _ => self.first_rest,
        };
        *refused = Some(Refused { credential: credential.to_owned(), rest, until: now + rest });
    }

    /// The server took the credential.
    pub(crate) fn accepted(&self, credential: &str) {
        let mut proven = self.proven.lock();
        if proven.as_deref() != Some(credential) {
            *proven = Some(credential.to_owned());
        }
        drop(proven);
        let mut refused = self.refused.lock();
        if refused.as_ref().is_some_and(|refused| refused.credential == credential) {
            *refused = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_credential_rests_longer_each_time() {
        let (lockout, start) = (Lockout::own(), Instant::now());
        let mut attempts = Vec::new();
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            if lockout.ask("fp:a", now) != Permit::No {
                attempts.push(second);
                lockout.refused("fp:a", now);
            }
        }
        assert_eq!(attempts, [0, 60, 240, 780, 2400]);
    }

    #[test]
    fn one_that_many_have_costs_one_attempt_in_the_time_that_is_counted() {
        let (lockout, start) = (Lockout::shared(), Instant::now());
        lockout.refused("fp:a", start);
        assert_eq!(lockout.ask("fp:a", start + Duration::from_secs(15 * 60)), Permit::No);
        assert_eq!(lockout.ask("fp:b", start), Permit::Yes);
        assert_eq!(lockout.ask("fp:a", start + Duration::from_secs(20 * 60)), Permit::OneAttempt);
    }

    #[test]
    fn another_credential_is_tried_at_once_and_success_forgets() {
        let (lockout, now) = (Lockout::own(), Instant::now());
        lockout.refused("fp:a", now);
        assert_eq!(lockout.ask("fp:a", now), Permit::No);
        assert_eq!(lockout.ask("fp:b", now), Permit::Yes);
        lockout.accepted("fp:b");
        assert_eq!(lockout.ask("fp:a", now), Permit::No);
        lockout.accepted("fp:a");
        assert_eq!(lockout.ask("fp:a", now), Permit::Yes);
    }

    #[test]
    fn a_credential_is_proven_until_it_is_refused_and_what_was_refused_together_rests_longer() {
        let (lockout, now) = (Lockout::own(), Instant::now());
        assert!(!lockout.is_proven("fp:a"));
        lockout.accepted("fp:a");
        assert!(lockout.is_proven("fp:a") && !lockout.is_proven("fp:b"));
        (0..4).for_each(|_| lockout.refused("fp:a", now));
        assert!(!lockout.is_proven("fp:a"));
        // Four attempts, and no fifth within the fifteen minutes in which the server counts.
        assert_eq!(lockout.ask("fp:a", now + Duration::from_secs(15 * 60)), Permit::No);
        assert_eq!(lockout.ask("fp:b", now), Permit::Yes);
    }

    #[test]
    fn only_one_of_many_askers_makes_the_next_attempt() {
        let (lockout, now) = (Lockout::own(), Instant::now());
        lockout.refused("fp:a", now);
        let later = now + FIRST_REST;
        assert_eq!(lockout.ask("fp:a", later), Permit::OneAttempt);
        assert_eq!(lockout.ask("fp:a", later), Permit::No);
    }
}
