//! What people are told of a plugin: annotations on its ConfigMap for the state, Events for the changes. Nothing is written
//! that stands there already.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::warn;

use crate::apply::MANAGER;
use crate::offer::told;
use crate::plugin_maps::LABEL;

/// The most of a message that an annotation or an Event gets.
const MOST: usize = 1_000;

/// The state of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) state: &'static str,
    pub(crate) digest: Option<String>,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) previous: Option<String>,
    pub(crate) rehearsal: Option<String>,
}

impl Telling {
    fn annotations(&self) -> BTreeMap<&'static str, String> {
        let shorten = |text: &str| text.chars().take(MOST).collect::<String>();
        let all = [
            (told::STATE, Some(self.state.to_owned())),
            (told::DIGEST, self.digest.clone()),
            (told::REASON, Some(self.whole_reason())),
            (told::PREVIOUS, self.previous.clone()),
            (told::REHEARSAL, self.rehearsal.as_deref().map(shorten)),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// A reason word, a colon, a message.
    pub(crate) fn whole_reason(&self) -> String {
        format!("{}: {}", self.reason, self.message).chars().take(MOST).collect()
    }

    /// It is a change for whoever looks on: not when only the wording of what is below moved on.
    fn is_news(&self, map: &ConfigMap) -> bool {
        let is = |key: &str| map.annotations().get(key).map(String::as_str);
        let said = is(told::REASON).unwrap_or_default();
        let same_reason = match self.state {
            "refused" => said == self.whole_reason(),
            _ => said.split_once(':').is_some_and(|(word, _)| word == self.reason),
        };
        is(told::STATE) != Some(self.state) || is(told::DIGEST) != self.digest.as_deref() || !same_reason
    }
}

/// Tells about ConfigMaps.
pub(crate) struct Teller {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) recorder: Recorder,
}

impl Teller {
    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Says how the plugin stands. Returns the ConfigMap as it is afterwards, if it was changed.
    pub(crate) async fn tell(&self, map: &ConfigMap, telling: &Telling) -> Option<ConfigMap> {
        let wanted = telling.annotations();
        let stands = told::ALL.iter().all(|key| map.annotations().get(*key) == wanted.get(key));
        if stands {
            return None;
        }
        if telling.is_news(map) {
            let severity = match telling.state {
                "refused" | "rolled-back" => EventType::Warning,
                _ => EventType::Normal,
            };
            self.event(map, severity, &telling.reason, &telling.message).await;
            if let Some(found) = &telling.rehearsal
                && map.annotations().get(told::REHEARSAL) != Some(found)
            {
                self.event(map, EventType::Normal, "PluginRehearsed", found).await;
            }
        }
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": map.name_any(), "uid": map.uid(), "annotations": wanted},
        });
        let parameters = PatchParams::apply(MANAGER).force();
        self.done(self.api().patch(&map.name_any(), &parameters, &Patch::Apply(&body)).await)
    }

    /// Takes off what was told on a ConfigMap that is no plugin any more, if it is there still. `map` is as it was seen last.
    pub(crate) async fn take_back(&self, map: &ConfigMap) {
        let told: BTreeMap<&str, Value> = told::ALL
            .iter()
            .filter(|key| map.annotations().contains_key(**key))
            .map(|key| (*key, Value::Null))
            .collect();
        let is_plugin = |map: &ConfigMap| {
            LABEL.split_once('=').is_some_and(|(key, value)| map.labels().get(key).is_some_and(|it| it == value))
        };
        let is_there = match self.api().get_opt(&map.name_any()).await {
            Ok(found) => found.is_some_and(|it| it.uid() == map.uid() && !is_plugin(&it)),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "what was told of a plugin stays on its ConfigMap");
                false
            }
        };
        if !is_there || told.is_empty() {
            return;
        }
        let body = json!({"metadata": {"uid": map.uid(), "annotations": told}});
        self.done(self.api().patch(&map.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await);
    }

    /// Writes down a decision that has to outlast this process. Not by apply: people take it away again.
    pub(crate) async fn decide(&self, name: &str, annotation: &str, digest: &str) -> Option<ConfigMap> {
        let body: Value = json!({"metadata": {"annotations": {annotation: digest}}});
        self.done(self.api().patch(name, &PatchParams::default(), &Patch::Merge(&body)).await)
    }

    fn done(&self, result: kube::Result<ConfigMap>) -> Option<ConfigMap> {
        match result {
            Ok(map) => Some(map),
            // It was taken away meanwhile; the watch says so.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => None,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the ConfigMap could not be annotated");
                None
            }
        }
    }

    async fn event(&self, map: &ConfigMap, severity: EventType, reason: &str, message: &str) {
        let event = Event {
            type_: severity,
            reason: reason.to_owned(),
            note: Some(message.chars().take(MOST).collect()),
            action: "Load".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &map.object_ref(&())).await {
            warn!(error = &error as &dyn std::error::Error, "an Event could not be published");
        }
    }
}
