//! Decides at the start which steps this process runs, and what it tells steps of itself, so that those can have processes made
//! that run the rest.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use stepwright_core::delegation::{Part, lease_name};
use stepwright_core::pipeline::Pipeline;
use stepwright_operator::delegation::{Delegation, Host, Lone};
use tracing::{info, warn};

use crate::{plugins, rbac};

/// What this process is, as far as it bears on the ones that it may leave steps to.
pub(crate) struct Own<'a> {
    pub(crate) namespace: &'a str,
    /// The name of its pod, inside of a cluster.
    pub(crate) identity: &'a str,
    /// The main process' Lease; empty: none.
    pub(crate) lease: &'a str,
    /// Options that others are to be given as well.
    pub(crate) handed_on: Vec<String>,
    /// Secrets that the host itself reads.
    pub(crate) secrets: Vec<&'a str>,
    /// Pods are reached through the API server.
    pub(crate) port_forward: bool,
    /// Another pod of the namespace would see and do the same: this one watches that and nothing else, and was given no files.
    pub(crate) is_alike: bool,
}

/// Which steps are this process' to run.
pub(crate) async fn decide(
    client: &Client,
    pipelines: &[Pipeline],
    steps: &[String],
    delegated: &[String],
    own: Own<'_>,
) -> anyhow::Result<Delegation> {
    let named = |steps: &[String]| steps.iter().filter(|it| !it.is_empty()).cloned().collect::<BTreeSet<_>>();
    let all: Vec<String> = pipelines.iter().flat_map(|it| it.steps.clone()).collect();
    let (steps, delegated) = (named(steps), named(delegated));
    let part = match (steps.is_empty(), delegated.is_empty()) {
        (true, true) => Part::Whole,
        (false, _) => Part::Only(steps),
        (true, false) => Part::Without(delegated),
    };
    part.check(&all).context("failed to read --steps or --delegated-steps")?;
    let lease = Some(own.lease.to_owned()).filter(|name| !name.is_empty());
    let mut delegation = Delegation { part, steps: all, lease, host: Host::default() };
    let Some(delegated) = delegation.part.delegated().cloned() else { return Ok(delegation) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), own.namespace);
    let pod = pods.get_opt(own.identity).await.with_context(|| {
        format!("failed to read pod {}/{}, whose image delegated steps are to run from", own.namespace, own.identity)
    })?;
    let Some(pod) = pod.filter(|_| own.is_alike) else {
        warn!(
            steps = %joined(&delegated),
            "these steps are run here: they are delegated only by an operator that runs in a pod, named by POD_NAME, watches \
             its own namespace alone, and has no --plugin-dir, --settings or --pipelines"
        );
        delegation.part = Part::Whole;
        return Ok(delegation);
    };
    delegation.host = told(&pod).with_context(|| format!("pod {} has no container", own.identity))?;
    let manifests = plugins::manifests()?;
    for step in &delegated {
        let alone = BTreeSet::from([step.clone()]);
        let mut arguments = vec!["run".to_owned(), format!("--steps={step}")];
        arguments.extend(own.handed_on.iter().cloned());
        let rules =
            rbac::lone(&manifests, pipelines, &alone, &lease_name(own.lease, &alone), &own.secrets, own.port_forward);
        delegation.host.delegated.insert(step.clone(), Lone { arguments, rules });
    }
    info!(steps = %joined(&delegated), image = delegation.host.image, "these steps are left to processes of their own");
    Ok(delegation)
}

/// The Lease to compete for.
pub(crate) fn lease(delegation: &Delegation, main: &str) -> String {
    match delegation.part.alone() {
        Some(steps) if !main.is_empty() => lease_name(main, steps),
        _ => main.to_owned(),
    }
}

fn joined(steps: &BTreeSet<String>) -> String {
    steps.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// What a pod says of the program that runs in its first container.
fn told(pod: &Pod) -> anyhow::Result<Host> {
    let spec = pod.spec.as_ref();
    let Some(container) = spec.and_then(|it| it.containers.first()) else { bail!("the pod is empty") };
    let secrets = spec.and_then(|it| it.image_pull_secrets.as_ref()).into_iter().flatten();
    Ok(Host {
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        image_pull_secrets: secrets.map(|it| it.name.clone()).collect(),
        ..Host::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_container_is_the_program() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "operator", "image": "r/o:1", "imagePullPolicy": "Always"}, {"name": "mesh", "image": "m"}],
        }}))
        .unwrap();
        let host = told(&pod).unwrap();
        let said =
            json!({"image": "r/o:1", "imagePullPolicy": "Always", "imagePullSecrets": ["pull"], "delegated": {}});
        assert_eq!(serde_json::to_value(host).unwrap(), said);
        assert!(told(&Pod::default()).is_err());
    }

    #[test]
    fn each_process_has_a_lease_of_its_own() {
        let with = |part| Delegation { part, ..Delegation::default() };
        assert_eq!(lease(&with(Part::Whole), "stepwright"), "stepwright");
        let alone = with(Part::Only(["services-rigger".to_owned()].into()));
        assert_eq!(lease(&alone, "stepwright"), "stepwright-services-rigger");
        assert_eq!(lease(&alone, ""), "");
    }
}
