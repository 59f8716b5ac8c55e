//! The Deployment that runs the step `services-rigger` alone (reference, 2.4), and the account that it has. Only where the host
//! leaves that step to a process of its own: how it is started, and what it must be allowed, is the host's to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwright_sdk::Plan;

use super::{Bare, Metadata, Single, Template, WithSpec, account, labels, metadata, pull_secrets};
use crate::facts::Lone;
use crate::passthrough::{canonical, canonical_all};
use crate::quantity::Quantity;
use crate::seen::Seen;
use crate::spec::{Image, Raw, said};

/// The step, the container, and the label `name` of the pod.
pub(crate) const STEP: &str = "services-rigger";
/// Of the pod's container, where the spec says nothing (reference, 1.3).
const RESOURCES: [(&str, &str); 2] = [("cpu", "500m"), ("memory", "512Mi")];
/// On the pod: the uid of the account that its token is of.
const ACCOUNT: &str = "redis.io/service-account-uid";
/// Variables that the container has in any case.
const VARIABLES: [(&str, &str); 3] =
    [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("WATCH_NAMESPACE", "metadata.namespace")];
/// Attributes of a pod that are the operator's own, and so ignored in the escape hatch (reference, 1.3). Tolerations are joined.
const OWNED: [&str; 7] = [
    "containers",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
];
const TOLERATIONS: &str = "tolerations";

#[derive(Serialize)]
struct Role<'a> {
    metadata: Metadata<'a>,
    rules: Vec<Value>,
}

/// The name of all its objects.
fn name(seen: &Seen<'_>) -> String {
    format!("{}-{STEP}", seen.name())
}

/// How the host would have it run, if it leaves it to a process of its own and there is an image to run.
pub(crate) fn delegated<'a>(seen: &'a Seen<'_>) -> Option<(&'a str, &'a Lone)> {
    let host = seen.host.known()?;
    Some((said(host.image.as_ref())?, host.delegated.get(STEP)?))
}

pub(super) fn desire(plan: Plan, seen: &Seen<'_>) -> Plan {
    let Some((image, lone)) = delegated(seen) else { return plan };
    let name = name(seen);
    let mut rules: Vec<Value> = lone.rules.iter().map(canonical).collect();
    // What it logs in to the cluster with.
    rules.push(json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets(seen), "verbs": ["get", "list", "watch"],
    }));
    let body = WithSpec { metadata: metadata(seen), spec: Single::new(selector(seen), template(seen, image, lone)) };
    let plan = plan
        .desire("v1", "ServiceAccount", &name, &Bare { metadata: metadata(seen) })
        .desire(account::RBAC, "Role", &name, &Role { metadata: metadata(seen), rules })
        .desire(account::RBAC, "RoleBinding", &name, &account::binding(seen, &name, &name));
    // A pod's token is worth nothing once its account was made anew, so it goes with the account.
    match &seen.rigger_account {
        Some(_) => plan.desire("apps/v1", "Deployment", &name, &body),
        None => plan,
    }
}

fn selector<'a>(seen: &'a Seen<'_>) -> BTreeMap<&'a str, &'a str> {
    BTreeMap::from([("app", "redis-enterprise"), ("name", STEP), ("redis.io/cluster", seen.name())])
}

/// Names of the Secrets that hold the administrator's login.
fn secrets(seen: &Seen<'_>) -> [String; 2] {
    [seen.credentials().to_owned(), seen.in_force()]
}

fn template<'a>(seen: &'a Seen<'_>, image: &str, lone: &Lone) -> Template<'a> {
    let spec = &seen.cluster.spec;
    let rigger = &spec.services_rigger_spec;
    let mut labels = labels(seen);
    labels.extend(selector(seen));
    let annotations = spec.pod_annotations.iter().chain(&rigger.pod_annotations);
    let mut annotations: BTreeMap<&str, &str> =
        annotations.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    annotations.extend(seen.rigger_account.iter().map(|it| (ACCOUNT, it.metadata.uid.as_str())));
    let given = &rigger.services_rigger_additional_pod_spec_attributes;
    let mut pod: BTreeMap<&str, Value> = BTreeMap::new();
    let more = given.iter().filter(|(key, _)| !OWNED.contains(&key.as_str()));
    pod.extend(more.map(|(key, raw)| (key.as_str(), canonical(raw))));
    let mut tolerations: Vec<Value> = canonical_all(&spec.pod_tolerations).collect();
    if let Some(Value::Array(more)) = pod.remove(TOLERATIONS) {
        tolerations.extend(more.into_iter().filter(|it| !tolerations.contains(it)).collect::<Vec<_>>());
    }
    let pull = pull_secrets(seen);
    let mut set = |key: &'static str, value: Value, says: bool| {
        if says {
            pod.insert(key, value);
        }
    };
    let priority = said(spec.priority_class_name.as_ref());
    set("serviceAccountName", json!(name(seen)), true);
    set("securityContext", json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } }), true);
    set("nodeSelector", json!(spec.node_selector), !spec.node_selector.is_empty());
    set("priorityClassName", json!(priority), priority.is_some());
    set("imagePullSecrets", json!(pull), !pull.is_empty());
    set(TOLERATIONS, json!(tolerations), !tolerations.is_empty());
    set("containers", json!([container(seen, image, lone)]), true);
    Template { metadata: Metadata { labels, annotations }, spec: pod }
}

