//! A development cluster: a real control plane whose containers are local processes.
//!
//! etcd, the API server, the controller manager and the scheduler are the real ones. The node agent ([`agent`]) plays
//! kubelet: for each container of a pod it starts a local program that the image table ([`ImageTable`]) names, probes
//! it, and reports it. kwok answers exec, logs and port-forward. Everything lies below one folder and ends with one
//! process; [`Cluster`] is the handle that tests and `cargo xtask` use.
//!
//! It is no container runtime: nothing is isolated, and whoever may use this machine may use the cluster. Linux only,
//! because it leans on `/proc` and on all of 127.0.0.0/8 being loopback.

mod agent;
mod binaries;
mod bootstrap;
mod certificates;
mod cluster;
mod control_plane;
mod daemon;
mod egress;
mod files;
pub mod guard;
mod images;
mod kubeconfig;
mod network;
mod process;
mod procfs;
mod state;

use std::path::{Path, PathBuf};

pub use agent::{POWER, PROVISIONER};
pub use binaries::Binaries;
pub use cluster::{Cluster, ClusterOptions, Parts, down, programs_folder};
pub use control_plane::Times;
pub use daemon::{Options as DaemonOptions, Work, run as run_daemon};
pub use images::{Image, ImageTable};
pub use network::{Network, loopback};
pub use procfs::{Identity, MARK, marked};
pub use state::{Phase, State};

/// The root of the repository that this was built from.
#[must_use]
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}
