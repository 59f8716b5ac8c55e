//! The image itself: spec over what runs already over the operator's default.

use serde::{Deserialize, Serialize};

use crate::Cluster;
use crate::version::Version as Comparable;

/// What the tags of images with validated cryptography end with (reference, 1.3).
const FIPS: &str = ".fips";

/// The step's settings: what a cluster runs whose spec says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The image of Redis Enterprise nodes.
    pub node_image: NodeImage,
}

/// An image by repository and tag.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeImage {
    /// Without tag.
    pub repository: String,
    /// The version.
    pub tag: String,
}

impl Default for NodeImage {
    fn default() -> Self {
        Self { repository: "redislabs/redis".to_owned(), tag: "8.0.20-44.23".to_owned() }
    }
}

/// What later steps are told.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// As a container's `image`.
    pub image: String,
    /// The version alone.
    pub tag: String,
    /// As a container's `imagePullPolicy`.
    pub pull_policy: String,
    /// The version is changing, so that databases are not to be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub upgrading: bool,
    /// Why the version that the spec asks for is not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// This step's part of the status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version<'a> {
    pub(crate) redis_enterprise_version: &'a str,
}

/// A version once taken is kept: without automatic upgrades a newer default must not roll a running cluster.
pub(crate) fn decide(cluster: &Cluster, settings: &Settings) -> Image {
    let spec = &cluster.spec.redis_enterprise_image_spec;
    let in_force = cluster.status.redis_enterprise_version.as_deref().filter(|tag| !tag.is_empty());
    // By itself a cluster goes forward only: whoever named a newer tag than the default before keeps it.
    let newer = |running: &str| Comparable::parse(&settings.node_image.tag) > Comparable::parse(running);
    let automatic = cluster.spec.upgrade_spec.auto_upgrade_redis_enterprise;
    let kept = in_force.filter(|running| !(automatic && newer(running)));
    let tag = spec.version_tag.as_deref().or(kept).unwrap_or(&settings.node_image.tag);
    let repository = spec.repository.as_deref().unwrap_or(&settings.node_image.repository);
    let suffix = if cluster.spec.security_context.fips.enabled { FIPS } else { "" };
    let image = match spec.digest_hash.as_deref() {
        Some(digest) if digest.contains(':') => format!("{repository}@{digest}"),
        Some(digest) => format!("{repository}@sha256:{digest}"),
        None => format!("{repository}:{tag}{suffix}"),
    };
    let pull_policy = spec.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
    Image { image, tag: tag.to_owned(), pull_policy: pull_policy.to_owned(), upgrading: false, refused: None }
}
