//! An operator with the real sandbox over a real API server, and plugins in ConfigMaps as an admin would put them there.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use stepwright_core::guest::{Guest, GuestError};
use stepwright_dev_cluster::programs_folder;
use stepwright_engine::{CacheConfig, CacheKey, ChildCompiler, Compiler, Engine, EngineConfig};
use stepwright_operator::plugins::PluginSettings;

use crate::api_server::{Running, Setup, operator_with};
use crate::wait::until;
use crate::world::{SETTLES, World};

/// What compiling a component may take here: enough for the tests' own, in a build without optimisation on a busy machine.
const COMPILE_MIB: u32 = 512;
const COMPILE_SECONDS: u32 = 8;

/// Starts an operator whose plugins are components, compiled in a process of their own; these come with it. Each call is made
/// twice and compared, so that a plugin which answers differently is found out.
pub async fn engine_operator(client: Client, namespace: String, steps: &[&str], embedded: &[&[u8]]) -> Running {
    let program = programs_folder().expect("programs").join("stepwright");
    let mut compiler = ChildCompiler::new(program, ["compile".into()]);
    (compiler.memory_mib, compiler.seconds) = (COMPILE_MIB, COMPILE_SECONDS);
    // As an operator of a cluster has it: what was compiled once is mapped ever after.
    let folder = tempfile::tempdir().expect("a folder");
    let cache = CacheConfig { folder: folder.path().join("code"), key: CacheKey([7; 32]), max_mib: 256 };
    let config = EngineConfig { compiler: Compiler::Child(compiler), cache: Some(cache), ..EngineConfig::default() };
    let engine = Arc::new(Engine::new(config).expect("a sandbox"));
    let load = move |bytes: &[u8]| -> Result<Arc<dyn Guest>, GuestError> {
        // The folder goes when the operator does.
        let _kept = &folder;
        Ok(Arc::new(engine.load(bytes)?))
    };
    let plugins = embedded.iter().map(|bytes| load(bytes).expect("the embedded plugin loads")).collect();
    // What happens when a plugin answers for real is to be seen here; in rehearsal it would come to light before.
    let settings = PluginSettings { rehearsal_passes: 0, ..PluginSettings::default() };
    let setup = Setup { loader: Arc::new(load), plugins: settings, purity_every: 1, ..Setup::default() };
    operator_with(client, namespace, steps, plugins, setup).await
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

/// Runs the operator's binary as a command-line tool against a development cluster, as a user would. What it printed.
pub fn stepwright(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(programs_folder()?.join("stepwright"))
        .args(arguments)
        .env("KUBECONFIG", world.cluster.kubeconfig())
        .stdin(Stdio::null())
        .output()?;
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    anyhow::ensure!(output.status.success(), "stepwright {}: {said}{text}", arguments.join(" "));
    Ok(text.into_owned())
}

/// Makes a ConfigMap out of a file in one of the folders beside the programs, `plugins` or `guests`, with `kubectl`; compressed,
/// since a component may be larger than a ConfigMap.
pub fn offer(world: &World, name: &str, file: &str, settings: &str, annotations: &[&str]) -> anyhow::Result<()> {
    let component = programs_folder()?.join("..").join(file);
    let packed = world.cluster.folder().join(format!("{name}.wasm.gz"));
    let mut encoder = GzEncoder::new(std::fs::File::create(&packed)?, Compression::default());
    encoder
        .write_all(&std::fs::read(&component).with_context(|| format!("failed to read {}", component.display()))?)?;
    encoder.finish()?;
    let file = format!("--from-file=plugin.wasm.gz={}", packed.display());
    world.kubectl(&["create", "configmap", name, &file, &format!("--from-literal=settings={settings}")])?;
    if !annotations.is_empty() {
        world.kubectl(&[&["annotate", "configmap", name], annotations].concat())?;
    }
    world.kubectl(&["label", "configmap", name, "stepwright.dev/plugin=true"])?;
    Ok(())
}

/// Waits until a plugin's ConfigMap says that it is in this state; what it says beside it.
pub async fn state(world: &World, name: &str, state: &str) -> String {
    until(&format!("plugin {name} to be {state}"), SETTLES, || async {
        let map = world.get("configmap", name)?;
        let annotations = &map["metadata"]["annotations"];
        let reason = annotations["stepwright.dev/reason"].as_str().unwrap_or_default().to_owned();
        if annotations["stepwright.dev/state"] == state { Ok(reason) } else { anyhow::bail!("{annotations}") }
    })
    .await
}

/// What `kubectl get events` says about an object.
pub fn events(world: &World, name: &str) -> anyhow::Result<String> {
    world.kubectl(&["get", "events", &format!("--field-selector=involvedObject.name={name}")])
}
