//! Volumes: how large they are to be, what may not change about them, and how far they have come.
//!
//! A StatefulSet's claim templates cannot be changed, so the size in the template stays what it was at the beginning. The
//! claims themselves are amended to the wanted size, those of later pods too; no pod restarts for it.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::{Event, Observed, Plan, Violation};

use crate::objects::STORAGE;
use crate::quantity::Quantity;
use crate::seen::{Claim, ClaimTemplate, Seen};

/// Volume size where none is given: so many times the memory of a node (reference, 1.3).
const MEMORY_MULTIPLE: i128 = 5;
/// Conditions of a claim that end a resize without success.
const FAILED: [&str; 2] = ["ControllerResizeError", "NodeResizeError"];

#[derive(Serialize)]
struct Amended<'a> {
    spec: AmendedSpec<'a>,
}

#[derive(Serialize)]
struct AmendedSpec<'a> {
    resources: AmendedResources<'a>,
}

#[derive(Serialize)]
struct AmendedResources<'a> {
    requests: BTreeMap<&'static str, &'a Quantity>,
}

/// How far the volumes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// As in `status.persistenceStatus.status`.
    pub(crate) word: &'static str,
    pub(crate) ready: u32,
    /// Why a volume could not grow.
    pub(crate) failure: Option<String>,
}

/// The claim template of the running StatefulSet. Templates are immutable, so it is what the cluster began with.
fn running<'a>(seen: &'a Seen<'_>) -> Option<&'a ClaimTemplate> {
    let named = |template: &&ClaimTemplate| ["", STORAGE].contains(&template.metadata.name.as_str());
    seen.statefulset.as_ref().and_then(|set| set.spec.volume_claim_templates.iter().find(named))
}

fn running_size<'a>(seen: &'a Seen<'_>) -> Option<&'a Quantity> {
    running(seen).and_then(|template| template.spec.resources.requests.storage.as_ref())
}

/// The claims of the wanted pods.
fn claims<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a Observed<Claim>> {
    (0..seen.cluster.spec.nodes()).filter_map(|ordinal| {
        let name = format!("{STORAGE}-{}", seen.pod_name(ordinal));
        seen.claims.iter().find(|claim| claim.id.name == name)
    })
}

/// The largest size that a volume was ever asked to have; it cannot become smaller.
fn largest<'a>(seen: &'a Seen<'_>) -> Option<&'a Quantity> {
    let asked = claims(seen).filter_map(|claim| claim.spec.resources.requests.storage.as_ref());
    running_size(seen).into_iter().chain(asked).max_by_key(|size| size.nano())
}

/// The size in the claim template. What runs keeps the size that it has.
pub(crate) fn size(seen: &Seen<'_>) -> Quantity {
    if let Some(size) = running_size(seen) {
        return size.clone();
    }
    let spec = &seen.cluster.spec;
    let memory = || spec.resources().0.get("memory").and_then(|memory| memory.times(MEMORY_MULTIPLE));
    spec.persistent_spec.volume_size.clone().or_else(memory).unwrap_or_else(|| Quantity::new("20Gi"))
}

/// The size of each flash volume: as much as memory where none is given (reference, 1.3).
pub(crate) fn flash_size(seen: &Seen<'_>) -> Quantity {
    let spec = &seen.cluster.spec;
    let memory = || spec.resources().0.get("memory").cloned();
    spec.redis_on_flash_spec.flash_disk_size.clone().or_else(memory).unwrap_or_else(|| Quantity::new("4Gi"))
}

/// The size that a claim is to have, where that is more than the template's: what the spec says, and never less than what
/// the claim was asked to have before.
fn grown<'a>(seen: &'a Seen<'_>, claim: &'a Claim) -> Option<&'a Quantity> {
    let wanted = seen.cluster.spec.persistent_spec.volume_size.as_ref();
    let asked = claim.spec.resources.requests.storage.as_ref();
    let size = wanted.into_iter().chain(asked).max_by_key(|size| size.nano())?;
    (size.nano()? > running_size(seen)?.nano()?).then_some(size)
}

/// Asks for larger volumes. The size of a claim is the StatefulSet controller's to write, from whom it is taken.
pub(crate) fn grow(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    for claim in claims(seen) {
        let Some(size) = grown(seen, claim) else { continue };
        let resources = AmendedResources { requests: BTreeMap::from([("storage", size)]) };
        let body = Amended { spec: AmendedSpec { resources } };
        plan = plan.amend("v1", "PersistentVolumeClaim", claim.id.name.clone(), &body);
    }
    plan
}

pub(crate) fn progress(seen: &Seen<'_>) -> Progress {
    let large = |claim: &Claim| {
        let has = claim.status.capacity.storage.as_ref().and_then(Quantity::nano);
        grown(seen, claim).is_none_or(|wanted| has >= wanted.nano())
    };
    let bound = || claims(seen).filter(|claim| claim.status.phase == "Bound");
    let ready = bound().filter(|claim| large(claim)).count();
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    let resizing = bound().any(|claim| !large(claim));
    let failure = if resizing { failure(seen) } else { None };
    let word = match (&failure, resizing) {
        (Some(_), _) => "ResizeFailed",
        (None, true) => "Resizing",
        _ if ready == seen.cluster.spec.nodes() => "Provisioned",
        _ => "Provisioning",
    };
    Progress { word, ready, failure }
}

/// Why a volume cannot grow: the claim says so, or the API server refused the larger size.
fn failure(seen: &Seen<'_>) -> Option<String> {
    let told = claims(seen).find_map(|claim| {
        let failed = |condition: &&crate::seen::ClaimCondition| {
            FAILED.contains(&condition.type_.as_str()) && condition.status == "True"
        };
        let condition = claim.status.conditions.iter().find(failed)?;
        Some(format!("{}: {}", claim.id.name, condition.message))
    });
    told.or_else(|| {
        let refused = seen.observed.refused();
        let refused = refused.into_iter().find(|it| it.kind == "PersistentVolumeClaim")?;
        Some(format!("{}: {}", refused.name, refused.message))
    })
}

/// Tells when a resize begins, ends or fails.
pub(crate) fn events(plan: Plan, seen: &Seen<'_>, progress: &Progress) -> Plan {
    let before = seen.cluster.status.persistence_status.status.as_str();
    if before == progress.word {
        return plan;
    }
    let size = claims(seen).find_map(|claim| grown(seen, claim)).map(Quantity::as_str).unwrap_or_default();
    match (before, progress.word) {
        (_, "Resizing") => plan.event(Event::normal("PVCResizing", format!("volumes grow to {size}; no pod restarts"))),
        (_, "ResizeFailed") => {
            let why = progress.failure.clone().unwrap_or_default();
            let text = format!(
                "a volume cannot grow: {why}. Its storage class must allow expansion while in use (allowVolumeExpansion: true)"
            );
            plan.event(Event::warning("PVCResizeFailed", text))
        }
        ("Resizing" | "ResizeFailed", "Provisioned") => {
            plan.event(Event::normal("PVCResized", format!("all volumes have {size}")))
        }
        _ => plan,
    }
}

/// What may not change once the cluster has its StatefulSet (reference, 3.2).
pub(crate) fn violations(seen: &Seen<'_>) -> Vec<Violation> {
    let wanted = &seen.cluster.spec.persistent_spec;
    let mut violations = Vec::new();
    if wanted.enable_persistent_volume_resize && seen.cluster.spec.redis_on_flash_spec.enabled {
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
    if let (Some(wanted_size), Some(has)) = (&wanted.volume_size, largest(seen)) {
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
