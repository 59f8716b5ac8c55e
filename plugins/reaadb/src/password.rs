//! The password of the copies, and the Secrets that every cluster needs (reference, 3.18).
//!
//! Each cluster has a Secret of its own with the same password. A cluster whose Secret is changed tells the database; one whose Secret
//! is as it was when the database had another password from elsewhere is not heard, but told. What the database was last given from
//! here is kept as a copy, by reference.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use stepwright_sdk::{Plan, SecretValue, secret_ref};

use crate::record::Crdb;
use crate::seen::Seen;
use crate::status::SecretStatus;

pub(crate) const FIELD: &str = "authentication_redis_pass";
const KEY: &str = "password";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copy {
    string_data: BTreeMap<&'static str, SecretValue>,
}

/// The Secret of the spec. Without one the database has no password; none is ever made.
fn secret(seen: &Seen<'_>) -> Option<String> {
    let global = seen.global();
    global.database_secret_name.filter(|name| !name.is_empty() && global.default_user.unwrap_or(true))
}

fn in_force(seen: &Seen<'_>) -> String {
    format!("reaadb-{}-in-force", seen.name())
}

/// The password as it is sent.
pub(crate) fn value(seen: &Seen<'_>) -> Option<SecretValue> {
    Some(secret_ref(secret(seen)?, KEY))
}

/// `None` where the cluster hides it.
fn shown<'c>(seen: &Seen<'_>, crdb: &'c Crdb) -> Option<&'c str> {
    let hides = seen.settings.known().is_some_and(|settings| settings.mask_bdb_credentials);
    crdb.default_db_config.get(FIELD).and_then(Value::as_str).filter(|_| !hides)
}

/// The Secret was changed here since the database was given its value.
pub(crate) fn is_new(seen: &Seen<'_>, crdb: &Crdb) -> bool {
    let Some(secret) = secret(seen) else { return false };
    let (now, given) = (seen.secret_value(&secret, KEY), seen.secret_value(&in_force(seen), KEY));
    now.is_some() && given.is_some() && now != given && now != shown(seen, crdb)
}

/// Keeps what the database was given; `given` says that it took the present value just now.
pub(crate) fn keep(plan: Plan, seen: &Seen<'_>, crdb: Option<&Crdb>, given: bool) -> Plan {
    let Some(secret) = secret(seen) else { return plan };
    let now = seen.secret_value(&secret, KEY);
    let own = in_force(seen);
    let is_in_force = now.is_some() && crdb.is_some_and(|crdb| shown(seen, crdb) == now);
    let from = if is_in_force || (given && now.is_some()) {
        secret
    } else if seen.secret_value(&own, KEY).is_some() {
        own.clone()
    } else {
        return plan;
    };
    plan.desire("v1", "Secret", own, &Copy { string_data: [(KEY, secret_ref(from, KEY))].into() })
}

/// The Secrets that the spec names, and the key that each has to have.
fn named(seen: &Seen<'_>) -> Vec<(String, &'static str)> {
    let global = &seen.database.spec.global_configurations;
    let text = |pointer: &str| global.pointer(pointer).and_then(Value::as_str).filter(|name| !name.is_empty());
    let mut all: Vec<(String, &'static str)> = secret(seen).map(|name| (name, KEY)).into_iter().collect();
    for (pointer, key) in [
        ("/backup/s3/awsSecretName", "AWS_ACCESS_KEY_ID"),
        ("/backup/abs/absSecretName", "AccountName"),
        ("/backup/gcs/gcsSecretName", "PRIVATE_KEY"),
        ("/backup/sftp/sftpSecretName", "Key"),
    ] {
        all.extend(text(pointer).map(|name| (name.to_owned(), key)));
    }
    let certificates = global.get("clientAuthenticationCertificates").and_then(Value::as_array);
    let certificates = certificates.into_iter().flatten().filter_map(Value::as_str);
    all.extend(certificates.map(|name| (name.to_owned(), "cert")));
    all
}

/// Whether each is there, and the password is the database's.
pub(crate) fn secrets(seen: &Seen<'_>, crdb: Option<&Crdb>) -> Vec<SecretStatus> {
    let stale = |name: &str| secret(seen).as_deref() == Some(name) && crdb.is_some_and(|crdb| is_stale(seen, crdb));
    let one = |(name, key): (String, &'static str)| {
        let good = seen.secret_value(&name, key).is_some() && !stale(&name);
        SecretStatus { status: if good { "Valid" } else { "Invalid" }.to_owned(), name }
    };
    named(seen).into_iter().map(one).collect()
}

/// The database has another password, from elsewhere.
fn is_stale(seen: &Seen<'_>, crdb: &Crdb) -> bool {
    let Some(secret) = secret(seen) else { return false };
    let now = seen.secret_value(&secret, KEY);
    let shown = shown(seen, crdb);
    now.is_some() && shown.is_some() && now != shown && !is_new(seen, crdb)
}

/// Why the database cannot be made, or is not as it should be, for a Secret.
pub(crate) fn trouble(seen: &Seen<'_>, crdb: Option<&Crdb>) -> Option<String> {
    let namespace = seen.observed.namespace();
    for (name, key) in named(seen) {
        if seen.secret_value(&name, key).is_none() {
            return Some(format!(
                "spec.globalConfigurations names Secret `{name}`, which must be in namespace `{namespace}` with key `{key}`, and the \
                 same on every participating cluster: make it"
            ));
        }
    }
    let name = secret(seen).filter(|_| crdb.is_some_and(|crdb| is_stale(seen, crdb)))?;
    Some(format!(
        "Secret `{name}` has another `{KEY}` than the database, which was given it on another cluster: change it here too"
    ))
}
