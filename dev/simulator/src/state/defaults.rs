//! The fields that the product's objects have, with their default values, in JSON files beside this one.
//!
//! They hold more than an operator needs on purpose: strict decoders should break here, not at users
//! (REST reference, 16.1 rule 3). Most are stored and shown only.

use serde_json::{Value, json};

use super::{Object, object};

fn parse(text: &str) -> Object {
    // The files are part of the program and the tests parse each of them.
    object(serde_json::from_str(text).unwrap_or(Value::Null))
}

/// A database's configuration fields.
pub fn bdb() -> Object {
    parse(include_str!("bdb_defaults.json"))
}

/// A cluster's settings.
pub fn cluster(name: &str) -> Object {
    let mut settings = parse(include_str!("cluster_defaults.json"));
    settings.insert("name".to_owned(), json!(name));
    settings
}

/// The cluster policy.
pub fn policy() -> Object {
    parse(include_str!("policy_defaults.json"))
}

/// Fields of a database that a client may send though they are no part of its stored configuration.
pub const WRITE_ONLY: [&str; 3] = ["uid", "name", "memory_size"];

/// Fields that the server owns: accepted in a body, as clients send back what they read, and ignored.
pub const READ_ONLY: [&str; 19] = [
    "action_uid",
    "backup_progress",
    "backup_status",
    "created_time",
    "endpoints",
    "export_progress",
    "export_status",
    "import_progress",
    "import_status",
    "last_backup_time",
    "last_changed_time",
    "last_export_time",
    "last_import_time",
    "shard_list",
    "status",
    "topology_epoch",
    "traffic_manually_disabled",
    "version",
    "internal",
];

/// Alerts that a database has (REST reference, 6.7), with the defaults of their thresholds.
pub fn bdb_alerts() -> Object {
    let with_threshold = [
        ("bdb_backup_delayed", "1800"),
        ("bdb_crdt_src_high_syncer_lag", "500"),
        ("bdb_high_latency", "0"),
        ("bdb_high_throughput", "0"),
        ("bdb_low_throughput", "0"),
        ("bdb_ram_dataset_overhead", "80"),
        ("bdb_ram_values", "80"),
        ("bdb_replica_src_high_syncer_lag", "500"),
        ("bdb_shard_num_ram_values", "1"),
        ("bdb_size", "80"),
    ];
    let plain = [
        "bdb_crdt_src_syncer_connection_error",
        "bdb_crdt_src_syncer_general_error",
        "bdb_long_running_action",
        "bdb_replica_src_syncer_connection_error",
        "bdb_replica_src_syncer_general_error",
    ];
    let alert = |threshold: &str| json!({"enabled": false, "state": false, "threshold": threshold, "severity": "DEBUG", "change_time": "", "change_value": {}});
    with_threshold
        .into_iter()
        .map(|(name, threshold)| (name.to_owned(), alert(threshold)))
        .chain(plain.into_iter().map(|name| (name.to_owned(), alert(""))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses_and_is_rich() {
        assert!(bdb().len() > 100, "{}", bdb().len());
        assert!(cluster("c").len() > 60);
        assert!(policy().len() > 40);
    }
}
