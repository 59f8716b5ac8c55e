//! A policy: the databases of a namespace together may have so much memory and no more.
//!
//! Counted is `memorySize`. It includes replicas, in the product as here, so `replication` does not double it. A database that
//! exists counts with what it has; of those that do not exist yet, the older come first.

mod quota;
#[allow(dead_code, reason = "its other limits are the step's business")]
#[path = "../../../redb/src/size.rs"]
mod size;

use serde::Deserialize;
use stepwright_sdk::{
    Call, Failure, Manifest, Observation, Observe, Plan, Policy, PolicyManifest, Verdict, Violation, export_policy,
    parse_settings,
};

use crate::quota::{Account, Settings, human};

/// The policy.
pub struct RedbMemoryQuota;

export_policy!(RedbMemoryQuota);

/// A RedisEnterpriseDatabase, as far as it counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Database {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    creation_timestamp: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    memory_size: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "databaseUID")]
    database_uid: Option<String>,
}

/// A database as the cluster lists it.
#[derive(Debug, Deserialize)]
struct Bdb {
    uid: u64,
    #[serde(default)]
    memory_size: u64,
}

/// What a call asks for.
#[derive(Debug, Deserialize)]
struct Asked {
    memory_size: Option<u64>,
}

impl Policy for RedbMemoryQuota {
    fn manifest() -> Manifest {
        let databases = Observe::new("databases", "app.redislabs.com/v1alpha1", "RedisEnterpriseDatabase")
            .all()
            .fields(["metadata.creationTimestamp", "spec.memorySize", "status.databaseUID"]);
        Manifest::new("redb-memory-quota", env!("CARGO_PKG_VERSION"))
            .description("Keeps the memory of a namespace's databases within a quota")
            .policy(PolicyManifest::reviewing(["redb"]).observe(databases).facts(["bdbs"]))
    }

    fn validate_settings(settings: &str) -> Vec<Violation> {
        match parse_settings::<Settings>(settings) {
            Ok(settings) => settings.violations(),
            Err(error) => vec![Violation::new("settings", error.to_string())],
        }
    }

    fn review(observed: &Observation, plan: &Plan) -> Result<Verdict, Failure> {
        let Some(asked) = plan.calls.iter().find_map(asked).transpose()? else { return Ok(Verdict::Pass) };
        let Some(quota) = observed.settings::<Settings>()?.quota(observed.namespace())? else {
            return Ok(Verdict::Pass);
        };
        let account = account(observed)?;
        if account.own_is_at_least(asked) {
            return Ok(Verdict::Pass);
        }
        let given = account.given_to_others(quota);
        let total: u64 = given.iter().map(|(_, bytes)| bytes).sum();
        if total.saturating_add(asked) <= quota {
            return Ok(Verdict::Pass);
        }
        let others = if given.is_empty() {
            "none of it is taken".to_owned()
        } else {
            let listed: Vec<_> = given.iter().map(|(name, bytes)| format!("{name} {}", human(*bytes))).collect();
            format!("{} of it are taken ({})", human(total), listed.join(", "))
        };
        Ok(Verdict::deny(format!(
            "database `{}` asks for {} of memory; the quota of namespace `{}` is {}, and {others}: at most {} can be had; \
             lower spec.memorySize, delete another database, or have the quota raised",
            observed.name(),
            human(asked),
            observed.namespace(),
            human(quota),
            human(quota.saturating_sub(total)),
        )))
    }
}

/// The memory that a call would give the database; `None` if it is not about that.
fn asked(call: &Call) -> Option<Result<u64, Failure>> {
    let is_about_databases = match call.method.as_str() {
        "POST" => call.path == "/v1/bdbs",
        "PUT" => call.path.starts_with("/v1/bdbs/"),
        _ => false,
    };
    let body = call.body.as_deref().filter(|_| is_about_databases)?;
    match serde_json::from_str::<Asked>(body) {
        Ok(asked) => asked.memory_size.map(Ok),
        Err(error) => Some(Err(Failure::transient(format!("the body of call `{}` cannot be read: {error}", call.id)))),
    }
}

fn account(observed: &Observation) -> Result<Account, Failure> {
    let bdbs = observed.fact::<Vec<Bdb>>("bdbs");
    let bdbs = bdbs.known().map_or(&[][..], Vec::as_slice);
    let mut account = Account::default();
    for database in observed.set::<Database>("databases")? {
        // One whose size cannot be read is refused by its own step.
        let wanted = database.spec.memory_size.as_deref().map_or(Some(size::LEAST), size::parse).unwrap_or_default();
        let uid = database.status.database_uid.as_deref().map(str::parse::<u64>);
        let has = uid.map(|uid| bdbs.iter().find(|bdb| Ok(bdb.uid) == uid).map_or(wanted, |bdb| bdb.memory_size));
        let is_own = database.id.name == observed.name();
        account.add(is_own, &database.metadata.creation_timestamp, &database.id.name, wanted, has);
    }
    Ok(account)
}
