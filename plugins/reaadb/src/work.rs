//! What has to be sent, if anything: one request that brings the database to what the spec says.

use serde_json::{Map, Value, json};
use stepwright_redb::copy;
use stepwright_sdk::{Call, Failure};

use crate::instances::{Difference, named, wanted};
use crate::record::Crdb;
use crate::seen::Seen;
use crate::task::Kind;
use crate::{FORCE_ANNOTATION, password, remotes};

/// A change, ready to be sent under an id.
pub(crate) struct Work {
    pub(crate) kind: Kind,
    /// What it does, for people: `making it`.
    pub(crate) words: String,
    /// It gives the database the password of the Secret.
    pub(crate) gives_password: bool,
    /// Other clusters that are asked to give up their copies, by name.
    pub(crate) leaving: Vec<String>,
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl Work {
    pub(crate) fn call(&self, task: &str) -> Call {
        let call = Call::new(format!("task:{task}"), self.method, self.path.clone());
        match &self.body {
            Some(body) => call.body(body),
            None => call,
        }
    }

    /// Makes the database on every participant.
    pub(crate) fn creation(seen: &Seen<'_>) -> Result<Self, Failure> {
        let mut config = copy::wanted(&seen.as_database())?;
        config.insert("tags".to_owned(), Value::Array(seen.record().tags()));
        put_password(seen, &mut config);
        let participants = &seen.database.spec.participating_clusters;
        let instances = participants.iter().filter_map(|it| Some(wanted(seen, it, seen.remote(&it.name)?)));
        let body = json!({
            "name": seen.name(), "encryption": seen.goes_by_server_name(), "causal_consistency": false,
            "default_db_config": config, "instances": instances.collect::<Vec<_>>(),
        });
        let names: Vec<&str> = participants.iter().map(|it| it.name.as_str()).collect();
        Ok(Self {
            kind: Kind::Create,
            words: format!("making it on {}", names.join(", ")),
            gives_password: true,
            leaving: Vec::new(),
            method: "POST",
            path: "/v1/crdbs".to_owned(),
            body: Some(body),
        })
    }

    /// The first that the database needs to be as the spec says.
    pub(crate) fn of(seen: &Seen<'_>, crdb: &Crdb) -> Result<Option<Self>, Failure> {
        let path = format!("/v1/crdbs/{}", crdb.guid);
        // With a login that is not the cluster's any more nothing else comes about, and each attempt counts towards its lock-out.
        if let Some(logins) = logins(seen, crdb, &path) {
            return Ok(Some(logins));
        }
        let instances = Difference::between(seen, &crdb.instances);
        let config = changes(seen, crdb)?;
        let gives_password = config.contains_key(password::FIELD);
        let mut words: Vec<String> = config.keys().cloned().collect();
        let mut change = Map::new();
        if !config.is_empty() {
            change.insert("default_db_config".to_owned(), Value::Object(config));
        }
        if !instances.patch.is_empty() {
            words.push(format!("the address of {}", instances.moved.join(", ")));
            change.insert("instances".to_owned(), Value::Array(instances.patch.clone()));
        }
        if instances.changes_who_takes_part() {
            let mut parts = Vec::new();
            let mut body = Map::new();
            if !instances.add.is_empty() {
                parts.push(format!("adding {}", instances.added.join(", ")));
                body.insert("add_instances".to_owned(), Value::Array(instances.add));
            }
            let mut leaving = Vec::new();
            if !instances.remove.is_empty() {
                let forced = seen.forced();
                let is_forced = |removed: &(String, u64)| forced.contains(removed.0.as_str());
                // One request asks all that it removes, or none; who is not asked goes first.
                let asked_no_more = instances.remove.iter().any(is_forced);
                let now = instances.remove.into_iter().filter(|removed| is_forced(removed) == asked_no_more);
                let (names, ids): (Vec<String>, Vec<u64>) = now.unzip();
                parts.push(format!("removing {}", names.join(", ")));
                body.insert("remove_instances".to_owned(), json!(ids));
                if asked_no_more {
                    parts.push("without asking it".to_owned());
                    body.insert("remove_instances.force_remove".to_owned(), json!(true));
                } else {
                    leaving = names;
                }
            }
            if !change.is_empty() {
                parts.push(format!("changing {}", words.join(", ")));
                body.insert("crdb".to_owned(), Value::Object(change));
            }
            return Ok(Some(Self {
                kind: Kind::Change,
                words: parts.join(", "),
                gives_password,
                leaving,
                method: "POST",
                path: format!("{path}/updates"),
                body: Some(Value::Object(body)),
            }));
        }
        if !change.is_empty() {
            return Ok(Some(Self {
                kind: Kind::Change,
                words: format!("changing {}", words.join(", ")),
                gives_password,
                leaving: Vec::new(),
                method: "PATCH",
                path,
                body: Some(Value::Object(change)),
            }));
        }
        Ok(certificates(seen, &path))
    }

    /// What a person may do where a cluster that has to give up its copy cannot be worked with; empty where all can.
    pub(crate) fn way_out(&self, seen: &Seen<'_>) -> String {
        let lost = |name: &&String| seen.remote(name).is_none_or(|remote| remotes::trouble(remote).is_some());
        let lost: Vec<&str> = self.leaving.iter().filter(lost).map(String::as_str).collect();
        if lost.is_empty() {
            return String::new();
        }
        let names = lost.join(",");
        format!(". What is lost for good is left out by the annotation {FORCE_ANNOTATION}={names}")
    }

    /// Deletes it on every cluster.
    pub(crate) fn deletion(seen: &Seen<'_>, crdb: &Crdb) -> Self {
        let own = seen.own_remote();
        let others = crdb.instances.iter().filter(|instance| own.is_none_or(|own| !own.has(instance)));
        Self {
            kind: Kind::Delete,
            words: "deleting it on all its clusters".to_owned(),
            gives_password: false,
            leaving: others.map(|instance| named(seen, instance)).collect(),
            method: "DELETE",
            path: format!("/v1/crdbs/{}", crdb.guid),
            body: None,
        }
    }

    /// Removes clusters that a person gave up, before the database is deleted on the others.
    pub(crate) fn removal_of_lost(seen: &Seen<'_>, crdb: &Crdb) -> Option<Self> {
        let forced = seen.forced();
        let lost = crdb.instances.iter().map(|instance| (named(seen, instance), instance.id));
        let (names, ids): (Vec<String>, Vec<u64>) = lost.filter(|(name, _)| forced.contains(name.as_str())).unzip();
        if ids.is_empty() || ids.len() == crdb.instances.len() {
            return None;
        }
        Some(Self {
            kind: Kind::Change,
            words: format!("removing {} without asking it", names.join(", ")),
            gives_password: false,
            leaving: Vec::new(),
            method: "POST",
            path: format!("/v1/crdbs/{}/updates", crdb.guid),
            body: Some(json!({"remove_instances": ids, "remove_instances.force_remove": true})),
        })
    }
}

/// A participant has another login than when all clusters were last told.
fn logins(seen: &Seen<'_>, crdb: &Crdb, path: &str) -> Option<Work> {
    let (names, patch) = Difference::logins(seen, &crdb.instances);
    (!patch.is_empty()).then(|| Work {
        kind: Kind::Logins(logins_version(seen)),
        words: format!("telling all its clusters of the login of {}", names.join(", ")),
        gives_password: false,
        leaving: Vec::new(),
        method: "PATCH",
        path: path.to_owned(),
        body: Some(json!({"instances": patch})),
    })
}

/// The versions of the Secrets with logins, together.
fn logins_version(seen: &Seen<'_>) -> i64 {
    let participants = seen.database.spec.participating_clusters.iter();
    let versions = participants.filter_map(|it| seen.remote(&it.name)?.secret_version()?.parse::<i64>().ok());
    versions.fold(0, i64::wrapping_add)
}

/// The cluster has other certificates for clients or for replication than when all copies were last told (reference, 3.14).
fn certificates(seen: &Seen<'_>, path: &str) -> Option<Work> {
    let now = certificates_generation(seen)?;
    let told = seen.database.status.cluster_certificates_generation?;
    (now > told).then(|| Work {
        kind: Kind::Certificates(now),
        words: "telling all its clusters of new certificates".to_owned(),
        gives_password: false,
        leaving: Vec::new(),
        method: "POST",
        path: format!("{path}/updates"),
        body: Some(json!({"force_update": true})),
    })
}

pub(crate) fn certificates_generation(seen: &Seen<'_>) -> Option<i64> {
    seen.cluster()?.status.certificates_status.generation
}

/// What of the common configuration is not as the spec says.
fn changes(seen: &Seen<'_>, crdb: &Crdb) -> Result<Map<String, Value>, Failure> {
    let mut changes = copy::missing(&seen.as_database(), &crdb.default_db_config)?;
    if let Some(tags) = tags(seen, crdb) {
        changes.insert("tags".to_owned(), Value::Array(tags));
    }
    if password::is_new(seen, crdb) {
        put_password(seen, &mut changes);
    }
    Ok(changes)
}

fn put_password(seen: &Seen<'_>, config: &mut Map<String, Value>) {
    if let Some(value) = password::value(seen).and_then(|value| serde_json::to_value(value).ok()) {
        config.insert(password::FIELD.to_owned(), value);
    }
}

/// The tags as they should be, if they are not: ours and the spec's, and those that others put there.
fn tags(seen: &Seen<'_>, crdb: &Crdb) -> Option<Vec<Value>> {
    let key = |tag: &Value| tag.get("key").and_then(Value::as_str).map(str::to_owned);
    let shown = crdb.default_db_config.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut wanted = seen.record().tags();
    let managed = &seen.database.status.managed_tags;
    for tag in &shown {
        let Some(name) = key(tag) else { continue };
        if !managed.contains(&name) && !wanted.iter().any(|it| key(it).as_ref() == Some(&name)) {
            wanted.push(tag.clone());
        }
    }
    let same = shown.len() == wanted.len() && wanted.iter().all(|tag| shown.contains(tag));
    (!same).then_some(wanted)
}
