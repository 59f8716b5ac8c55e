//! Volumes: how large they are to be, what may not change about them, and how far they have come.

use stepwright_sdk::Violation;

use crate::objects::STORAGE;
use crate::quantity::Quantity;
use crate::seen::{ClaimTemplate, Seen};

/// Volume size where none is given: so many times the memory of a node (reference, 1.3).
const MEMORY_MULTIPLE: i128 = 5;

/// The claim template of the running StatefulSet. Templates are immutable, so it is what the cluster has.
fn running<'a>(seen: &'a Seen<'_>) -> Option<&'a ClaimTemplate> {
    seen.statefulset.as_ref().and_then(|set| set.spec.volume_claim_templates.first())
}

fn running_size<'a>(seen: &'a Seen<'_>) -> Option<&'a Quantity> {
    running(seen).and_then(|template| template.spec.resources.requests.storage.as_ref())
}

/// The size of each volume. What runs keeps the size that it has.
pub(crate) fn size(seen: &Seen<'_>) -> Quantity {
    if let Some(size) = running_size(seen) {
        return size.clone();
    }
    let spec = &seen.cluster.spec;
    let memory = || spec.resources().0.get("memory").and_then(|memory| memory.times(MEMORY_MULTIPLE));
    spec.persistent_spec.volume_size.clone().or_else(memory).unwrap_or_else(|| Quantity::new("20Gi"))
}

/// The volumes are wanted larger than they are, and that is not done by this version.
pub(crate) fn wants_growth<'a>(seen: &'a Seen<'_>) -> Option<(&'a Quantity, &'a Quantity)> {
    let wanted = seen.cluster.spec.persistent_spec.volume_size.as_ref()?;
    let has = running_size(seen)?;
    (wanted.nano()? > has.nano()?).then_some((has, wanted))
}

/// What may not change once the cluster has its StatefulSet (reference, 3.2).
pub(crate) fn violations(seen: &Seen<'_>) -> Vec<Violation> {
    let wanted = &seen.cluster.spec.persistent_spec;
    let mut violations = Vec::new();
    if wanted.enable_persistent_volume_resize && seen.cluster.spec.redis_on_flash_spec.is_some() {
        violations.push(Violation::new(
            "spec.persistentSpec.enablePersistentVolumeResize",
            "cannot be combined with redisOnFlashSpec; remove one of the two",
        ));
    }
    if let Some(size) = wanted.volume_size.as_ref().filter(|size| size.nano().is_none_or(|nano| nano <= 0)) {
        violations.push(Violation::new(
            "spec.persistentSpec.volumeSize",
            format!("`{}` is not a size; write for example 20Gi", size.as_str()),
        ));
    }
    if seen.statefulset.is_none() {
        return violations;
    }
    let persistent = seen.cluster.spec.persistent();
    let Some(template) = running(seen) else {
        if persistent {
            violations.push(Violation::new(
                "spec.persistentSpec.enabled",
                "cannot be switched on: the cluster was made without volumes; set it back to false",
            ));
        }
        return violations;
    };
    if !persistent {
        violations.push(Violation::new(
            "spec.persistentSpec.enabled",
            "cannot be switched off: the cluster keeps its data in volumes; set it back to true",
        ));
    }
    let (class, has) = (&wanted.storage_class_name, &template.spec.storage_class_name);
    if class != has {
        violations.push(Violation::new(
            "spec.persistentSpec.storageClassName",
            format!(
                "cannot be changed: the volumes have {}; set it back",
                has.as_ref().map_or_else(|| "the default class".to_owned(), |name| format!("`{name}`")),
            ),
        ));
    }
    if let (Some(wanted_size), Some(has)) = (&wanted.volume_size, &template.spec.resources.requests.storage) {
        let remedy = if wanted_size.nano() < has.nano() {
            Some(format!("cannot shrink: the volumes have {}; set it back", has.as_str()))
        } else if wanted_size.nano() > has.nano() && !wanted.enable_persistent_volume_resize {
            Some(format!(
                "is larger than the volumes, which have {}; set enablePersistentVolumeResize: true, or set it back",
                has.as_str()
            ))
        } else {
            None
        };
        violations.extend(remedy.map(|remedy| Violation::new("spec.persistentSpec.volumeSize", remedy)));
    }
    violations
}

/// How many of the wanted volumes are there.
pub(crate) fn bound(seen: &Seen<'_>) -> u32 {
    let mut bound = 0;
    for ordinal in 0..seen.cluster.spec.nodes() {
        let name = format!("{STORAGE}-{}", seen.pod_name(ordinal));
        bound += u32::from(seen.claims.iter().any(|claim| claim.id.name == name && claim.status.phase == "Bound"));
    }
    bound
}
