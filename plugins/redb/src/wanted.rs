//! What the spec means in the product's words (REST reference, 6.2; reference, 2.12).

use serde::Serialize;
use stepwright_sdk::SecretValue;

use crate::asked;
use crate::backup::INTERVAL;
use crate::bdb::{DB_SERVICE_PORT, MANAGED_BY, REDB_NAME, REDB_NAMESPACE};
use crate::given::Given;
use crate::replica::Source;
use crate::secret::DatabaseSecret;
use crate::seen::Seen;
use crate::settings::{Bdb, Regex, SHARD_KEY_REGEX, Settings, Snapshot, Tag};
use crate::size;
use crate::spec::{Cluster, ConnectionSettings, Spec, said};
use crate::status::{
    AUDITING, BACKUP, CERTIFICATES, CONNECTION_SETTINGS, OSS_CLUSTER_SETTINGS, REPLICA_SOURCES, ROLES_PERMISSIONS,
};
use crate::version;

/// Body of `POST /v1/bdbs`.
#[derive(Serialize)]
pub(crate) struct Creation {
    #[serde(flatten)]
    pub(crate) settings: Settings,
    #[serde(flatten)]
    given: Given,
    #[serde(rename = "type")]
    type_: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_redis_pass: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shard_key_regex: Option<&'static [Regex]>,
    /// What clients of the OSS cluster API expect; the default is not the same everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_slots_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bigstore: Option<bool>,
}

/// Body of `PUT /v1/bdbs/{uid}`.
#[derive(Serialize)]
pub(crate) struct Change {
    #[serde(flatten)]
    settings: Settings,
    #[serde(flatten)]
    given: Given,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_redis_pass: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key_regex: Option<&'static [Regex]>,
}

pub(crate) const PASSWORD: &str = "authentication_redis_pass";

impl Change {
    /// What has to change in the database; `None` when nothing has to.
    pub(crate) fn of(seen: &Seen<'_>, secret: Option<&DatabaseSecret<'_>>, bdb: &Bdb) -> Option<Self> {
        let settings = settings(seen, Some(bdb)).missing_in(bdb);
        let given = Given::of(seen).missing_in(seen, bdb);
        let password = secret.filter(|_| !seen.database.spec.memcached()).filter(|secret| {
            // A password that is not shown, or not as it is, cannot be compared; setting it each time would never end.
            let shown = bdb.authentication_redis_pass.as_deref().filter(|_| !seen.passwords_are_masked());
            shown.is_some() && secret.password.is_some() && shown != secret.password
        });
        let change = Self {
            shard_key_regex: settings.sharding.is_some_and(|on| on).then_some(&SHARD_KEY_REGEX),
            settings,
            given,
            authentication_redis_pass: password.map(DatabaseSecret::password_value),
        };
        (!change.names().is_empty()).then_some(change)
    }

    /// Names of what changes.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let mut names = self.settings.names();
        names.extend(self.given.names());
        if self.authentication_redis_pass.is_some() {
            names.push(PASSWORD);
        }
        names
    }

    /// Whether more than the password changes.
    pub(crate) fn has_settings(&self) -> bool {
        !self.settings.names().is_empty() || !self.given.names().is_empty()
    }
}

/// The database as it is to be made.
pub(crate) fn creation(seen: &Seen<'_>, cluster: &Cluster, secret: Option<&DatabaseSecret<'_>>) -> Creation {
    let spec = &seen.database.spec;
    let settings = settings(seen, None);
    Creation {
        type_: if spec.memcached() { "memcached" } else { "redis" },
        port: spec.port(),
        authentication_redis_pass: secret.filter(|_| !spec.memcached()).map(DatabaseSecret::password_value),
        shard_key_regex: settings.sharding.is_some_and(|on| on).then_some(&SHARD_KEY_REGEX),
        hash_slots_policy: spec.oss_cluster.unwrap_or_default().then_some("16k"),
        redis_version: version::wanted(seen, cluster).map(str::to_owned),
        bigstore: spec.on_flash().then_some(true),
        given: Given::of(seen),
        settings,
    }
}

