//! Rules of databases (reference, 3.3): those that the spec breaks by itself, and those that it breaks on this cluster.
//!
//! Each text names the rule and the remedy; the field goes with it.

use stepwright_sdk::{Failure, Observed, Violation};

use crate::bdb::{REDB_NAME, REDB_NAMESPACE, RESERVED_TAGS};
use crate::seen::{License, Seen};
use crate::settings::Bdb;
use crate::size;
use crate::spec::{Cluster, Spec, said};
use crate::{backup, replica, version};

const EVICTION_POLICIES: [&str; 8] = [
    "volatile-lru",
    "volatile-ttl",
    "volatile-random",
    "allkeys-lru",
    "allkeys-random",
    "noeviction",
    "volatile-lfu",
    "allkeys-lfu",
];
const PROXY_POLICIES: [&str; 3] = ["single", "all-master-shards", "all-nodes"];

/// The cluster that is meant; `None` while there is none to choose.
pub(crate) fn cluster<'a>(seen: &'a Seen<'_>) -> Result<Option<&'a Observed<Cluster>>, Failure> {
    let field = "spec.redisEnterpriseCluster.name";
    let named = seen.cluster_name();
    let names: Vec<String> = seen.clusters.iter().map(|cluster| format!("`{}`", cluster.id.name)).collect();
    match (seen.cluster(), named, names.as_slice()) {
        (Some(cluster), ..) => Ok(Some(cluster)),
        (None, None, []) => Ok(None),
        (None, None, _) => {
            let text = format!("must say which cluster is meant, as the namespace has {}", names.join(" and "));
            Err(Failure::invalid(field, text))
        }
        (None, Some(name), _) => {
            let namespace = seen.cluster_namespace();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(" and ") };
            let text = format!(
                "RedisEnterpriseCluster `{name}` not found in namespace `{namespace}`, which has {there}: make it, or name another"
            );
            Err(Failure::invalid(field, text))
        }
    }
}

/// Rules that need nothing but the spec and the cluster's.
pub(crate) fn of_spec(seen: &Seen<'_>, cluster: &Cluster) -> Vec<Violation> {
    let spec = &seen.database.spec;
    let mut broken = Vec::new();
    let mut check = |ok: bool, field: &str, text: String| {
        if !ok {
            broken.push(Violation::new(field, text));
        }
    };
    let name = seen.observed.name();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') && name.len() <= 63;
    check(
        plain,
        "metadata.name",
        "must have letters, digits and hyphens only, at most 63, as the database is named so".into(),
    );
    sizes(spec, &mut check);
    words(spec, &mut check);
    let port_fits = spec.database_port.is_none_or(|port| (10_000..20_000).contains(&port) && port != 10_050);
    check(
        port_fits,
        "spec.databasePort",
        "must be from 10000 to 19999, and not 10050, which is reserved: choose another, or leave it out".into(),
    );
    let service_port_fits = spec.database_service_port.is_none_or(|port| (1..=65_535).contains(&port));
    check(service_port_fits, "spec.databaseServicePort", "must be from 1 to 65535".into());
    let shards_fit = spec.shard_count.is_none_or(|shards| (1..=512).contains(&shards));
    check(shards_fit, "spec.shardCount", "must be from 1 to 512".into());
    check(
        spec.sharding_enabled.is_none(),
        "spec.shardingEnabled",
        "is for Active-Active databases only: remove it, and use shardCount".into(),
    );
    memcached(spec, &mut check);
    backup::rules(spec, &mut check);
    replica::rules(spec, name, &mut check);
    for pair in &spec.roles_permissions {
        let text = format!("must be redis-enterprise; it is `{}`", pair.type_);
        check(["", "redis-enterprise"].contains(&pair.type_.as_str()), "spec.rolesPermissions.type", text);
    }
    let ratio_fits = spec.rof_ram_ratio.is_none_or(|ratio| (0..=100).contains(&ratio));
    check(ratio_fits, "spec.rofRamRatio", "must be from 0 to 100, a percentage of memorySize".into());
    let flash_only = spec.on_flash() || (spec.rof_ram_ratio.is_none() && said(spec.rof_ram_size.as_ref()).is_none());
    check(flash_only, "spec.isRof", "is needed for rofRamSize and rofRamRatio: set it to true, or remove them".into());
    check(
        spec.oss_cluster_settings.as_ref().is_none_or(|it| !it.enable_external_access)
            || spec.oss_cluster.unwrap_or_default(),
        "spec.ossClusterSettings.enableExternalAccess",
        "needs the OSS cluster API: set ossCluster to true, or remove it".into(),
    );
    check(
        !spec.rack_aware.unwrap_or_default() || said(cluster.spec.rack_awareness_node_label.as_ref()).is_some(),
        "spec.rackAware",
        "needs a rack-aware cluster: set spec.rackAwarenessNodeLabel there, or remove it".into(),
    );
    check(
        !spec.on_flash() || cluster.spec.redis_on_flash_spec.is_some(),
        "spec.isRof",
        "needs a cluster with flash: set spec.redisOnFlashSpec there, or remove it".into(),
    );
    for key in spec.tags.keys().filter(|key| RESERVED_TAGS.contains(&key.as_str())) {
        check(false, "spec.tags", format!("the key `{key}` is the operator's own: choose another"));
    }
    let fixed = spec.modules_list.iter().any(|module| said(module.version.as_ref()).is_some());
    check(
        !(spec.upgrade_spec.upgrade_modules_to_latest && fixed),
        "spec.upgradeSpec.upgradeModulesToLatest",
        "excludes fixed versions in modulesList: remove the versions, or set it to false".into(),
    );
    modules(spec, cluster, &mut check);
    broken
}

