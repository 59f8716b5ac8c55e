//! Where names lead that the machine's own resolver does not know: a list in the form of curl's `--resolve`.
//!
//! `HOST:PORT:ADDRESS:PORT2`, several with commas between; HOST may be `*` or `*.suffix`, and the first that fits counts.
//! For what is asked of other clusters only. No caching and no lookups here.

use std::str::FromStr;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    host: String,
    port: u16,
    address: String,
    to: u16,
}

/// Rules in the order in which they count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolve(Vec<Rule>);

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT:ADDRESS:PORT2, such as *.example.com:443:127.0.0.1:8443")]
pub struct NoRule(String);

impl FromStr for Resolve {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        rules.map(|rule| read(rule).ok_or_else(|| NoRule(rule.to_owned()))).collect::<Result<_, _>>().map(Self)
    }
}

fn read(rule: &str) -> Option<Rule> {
    let (rest, to) = rule.rsplit_once(':')?;
    let (host, rest) = rest.split_once(':')?;
    let (port, address) = rest.split_once(':')?;
    // An IPv6 address stands in brackets, as in a URL.
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let stars = host.matches('*').count();
    let patterned = stars == 0 || host == "*" || (stars == 1 && host.starts_with("*."));
    if host.is_empty() || address.is_empty() || !patterned {
        return None;
    }
    let host = host.to_ascii_lowercase();
    Some(Rule { host, port: port.parse().ok()?, address: address.to_owned(), to: to.parse().ok()? })
}

impl Resolve {
    /// Where to dial `host` and `port`: as the first rule says, else the same.
    pub fn lead(&self, host: &str, port: u16) -> (String, u16) {
        let asked = host.to_ascii_lowercase();
        let fits = |rule: &&Rule| {
            let named = match rule.host.strip_prefix('*') {
                Some(suffix) => asked.ends_with(suffix),
                None => asked == rule.host,
            };
            named && rule.port == port
        };
        match self.0.iter().find(fits) {
            Some(rule) => (rule.address.clone(), rule.to),
            None => (host.to_owned(), port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = "api.a.example:443:127.0.0.1:8443, *.a.example:443:127.0.0.2:1,*:443:[::1]:2";
        let resolve: Resolve = rules.parse().unwrap();
        for (host, port, address, to) in [
            ("api.a.example", 443, "127.0.0.1", 8443),
            ("API.A.example", 443, "127.0.0.1", 8443),
            ("db.a.example", 443, "127.0.0.2", 1),
            ("a.example", 443, "::1", 2),
            ("db.a.example", 9443, "db.a.example", 9443),
        ] {
            assert_eq!(resolve.lead(host, port), (address.to_owned(), to), "{host}:{port}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_by_name() {
        for rule in ["a:443:127.0.0.1", "a:x:127.0.0.1:1", ":1:b:2", "a*:1:b:2", "a:1::2", "*.*.x:1:b:2"] {
            assert_eq!(rule.parse::<Resolve>(), Err(NoRule(rule.to_owned())), "{rule}");
        }
        assert_eq!("".parse::<Resolve>().unwrap().lead("a", 1), ("a".to_owned(), 1));
    }
}
