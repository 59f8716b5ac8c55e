//! A container's environment and arguments, resolved as a kubelet resolves them.

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};

use super::context::Context;

/// A list of variables in which the later of two with one name wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(pub(crate) Vec<(String, String)>);

impl Variables {
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.retain(|(existing, _)| existing != name);
        self.0.push((name.to_owned(), value.into()));
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(existing, _)| existing == name).map(|(_, value)| value.as_str())
    }

    /// Replaces `$(NAME)`; `$$(NAME)` and names that are not set stay.
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            expanded.push_str(before);
            if let Some(after) = from.strip_prefix("$$") {
                expanded.push('$');
                rest = after;
            } else if let Some((name, after)) = from.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
                match self.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.push_str(from.strip_suffix(after).unwrap_or(from)),
                }
                rest = after;
            } else {
                expanded.push('$');
                rest = from.strip_prefix('$').unwrap_or_default();
            }
        }
        expanded.push_str(rest);
        expanded
    }
}

/// Resolves `env` and `envFrom`, or says what is missing.
pub(crate) fn resolve(context: &Context, pod: &Pod, container: &Container, address: &str) -> Result<Variables, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut variables = Variables::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match config_map(&context.config_maps, &namespace, &reference.name) {
                Some(map) => {
                    for (name, value) in map.data.iter().flatten() {
                        variables.set(&format!("{prefix}{name}"), value);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap \"{}\" not found", reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match secret(&context.secrets, &namespace, &reference.name) {
                Some(secret) => {
                    for (name, value) in secret.data.iter().flatten() {
                        variables.set(&format!("{prefix}{name}"), String::from_utf8_lossy(&value.0));
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret \"{}\" not found", reference.name)),
            }
        }
    }
    for entry in container.env.iter().flatten() {
        match &entry.value_from {
            None => {
                let value = variables.expand(entry.value.as_deref().unwrap_or_default());
                variables.set(&entry.name, value);
            }
            Some(source) => {
                if let Some(value) = from_source(context, pod, &namespace, source, address)? {
                    variables.set(&entry.name, value);
                }
            }
        }
    }
    Ok(variables)
}

fn from_source(
    context: &Context,
    pod: &Pod,
    namespace: &str,
    source: &EnvVarSource,
    address: &str,
) -> Result<Option<String>, String> {
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, address, &context.host.to_string())
            .map(Some)
            .ok_or_else(|| format!("field `{}` is not supported", reference.field_path));
    }
    let (what, name, key, is_optional, value) = if let Some(reference) = &source.secret_key_ref {
        let secret = secret(&context.secrets, namespace, &reference.name);
        let value = secret.and_then(|secret| {
            secret.data.as_ref()?.get(&reference.key).map(|value| String::from_utf8_lossy(&value.0).into_owned())
        });
        ("secret", &reference.name, &reference.key, reference.optional, value)
    } else if let Some(reference) = &source.config_map_key_ref {
        let map = config_map(&context.config_maps, namespace, &reference.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&reference.key).cloned());
        ("configmap", &reference.name, &reference.key, reference.optional, value)
    } else if let Some(reference) = &source.resource_field_ref {
        return Err(format!("resource field `{}` is not supported", reference.resource));
    } else {
        return Err("a variable's source is of an unknown kind".to_owned());
    };
    match value {
        None if is_optional != Some(true) => Err(format!("couldn't find key {key} in {what} \"{namespace}/{name}\"")),
        value => Ok(value),
    }
}

/// A field of the downward API.
pub(crate) fn field(pod: &Pod, path: &str, address: &str, host: &str) -> Option<String> {
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return None,
        };
        return Some(map.get(key).cloned().unwrap_or_default());
    }
    let lines = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
    };
    match path {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "metadata.labels" => Some(lines(pod.labels())),
        "metadata.annotations" => Some(lines(pod.annotations())),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "status.podIP" | "status.podIPs" => Some(address.to_owned()),
        "status.hostIP" | "status.hostIPs" => Some(host.to_owned()),
        _ => None,
    }
}

pub(crate) fn config_map(store: &Store<ConfigMap>, namespace: &str, name: &str) -> Option<std::sync::Arc<ConfigMap>> {
    store.get(&ObjectRef::new(name).within(namespace))
}

pub(crate) fn secret(store: &Store<Secret>, namespace: &str, name: &str) -> Option<std::sync::Arc<Secret>> {
    store.get(&ObjectRef::new(name).within(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_set_are_replaced() {
        let variables = Variables(vec![("NAME".into(), "rec".into())]);
        for (text, expected) in [
            ("--name=$(NAME)", "--name=rec"),
            ("$(OTHER)", "$(OTHER)"),
            ("$$(NAME)", "$(NAME)"),
            ("$(NAME", "$(NAME"),
            ("cost: $5", "cost: $5"),
        ] {
            assert_eq!(variables.expand(text), expected);
        }
    }

    #[test]
    fn fields_of_the_pod_are_known_by_path() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "rec-0", "namespace": "redis", "labels": { "app": "redis-enterprise" } },
            "spec": { "nodeName": "worker-1", "containers": [] },
        }))
        .unwrap();
        for (path, expected) in [
            ("metadata.name", Some("rec-0")),
            ("metadata.labels['app']", Some("redis-enterprise")),
            ("metadata.labels['none']", Some("")),
            ("spec.nodeName", Some("worker-1")),
            ("status.podIP", Some("10.40.1.1")),
            ("status.phase", None),
        ] {
            assert_eq!(field(&pod, path, "10.40.1.1", "127.40.0.1").as_deref(), expected, "{path}");
        }
    }
}
