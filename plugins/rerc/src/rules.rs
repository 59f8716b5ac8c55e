//! Rules of a RedisEnterpriseRemoteCluster (reference, 1.8). Whether the cluster answers and its login is right is no rule: that is
//! looked at again and again.

use stepwright_sdk::Violation;

use crate::seen::Seen;

pub(crate) fn of(seen: &Seen<'_>) -> Vec<Violation> {
    let spec = &seen.remote.spec;
    let secret = seen.secret_name();
    let mut broken = Vec::new();
    if let Some(named) = spec.secret_name.as_deref().filter(|named| !named.is_empty() && *named != secret) {
        let text = format!("must be `{secret}`, or left out; it is `{named}`");
        broken.push(Violation::new("spec.secretName", text));
    }
    let host = &spec.api_fqdn_url;
    if host.is_empty() || host.contains(['/', ':', ' ']) {
        let text =
            format!("must be a host name without scheme, port and path, such as api-rec.example.com; it is `{host}`");
        broken.push(Violation::new("spec.apiFqdnUrl", text));
    }
    broken
}
