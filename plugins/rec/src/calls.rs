//! What this step asks of the managed system: forming the cluster, one setting, the license.

use serde::Serialize;
use stepwright_sdk::{Call, SecretValue, secret_ref};

use crate::formation::{Next, View};
use crate::objects::license_source;
use crate::seen::Seen;
use crate::spec::said;

const SETTINGS: &str = "cluster-settings";
const LICENSE: &str = "license";

#[derive(Serialize)]
struct Bootstrap<'a> {
    action: &'static str,
    cluster: BootstrapCluster,
    node: BootstrapNode<'a>,
    credentials: Credentials,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<SecretValue>,
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
}

#[derive(Serialize)]
struct Paths {
    persistent_path: &'static str,
    ephemeral_path: &'static str,
}

#[derive(Serialize)]
struct Identity<'a> {
    addr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u64>,
}

#[derive(Serialize)]
struct Credentials {
    username: SecretValue,
    password: SecretValue,
}

#[derive(Serialize)]
struct HandleRedirects {
    handle_redirects: bool,
}

#[derive(Serialize)]
struct PutLicense {
    license: SecretValue,
}

fn bootstrap<'a>(seen: &Seen<'_>, action: &'static str, ip: &'a str, uid: Option<u64>) -> Bootstrap<'a> {
    let key = |key: &str| secret_ref(seen.credentials(), key);
    Bootstrap {
        action,
        cluster: BootstrapCluster { name: None, nodes: None },
        node: BootstrapNode {
            paths: Paths { persistent_path: "/opt/persistent", ephemeral_path: "/var/opt/redislabs/tmp" },
            identity: Identity { addr: ip, uid },
        },
        credentials: Credentials { username: key("username"), password: key("password") },
        license: None,
    }
}

/// The calls to make now. None without the credentials, which every call needs.
pub(crate) fn planned(seen: &Seen<'_>, view: &View, next: &Next) -> Vec<Call> {
    let mut calls = Vec::new();
    if seen.secret(seen.credentials()).is_none() {
        return calls;
    }
    if view.listed.is_ok() && seen.settings.known().is_some_and(|settings| settings.handle_redirects == Some(false)) {
        calls.push(Call::put(SETTINGS, "/v1/cluster").body(&HandleRedirects { handle_redirects: true }));
    }
    if let Some(license) = license_to_put(seen, view) {
        calls.push(Call::put(LICENSE, "/v1/license").body(&PutLicense { license }));
    }
    match next {
        Next::Create { pod, ip } => {
            let mut body = bootstrap(seen, "create_cluster", ip, None);
            body.cluster.name = Some(seen.fqdn());
            body.license = license_source(seen).ok().flatten();
            calls.push(Call::post(pod, "/v1/bootstrap/create_cluster").target(pod).body(&body));
        }
        Next::Join { pod, ip, via, replaces } => {
            let mut body = bootstrap(seen, "join_cluster", ip, *replaces);
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

/// The first call of the round before that was refused. That a bootstrap runs already (409) is none.
pub(crate) fn refused(seen: &Seen<'_>) -> Option<Refused> {
    let reply = seen.observed.replies.iter().find(|reply| !reply.is_success() && reply.status != 409)?;
    let text = reply.error_text();
    Some(match reply.id.as_str() {
        LICENSE => Refused { reason: "LicenseRefused", message: format!("the license was not taken: {text}") },
        SETTINGS => Refused { reason: "SettingsRefused", message: format!("cluster settings were not taken: {text}") },
        pod => Refused { reason: "BootstrapFailed", message: format!("{pod} did not begin to bootstrap: {text}") },
    })
}
