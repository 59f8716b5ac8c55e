//! Kubernetes quantities, written as the API server writes them: otherwise `cpu: 2` would differ from `cpu: "2"` for ever.

use serde::{Deserialize, Deserializer, Serialize};

const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const NANO: i128 = 1_000_000_000;

/// A quantity in its canonical form. One that cannot be read is kept as it is, for the API server to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Quantity(String);

/// Value in billionths, and whether it was written with a power of 1024.
#[derive(Clone, Copy)]
struct Parsed {
    nano: i128,
    binary: bool,
}

impl Quantity {
    pub(crate) fn new(text: &str) -> Self {
        let text = text.trim();
        Self(parse(text).and_then(write).unwrap_or_else(|| text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// In billionths, to compare by value. `None` when it is no quantity.
    pub(crate) fn nano(&self) -> Option<i128> {
        parse(&self.0).map(|parsed| parsed.nano)
    }

    /// A multiple, in the same notation.
    pub(crate) fn times(&self, factor: i128) -> Option<Self> {
        let parsed = parse(&self.0)?;
        write(Parsed { nano: parsed.nano.checked_mul(factor)?, ..parsed }).map(Self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Whole(i64),
            Fraction(f64),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => Self::new(&text),
            Written::Whole(number) => Self::new(&number.to_string()),
            Written::Fraction(number) => Self::new(&number.to_string()),
        })
    }
}

fn parse(text: &str) -> Option<Parsed> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (multiplier, binary) = if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        (NANO.checked_mul(1024_i128.checked_pow(u32::try_from(power).ok()? + 1)?)?, true)
    } else {
        let (_, exponent) = DECIMAL.iter().find(|(known, _)| *known == suffix)?;
        (10_i128.checked_pow(u32::try_from(exponent + 9).ok()?)?, false)
    };
    let scaled = digits.checked_mul(multiplier)?;
    // Like the API server, round up what is finer than a billionth.
    let up = i128::from(scaled % divisor > 0);
    Some(Parsed { nano: scaled / divisor + up, binary })
}

fn write(value: Parsed) -> Option<String> {
    if value.nano == 0 {
        return Some("0".to_owned());
    }
    if value.binary && value.nano.abs() >= 1024 * NANO {
        let mut units = value.nano / NANO + i128::from(value.nano % NANO > 0);
        let mut suffix = "";
        for known in BINARY {
            if units % 1024 != 0 {
                break;
            }
            units /= 1024;
            suffix = known;
        }
        return Some(format!("{units}{suffix}"));
    }
    DECIMAL.iter().find_map(|(suffix, exponent)| {
        let unit = 10_i128.checked_pow(u32::try_from(exponent + 9).ok()?)?;
        (value.nano % unit == 0).then(|| format!("{}{suffix}", value.nano / unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, canonical: &str) {
        assert_eq!(Quantity::new(written).as_str(), canonical);
    }

    #[test]
    fn quantities_are_written_as_the_api_server_writes_them() {
        check("2", "2");
        check("0.5", "500m");
        check("2000m", "2");
        check("4Gi", "4Gi");
        check("4096Mi", "4Gi");
        check("1.5Gi", "1536Mi");
        check("512Ki", "512Ki");
        check("100M", "100M");
        check("1000k", "1M");
        check("0", "0");
        check("plenty", "plenty");
    }

    #[test]
    fn numbers_are_taken_too() {
        let read: Vec<Quantity> = serde_json::from_str(r#"[2, 0.5, "4Gi"]"#).unwrap();
        assert_eq!(read.iter().map(Quantity::as_str).collect::<Vec<_>>(), ["2", "500m", "4Gi"]);
    }

    #[test]
    fn values_compare_across_notations() {
        assert_eq!(Quantity::new("20Gi").nano(), Quantity::new("20480Mi").nano());
        assert!(Quantity::new("20G").nano() < Quantity::new("20Gi").nano());
        assert_eq!(Quantity::new("4Gi").times(5), Some(Quantity::new("20Gi")));
    }
}
