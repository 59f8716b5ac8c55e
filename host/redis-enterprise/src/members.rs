//! What Kubernetes says of a cluster: its pods, its credentials, and which cluster a primary belongs to. Reads caches only.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;
use stepwright_core::object::TypeRef;
use stepwright_core::secrets::Fingerprinter;
use stepwright_operator::system::{Reader, SystemId};

use crate::dialer::PodRef;
use crate::error::CallError;
use crate::remote::{self, REMOTE_KIND, Remote};

pub(crate) const CLUSTER_KIND: &str = "RedisEnterpriseCluster";
const DATABASE_KIND: &str = "RedisEnterpriseDatabase";
const ACTIVE_ACTIVE_KIND: &str = "RedisEnterpriseActiveActiveDatabase";
/// Labels that the pods of a cluster's nodes have.
const CLUSTER_LABEL: &str = "redis.io/cluster";
const ROLE_LABEL: (&str, &str) = ("redis.io/role", "node");

pub(crate) fn cluster_type() -> TypeRef {
    TypeRef::new("app.redislabs.com/v1", CLUSTER_KIND)
}

pub(crate) fn secret_type() -> TypeRef {
    TypeRef::new("v1", "Secret")
}

pub(crate) fn pod_type() -> TypeRef {
    TypeRef::new("v1", "Pod")
}

/// The cluster that a primary belongs to. A database names one of its own namespace, or else of the operator's, `home`.
pub(crate) fn locate(primary: &DynamicObject, reader: &dyn Reader, home: &str) -> Option<SystemId> {
    let mut namespace = primary.namespace()?;
    let name = match primary.types.as_ref()?.kind.as_str() {
        CLUSTER_KIND => primary.name_any(),
        REMOTE_KIND => return remote::locate(primary, reader),
        DATABASE_KIND | ACTIVE_ACTIVE_KIND => match text(&primary.data, "/spec/redisEnterpriseCluster/name") {
            Some(name) => {
                // Without any cluster beside it, a database in another namespace can only mean one of the operator's.
                if !home.is_empty() && reader.list(&cluster_type(), &namespace).is_empty() {
                    home.clone_into(&mut namespace);
                }
                name.to_owned()
            }
            None => only_cluster(reader, &namespace)?,
        },
        _ => return None,
    };
    Some(SystemId { namespace, name })
}

/// The one cluster of the namespace. One that was refused, because another came first, does not count.
fn only_cluster(reader: &dyn Reader, namespace: &str) -> Option<String> {
    let clusters = reader.list(&cluster_type(), namespace);
    let mut good = clusters.iter().filter(|cluster| text(&cluster.data, "/status/state") != Some("Invalid"));
    match (good.next(), good.next()) {
        (Some(only), None) => Some(only.name_any()),
        (None, _) => match clusters.as_slice() {
            [only] => Some(only.name_any()),
            _ => None,
        },
        _ => None,
    }
}

/// A node's pod that has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pod: PodRef,
    /// Changes when the pod is another one, or when its container was restarted: what was asked before gets no answer any more.
    pub(crate) process: String,
    /// Changes then, too, and when it became ready or unready.
    pub(crate) incarnation: String,
}

/// What is known of a cluster's pods, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) reachable: Vec<Member>,
    /// Names of pods without an address.
    pub(crate) pending: Vec<String>,
}

impl Members {
    pub(crate) fn of(system: &SystemId, reader: &dyn Reader) -> Self {
        let mut pods: Vec<(u32, Arc<DynamicObject>)> = reader
            .list(&pod_type(), &system.namespace)
            .into_iter()
            .filter_map(|pod| Some((ordinal(&pod, system)?, pod)))
            .collect();
        pods.sort_by_key(|(ordinal, _)| *ordinal);
        let mut members = Self::default();
        for (_, pod) in pods {
            let name = pod.name_any();
            let over = matches!(text(&pod.data, "/status/phase"), Some("Failed" | "Succeeded"));
            match text(&pod.data, "/status/podIP") {
                Some(ip) if !over => {
                    let (process, incarnation) = incarnation(&pod, ip);
                    let pod = PodRef { namespace: system.namespace.clone(), pod: name, ip: ip.to_owned() };
                    members.reachable.push(Member { pod, process, incarnation });
                }
                _ => members.pending.push(name),
            }
        }
        members
    }

    pub(crate) fn named(&self, pod: &str) -> Option<&Member> {
        self.reachable.iter().find(|member| member.pod.pod == pod)
    }

    /// What runs in a pod, as long as it has this address.
    pub(crate) fn process(&self, pod: &PodRef) -> Option<&str> {
        self.reachable.iter().find(|member| member.pod == *pod).map(|member| member.process.as_str())
    }

    pub(crate) fn at(&self, ip: &str) -> Option<&Member> {
        self.reachable.iter().find(|member| member.pod.ip == ip)
    }

    /// Equal as long as nothing about the pods changed that could make a fact change.
    pub(crate) fn key(&self) -> String {
        let reachable = self.reachable.iter().map(|member| format!("{}={}", member.pod.pod, member.incarnation));
        reachable.chain(self.pending.iter().cloned()).collect::<Vec<_>>().join(";")
    }
}

