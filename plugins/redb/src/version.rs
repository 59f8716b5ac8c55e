//! Which version of Redis a database is to have (reference, 1.5, `redisVersion`; REST reference, 6.6).

use serde::Serialize;

use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::{Cluster, said};

/// Body of `POST /v1/bdbs/{uid}/upgrade`. Never asks for data to be thrown away: without replica and persistence the
/// cluster refuses, and says so.
#[derive(Serialize)]
pub(crate) struct Upgrade {
    pub(crate) redis_version: String,
}

const MAJOR: &str = "major";
const LATEST: &str = "latest";

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// `7.4.2` is a 7.4, and the other way round as far as can be said.
fn same(one: &str, other: &str) -> bool {
    let starts = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'));
    one == other || starts(one, other) || starts(other, one)
}

fn offered(cluster: &Cluster) -> impl Iterator<Item = &crate::spec::BundledVersion> {
    cluster.status.versions.iter().filter(|version| version.db_type.eq_ignore_ascii_case("redis"))
}

/// The version that the spec means on this cluster; `None` leaves it to the cluster.
pub(crate) fn wanted<'a>(seen: &'a Seen<'_>, cluster: &'a Cluster) -> Option<&'a str> {
    let word = said(seen.database.spec.redis_version.as_ref())?;
    let newest = |major: bool| {
        offered(cluster)
            .filter(|version| !major || version.major.unwrap_or_default())
            .map(|version| version.version.as_str())
            .max_by_key(|version| numbers(version))
    };
    match word {
        MAJOR => newest(true),
        LATEST => newest(false),
        _ => Some(word),
    }
}

/// What the database has to be upgraded to.
pub(crate) fn upgrade(seen: &Seen<'_>, cluster: &Cluster, bdb: &Bdb) -> Option<Upgrade> {
    let (wanted, found) = (wanted(seen, cluster)?, said(bdb.version.as_ref())?);
    let newer = !same(wanted, found) && numbers(wanted) > numbers(found);
    newer.then(|| Upgrade { redis_version: wanted.to_owned() })
}

pub(crate) fn rules(seen: &Seen<'_>, cluster: &Cluster, own: Option<&Bdb>, check: &mut dyn FnMut(bool, &str, String)) {
    let field = "spec.redisVersion";
    let Some(word) = said(seen.database.spec.redis_version.as_ref()) else { return };
    let policy = seen.policy.known().and_then(|policy| policy.redis_upgrade_policy.as_deref());
    let all: Vec<&str> = offered(cluster).map(|version| version.version.as_str()).collect();
    if word == LATEST && policy == Some(MAJOR) {
        let text = "latest is not allowed by the cluster, whose redis_upgrade_policy is major: say major, or a version";
        check(false, field, text.to_owned());
    }
    let found = own.and_then(|own| said(own.version.as_ref()));
    if [MAJOR, LATEST].contains(&word) || found.is_some_and(|found| same(word, found)) {
        return;
    }
    let known = all.is_empty() || all.iter().any(|version| same(version, word));
    let text =
        format!("the cluster does not have `{word}`; it has {}: name one of them, major or latest", all.join(", "));
    check(known, field, text);
    if let Some(found) = found.filter(|_| known) {
        let text = format!("a database is never downgraded: it has {found}, so `{word}` is not possible");
        check(numbers(word) > numbers(found), field, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_numbers() {
        assert!(numbers("7.10") > numbers("7.4.2"));
        assert!(same("7.4", "7.4.2") && same("7.4.2", "7.4") && !same("7.4", "7.40"));
    }
}
