//! What a node process is told: by the environment of a development cluster, or by flags when it stands alone.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::resolve::Resolve;

/// The version that a node reports when nobody says which. It says what it is, so that nobody mistakes a simulator for the product.
pub const SOFTWARE_VERSION: &str = "8.0.20-44-simulator";

/// The port of node-to-node traffic, in the range that the product uses for it (reference, 2.5).
pub const PEER_PORT: u16 = 3340;

/// The port of the control API: faults and dumps, never served beside the REST API (REST reference, 16.1 rule 4).
pub const CONTROL_PORT: u16 = 3399;

/// Settings of one node.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Address that every listener binds on.
    #[arg(long, env = "STEPWRIGHT_DEV_BIND", default_value = "127.0.0.1")]
    pub bind: String,
    /// Address by which other nodes and clients know this node.
    #[arg(long, env = "STEPWRIGHT_DEV_POD_IP")]
    pub address: Option<String>,
    /// Folder that stands for the root of the container's file system.
    #[arg(long, env = "STEPWRIGHT_DEV_ROOT")]
    pub root: Option<PathBuf>,
    /// Folder of the persistent volume.
    #[arg(long, env = "SIM_DATA")]
    pub data: Option<PathBuf>,
    /// Host name of the node.
    #[arg(long, env = "POD_NAME")]
    pub hostname: Option<String>,
    /// Factor for all simulated durations.
    #[arg(long, env = "SIM_SCALE", default_value_t = 0.05)]
    pub scale: f64,
    /// Seed of generated identifiers.
    #[arg(long, env = "SIM_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Memory that the node claims to have, in bytes.
    #[arg(long, env = "SIM_MEMORY", default_value_t = 4 << 30)]
    pub memory: u64,
    /// CPU cores that the node claims to have.
    #[arg(long, env = "SIM_CORES", default_value_t = 2)]
    pub cores: u32,
    /// Version that the node claims to be.
    #[arg(long = "software-version", env = "SIM_VERSION")]
    pub version: Option<String>,
    /// Image that the node is taken to run from: its tag is the version, where that is not given.
    #[arg(long, env = "STEPWRIGHT_DEV_IMAGE")]
    pub image: Option<String>,
    /// The redis-server to run for each shard.
    #[arg(long, env = "SIM_REDIS_SERVER", default_value = "redis-server")]
    pub redis_server: PathBuf,
    /// Keep no data: no redis-server runs, no port of a database is opened, and nothing is written to the volume.
    #[arg(long, env = "SIM_WITHOUT_DATA")]
    pub without_data: bool,
    /// Where names of other clusters lead: `HOST:PORT:ADDRESS:PORT2`, separated by commas; HOST may be `*` or `*.suffix`.
    #[arg(long, env = "SIM_RESOLVE", default_value = "")]
    pub resolve: Resolve,
}

/// Settings with everything derived.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where listeners bind.
    pub bind: String,
    /// How others know the node.
    pub address: String,
    /// The persistent volume.
    pub data: PathBuf,
    /// Where `node.id` and the token of `rladmin` are: gone with the pod, unlike `data`.
    pub etc: PathBuf,
    /// What stands for the root of the container's file system.
    pub root: Option<PathBuf>,
    /// Host name.
    pub hostname: String,
    /// Factor for simulated durations.
    pub scale: f64,
    /// Seed of identifiers.
    pub seed: u64,
    /// Claimed memory.
    pub memory: u64,
    /// Claimed cores.
    pub cores: u32,
    /// Binary for shards.
    pub redis_server: PathBuf,
    /// Databases are descriptions only, and the cluster's state is in memory only.
    pub without_data: bool,
    /// Claimed version.
    pub version: String,
    /// Where names of other clusters lead.
    pub resolve: Resolve,
}

impl NodeArgs {
    /// Derives the settings from the arguments.
    pub fn settings(self) -> Settings {
        let Self {
            bind,
            address,
            root,
            data,
            hostname,
            scale,
            seed,
            memory,
            cores,
            version,
            image,
            redis_server,
            without_data,
            resolve,
        } = self;
        let version = version.or_else(|| version_of(image.as_deref()?));
        let etc = etc_folder(root.as_deref(), data.as_deref());
        let data = data.unwrap_or_else(|| root.clone().unwrap_or_else(|| PathBuf::from("/")).join("opt/persistent"));
        Settings {
            address: address.unwrap_or_else(|| bind.clone()),
            hostname: hostname.unwrap_or_else(|| format!("node-{}", bind.replace('.', "-"))),
            scale: scale.max(0.0),
            bind,
            data,
            etc,
            root,
            seed,
            memory,
            cores,
            redis_server,
            without_data,
            resolve,
            version: version.unwrap_or_else(|| SOFTWARE_VERSION.to_owned()),
        }
    }
}

/// The version of an image: its tag, with a word that says what this is. None of an image by digest.
fn version_of(image: &str) -> Option<String> {
    let name = image.rsplit('/').next()?;
    let (_, tag) = name.split_once(':').filter(|_| !name.contains('@'))?;
    Some(format!("{}-simulator", tag.trim_end_matches(".fips")))
}

/// The folder of `node.id`: below the container's root, or below the data folder of a node that stands alone.
pub fn etc_folder(root: Option<&Path>, data: Option<&Path>) -> PathBuf {
    match (root, data) {
        (Some(root), _) => root.join("etc/opt/redislabs"),
        (None, Some(data)) => data.join("etc"),
        (None, None) => PathBuf::from("/etc/opt/redislabs"),
    }
}

impl Settings {
    /// A documented duration, scaled.
    pub fn scaled(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.scale)
    }

    /// A documented duration in milliseconds, scaled.
    pub fn scaled_ms(&self, ms: u64) -> u64 {
        u64::try_from(self.scaled(Duration::from_millis(ms)).as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a follower hears nothing before it thinks the master gone. Documented as 2-5 s; the floor keeps a
    /// busy machine, on which a process is not scheduled for a second, from electing for nothing.
    pub fn election_timeout(&self) -> Duration {
        self.scaled(Duration::from_secs(3)).max(Duration::from_millis(1500))
    }

    /// How long the master hears nothing before a node counts as down (REST reference, 16.2).
    pub fn down_after(&self) -> Duration {
        self.scaled(Duration::from_secs(4)).max(Duration::from_millis(1800))
    }
}

/// Where to dial a node's address: in a development cluster, what is served on 10.N.x.y is bound on 127.N.x.y.
pub fn dial(address: &str) -> String {
    match address.strip_prefix("10.") {
        Some(rest) => format!("127.{rest}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag_of_the_image() {
        assert_eq!(version_of("redislabs/redis:8.0.20-50").as_deref(), Some("8.0.20-50-simulator"));
        assert_eq!(version_of("registry:5000/redis:8.0.20-50.fips").as_deref(), Some("8.0.20-50-simulator"));
        for image in ["registry:5000/redis", "redis@sha256:aa", "redis:8@sha256:aa"] {
            assert_eq!(version_of(image), None, "{image}");
        }
    }
}
