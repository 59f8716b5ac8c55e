//! Fields that are set and that this version does not act on. No field is ignored in silence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwright_sdk::{Failure, Observation};

use crate::objects::{ignored_attributes, is_taken_label, rigger};
use crate::racks;
use crate::seen::Seen;
use crate::spec::Raw;

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

/// Fields without any effect in this version, each with the reason. A field below another is found with or without it.
const UNSUPPORTED: [(&str, &str); 21] = [
    ("accessControl", "rolesPermissions of databases are always honoured"),
    ("bootstrapperImageSpec", BOOTSTRAPPER),
    ("bootstrapperResources", BOOTSTRAPPER),
    ("clusterCredentialSecretRole", VAULT),
    ("dmcExternalCBAAuthentication", "the server's API has no documented setting for it"),
    (
        "ossClusterSettings.podCIDRs",
        "the server's API has no documented setting for it: each database tells its clients one kind of address",
    ),
    ("podStartingPolicy", "a pod that does not start is told in the status; none is deleted for it"),
    ("redisEnterpriseServicesConfiguration.pdnsServer", "current versions of Redis Enterprise ignore it"),
    ("redisEnterpriseServicesConfiguration.saslauthd", "current versions of Redis Enterprise have no such service"),
    ("redisEnterpriseServicesRiggerImageSpec.digestHash", RIGGER),
    ("redisEnterpriseServicesRiggerImageSpec.imagePullPolicy", RIGGER),
    ("redisEnterpriseServicesRiggerImageSpec.repository", RIGGER),
    ("redisEnterpriseServicesRiggerImageSpec.versionTag", RIGGER),
    ("redisEnterpriseServicesRiggerResources", RIGGER),
    ("servicesRiggerSpec.extraEnvVars", RIGGER),
    ("servicesRiggerSpec.podAnnotations", RIGGER),
    ("servicesRiggerSpec.servicesRiggerAdditionalPodSpecAttributes", RIGGER),
    (
        "sso.saml.spMetadataSecretName",
        "this version does not write it; download the XML from /v1/cluster/sso/saml/metadata/sp",
    ),
    ("usageMeter", USAGE),
    ("usageReportFields", USAGE),
    ("vaultCASecret", VAULT),
];
const BOOTSTRAPPER: &str = "there is no bootstrapper container: the operator forms the cluster itself";
const NOT_YET: &str = "this version does not act on it";
const RIGGER: &str = "the services rigger runs inside the operator here, not as a pod of its own";
const USAGE: &str = "this product reports no usage to anybody";
const VAULT: &str = "secrets are kept in Kubernetes by this version";

/// Fields that some step acts on. One that is in neither list is new to this version.
const HANDLED: [&str; 60] = [
    "activeActive",
    "allowScaleDown",
    "antiAffinityAdditionalTopologyKeys",
    "auditing",
    "autoRecovery",
    "backup",
    "certificates",
    "clusterCredentialSecretName",
    "clusterCredentialSecretType",
    "clusterRecovery",
    "containerTimezone",
    "createServiceAccount",
    "dataInternodeEncryption",
    "encryptPkeys",
    "enforceIPv4",
    "extraEnvVars",
    "extraLabels",
    "hostAliases",
    "ingressOrRouteSpec",
    "ldap",
    "license",
    "licenseSecretName",
    "metricsConfig",
    "nodeSelector",
    "nodes",
    "ocspConfiguration",
    "ossClusterSettings",
    "persistentSpec",
    "podAnnotations",
    "podAntiAffinity",
    "podTolerations",
    "priorityClassName",
    "pullSecrets",
    "rackAwarenessNodeLabel",
    "redisEnterpriseAdditionalPodSpecAttributes",
    "redisEnterpriseIPFamily",
    "redisEnterpriseImageSpec",
    "redisEnterpriseNodeResources",
    "redisEnterprisePodAnnotations",
    "redisEnterpriseServicesConfiguration",
    "redisEnterpriseServicesRiggerImageSpec",
    "redisEnterpriseTerminationGracePeriodSeconds",
    "redisEnterpriseVolumeMounts",
    "redisOnFlashSpec",
    "redisUpgradePolicy",
    "resp3Default",
    "securityContext",
    "serviceAccountName",
    "serviceBrokerSpec",
    "services",
    "servicesRiggerSpec",
    "sideContainersSpec",
    "slaveHA",
    "sso",
    "uiAnnotations",
    "uiServiceType",
    "upgradeSpec",
    "userDefinedModules",
    "username",
    "volumes",
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

fn says_something_below(value: &Raw, path: &str) -> bool {
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, Raw>>(value.get()) else { return false };
    let (field, rest) = path.split_once('.').map_or((path, None), |(field, rest)| (field, Some(rest)));
    let Some(value) = fields.get(field).filter(|value| !says_nothing(value.get())) else { return false };
    rest.is_none_or(|rest| says_something_below(value, rest))
}

pub(crate) fn unsupported(observed: &Observation, seen: &Seen<'_>) -> Result<Vec<Unsupported>, Failure> {
    let whole: Whole = observed.primary()?;
    let mut found = Vec::new();
    let mut tell = |field: String, reason: &str| {
        found.push(Unsupported { field: format!("spec.{field}"), reason: reason.to_owned() });
    };
    for (path, reason) in UNSUPPORTED {
        let (field, rest) = path.split_once('.').map_or((path, None), |(field, rest)| (field, Some(rest)));
        let Some(value) = whole.spec.get(field) else { continue };
        if reason == RIGGER && rigger::delegated(seen).is_some() {
            continue;
        }
        if !says_nothing(value.get()) && rest.is_none_or(|rest| says_something_below(value, rest)) {
            tell(path.to_owned(), reason);
        }
    }
    for (field, value) in &whole.spec {
        let known = HANDLED.contains(&field.as_str()) || UNSUPPORTED.iter().any(|(path, _)| path == field);
        if !known && !says_nothing(value.get()) {
            tell(field.clone(), NOT_YET);
        }
    }
    let spec = &seen.cluster.spec;
    if whole.spec.get("clusterCredentialSecretType").is_some_and(|kind| kind.get() == "\"vault\"") {
        tell("clusterCredentialSecretType".into(), "secrets are kept in Kubernetes by this version");
    }
    if let Some(why) = racks::problem(seen) {
        tell("rackAwarenessNodeLabel".into(), &why);
    }
    if spec.pod_anti_affinity.is_some() && !spec.anti_affinity_additional_topology_keys.is_empty() {
        tell("antiAffinityAdditionalTopologyKeys".into(), "podAntiAffinity replaces the terms that it would add to");
    }
    for attribute in ignored_attributes(seen) {
        let field = format!("redisEnterpriseAdditionalPodSpecAttributes.{attribute}");
        tell(field, "the operator sets this attribute itself");
    }
    for attribute in rigger::ignored_attributes(seen).filter(|_| rigger::delegated(seen).is_some()) {
        let field = format!("servicesRiggerSpec.servicesRiggerAdditionalPodSpecAttributes.{attribute}");
        tell(field, "the operator sets this attribute itself");
    }
    for label in spec.extra_labels.keys().filter(|label| is_taken_label(label)) {
        tell(format!("extraLabels[{label}]"), "the operator sets this label itself");
    }
    Ok(found)
}