fn memcached(spec: &Spec, check: &mut dyn FnMut(bool, &str, String)) {
    if !spec.memcached() {
        let text = "is for databases of type memcached only: remove it, or set type to memcached";
        check(said(spec.memcached_sasl_secret_name.as_ref()).is_none(), "spec.memcachedSaslSecretName", text.into());
        return;
    }
    let text = "must be redis, as memcached databases have no";
    check(spec.modules_list.is_empty(), "spec.type", format!("{text} modules: remove modulesList, or set it to redis"));
    let oss = spec.oss_cluster.unwrap_or_default();
    check(!oss, "spec.type", format!("{text} OSS cluster API: remove ossCluster, or set it to redis"));
}

fn sizes(spec: &Spec, check: &mut dyn FnMut(bool, &str, String)) {
    let shape = "must be a number with MB or GB, such as 256MB or 0.5GB";
    let Some(text) = said(spec.memory_size.as_ref()) else {
        check(!spec.on_flash(), "spec.memorySize", "must be at least 1GB with isRof: set it".into());
        return;
    };
    let Some(size) = size::parse(text) else {
        check(false, "spec.memorySize", format!("{shape}; it is `{text}`"));
        return;
    };
    check(size >= size::LEAST, "spec.memorySize", format!("must be at least 100MB; it is {text}: raise it"));
    if !spec.on_flash() {
        return;
    }
    check(
        size >= size::LEAST_ON_FLASH,
        "spec.memorySize",
        format!("must be at least 1GB with isRof; it is {text}: raise it, or remove isRof"),
    );
    if let Some(text) = said(spec.rof_ram_size.as_ref()) {
        match size::parse(text) {
            None => check(false, "spec.rofRamSize", format!("{shape}; it is `{text}`")),
            Some(ram) => check(
                ram >= size / 10 && ram <= size,
                "spec.rofRamSize",
                format!("must be from a tenth of memorySize to all of it; it is {text}"),
            ),
        }
    }
}

fn words(spec: &Spec, check: &mut dyn FnMut(bool, &str, String)) {
    if let Some(policy) = said(spec.eviction_policy.as_ref()) {
        // The wording that people know from the product's admission webhook (reference, 3.20).
        let all = EVICTION_POLICIES.map(|word| format!("'{word}'")).join(", ");
        let text = format!("'{policy}' is an invalid value for 'eviction_policy'. Possible values are [{all}]");
        check(EVICTION_POLICIES.contains(&policy), "spec.evictionPolicy", text);
    }
    if let Some(policy) = said(spec.proxy_policy.as_ref()) {
        let all = PROXY_POLICIES.join(", ");
        check(PROXY_POLICIES.contains(&policy), "spec.proxyPolicy", format!("`{policy}` must be one of {all}"));
    }
}

fn modules(spec: &Spec, cluster: &Cluster, check: &mut dyn FnMut(bool, &str, String)) {
    let known = &cluster.status.modules;
    // Before the cluster has told its modules nothing can be said of them.
    if known.is_empty() {
        return;
    }
    for module in &spec.modules_list {
        let found = known.iter().find(|known| known.name == module.name);
        let version = said(module.version.as_ref());
        let there =
            found.is_some_and(|found| version.is_none_or(|version| found.versions.iter().any(|it| it == version)));
        let all: Vec<&str> = known.iter().map(|module| module.name.as_str()).collect();
        let version = version.map(|version| format!(" version: {version}")).unwrap_or_default();
        let text = format!("cluster missing this module: {}{version}; it has {}", module.name, all.join(", "));
        check(there, "spec.modulesList", text);
    }
}

