//! The rules of the step for a resource that is not stored yet: what breaks one, and what is only unwise.

use stepwright_sdk::{Failure, Judged, Observation, Violation};

use crate::formation::View;
use crate::seen::Seen;
use crate::{memory_too_small, only_one, rivals, validate};

/// Judges the primary as the step would, as far as that is known by now.
///
/// # Errors
/// What the step could not read either.
pub fn judge(observed: &Observation) -> Result<Judged, Failure> {
    // The step waits for an image; the rules are about none.
    let mut observed = observed.clone();
    observed.notes.push(("upgrade".to_owned(), r#"{"image":"","pullPolicy":""}"#.to_owned()));
    let seen = Seen::read(&observed)?;
    let mut judged = Judged::default();
    if let Some(winner) = rivals::winner(&seen) {
        judged.violations.push(Violation::new("metadata.name", only_one(winner)));
    }
    match validate::check(&seen, &View::of(&seen)) {
        Ok(()) => {}
        Err(Failure::Invalid(violations)) => judged.violations.extend(violations),
        Err(failure) => return Err(failure),
    }
    judged.warnings.extend(memory_too_small(&seen));
    Ok(judged)
}
