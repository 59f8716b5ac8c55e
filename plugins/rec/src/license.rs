//! What is told of a license before it expires; that it has, the cluster says itself (`status`, and the Event
//! `LicenseExpired`). Once a day, as Events do not last: the day is kept on the board.

use jiff::Timestamp;
use stepwright_sdk::{Event, Plan};

use crate::board;
use crate::seen::Seen;

/// Days before: time to get another one.
const DAYS: i64 = 7;
const SECONDS_OF_A_DAY: i64 = 86_400;

/// A license that expires soon.
struct Ending<'a> {
    days: i64,
    date: &'a str,
    today: &'a str,
}

impl<'a> Ending<'a> {
    fn of(seen: &'a Seen<'_>) -> Option<Self> {
        let license = seen.license.known().filter(|license| license.expired != Some(true))?;
        let (date, today) = (license.expiration_date.as_deref()?, seen.today.known()?.as_str());
        let seconds = |text: &str| text.parse::<Timestamp>().map(Timestamp::as_second).ok();
        let left = seconds(date)? - seconds(&format!("{today}T00:00:00Z"))?;
        let days = left.div_euclid(SECONDS_OF_A_DAY);
        (0..=DAYS).contains(&days).then_some(Self { days, date, today })
    }
}

/// What the board keeps of it.
pub(crate) fn note(seen: &Seen<'_>) -> Option<String> {
    Ending::of(seen).map(|ending| ending.today.to_owned())
}

/// Tells it, in the plan that notes it.
pub(crate) fn event(plan: Plan, seen: &Seen<'_>) -> Plan {
    let Some(Ending { days, date, today }) = Ending::of(seen) else { return plan };
    if board::kept(seen, board::LICENSE) == Some(today) {
        return plan;
    }
    let when = match days {
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    };
    plan.event(Event::warning(
        "LicenseExpiring",
        format!(
            "the license expires {when}, on {date}: from then on no database can be made or changed, and the cluster \
             cannot be upgraded; install another by spec.license or spec.licenseSecretName"
        ),
    ))
}
