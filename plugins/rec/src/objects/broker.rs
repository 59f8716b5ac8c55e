//! The service broker (reference, 2.11), where `spec.serviceBrokerSpec` asks for it: Deployment, Service, Secret, and the volume
//! that outlives them. Its account is an admin's to make: it may make databases, and the operator may not.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use stepwright_sdk::{Plan, SecretValue, generate, plain};

use super::rigger::{image_of, pull_policy};
use super::{Metadata, Single, Template, WithSpec, labels, metadata, pull_secrets};
use crate::passthrough::canonical_all;
use crate::quantity::Quantity;
use crate::seen::Seen;
use crate::spec::{Broker, said};

/// The account, as `deploy/service-broker.yaml` makes it.
pub(crate) const ACCOUNT: &str = "redis-enterprise-service-broker";
const CONTAINER: &str = "service-broker";
const RESOURCES: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "64Mi")];
/// Of the volume: a few hundred bytes for each binding.
const VOLUME: &str = "100Mi";
const USERNAME: &str = "service-broker";
const PORT: u16 = 8080;
const DATA: &str = "/var/lib/service-broker";
const LOGIN: &str = "/etc/service-broker";
/// The group that the volume is given to.
const GROUP: u32 = 1001;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Secret<'a> {
    metadata: Metadata<'a>,
    r#type: &'a str,
    string_data: BTreeMap<&'a str, SecretValue>,
}

fn name(seen: &Seen<'_>) -> String {
    format!("{}-service-broker", seen.name())
}

fn wanted<'a>(seen: &'a Seen<'_>) -> Option<&'a Broker> {
    Some(&seen.cluster.spec.service_broker_spec).filter(|broker| broker.enabled)
}

/// What the broker waits for, if it is wanted and cannot be.
pub(crate) fn waits_for(seen: &Seen<'_>) -> Option<String> {
    let broker = wanted(seen)?;
    if image(seen, broker).is_none() {
        return Some(
            "the service broker waits for an image: the operator runs outside of a cluster, so name one in \
             spec.serviceBrokerSpec.imageSpec"
                .to_owned(),
        );
    }
    (!seen.has_broker_account).then(|| {
        format!(
            "the service broker waits for its account: apply deploy/service-broker.yaml, which makes the ServiceAccount {ACCOUNT}"
        )
    })
}

/// The operator's own image, unless the spec names another.
fn image(seen: &Seen<'_>, broker: &Broker) -> Option<String> {
    let own = seen.host.known().and_then(|host| said(host.image.as_ref()));
    match (own, said(broker.image_spec.repository.as_ref())) {
        (None, None) => None,
        (own, repository) => Some(image_of(&broker.image_spec, own.or(repository).unwrap_or_default())),
    }
}

pub(super) fn desire(mut plan: Plan, seen: &Seen<'_>) -> Plan {
    let Some(broker) = wanted(seen).filter(|_| waits_for(seen).is_none()) else { return plan };
    let Some(image) = image(seen, broker) else { return plan };
    let name = name(seen);
    if broker.persistent_spec.enabled.unwrap_or(true) {
        let size = broker.persistent_spec.volume_size.clone().unwrap_or_else(|| Quantity::new(VOLUME));
        let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } });
        let class = said(broker.persistent_spec.storage_class_name.as_ref());
        if let (Some(fields), Some(class)) = (spec.as_object_mut(), class) {
            fields.insert("storageClassName".to_owned(), json!(class));
        }
        plan = plan.desire("v1", "PersistentVolumeClaim", &name, &WithSpec { metadata: metadata(seen), spec });
    }
    let string_data = BTreeMap::from([("username", plain(USERNAME)), ("password", generate(32))]);
    let secret = Secret { metadata: metadata(seen), r#type: "Opaque", string_data };
    let port = json!({ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP" });
    let service = json!({ "selector": selector(seen), "ports": [port] });
    let deployment = Single::new(selector(seen), template(seen, broker, &image));
    plan.desire("v1", "Secret", &name, &secret)
        .desire("v1", "Service", &name, &WithSpec { metadata: metadata(seen), spec: service })
        .desire("apps/v1", "Deployment", &name, &WithSpec { metadata: metadata(seen), spec: deployment })
}

fn selector<'a>(seen: &'a Seen<'_>) -> BTreeMap<&'a str, &'a str> {
    BTreeMap::from([("app", "redis-enterprise"), ("name", CONTAINER), ("redis.io/cluster", seen.name())])
}

fn template<'a>(seen: &'a Seen<'_>, broker: &Broker, image: &str) -> Template<'a> {
    let spec = &seen.cluster.spec;
    let mut labels = labels(seen);
    labels.extend(selector(seen));
    let data = if broker.persistent_spec.enabled.unwrap_or(true) {
        json!({ "name": "data", "persistentVolumeClaim": { "claimName": name(seen) } })
    } else {
        json!({ "name": "data", "emptyDir": {} })
    };
    let login = json!({ "name": "login", "secret": { "secretName": name(seen) } });
    let pull = pull_secrets(seen);
    let tolerations: Vec<Value> = canonical_all(&spec.pod_tolerations).collect();
    let security = json!({ "fsGroup": GROUP, "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    let mut pod = BTreeMap::from([
        ("serviceAccountName", json!(ACCOUNT)),
        ("securityContext", security),
        ("containers", json!([container(seen, broker, image)])),
        ("volumes", json!([data, login])),
    ]);
    for (key, value, says) in [
        ("imagePullSecrets", json!(pull), !pull.is_empty()),
        ("nodeSelector", json!(spec.node_selector), !spec.node_selector.is_empty()),
        ("tolerations", json!(tolerations), !tolerations.is_empty()),
    ] {
        if says {
            pod.insert(key, value);
        }
    }
    Template { metadata: Metadata { labels, annotations: BTreeMap::new() }, spec: pod }
}

fn container(seen: &Seen<'_>, broker: &Broker, image: &str) -> Value {
    let default = || RESOURCES.map(|(name, amount)| (name.to_owned(), Quantity::new(amount))).into();
    let (requests, limits) = broker.resources.or(default);
    json!({
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": pull_policy(seen, &broker.image_spec),
        "args": [
            "service-broker",
            format!("--cluster={}", seen.name()),
            format!("--data={DATA}"),
            format!("--password-file={LOGIN}/password"),
            format!("--port={PORT}"),
        ],
        "env": [
            { "name": "POD_NAMESPACE", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } } },
            { "name": "STEPWRIGHT_BROKER_USERNAME", "valueFrom": { "secretKeyRef": { "name": name(seen), "key": "username" } } },
        ],
        "ports": [{ "name": "http", "containerPort": PORT, "protocol": "TCP" }],
        "livenessProbe": { "tcpSocket": { "port": "http" }, "periodSeconds": 10 },
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 5, "timeoutSeconds": 5 },
        "resources": { "requests": requests, "limits": limits },
        "securityContext": {
            "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "data", "mountPath": DATA },
            { "name": "login", "mountPath": LOGIN, "readOnly": true },
        ],
    })
}
