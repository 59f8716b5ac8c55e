//! Clusters elsewhere, reached by the host name of their REST API: which one a RedisEnterpriseRemoteCluster means, its login,
//! and the way there. What is asked and what is done with answers is `client`'s, as with a cluster whose pods are here.
//!
//! Each is a managed system of its own, so that one that does not answer holds up nobody else. One that is the cluster beside
//! the resource is not asked by its outer name at all: it is that cluster.

use std::sync::Arc;

use async_trait::async_trait;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;
use stepwright_core::object::TypeRef;
use stepwright_operator::system::{Reader, SystemId};
use tokio::net::{TcpStream, lookup_host};

use crate::dialer::{Dialer, Io, PodRef};
use crate::members::{Member, Members, cluster_type, text};
use crate::resolve::{Resolve, resolved};

pub(crate) const REMOTE_KIND: &str = "RedisEnterpriseRemoteCluster";
/// What its Secret's name begins with; its own follows (reference, 2.7).
pub(crate) const SECRET_PREFIX: &str = "redis-enterprise-";
/// Where the REST API is served behind an Ingress or a Route.
const PORT: u16 = 443;

pub(crate) fn remote_type() -> TypeRef {
    TypeRef::new("app.redislabs.com/v1alpha1", REMOTE_KIND)
}

/// The system that a remote cluster's resource stands for: the cluster beside it, or one elsewhere.
pub(crate) fn locate(remote: &DynamicObject, reader: &dyn Reader) -> Option<SystemId> {
    let namespace = remote.namespace()?;
    let name = text(&remote.data, "/spec/recName").unwrap_or_default();
    let beside = text(&remote.data, "/spec/recNamespace") == Some(&namespace);
    if beside && reader.get(&cluster_type(), &namespace, name).is_some() {
        return Some(SystemId { namespace, name: name.to_owned() });
    }
    Some(id(namespace, &remote.name_any()))
}

/// No cluster's name has a slash.
pub(crate) fn id(namespace: String, remote: &str) -> SystemId {
    SystemId { namespace, name: format!("{REMOTE_KIND}/{remote}") }
}

/// The name of the resource, if the system is elsewhere.
pub(crate) fn name_of(system: &SystemId) -> Option<&str> {
    system.name.strip_prefix(REMOTE_KIND)?.strip_prefix('/')
}

/// What a resource says of where its cluster is.
pub(crate) struct Remote {
    object: Arc<DynamicObject>,
}

impl Remote {
    pub(crate) fn of(system: &SystemId, reader: &dyn Reader) -> Option<Self> {
        let object = reader.get(&remote_type(), &system.namespace, name_of(system)?)?;
        Some(Self { object })
    }

    fn host(&self) -> &str {
        text(&self.object.data, "/spec/apiFqdnUrl").unwrap_or_default()
    }

    fn port(&self) -> u16 {
        let port = self.object.data.pointer("/spec/apiPort").and_then(Value::as_u64);
        port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(PORT)
    }

    /// The Secret with the login of its administrator.
    pub(crate) fn secret(&self) -> String {
        format!("{SECRET_PREFIX}{}", self.object.name_any())
    }

    /// The one place where it is asked.
    pub(crate) fn members(&self, system: &SystemId) -> Members {
        let at = format!("{}:{}", self.host(), self.port());
        if self.host().is_empty() {
            return Members::default();
        }
        let pod = PodRef { namespace: system.namespace.clone(), pod: at.clone(), ip: self.host().to_owned() };
        Members { reachable: vec![Member { pod, process: at.clone(), incarnation: at }], pending: Vec::new() }
    }

    /// Names that its certificate may be made for: that of its API, and its own.
    pub(crate) fn names(&self, domain: &str) -> Vec<String> {
        let field = |pointer| text(&self.object.data, pointer).unwrap_or_default();
        let own = format!("{}.{}.svc.{domain}", field("/spec/recName"), field("/spec/recNamespace"));
        vec![self.host().to_owned(), format!("api.{own}"), own]
    }
}

/// TCP to a host by its name.
pub(crate) struct ByName {
    pub(crate) resolve: Arc<[Resolve]>,
}

#[async_trait]
impl Dialer for ByName {
    async fn dial(&self, pod: &PodRef, _port: u16) -> std::io::Result<Box<dyn Io>> {
        let (host, port) = pod.pod.rsplit_once(':').ok_or(std::io::ErrorKind::InvalidInput)?;
        let port: u16 = port.parse().map_err(std::io::Error::other)?;
        let stream = match resolved(&self.resolve, host, port) {
            Some(to) => TcpStream::connect(to).await?,
            None => {
                let unknown = |error: std::io::Error| std::io::Error::new(std::io::ErrorKind::NotFound, error);
                let found: Vec<_> = lookup_host((host, port)).await.map_err(unknown)?.collect();
                TcpStream::connect(found.as_slice()).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
