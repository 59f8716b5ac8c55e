//! The pod template: one container, which is the node (reference, 2.3).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{FLASH, FLASH_PATH, Metadata, STORAGE, config, labels, selector, service_account};
use crate::passthrough::{canonical, canonical_all};
use crate::quantity::Quantity;
use crate::seen::Seen;
use crate::spec::said;

/// The user and group of Redis Enterprise in its image.
const USER: u32 = 1001;
/// A year: a node has all the time that it needs to hand over its shards.
const GRACE_SECONDS: i64 = 31_536_000;
/// Where a node writes beside its volume, for pods whose root cannot be written.
const SCRATCH: [(&str, &str); 4] = [
    ("scratch-etc", "/etc/opt/redislabs"),
    ("scratch-run", "/run"),
    ("scratch-tmp", "/tmp"),
    ("scratch-var", "/var/opt/redislabs"),
];
const LOCALTIME: (&str, &str) = ("localtime", "/etc/localtime");
const HOSTNAME: &str = "kubernetes.io/hostname";

#[derive(Serialize)]
pub(super) struct Template<'a> {
    metadata: Metadata<'a>,
    spec: PodSpec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    service_account_name: &'a str,
    termination_grace_period_seconds: i64,
    security_context: PodSecurity,
    affinity: Affinity<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    node_selector: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tolerations: &'a [Box<RawValue>],
    #[serde(skip_serializing_if = "Option::is_none")]
    priority_class_name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    host_aliases: &'a [Box<RawValue>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    image_pull_secrets: &'a [Box<RawValue>],
    containers: Vec<AnyContainer<'a>>,
    volumes: Vec<AnyVolume<'a>>,
    #[serde(flatten)]
    additional: BTreeMap<&'a str, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodSecurity {
    fs_group: u32,
    run_as_non_root: bool,
    run_as_user: u32,
    seccomp_profile: SeccompProfile,
}

