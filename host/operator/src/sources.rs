//! Where plugins come from while the operator runs: ConfigMaps, artifacts in a registry, and who signed them.
//!
//! `maps` turns ConfigMaps into offers and is pure; `oci` fetches; `signature` says whose a component is. What becomes of an
//! offer (load, rehearse, swap, refuse) is decided elsewhere.

mod credentials;
pub mod maps;
pub mod oci;
mod parts;
mod refusal;
mod settings;
pub mod signature;
pub mod unpack;
mod wishes;

pub use parts::MOST_PARTS;
pub use refusal::OfferError;
