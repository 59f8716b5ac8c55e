//! The facts that are offered: where each comes from, and what is taken out of it before anybody sees it.
//!
//! A fact must not change while the cluster is at rest: a change wakes every primary of the cluster. So the fields in the
//! table below go, or are coarsened, and the rest is written in one canonical form. Secrets become fingerprints.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepwright_core::secrets::Fingerprinter;
use stepwright_operator::system::FactValue;

use crate::connection::{Answer, BOOTSTRAP};
use crate::error::{CallError, Cause, describe};
use crate::items::{self, Item};

/// A fact's identity; the order is the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FactKind {
    Alerts,
    Bootstrap,
    NodesStatus,
    Nodes,
    Bdbs,
    Crdbs,
    CrdbHealth,
    Cluster,
    Policy,
    License,
    Modules,
    Auditing,
    Certificates,
    Ldap,
    Metrics,
    Ocsp,
    RedisAcls,
    Roles,
    Services,
    Sso,
}

/// How a field that changes at rest is treated, at whatever depth it stands.
enum Volatile {
    Gone(&'static str),
    /// Rounded down to a multiple.
    Coarse(&'static str, u64),
}

use Volatile::{Coarse, Gone};

pub(crate) struct Source {
    pub(crate) kind: FactKind,
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    /// Changes only when somebody changes it: at rest read with the rest of a full look only.
    pub(crate) slow: bool,
    /// That nothing is there (404) is known, then, and not a failure: nothing is configured.
    optional: bool,
    volatile: &'static [Volatile],
}

const MIB: u64 = 1024 * 1024;
/// Where Active-Active databases are listed.
pub(crate) const CRDBS: &str = "/v1/crdbs";

/// Every fact. The reasons beside the volatile fields are part of the documentation of facts.
const SOURCES: [Source; 20] = [
    // Of all databases in one answer; see `enabled` for what is left of it.
    slow(FactKind::Alerts, "alerts", "/v1/bdbs/alerts"),
    Source {
        kind: FactKind::Bootstrap,
        name: "bootstrap",
        path: BOOTSTRAP,
        slow: true,
        optional: false,
        volatile: &[
            Gone("uptime"),                   // Seconds since the node started.
            Gone("system_time"),              // The node's clock.
            Gone("free_memory"),              // Moves with every allocation.
            Gone("available_memory"),         // The same.
            Gone("persistent_storage_avail"), // Moves with every write to disk.
            Gone("ephemeral_storage_avail"),  // The same.
        ],
    },
    Source {
        kind: FactKind::NodesStatus,
        name: "nodes-status",
        path: "/v1/nodes/status",
        slow: false,
        optional: false,
        volatile: &[
            Gone("uptime"),                              // Seconds since the node started.
            Gone("system_time"),                         // The node's clock.
            Gone("free_ram"),                            // Moves with every allocation of every process.
            Coarse("free_provisional_ram", 256 * MIB), // Follows the memory limits of databases, but also what the system uses.
            Coarse("node_overbooking_depth", 256 * MIB), // Derived from it.
            Gone("persistent_storage_avail"),          // Moves with every write to disk.
            Gone("ephemeral_storage_avail"),           // The same.
        ],
    },
    Source {
        kind: FactKind::Nodes,
        name: "nodes",
        path: "/v1/nodes",
        slow: false,
        optional: false,
        volatile: &[
            Gone("uptime"),                   // Seconds since the node started.
            Gone("system_time"),              // The node's clock.
            Gone("persistent_storage_avail"), // Moves with every write to disk.
            Gone("ephemeral_storage_avail"),  // The same.
        ],
    },
    Source {
        kind: FactKind::Bdbs,
        name: "bdbs",
        path: "/v1/bdbs",
        slow: false,
        optional: false,
        volatile: &[
            Gone("lag"),              // Of a replica's source: measured anew each second.
            Gone("last_update"),      // Of a replica's source: when that was.
            Gone("rdb_transferred"),  // Of a replica's source: grows while it copies.
            Gone("report_timestamp"), // When a shard was last heard of.
            Gone("heartbeat"),        // When a state machine was last heard of.
            Gone("backup_progress"),  // Counts while a backup runs, which may be every few minutes.
            Gone("export_progress"),  // The same for an export.
            Gone("import_progress"),  // The same for an import.
        ],
    },
    // Active-Active databases that have a copy here (REST reference, 11.2).
    Source {
        kind: FactKind::Crdbs,
        name: "crdbs",
        path: CRDBS,
        slow: false,
        optional: false,
        volatile: &[Gone("last_update"), Gone("report_timestamp")], // When something was last heard of.
    },
    // By their ids, how each looks to its clusters. Read apart: a cluster that does not answer takes its time.
    Source {
        kind: FactKind::CrdbHealth,
        name: "crdb-health",
        path: CRDBS,
        slow: false,
        optional: false,
        volatile: &[Gone("lag"), Gone("last_update")], // Measured anew each second.
    },
    slow(FactKind::Cluster, "cluster", "/v1/cluster"),
    slow(FactKind::Policy, "policy", "/v1/cluster/policy"),
    // No license is installed where there is none (REST reference, 4.3).
    optional(FactKind::License, "license", "/v1/license"),
    slow(FactKind::Modules, "modules", "/v1/modules"),
    // Parts of the configuration (REST reference, 4.4 and 4.5). Certificates are PEM, each a text within JSON.
    optional(FactKind::Auditing, "auditing", "/v1/cluster/auditing/db_conns"),
    optional(FactKind::Certificates, "certificates", "/v1/cluster/certificates"),
    optional(FactKind::Ldap, "ldap", "/v1/cluster/ldap"),
    optional(FactKind::Metrics, "metrics", "/v1/metrics_config"),
    optional(FactKind::Ocsp, "ocsp", "/v1/ocsp"),
    // Who may do what on databases (REST reference, 9).
    slow(FactKind::RedisAcls, "redis-acls", "/v1/redis_acls"),
    slow(FactKind::Roles, "roles", "/v1/roles"),
    optional(FactKind::Services, "services", "/v1/cluster/services_configuration"),
    optional(FactKind::Sso, "sso", "/v1/cluster/sso"),
];

/// A fact that somebody changes, if anything does.
const fn slow(kind: FactKind, name: &'static str, path: &'static str) -> Source {
    Source { kind, name, path, slow: true, optional: false, volatile: &[] }
}

/// The same, of something that may not be configured at all.
const fn optional(kind: FactKind, name: &'static str, path: &'static str) -> Source {
    Source { optional: true, ..slow(kind, name, path) }
}

/// Fields whose texts are secrets, wherever they stand.
const SECRET_FIELDS: [&str; 22] = [
    "access_token",
    "account_key",
    "admin_password",
    "authentication_admin_pass",
    "authentication_redis_pass",
    "authentication_sasl_pass",
    "bind_pass",
    "client_key",
    "crdt_repl_pass",
    "new_password",
    "old_password",
    "passphrase",
    "password",
    "password_hash",
    "private_key",
    "sas_token",
    "secret_access_key",
    "secret_key",
    "smtp_password",
    "sync_password",
    "syncer_password",
    "token",
];
/// Objects with credentials of a backup's place, where `key` is a private key. Elsewhere it may be the key of a tag.
const PLACES: [&str; 4] = ["backup_location", "export_location", "import_location", "dataset_import_sources"];
/// Addresses that may hold a user and a password.
const ADDRESSES: [&str; 3] = ["uri", "url", "sftp_url"];

impl Source {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SOURCES.iter().find(|source| source.name == name)
    }

    pub(crate) fn of(kind: FactKind) -> Option<&'static Self> {
        SOURCES.iter().find(|source| source.kind == kind)
    }

