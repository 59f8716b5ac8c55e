//! Databases that this one is a copy of (reference, 3.17; REST reference, 6.2, `replica_sources`).
//!
//! Another resource is found by its tags in the cluster's list, and opened with the password of the Secret that is made for it.
//! One whose Secret has another name is followed by its address in a Secret.

use serde::{Deserialize, Serialize};
use stepwright_sdk::{SecretValue, address, plain};

use crate::bdb::{MANAGED_BY, REDB_NAME, REDB_NAMESPACE};
use crate::hidden::Hidden;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::{ReplicaSource, Spec, said};

pub(crate) const SOURCES: &str = "replica_sources";
/// `spec.replicaSources[].replicaSourceType`: the address is in a Secret.
const SECRET: &str = "SECRET";
const REDB: &str = "REDB";

/// Where another resource's database is, and what opens it.
struct Origin {
    host: String,
    /// Fingerprint of the password that it has now, where that can be told.
    password: Option<String>,
    /// That password is one of a user who may log in.
    lets_in: bool,
}

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
    /// Of a source that is another resource.
    #[serde(skip)]
    origin: Option<Origin>,
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
    /// Why not, in words, while its address is not known, or what opens it.
    fn of(source: &ReplicaSource, seen: &Seen<'_>) -> Result<Self, String> {
        let hidden = |secret: &str, key| Hidden { of: SOURCES, secret: secret.to_owned(), key };
        let (uri, opens, origin) = if source.replica_source_type == REDB {
            let origin = Origin::of(&source.replica_source_name, seen).ok_or_else(|| {
                format!(
                    "spec.replicaSources names database `{}`, which the cluster does not have for a RedisEnterpriseDatabase of \
                     namespace `{}`: make it; until then none of the sources is followed",
                    source.replica_source_name,
                    seen.observed.namespace()
                )
            })?;
            if !origin.lets_in {
                return Err(format!(
                    "spec.replicaSources names database `{0}`, into which its own password does not lead, since its defaultUser is \
                     false; make a Secret with a `uri` of its user admin (`authentication_admin_pass` in the REST API), and name \
                     that with replicaSourceType SECRET; until then none of the sources is followed",
                    source.replica_source_name
                ));
            }
            let opens = hidden(&secret_of(&source.replica_source_name), "password");
            (address([plain("redis://:"), opens.value(), plain(format!("@{}", origin.host))]), opens, Some(origin))
        } else {
            let uri = hidden(&source.replica_source_name, "uri");
            (uri.value(), uri, None)
        };
        let server = said(source.server_cert_secret.as_ref()).map(|secret| hidden(secret, "cert"));
        let client = said(source.client_key_secret.as_ref());
        let cert = client.map(|secret| hidden(secret, "cert"));
        let key = client.map(|secret| hidden(secret, "key"));
        let hidden: Vec<Hidden> =
            [Some(opens), server.clone(), cert.clone(), key.clone()].into_iter().flatten().collect();
        // The Secret of another resource is not seen; that resource has one as soon as its database is there.
        let seen_ones = hidden.iter().skip(usize::from(origin.is_some()));
        if let Some(why) = seen_ones.filter_map(|hidden| hidden.lacks(seen, "spec.replicaSources")).next() {
            return Err(format!("{why}; until then none of the sources is followed"));
        }
        Ok(Self {
            uri,
            encryption: server.as_ref().map(|_| true),
            server_cert: server.as_ref().map(Hidden::value),
            client_cert: cert.as_ref().map(Hidden::value),
            client_key: key.as_ref().map(Hidden::value),
            compression: source.compression,
            replication_tls_sni: said(source.tls_sni_name.as_ref()).map(str::to_owned),
            hidden,
            origin,
        })
    }

    /// Those that the spec names. `None` as long as one of them is not known: half of the sources is another database.
    pub(crate) fn all(seen: &Seen<'_>) -> Option<Vec<Self>> {
        seen.database.spec.replica_sources.iter().map(|source| Self::of(source, seen).ok()).collect()
    }

    /// The cluster shows another address of it, or its password is not the one that the cluster was given.
    fn moved(&self, seen: &Seen<'_>, shown: &Shown) -> bool {
        let Some(origin) = &self.origin else { return false };
        let opens = self.hidden.first().and_then(|opens| opens.given(seen));
        let shown = shown.uri.as_deref().map(endpoint_host);
        shown != Some(&origin.host) || origin.password.as_deref().is_some_and(|now| Some(now) != opens)
    }

    pub(crate) fn differ(wanted: &[Self], seen: &Seen<'_>, bdb: &Bdb) -> bool {
        let shown = bdb.replica_sources.as_deref().unwrap_or_default();
        let same = |(wanted, shown): (&Self, &Shown)| {
            wanted.compression.is_none_or(|level| level == shown.compression.unwrap_or_default())
                && said(wanted.replication_tls_sni.as_ref()) == said(shown.replication_tls_sni.as_ref())
                && !wanted.moved(seen, shown)
        };
        shown.len() != wanted.len()
            || !wanted.iter().zip(shown).all(same)
            || wanted.iter().flat_map(|source| &source.hidden).any(|hidden| hidden.is_new(seen))
    }
}

impl Origin {
    /// By the name of a resource of the same namespace.
    fn of(name: &str, seen: &Seen<'_>) -> Option<Self> {
        let bdb = seen.bdbs.known()?.iter().find(|bdb| {
            bdb.tag(REDB_NAME) == Some(name)
                && bdb.tag(REDB_NAMESPACE) == Some(seen.observed.namespace())
                && bdb.tag(MANAGED_BY).is_some()
        })?;
        let (host, port) = bdb.endpoint()?;
        let host = seen.host(host, port);
        // A password that is shown as something else than it is would pass for a new one for ever.
        let password = bdb.authentication_redis_pass.clone().filter(|_| !seen.passwords_are_masked());
        Some(Self { host: format!("{host}:{port}"), password, lets_in: bdb.default_user != Some(false) })
    }
}

/// The Secret that is made for a database.
fn secret_of(database: &str) -> String {
    format!("redb-{database}")
}

/// Why the cluster cannot be told of the sources yet.
pub(crate) fn missing(seen: &Seen<'_>) -> Option<String> {
    seen.database.spec.replica_sources.iter().find_map(|source| Source::of(source, seen).err())
}

pub(crate) fn rules(spec: &Spec, own: &str, check: &mut dyn FnMut(bool, &str, String)) {
    for source in &spec.replica_sources {
        let kind = &source.replica_source_type;
        let text = format!("must be SECRET or REDB; it is `{kind}`");
        check([SECRET, REDB].contains(&kind.as_str()), "spec.replicaSources.replicaSourceType", text);
        let itself = kind == REDB && source.replica_source_name == own;
        let text = "names the database itself, which cannot be a copy of its own: name another";
        check(!itself, "spec.replicaSources.replicaSourceName", text.to_owned());
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
