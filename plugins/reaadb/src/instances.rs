//! The copies of a database, as participants of the spec and as the clusters have them (REST reference, 11.2).

use serde::Serialize;
use serde_json::{Value, json};
use stepwright_sdk::{Observed, secret_ref};

use crate::record::{Instance, Participant};
use crate::remotes::{self, Remote};
use crate::seen::Seen;

/// Behind an Ingress or a Route.
const PORT: u16 = 443;
/// Level of compression between clusters: the product's default.
const COMPRESSION: u8 = 3;

/// A copy as it is asked for. Credentials are put in by the host.
pub(crate) fn wanted(seen: &Seen<'_>, participant: &Participant, remote: &Observed<Remote>) -> Value {
    let secret = remotes::secret(&remote.id.name);
    let credentials = json!({"username": value(&secret, "username"), "password": value(&secret, "password")});
    let mut cluster = json!({"name": remote.cluster_name(), "url": remote.url(), "credentials": credentials});
    if let (Some(host), Some(fields)) = (host(seen, remote), cluster.as_object_mut()) {
        let port = participant.external_replication_port.unwrap_or(PORT);
        fields.insert("replication_endpoint".to_owned(), json!(format!("{host}:{port}")));
        fields.insert("replication_tls_sni".to_owned(), json!(host));
    }
    json!({"cluster": cluster, "compression": COMPRESSION})
}

/// The name by which the others reach a copy, where that is through a proxy.
fn host(seen: &Seen<'_>, remote: &Remote) -> Option<String> {
    let suffix = remote.spec.db_fqdn_suffix.as_deref().filter(|suffix| !suffix.is_empty())?;
    Some(format!("{}{suffix}", seen.name()))
}

fn value(secret: &str, key: &str) -> Value {
    fn plain(value: &impl Serialize) -> Value {
        serde_json::to_value(value).unwrap_or_default()
    }
    plain(&secret_ref(secret, key))
}

/// The participant that a copy is of, by its name; else by the name of its cluster.
pub(crate) fn named(seen: &Seen<'_>, instance: &Instance) -> String {
    let remote = seen.remotes.iter().find(|remote| remote.has(instance)).map(|remote| remote.id.name.clone());
    remote.unwrap_or_else(|| instance.cluster.name.clone())
}

/// What has to change of who takes part, and of how the others reach each.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) added: Vec<String>,
    pub(crate) add: Vec<Value>,
    /// Names and numbers.
    pub(crate) remove: Vec<(String, u64)>,
    pub(crate) moved: Vec<String>,
    /// Parts of copies that stay, each with its number.
    pub(crate) patch: Vec<Value>,
}

impl Difference {
    pub(crate) fn between(seen: &Seen<'_>, instances: &[Instance]) -> Self {
        let mut difference = Self::default();
        let participants = &seen.database.spec.participating_clusters;
        for participant in participants {
            let Some(remote) = seen.remote(&participant.name) else { continue };
            let wanted = wanted(seen, participant, remote);
            match instances.iter().find(|instance| remote.has(instance)) {
                None => {
                    difference.added.push(participant.name.clone());
                    difference.add.push(wanted);
                }
                Some(instance) => {
                    let field = |name: &str| wanted.pointer(&format!("/cluster/{name}")).and_then(Value::as_str);
                    let endpoint = field("replication_endpoint");
                    let same = field("url") == Some(instance.cluster.url.trim_end_matches('/'))
                        && (endpoint.is_none() || endpoint == instance.cluster.replication_endpoint.as_deref());
                    if !same {
                        difference.moved.push(participant.name.clone());
                        difference.patch.push(json!({"id": instance.id, "cluster": wanted.get("cluster")}));
                    }
                }
            }
        }
        for instance in instances {
            let stays = participants
                .iter()
                .any(|participant| seen.remote(&participant.name).is_some_and(|remote| remote.has(instance)));
            if !stays {
                difference.remove.push((named(seen, instance), instance.id));
            }
        }
        difference
    }

    /// Copies whose clusters have another login than the others were told, by name, with it.
    pub(crate) fn logins(seen: &Seen<'_>, instances: &[Instance]) -> (Vec<String>, Vec<Value>) {
        let one = |participant: &Participant| {
            let remote = seen.remote(&participant.name)?;
            let instance = instances.iter().find(|instance| remote.has(instance))?;
            let told = seen.database.status.participating_clusters.iter().find(|it| it.name == participant.name)?;
            let told = told.internal_observed_secret_resource_version.as_deref()?;
            (told != remote.secret_version()?).then_some(())?;
            let wanted = wanted(seen, participant, remote);
            let cluster = json!({"credentials": wanted.pointer("/cluster/credentials")});
            Some((participant.name.clone(), json!({"id": instance.id, "cluster": cluster})))
        };
        seen.database.spec.participating_clusters.iter().filter_map(one).unzip()
    }

    pub(crate) fn changes_who_takes_part(&self) -> bool {
        !self.add.is_empty() || !self.remove.is_empty()
    }
}
