//! Fields that are not acted on yet. None is ignored in silence: they become a condition of the resource.

use serde::Serialize;

use crate::rules;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::said;

const AUDIT_SETTINGS: &str =
    "the form of the REST API's `audit_settings` is not published; use dbConnsAuditing for connections";

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
    let mut fields: Vec<Field> = [
        (
            spec.search_on_bigstore.is_some(),
            "spec.searchOnBigstore",
            "the REST API names no field for it, so the cluster decides where indexes are kept",
        ),
        (
            spec.upgrade_spec.upgrade_modules_to_latest,
            "spec.upgradeSpec.upgradeModulesToLatest",
            "an upgrade of a database always takes its modules along since Redis Enterprise 7.8.2; remove it",
        ),
        (
            spec.backup.as_ref().is_some_and(|backup| backup.swift.is_some()),
            "spec.backup.swift",
            "the REST API has no such place for backups: use another",
        ),
        (spec.auditing.audit_mode.is_some(), "spec.auditing.auditMode", AUDIT_SETTINGS),
        (spec.auditing.source_ip_filter.is_some(), "spec.auditing.sourceIpFilter", AUDIT_SETTINGS),
        (spec.auditing.username_filter.is_some(), "spec.auditing.usernameFilter", AUDIT_SETTINGS),
        (
            spec.active_active.is_some(),
            "spec.activeActive",
            "a database is linked to an Active-Active database by that one's own resource; remove it",
        ),
    ]
    .into_iter()
    .filter(|(set, ..)| *set)
    .map(|(_, field, reason)| Field { field, reason: reason.to_owned() })
    .collect();
    let mut add = |field, reason: String| fields.push(Field { field, reason });
    for module in bdb.iter().flat_map(|bdb| bdb.module_list.iter().flatten()) {
        let Some(wanted) = spec.modules_list.iter().find(|wanted| wanted.name == module.module_name) else { continue };
        let name = &wanted.name;
        let has = said(module.semantic_version.as_ref());
        if let (Some(has), Some(version)) = (has, said(wanted.version.as_ref()).filter(|version| Some(*version) != has))
        {
            let text =
                format!("module {name} stays at {has}, not {version}: modules are upgraded with redisVersion only");
            add("spec.modulesList.version", text);
        }
        let arguments = module.module_args.as_deref().unwrap_or_default();
        if said(wanted.config.as_ref()).is_some_and(|config| !arguments.contains(config)) {
            let text = format!("the arguments of module {name} are set when it is added, and not changed later");
            add("spec.modulesList.config", text);
        }
    }
    let earlier = |own: &Bdb, other: &&Bdb| other.uid < own.uid && other.name() == own.name();
    let first = bdb.and_then(|own| seen.bdbs.known()?.iter().find(|other| earlier(own, other)));
    if let Some(first) = first {
        // Two that were made at the same moment; neither saw the other, and none is thrown away.
        let text = format!(
            "the cluster had a database of this name before (uid {}), and {}: clients that ask by name may reach that one, \
             so delete one of the two",
            first.uid,
            rules::made_by(first)
        );
        add("metadata.name", text);
    }
    if seen.passwords_are_masked() && spec.default_user() {
        let text = "the cluster hides passwords (mask_bdb_credentials), so a change in the Secret is not noticed";
        add("spec.databaseSecretName", text.to_owned());
    }
    fields
}
