//! What a database may be: names, values, combinations, and what the license permits (REST reference, 2.3, 2.4 and 6.2).

use serde_json::{Value, json};

use super::{
    Bdb, BdbStatus, ClusterState, Context, Object, Refusal, defaults, transfer::check_location, versions::full,
};
use crate::tls;

impl ClusterState {
    /// The database if no state machine works on it.
    pub(super) fn free_bdb(&self, uid: u32) -> Result<Bdb, Refusal> {
        let bdb = self.bdb(uid)?;
        if self.migrates(uid) {
            return Err(Refusal::busy(format!("a shard of database {uid} is on its way to another node")));
        }
        if bdb.busy() || bdb.status == BdbStatus::Recovery {
            return Err(Refusal::busy(format!("database {uid} is {}", bdb.status.word())));
        }
        if bdb.status == BdbStatus::CreationFailed {
            return Err(Refusal::new(406, "creation_failed", "the database could not be created; delete it"));
        }
        Ok(bdb.clone())
    }

    pub(super) fn license_allows(&self, ctx: &Context) -> Result<(), Refusal> {
        if self.license.expired(ctx.now) {
            return Err(Refusal::new(403, "license_expired", "the license has expired"));
        }
        Ok(())
    }

    /// Whether so many more shards are permitted; the text is the product's (reference, 3.9).
    pub(super) fn license_has_room(&self, more: usize) -> Result<(), Refusal> {
        let total = self.shards_in_use() + more;
        let limit = self.license.shards_limit;
        if total as u64 > limit {
            return Err(Refusal::new(
                406,
                "insufficient_resources",
                format!(
                    "Total shards count exceeds amount of total shards permitted by license. License permits {limit} total shards, but there are {total} total shards in use."
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn validate(&self, bdb: &Bdb) -> Result<(), Refusal> {
        let refuse = |code: &'static str, why: String| Err(Refusal::new(406, code, why));
        for (key, default) in defaults::bdb() {
            let same_kind = |value: &Value| {
                default.is_null()
                    || value.is_null()
                    || std::mem::discriminant(value) == std::mem::discriminant(&default)
            };
            if bdb.config.get(&key).is_some_and(|value| !same_kind(value)) {
                return Err(Refusal::bad_request(format!("{key} has the wrong type")));
            }
        }
        if !bdb.config.get("memory_size").is_some_and(Value::is_u64) {
            return Err(Refusal::bad_request("memory_size must be a number of bytes"));
        }
        let name = bdb.name();
        let edges = [name.chars().next(), name.chars().last()];
        if name.len() > 63
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            || !edges.iter().all(|edge| edge.is_some_and(|c| c.is_ascii_alphanumeric()))
        {
            return Err(Refusal::bad_request(format!("{name} is not a name of a database")));
        }
        if bdb.text("type") == "memcached" {
            if bdb.config.get("module_list").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
                return refuse("memcached_cannot_use_modules", "a memcached database has no modules".to_owned());
            }
            if bdb.text("authentication_sasl_uname").is_empty() != bdb.text("authentication_sasl_pass").is_empty() {
                return refuse("invalid_sasl_credentials", "SASL needs a name and a password, or neither".to_owned());
            }
            return refuse(
                "invalid_type",
                "the simulator runs no memcached databases; type redis is accepted".to_owned(),
            );
        }
        for (key, allowed, code) in [
            ("type", &["redis"][..], "invalid_type"),
            ("proxy_policy", &["single", "all-master-shards", "all-nodes"], "invalid_proxy_policy"),
            ("data_persistence", &["disabled", "snapshot", "aof"], "invalid_data_persistence"),
            ("aof_policy", &["appendfsync-every-sec", "appendfsync-always"], "invalid_data_persistence"),
            ("shards_placement", &["dense", "sparse"], "bad_shards_blueprint"),
            ("oss_cluster_api_preferred_ip_type", &["internal", "external"], "invalid_oss_cluster_configuration"),
            ("tls_mode", &["disabled", "enabled", "replica_ssl"], "invalid_tls_mode"),
            ("enforce_client_authentication", &["enabled", "disabled"], "invalid_certificate"),
            (
                "eviction_policy",
                &[
                    "volatile-lru",
                    "volatile-ttl",
                    "volatile-random",
                    "volatile-lfu",
                    "allkeys-lru",
                    "allkeys-lfu",
                    "allkeys-random",
                    "noeviction",
                ],
                "eviction_policy_violation",
            ),
        ] {
            if !allowed.contains(&bdb.text(key)) {
                return refuse(code, format!("{key} cannot be {:?} here", bdb.text(key)));
            }
        }
        let groups = bdb.number("shards_count");
        if !(1..=512).contains(&groups) || (groups > 1 && !bdb.flag("sharding")) {
            return refuse("invalid_sharding", "shards_count is 1 to 512, and more than 1 needs sharding".to_owned());
        }
        let empty = |key: &str| bdb.config.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty);
        if bdb.flag("sharding") && empty("shard_key_regex") {
            return refuse("invalid_sharding", "sharding needs shard_key_regex".to_owned());
        }
        if bdb.flag("oss_cluster") {
            let policy = bdb.text("proxy_policy");
            let why = match () {
                () if bdb.text("hash_slots_policy") != "16k" => "hash_slots_policy 16k",
                () if policy == "single" => "proxy_policy all-master-shards or all-nodes",
                () if !bdb.has_standard_rules() => "the standard shard_key_regex",
                () => "",
            };
            if !why.is_empty() {
                return refuse("invalid_oss_cluster_configuration", format!("oss_cluster needs {why}"));
            }
        }
        if bdb.flag("rack_aware") && self.nodes.values().all(|node| node.rack_id.is_empty()) {
            return refuse("not_rack_aware", "the cluster is not rack aware".to_owned());
        }
        if bdb.flag("backup") && bdb.number("backup_interval") == 0 {
            return refuse("missing_backup_interval", "backup needs backup_interval".to_owned());
        }
        if let Some(place) = bdb.config.get("backup_location").filter(|place| !place.is_null()) {
            check_location(place)?;
        }
        self.check_modules(bdb)?;
        for pem in bdb.listed_certificates() {
            if let Err(error) = tls::certificates_in(pem) {
                return refuse("invalid_certificate", format!("a client certificate cannot be read: {error}"));
            }
        }
        let enforced = bdb.text("tls_mode") != "disabled" && bdb.text("enforce_client_authentication") == "enabled";
        if enforced && bdb.trusted_clients(self).is_empty() {
            let why = "enforce_client_authentication needs a certificate in authentication_ssl_client_certs";
            return refuse("invalid_certificate", why.to_owned());
        }
        if !["disabled", "enabled", "paused", "stopped"].contains(&bdb.text("replica_sync")) {
            return refuse("invalid_replica_sync", format!("replica_sync cannot be {:?}", bdb.text("replica_sync")));
        }
        for source in bdb.config.get("replica_sources").and_then(Value::as_array).into_iter().flatten() {
            let uri = source.get("uri").and_then(Value::as_str).unwrap_or_default();
            if !(uri.starts_with("redis://") || uri.starts_with("rediss://")) {
                return refuse(
                    "invalid_replica_source",
                    "the uri of a source begins with redis:// or rediss://".to_owned(),
                );
            }
        }
        let wanted = bdb.text("redis_version");
        if !wanted.is_empty() && !self.nodes.values().any(|node| full(&node.redis_version, wanted).is_some()) {
            return refuse("invalid_version", format!("redis version {wanted} is not installed"));
        }
        let tags = bdb.config.get("tags").and_then(Value::as_array);
        let mut keys: Vec<&str> = tags.into_iter().flatten().filter_map(|tag| tag.get("key")?.as_str()).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() != all {
            return refuse("invalid_bdb_tags", "a tag key is given twice".to_owned());
        }
        Ok(())
    }
}

/// Refuses fields that no database has, so that a client's misspelling does not pass (REST reference, 16.1 rule 2).
pub(super) fn known_fields(body: &Object) -> Result<(), Refusal> {
    let known = defaults::bdb();
    let unknown = body.keys().find(|key| {
        !known.contains_key(*key)
            && !defaults::WRITE_ONLY.contains(&key.as_str())
            && !defaults::READ_ONLY.contains(&key.as_str())
    });
    match unknown {
        Some(key) => Err(Refusal::new(400, "unknown_field", format!("a database has no field {key}"))),
        None => Ok(()),
    }
}

pub(super) fn merge(config: &mut Object, body: Object) {
    let old_way = body.get("ssl").and_then(Value::as_bool).filter(|_| !body.contains_key("tls_mode"));
    for (key, value) in body {
        if key != "uid" && !defaults::READ_ONLY.contains(&key.as_str()) {
            config.insert(key, value);
        }
    }
    // `ssl` is the older name of the same (REST reference, 6.2).
    if let Some(on) = old_way {
        config.insert("tls_mode".to_owned(), json!(if on { "enabled" } else { "disabled" }));
    }
    let on = config.get("tls_mode").and_then(Value::as_str) == Some("enabled");
    config.insert("ssl".to_owned(), json!(on));
}

pub(super) fn one_password(config: &Object) -> Vec<String> {
    let password = config.get("authentication_redis_pass").and_then(Value::as_str).unwrap_or_default();
    if password.is_empty() { Vec::new() } else { vec![password.to_owned()] }
}

/// `use_nodes` and `avoid_nodes` hold uids as strings (REST reference, 0).
pub(super) fn node_list(config: &Object, key: &str) -> Vec<u32> {
    let values = config.get(key).and_then(Value::as_array).into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|n| n.to_string())))
        .filter_map(|text| text.parse().ok())
        .collect()
}
