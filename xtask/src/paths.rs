//! Where things lie: the repository, cargo's target folder, the programs in it, and the folders of clusters.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, which `CARGO_TARGET_DIR` may move.
    pub(crate) target: PathBuf,
}

impl Paths {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask lies nowhere")?.to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Self { target: std::path::absolute(target)?, root })
    }

    /// The folder of the programs that cargo built.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("debug")
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// The folder of our own control plane programs.
    pub(crate) fn control_plane(&self) -> PathBuf {
        self.target.join("control-plane")
    }

    /// The folder of a cluster.
    pub(crate) fn cluster(&self, name: &str) -> anyhow::Result<PathBuf> {
        let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        if name.is_empty() || !is_plain {
            bail!("cluster name `{name}` is not made of letters, digits and dashes");
        }
        Ok(self.root.join(".dev").join(name))
    }

    /// The kubectl that the control plane came with.
    pub(crate) fn kubectl(&self) -> PathBuf {
        let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
        let given = given.map(|folder| PathBuf::from(folder).join("kubectl")).filter(|path| path.exists());
        given.unwrap_or_else(|| self.control_plane().join("kubectl"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_name_cannot_lead_elsewhere() {
        let paths = Paths::new().unwrap();
        assert!(paths.cluster("a-1").is_ok());
        for name in ["", "..", "a/b"] {
            assert!(paths.cluster(name).is_err(), "{name}");
        }
    }
}
