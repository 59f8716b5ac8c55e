//! What this step asks of the managed system: forming the cluster, the license, and the settings of `managed`.

use serde::Serialize;
use stepwright_sdk::{Call, SecretValue, secret_ref};

use crate::Course;
use crate::credentials;
use crate::formation::{Next, View};
use crate::managed::Parts;
use crate::objects::FLASH_PATH;
use crate::objects::license_source;
use crate::racks;
use crate::seen::Seen;
use crate::spec::{UserDefinedModule, said};

/// The configuration store on a node's volume (reference, 3.15).
const CONFIGURATION: &str = "/opt/persistent/ccs/ccs-redis.rdb";
const LICENSE: &str = "license";

#[derive(Serialize)]
struct Bootstrap<'a> {
    action: &'static str,
    cluster: BootstrapCluster,
    node: BootstrapNode<'a>,
    credentials: Credentials,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_filename: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_defined_modules: Vec<Module<'a>>,
}

#[derive(Serialize)]
struct Module<'a> {
    name: &'a str,
    location: Location<'a>,
}

#[derive(Serialize)]
struct Location<'a> {
    location_type: &'a str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<Credentials>,
}

#[derive(Serialize)]
struct BootstrapCluster {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<[String; 1]>,
}

#[derive(Serialize)]
struct BootstrapNode<'a> {
    paths: Paths,
    identity: Identity<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bigstore_enabled: bool,
}

#[derive(Serialize)]
struct Paths {
    persistent_path: &'static str,
    ephemeral_path: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bigstore_path: Option<&'static str>,
}

#[derive(Serialize)]
struct Identity<'a> {
    addr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rack_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    use_internal_ipv6: bool,
}

#[derive(Serialize)]
struct Credentials {
    username: SecretValue,
    password: SecretValue,
}

#[derive(Serialize)]
struct PutLicense {
    license: SecretValue,
}

fn bootstrap<'a>(seen: &'a Seen<'_>, action: &'static str, pod: &str, ip: &'a str, uid: Option<u64>) -> Bootstrap<'a> {
    let flash = seen.cluster.spec.redis_on_flash_spec.enabled;
    let paths = Paths {
        persistent_path: "/opt/persistent",
        ephemeral_path: "/var/opt/redislabs/tmp",
        bigstore_path: flash.then_some(FLASH_PATH),
    };
    let use_internal_ipv6 = said(seen.cluster.spec.ip_family.as_ref()) == Some("IPv6");
    Bootstrap {
        action,
        cluster: BootstrapCluster { name: None, nodes: None },
        node: BootstrapNode {
            paths,
            identity: Identity { addr: ip, uid, rack_id: racks::of(seen, pod).and_then(Result::ok), use_internal_ipv6 },
            bigstore_enabled: flash,
        },
        credentials: login(seen.credentials()),
        license: None,
        recovery_filename: None,
        user_defined_modules: seen.cluster.spec.user_defined_modules.iter().filter_map(module).collect(),
    }
}

fn login(secret: &str) -> Credentials {
    Credentials { username: secret_ref(secret, "username"), password: secret_ref(secret, "password") }
}

fn module(module: &UserDefinedModule) -> Option<Module<'_>> {
    let https = module.source.https.as_ref().map(|download| ("https", download));
    let (location_type, download) = https.or(module.source.http.as_ref().map(|download| ("http", download)))?;
    let credentials = said(download.credentials_secret.as_ref()).map(login);
    Some(Module { name: &module.name, location: Location { location_type, url: &download.url, credentials } })
}

