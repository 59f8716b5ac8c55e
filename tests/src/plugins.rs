//! An operator with the real sandbox over a real API server, and plugins in ConfigMaps as an admin would put them there.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use stepwright_core::guest::{Guest, GuestError};
use stepwright_engine::{Engine, EngineConfig};

use crate::api_server::{Running, operator_in};

/// Starts an operator whose plugins are components; these come with it.
pub async fn engine_operator(client: Client, namespace: String, steps: &[&str], embedded: &[&[u8]]) -> Running {
    let engine = Arc::new(Engine::new(EngineConfig::default()).expect("a sandbox"));
    let load = move |bytes: &[u8]| -> Result<Arc<dyn Guest>, GuestError> { Ok(Arc::new(engine.load(bytes)?)) };
    let plugins = embedded.iter().map(|bytes| load(bytes).expect("the embedded plugin loads")).collect();
    operator_in(client, namespace, steps, plugins, Arc::new(load)).await
}

/// Puts a plugin there, as `kubectl apply` would. `data` and annotations stand beside the component.
pub async fn put_plugin(
    running: &Running,
    name: &str,
    key: &str,
    component: &[u8],
    data: Value,
    annotations: &[(&str, &str)],
) -> ConfigMap {
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"stepwright.dev/plugin": "true"}, "annotations": annotations},
        "data": data, "binaryData": {key: ByteString(component.to_vec())}});
    let parameters = PatchParams::apply("admin").force();
    running.api::<ConfigMap>().patch(name, &parameters, &Patch::Apply(&body)).await.expect("the plugin is put there")
}