    /// Whether a slow fact is read at this path, or above it.
    pub(crate) fn is_slow_at(path: &str) -> bool {
        SOURCES.iter().any(|source| source.slow && path.starts_with(source.path))
    }

    /// The names of all facts, for messages.
    pub(crate) fn names() -> String {
        SOURCES.map(|source| source.name).join(", ")
    }
}

/// A fact as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Canonical JSON, or why it is not known.
    pub(crate) value: Result<Arc<FactValue>, String>,
    /// Something in it is on its way to another state.
    pub(crate) moving: bool,
    /// The reason is one that may pass by itself.
    pub(crate) passing: bool,
    /// Of a list, what it is made of.
    pub(crate) items: Vec<Item>,
}

impl Known {
    fn unknown(reason: String, passing: bool) -> Self {
        Self { value: Err(reason), moving: false, passing, items: Vec::new() }
    }

    /// Nobody answered.
    pub(crate) fn unanswered(reason: String) -> Self {
        Self::unknown(reason, true)
    }

    fn of(value: Value, moving: bool) -> Self {
        Self { value: Ok(Arc::new(FactValue::new(value))), moving, passing: false, items: Vec::new() }
    }

    /// A list.
    fn list(items: Vec<Item>) -> Self {
        let value = FactValue::of_items(items::values(&items));
        Self::of_list(value, items)
    }

