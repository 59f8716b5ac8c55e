//! One node: what its parts share, and how it starts and stops.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    agent, bootstrap,
    clock::{self, Millis},
    conductor,
    consensus::Core,
    control, crdb, crdt,
    dataset::syncer::LinkId,
    exporter,
    faults::{Faults, Kind},
    guard::Nursery,
    peers::{EndpointReport, NodeReport, ShardReport, SyncReport, TransferReport},
    sentinel, serve,
    settings::Settings,
    shard,
    state::{ClusterState, NodeRecord, digest},
    store,
    tls::{self, Identity},
};

/// What the cluster agreed upon, as this node knows it.
#[derive(Debug)]
pub struct Snapshot {
    /// This node's number.
    pub uid: u32,
    /// Which state this is.
    pub generation: u64,
    /// The state.
    pub state: Arc<ClusterState>,
}

/// What runs on this node.
#[derive(Default)]
pub struct Local {
    /// Shards.
    pub shards: BTreeMap<u32, ShardReport>,
    /// Proxies.
    pub endpoints: BTreeMap<u32, EndpointReport>,
    /// Parts of backups, exports and imports, by transfer and shard.
    pub transfers: BTreeMap<(String, u32), TransferReport>,
    /// Links to sources of Replica Of.
    pub syncs: BTreeMap<LinkId, SyncReport>,
    /// Links to other instances of Active-Active databases.
    pub links: BTreeMap<crdt::link::LinkId, SyncReport>,
}

/// A node.
pub struct Node {
    /// What it was told at start.
    pub settings: Settings,
    /// Version of its redis-server.
    pub redis_version: String,
    /// Unlike that of any other process: launches are granted to it by name.
    pub boot: String,
    /// Token by which the local `rladmin` is known.
    pub rladmin_token: String,
    /// When the process started.
    pub started: Instant,
    /// Failures on demand.
    pub faults: Faults,
    /// Certificate of the REST API.
    pub identity: Identity,
    /// Certificate of database endpoints with TLS.
    pub proxy_identity: Identity,
    /// Starts processes.
    pub nursery: Nursery,
    /// Place in the cluster.
    pub core: Mutex<Core>,
    /// The newest state agreed upon; `None` before the node is a member.
    pub committed: watch::Sender<Option<Arc<Snapshot>>>,
    /// Wakes the consensus loop.
    pub stir: Notify,
    /// One change at a time.
    pub writing: tokio::sync::Mutex<()>,
    /// What runs here.
    pub local: Mutex<Local>,
    /// How the bootstrap stands.
    pub bootstrap: Mutex<bootstrap::Progress>,
    /// Wrong passwords by user, with the time of each; counted on the master.
    pub wrong_logins: Mutex<HashMap<u32, Vec<Millis>>>,
    /// Credentials that other clusters refused, with the time of each.
    pub refused_elsewhere: Mutex<HashMap<String, Instant>>,
    /// Requests that came to the REST API so far, by method; those of `rladmin` apart.
    pub requests: Mutex<BTreeMap<String, u64>>,
}

