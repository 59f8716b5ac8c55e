//! The provisioner of the default StorageClass: a folder for each claim.
//!
//! It does what an external provisioner does: makes a volume for a claim once the scheduler has chosen a node, grows
//! it, and removes it when its claim is gone. Binding is the controller manager's. The folder is not tied to the node:
//! it stands for a disk on the network, so a pod can move with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::PROVISIONER;
use super::context::Context;

/// What failed is tried again after this time, or with the next change.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut changes = context.changes.subscribe();
    context.wait_for_caches().await;
    loop {
        let mut has_failed = false;
        for claim in context.claims.state() {
            if let Err(error) = provide(&context, &claim).await {
                tracing::warn!(claim = claim.name_any(), error = format!("{error:#}"), "failed to provide a volume");
                has_failed = true;
            }
        }
        for volume in context.volumes.state() {
            if let Err(error) = reclaim(&context, &volume).await {
                tracing::warn!(volume = volume.name_any(), error = format!("{error:#}"), "failed to reclaim a volume");
                has_failed = true;
            }
        }
        tokio::select! {
            changed = changes.changed() => changed?,
            () = tokio::time::sleep(RETRY_AFTER), if has_failed => {}
        }
    }
}

async fn provide(context: &Context, claim: &PersistentVolumeClaim) -> anyhow::Result<()> {
    let annotations = claim.annotations();
    let is_ours = annotations.get("volume.kubernetes.io/storage-provisioner").is_some_and(|name| name == PROVISIONER);
    let (Some(uid), Some(spec)) = (claim.uid(), &claim.spec) else { return Ok(()) };
    if !is_ours || claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let wanted = spec.resources.as_ref().and_then(|all| all.requests.as_ref()).and_then(|all| all.get("storage"));
    let Some(wanted) = wanted.cloned() else { return Ok(()) };
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let namespace = claim.namespace().unwrap_or_default();
    if let Some(volume) = &spec.volume_name {
        let status = claim.status.as_ref();
        let is_bound = status.and_then(|status| status.phase.as_deref()) == Some("Bound");
        let has = status.and_then(|status| status.capacity.as_ref()).and_then(|all| all.get("storage"));
        // The API server takes a larger size only where the StorageClass allows expansion.
        if is_bound && has.is_some_and(|has| *has != wanted) {
            let capacity = json!({ "capacity": { "storage": wanted } });
            volumes.patch(volume, &PatchParams::default(), &Patch::Merge(json!({ "spec": capacity }))).await?;
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
            let patch = Patch::Merge(json!({ "status": capacity }));
            claims.patch_status(&claim.name_any(), &PatchParams::default(), &patch).await?;
        }
        return Ok(());
    }
    let name = format!("pvc-{uid}");
    let is_scheduled = annotations.contains_key("volume.kubernetes.io/selected-node");
    if !is_scheduled || context.volumes.state().iter().any(|volume| volume.name_any() == name) {
        return Ok(());
    }
    let folder = context.folder.join("volumes").join(format!("{}-{uid}", claim.name_any()));
    crate::files::make_folder(&folder)?;
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": PROVISIONER } },
        "spec": {
            "capacity": { "storage": wanted },
            "accessModes": spec.access_modes,
            "volumeMode": spec.volume_mode,
            "storageClassName": spec.storage_class_name,
            "persistentVolumeReclaimPolicy": "Delete",
            "hostPath": { "path": folder, "type": "DirectoryOrCreate" },
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": namespace, "name": claim.name_any(), "uid": uid,
            },
        },
    }))?;
    match volumes.create(&PostParams::default(), &volume).await {
        // The cache may be a moment behind.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        outcome => outcome.map(drop).with_context(|| format!("failed to create PersistentVolume `{name}`")),
    }
}

async fn reclaim(context: &Context, volume: &PersistentVolume) -> anyhow::Result<()> {
    let is_ours = volume.annotations().get("pv.kubernetes.io/provisioned-by").is_some_and(|name| name == PROVISIONER);
    let is_released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let Some(spec) = &volume.spec else { return Ok(()) };
    if !is_ours || !is_released || spec.persistent_volume_reclaim_policy.as_deref() != Some("Delete") {
        return Ok(());
    }
    let folder = spec.host_path.as_ref().map(|host| PathBuf::from(&host.path)).unwrap_or_default();
    // Nothing outside our own folder is ever removed, whatever the object says.
    if folder.parent() == Some(context.folder.join("volumes").as_path()) && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    if volume.metadata.deletion_timestamp.is_none() {
        volumes.delete(&volume.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}