/// The calls to make now. None without the credentials, which every call needs.
pub(crate) fn planned(seen: &Seen<'_>, view: &View, course: &Course, parts: &Parts<'_>) -> Vec<Call> {
    let mut calls = Vec::new();
    if seen.secret(seen.credentials()).is_none() {
        return calls;
    }
    if view.listed.is_ok() && view.formed() {
        calls.extend(parts.calls(seen));
        calls.extend(course.shrink.calls.iter().cloned());
        calls.extend(course.drain.calls.iter().cloned());
    }
    // The later rounds see what came of the first: nothing is asked for twice in one pass.
    if seen.observed.round > 0 {
        return calls;
    }
    if view.listed.is_ok() && view.formed_before {
        calls.extend(credentials::call(seen));
    }
    if let Some(license) = license_to_put(seen, view) {
        calls.push(Call::put(LICENSE, "/v1/license").body(&PutLicense { license }));
    }
    match &course.next {
        Next::Create { pod, ip } => {
            let mut body = bootstrap(seen, "create_cluster", pod, ip, None);
            body.cluster.name = Some(seen.fqdn());
            body.license = license_source(seen).ok().flatten();
            calls.push(Call::post(pod, "/v1/bootstrap/create_cluster").target(pod).body(&body));
        }
        Next::Recover { pod, ip } => {
            let mut body = bootstrap(seen, "recover_cluster", pod, ip, None);
            body.recovery_filename = Some(CONFIGURATION);
            calls.push(Call::post(pod, "/v1/bootstrap/recover_cluster").target(pod).body(&body));
        }
        Next::Join { pod, ip, via, replaces } => {
            let mut body = bootstrap(seen, "join_cluster", pod, ip, *replaces);
            body.cluster.nodes = Some([via.clone()]);
            calls.push(Call::post(pod, "/v1/bootstrap/join_cluster").target(pod).body(&body));
        }
        Next::Wait(_) | Next::Stuck { .. } | Next::Complete => {}
    }
    calls
}

/// The license, when the spec names one that the cluster does not have.
///
/// The cluster's own is compared as text, or as a fingerprint where the host gives one: equal values, equal fingerprints.
fn license_to_put(seen: &Seen<'_>, view: &View) -> Option<SecretValue> {
    let wanted = license_source(seen).ok().flatten()?;
    if view.listed.is_err() {
        return None;
    }
    let has = seen.license.known()?.license.as_deref().unwrap_or_default();
    let same = match &wanted {
        SecretValue::Plain(text) if !has.starts_with("fp:") => text.split_whitespace().eq(has.split_whitespace()),
        // The license is in the credentials Secret too, under this key, so that it has a fingerprint.
        SecretValue::Plain(_) => fingerprint(seen, seen.credentials()) == Some(has),
        _ => said(seen.cluster.spec.license_secret_name.as_ref()).and_then(|name| fingerprint(seen, name)) == Some(has),
    };
    (!same).then_some(wanted)
}

fn fingerprint<'a>(seen: &'a Seen<'_>, secret: &str) -> Option<&'a str> {
    seen.secret(secret)?.data.get("license").map(String::as_str)
}

/// A call that was refused.
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The first call of the round before that was refused. That a bootstrap runs already (409) is none, nor is it that
/// nothing is there any more to remove (404).
pub(crate) fn refused(seen: &Seen<'_>, parts: &Parts<'_>) -> Option<Refused> {
    let reply = seen.observed.replies.iter().find(|reply| {
        let absent = ["removal-of ", "clear-removal ", "change ldap"].iter().any(|prefix| reply.id.starts_with(prefix));
        let absent = reply.status == 404 && absent;
        // A member asks for credentials where a node that is none does not: it has become one meanwhile.
        // What comes of that is looked at where it is asked for.
        let drains = ["drain ", "drain-of ", "return "].iter().any(|prefix| reply.id.starts_with(prefix));
        let joined = reply.status == 401 && reply.id.starts_with(&format!("{}-", seen.name()));
        !reply.is_success()
            && reply.status != 409
            && !absent
            && !joined
            && !drains
            && !credentials::is_settled(seen, &reply.id)
    })?;
    let text = reply.error_text();
    Some(match reply.id.split_once(' ').unwrap_or(("", &reply.id)) {
        (_, LICENSE) => Refused { reason: "LicenseRefused", message: format!("the license was not taken: {text}") },
        ("change", part) => Refused {
            reason: "SettingsRefused",
            message: format!("{} were not taken: {text}; correct the spec", parts.what(part)),
        },
        ("add" | "drop", "password") => Refused {
            reason: "PasswordRefused",
            message: format!("the administrator's password was not changed: {text}; the one before is still in force"),
        },
        ("", "hand-over") | ("remove-node" | "removal-of" | "clear-removal", _) => {
            Refused { reason: "ScaleDownBlocked", message: format!("a node could not leave the cluster: {text}") }
        }
        (_, pod) => Refused { reason: "BootstrapFailed", message: format!("{pod} did not begin to bootstrap: {text}") },
    })
}
