//! Names of remote clusters for admins whose DNS does not know them: curl's `--resolve`, as a list.

use std::net::IpAddr;
use std::str::FromStr;

/// `HOST:PORT:ADDRESS:PORT2`: what is asked of this host and port is sent to that address and port. `HOST` may be `*`, or
/// `*.suffix` for every name that ends so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
    to: u16,
}

/// A text that is no [`Resolve`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not HOST:PORT:ADDRESS:PORT, such as api.example.com:443:10.0.0.7:8443; HOST may be `*` or `*.suffix`"
)]
pub struct NotResolve(String);

impl FromStr for Resolve {
    type Err = NotResolve;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (host, rest) = text.split_once(':')?;
            let (port, rest) = rest.split_once(':')?;
            let (address, to) = rest.rsplit_once(':')?;
            let address = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
            let star = host == "*" || !host.trim_start_matches("*.").contains('*');
            (star && !host.is_empty()).then_some(())?;
            Some(Self { host: host.to_ascii_lowercase(), port: port.parse().ok()?, address, to: to.parse().ok()? })
        };
        parse().ok_or_else(|| NotResolve(text.to_owned()))
    }
}

impl Resolve {
    fn means(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let named = match self.host.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
            None => host == self.host,
        };
        named && port == self.port
    }
}

/// Where a host and port are to be found, by the first entry that means them.
pub(crate) fn resolved(all: &[Resolve], host: &str, port: u16) -> Option<(IpAddr, u16)> {
    all.iter().find(|it| it.means(host, port)).map(|it| (it.address, it.to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<Resolve> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_that_means_a_name_counts() {
        let all = all(&["api-a.example.com:443:127.0.0.1:8443", "*.example.com:443:127.0.0.2:9", "*:80:[::1]:81"]);
        let found = |host, port| resolved(&all, host, port).map(|(address, port)| format!("{address} {port}"));
        assert_eq!(found("API-a.example.com", 443).as_deref(), Some("127.0.0.1 8443"));
        assert_eq!(found("api-b.example.com", 443).as_deref(), Some("127.0.0.2 9"));
        assert_eq!(found("example.com", 443), None);
        assert_eq!(found("anybody", 80).as_deref(), Some("::1 81"));
        assert_eq!(found("api-a.example.com", 444), None);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in
            ["", "a", "a:1", "a:1:127.0.0.1", ":1:127.0.0.1:2", "a:x:127.0.0.1:2", "a:1:host:2", "a*:1:127.0.0.1:2"]
        {
            assert!(text.parse::<Resolve>().is_err(), "{text}");
        }
    }
}
