//! A kube-apiserver with its etcd, alone on loopback, for one test: nothing runs on what is stored there.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

const TOKEN: &str = "only-for-this-test";
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends when dropped, also when the test fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The running pair. Dropping it ends both and removes their folder.
pub(crate) struct ApiServer {
    pub(crate) client: Client,
    pub(crate) assets: PathBuf,
    // In this order: the API server before its store, the folder when nobody writes into it any more.
    _api_server: Process,
    _etcd: Process,
    folder: tempfile::TempDir,
}

impl ApiServer {
    /// Starts both and waits until they answer.
    pub(crate) async fn start() -> Self {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).expect(
            "KUBEBUILDER_ASSETS is not set: it names a folder with kube-apiserver, etcd and kubectl. \
             `cargo xtask test` makes one and sets it",
        );
        // A port that was free may be taken before it is used; then another is tried.
        let mut last = String::new();
        for _ in 0..3 {
            match Self::attempt(&assets).await {
                Ok(server) => return server,
                Err(log) => last = log,
            }
        }
        panic!("the API server does not start:\n{last}");
    }

    async fn attempt(assets: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let [store, peer, port] = free_ports();
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(path("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(path("sa.pub"), key.public_key_pem()).unwrap();
        std::fs::write(path("tokens"), format!("{TOKEN},admin,admin,system:masters\n")).unwrap();

        let etcd = Command::new(assets.join("etcd"))
            .args(["--unsafe-no-fsync", "--data-dir", &path("etcd")])
            .args([format!("--listen-client-urls=http://127.0.0.1:{store}")])
            .args([format!("--advertise-client-urls=http://127.0.0.1:{store}")])
            .args([format!("--listen-peer-urls=http://127.0.0.1:{peer}")])
            .args([format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}")])
            .args([format!("--initial-cluster=default=http://127.0.0.1:{peer}")])
            .stdout(Stdio::null())
            .stderr(File::create(path("etcd.log")).unwrap())
            .spawn()
            .expect("etcd in KUBEBUILDER_ASSETS");
        let etcd = Process(etcd);
        let api_server = Command::new(assets.join("kube-apiserver"))
            .args([format!("--etcd-servers=http://127.0.0.1:{store}"), format!("--secure-port={port}")])
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .args([
                "--authorization-mode=AlwaysAllow",
                "--anonymous-auth=false",
                "--service-cluster-ip-range=10.0.0.0/24",
            ])
            .args(["--disable-admission-plugins=ServiceAccount", "--service-account-issuer=https://localhost"])
            .args([format!("--cert-dir={}", path("certs")), format!("--token-auth-file={}", path("tokens"))])
            .args([format!("--service-account-signing-key-file={}", path("sa.key"))])
            .args([format!("--service-account-key-file={}", path("sa.pub"))])
            .stdout(Stdio::null())
            .stderr(File::create(path("api-server.log")).unwrap())
            .spawn()
            .expect("kube-apiserver in KUBEBUILDER_ASSETS");
        let mut api_server = Process(api_server);

        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: test, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test, namespace: default}}}}]\n"
        );
        std::fs::write(path("kubeconfig"), &kubeconfig).unwrap();
        let config = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();

        let begun = Instant::now();
        loop {
            let request = http_get("/readyz");
            if client.request_text(request).await.is_ok_and(|text| text == "ok") {
                break;
            }
            let ended = api_server.0.try_wait().unwrap().is_some();
            if ended || begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(path("api-server.log")).unwrap_or_default();
                let etcd_log = std::fs::read_to_string(path("etcd.log")).unwrap_or_default();
                return Err(format!("{}\n{}", tail(&log), tail(&etcd_log)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Self { client, assets: assets.to_owned(), folder, _api_server: api_server, _etcd: etcd })
    }

    /// Runs the real kubectl. `Err` is what it printed when it failed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(self.assets.join("kubectl"))
            .args(arguments)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("HOME", self.folder.path()) // Its cache of discovery.
            .output()
            .expect("kubectl in KUBEBUILDER_ASSETS");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("{}{}", text(&output.stdout), text(&output.stderr))),
        }
    }
}

/// Waits for what the server does in its own time, such as taking up a changed definition.
pub(crate) async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !reached().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn http_get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).unwrap()
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All of them are held until all are known, so that they differ.
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    std::array::from_fn(|i| held[i].local_addr().unwrap().port())
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
