//! Plugins from ConfigMaps: those labelled `stepwright.dev/plugin: "true"` in the operator's namespace are taken up, swapped
//! and given back while the operator runs. A refusal is an Event and an annotation; what answered before goes on answering.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use stepwright_core::guest::{Digest, Guest, GuestError};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::apply::MANAGER;
use crate::metrics::Metrics;
use crate::router::Router;
use crate::slots::{Refused, Slots, Source};

/// The label that makes a ConfigMap a plugin.
pub const LABEL: &str = "stepwright.dev/plugin=true";
/// The key of `binaryData` that holds the component.
const COMPONENT: &str = "plugin.wasm";
/// The key of `data` that holds the plugin's settings, JSON.
const SETTINGS: &str = "settings";
const STATE: &str = "stepwright.dev/state";
const DIGEST: &str = "stepwright.dev/digest";
const REASON: &str = "stepwright.dev/reason";

/// Turns a component's bytes into a plugin. Blocks while it compiles.
pub type Loader = Arc<dyn Fn(&[u8]) -> Result<Arc<dyn Guest>, GuestError> + Send + Sync>;

/// Why a ConfigMap was not taken up.
#[derive(Debug, thiserror::Error)]
enum MapError {
    #[error(
        "`binaryData` has no key `{COMPONENT}`; put a component (wasm32-wasip2) there: kubectl create configmap NAME --from-file={COMPONENT}=FILE"
    )]
    NoComponent,
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the plugin could not be loaded: {0}")]
    Host(String),
}

impl MapError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoComponent => "PluginMissing",
            Self::Guest(error) => error.reason(),
            Self::Refused(error) => error.reason(),
            Self::Host(_) => "PluginNotLoaded",
        }
    }
}

pub(crate) struct PluginMaps {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) slots: Arc<Slots>,
    pub(crate) router: Arc<Router>,
    pub(crate) loader: Loader,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leads: watch::Receiver<bool>,
}

impl PluginMaps {
    /// Watches until the process ends.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default().labels(LABEL);
        let mut events = watcher::watcher(api.clone(), config).default_backoff().boxed();
        // Name, to what was last tried: the same bytes and settings are not tried again.
        let mut tried: HashMap<String, String> = HashMap::new();
        let mut listed: Vec<String> = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(map)) => {
                    listed.push(map.name_any());
                    self.came(&api, &map, &mut tried).await;
                }
                Ok(watcher::Event::InitDone) => {
                    let gone: Vec<String> = tried.keys().filter(|name| !listed.contains(name)).cloned().collect();
                    for name in gone {
                        self.went(&name, &mut tried);
                    }
                }
                Ok(watcher::Event::Apply(map)) => self.came(&api, &map, &mut tried).await,
                Ok(watcher::Event::Delete(map)) => self.went(&map.name_any(), &mut tried),
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "watch of plugins interrupted; it is started again"
                    );
                }
            }
        }
        Ok(())
    }

    async fn came(&self, api: &Api<ConfigMap>, map: &ConfigMap, tried: &mut HashMap<String, String>) {
        let name = map.name_any();
        let component = map.binary_data.as_ref().and_then(|data| data.get(COMPONENT)).map(|bytes| bytes.0.clone());
        let settings =
            map.data.as_ref().and_then(|data| data.get(SETTINGS)).cloned().unwrap_or_else(|| "{}".to_owned());
        let digest = component.as_deref().map(Digest::of);
        let attempt = format!("{}/{settings}", digest.as_ref().map_or_else(String::new, Digest::to_string));
        if tried.get(&name) == Some(&attempt) {
            return;
        }
        tried.insert(name.clone(), attempt);
        let source = Source::ConfigMap(format!("{}/{name}", self.namespace));
        let outcome = self.take(&source, component, &settings).await;
        let (state, reason, message) = match &outcome {
            Ok(steps) => {
                let message = format!("answers for step {}", steps.join(", "));
                ("active", "PluginActive", message)
            }
            Err(error) => ("refused", error.reason(), error.to_string()),
        };
        self.metrics.swap(reason);
        match &outcome {
            Ok(steps) => {
                info!(configmap = %name, %message, "plugin taken up");
                self.router.swapped(steps);
            }
            Err(_) => warn!(configmap = %name, reason, %message, "plugin refused; what answered before goes on"),
        }
        if *self.leads.borrow() {
            let severity = if outcome.is_ok() { EventType::Normal } else { EventType::Warning };
            self.say(api, map, severity, state, digest.as_ref(), reason, &message).await;
        }
    }

    async fn take(&self, source: &Source, component: Option<Vec<u8>>, settings: &str) -> Result<Vec<String>, MapError> {
        let component = component.ok_or(MapError::NoComponent)?;
        let loader = self.loader.clone();
        let guest = tokio::task::spawn_blocking(move || loader(&component))
            .await
            .map_err(|error| MapError::Host(error.to_string()))??;
        Ok(self.slots.put(source.clone(), &guest, settings)?)
    }

    fn went(&self, name: &str, tried: &mut HashMap<String, String>) {
        tried.remove(name);
        let steps = self.slots.remove(&Source::ConfigMap(format!("{}/{name}", self.namespace)));
        if !steps.is_empty() {
            info!(configmap = %name, steps = %steps.join(", "), "plugin given back");
            self.metrics.swap("PluginGivenBack");
            self.router.swapped(&steps);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call, each argument a line of what is said")]
    async fn say(
        &self,
        api: &Api<ConfigMap>,
        map: &ConfigMap,
        severity: EventType,
        state: &str,
        digest: Option<&Digest>,
        reason: &str,
        message: &str,
    ) {
        let event = Event {
            type_: severity,
            reason: reason.to_owned(),
            note: Some(message.chars().take(1_000).collect()),
            action: "Load".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &map.object_ref(&())).await {
            warn!(error = &error as &dyn std::error::Error, "an Event could not be published");
        }
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map.name_any(), "annotations": {
                STATE: state, DIGEST: digest.map(Digest::to_string), REASON: format!("{reason}: {message}"),
            }},
        });
        let parameters = PatchParams::apply(MANAGER).force();
        if let Err(error) = api.patch(&map.name_any(), &parameters, &Patch::Apply(&body)).await {
            warn!(error = &error as &dyn std::error::Error, "the ConfigMap could not be annotated");
        }
    }
}