    fn of_list(value: FactValue, items: Vec<Item>) -> Self {
        let moving = items.iter().any(|item| item.moving);
        Self { value: Ok(Arc::new(value)), moving, passing: false, items }
    }

    /// The same list with one item more, another, or less; `None` if it is not known.
    pub(crate) fn with(&self, uid: u64, item: Option<Item>) -> Option<Self> {
        let before = self.value.as_ref().ok()?;
        let items = items::with(&self.items, uid, item);
        Some(Self::of_list(before.followed_by(items::values(&items)), items))
    }
}

impl From<CallError> for Known {
    fn from(error: CallError) -> Self {
        Self::unknown(error.to_string(), true)
    }
}

/// A fact of the whole cluster, from its answer. Of a list, items that are as they were `before` are taken from there.
pub(crate) fn know(source: &Source, answer: &Answer, before: &[Item], fingerprinter: &Fingerprinter) -> Known {
    if source.optional && answer.status == 404 {
        return Known::of(Value::Object(Map::new()), false);
    }
    if answer.status != 200 {
        let reason = format!("GET {}: {}", source.path, describe(answer.status, &answer.body));
        return Known::unknown(reason, answer.status >= 500);
    }
    if let Some(items) = items::read(&answer.body, before, &|item| settle_item(source, item, fingerprinter)) {
        return Known::list(items);
    }
    let Ok(value) = serde_json::from_slice(&answer.body) else {
        return Known::unknown(format!("GET {}: {}", source.path, Cause::CutOff), true);
    };
    settle(source, value, fingerprinter)
}

/// One item of a list, from the answer to `GET` of it alone: `Some(None)` if there is none. `None`: that was not told.
pub(crate) fn know_item(source: &Source, answer: &Answer, fingerprinter: &Fingerprinter) -> Option<Option<Item>> {
    match answer.status {
        200 => {
            let text = std::str::from_utf8(&answer.body).ok()?;
            let item = Item::of(text, &|item| settle_item(source, item, fingerprinter))?;
            item.uid().map(|_| Some(item))
        }
        404 => Some(None),
        _ => None,
    }
}

