//! What a node keeps on its volume: its identity, its vote, and the cluster's state, in one JSON file.
//!
//! The file stands where the product keeps its configuration store (reference, 3.15), and every change is on disk
//! before anybody is told of it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::state::ClusterState;

/// Term and generation: which of two states is newer.
pub type Stamp = (u64, u64);

/// Everything that must survive the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Durable {
    /// This node's number.
    pub uid: u32,
    /// Newest term seen.
    pub term: u64,
    /// For whom it voted in that term.
    pub voted_for: Option<u32>,
    /// Stamp of the state below.
    pub accepted: Stamp,
    /// Generation known to be agreed upon.
    pub committed: u64,
    /// Whether the node was removed from its cluster: its volume must be wiped before it can serve again.
    pub removed: bool,
    /// The newest state accepted.
    #[serde(with = "shared")]
    pub state: Arc<ClusterState>,
}

/// Writes what is shared as if it were owned.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::state::ClusterState;

    pub(super) fn serialize<S: Serializer>(state: &Arc<ClusterState>, serializer: S) -> Result<S::Ok, S::Error> {
        state.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<ClusterState>, D::Error> {
        ClusterState::deserialize(deserializer).map(Arc::new)
    }
}

/// Where the file is below the volume.
pub fn path(data: &Path) -> PathBuf {
    data.join("ccs/ccs-redis.rdb")
}

/// Reads a file; `None` when there is none.
pub fn load(path: &Path) -> io::Result<Option<Durable>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the file so that a crash leaves the old or the new one.
pub fn save(path: &Path, durable: &Durable) -> io::Result<()> {
    let bytes = serde_json::to_vec(durable).map_err(io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}
