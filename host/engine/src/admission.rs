//! What an admission plugin is asked and answers, where the engine's users look for it.

pub use stepwright_core::admission::{Answer, Question};
