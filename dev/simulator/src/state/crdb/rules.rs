//! What an Active-Active database may be, and what comes of a request to make or change one (REST reference, 11.2). Pure.

use serde_json::{Value, json};

use super::{Agreed, Instance};
use crate::state::{ClusterState, Object, Refusal, bdb_rules::known_fields};

/// Top-level fields that are stored and shown.
const FLAGS: [&str; 6] = [
    "encryption",
    "causal_consistency",
    "featureset_version",
    "protocol_version",
    "managed_by",
    "volatile_config_fields",
];

/// What must be equal on every cluster.
pub(super) const COMMON: [&str; 6] =
    ["module_list", "oss_sharding", "redis_version", "sharding", "shard_key_regex", "tls_mode"];

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new(406, "crdb_configuration", why)
}

fn malformed(why: impl Into<String>) -> Refusal {
    Refusal::bad_request(why)
}

/// The features that this cluster has.
pub fn featureset(state: &ClusterState) -> u64 {
    state.settings.get("crdt_supported_featureset_version").and_then(Value::as_u64).unwrap_or(0)
}

fn object_in(body: &Object, key: &str) -> Result<Object, Refusal> {
    match body.get(key) {
        None => Ok(Object::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => Err(malformed(format!("{key} is not of type 'object'"))),
    }
}

fn text_in(object: &Object, key: &str) -> Result<Option<String>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed(format!("{key} is not of type 'string'"))),
    }
}

fn required(object: &Object, key: &str) -> Result<String, Refusal> {
    text_in(object, key)?.ok_or_else(|| malformed(format!("'{key}' is a required property")))
}

/// A participant out of a request.
fn instance(value: &Value, id: u32) -> Result<Instance, Refusal> {
    let object = value.as_object().ok_or_else(|| malformed("an instance is not of type 'object'"))?;
    let cluster = object.get("cluster").and_then(Value::as_object);
    let cluster = cluster.ok_or_else(|| malformed("'cluster' is a required property"))?;
    let mut instance = Instance {
        id,
        name: required(cluster, "name")?,
        url: required(cluster, "url")?,
        username: String::new(),
        password: String::new(),
        replication_endpoint: None,
        replication_tls_sni: None,
        compression: 3,
        db_config: Object::new(),
    };
    let credentials = object_in(cluster, "credentials")?;
    required(&credentials, "username").and(required(&credentials, "password"))?;
    patch_instance(&mut instance, object)?;
    Ok(instance)
}

/// What may change of a participant.
fn patch_instance(instance: &mut Instance, patch: &Object) -> Result<(), Refusal> {
    let cluster = object_in(patch, "cluster")?;
    if let Some(url) = text_in(&cluster, "url")? {
        if url::Url::parse(&url).ok().is_none_or(|url| url.host_str().is_none()) {
            return Err(malformed(format!("{url} is not a url")));
        }
        instance.url = url;
    }
    let credentials = object_in(&cluster, "credentials")?;
    if let Some(username) = text_in(&credentials, "username")? {
        instance.username = username;
    }
    if let Some(password) = text_in(&credentials, "password")? {
        instance.password = password;
    }
    if cluster.contains_key("replication_endpoint") {
        instance.replication_endpoint = text_in(&cluster, "replication_endpoint")?;
    }
    if cluster.contains_key("replication_tls_sni") {
        instance.replication_tls_sni = text_in(&cluster, "replication_tls_sni")?;
    }
    if let Some(endpoint) = &instance.replication_endpoint
        && endpoint.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).is_none()
    {
        return Err(malformed(format!("replication_endpoint {endpoint} is not host:port")));
    }
    if let Some(level) = patch.get("compression") {
        let level = level.as_u64().filter(|level| *level <= 6);
        instance.compression = level.ok_or_else(|| malformed("compression is 0 to 6"))?;
    }
    for (key, value) in object_in(patch, "db_config")? {
        // `null` resets what differs (8.0.16 and newer).
        if value.is_null() {
            instance.db_config.remove(&key);
        } else {
            instance.db_config.insert(key, value);
        }
    }
    Ok(())
}

/// What `POST /v1/crdbs` asks for.
pub fn first(state: &ClusterState, guid: &str, body: &Object) -> Result<Agreed, Refusal> {
    let config = object_in(body, "default_db_config")?;
    let name = text_in(body, "name")?.map_or_else(|| required(&config, "name"), Ok)?;
    let mut agreed = Agreed {
        guid: guid.to_owned(),
        version: 1,
        name,
        config: Object::new(),
        more: Object::new(),
        instances: Vec::new(),
        last_instance: 0,
        flushes: 0,
        secret: crate::state::digest(&[&state.secret, "crdb", guid]),
        certificates: Default::default(),
    };
    for (key, value) in
        [("replication", json!(true)), ("data_persistence", json!("aof")), ("eviction_policy", json!("noeviction"))]
    {
        agreed.config.insert(key.to_owned(), value);
    }
    let sharded = config.get("shards_count").and_then(Value::as_u64).unwrap_or(1) > 1;
    agreed.config.insert("sharding".to_owned(), json!(sharded));
    if config.get("sharding").and_then(Value::as_bool).unwrap_or(sharded) {
        let rules = [r".*\{(?<tag>.*)\}.*", "(?<tag>.*)"].map(|rule| json!({"regex": rule}));
        agreed.config.insert("shard_key_regex".to_owned(), json!(rules));
    }
    change_common(&mut agreed, body)?;
    add(&mut agreed, body.get("instances"))?;
    if agreed.instances.is_empty() {
        return Err(malformed("'instances' is a required property"));
    }
    if !agreed.config.contains_key("memory_size")
        && agreed.instances.iter().any(|one| !one.db_config.contains_key("memory_size"))
    {
        return Err(invalid("memory_size is missing in default_db_config"));
    }
    check(&agreed)?;
    if agreed.of_cluster(&state.name).is_none() {
        return Err(invalid(format!("no instance is on this cluster, {}", state.name)));
    }
    Ok(agreed)
}

