//! Decides which Redis Enterprise image a cluster runs, and leaves it as a note for the later steps.
//!
//! It does not roll anything: the `rec` step writes the image into the StatefulSet and replaces the pods one by one. A
//! cluster keeps the version that it has until its spec names another or allows automatic upgrades, even when the operator
//! brings a newer default. A change is checked first; what is refused leaves the running image in the note. Until the last
//! pod has the new image the old version is in force, and going back to it is no downgrade.

mod checks;
mod image;
mod version;

use std::time::Duration;

use serde::Deserialize;
use stepwright_sdk::{
    Event, FactPart, Failure, Judged, Manifest, Observation, Observe, Observed, Plan, Plugin, StepManifest, Violation,
    parse_settings,
};

use crate::checks::Hindrance;

pub use image::{Image, Settings};

/// The plugin.
pub struct Upgrade;

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
    cluster_recovery: bool,
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
    state: String,
}

/// The StatefulSet, as far as it tells which image the pods have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatefulSet {
    metadata: Generation,
    spec: SetSpec,
    status: SetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Generation {
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SetSpec {
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SetStatus {
    observed_generation: i64,
    current_revision: String,
    update_revision: String,
}

impl StatefulSet {
    fn image(&self) -> Option<&str> {
        let containers = &self.spec.template.spec.containers;
        let node = containers.iter().find(|container| container.name == NODE);
        node.map(|container| container.image.as_str()).filter(|image| !image.is_empty())
    }

    /// Some pods may still have an older template.
    fn rolling(&self) -> bool {
        self.status.current_revision != self.status.update_revision
            || self.status.observed_generation < self.metadata.generation
    }
}

/// The container of a node.
const NODE: &str = "redis-enterprise-node";
/// How soon to look again at what may pass.
const LATER: Duration = Duration::from_secs(5);

impl Plugin for Upgrade {
    fn manifest() -> Manifest {
        Manifest::new("upgrade", env!("CARGO_PKG_VERSION"))
            .description("Decides which Redis Enterprise image a cluster runs")
            .step(
                StepManifest::new("upgrade")
                    .primary([
                        "spec.redisEnterpriseImageSpec",
                        "spec.redisEnterpriseServicesRiggerImageSpec",
                        "spec.bootstrapperImageSpec",
                        "spec.upgradeSpec",
                        "spec.securityContext.fips",
                        "spec.clusterRecovery",
                        "status.redisEnterpriseVersion",
                        "status.state",
                    ])
                    .observe(Observe::new("statefulsets", "apps/v1", "StatefulSet").names(["$(metadata.name)"]).fields(
                        [
                            "spec.template.spec.containers",
                            "status.observedGeneration",
                            "status.currentRevision",
                            "status.updateRevision",
                        ],
                    ))
                    .facts(["bdbs", "license", "nodes"])
                    .fact_part("bdbs", FactPart::fields(["name", "status", "redis_version", "version"]))
                    .fact_part("license", FactPart::fields(["expired"]))
                    .fact_part("nodes", FactPart::fields(["uid", "status"])),
            )
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
        if observed.deleting {
            return Ok(taken(&image));
        }
        let sets: Vec<Observed<StatefulSet>> = observed.set("statefulsets")?;
        // Nothing runs yet, so that nothing changes.
        let Some(set) = sets.first() else { return Ok(taken(&image)) };
        Ok(change(observed, &cluster, set, image))
    }
}

/// The image is in force.
fn taken(image: &Image) -> Plan {
    Plan::done().status(&image::Version { redis_enterprise_version: &image.tag }).note(image)
}

/// A cluster runs: the version in force changes when the last pod has it.
fn change(observed: &Observation, cluster: &Cluster, set: &StatefulSet, mut image: Image) -> Plan {
    let in_force = cluster.status.redis_enterprise_version.clone().filter(|tag| !tag.is_empty());
    let Some(in_force) = in_force else { return taken(&image) };
    let was = cluster.status.state.as_str();
    let same = image.tag == in_force;
    let given = set.image() == Some(&image.image);
    if given && !set.rolling() {
        let text = format!("{in_force} -> {}", image.tag);
        let plan = taken(&image);
        return if same { plan } else { plan.event(Event::normal("UpgradeCompleted", text)) };
    }
    if !same && !given {
        // Pods that never served have nothing to lose by another image.
        let began = !matches!(was, "" | "PendingCreation" | "BootstrappingFirstPod" | "ClusterRecreating");
        let hindrance = match (began, was) {
            (false, _) => None,
            // A node may be down for the very image that is to be replaced.
            (true, "Upgrade") => checks::versions(&in_force, &image.tag),
            (true, _) => checks::against(observed, cluster, &in_force, &image.tag),
        };
        if let Some(hindrance) = hindrance {
            return held(cluster, set, image, &in_force, hindrance);
        }
        image.upgrading = began;
        let text = format!("{in_force} -> {}: pods are replaced one by one, from the highest number", image.tag);
        let plan = Plan::done().status(&image::Version { redis_enterprise_version: &in_force }).note(&image);
        return if began { plan.event(Event::normal("UpgradeStarted", text)) } else { plan };
    }
    // On its way there, or back again; another template with the same image is no change of version.
    image.upgrading = !same || was == "Upgrade";
    Plan::done().status(&image::Version { redis_enterprise_version: &in_force }).note(&image)
}

/// What runs goes on running.
fn held(cluster: &Cluster, set: &StatefulSet, image: Image, in_force: &str, hindrance: Hindrance) -> Plan {
    let mut kept = Image { tag: in_force.to_owned(), ..image };
    if let Some(running) = set.image() {
        running.clone_into(&mut kept.image);
    }
    let (why, refused) = match hindrance {
        Hindrance::Refused(why) => (why, true),
        Hindrance::NotYet(why) => (format!("the upgrade begins once {why}"), false),
    };
    kept.refused = refused.then(|| why.clone());
    let version = image::Version { redis_enterprise_version: in_force };
    let word = if refused { "InvalidUpgrade" } else { "UpgradePending" };
    let plan = Plan::waiting(&why, LATER).word(word).status(&version).note(&kept);
    let news = refused && cluster.status.state != "InvalidUpgrade";
    if news { plan.event(Event::warning("UpgradeBlocked", why)) } else { plan }
}

/// The rules on image specs (reference, 3.2).
/// The rules of the spec, for a resource that is not stored yet.
///
/// # Errors
/// What the step could not read either.
pub fn judge(observed: &Observation) -> Result<Judged, Failure> {
    let cluster: Cluster = observed.primary()?;
    Ok(Judged { violations: violations(&cluster.spec), warnings: Vec::new() })
}

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
