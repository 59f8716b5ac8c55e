//! The image table: which local program stands for which container image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::files;

/// What an image "contains".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The image's name without tag and digest, as in `redislabs/redis`.
    pub repository: String,
    /// The program and its first arguments; a container's `args` follow, its `command` replaces it.
    pub entrypoint: Vec<String>,
    /// More programs on the container's PATH: the name there, and the file it stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, PathBuf>,
}

impl Image {
    /// An image that runs `entrypoint`.
    #[must_use]
    pub fn new<S: Into<String>>(repository: &str, entrypoint: impl IntoIterator<Item = S>) -> Self {
        Self {
            repository: repository.to_owned(),
            entrypoint: entrypoint.into_iter().map(Into::into).collect(),
            programs: BTreeMap::new(),
        }
    }

    /// Adds a program to the container's PATH.
    #[must_use]
    pub fn with_program(mut self, name: &str, file: impl Into<PathBuf>) -> Self {
        self.programs.insert(name.to_owned(), file.into());
        self
    }
}

/// All images that can be "pulled".
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImageTable {
    images: Vec<Image>,
}

impl ImageTable {
    /// The images of Stepwright itself, from the folder where cargo puts its programs.
    #[must_use]
    pub fn of_stepwright(programs: &Path) -> Self {
        let program = |name: &str| programs.join(name);
        let simulator = program("redis-enterprise-simulator");
        Self {
            images: vec![
                Image::new("redislabs/redis", [simulator.display().to_string(), "node".to_owned()])
                    .with_program("rladmin", simulator.clone())
                    .with_program("crdb-cli", simulator),
                Image::new("stepwright/operator", [program("stepwright").display().to_string()]),
            ],
        }
    }

    /// Adds an image, or replaces the one of the same repository.
    pub fn insert(&mut self, image: Image) {
        self.images.retain(|existing| existing.repository != image.repository);
        self.images.push(image);
    }

    /// Reads more images from a JSON file: a list of [`Image`].
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn extend_from_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read(path).with_context(|| format!("failed to read image table `{}`", path.display()))?;
        let images: Vec<Image> = serde_json::from_slice(&text)
            .with_context(|| format!("failed to parse image table `{}`", path.display()))?;
        images.into_iter().for_each(|image| self.insert(image));
        Ok(())
    }

    /// The image for a reference such as `docker.io/redislabs/redis:8.0.20-44.23`; or why it cannot be had.
    pub(crate) fn pull(&self, reference: &str) -> Result<&Image, String> {
        let repository = repository(reference);
        let image = self.images.iter().find(|image| image.repository == repository).ok_or_else(|| {
            format!(
                "failed to pull image \"{reference}\": {repository} is not in the development cluster's image table"
            )
        })?;
        let files = image.entrypoint.first().map(PathBuf::from).into_iter().chain(image.programs.values().cloned());
        // A bare name is searched on the PATH when it is started.
        match files.filter(|file| file.is_absolute()).find(|file| !file.exists()) {
            Some(missing) => {
                Err(format!("failed to pull image \"{reference}\": `{}` has not been built", missing.display()))
            }
            None => Ok(image),
        }
    }

    /// Makes a folder with the programs of all images: kwok searches the command of an `exec` on its own PATH.
    pub(crate) fn all_programs_folder(&self, below: &Path) -> anyhow::Result<PathBuf> {
        let folder = below.join("all");
        files::make_folder(&folder)?;
        for (name, file) in self.images.iter().flat_map(|image| &image.programs) {
            files::link(file, &folder.join(name))?;
        }
        Ok(folder)
    }

    /// Makes the folder that comes first on the PATH of the image's containers.
    pub(crate) fn programs_folder(image: &Image, below: &Path) -> anyhow::Result<PathBuf> {
        let folder = below.join(image.repository.replace('/', "_"));
        files::make_folder(&folder)?;
        for (name, file) in &image.programs {
            files::link(file, &folder.join(name))?;
        }
        if let Some(entrypoint) = image.entrypoint.first().map(Path::new)
            && let Some(name) = entrypoint.file_name().filter(|_| entrypoint.is_absolute())
        {
            files::link(entrypoint, &folder.join(name))?;
        }
        Ok(folder)
    }
}

/// The repository of an image reference, as Docker Hub's short form has it.
fn repository(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    // A colon before the last slash belongs to the registry's port.
    let end = match (reference.rfind(':'), reference.rfind('/')) {
        (Some(colon), slash) if slash.is_none_or(|slash| colon > slash) => colon,
        _ => reference.len(),
    };
    let repository = reference.get(..end).unwrap_or(reference);
    let repository = repository.strip_prefix("docker.io/").unwrap_or(repository);
    repository.strip_prefix("library/").unwrap_or(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_digest_and_the_default_registry_do_not_matter() {
        for reference in [
            "redislabs/redis",
            "redislabs/redis:8.0.20-44.23",
            "docker.io/redislabs/redis:8",
            "redislabs/redis@sha256:00",
            "redislabs/redis:8@sha256:00",
        ] {
            assert_eq!(repository(reference), "redislabs/redis", "{reference}");
        }
        assert_eq!(repository("127.0.0.1:5000/redis"), "127.0.0.1:5000/redis");
    }

    #[test]
    fn an_unknown_image_and_one_not_built_are_refused_by_name() {
        let table = ImageTable::of_stepwright(Path::new("/nowhere"));
        assert!(table.pull("example/other:1").unwrap_err().contains("example/other is not in"));
        assert!(table.pull("stepwright/operator:1").unwrap_err().contains("`/nowhere/stepwright` has not been built"));
    }

    #[test]
    fn a_later_entry_wins() {
        let mut table = ImageTable::of_stepwright(Path::new("/nowhere"));
        table.insert(Image::new("stepwright/operator", ["sleep", "60"]));
        assert_eq!(table.pull("stepwright/operator:1").unwrap().entrypoint, ["sleep", "60"]);
    }
}
