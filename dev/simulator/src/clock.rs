//! Wall-clock milliseconds and the two text forms of time that the REST API uses.
//!
//! Not a date library: UTC only, and only the years that a simulator meets.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The wall clock, read at the edges only: the pure modules are handed the value.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `2025-10-14T00:01:22Z`.
pub fn iso(at: Millis) -> String {
    let seconds = at / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `2024-09-06 20:47:23`, the form of maintenance snapshots (REST reference, 0).
pub fn snapshot_time(at: Millis) -> String {
    iso(at).replace('T', " ").replace('Z', "")
}

/// Days since the epoch to year, month, day (H. Hinnant's `civil_from_days`, for days after 1970).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_instant_reads_back() {
        assert_eq!(iso(1_760_400_087_000), "2025-10-14T00:01:27Z");
        assert_eq!(snapshot_time(1_709_210_096_000), "2024-02-29 12:34:56");
    }
}
