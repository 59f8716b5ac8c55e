//! What a policy answers, where the engine's users look for it.

pub use stepwright_core::policy::Verdict;
