//! The Secret with the password of the database (reference, 2.6 and 2.7).
//!
//! One that the user made is adopted: port and names of Services are written into it, and it is never owned, so it stays
//! when the database goes. One that is not there is made, under whichever name.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::{Plan, SecretValue, generate, plain};

use crate::seen::Seen;
use crate::spec::said;

const PASSWORD: &str = "password";

pub(crate) struct DatabaseSecret<'a> {
    pub(crate) name: String,
    /// Nobody made it yet.
    pub(crate) missing: bool,
    adopted: bool,
    /// Fingerprint of the password.
    pub(crate) password: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    string_data: BTreeMap<&'static str, SecretValue>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    labels: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Defaults<'a> {
    database_secret_name: &'a str,
}

impl<'a> DatabaseSecret<'a> {
    /// `None` for a database without default user, which nobody can log in to with a password alone.
    pub(crate) fn of(seen: &'a Seen<'_>) -> Option<Self> {
        if !seen.database.spec.default_user() {
            return None;
        }
        let given = said(seen.database.spec.database_secret_name.as_ref());
        let name = given.map_or_else(|| format!("redb-{}", seen.observed.name()), str::to_owned);
        let found = seen.secrets.iter().find(|secret| secret.id.name == name);
        Some(Self {
            missing: found.is_none(),
            adopted: found.is_some() && !seen.own_secrets.contains(&name),
            password: found.and_then(|secret| secret.data.get(PASSWORD)).map(String::as_str),
            name,
        })
    }

    pub(crate) fn password_value(&self) -> SecretValue {
        stepwright_sdk::secret_ref(self.name.clone(), PASSWORD)
    }

    /// Why its password cannot be used yet.
    pub(crate) fn not_ready(&self) -> Option<String> {
        match (self.password, self.adopted) {
            (Some(_), _) => None,
            (None, true) => {
                Some(format!("Secret `{}` has no key `{PASSWORD}`: add it, even if it is empty", self.name))
            }
            (None, false) => Some(format!("Secret `{}` is being made", self.name)),
        }
    }

    /// Makes or completes it, and writes its name into the spec where the user gave none.
    pub(crate) fn place(&self, plan: Plan, seen: &Seen<'_>, port: Option<u16>) -> Plan {
        let spec = &seen.database.spec;
        let mut values = BTreeMap::new();
        if let Some(port) = port {
            values.insert("port", plain(port.to_string()));
        }
        if let Some(names) = service_names(seen, port) {
            values.insert("service_names", plain(names));
        }
        if let Some(nodes) = oss_startup_nodes(seen) {
            values.insert("oss_startup_nodes", plain(nodes));
        }
        let plan = if self.adopted {
            if values.is_empty() {
                return plan;
            }
            plan.amend("v1", "Secret", self.name.clone(), &Body { metadata: None, string_data: values })
        } else {
            values.insert(PASSWORD, generate(32));
            self.desire(plan, seen, values)
        };
        match said(spec.database_secret_name.as_ref()) {
            Some(_) => plan,
            None => plan.defaults(&Defaults { database_secret_name: &self.name }),
        }
    }

    /// Leaves it as long as it is there: its namespace may refuse to have it made again.
    pub(crate) fn keep(&self, plan: Plan, seen: &Seen<'_>, port: Option<u16>) -> Plan {
        if self.missing || self.adopted { plan } else { self.place(plan, seen, port) }
    }

    fn desire(&self, plan: Plan, seen: &Seen<'_>, values: BTreeMap<&'static str, SecretValue>) -> Plan {
        let mut labels = BTreeMap::from([("app", "redis-enterprise")]);
        if let Some(cluster) = seen.cluster_name() {
            labels.insert("redis.io/cluster", cluster);
        }
        let body = Body { metadata: Some(Metadata { labels }), string_data: values };
        plan.desire("v1", "Secret", self.name.clone(), &body)
    }
}

/// Where clients of the OSS cluster API begin that come from outside.
fn oss_startup_nodes(seen: &Seen<'_>) -> Option<String> {
    let settings = seen.database.spec.oss_cluster_settings.as_ref()?;
    let bdb = seen.bdbs.known().and_then(|bdbs| seen.own(bdbs)).filter(|_| settings.enable_external_access)?;
    Some(bdb.outside().join(",")).filter(|nodes| !nodes.is_empty())
}

/// What the services-rigger calls the Services of this database; some names need the port.
fn service_names(seen: &Seen<'_>, port: Option<u16>) -> Option<String> {
    let naming = &seen.cluster()?.spec.services_rigger_spec;
    if seen.is_guest() {
        return Some(seen.observed.name().to_owned());
    }
    if naming.service_naming.as_deref() == Some("redis-port") && port.is_none() {
        return None;
    }
    let names = naming.names(seen.observed.name(), port.unwrap_or_default());
    Some(names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(","))
}
