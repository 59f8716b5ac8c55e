//! Which bindings were handed out: a JSON file in a folder that outlives the process, replaced as a whole.
//!
//! The folder is opened once, as a capability: nothing outside of it can be reached by a name that a request brings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::error::BrokerError;

const FILE: &str = "bindings.json";
const NEXT: &str = "bindings.json.next";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) instance: String,
    pub(crate) service: String,
    pub(crate) plan: String,
}

/// By id of the binding.
type All = BTreeMap<String, Binding>;

/// The bindings, in memory and in their file.
pub struct Bindings {
    folder: Dir,
    all: Mutex<All>,
}

impl Bindings {
    /// # Errors
    /// When the folder cannot be opened, or its file holds something else: a file that is not understood is never replaced.
    pub fn open(folder: &Path) -> Result<Self, BrokerError> {
        let failed =
            |source: std::io::Error| BrokerError::Store { file: folder.join(FILE).display().to_string(), source };
        let folder = Dir::open_ambient_dir(folder, ambient_authority()).map_err(failed)?;
        let all = match folder.read(FILE) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => All::new(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { folder, all: Mutex::new(all) })
    }

    /// Adds a binding. `false` if the same is there already.
    pub(crate) async fn add(&self, id: &str, binding: Binding) -> Result<bool, BrokerError> {
        let mut all = self.all.lock().await;
        match all.get(id) {
            Some(known) if *known == binding => return Ok(false),
            Some(_) => return Err(BrokerError::Conflict { what: "binding", id: id.to_owned() }),
            None => {}
        }
        let mut next = all.clone();
        next.insert(id.to_owned(), binding);
        self.store(&next)?;
        *all = next;
        Ok(true)
    }

    /// Takes a binding out.
    pub(crate) async fn remove(&self, id: &str, instance: &str) -> Result<(), BrokerError> {
        let mut all = self.all.lock().await;
        if all.get(id).is_none_or(|binding| binding.instance != instance) {
            return Err(BrokerError::Gone { what: "binding", id: id.to_owned() });
        }
        let mut next = all.clone();
        next.remove(id);
        self.store(&next)?;
        *all = next;
        Ok(())
    }

    /// Ids of the bindings of an instance.
    pub(crate) async fn of(&self, instance: &str) -> Vec<String> {
        let all = self.all.lock().await;
        all.iter().filter(|(_, binding)| binding.instance == instance).map(|(id, _)| id.clone()).collect()
    }

    /// Written aside and moved, so that a crash leaves the old file or the new one. A few hundred bytes for each binding, and
    /// rare: written where the request is answered.
    fn store(&self, all: &All) -> Result<(), BrokerError> {
        let write = || -> std::io::Result<()> {
            let mut file = self.folder.create(NEXT)?;
            file.write_all(&serde_json::to_vec_pretty(all)?)?;
            file.sync_all()?;
            self.folder.rename(NEXT, &self.folder, FILE)
        };
        write().map_err(|source| BrokerError::Store { file: FILE.to_owned(), source })
    }
}
