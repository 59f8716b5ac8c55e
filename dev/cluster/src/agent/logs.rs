//! Container logs, in the format of the container runtime interface: `kubectl logs` reads them through kwok.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// The logs of one container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerLogs {
    pub(crate) current: PathBuf,
    pub(crate) previous: PathBuf,
}

impl ContainerLogs {
    pub(crate) fn new(folder: &Path, container: &str) -> Self {
        Self {
            current: folder.join(format!("{container}.log")),
            previous: folder.join(format!("{container}.previous.log")),
        }
    }

    /// Begins a new log; what was there becomes the previous one.
    pub(crate) fn begin(&self) -> std::io::Result<Arc<Mutex<File>>> {
        if let Some(folder) = self.current.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if self.current.exists() {
            std::fs::rename(&self.current, &self.previous)?;
        }
        Ok(Arc::new(Mutex::new(File::create(&self.current)?)))
    }
}

/// Copies lines of a process's output until it ends.
pub(crate) async fn copy(output: impl AsyncRead + Unpin, name: &'static str, log: Arc<Mutex<File>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line).await, Ok(count) if count > 0) {
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let head = format!("{:.9} {name} F ", Timestamp::now());
        let entry = [head.as_bytes(), &line].concat();
        // A full disk must not stop the process, and there is nowhere to say it.
        let _ = log.lock().unwrap_or_else(PoisonError::into_inner).write_all(&entry);
        line.clear();
    }
}
