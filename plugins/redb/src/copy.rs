//! What the spec of a database means for the copies of an Active-Active database (reference, 1.7; REST reference, 11.2): the same
//! fields, with other defaults, and without what each cluster has for itself. Asked by whoever reconciles those.

use serde_json::{Map, Value};
use stepwright_sdk::{Failure, Observation};

use crate::given::Given;
use crate::seen::Seen;
use crate::settings::{Bdb, Regex, SHARD_KEY_REGEX, Settings};
use crate::spec::{Cluster, Spec, said};
use crate::wanted;

/// Object sets of which an observation has to have one each, though they may be empty.
pub const SETS: [&str; 4] = ["clusters", "statefulsets", "secrets", "own-secrets"];

/// The configuration with which copies are made. `observed` is of the Active-Active database, with the spec of its copies in the place
/// of its own. Passwords, and tags, are the caller's.
///
/// # Errors
/// What cannot be read.
pub fn wanted(observed: &Observation) -> Result<Map<String, Value>, Failure> {
    let seen = Seen::read(observed)?;
    let none = Cluster::default();
    let cluster = seen.cluster().map_or(&none, |cluster| &cluster.value);
    let mut creation = wanted::creation(&seen, cluster, None);
    let spec = &seen.database.spec;
    creation.settings = of_copies(spec, creation.settings);
    creation.settings.sharding = Some(spec.sharding_enabled.unwrap_or(spec.shard_count != Some(1)));
    creation.shard_key_regex = creation
        .settings
        .sharding
        .filter(|sharding| *sharding)
        .map(|_| SHARD_KEY_REGEX.as_slice() as &'static [Regex]);
    let mut fields = object(&creation)?;
    fields.remove("type");
    Ok(fields)
}

/// What of a configuration differs from what the spec says, as it should be.
///
/// # Errors
/// What cannot be read.
pub fn missing(observed: &Observation, shown: &Value) -> Result<Map<String, Value>, Failure> {
    let seen = Seen::read(observed)?;
    let bdb: Bdb = serde_json::from_value(shown.clone())
        .map_err(|error| Failure::transient(format!("`default_db_config` cannot be read: {error}")))?;
    let mut settings = of_copies(&seen.database.spec, wanted::settings(&seen, Some(&bdb)));
    settings.name = None;
    let mut fields = object(&settings.missing_in(&bdb))?;
    fields.extend(object(&Given::of(&seen).missing_in(&seen, &bdb).only_modules())?);
    Ok(fields)
}

fn of_copies(spec: &Spec, settings: Settings) -> Settings {
    let mut settings =
        Settings { replication: Some(true), roles_permissions: None, replica_sync: None, tags: None, ..settings };
    if said(spec.persistence.as_ref()).is_none() {
        settings.data_persistence = Some("aof".to_owned());
        settings.aof_policy = Some("appendfsync-every-sec".to_owned());
    }
    if said(spec.eviction_policy.as_ref()).is_none() {
        settings.eviction_policy = Some("noeviction".to_owned());
    }
    settings
}

fn object(value: &impl serde::Serialize) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(Failure::transient(format!("a configuration cannot be written: {error}"))),
    }
}
