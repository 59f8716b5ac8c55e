//! Sizes of databases, `256MB` or `0.5GB`, in bytes.
//!
//! A megabyte has 1024 × 1024 bytes here, as in the product: a database of 256MB has a `memory_size` of 268435456.

/// 100MB, the least that a database may have and what it gets when nothing is said.
pub(crate) const LEAST: u64 = 100 * MB;
/// The least for one on flash. 1GB, where 1000MB pass too.
pub(crate) const LEAST_ON_FLASH: u64 = 1000 * MB;

const MB: u64 = 1024 * 1024;

/// `None` when the text is no size. Digits behind the point count as far as they make whole bytes.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(split)?;
    let unit: u128 = match unit.to_ascii_uppercase().as_str() {
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    let (whole, part) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, part)) => (whole, part),
        None => (number, ""),
    };
    if whole.is_empty() || whole.len() > 12 || part.len() > 12 {
        return None;
    }
    // In integers: 0.3GB must be the same number everywhere.
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    u64::try_from(digits.checked_mul(unit)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bytes: Option<u64>) {
        assert_eq!(parse(text), bytes, "{text}");
    }

    #[test]
    fn sizes_are_read() {
        check("256MB", Some(268_435_456));
        check("512MB", Some(536_870_912));
        check("200mb", Some(209_715_200));
        check("0.1GB", Some(107_374_182));
        check("1.5GB", Some(1_610_612_736));
        check("100MB", Some(LEAST));
        check("2TB", Some(2 << 40));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MB", "100", "100 MB", "1.MB", ".5GB", "1e3MB", "-1MB", "100Mi", "1.2.3GB", "99999999999999TB"]
        {
            check(text, None);
        }
    }
}
