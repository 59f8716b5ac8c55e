//! What the spec names and the database itself does not show: roles, ACLs and alerts (REST reference, 6.7 and 9); and which databases
//! there are at this moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwright_sdk::Call;

use crate::seen::Seen;
use crate::settings::{Bdb, RolePermission};
use crate::status::ALERTS;

/// The id of the call that looks which databases there are now.
const LOOK: &str = "look";

/// A role or an ACL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    uid: u64,
    name: String,
}

/// Of the body of `POST /v1/bdbs/alerts/{uid}`. Thresholds are texts.
#[derive(Debug, Serialize)]
pub(crate) struct Alert {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<String>,
}

/// Reads the names of all of the cluster's databases, as they are now, and what the license counts of each. The fact of this
/// resource holds only those that concern it.
pub(crate) fn look() -> Call {
    Call::get(LOOK, "/v1/bdbs?fields=uid,name,shards_count,replication,bigstore")
}

/// What that read said; `None` if it was not asked.
pub(crate) fn listed(seen: &Seen<'_>) -> Option<Result<Vec<Bdb>, String>> {
    let reply = seen.observed.reply(LOOK)?;
    let listed = reply.json::<Vec<Bdb>>().filter(|_| reply.is_success());
    Some(listed.ok_or_else(|| reply.error_text()))
}

/// `rolesPermissions` with uids, in the order of the database where it has the same. `None` while roles and ACLs are not
/// known. What the cluster does not have comes back in words.
pub(crate) fn roles(seen: &Seen<'_>, bdb: &Bdb) -> Option<Result<Vec<RolePermission>, String>> {
    let (roles, acls) = (seen.roles.known()?, seen.acls.known()?);
    let find = |all: &[Named], kind: &str, field: &str, name: &str| {
        all.iter().find(|one| one.name == name).map(|one| one.uid).ok_or_else(|| {
            let there: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
            format!("spec.rolesPermissions.{field}: the cluster has no {kind} `{name}`; it has {}", there.join(", "))
        })
    };
    let pair = |it: &crate::spec::RolePermission| {
        let role_uid = find(roles, "role", "role", &it.role)?;
        Ok(RolePermission { role_uid, redis_acl_uid: find(acls, "ACL", "acl", &it.acl)? })
    };
    let wanted: Result<Vec<RolePermission>, String> = seen.database.spec.roles_permissions.iter().map(pair).collect();
    Some(wanted.map(|wanted| {
        let shown = bdb.roles_permissions.as_deref().unwrap_or_default();
        let same = shown.len() == wanted.len() && wanted.iter().all(|one| shown.contains(one));
        if same { shown.to_vec() } else { wanted }
    }))
}

/// Why roles and ACLs that the spec names cannot be compared.
pub(crate) fn roles_unknown(seen: &Seen<'_>) -> Option<String> {
    let why = seen.roles.unknown().or_else(|| seen.acls.unknown())?;
    let names = !seen.database.spec.roles_permissions.is_empty();
    names.then(|| format!("roles and ACLs of the cluster are not known: {why}"))
}

/// Alerts of a database that are not as the spec says, or were once and are no longer in it. None, while they are not known.
pub(crate) fn alerts(seen: &Seen<'_>, bdb: &Bdb) -> BTreeMap<String, Alert> {
    let Some(all) = seen.alerts.known() else { return BTreeMap::new() };
    let shown = all.get(&bdb.uid.to_string());
    let shown = |name: &str| shown.and_then(|shown| shown.get(name));
    let spec = &seen.database.spec.alert_settings;
    let mut wanted = BTreeMap::new();
    for (name, alert) in spec {
        let threshold = alert.threshold.as_ref().map(ToString::to_string);
        let differs = match shown(name) {
            // A threshold matters as soon as somebody is to be told.
            None => alert.enabled,
            Some(_) if !alert.enabled => true,
            Some(on) => threshold
                .as_ref()
                .is_some_and(|wanted| Some(wanted) != on.threshold.as_ref().map(ToString::to_string).as_ref()),
        };
        if differs {
            wanted.insert(name.clone(), Alert { enabled: alert.enabled, threshold });
        }
    }
    let managed = seen.database.status.managed_fields.iter().filter_map(|field| field.strip_prefix(ALERTS));
    for name in managed.filter(|name| !spec.contains_key(*name) && shown(name).is_some()) {
        wanted.insert(name.to_owned(), Alert { enabled: false, threshold: None });
    }
    wanted
}

/// Why alerts that the spec names, or named, cannot be compared.
pub(crate) fn alerts_unknown(seen: &Seen<'_>) -> Option<String> {
    let managed = seen.database.status.managed_fields.iter().any(|field| field.starts_with(ALERTS));
    let why = seen.alerts.unknown().filter(|_| managed || !seen.database.spec.alert_settings.is_empty())?;
    Some(format!("alerts of the cluster are not known: {why}"))
}
