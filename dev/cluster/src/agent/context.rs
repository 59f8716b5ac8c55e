//! What all tasks of the agent share: the client, caches of what pods refer to, addresses, and the image table.

use std::collections::HashSet;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{
    ConfigMap, ObjectReference, PersistentVolume, PersistentVolumeClaim, Secret, Service,
};
use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::images::ImageTable;
use crate::network::{Addresses, Network};

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) folder: PathBuf,
    pub(crate) images: ImageTable,
    /// The URL and the certificate that a pod's kubeconfig names.
    pub(crate) server: String,
    pub(crate) authority: String,
    /// The address of every node.
    pub(crate) host: Ipv4Addr,
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) secrets: Store<Secret>,
    pub(crate) services: Store<Service>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) volumes: Store<PersistentVolume>,
    /// Counts the changes of anything in the caches above.
    pub(crate) changes: watch::Sender<u64>,
    /// All nodes, and those that are switched off.
    pub(crate) nodes: watch::Sender<HashSet<String>>,
    pub(crate) dead_nodes: watch::Sender<HashSet<String>>,
    addresses: Mutex<Addresses>,
    recorder: Recorder,
}

/// The writing ends of the caches.
pub(crate) struct Revisions {
    pub(crate) config_maps: Writer<ConfigMap>,
    pub(crate) secrets: Writer<Secret>,
    pub(crate) services: Writer<Service>,
    pub(crate) claims: Writer<PersistentVolumeClaim>,
    pub(crate) volumes: Writer<PersistentVolume>,
}

impl Context {
    pub(crate) fn new(
        client: Client,
        folder: &Path,
        network: &Network,
        images: ImageTable,
        server: &str,
        authority: &str,
    ) -> (Self, Revisions) {
        let (config_maps, config_maps_writer) = reflector::store();
        let (secrets, secrets_writer) = reflector::store();
        let (services, services_writer) = reflector::store();
        let (claims, claims_writer) = reflector::store();
        let (volumes, volumes_writer) = reflector::store();
        let reporter = Reporter { controller: "stepwright-dev-node-agent".into(), instance: None };
        let context = Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            folder: folder.to_owned(),
            images,
            server: server.to_owned(),
            authority: authority.to_owned(),
            host: network.host(),
            config_maps,
            secrets,
            services,
            claims,
            volumes,
            changes: watch::Sender::new(0),
            nodes: watch::Sender::new(HashSet::new()),
            dead_nodes: watch::Sender::new(HashSet::new()),
            addresses: Mutex::new(Addresses::new(network.number())),
        };
        let revisions = Revisions {
            config_maps: config_maps_writer,
            secrets: secrets_writer,
            services: services_writer,
            claims: claims_writer,
            volumes: volumes_writer,
        };
        (context, revisions)
    }

    /// Waits until the caches were filled once.
    pub(crate) async fn wait_for_caches(&self) {
        // The error is that of a writer that is gone; its task's end is noticed elsewhere.
        let _ = tokio::join!(
            self.config_maps.wait_until_ready(),
            self.secrets.wait_until_ready(),
            self.services.wait_until_ready(),
            self.claims.wait_until_ready(),
            self.volumes.wait_until_ready(),
        );
    }

    /// Takes a pod address; it is given back when the value is dropped.
    pub(crate) fn take_address(self: &Arc<Self>) -> Option<PodAddress> {
        let address = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(PodAddress { address, context: self.clone() })
    }

    /// Records an Event. One that cannot be recorded is only logged, as in a kubelet.
    pub(crate) async fn event(&self, regarding: &ObjectReference, type_: EventType, reason: &str, note: String) {
        let event =
            Event { type_, reason: reason.to_owned(), note: Some(note), action: reason.to_owned(), secondary: None };
        if let Err(error) = self.recorder.publish(&event, regarding).await {
            tracing::warn!(error = %error, reason, "failed to record an Event");
        }
    }
}

/// A pod's address while the pod lives.
pub(crate) struct PodAddress {
    pub(crate) address: Ipv4Addr,
    context: Arc<Context>,
}

impl Drop for PodAddress {
    fn drop(&mut self) {
        self.context.addresses.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.address);
    }
}

/// Keeps a cache up to date, and counts its changes.
pub(crate) async fn follow<K>(api: Api<K>, writer: Writer<K>, context: Arc<Context>) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = reflector::reflector(writer, watcher(api, watcher::Config::default())).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(_) => context.changes.send_modify(|count| *count += 1),
            Err(error) => tracing::warn!(error = %error, kind = %K::kind(&()), "a watch failed and is tried again"),
        }
    }
    anyhow::bail!("the watch of {} ended", K::plural(&()))
}
