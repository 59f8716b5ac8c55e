//! How an older version answers (REST reference, 16.7, F18): paths of newer ones are not there, and neither are fields that
//! came later or that have their default value (16.11, the mode before 7.22.2).

use serde_json::Value;

use super::{Ask, Reply, newest, unknown};
use crate::state::{Object, Refusal, defaults};

/// Fields that came with 7.22 or later, or stand for something that did.
const NEW_OF_BDB: [&str; 3] = ["topology_epoch", "traffic_manually_disabled", "created_time"];

/// Fields of a database that were always there, default or not.
const ALWAYS: [&str; 10] = [
    "authentication_redis_pass",
    "data_persistence",
    "eviction_policy",
    "memory_size",
    "name",
    "port",
    "replication",
    "sharding",
    "shards_count",
    "type",
];

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    if matches!(path, ["v2", "actions", ..] | ["v4", ..] | ["v1", "metrics_config", ..]) {
        return Err(unknown(ask.call));
    }
    let reply = newest(ask, path).await?;
    let of_bdbs = matches!(path, ["v1", "bdbs"]) || matches!(path, ["v1", "bdbs", id] if *id != "alerts");
    if !of_bdbs || reply.content_type != "application/json" {
        return Ok(reply);
    }
    let view = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    Ok(Reply { body: without_new(view).to_string().into(), ..reply })
}

fn without_new(view: Value) -> Value {
    match view {
        Value::Array(all) => all.into_iter().map(without_new).collect(),
        Value::Object(bdb) => Value::Object(older(bdb)),
        other => other,
    }
}

fn older(mut bdb: Object) -> Object {
    let defaults = defaults::bdb();
    bdb.retain(|key, value| {
        let dull = defaults.get(key) == Some(value) && !ALWAYS.contains(&key.as_str());
        !dull && !NEW_OF_BDB.contains(&key.as_str())
    });
    bdb
}
