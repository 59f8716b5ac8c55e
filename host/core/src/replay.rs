//! Whether a plugin answers a recorded question as it was answered then. Answers in, verdict out; asking is the caller's.

use crate::journal::{Answer, FieldChange};
use crate::plan::Failure;
use crate::plan_diff::differences;

/// How an answer compares with another one to the same question.
#[derive(Debug, Clone, PartialEq)]
pub enum Compared {
    /// Byte by byte.
    Equal,
    /// The same fields with the same values; the order of objects, or how JSON is written, is another.
    SameFields,
    /// Both are plans, and these fields differ.
    Differ(Vec<FieldChange>),
    /// At least one is no plan.
    Other { before: String, after: String },
}

impl Compared {
    /// Whether both mean the same.
    pub fn agrees(&self) -> bool {
        matches!(self, Self::Equal | Self::SameFields)
    }
}

/// Compares an answer with the one before.
pub fn compare(before: &Answer, after: &Answer) -> Compared {
    match (before, after) {
        _ if before == after => Compared::Equal,
        (Answer::Planned(left), Answer::Planned(right)) => {
            let changes = differences(left, right);
            if changes.is_empty() { Compared::SameFields } else { Compared::Differ(changes) }
        }
        _ => Compared::Other { before: summary(before), after: summary(after) },
    }
}

fn summary(answer: &Answer) -> String {
    match answer {
        Answer::Planned(plan) => {
            format!("a plan of {} objects and {} calls", plan.desired.len() + plan.amended.len(), plan.calls.len())
        }
        Answer::Failed(Failure::Transient(message)) => format!("failed for now: {message}"),
        Answer::Failed(Failure::Invalid(violations)) => {
            let texts: Vec<String> = violations.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
            format!("invalid: {}", texts.join("; "))
        }
        Answer::Broken(reason) => format!("{}: {}", reason.reason, reason.message),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Reason;
    use crate::object::{Object, ObjectRef};
    use crate::plan::Plan;

    fn planned(bodies: &[(&str, &str)]) -> Answer {
        let object = |(name, body): &(&str, &str)| Object {
            id: ObjectRef {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                namespace: None,
                name: (*name).to_owned(),
            },
            body: (*body).to_owned(),
        };
        Answer::Planned(Arc::new(Plan { desired: bodies.iter().map(object).collect(), ..Plan::done() }))
    }

    #[test]
    fn equal_means_byte_by_byte_and_the_rest_is_told_apart() {
        let one = planned(&[("a", r#"{"x":1}"#), ("b", "{}")]);
        assert_eq!(compare(&one, &one.clone()), Compared::Equal);
        assert_eq!(compare(&one, &planned(&[("b", "{}"), ("a", r#"{ "x": 1 }"#)])), Compared::SameFields);
        let Compared::Differ(changes) = compare(&one, &planned(&[("a", r#"{"x":2}"#), ("b", "{}")])) else {
            panic!("a field differs")
        };
        assert_eq!((changes.len(), changes[0].field.as_str()), (1, "x"));
        let broken = Answer::Broken(Reason { reason: "PluginTrapped".to_owned(), message: "it trapped".to_owned() });
        let other = compare(&one, &broken);
        assert!(
            !other.agrees() && matches!(other, Compared::Other { after, .. } if after == "PluginTrapped: it trapped")
        );
        assert_eq!(compare(&broken, &broken.clone()), Compared::Equal);
    }
}
