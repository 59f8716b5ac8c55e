//! Moving whole data sets: out to a place, in from one, and from another database that is still being written.
//!
//! What goes out of a shard is what a replica would be given, so no file of the shard is touched. What comes in is
//! loaded by a redis-server of its own and poured key by key into the shards that hold their slots.

mod load;
mod place;
mod source;
pub mod syncer;
mod targets;
pub mod transfer;

/// Why a data set could not be moved.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}: {text}")]
pub(crate) struct Trouble {
    /// The word of the REST API (REST reference, 6.2).
    pub(crate) reason: &'static str,
    /// Words for the log.
    pub(crate) text: String,
}

impl Trouble {
    pub(crate) fn new(reason: &'static str, text: impl std::fmt::Display) -> Self {
        Self { reason, text: text.to_string() }
    }

    /// One that has no word of its own.
    pub(crate) fn general(text: impl std::fmt::Display) -> Self {
        Self::new("general-error", text)
    }
}