fn container(seen: &Seen<'_>, image: &str, lone: &Lone) -> Value {
    let spec = &seen.cluster.spec;
    let mut arguments = lone.arguments.clone();
    arguments.push(format!("--secrets={}", secrets(seen).join(",")));
    let mut env: Vec<Value> = VARIABLES
        .iter()
        .map(|(name, path)| json!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } }))
        .collect();
    env.extend(canonical_all(&given_variables(&spec.services_rigger_spec.extra_env_vars)));
    let given = &spec.redis_enterprise_services_rigger_resources;
    let default = || RESOURCES.map(|(name, amount)| (name.to_owned(), Quantity::new(amount))).into();
    let (requests, limits) = given.or(default);
    let mut resources = json!({ "requests": requests, "limits": limits });
    if let (Some(fields), false) = (resources.as_object_mut(), given.claims.is_empty()) {
        fields.insert("claims".to_owned(), canonical_all(&given.claims).collect());
    }
    let probe = |path: &str, period: u32| json!({ "httpGet": { "path": path, "port": "admin" }, "periodSeconds": period, "timeoutSeconds": 5 });
    json!({
        "name": STEP,
        "image": image_of(&spec.redis_enterprise_services_rigger_image_spec, image),
        "imagePullPolicy": pull_policy(seen, &spec.redis_enterprise_services_rigger_image_spec),
        "args": arguments,
        "env": env,
        "ports": [
            { "name": "admin", "containerPort": 8080, "protocol": "TCP" },
            { "name": "local", "containerPort": 8081, "protocol": "TCP" },
        ],
        "livenessProbe": probe("/healthz", 10),
        "readinessProbe": probe("/readyz", 5),
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

/// Variables of the user's that are not the operator's own.
fn given_variables(given: &[Raw]) -> Vec<Raw> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        name: String,
    }
    let own = |raw: &&Raw| {
        let named: Named = serde_json::from_str(raw.get()).unwrap_or_default();
        VARIABLES.iter().any(|(name, _)| *name == named.name)
    };
    given.iter().filter(|raw| !own(raw)).cloned().collect()
}

/// The operator's own image, unless the spec names another in whole or in part.
pub(super) fn image_of(spec: &Image, own: &str) -> String {
    // A colon before the last slash belongs to the registry's port.
    let without_digest = own.split('@').next().unwrap_or(own);
    let colon = without_digest.rfind(':').filter(|colon| without_digest.rfind('/').is_none_or(|slash| slash < *colon));
    let own_repository = colon.and_then(|colon| without_digest.get(..colon)).unwrap_or(without_digest);
    let repository = said(spec.repository.as_ref()).unwrap_or(own_repository);
    match (said(spec.digest_hash.as_ref()), said(spec.version_tag.as_ref())) {
        (Some(digest), _) if digest.contains(':') => format!("{repository}@{digest}"),
        (Some(digest), _) => format!("{repository}@sha256:{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => format!("{repository}{}", own.get(own_repository.len()..).unwrap_or_default()),
    }
}

pub(super) fn pull_policy<'a>(seen: &'a Seen<'_>, spec: &'a Image) -> &'a str {
    let given = said(spec.image_pull_policy.as_ref());
    let own = || said(seen.host.known()?.image_pull_policy.as_ref());
    given.or_else(own).unwrap_or("IfNotPresent")
}

/// Attributes that the user gave and the operator owns.
pub(crate) fn ignored_attributes<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a str> {
    let given = &seen.cluster.spec.services_rigger_spec.services_rigger_additional_pod_spec_attributes;
    given.keys().map(String::as_str).filter(|key| OWNED.contains(key))
}
