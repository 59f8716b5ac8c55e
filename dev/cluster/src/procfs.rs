//! What `/proc` tells of processes: who is whose child, when one started, and which belong to a cluster.
//!
//! A process id alone names nobody for long, so everything that is ended later is known by id and start time.

use std::collections::HashMap;
use std::path::Path;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// The environment variable that marks every process of a cluster; its value is the cluster's folder.
pub const MARK: &str = "STEPWRIGHT_DEV_CLUSTER_DIR";

/// A process, told apart from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// Its start, in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub start: u64,
}

impl Identity {
    /// The process that has this id now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, start: stat.start })
    }

    /// Whether it still runs; one that ended and waits to be collected does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && stat.state != 'Z' && stat.state != 'X')
    }

    /// Sends a signal, if it still is the same process.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            kill(self.pid, signal);
        }
    }
}

struct Stat {
    state: char,
    parent: u32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in brackets and may hold anything, so count from behind it.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, start })
}

fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Every living process below `root`, itself left out.
#[must_use]
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in all() {
        if let Some(stat) = stat(pid)
            && stat.state != 'Z'
        {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(child);
            open.push(child);
        }
    }
    found
}

/// Every living process that carries the mark of the cluster in `folder`.
#[must_use]
pub fn marked(folder: &Path) -> Vec<Identity> {
    let mark = [MARK.as_bytes(), b"=", folder.as_os_str().as_encoded_bytes()].concat();
    let own = std::process::id();
    all()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == mark))
        })
        .filter_map(Identity::of)
        .filter(Identity::is_alive)
        .collect()
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_id_and_start() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let stranger = Identity { start: own.start + 1, ..own };
        assert!(!stranger.is_alive(), "a process with the same id that started later is another one");
    }

    #[test]
    fn a_marked_process_is_found_and_an_unmarked_is_not() {
        let folder = std::env::temp_dir().join(format!("stepwright-mark-{}", std::process::id()));
        let mut marked_child = std::process::Command::new("sleep").arg("60").env(MARK, &folder).spawn().unwrap();
        let mut other_child = std::process::Command::new("sleep").arg("60").env_remove(MARK).spawn().unwrap();
        // Right after the spawn the environment may still be the parent's.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let found = loop {
            let found = marked(&folder);
            if !found.is_empty() || std::time::Instant::now() > deadline {
                break found;
            }
            std::thread::yield_now();
        };
        let pids: Vec<u32> = found.iter().map(|identity| identity.pid).collect();
        let expected = vec![marked_child.id()];
        for child in [&mut marked_child, &mut other_child] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(pids, expected);
        assert!(marked(&folder).is_empty());
    }
}
