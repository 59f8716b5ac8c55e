//! The status (reference, 1.6): what is known now over what was known before.
//!
//! What cannot be read now stays as it was, because a field that is left out would be removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwright_sdk::Reply;

use crate::replica;
use crate::seen::Seen;
use crate::settings::Bdb;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) spec_status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    #[serde(rename = "databaseUID", skip_serializing_if = "Option::is_none")]
    pub(crate) database_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_updated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) internal_endpoints: Vec<InternalEndpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis_enterprise_cluster: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) shard_statuses: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_action_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_action_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup_info: Option<BackupInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) managed_tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) managed_fields: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) replica_source_statuses: Vec<ReplicaSourceStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bigstore_version: Option<i64>,
}

/// How far the copying of a source is. What counts every second is not among the facts, and not here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplicaSourceStatus {
    pub(crate) endpoint_host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdb_size: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InternalEndpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BackupInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup_failure_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_interval_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_backup_time: Option<String>,
}

/// `managedFields`: parts of the spec whose removal is sent.
pub(crate) const AUDITING: &str = "auditing.dbConnsAuditing";
pub(crate) const BACKUP: &str = "backup";
pub(crate) const CERTIFICATES: &str = "clientAuthenticationCertificates";
pub(crate) const CONNECTION_SETTINGS: &str = "connectionSettings";
pub(crate) const OSS_CLUSTER_SETTINGS: &str = "ossClusterSettings";
pub(crate) const REPLICA_SOURCES: &str = "replicaSources";
pub(crate) const ROLES_PERMISSIONS: &str = "rolesPermissions";
/// Followed by the name of the alert.
pub(crate) const ALERTS: &str = "alertSettings.";

/// How the last action went, as the status of the database tells it.
pub(crate) const COMPLETED: &str = "completed";
pub(crate) const RUNNING: &str = "running";
pub(crate) const FAILED: &str = "failed";

impl Status {
    /// The uid of the database, if there is one.
    pub(crate) fn uid(&self) -> Option<u64> {
        self.database_uid.as_deref()?.parse().ok()
    }

    /// The port, as last seen.
    pub(crate) fn port(&self) -> Option<u16> {
        self.internal_endpoints.first().map(|endpoint| endpoint.port).filter(|port| *port != 0)
    }

    /// The status before a database is found.
    pub(crate) fn waiting(seen: &Seen<'_>) -> Self {
        let mut status = seen.database.status.clone();
        if status.status.is_empty() {
            "pending".clone_into(&mut status.status);
        }
        "Valid".clone_into(&mut status.spec_status);
        if let Some(cluster) = seen.cluster_name() {
            status.redis_enterprise_cluster = Some(cluster.to_owned());
        }
        status
    }

    /// The status while the cluster certainly has no such database.
    pub(crate) fn absent(seen: &Seen<'_>) -> Self {
        let last = Self::waiting(seen);
        Self {
            status: "pending".to_owned(),
            spec_status: last.spec_status,
            observed_generation: last.observed_generation,
            redis_enterprise_cluster: last.redis_enterprise_cluster,
            managed_tags: last.managed_tags,
            managed_fields: last.managed_fields,
            ..Self::default()
        }
    }

    /// All that this generation of the spec says was accepted.
    pub(crate) fn sent(&mut self, seen: &Seen<'_>) {
        self.observed_generation = Some(seen.database.metadata.generation);
        self.managed_tags = seen.database.spec.tags.keys().cloned().collect();
        let mut fields = managed(seen);
        // Alerts are sent by a call of their own, later.
        fields.extend(self.managed_fields.drain(..).filter(|field| field.starts_with(ALERTS)));
        fields.sort();
        fields.dedup();
        self.managed_fields = fields;
    }

    /// And the alerts too.
    pub(crate) fn settled(&mut self, seen: &Seen<'_>) {
        self.sent(seen);
        self.managed_fields = managed(seen);
    }

