//! What lies outside of the ConfigMaps of plugins and decides on them: the Secrets of keys and of credentials, and the
//! ServiceAccounts as which plugins act. That something changed is all that is told; who needs it reads it anew.

use std::fmt::Debug;

use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::PluginSettings;

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The Secret of keys.
    Keys,
    /// The Secret of credentials, or a ServiceAccount.
    Other,
}

/// Says each time that one of them changes; what is there at the start is no change. It does without what the operator may
/// not watch.
pub(crate) fn watch(
    client: &Client,
    namespace: &str,
    settings: &PluginSettings,
) -> SelectAll<BoxStream<'static, Remedy>> {
    let mut all = SelectAll::new();
    let secrets = [(&settings.signature_keys, Remedy::Keys), (&settings.registry_credentials, Remedy::Other)];
    for (name, remedy) in secrets {
        if let Some(name) = name {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            all.push(changes(Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), namespace), config, remedy));
        }
    }
    let accounts = Api::<PartialObjectMeta<ServiceAccount>>::namespaced(client.clone(), namespace);
    all.push(changes(accounts, watcher::Config::default(), Remedy::Other));
    all
}

fn changes<K>(api: Api<PartialObjectMeta<K>>, config: watcher::Config, remedy: Remedy) -> BoxStream<'static, Remedy>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut listed = false;
    let events = watcher(api, config).default_backoff();
    let told = events.filter_map(move |event| {
        let is_change = match event {
            // A list after the first stands for whatever happened while there was no watch.
            Ok(watcher::Event::InitDone) => std::mem::replace(&mut listed, true),
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => true,
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => false,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "a watch of {remedy:?} was interrupted");
                false
            }
        };
        future::ready(is_change.then_some(remedy))
    });
    told.boxed()
}
