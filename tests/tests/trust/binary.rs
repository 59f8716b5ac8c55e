//! The operator as the program that people start: that its arguments reach what they are about, and that compiled plugins
//! are kept from one start to the next.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use stepwright_dev_cluster::programs_folder;
use stepwright_tests::api_server::{client, kubeconfig, namespace};
use stepwright_tests::wait::until;

use crate::{TRIED_AGAIN, component};

/// Ends with its value.
struct Program {
    child: Child,
    log: std::path::PathBuf,
}

impl Program {
    fn start(home: &str, log: &Path, arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let child = Command::new(programs_folder().unwrap().join("stepwright"))
            .args(["run", "--namespace", home, "--lease", "", "--bind-address", "127.0.0.1", "--local-port", "0"])
            .args(["--admin-port", &port])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig().unwrap())
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log: log.to_owned() }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn refused(client: &Client, program: &Program, home: &str, name: &str, reason: &str) -> String {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), home);
    until(&format!("{name}: {reason}"), TRIED_AGAIN, || async {
        let map = maps.get(name).await.unwrap();
        let whole = map.annotations().get("stepwright.dev/reason").cloned().unwrap_or_default();
        if whole.starts_with(reason) { Ok(whole) } else { Err(format!("{whole} {}", program.log())) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn its_arguments_reach_what_they_are_about() {
    let client = client().await;
    let home = namespace(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &home);
    let offers = [
        ("unsigned", json!({"binaryData": {"plugin.wasm": k8s_openapi::ByteString(component("unsigned"))}}), json!({})),
        (
            "signed",
            json!({"binaryData": {"plugin.wasm": k8s_openapi::ByteString(component("signed"))},
                "data": {"signature": k8s_openapi::ByteString(vec![0; 64])}}),
            json!({}),
        ),
        (
            "large",
            json!({"binaryData": {"plugin.wasm.zst": k8s_openapi::ByteString(
            stepwright_tests::components::zip_bomb(3 << 20))}}),
            json!({}),
        ),
        ("oci", json!({}), json!({"stepwright.dev/oci": format!("127.0.0.1:1/a/b@sha256:{}", "0".repeat(64))})),
    ];
    for (name, body, annotations) in offers {
        let mut map = json!({"metadata": {"name": name, "labels": {"stepwright.dev/plugin": "true"},
            "annotations": annotations}});
        map.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    }
    let cache = folder.path().join("cache");
    let arguments = [
        "--require-signatures",
        "--signature-keys",
        "keys",
        "--insecure-registry",
        "127.0.0.1:1,127.0.0.1:2",
        "--insecure-registry",
        "127.0.0.1:3",
        "--registry-credentials",
        "pull",
        "--max-component-mib",
        "2",
        "--cache-dir",
        cache.to_str().unwrap(),
        "--cache-mib",
        "64",
    ];
    let program = Program::start(&home, &folder.path().join("first"), &arguments);
    refused(&client, &program, &home, "unsigned", "SignatureMissing").await;
    refused(&client, &program, &home, "signed", "SignatureKeysUnavailable").await;
    let reason = refused(&client, &program, &home, "large", "PluginTooLarge").await;
    assert!(reason.contains(&(2 << 20).to_string()), "{reason}");
    refused(&client, &program, &home, "oci", "RegistryCredentialsMissing").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &home);
    let pull = json!({"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": r#"{"auths":{}}"#}});
    secrets.create(&PostParams::default(), &serde_json::from_value(pull).unwrap()).await.unwrap();
    let reason = refused(&client, &program, &home, "oci", "OciUnreachable").await;
    assert!(reason.contains("http://127.0.0.1:1/"), "{reason}");
    drop(program);

    // What was compiled is there, under a key of this installation; what somebody writes into it is not used.
    assert_eq!(secrets.get("stepwright-installation").await.unwrap().data.unwrap()["key"].0.len(), 64);
    let files = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file() && path.metadata().unwrap().len() > 1_000).collect()
    };
    let kept = files();
    assert!(!kept.is_empty(), "nothing was kept");
    let mut bytes = std::fs::read(&kept[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&kept[0], &bytes).unwrap();
    let program = Program::start(&home, &folder.path().join("second"), &arguments);
    until("the tampered file to be refused", TRIED_AGAIN, || async {
        let log = program.log();
        if log.contains("compiled code from the cache is not trusted; compiling anew") { Ok(()) } else { Err(log) }
    })
    .await;
    until("a sound file in its place", TRIED_AGAIN, || async {
        let now = std::fs::read(&kept[0]).map_err(|error| error.to_string())?;
        if now == bytes { Err("it is as it was written".to_owned()) } else { Ok(()) }
    })
    .await;
}
