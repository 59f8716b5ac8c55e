//! Rules of a RedisEnterpriseActiveActiveDatabase that can be judged before it is stored (reference, 1.7 and 3.18). What every copy is
//! like is judged by the rules of databases.

use serde::Deserialize;
use serde_json::json;
use stepwright_redb::Redb;
use stepwright_sdk::{Failure, Judged, Observe, Plugin, Question, StepManifest, Violation};

/// Where the rules of databases have `spec`.
const GLOBAL: &str = "spec.globalConfigurations";

#[derive(Deserialize)]
struct ActiveActive {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    participating_clusters: Vec<Participant>,
    #[serde(default)]
    global_configurations: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Participant {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Global {
    #[serde(default)]
    is_rof: bool,
}

#[derive(Deserialize)]
struct Anything {}

pub(crate) fn check(name: &str) -> StepManifest {
    let remote = Observe::new("remote-clusters", "app.redislabs.com/v1alpha1", "RedisEnterpriseRemoteCluster");
    StepManifest::new(name)
        .primary(["spec"])
        // Watched only from the first such resource on.
        .observe(remote.all().fields(["metadata.name"]).when("spec.participatingClusters"))
}

pub(crate) fn judge(question: &Question) -> Result<Judged, Failure> {
    let mut observed = question.for_step(&Redb::manifest())?;
    let ActiveActive { spec } = observed.primary()?;
    let name = observed.name().to_owned();
    let mut judged = Judged::default();
    let mut check = |ok: bool, field: &str, text: String| {
        if !ok {
            judged.violations.push(Violation::new(field, text));
        }
    };
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    check(
        letters && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() < 63,
        "metadata.name",
        "must start with a lower-case letter and have lower-case letters, digits and hyphens only, fewer than 63"
            .to_owned(),
    );
    let known: Vec<String> =
        observed.set::<Anything>("remote-clusters")?.into_iter().map(|remote| remote.id.name).collect();
    let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    for Participant { name } in &spec.participating_clusters {
        let text = format!(
            "RedisEnterpriseRemoteCluster `{name}` not found in namespace `{}`, which has {there}: make it, or name another",
            observed.namespace()
        );
        check(known.contains(name), "spec.participatingClusters.name", text);
    }
    let Some(global) = spec.global_configurations else { return Ok(judged) };
    let on_flash = Global::deserialize(&global).is_ok_and(|global| global.is_rof);
    check(
        !on_flash,
        "spec.globalConfigurations.isRof",
        "Active-Active databases are in memory only: remove it".to_owned(),
    );
    observed.primary.body = json!({"metadata": {"name": name}, "spec": global}).to_string();
    let of_database = stepwright_redb::judge_alone(&observed)?.violations.into_iter();
    judged.violations.extend(of_database.filter_map(|violation| {
        let rest = violation.field.strip_prefix("spec")?;
        // It is these databases' own.
        (rest != ".shardingEnabled").then(|| Violation::new(format!("{GLOBAL}{rest}"), violation.message))
    }));
    Ok(judged)
}
