//! Decides which Redis Enterprise image a cluster runs, and leaves it as a note for the later steps.
//!
//! It does not roll anything: the `rec` step writes the image into the StatefulSet. A cluster keeps the version that it
//! has until its spec names another or allows automatic upgrades, even when the operator brings a newer default.

mod image;

use serde::Deserialize;
use stepwright_sdk::{
    Failure, Manifest, Observation, Plan, Plugin, StepManifest, Violation, export_plugin, parse_settings,
};

pub use image::{Image, Settings};

/// The plugin.
pub struct Upgrade;

export_plugin!(Upgrade);

/// The fields of a RedisEnterpriseCluster that decide its image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cluster {
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    redis_enterprise_image_spec: ImageSpec,
    redis_enterprise_services_rigger_image_spec: ImageSpec,
    bootstrapper_image_spec: ImageSpec,
    upgrade_spec: UpgradeSpec,
    security_context: SecurityContext,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityContext {
    fips: Fips,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fips {
    enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ImageSpec {
    repository: Option<String>,
    version_tag: Option<String>,
    digest_hash: Option<String>,
    image_pull_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UpgradeSpec {
    auto_upgrade_redis_enterprise: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    redis_enterprise_version: Option<String>,
}

impl Plugin for Upgrade {
    fn manifest() -> Manifest {
        Manifest::new("upgrade", env!("CARGO_PKG_VERSION"))
            .description("Decides which Redis Enterprise image a cluster runs")
            .step(StepManifest::new("upgrade").primary([
                "spec.redisEnterpriseImageSpec",
                "spec.redisEnterpriseServicesRiggerImageSpec",
                "spec.bootstrapperImageSpec",
                "spec.upgradeSpec",
                "spec.securityContext.fips",
                "status.redisEnterpriseVersion",
            ]))
    }

    fn validate_settings(settings: &str) -> Vec<Violation> {
        match parse_settings::<Settings>(settings) {
            Ok(_) => Vec::new(),
            Err(error) => vec![Violation::new("settings", error.to_string())],
        }
    }

    fn reconcile(observed: &Observation) -> Result<Plan, Failure> {
        let cluster: Cluster = observed.primary()?;
        if !observed.deleting {
            Failure::unless_empty(violations(&cluster.spec))?;
        }
        let settings: Settings = observed.settings()?;
        let image = image::decide(&cluster, &settings);
        Ok(Plan::done().status(&image::Version { redis_enterprise_version: &image.tag }).note(&image))
    }
}

/// The rules on image specs (reference, 3.2).
fn violations(spec: &Spec) -> Vec<Violation> {
    let images = [
        ("redisEnterpriseImageSpec", &spec.redis_enterprise_image_spec),
        ("redisEnterpriseServicesRiggerImageSpec", &spec.redis_enterprise_services_rigger_image_spec),
        ("bootstrapperImageSpec", &spec.bootstrapper_image_spec),
    ];
    let mut violations = Vec::new();
    for (name, image) in images {
        if image.digest_hash.is_none() {
            continue;
        }
        let field = format!("spec.{name}.digestHash");
        if spec.upgrade_spec.auto_upgrade_redis_enterprise {
            violations.push(Violation::new(
                field.clone(),
                "excludes upgradeSpec.autoUpgradeRedisEnterprise: a pinned image cannot upgrade itself; remove one of the two",
            ));
        }
        if image.version_tag.is_none() {
            violations.push(Violation::new(
                field,
                format!("needs spec.{name}.versionTag, the version that the digest stands for"),
            ));
        }
    }
    violations
}
