//! What must hold before a cluster changes its version (reference, 3.13). The first thing that does not is the reason.

use serde::Deserialize;
use stepwright_sdk::{Fact, Observation};

use crate::Cluster;
use crate::version::Version;

/// The oldest version that may be left behind.
const OLDEST: &str = "7.4.2";
/// The oldest Redis of a database that current versions still run (REST reference, 6.6).
const OLDEST_REDIS: (u64, u64) = (6, 2);

/// One of `GET /v1/nodes`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    uid: u64,
    status: String,
}

/// One of `GET /v1/bdbs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bdb {
    name: String,
    status: String,
    redis_version: Option<String>,
    version: Option<String>,
}

/// `GET /v1/license`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct License {
    expired: Option<bool>,
}

/// Why a change of version does not happen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// Only a change by people helps.
    Refused(String),
    /// It begins when this has passed.
    NotYet(String),
}

use Hindrance::{NotYet, Refused};

/// The reason against going from one version to another; `None` if there is none.
pub(crate) fn against(observed: &Observation, cluster: &Cluster, from: &str, to: &str) -> Option<Hindrance> {
    versions(from, to).or_else(|| situation(observed, cluster, to))
}

/// The reason that lies in the versions themselves.
pub(crate) fn versions(from: &str, to: &str) -> Option<Hindrance> {
    let refused = |text: String| Some(Refused(text));
    let Some(target) = Version::parse(to) else {
        return refused(format!(
            "the tag `{to}` is not a version such as 8.0.20-44.23, so that it cannot be compared with `{from}`, which runs; name one that is"
        ));
    };
    // What runs was taken once; that it cannot be read does not lock the cluster in.
    let running = Version::parse(from)?;
    if target < running {
        return refused(format!(
            "{to} is older than {from}, which runs: a cluster cannot go back; set the tag to {from} or newer"
        ));
    }
    if Version::parse(OLDEST).is_some_and(|oldest| running < oldest) {
        return refused(format!(
            "{from} is older than {OLDEST}, from which on can be upgraded; go to {OLDEST} by other means first"
        ));
    }
    None
}

fn situation(observed: &Observation, cluster: &Cluster, to: &str) -> Option<Hindrance> {
    if cluster.spec.cluster_recovery {
        return Some(Refused(format!("spec.clusterRecovery is true: set it to false before the upgrade to {to}")));
    }
    let license: Fact<License> = observed.fact("license");
    if license.known().is_some_and(|license| license.expired == Some(true)) {
        return Some(Refused(format!("the license has expired: install another before the upgrade to {to}")));
    }
    let bdbs: Vec<Bdb> = match observed.fact("bdbs") {
        Fact::Known(bdbs) => bdbs,
        Fact::Unknown(why) => return Some(NotYet(format!("databases can be looked at ({why})"))),
    };
    if let Some((bdb, version)) = bdbs.iter().find_map(|bdb| Some((bdb, too_old(bdb)?))) {
        let (major, minor) = OLDEST_REDIS;
        return Some(Refused(format!(
            "database `{}` has Redis {version}, which {to} does not run: upgrade it to {major}.{minor} or newer first",
            bdb.name
        )));
    }
    if let Some(bdb) = bdbs.iter().find(|bdb| !matches!(bdb.status.as_str(), "active" | "creation-failed")) {
        return Some(NotYet(format!("database `{}` is active (it is {})", bdb.name, bdb.status)));
    }
    let nodes: Vec<Node> = match observed.fact("nodes") {
        Fact::Known(nodes) => nodes,
        Fact::Unknown(why) => return Some(NotYet(format!("the cluster answers ({why})"))),
    };
    let unwell = nodes.iter().find(|node| node.status != "active")?;
    Some(NotYet(format!("node {} is active (it is {})", unwell.uid, unwell.status)))
}

fn too_old(bdb: &Bdb) -> Option<&str> {
    let text = bdb.redis_version.as_deref().or(bdb.version.as_deref()).filter(|text| !text.is_empty())?;
    let mut numbers = text.split('.').map(|part| part.parse::<u64>().ok());
    let version = (numbers.next()??, numbers.next()??);
    (version < OLDEST_REDIS).then_some(text)
}
