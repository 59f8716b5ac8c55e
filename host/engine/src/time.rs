//! RFC 3339 to seconds, for the wall clock that a guest sees. Only what Kubernetes writes: UTC, with `Z`.

use std::time::Duration;

/// Time since 1970 of `2026-11-21T07:23:00Z`, with or without a fraction. `None`: not such a text, or before 1970.
pub(crate) fn since_epoch(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = whole.split(':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 || date.next().is_some() || parts.next().is_some() {
        return None;
    }
    let nanos = match fraction {
        "" => 0,
        digits if digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{digits:0<9}").parse().ok()?
        }
        _ => return None,
    };
    Some(Duration::new(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second, nanos))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 in the Gregorian calendar. Years begin in March, so that the leap day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let since_march = (153 * month + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + since_march - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        let seconds = |text| since_epoch(text).map(|since| since.as_secs());
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(seconds("2026-11-21T07:23:00Z"), Some(1_795_245_780));
        assert_eq!(since_epoch("1970-01-01T00:00:01.25Z"), Some(Duration::from_millis(1250)));
        assert_eq!(since_epoch("1970-01-01T00:00:01.000001Z"), Some(Duration::new(1, 1000)));
    }

    #[test]
    fn refuses_the_rest() {
        for text in
            ["", "now", "2026-11-21", "2026-11-21T07:23:00", "2026-11-21T07:23:00+01:00", "2026-13-01T00:00:00Z"]
        {
            assert_eq!(since_epoch(text), None, "{text}");
        }
    }
}
