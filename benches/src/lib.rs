//! What the measurements share: samples and tables, the machine that they were taken on, a cluster to observe, and the
//! built-in steps compiled in.
//!
//! The programs in `bin/` print what `docs/performance.md` shows. They measure; they are no tests, and nothing fails for
//! being slow.

pub mod compiled_in;
pub mod machine;
pub mod many;
pub mod plain;
pub mod samples;
pub mod scene;
