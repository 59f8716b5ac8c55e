//! A version that is tried out beside the one that answers: asked after the API server has its answer, and compared.

use std::sync::Arc;

use stepwright_core::admission::Answer;
use stepwright_core::slot::Role;
use tracing::info;

use super::reviewer::{Subject, judgement_of, once};
use crate::context::Context;
use crate::slots::{Active, Judgement};

/// Asks the shadow, unless too many questions to shadows wait already. `answered`: by the version that answers, if it did.
pub(super) fn ask(
    context: &Arc<Context>,
    check: &str,
    shadow: Arc<Active>,
    subject: Arc<Subject>,
    answered: Option<Answer>,
) {
    let Ok(turn) = context.shadow_turns.clone().try_acquire_owned() else { return };
    let (inner, check) = (context.clone(), check.to_owned());
    context.background.spawn(async move {
        let _turn = turn;
        let (answer, _) = once(&inner, &inner.shadow_calls, &check, &shadow, Role::Shadow, &subject).await;
        let judgement = match &answer {
            Ok(answer) => match differences(answered.as_ref(), answer) {
                0 => Some(Judgement::Agreed),
                fields => Some(Judgement::Differed(fields)),
            },
            Err(error) => judgement_of(error),
        };
        let plugin = &shadow.guest.manifest().name;
        info!(check, primary = %subject.primary.id, %plugin, ?judgement, "a shadow was compared");
        let Some(judgement) = judgement else { return };
        if let Judgement::Differed(fields) = judgement {
            inner.metrics.shadow_differed(&check, plugin, &shadow.guest.digest().to_string(), fields);
        }
        inner.slots.judged(&check, shadow.guest.digest(), subject.primary.uid(), &judgement);
    });
}

/// Violations and warnings that only one of the two has.
fn differences(one: Option<&Answer>, other: &Answer) -> usize {
    let none = Answer::default();
    let one = one.unwrap_or(&none);
    let apart = |one: &Answer, other: &Answer| {
        one.violations.iter().filter(|it| !other.violations.contains(it)).count()
            + one.warnings.iter().filter(|it| !other.warnings.contains(it)).count()
    };
    apart(one, other) + apart(other, one)
}

#[cfg(test)]
mod tests {
    use stepwright_core::plan::Violation;

    use super::*;

    #[test]
    fn what_only_one_of_two_says_is_a_difference() {
        let violation = |field: &str| Violation { field: field.to_owned(), message: String::new() };
        let answer = |fields: &[&str]| Answer {
            violations: fields.iter().map(|field| violation(field)).collect(),
            warnings: Vec::new(),
        };
        assert_eq!(differences(Some(&answer(&["a", "b"])), &answer(&["b", "c"])), 2);
        assert_eq!(differences(None, &answer(&[])), 0);
        assert_eq!(differences(Some(&answer(&["a"])), &answer(&["a"])), 0);
    }
}
