//! Versions of Redis Enterprise, as image tags write them: `8.0.20-44.23`.

use std::cmp::Ordering;

/// A version, to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version(Vec<u64>);

impl Version {
    /// Reads a tag: numbers with dots, a build after a hyphen. What follows a plus, or a word at the end, is not compared.
    pub(crate) fn parse(tag: &str) -> Option<Self> {
        let (release, build) = tag.split_once('-').unwrap_or((tag, ""));
        let mut numbers = Vec::new();
        for part in release.split('.') {
            numbers.push(part.parse().ok()?);
        }
        if numbers.len() < 3 {
            return None;
        }
        numbers.extend(build.split(['.', '-']).map_while(|part| part.parse::<u64>().ok()));
        Some(Self(numbers))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_compare_by_number() {
        let version = |tag| Version::parse(tag).unwrap();
        assert!(version("8.0.20-44.23") > version("8.0.18-11"));
        assert!(version("8.0.20-44.23") > version("8.0.20-44"));
        assert!(version("7.22.2-170") < version("8.0.2-2"));
        assert!(version("8.0.20-44-simulator") == version("8.0.20-44"));
        for tag in ["latest", "8", "8.0", "", "v8.0.20"] {
            assert_eq!(Version::parse(tag), None, "{tag}");
        }
    }
}