    /// The status with what the cluster shows.
    pub(crate) fn of(seen: &Seen<'_>, bdb: &Bdb) -> Self {
        let mut status = Self::waiting(seen);
        status.status.clone_from(&bdb.status);
        status.database_uid = Some(bdb.uid.to_string());
        status.created_time = said(bdb.created_time.as_ref()).or(status.created_time);
        status.last_updated = said(bdb.last_changed_time.as_ref()).or(status.last_updated);
        status.version = said(bdb.version.as_ref()).or(status.version);
        if let Some((host, port)) = bdb.endpoint() {
            status.internal_endpoints = vec![InternalEndpoint { host: seen.host(host, port), port }];
        }
        if bdb.status == "active" {
            let listed = bdb.shard_list.as_ref().map(|list| list.len() as u64).filter(|shards| *shards > 0);
            status.shard_statuses = [("active".to_owned(), listed.unwrap_or_else(|| bdb.licensed_shards()))].into();
        }
        status.take_action(seen, bdb);
        status.backup_info = backup(bdb);
        status.replica_source_statuses = sources(bdb);
        status.bigstore_version = bdb.bigstore_version.filter(|_| bdb.bigstore.unwrap_or_default());
        status
    }

    /// `running` is said of actions that we asked for only: if the database is as before when such a one is over, it failed,
    /// while after somebody else's it has to be put right.
    fn take_action(&mut self, seen: &Seen<'_>, bdb: &Bdb) {
        let Some(action) = said(bdb.action_uid.as_ref()) else { return };
        let same = self.last_action_uid.as_ref() == Some(&action);
        let asked_now = seen.observed.replies.iter().any(Reply::is_success);
        let went = match bdb.status.as_str() {
            "creation-failed" => FAILED,
            // Noticed once, when a change did not come about; the database itself does not show it.
            "active" if same && self.last_action_status.as_deref() == Some(FAILED) => FAILED,
            "active" => COMPLETED,
            _ if asked_now || same => RUNNING,
            _ => return,
        };
        self.last_action_uid = Some(action);
        self.last_action_status = Some(went.to_owned());
    }
}

/// Parts of the spec that were given to the cluster, and that it keeps when they are gone from the spec.
fn managed(seen: &Seen<'_>) -> Vec<String> {
    let spec = &seen.database.spec;
    let mut fields: Vec<String> = [
        (spec.auditing.db_conns_auditing.is_some(), AUDITING),
        (spec.backup.is_some(), BACKUP),
        (!spec.client_authentication_certificates.is_empty(), CERTIFICATES),
        (spec.connection_settings.is_some(), CONNECTION_SETTINGS),
        (spec.oss_cluster_settings.is_some(), OSS_CLUSTER_SETTINGS),
        (!spec.replica_sources.is_empty(), REPLICA_SOURCES),
        (!spec.roles_permissions.is_empty(), ROLES_PERMISSIONS),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .map(|(_, field)| field.to_owned())
    .collect();
    fields.extend(spec.alert_settings.keys().map(|alert| format!("{ALERTS}{alert}")));
    fields.sort();
    fields
}

fn sources(bdb: &Bdb) -> Vec<ReplicaSourceStatus> {
    let one = |source: &replica::Shown| ReplicaSourceStatus {
        endpoint_host: replica::endpoint_host(source.uri.as_deref().unwrap_or_default()).to_owned(),
        status: said(source.status.as_ref()),
        last_error: said(source.last_error.as_ref()),
        rdb_size: source.rdb_size.filter(|size| *size > 0),
    };
    bdb.replica_sources.iter().flatten().map(one).collect()
}

fn said(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn backup(bdb: &Bdb) -> Option<BackupInfo> {
    let number = |value: Option<i64>| value.filter(|value| *value != 0);
    let info = BackupInfo {
        backup_failure_reason: said(bdb.backup_failure_reason.as_ref()),
        backup_interval: number(bdb.backup_interval),
        backup_interval_offset: number(bdb.backup_interval_offset),
        backup_status: said(bdb.backup_status.as_ref()),
        last_backup_time: said(bdb.last_backup_time.as_ref()),
    };
    (info != BackupInfo::default()).then_some(info)
}
