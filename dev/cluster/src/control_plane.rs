//! The control plane: etcd, the API server, the controller manager, the scheduler, and kwok, each below a guard.
//!
//! What they keep lies in the cluster's folder; a component that dies is started again on it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::binaries::Binaries;
use crate::certificates::{Authority, Pair, token_key};
use crate::egress;
use crate::files;
use crate::kubeconfig::{self, User};
use crate::network::{Network, ports};
use crate::process::{Guarded, Spec};

/// How long the API server may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a component may take to end by itself. Not long: nothing that it still has to write will be read.
const STOP_WITHIN: Duration = Duration::from_secs(1);
/// Between the death of a component and its restart.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Times that a real cluster counts in minutes, and a development cluster in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// After how long without a heartbeat a node is `NotReady`.
    pub node_grace: Duration,
    /// How long a pod stays on a node that is not ready.
    pub eviction: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { node_grace: Duration::from_secs(16), eviction: Duration::from_secs(30) }
    }
}

/// A control plane that is being started or runs. Its processes end when it is dropped.
pub(crate) struct ControlPlane {
    folder: PathBuf,
    binaries: Binaries,
    host: Ipv4Addr,
    server: String,
    authority: String,
    components: JoinSet<()>,
    stop: CancellationToken,
}

impl ControlPlane {
    /// Starts etcd and the API server, and waits until that is ready.
    pub(crate) async fn start(
        folder: &Path,
        binaries: Binaries,
        network: &Network,
        times: Times,
    ) -> anyhow::Result<Self> {
        let host = network.host();
        let server = format!("https://{host}:{}", ports::API_SERVER);
        let pki = folder.join("pki");
        let authority = make_certificates(folder, &pki, network, &server)?;
        let mut control_plane = Self {
            folder: folder.to_owned(),
            binaries,
            host,
            server,
            authority,
            components: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        let (egress, stop, number) = (egress::listen(folder)?, control_plane.stop.clone(), network.number());
        control_plane.components.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = egress::serve(egress, number) => {}
            }
        });
        control_plane.start_etcd();
        control_plane.start_api_server(network, &pki, times);
        control_plane.wait_until_ready().await?;
        Ok(control_plane)
    }

    /// The URL of the API server.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The authority's certificate, as PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The admin's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A client with the admin's rights.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        client_for(&self.kubeconfig()).await
    }

    /// Starts what makes objects live: controllers and the scheduler.
    pub(crate) fn start_controllers(&mut self, times: Times) {
        let pki = self.folder.join("pki");
        let path = |name: &str| pki.join(name).display().to_string();
        let folder = self.folder.clone();
        let kubeconfig = |name: &str| format!("--kubeconfig={}", folder.join(name).display());
        let program = self.binaries.controller_manager.clone();
        let arguments = vec![
            kubeconfig("controller-manager.kubeconfig"),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            // Nodes here have no pod ranges, no routes and no cloud.
            "--controllers=*,-node-ipam-controller,-node-route-controller,-service-lb-controller,-cloud-node-lifecycle-controller".into(),
            "--use-service-account-credentials=true".into(),
            format!("--service-account-private-key-file={}", path("tokens.key")),
            format!("--root-ca-file={}", path("ca.crt")),
            format!("--cluster-signing-cert-file={}", path("ca.crt")),
            format!("--cluster-signing-key-file={}", path("ca.key")),
            format!("--node-monitor-grace-period={}s", times.node_grace.as_secs()),
            "--node-monitor-period=2s".into(),
            "--pvclaimbinder-sync-period=5s".into(),
            "--kube-api-qps=200".into(),
            "--kube-api-burst=400".into(),
        ];
        self.start_component("kube-controller-manager", &program, arguments);
        let program = self.binaries.scheduler.clone();
        let arguments =
            vec![kubeconfig("scheduler.kubeconfig"), "--leader-elect=false".into(), "--secure-port=0".into()];
        self.start_component("kube-scheduler", &program, arguments);
    }

    /// Starts kwok, which answers exec, logs and port-forward where a kubelet would. Its CRDs must be there.
    pub(crate) fn start_kwok(&mut self, programs: &Path) {
        let pki = self.folder.join("pki");
        let program = self.binaries.kwok.clone();
        let arguments = vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            // No node carries this: heartbeats and pods are the agent's.
            "--manage-nodes-with-annotation-selector=stepwright.dev/managed-by=kwok".into(),
            // It wants to know of stages, and there are none.
            "--enable-crds=Stage,Exec,Logs,PortForward".into(),
            format!("--node-ip={}", self.host),
            format!("--node-port={}", ports::KUBELET),
            format!("--server-address={}:{}", self.host, ports::KUBELET),
            format!("--tls-cert-file={}", pki.join("kubelet.crt").display()),
            format!("--tls-private-key-file={}", pki.join("kubelet.key").display()),
        ];
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
        self.start_component_with_path("kwok", &program, arguments, path.into());
    }

    /// Ends all components, the API server's clients first.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.components.join_next().await.is_some() {}
    }

    fn start_etcd(&mut self) {
        let clients = format!("http://{}:{}", self.host, ports::ETCD);
        let peers = format!("http://{}:{}", self.host, ports::ETCD_PEERS);
        let program = self.binaries.etcd.clone();
        let arguments = vec![
            format!("--data-dir={}", self.folder.join("etcd").display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            // The data need not outlive the machine.
            "--unsafe-no-fsync".into(),
        ];
        self.start_component("etcd", &program, arguments);
    }

    fn start_api_server(&mut self, network: &Network, pki: &Path, times: Times) {
        let path = |name: &str| pki.join(name).display().to_string();
        let program = self.binaries.api_server.clone();
        let mut arguments = vec![
            format!("--etcd-servers=http://{}:{}", self.host, ports::ETCD),
            format!("--bind-address={}", self.host),
            format!("--secure-port={}", ports::API_SERVER),
            format!("--advertise-address={}", network.advertised_host()),
            format!("--service-cluster-ip-range={}", network.service_range()),
            format!("--client-ca-file={}", path("ca.crt")),
            format!("--tls-cert-file={}", path("apiserver.crt")),
            format!("--tls-private-key-file={}", path("apiserver.key")),
            format!("--kubelet-client-certificate={}", path("kubelet-client.crt")),
            format!("--kubelet-client-key={}", path("kubelet-client.key")),
            format!("--kubelet-certificate-authority={}", path("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--service-account-key-file={}", path("tokens.pub")),
            format!("--service-account-signing-key-file={}", path("tokens.key")),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--allow-privileged=true".into(),
            format!("--default-not-ready-toleration-seconds={}", times.eviction.as_secs()),
            format!("--default-unreachable-toleration-seconds={}", times.eviction.as_secs()),
            // Watches are many and long; they need not delay the end.
            "--shutdown-delay-duration=0s".into(),
            "--shutdown-watch-termination-grace-period=0s".into(),
        ];
        arguments.extend(egress::arguments(&self.folder));
        self.start_component("kube-apiserver", &program, arguments);
    }

    fn start_component(&mut self, name: &'static str, program: &Path, arguments: Vec<String>) {
        self.start_component_with_path(name, program, arguments, std::env::var_os("PATH").unwrap_or_default());
    }

    fn start_component_with_path(
        &mut self,
        name: &'static str,
        program: &Path,
        arguments: Vec<String>,
        path: OsString,
    ) {
        let log = log_path(&self.folder, name);
        let spec = Spec {
            program: program.into(),
            arguments: arguments.into_iter().map(OsString::from).collect(),
            environment: vec![
                ("PATH".into(), path),
                // kwok reads a configuration file from there otherwise.
                ("HOME".into(), self.folder.clone().into()),
            ],
            working_directory: self.folder.clone(),
            pid_file: None,
            cluster_folder: self.folder.clone(),
        };
        let stop = self.stop.clone();
        self.components.spawn(async move {
            if let Err(error) = keep_running(name, &spec, &log, &stop).await {
                tracing::error!(component = name, error = format!("{error:#}"), "component cannot be started");
            }
        });
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let client = self.client().await?;
        loop {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok_and(|text| text == "ok") {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the API server was not ready within {} s; logs: {} and {}",
                    READY_WITHIN.as_secs(),
                    log_path(&self.folder, "kube-apiserver").display(),
                    log_path(&self.folder, "etcd").display()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The log of a component.
pub(crate) fn log_path(folder: &Path, component: &str) -> PathBuf {
    folder.join("logs").join(format!("{component}.log"))
}

/// A client from a kubeconfig file.
pub(crate) async fn client_for(kubeconfig: &Path) -> anyhow::Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read kubeconfig `{}`", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    // Nothing here is far away. What proxies the environment names is for others.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

async fn keep_running(name: &str, spec: &Spec, log: &Path, stop: &CancellationToken) -> anyhow::Result<()> {
    if let Some(folder) = log.parent() {
        files::make_folder(folder)?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    loop {
        let mut process = Guarded::spawn(spec, Stdio::from(file.try_clone()?), Stdio::from(file.try_clone()?))?;
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                process.terminate();
                if tokio::time::timeout(STOP_WITHIN, process.wait()).await.is_err() {
                    process.kill();
                    process.wait().await;
                }
                return Ok(());
            }
            code = process.wait() => {
                tracing::warn!(component = name, code, log = %log.display(), "component ended and is started again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(RESTART_AFTER) => {}
        }
    }
}

/// Makes all certificates and kubeconfigs; answers the authority's certificate.
fn make_certificates(folder: &Path, pki: &Path, network: &Network, server: &str) -> anyhow::Result<String> {
    let authority = Authority::new()?;
    let own: Pair = authority.pair();
    own.write(pki, "ca")?;
    let (private, public) = token_key()?;
    files::write_atomically(&pki.join("tokens.key"), private.as_bytes())?;
    files::write_atomically(&pki.join("tokens.pub"), public.as_bytes())?;
    let host = IpAddr::V4(network.host());
    let addresses = [host, Ipv4Addr::LOCALHOST.into(), network.service_host().into(), network.advertised_host().into()];
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    authority.server("kube-apiserver", &addresses, &names)?.write(pki, "apiserver")?;
    authority.server("kubelet", &[host], &["localhost"])?.write(pki, "kubelet")?;
    authority.client("kube-apiserver", Some("system:masters"))?.write(pki, "kubelet-client")?;
    for (user, group, file) in [
        ("admin", Some("system:masters"), "kubeconfig"),
        ("system:kube-controller-manager", None, "controller-manager.kubeconfig"),
        ("system:kube-scheduler", None, "scheduler.kubeconfig"),
    ] {
        let pair = authority.client(user, group)?;
        kubeconfig::write(&folder.join(file), server, &own.certificate, &User::Certificate(&pair), "default")?;
    }
    Ok(own.certificate)
}
