//! The Secret with the administrator's name and password, and where the license comes from.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::{Plan, SecretValue, generate, plain, secret_ref};

use super::{Metadata, metadata};
use crate::credentials;
use crate::formation::View;
use crate::managed::Parts;
use crate::seen::Seen;
use crate::spec::said;

/// The administrator's name where nobody chose one.
const USERNAME: &str = "demo@redis.com";
const PASSWORD_LENGTH: u32 = 32;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Secret<'a> {
    metadata: Metadata<'a>,
    r#type: &'a str,
    string_data: BTreeMap<&'a str, SecretValue>,
}

/// The license that the spec asks for. `Err` says what it is waited for.
pub(crate) fn license_source(seen: &Seen<'_>) -> Result<Option<SecretValue>, String> {
    let spec = &seen.cluster.spec;
    if let Some(text) = said(spec.license.as_ref()) {
        return Ok(Some(plain(text)));
    }
    let Some(name) = said(spec.license_secret_name.as_ref()) else { return Ok(None) };
    match seen.secret(name).map(|secret| secret.data.contains_key("license")) {
        Some(true) => Ok(Some(secret_ref(name, "license"))),
        Some(false) => Err(format!("the Secret `{name}` of spec.licenseSecretName has no key `license`")),
        None => Err(format!("the Secret `{name}` of spec.licenseSecretName does not exist")),
    }
}

/// Copies of what the cluster took of other Secrets, so that a change of those is seen, and survives a restart.
pub(super) fn in_force(plan: Plan, seen: &Seen<'_>, view: &View, parts: &Parts<'_>) -> Plan {
    let mut copies = parts.in_force(seen);
    copies.extend(credentials::copies(seen, view));
    if copies.is_empty() {
        return plan;
    }
    let string_data = copies.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    plan.desire("v1", "Secret", seen.in_force(), &Secret { metadata: metadata(seen), r#type: "Opaque", string_data })
}

pub(super) fn desire(plan: Plan, seen: &Seen<'_>) -> Plan {
    let name = seen.credentials();
    let has = |key: &str| seen.secret(name).is_some_and(|secret| secret.data.contains_key(key));
    // Whoever made the Secret chose the user: it is kept, as is the password.
    let username = if has("username") {
        secret_ref(name, "username")
    } else {
        plain(said(seen.cluster.spec.username.as_ref()).unwrap_or(USERNAME))
    };
    // A Secret that somebody deleted is made again as it was.
    let (username, password) = match credentials::known(seen) {
        Some(known) if !has("password") => known,
        _ => (username, generate(PASSWORD_LENGTH)),
    };
    let license = match license_source(seen) {
        Ok(license) => license.unwrap_or_else(|| plain("")),
        Err(_) if has("license") => secret_ref(name, "license"),
        Err(_) => plain(""),
    };
    let string_data = BTreeMap::from([("username", username), ("password", password), ("license", license)]);
    plan.desire("v1", "Secret", name, &Secret { metadata: metadata(seen), r#type: "Opaque", string_data })
}
