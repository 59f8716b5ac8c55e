//! What a new cluster gets before anybody uses it: kwok's CRDs, a StorageClass, and worker nodes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::agent::PROVISIONER;
use crate::network::ports;

/// How long the API server may take to serve a new kind.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(20);
const MANAGER: &str = "stepwright-dev-cluster";

/// Applies kwok's CRDs from `folder` and waits until they are served.
pub(crate) async fn install_kwok_crds(client: &Client, folder: &Path) -> anyhow::Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("failed to read `{}`", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let crd: CustomResourceDefinition =
            serde_yaml_ng::from_str(&text).with_context(|| format!("failed to parse `{}`", path.display()))?;
        apply(&crds, &crd).await?;
        names.push(crd.name_any());
    }
    let deadline = Instant::now() + ESTABLISHED_WITHIN;
    for name in names {
        loop {
            let crd = crds.get(&name).await?;
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
                break;
            }
            if Instant::now() > deadline {
                bail!("CRD `{name}` was not established within {} s", ESTABLISHED_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// The default StorageClass: a folder for each claim, made when the pod is scheduled.
pub(crate) async fn install_storage_class(client: &Client) -> anyhow::Result<()> {
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {
            "name": "folder",
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": true,
    }))?;
    apply(&Api::all(client.clone()), &class).await
}

/// The name of the n-th worker, counted from 1.
pub(crate) fn node_name(number: usize) -> String {
    format!("worker-{number}")
}

/// Creates the worker nodes. The agent makes them ready.
pub(crate) async fn install_nodes(client: &Client, count: usize, host: Ipv4Addr) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let resources = json!({ "cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "512Gi" });
    for number in 1..=count {
        let name = node_name(number);
        let node: Node = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "node-role.kubernetes.io/worker": "",
                    "topology.kubernetes.io/zone": format!("zone-{}", (number - 1) % 3 + 1),
                },
            },
            "spec": { "providerID": format!("stepwright-dev://{name}") },
        }))?;
        apply(&nodes, &node).await?;
        let status = json!({ "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                { "type": "InternalIP", "address": host.to_string() },
                { "type": "Hostname", "address": name },
            ],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": ports::KUBELET } },
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "osImage": "local processes",
                "containerRuntimeVersion": concat!("stepwright-dev-cluster://", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": concat!("stepwright-dev-", env!("CARGO_PKG_VERSION")),
                "kernelVersion": "", "kubeProxyVersion": "", "machineID": name, "systemUUID": name, "bootID": name,
            },
        }});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status)).await?;
    }
    Ok(())
}

/// Waits until pods can be created in `default`: the controllers make its service account.
pub(crate) async fn wait_for_default_account(client: &Client) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let deadline = Instant::now() + ESTABLISHED_WITHIN;
    while accounts.get_opt("default").await?.is_none() || namespaces.get_opt("kube-node-lease").await?.is_none() {
        if Instant::now() > deadline {
            bail!("the controller manager made no service account within {} s", ESTABLISHED_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn apply<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    K::DynamicType: Default,
{
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
        .await
        .with_context(|| format!("failed to apply {} `{name}`", K::kind(&K::DynamicType::default())))?;
    Ok(())
}
