//! What people should hear of though nothing waits for it: each is an Event when it begins or changes. What was told last is
//! kept on the board, so that it is not told again by each pass, nor by the next operator.

use stepwright_sdk::{Event, Plan};

use crate::board;
use crate::budgets;
use crate::racks;
use crate::seen::Seen;

/// One thing to tell of.
struct Notice {
    reason: &'static str,
    /// Where the board keeps it.
    key: &'static str,
    /// `None`: it cannot be told whether it is so. Empty: it is not.
    texts: Option<Vec<String>>,
}

impl Notice {
    fn kept<'a>(&self, seen: &'a Seen<'_>) -> Option<&'a str> {
        board::kept(seen, self.key)
    }

    /// What is so; what was told last, where it is not known.
    fn text(&self, seen: &Seen<'_>) -> Option<String> {
        match &self.texts {
            None => self.kept(seen).map(str::to_owned),
            Some(texts) => (!texts.is_empty()).then(|| texts.join("; ")),
        }
    }
}

fn all(seen: &Seen<'_>) -> [Notice; 2] {
    [
        Notice { reason: "RackMoved", key: "told-racks", texts: racks::moved(seen) },
        Notice { reason: "BudgetsOverlap", key: "told-budgets", texts: Some(budgets::overlapping(seen)) },
    ]
}

/// What the board keeps of it.
pub(crate) fn notes(seen: &Seen<'_>) -> impl Iterator<Item = (&'static str, String)> {
    all(seen).into_iter().filter_map(|notice| Some((notice.key, notice.text(seen)?)))
}

/// Tells what is new, in the plan that notes it.
pub(crate) fn events(plan: Plan, seen: &Seen<'_>) -> Plan {
    all(seen).into_iter().fold(plan, |plan, notice| match notice.text(seen) {
        Some(text) if notice.kept(seen) != Some(text.as_str()) => plan.event(Event::warning(notice.reason, text)),
        _ => plan,
    })
}