/// Why a node could not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its redis-server is not there.
    #[error("failed to run `{0}`")]
    RedisServer(String, #[source] io::Error),
    /// Its volume cannot be used.
    #[error("failed to use the volume `{0}`")]
    Volume(String, #[source] io::Error),
    /// A port is taken.
    #[error("failed to listen on {0}")]
    Listen(String, #[source] io::Error),
    /// A certificate cannot be made.
    #[error("failed to make a certificate")]
    Certificate(#[source] io::Error),
}

impl Node {
    /// A node with what its volume says.
    pub fn new(settings: Settings) -> Result<Arc<Self>, NodeError> {
        let volume = |error| NodeError::Volume(settings.data.display().to_string(), error);
        fs::create_dir_all(&settings.data).map_err(volume)?;
        fs::create_dir_all(&settings.etc).map_err(volume)?;
        let durable = store::load(&store::path(&settings.data)).map_err(volume)?;
        let redis_version = redis_version(&settings)?;
        let certificate = tls::self_signed(&settings.hostname, &[&settings.bind, &settings.address])
            .map_err(NodeError::Certificate)?;
        // Only one process binds these addresses, so address and time make the name of a boot unique.
        let boot = digest(&[&settings.address, &clock::now().to_string(), &std::process::id().to_string()]);
        let rladmin_token = digest(&[&boot, "rladmin"]);
        let token_file = settings.etc.join("rladmin.token");
        write_private(&token_file, &rladmin_token).map_err(volume)?;
        let removed = durable.as_ref().is_some_and(|durable| durable.removed);
        let node = Arc::new(Self {
            redis_version,
            boot: boot.get(..12).unwrap_or_default().to_owned(),
            rladmin_token,
            started: Instant::now(),
            faults: Faults::default(),
            identity: Identity::new(&certificate).map_err(NodeError::Certificate)?,
            proxy_identity: Identity::new(&certificate).map_err(NodeError::Certificate)?,
            nursery: Nursery::start().map_err(volume)?,
            bootstrap: Mutex::new(bootstrap::Progress::at_start(durable.is_some(), removed)),
            core: Mutex::new(Core::new(durable)),
            committed: watch::Sender::new(None),
            stir: Notify::new(),
            writing: tokio::sync::Mutex::new(()),
            local: Mutex::new(Local::default()),
            wrong_logins: Mutex::new(HashMap::new()),
            refused_elsewhere: Mutex::default(),
            requests: Mutex::default(),
            settings,
        });
        node.show_certificates();
        Ok(node)
    }

    /// Runs until `stop` resolves, then ends every process that it started.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) -> Result<(), NodeError> {
        let mut tasks = JoinSet::new();
        serve::listen(&self, &mut tasks).await?;
        exporter::listen(&self, &mut tasks).await?;
        sentinel::listen(&self, &mut tasks).await?;
        control::listen(&self, &mut tasks).await?;
        tasks.spawn(Arc::clone(&self).run_consensus());
        tasks.spawn(conductor::run(Arc::clone(&self)));
        tasks.spawn(crdb::run(Arc::clone(&self)));
        tasks.spawn(bootstrap::follow_membership(Arc::clone(&self)));
        let (ending, ended) = watch::channel(false);
        let agent = tokio::spawn(agent::run(Arc::clone(&self), ended));
        info!(address = %self.settings.address, bind = %self.settings.bind, version = %self.settings.version, "node runs");
        tokio::select! {
            biased;
            () = stop => {}
            Some(ended) = tasks.join_next() => warn!(?ended, "a part of the node ended"),
        }
        ending.send_replace(true);
        if let Err(error) = agent.await {
            warn!(%error, "the agent did not end well");
        }
        tasks.shutdown().await;
        Ok(())
    }

    /// The newest state agreed upon.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.committed.borrow().clone()
    }

    /// What runs here, for the master.
    pub fn report(&self) -> NodeReport {
        let local = self.local.lock();
        let mut files = BTreeMap::new();
        // Looked for only when somebody may ask: in a cluster with databases in recovery.
        if let Some(snapshot) = self.snapshot() {
            for bdb in snapshot.state.bdbs.values().filter(|bdb| bdb.status == crate::state::BdbStatus::Recovery) {
                for one in bdb.shards.iter().filter(|one| one.node == snapshot.uid) {
                    let found = shard::data_files(&shard::folder(&self.settings.data, one.uid));
                    if !found.is_empty() && !self.faults.stands(&Kind::MissingFiles) {
                        files.insert(one.uid, found);
                    }
                }
            }
        }
        NodeReport {
            addr: self.settings.address.clone(),
            hostname: self.settings.hostname.clone(),
            uptime: self.started.elapsed().as_secs(),
            software_version: self.settings.version.clone(),
            shards: local.shards.clone(),
            endpoints: local.endpoints.clone(),
            syncs: local.syncs.iter().map(|(id, how)| (*id, how.clone())).collect(),
            links: local.links.iter().map(|(id, how)| (*id, how.clone())).collect(),
            transfers: local.transfers.iter().map(|((id, shard), how)| (id.clone(), *shard, how.clone())).collect(),
            files,
        }
    }

    /// This node as the cluster would note it.
    pub fn record(&self, identity: &bootstrap::Identity) -> NodeRecord {
        let Settings { address, hostname, memory, cores, data, .. } = &self.settings;
        let record = NodeRecord::new(address, hostname, *memory, *cores, &self.redis_version, identity);
        let software_version = self.settings.version.clone();
        NodeRecord { persistent_path: data.display().to_string(), joined: clock::now(), software_version, ..record }
    }

    /// Has the listeners show the cluster's certificates, once there is a cluster.
    pub fn show_certificates(&self) {
        let state = self.core.lock().durable.as_ref().map(|durable| Arc::clone(&durable.state));
        let Some(state) = state else { return };
        if self.faults.stands(&Kind::ExpiredCertificate) {
            let shown = tls::expired(&state.name).and_then(|certificate| self.identity.replace(&certificate));
            if let Err(error) = shown {
                warn!(%error, "failed to show a certificate that has expired");
            }
            return;
        }
        for (name, identity) in [("api", &self.identity), ("proxy", &self.proxy_identity)] {
            if let Some(Err(error)) = state.certificates.get(name).map(|certificate| identity.replace(certificate)) {
                warn!(name, %error, "failed to use a certificate");
            }
        }
    }

    /// Waits for a simulated duration.
    pub async fn take_time(&self, documented: Duration) {
        tokio::time::sleep(self.settings.scaled(documented)).await;
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// `7.0.15` out of `Redis server v=7.0.15 sha=…`.
fn redis_version(settings: &Settings) -> Result<String, NodeError> {
    let failed = |error| NodeError::RedisServer(settings.redis_server.display().to_string(), error);
    let output = std::process::Command::new(&settings.redis_server).arg("--version").output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned);
    version.ok_or_else(|| failed(io::Error::other("it does not tell its version")))
}
