//! What kwok needs to answer `exec`, `logs` and `port-forward` for a pod: three objects that have its name.

use std::collections::BTreeSet;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::context::Context;
use super::environment::Variables;
use super::logs::ContainerLogs;
use crate::network::loopback;

const KINDS: [(&str, &str); 3] = [("Exec", "execs"), ("Logs", "logs"), ("PortForward", "portforwards")];

/// What one container offers.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) container: String,
    pub(crate) root: PathBuf,
    pub(crate) variables: Variables,
    pub(crate) logs: ContainerLogs,
}

/// The objects of one pod, written only when they change.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    applied: [Option<Value>; 3],
}

impl Serving {
    pub(crate) async fn update(
        &mut self,
        context: &Context,
        pod: &Pod,
        address: std::net::Ipv4Addr,
        containers: &[Served],
    ) -> Result<(), kube::Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let specs = [exec(containers), logs(containers), forwards(pod, &context.services.state(), address)];
        for ((applied, spec), kind) in self.applied.iter_mut().zip(specs).zip(KINDS) {
            if applied.as_ref() == Some(&spec) {
                continue;
            }
            let object = json!({
                "apiVersion": "kwok.x-k8s.io/v1alpha1",
                "kind": kind.0,
                "metadata": { "name": pod.name_any() },
                "spec": spec,
            });
            let params = PatchParams::apply("stepwright-dev-node-agent").force();
            api(&context.client, &namespace, kind).patch(&pod.name_any(), &params, &Patch::Apply(&object)).await?;
            *applied = Some(spec);
        }
        Ok(())
    }
}

/// Removes the objects of a pod.
pub(crate) async fn remove(client: &Client, namespace: &str, name: &str) {
    for kind in KINDS {
        match api(client, namespace, kind).delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::warn!(kind = kind.0, error = %error, "failed to remove an object of kwok"),
            Ok(_) => {}
        }
    }
}

fn api(client: &Client, namespace: &str, (kind, plural): (&str, &str)) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("kwok.x-k8s.io", "v1alpha1", kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, plural))
}

fn exec(containers: &[Served]) -> Value {
    let execs: Vec<Value> = containers
        .iter()
        .map(|one| {
            let variables: Vec<Value> =
                one.variables.0.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            json!({ "containers": [one.container], "local": { "workDir": one.root, "envs": variables } })
        })
        .collect();
    json!({ "execs": execs })
}

fn logs(containers: &[Served]) -> Value {
    let logs: Vec<Value> = containers
        .iter()
        .map(|one| {
            json!({
                "containers": [one.container],
                "logsFile": one.logs.current,
                "previousLogsFile": one.logs.previous,
                "follow": true,
            })
        })
        .collect();
    json!({ "logs": logs })
}

fn forwards(pod: &Pod, services: &[std::sync::Arc<Service>], address: std::net::Ipv4Addr) -> Value {
    let address = loopback(address).to_string();
    let forwards: Vec<Value> = ports(pod, services.iter().map(AsRef::as_ref))
        .into_iter()
        .map(|port| json!({ "ports": [port], "target": { "port": port, "address": address } }))
        .collect();
    json!({ "forwards": forwards })
}

/// The ports under which a pod can be reached: its own, and those that Services send to it.
fn ports<'a>(pod: &Pod, services: impl Iterator<Item = &'a Service>) -> BTreeSet<i32> {
    let containers =
        || pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let declared = || containers().flat_map(|container| container.ports.iter().flatten());
    let mut ports: BTreeSet<i32> = declared().map(|port| port.container_port).collect();
    let selecting = services.filter(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|all| !all.is_empty());
        service.namespace() == pod.namespace()
            && selector.is_some_and(|all| all.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
    });
    for port in selecting.flat_map(|service| service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())) {
        match &port.target_port {
            None => drop(ports.insert(port.port)),
            Some(IntOrString::Int(number)) => drop(ports.insert(*number)),
            // A name stands for a declared port, which is there already.
            Some(IntOrString::String(_)) => {}
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_opens_its_target_port_on_the_pods_it_selects() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "rec-0", "namespace": "redis", "labels": { "app": "redis-enterprise" } },
            "spec": { "containers": [{ "name": "node", "ports": [{ "containerPort": 9443, "name": "api" }] }] },
        }))
        .unwrap();
        let service = |namespace: &str, app: &str, target: Value| -> Service {
            serde_json::from_value(json!({
                "metadata": { "name": "one", "namespace": namespace },
                "spec": { "selector": { "app": app }, "ports": [{ "port": 80, "targetPort": target }] },
            }))
            .unwrap()
        };
        let services = [
            service("redis", "redis-enterprise", json!(19621)),
            service("redis", "redis-enterprise", json!("api")),
            service("redis", "other", json!(1)),
            service("elsewhere", "redis-enterprise", json!(2)),
        ];
        assert_eq!(ports(&pod, services.iter()), BTreeSet::from([9443, 19621]));
    }
}
