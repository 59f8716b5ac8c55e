//! Promotion and rollback: the annotation that says so, and the wait until the operator did it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use stepwright_operator::offer::{told, wish};

use crate::remote::Cluster;
use crate::{plain, print};

/// Where Kubernetes keeps the reason of a change.
const CAUSE: &str = "kubernetes.io/change-cause";

/// What is decided of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Promote,
    RollBack,
}

impl Decision {
    fn annotations(self, digest: &str, reason: Option<&str>) -> Value {
        // The later decision holds: a version that is both would stay rolled back.
        let (set, cleared) = match self {
            Self::Promote => (wish::PROMOTED, wish::ROLLED_BACK),
            Self::RollBack => (wish::ROLLED_BACK, wish::PROMOTED),
        };
        // Without a reason the one of an earlier decision goes.
        json!({"metadata": {"annotations": {set: digest, cleared: null, CAUSE: reason}}})
    }

    /// Whether the operator says that it is so. A refusal is an answer too.
    fn done(self, digest: &str, state: &str, of: Option<&str>) -> anyhow::Result<bool> {
        match self {
            Self::Promote if state == "refused" => bail!("the operator refuses it"),
            Self::Promote => Ok(state == "active" && of == Some(digest)),
            // The version before it may be of the same ConfigMap, and then that one is what the state is about.
            Self::RollBack => Ok(state == "rolled-back" || of.is_some_and(|of| of != digest)),
        }
    }
}

pub(super) async fn decide(
    cluster: &Cluster,
    name: &str,
    decision: Decision,
    reason: Option<&str>,
    patience: Option<Duration>,
) -> anyhow::Result<()> {
    let namespace = &cluster.operator_namespace;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let found = maps.get_opt(name).await.with_context(|| format!("failed to read ConfigMap {namespace}/{name}"))?;
    let Some(map) = found else {
        bail!("there is no ConfigMap {namespace}/{name}; `stepwright plugins list` shows the plugins that there are");
    };
    let said = |key: &str| map.annotations().get(key).map(String::as_str);
    let Some(digest) = said(told::DIGEST).map(str::to_owned) else {
        let reason =
            said(told::REASON).unwrap_or("the operator has not looked at it; is its label stepwright.dev/plugin=true?");
        bail!("ConfigMap {namespace}/{name} has no version to decide on: {reason}");
    };
    let short: String = digest.chars().take(12).collect();
    let state = said(told::STATE).unwrap_or_default();
    let state_is_there = match decision {
        Decision::Promote => state == "active",
        Decision::RollBack => state == "rolled-back",
    };
    if state_is_there {
        print(&format!("{name} @{short} is {state} already"));
        return Ok(());
    }
    // Bound to what was read: somebody may put another version there in this moment.
    let mut patch = decision.annotations(&digest, reason);
    if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), json!(map.resource_version()));
    }
    maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 409 => {
            anyhow::anyhow!("ConfigMap {namespace}/{name} was changed meanwhile; look at it and try again")
        }
        kube::Error::Api(status) if status.code == 403 => anyhow::anyhow!(error).context(format!(
            "failed to annotate ConfigMap {namespace}/{name}; that needs the right `patch configmaps` in namespace {namespace}"
        )),
        _ => anyhow::anyhow!(error).context(format!("failed to annotate ConfigMap {namespace}/{name}")),
    })?;
    let verb = if decision == Decision::Promote { "promoted" } else { "rolled back" };
    let Some(patience) = patience else {
        print(&format!("{name} @{short} is to be {verb}"));
        return Ok(());
    };
    match tokio::time::timeout(patience, until_done(maps, name, decision, &digest)).await {
        Ok(state) => {
            print(&format!("{name} @{short} is {verb}: {}", state?));
            Ok(())
        }
        Err(_) => bail!(
            "the operator did not act within {patience:?}; the annotation stands, and holds as soon as it does. Does one lead in \
             namespace {namespace}?"
        ),
    }
}

/// Tells each change of the state while it waits.
async fn until_done(maps: Api<ConfigMap>, name: &str, decision: Decision, digest: &str) -> anyhow::Result<String> {
    let mut watched = std::pin::pin!(watch_object(maps, name));
    let mut last = String::new();
    while let Some(seen) = watched.next().await {
        // An error of the watch is tried again by it.
        let Ok(seen) = seen else { continue };
        let Some(map) = seen else { bail!("ConfigMap {name} was deleted meanwhile") };
        let said = |key: &str| map.annotations().get(key).map(String::as_str);
        let state = said(told::STATE).unwrap_or("unseen");
        let now = format!("{state}: {}", said(told::REASON).unwrap_or_default());
        if decision.done(digest, state, said(told::DIGEST)).with_context(|| now.clone())? {
            return Ok(now);
        }
        if now != last {
            eprintln!("waiting, {}", plain(&now));
            last = now;
        }
    }
    bail!("the watch of ConfigMap {name} ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_takes_the_other_one_back() {
        let promote = Decision::Promote.annotations("d", None);
        let expected = json!({wish::PROMOTED: "d", wish::ROLLED_BACK: null, CAUSE: null});
        assert_eq!(promote, json!({"metadata": {"annotations": expected}}));
        let back = Decision::RollBack.annotations("d", Some("slow"));
        let expected = json!({wish::PROMOTED: null, wish::ROLLED_BACK: "d", CAUSE: "slow"});
        assert_eq!(back, json!({"metadata": {"annotations": expected}}));
    }

    #[test]
    fn it_is_done_when_the_operator_says_so_of_this_version() {
        assert!(Decision::Promote.done("d", "active", Some("d")).unwrap());
        assert!(!Decision::Promote.done("d", "active", Some("other")).unwrap());
        assert!(!Decision::Promote.done("d", "shadow", Some("d")).unwrap());
        assert!(Decision::Promote.done("d", "refused", Some("d")).is_err());
        assert!(Decision::RollBack.done("d", "rolled-back", Some("d")).unwrap());
        assert!(Decision::RollBack.done("d", "active", Some("before")).unwrap());
        assert!(!Decision::RollBack.done("d", "active", Some("d")).unwrap());
    }
}
