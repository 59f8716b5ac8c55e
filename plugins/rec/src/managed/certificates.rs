//! The replaceable certificates of the cluster (reference, 3.14; REST reference, 4.4). No pod is restarted for one.

use serde::Serialize;
use stepwright_sdk::{SecretValue, secret_ref};

use super::{Fields, Hidden, Part, need};
use crate::seen::Seen;

pub(super) const NAME: &str = "certificates";
const CERTIFICATE_KEYS: [&str; 3] = ["cert", "certificate", "tls.crt"];
const PRIVATE_KEYS: [&str; 2] = ["key", "tls.key"];

/// Fields of the spec, the server's names, and whether there is a private key.
const CERTIFICATES: [(&str, &str, bool); 10] = [
    ("apiCertificateSecretName", "api", true),
    ("cmCertificateSecretName", "cm", true),
    ("cpInternodeEncryptionCertificateSecretName", "ccs_internode_encryption", true),
    ("dpInternodeEncryptionCertificateSecretName", "data_internode_encryption", true),
    ("ldapClientCertificateSecretName", "ldap_client", true),
    ("metricsExporterCertificateSecretName", "metrics_exporter", true),
    ("proxyCertificateSecretName", "proxy", true),
    ("ssoIssuerCertificateSecretName", "sso_issuer", false),
    ("ssoServiceCertificateSecretName", "sso_service", true),
    ("syncerCertificateSecretName", "syncer", true),
];

#[derive(Serialize)]
pub(super) struct Body<'a> {
    certificates: Vec<Certificate<'a>>,
}

#[derive(Serialize)]
struct Certificate<'a> {
    name: &'a str,
    certificate: SecretValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<SecretValue>,
}

pub(super) fn wanted<'a>(seen: &'a Seen<'_>) -> Option<Result<Part<'a>, (&'static str, String)>> {
    let mut part = Part::of_fact(NAME, "certificates", "/v1/cluster/certificates", seen);
    let given = &seen.cluster.spec.certificates;
    for (field, name, has_key) in CERTIFICATES {
        let Some(secret) = given.get(field).filter(|secret| !secret.is_empty()) else { continue };
        let of = format!("spec.certificates.{field}");
        let mut hide = |suffix: &str, keys: &[&str]| -> Result<(), String> {
            let key = need(seen, &of, secret, keys)?;
            part.hidden.push(Hidden { field: format!("{name}.{suffix}"), secret: secret.clone(), key });
            Ok(())
        };
        let both =
            hide("cert", &CERTIFICATE_KEYS).and_then(|()| if has_key { hide("key", &PRIVATE_KEYS) } else { Ok(()) });
        if let Err(why) = both {
            // The others wait too: a certificate alone would not fit its key.
            return Some(Err((NAME, why)));
        }
    }
    Some(Ok(part))
}

/// The server shows another private key: somebody replaced the pair.
pub(super) fn drifted(seen: &Seen<'_>, hidden: &Hidden, has: &Fields) -> bool {
    let shown = has.get(&hidden.field.replace('.', "_")).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let wanted = seen.secret(&hidden.secret).and_then(|secret| secret.data.get(&hidden.key));
    shown.filter(|shown| shown.starts_with("fp:")).is_some_and(|shown| Some(&shown) != wanted)
}

/// Only those that changed: each makes new listeners.
pub(super) fn body<'a>(part: &'a Part<'_>, seen: &Seen<'_>, has: Option<&Fields>) -> Body<'a> {
    let changed = |name: &str| {
        part.hidden
            .iter()
            .filter(|hidden| hidden.field.split('.').next() == Some(name))
            .any(|hidden| part.is_new(seen, hidden) || has.is_some_and(|has| drifted(seen, hidden, has)))
    };
    let reference = |name: &str, suffix: &str| {
        let field = format!("{name}.{suffix}");
        let hidden = part.hidden.iter().find(|hidden| hidden.field == field)?;
        Some(secret_ref(&hidden.secret, &hidden.key))
    };
    let names = CERTIFICATES.iter().map(|(_, name, _)| *name).filter(|name| changed(name));
    let certificates = names.filter_map(|name| {
        Some(Certificate { name, certificate: reference(name, "cert")?, key: reference(name, "key") })
    });
    Body { certificates: certificates.collect() }
}
