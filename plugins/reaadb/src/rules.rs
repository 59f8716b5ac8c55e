//! Rules of a RedisEnterpriseActiveActiveDatabase (reference, 1.7 and 3.18). What every copy is like is judged by the rules of databases.

use serde_json::Value;
use stepwright_sdk::{Failure, Judged, Observation, Violation};

use crate::seen::{Bdb, Seen};

/// Where the rules of databases have `spec`.
const GLOBAL: &str = "spec.globalConfigurations";

/// Judges a resource that is not stored yet by the step's rules.
///
/// # Errors
/// What the step could not read either.
pub fn judge(observed: &Observation) -> Result<Judged, Failure> {
    let seen = Seen::read(observed)?;
    let mut judged = Judged { violations: of_itself(&seen)?, warnings: Vec::new() };
    if seen.clusters.is_empty() {
        // All may be on their way in one file, in any order.
        judged.warnings.push(format!(
            "namespace `{}` has no RedisEnterpriseCluster yet: the database is made once there is one",
            seen.observed.namespace()
        ));
    }
    Ok(judged)
}

/// Rules that need nothing but the spec, and which remote clusters there are.
pub(crate) fn of_itself(seen: &Seen<'_>) -> Result<Vec<Violation>, Failure> {
    let mut broken = Vec::new();
    let mut check = |ok: bool, field: &str, text: String| {
        if !ok {
            broken.push(Violation::new(field, text));
        }
    };
    let name = seen.name();
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    check(
        letters && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() < 63,
        "metadata.name",
        "must start with a lower-case letter and have lower-case letters, digits and hyphens only, fewer than 63"
            .to_owned(),
    );
    let known: Vec<&str> = seen.remotes.iter().map(|remote| remote.id.name.as_str()).collect();
    let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let beside = seen.remotes.first().and_then(|remote| remote.id.namespace.as_deref());
    // Where the cluster is, is where they are: before there is one, nobody can say.
    let nobody_knows = seen.clusters.is_empty() && seen.remotes.is_empty();
    for participant in seen.database.spec.participating_clusters.iter().filter(|_| !nobody_knows) {
        let text = format!(
            "RedisEnterpriseRemoteCluster `{}` not found in namespace `{}`, which has {there}: make it, or name another",
            participant.name,
            beside.unwrap_or_else(|| seen.observed.namespace())
        );
        check(known.contains(&participant.name.as_str()), "spec.participatingClusters.name", text);
    }
    let global = &seen.database.spec.global_configurations;
    let text = |field: &str| global.get(field).and_then(Value::as_str).unwrap_or_default();
    let is = |field: &str| global.get(field).and_then(Value::as_bool);
    check(
        is("isRof") != Some(true),
        "spec.globalConfigurations.isRof",
        "Active-Active databases are in memory only: remove it".to_owned(),
    );
    check(
        is("replication") != Some(false),
        "spec.globalConfigurations.replication",
        "Active-Active databases always have replicas: set it to true, or remove it".to_owned(),
    );
    check(
        !text("persistence").starts_with("snapshot"),
        "spec.globalConfigurations.persistence",
        "must be aofEverySecond, which is the default, aofAlways or disabled: Active-Active databases take no snapshots"
            .to_owned(),
    );
    check(
        ["", "redis"].contains(&text("type")),
        "spec.globalConfigurations.type",
        "must be redis: only such databases can be Active-Active".to_owned(),
    );
    let sources = global.get("replicaSources").and_then(Value::as_array).is_some_and(|sources| !sources.is_empty());
    check(
        !sources,
        "spec.globalConfigurations.replicaSources",
        "an Active-Active database copies no other one: remove it".to_owned(),
    );
    let version = |module: &Value| module.get("version").and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    for module in global.get("modulesList").and_then(Value::as_array).into_iter().flatten() {
        let name = module.get("name").and_then(Value::as_str).unwrap_or_default();
        let text = format!("module {name} needs its version, which has to be the same on every cluster: add it");
        check(version(module), "spec.globalConfigurations.modulesList.version", text);
    }
    let unsharded = is("shardingEnabled") == Some(false);
    let shards = global.get("shardCount").and_then(Value::as_i64);
    check(
        !(unsharded && shards.is_some_and(|shards| shards > 1)),
        "spec.globalConfigurations.shardingEnabled",
        "several shards need sharding: set it to true, or shardCount to 1".to_owned(),
    );
    if global.is_object() {
        let of_database = stepwright_redb::judge_alone(&seen.as_database())?.violations.into_iter();
        broken.extend(of_database.filter_map(|violation| {
            let rest = violation.field.strip_prefix("spec")?;
            // These are judged above, as they are other ones here.
            let own = [".shardingEnabled", ".isRof", ".memcachedSaslSecretName"];
            (!own.contains(&rest)).then(|| Violation::new(format!("{GLOBAL}{rest}"), violation.message))
        }));
    }
    Ok(broken)
}

/// Rules that need what the cluster has.
pub(crate) fn on_cluster(seen: &Seen<'_>, bdbs: &[Bdb], is_there: bool) -> Vec<Violation> {
    let mut broken = Vec::new();
    let takes_part = seen.own_remote().is_none_or(|own| {
        seen.database.spec.participating_clusters.iter().any(|participant| participant.name == own.id.name)
    });
    if !takes_part && !is_there {
        let own = seen.own_remote().map(|own| own.id.name.clone()).unwrap_or_default();
        let text =
            format!("must have `{own}`, which stands for the cluster beside this resource, among others: add it");
        broken.push(Violation::new("spec.participatingClusters", text));
    }
    let taken = bdbs.iter().find(|bdb| bdb.name == seen.name() && bdb.crdt != Some(true));
    if let Some(taken) = taken.filter(|_| !is_there) {
        let text = format!(
            "the cluster has another database `{}` (uid {}): name this resource differently, or delete that database",
            taken.name, taken.uid
        );
        broken.push(Violation::new("metadata.name", text));
    }
    broken
}
