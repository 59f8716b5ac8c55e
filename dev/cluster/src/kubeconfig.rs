//! Kubeconfig files: for the components, for the admin, and for a pod's service account.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::certificates::Pair;
use crate::files::write_atomically;

/// How the holder of a kubeconfig proves who it is.
pub(crate) enum User<'a> {
    Certificate(&'a Pair),
    /// A file, so that a new token is taken up without a restart.
    TokenFile(&'a Path),
}

/// Writes one. YAML is a superset of JSON, so JSON it is.
pub(crate) fn write(
    path: &Path,
    server: &str,
    authority: &str,
    user: &User<'_>,
    namespace: &str,
) -> anyhow::Result<()> {
    let user = match user {
        User::Certificate(pair) => json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }),
        User::TokenFile(path) => json!({ "tokenFile": path }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "stepwright",
            "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(authority) },
        }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{
            "name": "stepwright",
            "context": { "cluster": "stepwright", "user": "user", "namespace": namespace },
        }],
        "current-context": "stepwright",
    });
    write_atomically(path, serde_json::to_string_pretty(&config)?.as_bytes())
}
