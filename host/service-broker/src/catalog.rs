//! What can be had: one service, and plans that differ in memory and in what outlives a node.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::BrokerError;

/// Ids are part of what a platform stores, so they never change.
pub(crate) const SERVICE: &str = "7c5f8a0e-6d0b-4c4e-9a53-3f1a3d6a1c01";

pub(crate) struct Plan {
    pub(crate) id: &'static str,
    name: &'static str,
    description: &'static str,
    memory: &'static str,
    replication: bool,
    persistence: &'static str,
}

pub(crate) const PLANS: [Plan; 3] = [
    Plan {
        id: "b2a9f3de-0a46-4a7e-8c1c-5a6f0e6f1c11",
        name: "cache",
        description: "256 MB, one copy, in memory only",
        memory: "256MB",
        replication: false,
        persistence: "disabled",
    },
    Plan {
        id: "b2a9f3de-0a46-4a7e-8c1c-5a6f0e6f1c12",
        name: "standard",
        description: "1 GB, with a replica on another node",
        memory: "1GB",
        replication: true,
        persistence: "disabled",
    },
    Plan {
        id: "b2a9f3de-0a46-4a7e-8c1c-5a6f0e6f1c13",
        name: "durable",
        description: "1 GB, with a replica on another node, written to disk every second",
        memory: "1GB",
        replication: true,
        persistence: "aofEverySecond",
    },
];

/// What a request may change of a plan.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Parameters {
    memory_size: Option<String>,
    persistence: Option<String>,
    replication: Option<bool>,
    eviction_policy: Option<String>,
}

/// The answer to `GET /v2/catalog`.
pub(crate) fn catalog() -> Value {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-06/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "memorySize": {"type": "string", "description": "for example 512MB"},
            "persistence": {"type": "string"},
            "replication": {"type": "boolean"},
            "evictionPolicy": {"type": "string"}
        }
    });
    let plan = |plan: &Plan| {
        json!({
            "id": plan.id, "name": plan.name, "description": plan.description, "free": true, "bindable": true,
            "schemas": {"service_instance": {"create": {"parameters": schema}}},
        })
    };
    json!({
        "services": [{
            "id": SERVICE,
            "name": "redis-enterprise",
            "description": "A Redis Enterprise database",
            "tags": ["redis", "key-value", "cache"],
            "bindable": true,
            "instances_retrievable": false,
            "bindings_retrievable": false,
            "plan_updateable": false,
            "plans": PLANS.iter().map(plan).collect::<Vec<_>>(),
        }]
    })
}

/// The spec of the database that a plan stands for.
pub(crate) fn database(
    service: &str,
    plan: &str,
    parameters: Option<&Value>,
) -> Result<Map<String, Value>, BrokerError> {
    if service != SERVICE {
        return Err(BrokerError::Invalid(format!("there is no service `{service}`; there is `{SERVICE}`")));
    }
    let Some(plan) = PLANS.iter().find(|it| it.id == plan) else {
        let known: Vec<String> = PLANS.iter().map(|it| format!("{} ({})", it.id, it.name)).collect();
        return Err(BrokerError::Invalid(format!("there is no plan `{plan}`; there are {}", known.join(", "))));
    };
    let parameters: Parameters = match parameters.filter(|value| !value.is_null()) {
        None => Parameters::default(),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
            let known = "memorySize, persistence, replication, evictionPolicy";
            BrokerError::Invalid(format!("parameters: {error}; what may be given: {known}"))
        })?,
    };
    let mut spec = Map::new();
    spec.insert("memorySize".to_owned(), parameters.memory_size.unwrap_or_else(|| plan.memory.to_owned()).into());
    spec.insert("replication".to_owned(), parameters.replication.unwrap_or(plan.replication).into());
    spec.insert("persistence".to_owned(), parameters.persistence.unwrap_or_else(|| plan.persistence.to_owned()).into());
    if let Some(policy) = parameters.eviction_policy {
        spec.insert("evictionPolicy".to_owned(), policy.into());
    }
    Ok(spec)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn parameters_change_a_plan_and_others_are_refused_by_name() {
        let spec = database(SERVICE, PLANS[0].id, Some(&json!({"memorySize": "512MB"}))).unwrap();
        assert_eq!(
            Value::Object(spec),
            json!({"memorySize": "512MB", "replication": false, "persistence": "disabled"})
        );
        let refused = database(SERVICE, PLANS[0].id, Some(&json!({"memory": "512MB"}))).unwrap_err().to_string();
        assert!(refused.contains("`memory`") && refused.contains("memorySize"), "{refused}");
        let refused = database(SERVICE, "gold", None).unwrap_err().to_string();
        assert!(refused.contains("durable"), "{refused}");
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<&str> = PLANS.iter().map(|plan| plan.id).chain([SERVICE]).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), PLANS.len() + 1);
    }
}
