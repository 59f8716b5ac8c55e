//! What is known of the plugins: from the operator, and from what it wrote on their ConfigMaps.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Deserialize;
use serde_json::{Value, json};
use stepwright_operator::offer::{told, wish};

use crate::remote::Cluster;

const LABELS: &str = "stepwright.dev/plugin=true";

/// One version of a plugin. What the operator says beyond these fields is kept as it came.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Seen {
    pub(super) config_map: Option<String>,
    pub(super) name: String,
    pub(super) steps: Vec<String>,
    pub(super) mode: String,
    pub(super) state: String,
    pub(super) digest: String,
    pub(super) source: String,
    pub(super) reason: Option<String>,
    /// RFC 3339.
    pub(super) since: Option<String>,
    tally: Option<Tally>,
    #[serde(skip)]
    pub(super) all: Value,
}

/// How often it was judged which way.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Tally {
    good: u64,
    agreed: u64,
    differed: u64,
    bad: u64,
}

impl Seen {
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.config_map.as_deref() == Some(name) || self.name == name
    }

    /// Passes that it took part in.
    pub(super) fn passes(&self) -> Option<u64> {
        self.tally.map(|it| it.good + it.agreed + it.differed + it.bad)
    }

    fn from_operator(all: Value) -> Self {
        let seen: Self = serde_json::from_value(all.clone()).unwrap_or_default();
        Self { all, ..seen }
    }

    fn from_map(map: &ConfigMap) -> Self {
        let said = |key: &str| map.annotations().get(key).cloned();
        let created = map.creation_timestamp().map(|it| it.0.to_string());
        let all = json!({
            "configMap": map.name_any(), "annotations": map.annotations(), "created": created,
        });
        Self {
            config_map: Some(map.name_any()),
            mode: said(wish::MODE).unwrap_or_else(|| "active".to_owned()),
            state: said(told::STATE).unwrap_or_else(|| "unseen".to_owned()),
            digest: said(told::DIGEST).unwrap_or_default(),
            source: format!("ConfigMap {}", map.name_any()),
            reason: said(told::REASON),
            since: created,
            all,
            ..Self::default()
        }
    }
}

/// Every plugin, and whether the operator could be asked. Fails only if neither it nor the ConfigMaps can be read.
pub(super) async fn look(cluster: &Cluster) -> anyhow::Result<(Vec<Seen>, anyhow::Result<()>)> {
    let maps = maps(cluster).await;
    let mut all: Vec<Seen> = Vec::new();
    let operator = match cluster.read_all::<Value>("/v1/plugins").await {
        Err(error) => Err(error),
        Ok(views) => {
            all = merged(&views);
            Ok(())
        }
    };
    match (maps, &operator) {
        (Ok(maps), _) => {
            for map in &maps {
                let mut known = false;
                for it in all.iter_mut().filter(|it| it.config_map.as_deref() == Some(&map.name_any())) {
                    known = true;
                    it.since = it.since.take().or_else(|| map.creation_timestamp().map(|it| it.0.to_string()));
                }
                if !known {
                    all.push(Seen::from_map(map));
                }
            }
        }
        // What the operator says is more than what stands on them.
        (Err(_), Ok(())) => {}
        (Err(error), Err(operator)) => {
            return Err(anyhow::anyhow!("{operator:#}").context(error));
        }
    }
    Ok((all, operator))
}

/// What the operator says of steps that another process runs, that one knows better.
fn merged(views: &[(Vec<String>, Value)]) -> Vec<Seen> {
    let delegated: Vec<&String> = views.iter().flat_map(|(steps, _)| steps).collect();
    let mut all: Vec<Seen> = Vec::new();
    for (alone, view) in views {
        let plugins = view.get("plugins").and_then(Value::as_array).into_iter().flatten();
        for it in plugins.cloned().map(Seen::from_operator) {
            let elsewhere = !it.steps.is_empty() && it.steps.iter().all(|step| delegated.contains(&step));
            let same = |other: &Seen| (&other.config_map, &other.digest) == (&it.config_map, &it.digest);
            let known = it.config_map.is_some() && all.iter().any(same);
            if !(known || alone.is_empty() && elsewhere) {
                all.push(it);
            }
        }
    }
    all
}

async fn maps(cluster: &Cluster) -> Result<Vec<ConfigMap>, String> {
    let namespace = &cluster.operator_namespace;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let found = api.list(&ListParams::default().labels(LABELS)).await.map_err(|error| {
        format!("failed to list ConfigMaps; that needs the right `list configmaps` in namespace {namespace}: {error}")
    })?;
    // Further parts are no plugins of their own.
    Ok(found.items.into_iter().filter(|map| !map.annotations().contains_key(wish::PART_OF)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_runs_a_step_is_believed_about_it() {
        let plugin = |map: Option<&str>, digest: &str, steps: &[&str]| json!({"configMap": map, "digest": digest, "steps": steps});
        let main = json!({"plugins": [
            plugin(None, "1", &["rec"]), plugin(None, "2", &["rigger"]), plugin(Some("both"), "3", &["rec", "rigger"]),
        ]});
        let lone = json!({"plugins": [
            plugin(None, "2", &["rigger"]), plugin(Some("mine"), "4", &["rigger"]), plugin(Some("both"), "3", &["rigger"]),
        ]});
        let all = merged(&[(Vec::new(), main.clone()), (vec!["rigger".to_owned()], lone)]);
        let shown: Vec<String> = all.iter().map(|it| format!("{}:{}", it.digest, it.steps.join(","))).collect();
        assert_eq!(shown, ["1:rec", "3:rec,rigger", "2:rigger", "4:rigger"]);
        assert_eq!(merged(&[(Vec::new(), main)]).len(), 3);
    }

    #[test]
    fn what_the_operator_says_is_read_as_far_as_it_is_known_and_kept_whole() {
        let said = json!({
            "configMap": "mine", "name": "rec", "steps": ["rec"], "mode": "shadow", "state": "shadow", "digest": "abc",
            "source": "ConfigMap ns/mine", "tally": {"good": 1, "agreed": 2, "differed": 3, "bad": 4, "inARow": 0},
            "onFailure": "hold",
        });
        let seen = Seen::from_operator(said.clone());
        assert_eq!((seen.passes(), seen.state.as_str(), seen.all == said), (Some(10), "shadow", true));
        assert!(seen.is_called("mine") && seen.is_called("rec") && !seen.is_called("min"));
    }
}
