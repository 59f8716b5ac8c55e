//! Databases that this one is a copy of (reference, 3.17; REST reference, 6.2, `replica_sources`).

use serde::{Deserialize, Serialize};
use stepwright_sdk::SecretValue;

use crate::hidden::Hidden;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::{ReplicaSource, Spec, said};

pub(crate) const SOURCES: &str = "replica_sources";
/// `spec.replicaSources[].replicaSourceType`: the address is in a Secret.
const SECRET: &str = "SECRET";
const REDB: &str = "REDB";

/// A source that is wanted.
#[derive(Serialize)]
pub(crate) struct Source {
    uri: SecretValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cert: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_tls_sni: Option<String>,
    #[serde(skip)]
    pub(crate) hidden: Vec<Hidden>,
}

/// A source as the cluster shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Shown {
    pub(crate) uri: Option<String>,
    pub(crate) compression: Option<i64>,
    pub(crate) replication_tls_sni: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) rdb_size: Option<i64>,
}

impl Source {
    fn of(source: &ReplicaSource) -> Self {
        let hidden = |secret: &str, key| Hidden { of: SOURCES, secret: secret.to_owned(), key };
        let uri = hidden(&source.replica_source_name, "uri");
        let server = said(source.server_cert_secret.as_ref()).map(|secret| hidden(secret, "cert"));
        let client = said(source.client_key_secret.as_ref());
        let cert = client.map(|secret| hidden(secret, "cert"));
        let key = client.map(|secret| hidden(secret, "key"));
        Self {
            uri: uri.value(),
            encryption: server.as_ref().map(|_| true),
            server_cert: server.as_ref().map(Hidden::value),
            client_cert: cert.as_ref().map(Hidden::value),
            client_key: key.as_ref().map(Hidden::value),
            compression: source.compression,
            replication_tls_sni: said(source.tls_sni_name.as_ref()).map(str::to_owned),
            hidden: [Some(uri), server, cert, key].into_iter().flatten().collect(),
        }
    }

    /// Those that the spec names. None, as long as one of them cannot be acted on: half of the sources is another database.
    pub(crate) fn all(spec: &Spec) -> Vec<Self> {
        if unsupported(spec) { Vec::new() } else { spec.replica_sources.iter().map(Self::of).collect() }
    }

    pub(crate) fn differ(wanted: &[Self], seen: &Seen<'_>, bdb: &Bdb) -> bool {
        let shown = bdb.replica_sources.as_deref().unwrap_or_default();
        let same = |(wanted, shown): (&Self, &Shown)| {
            wanted.compression.is_none_or(|level| level == shown.compression.unwrap_or_default())
                && said(wanted.replication_tls_sni.as_ref()) == said(shown.replication_tls_sni.as_ref())
        };
        shown.len() != wanted.len()
            || !wanted.iter().zip(shown).all(same)
            || wanted.iter().flat_map(|source| &source.hidden).any(|hidden| hidden.is_new(seen))
    }
}

/// The Secrets that the sources name.
pub(crate) fn secrets(spec: &Spec) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for source in &spec.replica_sources {
        let all =
            [Some(&source.replica_source_name), source.server_cert_secret.as_ref(), source.client_key_secret.as_ref()];
        names.extend(all.into_iter().filter_map(said));
    }
    names.dedup();
    names
}

/// A source is another resource, whose address and password would have to be put together.
pub(crate) fn unsupported(spec: &Spec) -> bool {
    spec.replica_sources.iter().any(|source| source.replica_source_type == REDB)
}

pub(crate) fn rules(spec: &Spec, check: &mut dyn FnMut(bool, &str, String)) {
    for source in &spec.replica_sources {
        let kind = &source.replica_source_type;
        let text = format!("must be SECRET or REDB; it is `{kind}`");
        check([SECRET, REDB].contains(&kind.as_str()), "spec.replicaSources.replicaSourceType", text);
        let level = source.compression.unwrap_or_default();
        check(
            (0..=6).contains(&level),
            "spec.replicaSources.compression",
            format!("must be from 0, which is none, to 6; it is {level}"),
        );
    }
}

/// Host and port of an address, without who logs in there.
pub(crate) fn endpoint_host(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}