#[derive(Serialize)]
struct SeccompProfile {
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Affinity<'a> {
    pod_anti_affinity: AntiAffinity<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AntiAffinity<'a> {
    Given(&'a RawValue),
    #[serde(rename_all = "camelCase")]
    Default {
        required_during_scheduling_ignored_during_execution: Vec<Term<'a>>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Term<'a> {
    label_selector: super::LabelSelector<'a>,
    topology_key: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyContainer<'a> {
    Node(Box<Container<'a>>),
    Side(Value),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    name: &'a str,
    image: &'a str,
    image_pull_policy: &'a str,
    ports: [Port; 3],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<Env<'a>>,
    resources: Resources<'a>,
    readiness_probe: Probe,
    security_context: ContainerSecurity,
    volume_mounts: Vec<AnyMount<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: &'static str,
    container_port: u16,
    protocol: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Env<'a> {
    Plain { name: &'a str, value: &'a str },
    Given(&'a RawValue),
}

#[derive(Serialize)]
struct Resources<'a> {
    requests: BTreeMap<String, Quantity>,
    limits: BTreeMap<String, Quantity>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    claims: &'a [Box<RawValue>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    exec: Exec,
    period_seconds: u32,
    timeout_seconds: u32,
    failure_threshold: u32,
}

#[derive(Serialize)]
struct Exec {
    command: [String; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerSecurity {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only_root_filesystem: bool,
}

#[derive(Serialize)]
struct Capabilities {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    add: &'static [&'static str],
    drop: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyMount<'a> {
    #[serde(rename_all = "camelCase")]
    Own {
        name: &'static str,
        mount_path: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        sub_path: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        read_only: Option<bool>,
    },
    Given(&'a RawValue),
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyVolume<'a> {
    #[serde(rename_all = "camelCase")]
    Secret {
        name: &'static str,
        secret: SecretVolume<'a>,
    },
    #[serde(rename_all = "camelCase")]
    ConfigMap {
        name: &'static str,
        config_map: ConfigMapVolume,
    },
    #[serde(rename_all = "camelCase")]
    Empty {
        name: &'static str,
        empty_dir: Nothing,
    },
    #[serde(rename_all = "camelCase")]
    Host {
        name: &'static str,
        host_path: HostPath,
    },
    Given(Value),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretVolume<'a> {
    secret_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMapVolume {
    name: String,
    default_mode: u32,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct HostPath {
    path: &'static str,
    r#type: &'static str,
}

pub(super) fn template<'a>(seen: &'a Seen<'_>) -> Template<'a> {
    let spec = &seen.cluster.spec;
    let mut labels = labels(seen);
    labels.extend(selector(seen));
    labels.insert("app.kubernetes.io/name", "redis-enterprise");
    let given = spec.pod_annotations.iter().chain(&spec.redis_enterprise_pod_annotations);
    let mut annotations: BTreeMap<&str, &str> = given.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    annotations.insert("kubectl.kubernetes.io/default-container", "redis-enterprise-node");
    let mut containers = vec![AnyContainer::Node(Box::new(node(seen)))];
    containers.extend(canonical_all(&spec.side_containers_spec).map(AnyContainer::Side));
    let pod = PodSpec {
        service_account_name: service_account(seen),
        termination_grace_period_seconds: spec
            .redis_enterprise_termination_grace_period_seconds
            .unwrap_or(GRACE_SECONDS),
        security_context: PodSecurity {
            fs_group: USER,
            run_as_non_root: true,
            run_as_user: USER,
            seccomp_profile: SeccompProfile { r#type: "RuntimeDefault" },
        },
        affinity: Affinity { pod_anti_affinity: anti_affinity(seen) },
        node_selector: spec.node_selector.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        tolerations: &spec.pod_tolerations,
        priority_class_name: said(spec.priority_class_name.as_ref()),
        host_aliases: &spec.host_aliases,
        image_pull_secrets: &spec.pull_secrets,
        containers,
        volumes: volumes(seen),
        additional: additional(seen),
    };
    Template { metadata: Metadata { labels, annotations }, spec: pod }
}

/// Attributes of the escape hatch that are the operator's own, and so ignored there (reference, 1.3).
fn owned_attributes(seen: &Seen<'_>) -> Vec<&'static str> {
    let spec = &seen.cluster.spec;
    let mut owned = vec![
        "affinity",
        "containers",
        "securityContext",
        "serviceAccount",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "volumes",
    ];
    let when_set = [
        ("nodeSelector", !spec.node_selector.is_empty()),
        ("tolerations", !spec.pod_tolerations.is_empty()),
        ("priorityClassName", said(spec.priority_class_name.as_ref()).is_some()),
        ("hostAliases", !spec.host_aliases.is_empty()),
        ("imagePullSecrets", !spec.pull_secrets.is_empty()),
    ];
    owned.extend(when_set.iter().filter(|(_, set)| *set).map(|(name, _)| *name));
    owned
}

/// Attributes that the user gave and the operator owns.
pub(crate) fn ignored_attributes<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a str> {
    let owned = owned_attributes(seen);
    let given = &seen.cluster.spec.redis_enterprise_additional_pod_spec_attributes;
    given.keys().map(String::as_str).filter(move |key| owned.contains(key))
}

fn additional<'a>(seen: &'a Seen<'_>) -> BTreeMap<&'a str, Value> {
    let owned = owned_attributes(seen);
    let given = &seen.cluster.spec.redis_enterprise_additional_pod_spec_attributes;
    given
        .iter()
        .filter(|(key, _)| !owned.contains(&key.as_str()))
        .map(|(key, raw)| (key.as_str(), canonical(raw)))
        .collect()
}

fn anti_affinity<'a>(seen: &'a Seen<'_>) -> AntiAffinity<'a> {
    let spec = &seen.cluster.spec;
    if let Some(given) = &spec.pod_anti_affinity {
        return AntiAffinity::Given(given);
    }
    let first = said(spec.rack_awareness_node_label.as_ref()).unwrap_or(HOSTNAME);
    let keys = std::iter::once(first).chain(spec.anti_affinity_additional_topology_keys.iter().map(String::as_str));
    let terms = keys.map(|topology_key| Term {
        label_selector: super::LabelSelector { match_labels: selector(seen) },
        topology_key,
    });
    AntiAffinity::Default { required_during_scheduling_ignored_during_execution: terms.collect() }
}

fn node<'a>(seen: &'a Seen<'_>) -> Container<'a> {
    let spec = &seen.cluster.spec;
    let (requests, limits) = spec.resources();
    let adjust = spec.security_context.resource_limits.allow_auto_adjustment;
    let port = |name, container_port| Port { name, container_port, protocol: "TCP" };
    Container {
        name: "redis-enterprise-node",
        image: &seen.image.image,
        image_pull_policy: &seen.image.pull_policy,
        ports: [port("sentinel", 8001), port("ui", 8443), port("api", 9443)],
        env: env(seen),
        resources: Resources { requests, limits, claims: &spec.redis_enterprise_node_resources.claims },
        readiness_probe: Probe {
            exec: Exec {
                command: ["bash".into(), "-l".into(), format!("/opt/redislabs/shared/{}", config::READINESS)],
            },
            period_seconds: 3,
            timeout_seconds: 30,
            failure_threshold: 3,
        },
        security_context: ContainerSecurity {
            allow_privilege_escalation: adjust,
            capabilities: Capabilities { add: if adjust { &["SYS_RESOURCE"] } else { &[] }, drop: ["ALL"] },
            read_only_root_filesystem: spec.security_context.read_only_root_filesystem_policy.enabled,
        },
        volume_mounts: mounts(seen),
    }
}

fn env<'a>(seen: &'a Seen<'_>) -> Vec<Env<'a>> {
    let spec = &seen.cluster.spec;
    let mut env = Vec::new();
    if spec.enforce_ipv4 {
        env.push(Env::Plain { name: "ENFORCE_IPV4", value: "true" });
    }
    if let Some(zone) = said(spec.container_timezone.timezone_name.as_ref()) {
        env.push(Env::Plain { name: "TZ", value: zone });
    }
    env.extend(spec.extra_env_vars.iter().map(|raw| Env::Given(raw)));
    env
}

fn mounts<'a>(seen: &'a Seen<'_>) -> Vec<AnyMount<'a>> {
    let own = |name, mount_path, sub_path, read_only| AnyMount::Own { name, mount_path, sub_path, read_only };
    let mut mounts = vec![
        own(STORAGE, "/opt/persistent", None, None),
        own(STORAGE, "/var/opt/redislabs/log", Some("logs"), None),
        own("credentials", "/opt/redislabs/credentials", None, Some(true)),
        own("health-check", "/opt/redislabs/shared", None, Some(true)),
    ];
    let spec = &seen.cluster.spec;
    if spec.redis_on_flash_spec.enabled {
        mounts.push(own(FLASH, FLASH_PATH, None, None));
    }
    if spec.security_context.read_only_root_filesystem_policy.enabled {
        mounts.extend(SCRATCH.map(|(name, path)| own(name, path, None, None)));
    }
    if spec.container_timezone.propagate_host.is_some() {
        mounts.push(own(LOCALTIME.0, LOCALTIME.1, None, Some(true)));
    }
    mounts.extend(seen.cluster.spec.redis_enterprise_volume_mounts.iter().map(|raw| AnyMount::Given(raw)));
    mounts
}

fn volumes<'a>(seen: &'a Seen<'_>) -> Vec<AnyVolume<'a>> {
    let mut volumes = vec![
        AnyVolume::Secret { name: "credentials", secret: SecretVolume { secret_name: seen.credentials() } },
        AnyVolume::ConfigMap {
            name: "health-check",
            config_map: ConfigMapVolume { name: config::health_check(seen), default_mode: 0o555 },
        },
    ];
    if !seen.cluster.spec.persistent() {
        volumes.push(AnyVolume::Empty { name: STORAGE, empty_dir: Nothing {} });
    }
    let spec = &seen.cluster.spec;
    if spec.security_context.read_only_root_filesystem_policy.enabled {
        volumes.extend(SCRATCH.map(|(name, _)| AnyVolume::Empty { name, empty_dir: Nothing {} }));
    }
    if spec.container_timezone.propagate_host.is_some() {
        let host_path = HostPath { path: LOCALTIME.1, r#type: "File" };
        volumes.push(AnyVolume::Host { name: LOCALTIME.0, host_path });
    }
    volumes.extend(canonical_all(&seen.cluster.spec.volumes).map(AnyVolume::Given));
    volumes
}
