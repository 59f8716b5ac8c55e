//! The four CustomResourceDefinitions, put together from names (of the derive), schemas (of the types) and rules.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::active_active::{self, ActiveActiveStatus, RedisEnterpriseActiveActiveDatabaseSpec};
use crate::cluster::status::ClusterStatus;
use crate::cluster::{self, RedisEnterpriseClusterSpec};
use crate::database::rules::{COMMON, EVERYWHERE, MADE, SINGLE};
use crate::database::status::DatabaseStatus;
use crate::database::{self};
use crate::remote_cluster::{self, RedisEnterpriseRemoteClusterSpec, RemoteClusterStatus};
use crate::rule::Rule;
use crate::schema::{self, SchemaError, at};

/// All definitions, in the order in which they are installed.
pub fn all() -> Result<Vec<CustomResourceDefinition>, SchemaError> {
    Ok(vec![cluster()?, database()?, active_active_database()?, remote_cluster()?])
}

/// RedisEnterpriseCluster, in both of its versions.
pub fn cluster() -> Result<CustomResourceDefinition, SchemaError> {
    let mut schema = schema::root::<RedisEnterpriseClusterSpec, ClusterStatus>(
        "A cluster of Redis Enterprise nodes, each of them a pod.",
        "The cluster that is wanted. An empty field takes the operator's default, which is not written back.",
        "What is seen of the cluster. Written by the operator.",
    );
    put(&mut schema, "", cluster::rules::RULES)?;
    let method = "spec.activeActive.method";
    words(&mut schema, method, &["openShiftRoute", "ingress"])?;

    let mut older = schema.clone();
    words(&mut older, method, &["openShiftRoute", "ingress", "istio"])?;
    // The texts are those of v1. Once is enough: both versions share the size that a plain `kubectl apply` allows.
    schema::strip_descriptions(&mut older);
    if let Some(older) = older.as_object_mut() {
        let text = "Deprecated: use app.redislabs.com/v1, which has the same fields and explains them.";
        older.insert("description".into(), text.into());
    }

    let mut definition = with_schema(crate::RedisEnterpriseCluster::crd(), schema)?;
    let current = first_version(&mut definition)?;
    let older = CustomResourceDefinitionVersion {
        name: "v1alpha1".into(),
        storage: false,
        deprecated: Some(true),
        deprecation_warning: Some(
            "app.redislabs.com/v1alpha1 RedisEnterpriseCluster is deprecated; use app.redislabs.com/v1".into(),
        ),
        schema: Some(validation(older)?),
        ..current.clone()
    };
    definition.spec.versions.push(older);
    Ok(definition)
}

/// RedisEnterpriseDatabase.
pub fn database() -> Result<CustomResourceDefinition, SchemaError> {
    let mut schema = schema::root::<database::RedisEnterpriseDatabaseSpec, DatabaseStatus>(
        "A database on a Redis Enterprise cluster.",
        "The database that is wanted. An empty field takes the operator's default, which is not written back (but for databaseSecretName).",
        "What is seen of the database. Written by the operator.",
    );
    put(&mut schema, "spec", COMMON)?;
    put(&mut schema, "spec", SINGLE)?;
    put(&mut schema, "", MADE)?;
    with_schema(crate::RedisEnterpriseDatabase::crd(), schema)
}

/// RedisEnterpriseActiveActiveDatabase.
pub fn active_active_database() -> Result<CustomResourceDefinition, SchemaError> {
    let mut schema = schema::root::<RedisEnterpriseActiveActiveDatabaseSpec, ActiveActiveStatus>(
        "A database on several Redis Enterprise clusters, each copy of which takes writes.",
        "The Active-Active database that is wanted. Applied on one cluster; the others follow.",
        "What is seen of the database from this cluster. Written by the operator.",
    );
    put(&mut schema, "", active_active::RULES)?;
    put(&mut schema, "spec.globalConfigurations", COMMON)?;
    put(&mut schema, "spec.globalConfigurations", EVERYWHERE)?;
    stricter_alerts(&mut schema)?;
    with_schema(crate::RedisEnterpriseActiveActiveDatabase::crd(), schema)
}

/// RedisEnterpriseRemoteCluster.
pub fn remote_cluster() -> Result<CustomResourceDefinition, SchemaError> {
    let mut schema = schema::root::<RedisEnterpriseRemoteClusterSpec, RemoteClusterStatus>(
        "A Redis Enterprise cluster that takes part in Active-Active databases, and how it is reached.",
        "The cluster that is meant.",
        "What is seen of it. Written by the operator.",
    );
    put(&mut schema, "", remote_cluster::RULES)?;
    if let Some(root) = schema.as_object_mut() {
        root.insert("required".into(), json!(["spec"])); // Its rules read the spec.
    }
    with_schema(crate::RedisEnterpriseRemoteCluster::crd(), schema)
}

/// In an Active-Active database an alert must say both things, the threshold as text.
fn stricter_alerts(schema: &mut Value) -> Result<(), SchemaError> {
    let path = "spec.globalConfigurations.alertSettings";
    let alerts = at(schema, path)?.get_mut("properties").and_then(Value::as_object_mut);
    for alert in alerts.into_iter().flat_map(|alerts| alerts.values_mut()) {
        at(alert, "enabled")?;
        let threshold = at(alert, "threshold")?;
        let text = threshold.get("description").cloned();
        *threshold = json!({ "type": "string", "description": text });
        if let Some(alert) = alert.as_object_mut() {
            alert.insert("required".into(), json!(["enabled", "threshold"]));
        }
    }
    Ok(())
}

fn put(schema: &mut Value, prefix: &str, rules: &[Rule]) -> Result<(), SchemaError> {
    rules.iter().try_for_each(|rule| rule.put(schema, prefix))
}

fn words(schema: &mut Value, path: &str, words: &[&str]) -> Result<(), SchemaError> {
    if let Some(field) = at(schema, path)?.as_object_mut() {
        field.insert("enum".into(), json!(words));
    }
    Ok(())
}

fn with_schema(
    mut definition: CustomResourceDefinition,
    schema: Value,
) -> Result<CustomResourceDefinition, SchemaError> {
    first_version(&mut definition)?.schema = Some(validation(schema)?);
    Ok(definition)
}

fn first_version(
    definition: &mut CustomResourceDefinition,
) -> Result<&mut CustomResourceDefinitionVersion, SchemaError> {
    let kind = definition.spec.names.kind.clone();
    definition.spec.versions.first_mut().ok_or(SchemaError::NoVersion { kind })
}

/// Through the typed form, which writes its fields in one order whatever features serde_json was built with.
fn validation<T: serde::de::DeserializeOwned>(schema: Value) -> Result<T, SchemaError> {
    Ok(serde_json::from_value(json!({ "openAPIV3Schema": schema }))?)
}