/// The number of a pod `<cluster>-<number>` with the labels of a node.
fn ordinal(pod: &DynamicObject, system: &SystemId) -> Option<u32> {
    let labels = pod.metadata.labels.as_ref()?;
    let label = |key: &str| labels.get(key).map(String::as_str);
    if label(CLUSTER_LABEL) != Some(&system.name) || label(ROLE_LABEL.0) != Some(ROLE_LABEL.1) {
        return None;
    }
    let name = pod.metadata.name.as_deref()?;
    name.strip_prefix(system.name.as_str())?.strip_prefix('-')?.parse().ok()
}

/// The process and the incarnation of a [`Member`].
fn incarnation(pod: &DynamicObject, ip: &str) -> (String, String) {
    let containers = pod.data.pointer("/status/containerStatuses").and_then(Value::as_array);
    let (mut restarted, mut ready) = (Vec::new(), String::new());
    for container in containers.into_iter().flatten() {
        restarted.push(container.get("restartCount").and_then(Value::as_u64).unwrap_or_default().to_string());
        ready.push(if container.get("ready").and_then(Value::as_bool).unwrap_or_default() { 'r' } else { 'n' });
    }
    let process = format!("{}/{ip}/{}", pod.metadata.uid.as_deref().unwrap_or_default(), restarted.join(","));
    let incarnation = format!("{process}/{ready}");
    (process, incarnation)
}

/// The administrator's credentials, ready to be sent. Shown nowhere.
pub(crate) struct Credentials {
    /// Where people write it down.
    pub(crate) secret: String,
    pub(crate) header: HeaderValue,
    /// Tells this credential from another one.
    pub(crate) fingerprint: String,
    /// Certificates that vouch for the cluster's, as PEM: of a cluster elsewhere, where its Secret has some.
    pub(crate) authority: Option<Vec<u8>>,
}

impl Credentials {
    /// The login in force. The step `rec` keeps it in the Secret `<cluster>-in-force` while a new one from the cluster's own
    /// Secret is being taken over; before that, and without it, the cluster's own Secret is what counts.
    pub(crate) fn of(
        system: &SystemId,
        cluster: &DynamicObject,
        reader: &dyn Reader,
        fingerprinter: &Fingerprinter,
    ) -> Result<Self, CallError> {
        let own = text(&cluster.data, "/spec/clusterCredentialSecretName").unwrap_or(&system.name).to_owned();
        let kept = format!("{}-in-force", system.name);
        // One that an earlier cluster of the same name left behind says nothing of this one.
        let of_this_cluster = |object: &DynamicObject| {
            let references = object.metadata.owner_references.iter().flatten();
            references.into_iter().any(|it| Some(&it.uid) == cluster.metadata.uid.as_ref())
        };
        let kept_login = reader
            .get(&secret_type(), &system.namespace, &kept)
            .filter(|object| of_this_cluster(object))
            .and_then(|object| login(&object, "credentials.username", "credentials.password"));
        let (secret, (username, password)) = match kept_login {
            // Named is the one in which people can put it right.
            Some(login) => (own, login),
            None => {
                let found = reader
                    .get(&secret_type(), &system.namespace, &own)
                    .and_then(|object| login(&object, "username", "password"));
                match found {
                    Some(login) => (own, login),
                    None => return Err(CallError::NoCredentials { secret: own }),
                }
            }
        };
        Self::ready(secret, &username, &password, None, fingerprinter)
    }

    /// The login of a cluster elsewhere.
    pub(crate) fn of_remote(
        system: &SystemId,
        remote: &Remote,
        reader: &dyn Reader,
        fingerprinter: &Fingerprinter,
    ) -> Result<Self, CallError> {
        let secret = remote.secret();
        let object = reader.get(&secret_type(), &system.namespace, &secret);
        let found = object.as_ref().and_then(|object| login(object, "username", "password"));
        let Some((username, password)) = found else { return Err(CallError::NoCredentials { secret }) };
        let authority = object.and_then(|object| value(&object, "ca.crt")).map(String::into_bytes);
        Self::ready(secret, &username, &password, authority, fingerprinter)
    }

    fn ready(
        secret: String,
        username: &str,
        password: &str,
        authority: Option<Vec<u8>>,
        fingerprinter: &Fingerprinter,
    ) -> Result<Self, CallError> {
        let pair = format!("{username}:{password}");
        let header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(&pair)));
        let mut header = header.map_err(|_| CallError::NoCredentials { secret: secret.clone() })?;
        header.set_sensitive(true);
        Ok(Self { secret, header, fingerprint: fingerprinter.fingerprint(pair.as_bytes()), authority })
    }
}

/// User name and password of a Secret, where both are there.
fn login(secret: &DynamicObject, username: &str, password: &str) -> Option<(String, String)> {
    value(secret, username).zip(value(secret, password))
}

/// A value of a Secret, unless it is empty.
fn value(secret: &DynamicObject, key: &str) -> Option<String> {
    let encoded = secret.data.get("data")?.get(key)?.as_str()?;
    let value = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    Some(value).filter(|value| !value.is_empty())
}

/// A text at a JSON pointer, unless it is empty.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