/// The fact `bootstrap`, from the answers of the pods.
pub(crate) fn know_bootstrap(
    answers: Vec<(String, Result<Answer, CallError>)>,
    pending: &[String],
    fingerprinter: &Fingerprinter,
) -> Known {
    let mut pods = Map::new();
    for (pod, answer) in answers {
        let value = match answer {
            Ok(answer) => match (answer.status, serde_json::from_slice::<Value>(&answer.body)) {
                (200, Ok(value)) if value.is_object() => value,
                (200, _) => json!({"error": Cause::CutOff.to_string()}),
                (401, _) => json!({"bootstrap_status": {"state": "completed"}}),
                (status, _) => json!({"error": describe(status, &answer.body)}),
            },
            Err(CallError::Unreachable { cause, .. } | CallError::Lost { cause, .. }) => {
                json!({"error": cause.to_string()})
            }
            Err(error) => json!({"error": error.to_string()}),
        };
        pods.insert(pod, value);
    }
    for pod in pending {
        pods.insert(pod.clone(), json!({"error": "the pod has no address yet"}));
    }
    match Source::of(FactKind::Bootstrap) {
        Some(source) => settle(source, Value::Object(pods), fingerprinter),
        None => Known::unknown("no such fact".to_owned(), false),
    }
}

fn settle(source: &Source, mut value: Value, fingerprinter: &Fingerprinter) -> Known {
    let moving = moves(source.kind, &value);
    if source.kind == FactKind::Alerts {
        value = enabled(&value);
    }
    if source.kind == FactKind::Crdbs {
        value = unwrapped(value);
    }
    for volatile in source.volatile {
        steady(&mut value, volatile);
    }
    redact(&mut value, source.path, fingerprinter);
    Known::of(canonical(value), moving)
}

fn settle_item(source: &Source, mut item: Value, fingerprinter: &Fingerprinter) -> (Value, bool) {
    let moving = moves_one(source.kind, &item);
    for volatile in source.volatile {
        steady(&mut item, volatile);
    }
    redact(&mut item, source.path, fingerprinter);
    (canonical(item), moving)
}

/// Some servers are said to put the list into an object (REST reference, 11.1).
fn unwrapped(value: Value) -> Value {
    match value {
        Value::Object(mut fields) => match fields.remove("crdbs") {
            Some(Value::Array(mut list)) => {
                list.sort_by_key(|item| item.get("guid").map(Value::to_string));
                Value::Array(list)
            }
            other => other.unwrap_or(Value::Object(fields)),
        },
        list => list,
    }
}

/// Ids of the Active-Active databases in an answer.
pub(crate) fn guids(answer: &Answer) -> Vec<String> {
    let list = unwrapped(serde_json::from_slice(&answer.body).unwrap_or_default());
    let guid = |item: &Value| item.get("guid").and_then(Value::as_str).map(str::to_owned);
    let plain = |guid: &String| !guid.is_empty() && guid.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    list.as_array().into_iter().flatten().filter_map(guid).filter(plain).collect()
}

/// Of the alerts of databases those that are enabled, each with its threshold: whether one is on changes by itself, and the others
/// would be most of what every database is shown of every other.
fn enabled(alerts: &Value) -> Value {
    let of_database = |(uid, alerts): (&String, &Value)| {
        let all = alerts
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, alert)| alert.get("enabled") == Some(&Value::Bool(true)));
        let all: Map<String, Value> =
            all.map(|(name, alert)| (name.clone(), json!({"threshold": alert.get("threshold")}))).collect();
        (!all.is_empty()).then(|| (uid.clone(), Value::Object(all)))
    };
    Value::Object(alerts.as_object().into_iter().flatten().filter_map(of_database).collect())
}

fn steady(value: &mut Value, volatile: &Volatile) {
    match value {
        Value::Object(fields) => {
            match volatile {
                Gone(name) => {
                    fields.remove(*name);
                }
                Coarse(name, step) => {
                    if let Some(field) = fields.get_mut(*name)
                        && let Some(number) = field.as_u64()
                    {
                        *field = Value::from(number - number % (*step).max(1));
                    }
                }
            }
            fields.values_mut().for_each(|value| steady(value, volatile));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| steady(item, volatile)),
        _ => {}
    }
}