/// Which resource a database is of, in words.
pub(crate) fn made_by(bdb: &Bdb) -> String {
    match (bdb.tag(REDB_NAMESPACE), bdb.tag(REDB_NAME)) {
        (Some(namespace), Some(name)) => format!("RedisEnterpriseDatabase `{namespace}/{name}` made it"),
        _ => "no resource made it".to_owned(),
    }
}

/// Rules that need the list of the cluster's databases.
pub(crate) fn of_cluster(seen: &Seen<'_>, cluster: &Cluster, bdbs: &[Bdb]) -> Vec<Violation> {
    let spec = &seen.database.spec;
    let own = seen.own(bdbs);
    let mut broken = Vec::new();
    let mut check = |ok: bool, field: &str, text: String| {
        if !ok {
            broken.push(Violation::new(field, text));
        }
    };
    let others = || bdbs.iter().filter(|bdb| own.is_none_or(|own| own.uid != bdb.uid));
    // A second one beside ours is odd, but no reason to leave ours alone.
    if let Some(foreign) = others().find(|bdb| own.is_none() && bdb.name() == seen.observed.name()) {
        let of = made_by(foreign);
        let text = format!(
            "the cluster has another database `{}` (uid {}), and {of}: name this resource differently, or delete that database",
            foreign.name(),
            foreign.uid
        );
        check(false, "metadata.name", text);
    }
    if let Some(port) = spec.port() {
        let taken = others().find(|bdb| bdb.endpoint().is_some_and(|(_, theirs)| theirs == port));
        if let Some(taken) = taken {
            let text = format!("{port} is the port of database `{}`: choose another, or leave it out", taken.name());
            check(false, "spec.databasePort", text);
        }
        if let Some((_, found)) = own.and_then(Bdb::endpoint) {
            let text = format!(
                "cannot be changed; the database has {found}: set it back, and use databaseServicePort for another port of the Services"
            );
            check(found == port, "spec.databasePort", text);
        }
    }
    if let (Some(own), Some(_)) = (own, spec.shard_count) {
        let (found, wanted) = (own.shards_count.unwrap_or(1), spec.shards());
        let text = format!(
            "the database has {found} shards, and they can only grow, to a multiple of that: {wanted} is not possible; for \
             fewer, make a smaller database and copy the data into it with replicaSources"
        );
        check(wanted >= found && wanted.is_multiple_of(found.max(1)), "spec.shardCount", text);
    }
    if let Some(own) = own {
        let text = "cannot be changed once the database is there: set it back, or make a new database".to_owned();
        check(own.bigstore.unwrap_or_default() == spec.on_flash(), "spec.isRof", text.clone());
        let memcached = own.type_.as_deref() == Some("memcached");
        check(memcached == spec.memcached(), "spec.type", text);
    }
    version::rules(seen, cluster, own, &mut check);
    broken
}

/// The database would have more shards than it has.
pub(crate) fn grows(seen: &Seen<'_>, own: Option<&Bdb>) -> bool {
    own.is_none_or(|own| own.licensed_shards() < seen.database.spec.licensed_shards())
}

/// Whether the license has room for what the database would grow by, beside the databases that are listed; only asked before
/// something is sent.
pub(crate) fn license(seen: &Seen<'_>, license: &License, own: Option<&Bdb>, listed: &[Bdb]) -> Option<Violation> {
    let spec = &seen.database.spec;
    let wanted = spec.licensed_shards();
    if !grows(seen, own) {
        return None;
    }
    let of_kind = if spec.on_flash() { license.flash_shards_limit } else { license.ram_shards_limit };
    let limit = of_kind.or(license.shards_limit)?;
    let counts = |bdb: &&Bdb| {
        own.is_none_or(|own| own.uid != bdb.uid)
            && (of_kind.is_none() || bdb.bigstore.unwrap_or_default() == spec.on_flash())
    };
    let others: u64 = listed.iter().filter(counts).map(Bdb::licensed_shards).sum();
    let total = others + wanted;
    let field = if spec.replication.unwrap_or_default() { "spec.replication" } else { "spec.shardCount" };
    (total > limit).then(|| {
        let left = limit.saturating_sub(others);
        // The first two sentences are the product's (reference, 3.9).
        let text = format!(
            "Total shards count exceeds amount of total shards permitted by license. License permits {limit} total shards, \
             but there are {total} total shards in use, {wanted} of them of this database, replicas included: ask for \
             at most {left} of them, or install a larger license"
        );
        Violation::new(field, text)
    })
}
