//! The state file of a cluster: who runs it, how far it is, and where everything lies.
//!
//! It is how the process of the cluster speaks to those who started it; `down` finds the process by it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::procfs::Identity;

/// How far a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum Phase {
    /// Under way; `step` says with what.
    Starting {
        /// What is done now.
        step: String,
    },
    /// All of it runs.
    Running,
    /// It will not run, or no longer.
    Failed {
        /// Why.
        message: String,
        /// Where to read more.
        log: PathBuf,
    },
}

/// The content of `<folder>/state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The process that runs the cluster.
    pub process: Identity,
    /// How far it is.
    pub phase: Phase,
    /// The number N of its networks 10.N and 127.N, once reserved.
    pub network: Option<u8>,
}

impl State {
    fn path(folder: &Path) -> PathBuf {
        folder.join("state.json")
    }

    /// Reads the state of the cluster in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = Self::path(folder);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("failed to parse state file `{}`", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read state file `{}`", path.display())),
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        files::write_atomically(&Self::path(folder), &serde_json::to_vec_pretty(self)?)
    }
}
