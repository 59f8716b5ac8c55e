//! Kubernetes types that appear inside the custom resources, in a small form.
//!
//! What is small is typed. What is huge (a PodSpec, a Container, a Volume, an Affinity) is passed through: an object
//! whose fields are kept as they are, to be checked by the API server when the pod is made. Spelling those out is what
//! makes other CRDs too large for a plain `kubectl apply`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An amount as Kubernetes writes it: `2`, `500m`, `4Gi`. Both the number and the text are allowed, and are kept as given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// Written without quotes and unit.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 48, // CEL rules read it: the bound keeps their estimated cost down.
            "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        })
    }
}

/// A number or a text, kept as given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NumberOrText {
    /// Written without quotes.
    Number(i64),
    /// Written as text.
    Text(String),
}

impl JsonSchema for NumberOrText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NumberOrText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

/// Schema of an embedded object that is passed through.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Schema of a list of embedded objects that are passed through, each of them with a name.
pub(crate) fn named_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": { "name": { "type": "string", "description": "Name, unique in this list and in the pod." } },
            "x-kubernetes-preserve-unknown-fields": true,
        },
    })
}

/// Schema of standard conditions, one of each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316,
                    "description": "What is being said, such as Ready.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it is so.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "description": "Why, in one stable word that programs may compare.",
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Why, in a sentence for people.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time",
                    "description": "When the status last changed.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that this was said of.",
                },
            },
        },
    })
}

/// A map from text to text: labels, annotations, selectors.
pub type Labels = BTreeMap<String, String>;

/// An object that is passed through.
pub type AnyObject = Value;

words! {
    /// When an image is pulled.
    pub enum ImagePullPolicy {
        Always = "Always",
        Never = "Never",
        IfNotPresent = "IfNotPresent",
    }
}

api! {
    /// A container image.
    #[derive(Default)]
    pub struct ImageSpec {
        /// Image name without tag, with its registry if that is not the default one.
        pub repository: Option<String>,
        /// Tag.
        pub version_tag: Option<String>,
        /// Digest to pull by instead of the tag. Needs the matching versionTag, and rules out upgradeSpec.autoUpgradeRedisEnterprise.
        pub digest_hash: Option<String>,
        /// When to pull; IfNotPresent if empty.
        pub image_pull_policy: Option<ImagePullPolicy>,
    }
}

api! {
    /// Compute resources of a container.
    #[derive(Default)]
    pub struct Resources {
        /// What the container may use at most, by resource name (cpu, memory).
        pub limits: Option<BTreeMap<String, Quantity>>,
        /// What is set aside for the container, by resource name (cpu, memory).
        pub requests: Option<BTreeMap<String, Quantity>>,
        /// Claims of the pod (dynamic resource allocation) that the container uses.
        pub claims: Option<Vec<ResourceClaim>>,
    }
}

api! {
    /// Use of one of the pod's resource claims.
    pub struct ResourceClaim {
        /// Name of an entry in the pod's resourceClaims.
        pub name: String,
    }
}

api! {
    /// A Secret or another object of the same namespace, by name.
    pub struct LocalReference {
        /// Name of the object.
        pub name: Option<String>,
    }
}

api! {
    /// An environment variable.
    pub struct EnvVar {
        /// Name of the variable.
        pub name: String,
        /// Its value. `$(NAME)` is replaced by another variable.
        pub value: Option<String>,
        /// Where the value comes from instead: one of configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef, as in a Pod.
        #[schemars(schema_with = "any_object")]
        pub value_from: Option<AnyObject>,
    }
}

api! {
    /// What keeps a taint of a node from repelling the pods.
    pub struct Toleration {
        /// Key of the taint; empty means every key (then the operator must be Exists).
        pub key: Option<String>,
        /// Exists, or Equal (the default) to compare the value as well.
        pub operator: Option<String>,
        /// Value of the taint.
        pub value: Option<String>,
        /// NoSchedule, PreferNoSchedule or NoExecute; empty means every effect.
        pub effect: Option<String>,
        /// With NoExecute: how long the pod may stay. Empty means for ever.
        pub toleration_seconds: Option<i64>,
    }
}

api! {
    /// Names for an address in the hosts file of the pods.
    pub struct HostAlias {
        /// The address.
        pub ip: Option<String>,
        /// Its names.
        pub hostnames: Option<Vec<String>>,
    }
}

api! {
    /// Where a volume appears in the container.
    pub struct VolumeMount {
        /// Name of an entry in spec.volumes.
        pub name: String,
        /// Where it appears. Must not contain a colon.
        pub mount_path: String,
        /// How mounts made later pass between node and container: None, HostToContainer or Bidirectional.
        pub mount_propagation: Option<String>,
        /// Whether the container may only read it.
        pub read_only: Option<bool>,
        /// Folder of the volume to show instead of its root.
        pub sub_path: Option<String>,
        /// As subPath, with `$(NAME)` replaced from the environment. Excludes subPath.
        pub sub_path_expr: Option<String>,
    }
}
