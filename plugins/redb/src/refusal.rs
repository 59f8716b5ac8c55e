//! What a reply means for us (REST reference, 2.2 and 2.3), and what a refusal means for the user.

use serde::Deserialize;
use stepwright_sdk::Reply;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    /// Another change is under way.
    Busy,
    /// The object or path is not there.
    NotFound,
    /// Only something else being asked for can help. In words: why, which field, what would do.
    Refused(String),
    /// It may have been carried out or not.
    Unknown(String),
}

pub(crate) fn outcome(reply: &Reply) -> Outcome {
    match reply.status {
        200..300 => Outcome::Accepted,
        409 if error_code(reply) != "uid_exists" => Outcome::Busy,
        400..500 if error_code(reply) == "busy" => Outcome::Busy,
        404 => Outcome::NotFound,
        // Wrong credentials say nothing about the database; they are the cluster's step to mend.
        401 | 408 | 429 => Outcome::Unknown(reply.error_text()),
        400..500 => Outcome::Refused(explained(reply)),
        _ => Outcome::Unknown(reply.error_text()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error_code: String,
}

fn error_code(reply: &Reply) -> String {
    reply.json::<Body>().unwrap_or_default().error_code
}

/// The server's words, and which field they are about and what would be accepted, as far as that is known.
fn explained(reply: &Reply) -> String {
    let words = reply.error_text();
    match advice(reply.status, &error_code(reply), &words) {
        Some(advice) => format!("{words} ({advice})"),
        None => words,
    }
}

fn advice(status: u16, code: &str, words: &str) -> Option<&'static str> {
    // The codes of what the license forbids are not published; the words are (reference, 3.9; REST reference, 2.4).
    let license = words.to_ascii_lowercase().contains("license");
    Some(match code {
        "license_expired" => "the cluster's license: one that has not expired",
        _ if license && status == 403 => "the cluster's license: one that has not expired",
        _ if license => "spec.shardCount, replication: fewer shards, or a larger license of the cluster",
        "port_unavailable" => {
            "spec.databasePort: a free port from 10000 to 19999, or none, so that the cluster chooses"
        }
        "insufficient_resources" => {
            "spec.memorySize, shardCount, replication: less, or more memory and nodes for the cluster"
        }
        "missing_memory_size" | "replication_size_violation" => "spec.memorySize: at least 100MB",
        "eviction_policy_violation" => "spec.evictionPolicy: one of the eight policies",
        "invalid_data_persistence" => {
            "spec.persistence: disabled, aofEverySecond, aofAlways or snapshotEvery1Hour, 6, 12"
        }
        "invalid_replication" | "replication_violation" | "replication_node_violation" => {
            "spec.replication: true needs two nodes that take shards; spec.replicaSources: sources that can be reached"
        }
        "not_rack_aware" | "rack_awareness_violation" => "spec.rackAware: true needs a cluster with enough racks",
        "invalid_sharding" | "bad_shards_blueprint" => "spec.shardCount: a multiple of what is there, at most 512",
        "invalid_version" => "spec.redisVersion: one of status.bundledDatabaseVersions of the cluster",
        "missing_module" | "unsupported_module_capabilities" => {
            "spec.modulesList: names out of status.modules of the cluster"
        }
        "memcached_cannot_use_modules" => "spec.modulesList: none with type memcached",
        "invalid_sasl_credentials" => "spec.memcachedSaslSecretName: a Secret with keys username and password",
        "invalid_proxy_policy" => "spec.proxyPolicy: single, all-master-shards or all-nodes",
        "invalid_oss_cluster_configuration" => "spec.ossCluster: true needs proxyPolicy all-master-shards or all-nodes",
        "invalid_bdb_tags" => "spec.tags: other keys or values",
        "invalid_tls_mode" => "spec.tlsMode: disabled, enabled or replica_ssl",
        "invalid_certificate" | "certificate_expired" => {
            "spec.clientAuthenticationCertificates: Secrets whose key cert holds a PEM certificate that has not expired; \
             without them spec.tlsMode"
        }
        "duplicated_certs" => "spec.clientAuthenticationCertificates: each certificate once",
        "missing_backup_interval" => "spec.backup.interval: a number of seconds",
        "redis_acl_unsupported" => "spec.rolesPermissions: ACLs that the version of the database knows",
        "db_conns_auditing_missing_config" => {
            "spec.auditing.dbConnsAuditing: true needs spec.auditing of the RedisEnterpriseCluster first"
        }
        "not_supported_action_on_crdt" | "crdt_sharding_violation" => {
            "the database is part of an Active-Active database: change that one's resource"
        }
        "name_violation" => "metadata.name: letters, digits and hyphens",
        _ if status == 403 => "the operator's user on the cluster: one who may change databases",
        _ => return None,
    })
}
