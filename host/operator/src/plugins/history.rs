//! The last swaps, in a ConfigMap of the operator's namespace, so that they outlast the process. A line of JSON each.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::board::Board;
use crate::apply::MANAGER;
use crate::delegation::manager;

/// The name of the ConfigMap.
pub const NAME: &str = "stepwright-history";
/// The key of its data where the main process writes.
pub const KEY: &str = "swaps.jsonl";
/// Swaps that come together are written together.
const GATHER: Duration = Duration::from_millis(500);

/// One change of who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swap {
    /// RFC 3339, UTC, with milliseconds.
    pub time: String,
    pub steps: Vec<String>,
    /// The ConfigMap's name.
    pub config_map: String,
    /// The plugin's name; empty when it could not be read.
    pub plugin: String,
    /// What the ConfigMap gave before, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it gives now, or would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub source: String,
    /// `activated`, `shadowed`, `canaried`, `promoted`, `rolled back`, `refused`, `removed`.
    pub what: String,
    pub reason: String,
}

/// Writes the board's history whenever told to, as long as this process leads.
pub(crate) async fn keep(
    client: Client,
    namespace: String,
    board: Arc<Board>,
    mut leads: watch::Receiver<bool>,
    mut told: mpsc::Receiver<()>,
    lone: Option<String>,
) {
    // A process that runs some steps alone has a key and a field manager of its own.
    let (key, manager) = match lone {
        Some(steps) => (format!("swaps.{steps}.jsonl"), manager(&steps)),
        None => (KEY.to_owned(), MANAGER.to_owned()),
    };
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    if leads.wait_for(|leads| *leads).await.is_err() {
        return;
    }
    match api.get_opt(NAME).await {
        Ok(found) => board.recall(found.map(|map| read(&map, &key)).unwrap_or_default()),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "the history of swaps could not be read; it begins anew");
        }
    }
    while told.recv().await.is_some() {
        tokio::time::sleep(GATHER).await;
        while told.try_recv().is_ok() {}
        if !*leads.borrow() {
            continue;
        }
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME},
            "data": {&key: text(&board.history())},
        });
        if let Err(error) = api.patch(NAME, &PatchParams::apply(&manager).force(), &Patch::Apply(&body)).await {
            warn!(error = &error as &dyn std::error::Error, "the history of swaps could not be written");
        }
    }
}

fn text(history: &[Swap]) -> String {
    history.iter().filter_map(|swap| serde_json::to_string(swap).ok()).map(|line| line + "\n").collect()
}

/// What the ConfigMap holds under a key. A line that cannot be read is left out.
pub fn read(map: &ConfigMap, key: &str) -> Vec<Swap> {
    let text = map.data.as_ref().and_then(|data| data.get(key));
    text.into_iter().flat_map(|text| text.lines()).filter_map(|line| serde_json::from_str(line).ok()).collect()
}