/// The settings that the spec defines, with the documented default where it says nothing. Those that Redis Enterprise
/// itself decides by default are left to it.
pub(crate) fn settings(seen: &Seen<'_>, bdb: Option<&Bdb>) -> Settings {
    let spec = &seen.database.spec;
    let or = |value: Option<&String>, default: &str| Some(said(value).unwrap_or(default).to_owned());
    let oss_cluster = spec.oss_cluster.unwrap_or_default();
    let (data_persistence, aof_policy, snapshot_policy) = persistence(spec);
    let back_to_default = ConnectionSettings::default();
    let connections =
        spec.connection_settings.as_ref().or_else(|| seen.managed(CONNECTION_SETTINGS).then_some(&back_to_default));
    Settings {
        name: Some(seen.observed.name().to_owned()),
        memory_size: Some(spec.memory_size.as_deref().and_then(size::parse).unwrap_or(size::LEAST)),
        // Shards cannot be merged, so nobody who says nothing means one of several.
        shards_count: if bdb.is_some() && spec.shard_count.is_none() { None } else { Some(spec.shards()) },
        // Nor can sharding be turned off.
        sharding: match bdb {
            _ if spec.shards() > 1 || oss_cluster => Some(true),
            None => Some(false),
            Some(_) => None,
        },
        replication: Some(spec.replication.unwrap_or_default()),
        rack_aware: Some(spec.rack_aware.unwrap_or_default()),
        shards_placement: or(spec.shards_placement.as_ref(), "dense"),
        data_persistence: Some(data_persistence.to_owned()),
        aof_policy: aof_policy.map(str::to_owned),
        snapshot_policy,
        eviction_policy: or(spec.eviction_policy.as_ref(), "volatile-lru"),
        tls_mode: or(spec.tls_mode.as_ref(), "disabled"),
        default_user: Some(spec.default_user()),
        proxy_policy: or(spec.proxy_policy.as_ref(), if oss_cluster { "all-master-shards" } else { "single" }),
        oss_cluster: Some(oss_cluster),
        conns: connections.map(|it| it.internal_connections.unwrap_or(5)),
        conns_type: connections.and_then(|it| or(it.connection_limit_type.as_ref(), "per-thread")),
        conns_minimum_dedicated: connections.map(|it| it.min_dedicated_connections.unwrap_or(2)),
        conns_global_maximum_dedicated: connections.map(|it| it.global_max_dedicated_connections.unwrap_or(0)),
        sched_policy: connections.and_then(|it| or(it.connection_scheduling_policy.as_ref(), "cmp")),
        data_internode_encryption: spec.data_internode_encryption,
        resp3: spec.resp3,
        bigstore_ram_size: spec.rof_ram_size.as_deref().filter(|_| spec.on_flash()).and_then(size::parse),
        bigstore_max_ram_ratio: spec.rof_ram_ratio.filter(|_| spec.on_flash()),
        oss_cluster_api_preferred_ip_type: match &spec.oss_cluster_settings {
            Some(it) => Some(if it.enable_external_access { "external" } else { "internal" }.to_owned()),
            None => seen.managed(OSS_CLUSTER_SETTINGS).then(|| "internal".to_owned()),
        },
        enforce_client_authentication: match bdb {
            _ if !spec.client_authentication_certificates.is_empty() => Some("enabled".to_owned()),
            // The product's default would demand certificates from clients as soon as there is TLS.
            None => Some("disabled".to_owned()),
            Some(_) => seen.managed(CERTIFICATES).then(|| "disabled".to_owned()),
        },
        db_conns_auditing: spec.auditing.db_conns_auditing.or_else(|| seen.managed(AUDITING).then_some(false)),
        roles_permissions: match bdb {
            Some(_) if spec.roles_permissions.is_empty() => seen.managed(ROLES_PERMISSIONS).then(Vec::new),
            Some(bdb) => asked::roles(seen, bdb).and_then(Result::ok),
            // As soon as the database is there: who may log in is no reason not to make it.
            None => None,
        },
        replica_sync: match Source::all(seen) {
            None => None,
            Some(all) if all.is_empty() => seen.managed(REPLICA_SOURCES).then(|| "disabled".to_owned()),
            Some(_) => Some("enabled".to_owned()),
        },
        tags: Some(tags(seen, bdb)),
        ..backup(seen, bdb)
    }
}

fn backup(seen: &Seen<'_>, bdb: Option<&Bdb>) -> Settings {
    let spec = &seen.database.spec;
    let ready = Given::of(seen).has_place();
    match &spec.backup {
        Some(backup) if ready => Settings {
            backup: Some(true),
            backup_interval: Some(backup.interval.unwrap_or(INTERVAL)),
            backup_interval_offset: backup.interval_offset,
            ..Settings::default()
        },
        // One that cannot be told yet leaves the one before as it is.
        Some(_) => Settings::default(),
        None => Settings { backup: (bdb.is_some() && seen.managed(BACKUP)).then_some(false), ..Settings::default() },
    }
}

fn persistence(spec: &Spec) -> (&'static str, Option<&'static str>, Option<Vec<Snapshot>>) {
    let snapshot = |hours: u32| ("snapshot", None, Some(vec![Snapshot { secs: hours * 3600, writes: 1 }]));
    match spec.persistence.as_deref().unwrap_or_default() {
        "aofEverySecond" => ("aof", Some("appendfsync-every-sec"), None),
        "aofAlways" => ("aof", Some("appendfsync-always"), None),
        "snapshotEvery1Hour" => snapshot(1),
        "snapshotEvery6Hour" => snapshot(6),
        "snapshotEvery12Hour" => snapshot(12),
        _ => ("disabled", None, None),
    }
}

/// Our tags and the user's, among those that others put on the database.
fn tags(seen: &Seen<'_>, bdb: Option<&Bdb>) -> Vec<Tag> {
    let spec = &seen.database.spec;
    let managed_by = bdb.and_then(|bdb| bdb.tag(MANAGED_BY)).unwrap_or("stepwright");
    let mut wanted = spec.tags.clone();
    for (key, value) in
        [(MANAGED_BY, managed_by), (REDB_NAME, seen.observed.name()), (REDB_NAMESPACE, seen.observed.namespace())]
    {
        wanted.insert(key.to_owned(), value.to_owned());
    }
    if let Some(port) = spec.database_service_port {
        wanted.insert(DB_SERVICE_PORT.to_owned(), port.to_string());
    }
    let given_up = |key: &str| key == DB_SERVICE_PORT || seen.database.status.managed_tags.iter().any(|tag| tag == key);
    // The order that is there stays, so that equal lists compare equal.
    let mut tags = Vec::new();
    for tag in bdb.into_iter().flat_map(|bdb| bdb.tags.iter().flatten()) {
        match wanted.remove(&tag.key) {
            Some(value) => tags.push(Tag { key: tag.key.clone(), value }),
            None if given_up(&tag.key) => {}
            None => tags.push(tag.clone()),
        }
    }
    tags.extend(wanted.into_iter().map(|(key, value)| Tag { key, value }));
    tags
}
