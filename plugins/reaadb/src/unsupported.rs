//! Fields that are not acted on, or not at every time. None is ignored in silence: they become a condition of the resource.

use serde::Serialize;
use serde_json::Value;

use crate::record::Crdb;
use crate::seen::Seen;

const AUDIT_SETTINGS: &str =
    "the form of the REST API's `audit_settings` is not published; use dbConnsAuditing for connections";
const OWN_TO_CLUSTERS: &str =
    "has ids that are different on every cluster: set it on the database of each cluster, through its REST API";
const AT_CREATION: &str =
    "was given when the database was made; a later change is not sent: set it through the REST API";

/// Fields of which nothing comes.
const NEVER: [(&str, &str); 13] = [
    ("/redisEnterpriseCluster", "is for RedisEnterpriseDatabases: use spec.redisEnterpriseCluster"),
    ("/searchOnBigstore", "Active-Active databases are in memory only"),
    ("/rofRamSize", "Active-Active databases are in memory only"),
    ("/rofRamRatio", "Active-Active databases are in memory only"),
    ("/upgradeSpec/upgradeModulesToLatest", "is not for Active-Active databases: name versions in modulesList"),
    ("/backup/swift", "the REST API has no such place for backups: use another"),
    ("/auditing/auditMode", AUDIT_SETTINGS),
    ("/auditing/sourceIpFilter", AUDIT_SETTINGS),
    ("/auditing/usernameFilter", AUDIT_SETTINGS),
    ("/activeActive", "is for RedisEnterpriseDatabases: remove it"),
    ("/rolesPermissions", OWN_TO_CLUSTERS),
    ("/alertSettings", "alerts are each cluster's own: set them on the database of each cluster, through its REST API"),
    ("/memcachedSaslSecretName", "is for databases of type memcached, which cannot be Active-Active: remove it"),
];
/// Fields that count when the database is made.
const FIRST: [(&str, &str); 4] = [
    ("/backup", AT_CREATION),
    ("/clientAuthenticationCertificates", AT_CREATION),
    ("/databasePort", AT_CREATION),
    ("/redisVersion", "counts when the database is made; an upgrade is not sent: use crdb-cli"),
];

#[derive(Serialize)]
pub(crate) struct Field {
    field: String,
    reason: &'static str,
}

pub(crate) fn fields(seen: &Seen<'_>, crdb: Option<&Crdb>) -> Vec<Field> {
    let global = &seen.database.spec.global_configurations;
    let said = |pointer: &str| match global.pointer(pointer) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    };
    let first = FIRST.iter().filter(|_| crdb.is_some());
    let all = NEVER.iter().chain(first).filter(|(pointer, _)| said(pointer));
    let named = |pointer: &str| format!("spec.globalConfigurations{}", pointer.replace('/', "."));
    all.map(|(pointer, reason)| Field { field: named(pointer), reason }).collect()
}
