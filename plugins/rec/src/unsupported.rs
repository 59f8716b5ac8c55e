//! Fields that are set and that this version does not act on. No field is ignored in silence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwright_sdk::{Failure, Observation};

use crate::objects::{ignored_attributes, is_taken_label};
use crate::seen::Seen;
use crate::spec::{Raw, said};
use crate::storage;

/// A field, and why it has no effect.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unsupported {
    field: String,
    reason: String,
}

/// What later steps and the host are told.
#[derive(Serialize)]
pub(crate) struct Note {
    pub(crate) unsupported: Vec<Unsupported>,
}

/// Fields that this step acts on.
const HANDLED: [&str; 30] = [
    "antiAffinityAdditionalTopologyKeys",
    "clusterCredentialSecretName",
    "clusterCredentialSecretType",
    "containerTimezone",
    "createServiceAccount",
    "enforceIPv4",
    "extraEnvVars",
    "extraLabels",
    "hostAliases",
    "license",
    "licenseSecretName",
    "nodeSelector",
    "nodes",
    "persistentSpec",
    "podAnnotations",
    "podAntiAffinity",
    "podTolerations",
    "priorityClassName",
    "pullSecrets",
    "rackAwarenessNodeLabel",
    "redisEnterpriseAdditionalPodSpecAttributes",
    "redisEnterpriseNodeResources",
    "redisEnterprisePodAnnotations",
    "redisEnterpriseTerminationGracePeriodSeconds",
    "redisEnterpriseVolumeMounts",
    "securityContext",
    "serviceAccountName",
    "sideContainersSpec",
    "username",
    "volumes",
];

/// Fields that another step of the pipeline acts on, or reports.
const ELSEWHERE: [&str; 8] = [
    "redisEnterpriseImageSpec",
    "redisEnterpriseServicesRiggerImageSpec",
    "redisEnterpriseServicesRiggerResources",
    "services",
    "servicesRiggerSpec",
    "uiAnnotations",
    "uiServiceType",
    "upgradeSpec",
];

/// Fields with a word of their own; every other one is told `NOT_YET`.
const NOT_YET: &str = "this version does not act on it";
const SPECIAL: [(&str, &str); 4] = [
    ("bootstrapperImageSpec", "there is no bootstrapper container: the operator forms the cluster itself"),
    ("bootstrapperResources", "there is no bootstrapper container: the operator forms the cluster itself"),
    ("serviceBrokerSpec", "the Service Catalog that it was for no longer exists"),
    ("usageMeter", "this product reports no usage to anybody"),
];

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    spec: BTreeMap<String, Raw>,
}

/// Says nothing: the field is as good as absent.
fn says_nothing(text: &str) -> bool {
    matches!(text, "null" | "{}" | "[]" | "\"\"" | "false")
}

pub(crate) fn unsupported(observed: &Observation, seen: &Seen<'_>) -> Result<Vec<Unsupported>, Failure> {
    let whole: Whole = observed.primary()?;
    let mut found = Vec::new();
    let mut tell = |field: String, reason: &str| {
        found.push(Unsupported { field: format!("spec.{field}"), reason: reason.to_owned() });
    };
    for (field, value) in &whole.spec {
        let known = HANDLED.contains(&field.as_str()) || ELSEWHERE.contains(&field.as_str());
        if known || says_nothing(value.get()) {
            continue;
        }
        let special = SPECIAL.iter().find(|(name, _)| name == field);
        tell(field.clone(), special.map_or(NOT_YET, |(_, reason)| reason));
    }
    let spec = &seen.cluster.spec;
    if whole.spec.get("clusterCredentialSecretType").is_some_and(|kind| kind.get() == "\"vault\"") {
        tell("clusterCredentialSecretType".into(), "secrets are kept in Kubernetes by this version");
    }
    if let Some((has, wanted)) = storage::wants_growth(seen) {
        let reason = format!("volumes keep {}: this version does not grow them to {}", has.as_str(), wanted.as_str());
        tell("persistentSpec.volumeSize".into(), &reason);
    }
    if said(spec.rack_awareness_node_label.as_ref()).is_some() {
        tell(
            "rackAwarenessNodeLabel".into(),
            "pods are spread by it, but nodes are not told their rack by this version",
        );
    }
    if spec.pod_anti_affinity.is_some() && !spec.anti_affinity_additional_topology_keys.is_empty() {
        tell("antiAffinityAdditionalTopologyKeys".into(), "podAntiAffinity replaces the terms that it would add to");
    }
    if spec.container_timezone.propagate_host.is_some() {
        tell("containerTimezone.propagateHost".into(), NOT_YET);
    }
    if spec.security_context.read_only_root_filesystem_policy.enabled {
        tell("securityContext.readOnlyRootFilesystemPolicy".into(), NOT_YET);
    }
    if spec.security_context.fips.enabled {
        tell("securityContext.fips".into(), NOT_YET);
    }
    for attribute in ignored_attributes(seen) {
        let field = format!("redisEnterpriseAdditionalPodSpecAttributes.{attribute}");
        tell(field, "the operator sets this attribute itself");
    }
    for label in spec.extra_labels.keys().filter(|label| is_taken_label(label)) {
        tell(format!("extraLabels[{label}]"), "the operator sets this label itself");
    }
    Ok(found)
}
