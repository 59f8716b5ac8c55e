//! Who may ask: one user name and password, by HTTP basic authentication.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::BrokerError;

/// The broker's own login; the platform is given the same.
pub struct Login {
    expected: String,
}

impl Login {
    /// # Errors
    /// When one of them is empty: nobody is let in without a password.
    pub fn new(username: &str, password: &str) -> Result<Self, BrokerError> {
        if username.is_empty() || password.is_empty() {
            return Err(BrokerError::Invalid("the broker needs a user name and a password of its own".to_owned()));
        }
        Ok(Self { expected: format!("{username}:{password}") })
    }

    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), BrokerError> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Basic ")).and_then(|token| STANDARD.decode(token).ok());
        // In constant time, so that a guess learns nothing from how long it took.
        let same = |given: &Vec<u8>| {
            aws_lc_rs::constant_time::verify_slices_are_equal(given, self.expected.as_bytes()).is_ok()
        };
        if given.as_ref().is_some_and(same) { Ok(()) } else { Err(BrokerError::Unauthorized) }
    }
}
