//! When a window is open. Pure arithmetic on the minutes of a week, in UTC.

use std::fmt;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// Monday first.
const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Opens on some days of the week, always at the same time, for less than a day or for exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Days on which it opens, from Monday = 0; ascending, never empty.
    days: Vec<u32>,
    /// Minute of the day.
    opens: u32,
    /// Minutes.
    lasts: u32,
}

impl Window {
    /// From names of days (`Sat`) and times of day (`22:30`). One that ends before it begins ends on the next day;
    /// `24:00` is the end of a day.
    ///
    /// # Errors
    /// What is wrong, by field.
    pub fn new(weekdays: &[String], from: &str, to: &str) -> Result<Self, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let mut days: Vec<u32> = Vec::new();
        for (index, name) in weekdays.iter().enumerate() {
            match (0..).zip(NAMES).find(|(_, known)| known == name) {
                Some((day, _)) => days.push(day),
                None => wrong.push((
                    format!("weekdays[{index}]"),
                    format!("`{name}` is no weekday: one of {}", NAMES.join(", ")),
                )),
            }
        }
        if weekdays.is_empty() {
            wrong.push((
                "weekdays".into(),
                format!("names no day, so nothing would ever pass: give {}", NAMES.join(", ")),
            ));
        }
        let mut time = |field: &str, text: &str, most: u32| {
            let minutes = minutes(text).filter(|minutes| *minutes <= most);
            if minutes.is_none() {
                let shape = format!("`{text}` is no time of day: 00:00 to {:02}:{:02}", most / 60, most % 60);
                wrong.push((field.to_owned(), shape));
            }
            minutes.unwrap_or_default()
        };
        let (opens, closes) = (time("from", from, DAY - 1), time("to", to, DAY));
        if wrong.is_empty() && opens == closes {
            wrong.push(("to".into(), "is when it begins, too: for a whole day give 00:00 to 24:00".into()));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        days.sort_unstable();
        days.dedup();
        Ok(Self { days, opens, lasts: if closes > opens { closes - opens } else { closes + DAY - opens } })
    }

    /// Whether it is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        // The nearest of the beginnings that are past.
        self.beginnings(now).any(|until| (WEEK - until) % WEEK < self.lasts)
    }

    /// When it opens next: later than `now`, on a full minute. `None` when the calendar ends before.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let wait = self.beginnings(now).map(|until| if until == 0 { WEEK } else { until }).min()?;
        let second = now.to_zoned(TimeZone::UTC).second();
        let minute = now.as_second().checked_sub(i64::from(second))?;
        Timestamp::from_second(minute).ok()?.checked_add(i64::from(wait).minutes()).ok()
    }

    /// Minutes from the present one until each beginning of the coming week: 0 to one less than a week.
    fn beginnings(&self, now: Timestamp) -> impl Iterator<Item = u32> + '_ {
        let now = minute_of_week(now);
        self.days.iter().map(move |day| (day * DAY + self.opens + WEEK - now) % WEEK)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> =
            (0..).zip(NAMES).filter(|(day, _)| self.days.contains(day)).map(|(_, name)| name).collect();
        let closes = match self.opens + self.lasts {
            minute if minute > DAY => minute - DAY,
            minute => minute,
        };
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{} {} to {} UTC", days.join(", "), time(self.opens), time(closes))
    }
}

fn minute_of_week(now: Timestamp) -> u32 {
    let now = now.to_zoned(TimeZone::UTC);
    let day = match now.weekday() {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    };
    let part = |part: i8| u32::try_from(part).unwrap_or_default();
    day * DAY + part(now.hour()) * 60 + part(now.minute())
}

/// `22:30`, exactly so.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?;
    let (hours, minutes): (u32, u32) = (number(hours)?, number(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}