fn change_common(agreed: &mut Agreed, body: &Object) -> Result<(), Refusal> {
    for (key, value) in object_in(body, "default_db_config")? {
        if value.is_null() {
            agreed.config.remove(&key);
        } else {
            agreed.config.insert(key, value);
        }
    }
    for (key, value) in body {
        match key.as_str() {
            "name" | "default_db_config" | "instances" | "guid" | "local_databases" | "modules" => {}
            flag if FLAGS.contains(&flag) => {
                agreed.more.insert(key.clone(), value.clone());
            }
            _ => return Err(malformed(format!("Additional properties are not allowed ('{key}' was unexpected)"))),
        }
    }
    Ok(())
}

fn add(agreed: &mut Agreed, instances: Option<&Value>) -> Result<(), Refusal> {
    let list = match instances {
        None => return Ok(()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(malformed("instances is not of type 'array'")),
    };
    for value in list {
        let new = instance(value, agreed.last_instance + 1)?;
        if agreed.of_cluster(&new.name).is_some() {
            return Err(invalid(format!("cluster {} is listed twice", new.name)));
        }
        agreed.last_instance += 1;
        agreed.instances.push(new);
    }
    Ok(())
}

/// What `PATCH` or `…/updates` makes of what is agreed. Both in the form of `updates`.
pub fn changed(state: &ClusterState, before: &Agreed, body: &Object) -> Result<Agreed, Refusal> {
    let mut next = before.clone();
    next.version += 1;
    for key in body.keys() {
        let known = [
            "add_instances",
            "remove_instances",
            "remove_instances.force_remove",
            "force_remove",
            "crdb",
            "force_update",
        ];
        if !known.contains(&key.as_str()) {
            return Err(malformed(format!("Additional properties are not allowed ('{key}' was unexpected)")));
        }
    }
    let patch = object_in(body, "crdb")?;
    for name in [patch.get("name"), object_in(&patch, "default_db_config")?.get("name")].into_iter().flatten() {
        if *name != json!(before.name) {
            return Err(invalid("the name of an Active-Active database cannot be changed"));
        }
    }
    change_common(&mut next, &patch)?;
    for value in patch.get("instances").and_then(Value::as_array).into_iter().flatten() {
        let object = value.as_object().ok_or_else(|| malformed("an instance is not of type 'object'"))?;
        let id = object.get("id").and_then(Value::as_u64);
        let name = value.pointer("/cluster/name").and_then(Value::as_str);
        let found = next.instances.iter_mut().find(|one| match id {
            Some(id) => u64::from(one.id) == id,
            None => Some(one.name.as_str()) == name,
        });
        let found =
            found.ok_or_else(|| invalid("an instance is not a part of the database; add_instances adds one"))?;
        patch_instance(found, object)?;
    }
    let removed = match body.get("remove_instances") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>().unwrap_or_default(),
        Some(_) => return Err(malformed("remove_instances is not of type 'array'")),
    };
    for id in removed {
        let before = next.instances.len();
        next.instances.retain(|one| u64::from(one.id) != id);
        if next.instances.len() == before {
            return Err(invalid(format!("there is no instance {id} to remove")));
        }
        next.certificates.retain(|one, _| u64::from(*one) != id);
    }
    if next.instances.is_empty() {
        return Err(invalid("the last instance is not removed: delete the database"));
    }
    add(&mut next, body.get("add_instances"))?;
    let sharded = |one: &Agreed| one.config.get("sharding").and_then(Value::as_bool).unwrap_or(false);
    if !sharded(before) && (sharded(&next) || shards_of(&next) > 1) {
        return Err(invalid("an Active-Active database that was created without sharding stays without it"));
    }
    check(&next)?;
    // With nobody left here, nobody would decide.
    if before.of_cluster(&state.name).is_none() {
        return Err(invalid("this cluster takes part no more: purge the database here"));
    }
    Ok(next)
}

fn shards_of(agreed: &Agreed) -> u64 {
    let all = agreed.instances.iter().map(|one| &one.db_config).chain([&agreed.config]);
    all.filter_map(|config| config.get("shards_count")?.as_u64()).max().unwrap_or(1)
}

fn check(agreed: &Agreed) -> Result<(), Refusal> {
    let configs = agreed.instances.iter().map(|one| (Some(one), &one.db_config)).chain([(None, &agreed.config)]);
    for (instance, config) in configs {
        known_fields(config).map_err(|refusal| malformed(refusal.message))?;
        if let Some(key) = config.keys().find(|key| key.starts_with("crdt") || key.as_str() == "uid") {
            return Err(invalid(format!("{key} cannot be set")));
        }
        if config.get("replication").is_some_and(|value| *value != json!(true)) {
            return Err(invalid("an Active-Active database needs replication: true"));
        }
        if config.get("data_persistence").is_some_and(|value| *value != json!("aof") && *value != json!("disabled")) {
            return Err(invalid("data_persistence of an Active-Active database is aof"));
        }
        if instance.is_some() && config.contains_key("name") {
            return Err(invalid("the name is the same on every cluster"));
        }
        if let Some(key) = config.keys().find(|key| instance.is_some() && COMMON.contains(&key.as_str())) {
            return Err(invalid(format!("{key} must be equal on every cluster: it belongs into default_db_config")));
        }
        if config.get("bigstore") == Some(&json!(true))
            || config.get("type").is_some_and(|value| *value != json!("redis"))
        {
            return Err(invalid("an Active-Active database is of type redis and in memory"));
        }
    }
    Ok(())
}
