//! What is known of plugins right now, put up for whoever asks: `GET /v1/plugins` of the local API, and so the CLI.

use std::collections::VecDeque;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use stepwright_core::manifest::Manifest;
use stepwright_core::slot::{Mode, Tally};

use super::history::Swap;
use super::rehearsal::Rehearsal;
use crate::offer::Wishes;
use crate::slots::{Slots, Source};

/// Swaps that are kept.
pub const SWAPS: usize = 100;

/// Everything at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginsView {
    /// In the order of their layers, the uppermost last; then what was refused or waits.
    pub plugins: Vec<PluginView>,
    /// The oldest first.
    pub history: Vec<Swap>,
}

/// One version of one plugin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginView {
    /// The name of the ConfigMap that offers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
    /// From its manifest; empty when it was refused before that could be read.
    pub name: String,
    pub version: String,
    /// The whole digest of the component; empty when it is not known.
    pub digest: String,
    pub source: String,
    /// The steps for which it is in a slot; for a policy, those that it reviews.
    pub steps: Vec<String>,
    /// `active`, `shadow`, `canary`.
    pub mode: String,
    /// `active`, `shadow`, `canary`, `waiting`, `refused`, `rolled-back`; `covered`: another one lies above it.
    pub state: String,
    /// A reason word, a colon, a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The digest that would answer after a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The account as which it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Of a policy.
    #[serde(default)]
    pub priority: i32,
    pub on_failure: String,
    /// How it fared since it was taken up.
    #[serde(default)]
    pub tally: Tally,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
}

/// What was told about the plugin of a ConfigMap.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) config_map: String,
    pub(crate) state: &'static str,
    /// Of the version that the state is about.
    pub(crate) digest: Option<String>,
    pub(crate) reason: String,
    pub(crate) previous: Option<String>,
    pub(crate) rehearsal: Option<Rehearsal>,
    pub(crate) wishes: Wishes,
}

/// Where the state of plugins is put up.
#[derive(Default)]
pub struct Board {
    posted: RwLock<Vec<Posted>>,
    history: RwLock<VecDeque<Swap>>,
}

impl Board {
    /// Replaces what is told of a ConfigMap.
    pub(crate) fn post(&self, posted: Posted) {
        let mut all = self.posted.write();
        all.retain(|it| it.config_map != posted.config_map);
        all.push(posted);
        all.sort_by(|a, b| a.config_map.cmp(&b.config_map));
    }

    pub(crate) fn take_down(&self, config_map: &str) {
        self.posted.write().retain(|it| it.config_map != config_map);
    }

    /// Adds a swap; the oldest makes room.
    pub(crate) fn add(&self, swap: Swap) {
        let mut history = self.history.write();
        history.push_back(swap);
        while history.len() > SWAPS {
            history.pop_front();
        }
    }

    /// Puts swaps of an earlier process before those of this one.
    pub(crate) fn recall(&self, mut earlier: Vec<Swap>) {
        let mut history = self.history.write();
        earlier.extend(history.drain(..));
        let spare = earlier.len().saturating_sub(SWAPS);
        *history = earlier.into_iter().skip(spare).collect();
    }

    pub(crate) fn history(&self) -> Vec<Swap> {
        self.history.read().iter().cloned().collect()
    }

    /// Everything, as it is now.
    pub fn view(&self, slots: &Slots) -> PluginsView {
        let mut plugins: Vec<PluginView> = Vec::new();
        for (step, version) in slots.versions() {
            let plugin = version.plugin();
            let config_map = map_name(&version.source);
            let known = plugins.iter_mut().find(|it| it.digest == plugin.digest && it.source == plugin.source);
            if let Some(known) = known {
                known.steps.push(step);
                continue;
            }
            let is_asked = version.mode != Mode::Active
                || slots.active(&step).is_some_and(|it| std::sync::Arc::ptr_eq(&it, &version));
            plugins.push(PluginView {
                config_map,
                name: plugin.name,
                version: plugin.version,
                digest: plugin.digest,
                source: plugin.source,
                steps: vec![step],
                mode: version.mode.as_str().to_owned(),
                state: if is_asked { version.mode.as_str() } else { "covered" }.to_owned(),
                service_account: version.identity.as_ref().map(|it| format!("{}/{}", it.namespace, it.name)),
                on_failure: version.on_failure.as_str().to_owned(),
                tally: version.tally(),
                manifest: Some(version.guest.manifest().clone()),
                ..PluginView::default()
            });
        }
        for policy in slots.chain() {
            let plugin = policy.plugin();
            plugins.push(PluginView {
                config_map: map_name(&policy.source),
                name: plugin.name,
                version: plugin.version,
                digest: plugin.digest,
                source: plugin.source,
                steps: policy.policy.reviews.clone(),
                mode: policy.mode.as_str().to_owned(),
                state: policy.mode.as_str().to_owned(),
                priority: policy.priority,
                on_failure: policy.on_failure.as_str().to_owned(),
                tally: policy.tally(),
                manifest: Some(policy.guest.manifest().clone()),
                ..PluginView::default()
            });
        }
        for posted in self.posted.read().iter() {
            let of_it = |it: &&mut PluginView| {
                it.config_map.as_deref() == Some(&posted.config_map) && posted.digest.as_deref() == Some(&it.digest)
            };
            let said = |view: &mut PluginView| {
                view.reason = Some(posted.reason.clone());
                view.previous.clone_from(&posted.previous);
                view.rehearsal.clone_from(&posted.rehearsal);
            };
            match plugins.iter_mut().find(of_it) {
                Some(view) => said(view),
                None => {
                    let mut view = PluginView {
                        config_map: Some(posted.config_map.clone()),
                        digest: posted.digest.clone().unwrap_or_default(),
                        source: format!("ConfigMap {}", posted.config_map),
                        mode: posted.wishes.mode.as_str().to_owned(),
                        state: posted.state.to_owned(),
                        service_account: posted.wishes.service_account.clone(),
                        priority: posted.wishes.priority,
                        on_failure: posted.wishes.on_failure.as_str().to_owned(),
                        ..PluginView::default()
                    };
                    said(&mut view);
                    plugins.push(view);
                }
            }
        }
        PluginsView { plugins, history: self.history() }
    }
}

fn map_name(source: &Source) -> Option<String> {
    source.config_map()?.rsplit('/').next().map(str::to_owned)
}