/// Puts fingerprints in the place of secrets in anything that came from `path`.
pub(crate) fn redact(value: &mut Value, path: &str, fingerprinter: &Fingerprinter) {
    fingerprinter.redact(value, &SECRET_FIELDS);
    if path.split('?').next() == Some("/v1/license") {
        // A license is kept in a Secret; its fingerprint tells whether it is the wanted one.
        fingerprinter.redact(value, &["license"]);
    }
    redact_by_shape(value, fingerprinter);
}

fn redact_by_shape(value: &mut Value, fingerprinter: &Fingerprinter) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if PLACES.contains(&name.as_str()) {
                    fingerprinter.redact(value, &["key"]);
                }
                if ADDRESSES.contains(&name.as_str())
                    && let Value::String(text) = value
                {
                    redact_address(text, fingerprinter);
                }
                redact_by_shape(value, fingerprinter);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact_by_shape(item, fingerprinter)),
        Value::String(text) if text.contains("PRIVATE KEY-----") => {
            *text = fingerprinter.fingerprint(text.as_bytes());
        }
        _ => {}
    }
}

/// `redis://user:password@host` keeps all but the password.
fn redact_address(text: &mut String, fingerprinter: &Fingerprinter) {
    let Some((scheme, rest)) = text.split_once("://") else { return };
    let Some((user, host)) = rest.rsplit_once('@') else { return };
    let (name, password) = user.split_once(':').unwrap_or(("", user));
    *text = format!("{scheme}://{name}:{}@{host}", fingerprinter.fingerprint(password.as_bytes()));
}

/// Whether something in a fact is on its way, so that it is worth looking at often (REST reference, 3.1, 5 and 6.3).
fn moves(kind: FactKind, value: &Value) -> bool {
    value.as_object().into_iter().flatten().any(|(_, one)| moves_one(kind, one))
}

/// The same of one item of a list, or of one field.
fn moves_one(kind: FactKind, value: &Value) -> bool {
    let word = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    match kind {
        FactKind::Bootstrap => word("/bootstrap_status/state") != Some("completed"),
        FactKind::NodesStatus => word("/node_status") != Some("active"),
        FactKind::Nodes => word("/status") != Some("active"),
        FactKind::Bdbs => !matches!(word("/status"), Some("active" | "creation-failed")),
        _ => false,
    }
}

/// The same value with the fields of every object in order of their names.
pub(crate) fn canonical(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

/// The body of a reply to a step, as JSON text with secrets replaced.
///
/// What is not JSON becomes a JSON text. Of a refusal, which is for people, it is cut after [`MOST_WORDS`] characters. Of a
/// success it comes whole, since a document with a piece missing is none; for one larger than [`MOST_TEXT`], and for one that
/// is no text, there is a refusal of our own instead.
pub(crate) fn reply_body(answer: &Answer, path: &str, fingerprinter: &Fingerprinter) -> Result<String, Cause> {
    if answer.body.is_empty() {
        return Ok("null".to_owned());
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(&answer.body) {
        redact(&mut value, path, fingerprinter);
        return Ok(canonical(value).to_string());
    }
    let mut text = if (200..300).contains(&answer.status) {
        if answer.json {
            return Err(Cause::CutOff);
        }
        if answer.body.len() > MOST_TEXT {
            return Err(Cause::TooLarge);
        }
        Value::String(String::from_utf8(answer.body.to_vec()).map_err(|_| Cause::NotText)?)
    } else {
        let words = String::from_utf8_lossy(&answer.body);
        Value::String(words.trim().chars().take(MOST_WORDS).collect())
    };
    redact(&mut text, path, fingerprinter);
    Ok(text.to_string())
}

/// Characters of a refusal that is not JSON.
const MOST_WORDS: usize = 300;
/// Bytes of a document that is not JSON, such as the XML of a service provider.
const MOST_TEXT: usize = 256 * 1024;

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
