//! This step's part of the status (reference, 1.4): what was observed, not what is wanted. What is not known just now
//! keeps its last value, since not to know is no change.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::facts;
use crate::formation::View;
use crate::managed::Parts;
use crate::seen::Seen;
use crate::state::State;
use crate::storage;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status<'a> {
    state: &'static str,
    spec_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_credential_secret_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_status: Option<Now<'a, LicenseStatus<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    persistence_status: Option<PersistenceStatus>,
    certificates_status: CertificatesStatus,
    #[serde(rename = "managedAPIs")]
    managed_apis: ManagedApis,
    #[serde(skip_serializing_if = "Option::is_none")]
    modules: Option<Now<'a, Vec<Module<'a>>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundled_database_versions: Option<Now<'a, Vec<BundledVersion<'a>>>>,
    #[serde(rename = "redisEnterpriseIPFamily", skip_serializing_if = "Option::is_none")]
    ip_family: Option<&'a str>,
}

/// What a resource that is refused, or about to go, says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bare {
    state: &'static str,
    spec_status: &'static str,
}

/// A value read now, or the last one.
#[derive(Serialize)]
#[serde(untagged)]
enum Now<'a, T> {
    Read(T),
    Last(&'a RawValue),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LicenseStatus<'a> {
    license_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_date: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_date: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards_limit: Option<i64>,
    shards_usage: String,
    ram_shards: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ram_shards_limit: Option<i64>,
    flash_shards: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flash_shards_limit: Option<i64>,
    owner: &'a str,
    features: &'a [String],
}

#[derive(Serialize)]
struct PersistenceStatus {
    status: &'static str,
    succeeded: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificatesStatus {
    generation: i64,
    update_status: &'static str,
}

/// What the operator owns once the spec says something of it.
#[derive(Serialize)]
struct ManagedApis {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ldap: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Module<'a> {
    name: &'a str,
    display_name: &'a str,
    versions: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BundledVersion<'a> {
    db_type: &'a str,
    version: &'a str,
    major: bool,
    feature_support: FeatureSupport,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeatureSupport {
    active_active: bool,
    flex: bool,
}

pub(crate) fn bare(state: State) -> Bare {
    let spec_status = if state == State::Invalid { "Invalid" } else { "Valid" };
    Bare { state: state.as_str(), spec_status }
}

pub(crate) fn full<'a>(seen: &'a Seen<'_>, view: &View, parts: &Parts<'_>, state: State) -> Status<'a> {
    let last = &seen.cluster.status;
    let formed = view.formed().then(|| seen.credentials());
    let read = seen.license.known().map(license).map(Now::Read);
    let license_status = read.or(last.license_status.as_deref().map(Now::Last));
    let read = seen.modules.known().map(|all| Now::Read(modules(all)));
    let modules = read.or(last.modules.as_deref().map(Now::Last));
    let read = seen.nodes.known().map(|nodes| Now::Read(bundled(nodes)));
    let bundled_database_versions = read.or(last.bundled_database_versions.as_deref().map(Now::Last));
    let persistence_status = seen.cluster.spec.persistent().then(|| {
        let progress = storage::progress(seen);
        PersistenceStatus {
            status: progress.word,
            succeeded: format!("{}/{}", progress.ready, seen.cluster.spec.nodes()),
        }
    });
    let address = view.nodes.iter().find_map(|node| node.ip.as_deref());
    let family = address.map(|address| if address.contains(':') { "IPv6" } else { "IPv4" });
    Status {
        state: state.as_str(),
        spec_status: "Valid",
        // Once a cluster was formed with a Secret, it is remembered: it also says that there is a cluster.
        cluster_credential_secret_name: last.cluster_credential_secret_name.as_deref().or(formed),
        license_status,
        persistence_status,
        certificates_status: CertificatesStatus {
            generation: last.certificates_status.generation + i64::from(parts.endpoints_changed(seen)),
            update_status: "Completed",
        },
        managed_apis: ManagedApis { ldap: parts.owns_ldap(seen) },
        modules,
        bundled_database_versions,
        ip_family: family.or(last.ip_family.as_deref()),
    }
}

fn license(license: &facts::License) -> LicenseStatus<'_> {
    let ram = license.ram_shards_in_use.unwrap_or_default();
    let flash = license.flash_shards_in_use.unwrap_or_default();
    let used = ram + flash;
    LicenseStatus {
        license_state: if license.expired == Some(true) { "Expired" } else { "Valid" },
        activation_date: license.activation_date.as_deref(),
        expiration_date: license.expiration_date.as_deref(),
        shards_limit: license.shards_limit,
        shards_usage: license.shards_limit.map_or_else(|| used.to_string(), |limit| format!("{used}/{limit}")),
        ram_shards: ram,
        ram_shards_limit: license.ram_shards_limit,
        flash_shards: flash,
        flash_shards_limit: license.flash_shards_limit,
        owner: license.owner.as_deref().unwrap_or_default(),
        features: license.features.as_deref().unwrap_or_default(),
    }
}

/// By name, so that the order of the answer does not matter.
fn modules(all: &[facts::Module]) -> Vec<Module<'_>> {
    let mut by_name: BTreeMap<&str, Module<'_>> = BTreeMap::new();
    for module in all {
        let name = module.module_name.as_str();
        let entry = by_name.entry(name).or_insert_with(|| Module {
            name,
            display_name: module.display_name.as_deref().unwrap_or(name),
            versions: Vec::new(),
        });
        entry.versions.extend(module.semantic_version.as_deref());
    }
    for module in by_name.values_mut() {
        module.versions.sort_unstable();
        module.versions.dedup();
    }
    by_name.into_values().collect()
}

/// A version counts when every node has it; in the first node's order.
fn bundled(nodes: &[facts::Node]) -> Vec<BundledVersion<'_>> {
    let first = nodes.iter().min_by_key(|node| node.uid);
    let common = first.into_iter().flat_map(|node| &node.supported_database_versions).filter(|version| {
        nodes
            .iter()
            // A node that is down may not say.
            .filter(|node| !node.supported_database_versions.is_empty())
            .all(|node| node.supported_database_versions.contains(version))
    });
    common
        .map(|version| {
            let redis = version.db_type == "redis";
            BundledVersion {
                db_type: if redis { "Redis" } else { &version.db_type },
                version: &version.version,
                major: version.major.unwrap_or_default(),
                feature_support: FeatureSupport { active_active: redis, flex: redis },
            }
        })
        .collect()
}
