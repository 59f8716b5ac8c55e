//! Waiting for a condition, with a deadline and a word about what was last seen.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How soon a condition is looked at again, at first; then ever later, up to `SELDOM`. To look is mostly to start kubectl, which
/// on two cores takes from what is waited for.
const OFTEN: Duration = Duration::from_millis(50);
const SELDOM: Duration = Duration::from_secs(1);

/// Calls `look` until it answers `Ok`; panics with its last `Err` when `within` has passed.
#[track_caller]
pub fn until<'a, T, E, F>(
    what: &'a str,
    within: Duration,
    mut look: impl FnMut() -> F + 'a,
) -> impl Future<Output = T> + 'a
where
    F: Future<Output = Result<T, E>>,
    E: Debug,
{
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        loop {
            match look().await {
                Ok(value) => return value,
                Err(last) if start.elapsed() > within => {
                    panic!("{caller}: waited {within:?} for {what}; last seen: {last:?}")
                }
                Err(_) => tokio::time::sleep((start.elapsed() / 10).clamp(OFTEN, SELDOM)).await,
            }
        }
    }
}
