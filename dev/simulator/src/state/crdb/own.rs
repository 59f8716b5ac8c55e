//! What may be changed of the database itself that is a cluster's part of an Active-Active one.

use serde_json::json;

use super::rules::COMMON;
use crate::state::{Bdb, Object, Refusal};

/// Whether the database of an Active-Active one may be changed so by itself (REST reference, 6.2 and 11.2).
pub fn check_crdt_change(bdb: &Bdb, patch: &Object) -> Result<(), Refusal> {
    let changes = |key: &str| patch.get(key).is_some_and(|value| bdb.config.get(key) != Some(value));
    if !bdb.flag("sharding") && (changes("sharding") || changes("shards_count")) {
        let why = "an Active-Active database that was created without sharding stays without it";
        return Err(Refusal::new(406, "crdt_sharding_violation", why));
    }
    for (key, value) in patch {
        if !changes(key) {
            continue;
        }
        let (code, why) = match key.as_str() {
            "name" => ("name_violation", "its name cannot be changed"),
            "replication" => ("replication_violation", "it needs replication"),
            "data_persistence" if *value == json!("snapshot") => ("invalid_data_persistence", "its persistence is aof"),
            key if key.starts_with("crdt") || COMMON.contains(&key) => {
                ("not_supported_action_on_crdt", "it is changed for all clusters with PATCH /v1/crdbs/{guid}")
            }
            "authentication_ssl_crdt_certs" => {
                ("not_supported_action_on_crdt", "the clusters tell each other their certificates")
            }
            _ => continue,
        };
        return Err(Refusal::new(406, code, format!("{key} of an Active-Active database: {why}")));
    }
    Ok(())
}
