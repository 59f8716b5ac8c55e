//! Fields that are not acted on yet. None is ignored in silence: they become a condition of the resource.

use serde::Serialize;

use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::said;

#[derive(Serialize)]
pub(crate) struct Note {
    pub(crate) unsupported: Vec<Field>,
}

#[derive(Serialize)]
pub(crate) struct Field {
    field: &'static str,
    reason: String,
}

/// The fields that the spec sets and nothing comes of; `bdb` is the database, once it is there.
pub(crate) fn fields(seen: &Seen<'_>, bdb: Option<&Bdb>) -> Vec<Field> {
    let spec = &seen.database.spec;
    let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let later = "is not acted on yet";
    let mut fields: Vec<Field> = [
        (spec.rof_ram_ratio.is_some(), "spec.rofRamRatio"),
        (spec.search_on_bigstore.is_some(), "spec.searchOnBigstore"),
        (some(&spec.client_authentication_certificates), "spec.clientAuthenticationCertificates"),
        (spec.memcached_sasl_secret_name.is_some(), "spec.memcachedSaslSecretName"),
        (spec.upgrade_spec.upgrade_modules_to_latest, "spec.upgradeSpec.upgradeModulesToLatest"),
        (spec.oss_cluster_settings.is_some(), "spec.ossClusterSettings"),
        (some(&spec.roles_permissions), "spec.rolesPermissions"),
        (some(&spec.replica_sources), "spec.replicaSources"),
        (spec.backup.is_some(), "spec.backup"),
        (spec.alert_settings.is_some(), "spec.alertSettings"),
        (spec.auditing.is_some(), "spec.auditing"),
        (spec.active_active.is_some(), "spec.activeActive"),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .map(|(_, field)| Field { field, reason: later.to_owned() })
    .collect();
    let mut add = |field, reason: String| fields.push(Field { field, reason });
    match said(spec.redis_version.as_ref()) {
        Some(word @ ("major" | "latest")) => {
            add("spec.redisVersion", format!("`{word}` is not acted on yet; the cluster chooses"));
        }
        Some(wanted) => {
            if let Some(found) = bdb.and_then(|bdb| said(bdb.version.as_ref())) {
                let same = found == wanted || found.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
                if !same {
                    add("spec.redisVersion", format!("a database is not upgraded yet; it stays at {found}"));
                }
            }
        }
        None => {}
    }
    if let Some(bdb) = bdb {
        let loaded = |name: &str| bdb.module_list.iter().flatten().any(|module| module.module_name == name);
        let missing: Vec<&str> =
            spec.modules_list.iter().map(|module| module.name.as_str()).filter(|name| !loaded(name)).collect();
        if !missing.is_empty() {
            let text = format!("modules are not added to a database that is there already: {}", missing.join(", "));
            add("spec.modulesList", text);
        }
    }
    if seen.passwords_are_masked() && spec.default_user() {
        let text = "the cluster hides passwords (mask_bdb_credentials), so a change in the Secret is not noticed";
        add("spec.databaseSecretName", text.to_owned());
    }
    fields
}
