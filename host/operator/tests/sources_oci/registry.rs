//! A real registry on loopback for one test, with its storage in a folder of its own. It ends with its value, and also when
//! the test's process is killed.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::HeaderValue;
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub const USER: &str = "ann";
pub const PASSWORD: &str = "open sesame";
/// What `htpasswd -nbB` makes of them, with the least cost.
const HTPASSWD: &str = "ann:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

pub struct Registry {
    pub address: String,
    folder: TempDir,
    process: Child,
    with_login: bool,
}

impl Registry {
    pub fn start() -> Self {
        Self::launch(false)
    }

    pub fn start_with_login() -> Self {
        Self::launch(true)
    }

    fn launch(with_login: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let storage = folder.path().join("storage");
        let mut settings = json!({
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": storage}}, "http": {"addr": address},
        });
        if with_login {
            let passwords = folder.path().join("htpasswd");
            std::fs::write(&passwords, HTPASSWD).unwrap();
            settings["auth"] = json!({"htpasswd": {"realm": "test", "path": passwords}});
        }
        let file = folder.path().join("settings.yml");
        std::fs::write(&file, settings.to_string()).unwrap();
        // The shell ends the registry when its input does, which also happens when this process is killed.
        let process = Command::new("sh")
            .args(["-c", "docker-registry serve \"$0\" & registry=$!; cat; kill $registry; wait $registry"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let registry = Self { address, folder, process, with_login };
        registry.wait();
        registry
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&self.address).is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(Instant::now() < until, "the registry does not answer; `cargo xtask setup` installs it: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Puts blobs and a manifest there; answers the artifact's reference.
    pub async fn push(&self, blobs: &[&[u8]], manifest: &Value) -> String {
        let text = manifest.to_string();
        let reference = format!("{}/team/plugin@{}", self.address, digest(text.as_bytes()));
        let image: Reference = reference.parse().unwrap();
        let protocol = ClientProtocol::HttpsExcept(vec![self.address.clone()]);
        let client = Client::try_from(ClientConfig { protocol, ..ClientConfig::default() }).unwrap();
        if self.with_login {
            client.store_auth_if_needed(&self.address, &RegistryAuth::Basic(USER.into(), PASSWORD.into())).await;
        }
        for blob in blobs {
            client.push_blob(&image, blob.to_vec(), &digest(blob)).await.unwrap();
        }
        let kind = manifest["mediaType"].as_str().unwrap();
        client.push_manifest_raw(&image, text, HeaderValue::from_str(kind).unwrap()).await.unwrap();
        reference
    }

    /// A component as `wkg oci push` puts it there.
    pub async fn push_component(&self, component: &[u8]) -> String {
        self.push(&[CONFIG, component], &manifest(&[layer("application/wasm", component)])).await
    }

    /// Where the registry keeps these bytes.
    pub fn file_of(&self, bytes: &[u8]) -> PathBuf {
        let digest = format!("{:x}", Sha256::digest(bytes));
        self.folder.path().join("storage/docker/registry/v2/blobs/sha256").join(&digest[..2]).join(&digest).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(mut input) = self.process.stdin.take() {
            let _ = input.flush();
        }
        let _ = self.process.wait();
    }
}

/// An address of loopback at which nobody listens.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

pub const CONFIG: &[u8] = br#"{"created":"2026-01-01T00:00:00Z","architecture":"wasm","os":"wasip2"}"#;

pub fn layer(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

pub fn manifest(layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": layer("application/vnd.wasm.config.v0+json", CONFIG), "layers": layers,
    })
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}
