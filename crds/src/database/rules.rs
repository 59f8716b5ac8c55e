//! Rules of databases that need no knowledge of the cluster (reference, 3.3).
//!
//! Paths are relative to the spec of a database, as they hold for `spec` of a RedisEnterpriseDatabase and for
//! `spec.globalConfigurations` of an Active-Active one. Messages name fields in the same way.

use crate::rule::Rule;

/// Rules for every database.
pub const COMMON: &[Rule] = &[
    Rule::new(
        "memorySize",
        SIZE,
        "memorySize must be a number with MB or GB, such as 256MB or 0.5GB; correct it",
    ),
    Rule::new(
        "memorySize",
        // Sizes in MB; what has the wrong shape is the other rule's to report.
        "!self.matches('(?i)^[0-9]+([.][0-9]+)?[KMGT]B$') || double(self.find('^[0-9]+([.][0-9]+)?')) * \
         {'K': 0.001, 'M': 1.0, 'G': 1024.0, 'T': 1048576.0}[self.find('(?i)[KMGT]').upperAscii()] >= 100.0",
        "memorySize must be at least 100MB; raise it",
    ),
    Rule::new("rofRamSize", SIZE, "rofRamSize must be a number with MB or GB, such as 256MB or 0.5GB; correct it"),
    Rule::new(
        "",
        // With has(), not optionals: those hide the length of the text from the estimate of the rule's cost.
        "!has(self.isRof) || !self.isRof || !has(self.memorySize) || !self.memorySize.matches('(?i)^[0-9]+([.][0-9]+)?[KMGT]B$') || \
         double(self.memorySize.find('^[0-9]+([.][0-9]+)?')) * \
         {'K': 0.001, 'M': 1.0, 'G': 1024.0, 'T': 1048576.0}[self.memorySize.find('(?i)[KMGT]').upperAscii()] >= 1000.0",
        "memorySize must be at least 1GB with isRof; raise it, or remove isRof",
    )
    .about(".memorySize"),
    Rule::new(
        "",
        "!has(self.rofRamRatio) || self.?isRof.orValue(false)",
        "rofRamRatio has a meaning only with isRof; set isRof: true, or remove it",
    )
    .about(".rofRamRatio"),
    Rule::new(
        "",
        "!self.?searchOnBigstore.orValue(false) || self.?isRof.orValue(false)",
        "searchOnBigstore needs isRof; set isRof: true, or remove it",
    )
    .about(".searchOnBigstore"),
    Rule::new(
        "shardCount",
        "self >= oldSelf",
        "shardCount must not shrink, as shards cannot be merged; set it to the former number or more",
    ),
    Rule::new(
        "evictionPolicy",
        "self in ['', 'volatile-lru', 'volatile-ttl', 'volatile-random', 'allkeys-lru', 'allkeys-random', 'noeviction', \
         'volatile-lfu', 'allkeys-lfu']",
        "evictionPolicy must be one of volatile-lru, volatile-ttl, volatile-random, allkeys-lru, allkeys-random, noeviction, volatile-lfu, allkeys-lfu; correct it",
    )
    // The wording that people know from the admission webhook (reference, 3.20).
    .saying(
        "\"'\" + self + \"' is an invalid value for 'eviction_policy'. Possible values are ['volatile-lru', 'volatile-ttl', \
         'volatile-random', 'allkeys-lru', 'allkeys-random', 'noeviction', 'volatile-lfu', 'allkeys-lfu']; correct evictionPolicy\"",
    ),
    Rule::new(
        "proxyPolicy",
        "self in ['', 'single', 'all-master-shards', 'all-nodes']",
        "proxyPolicy must be one of single, all-master-shards, all-nodes; correct it",
    ),
    Rule::new(
        "databasePort",
        "self >= 10000 && self <= 19999 && self != 10050",
        "databasePort must be from 10000 to 19999, and not 10050, which is reserved; choose another, or leave it out",
    ),
    Rule::new(
        "redisVersion",
        "self == '' || self.matches('^([0-9]+([.][0-9]+){0,2}|major|latest)$')",
        "redisVersion must be a version such as 7.4, or major, or latest; correct it",
    ),
    Rule::new(
        "",
        "!self.?upgradeSpec.?upgradeModulesToLatest.orValue(false) || !has(self.modulesList) || \
         self.modulesList.all(module, module.?version.orValue('') == '')",
        "upgradeSpec.upgradeModulesToLatest and fixed versions in modulesList exclude each other; remove the versions, or set it to false",
    )
    .about(".upgradeSpec"),
    Rule::new(
        "backup",
        "[has(self.s3), has(self.abs), has(self.gcs), has(self.sftp), has(self.swift), has(self.ftp), has(self.mount)]\
         .filter(there, there).size() == 1",
        "backup needs exactly one target out of s3, abs, gcs, sftp, swift, ftp, mount; keep one",
    ),
    Rule::new(
        "backup",
        "!has(self.intervalOffset) || self.?interval.orValue(86400) in [86400, 43200]",
        "backup.intervalOffset is only possible with an interval of 86400 or 43200; set one of them, or remove the offset",
    )
    .about(".intervalOffset"),
    Rule::new(
        "replicaSources[].replicaSourceType",
        "self in ['SECRET', 'REDB']",
        "replicaSources[].replicaSourceType must be SECRET or REDB; correct it",
    ),
    Rule::new(
        "tags",
        "!('managed_by' in self || 'redb_name' in self || 'redb_namespace' in self || 'db_service_port' in self || \
         'oss_cluster_access' in self || 'redb_resource' in self || 'redb_resource_name' in self || \
         'global_configurations_spec' in self || 'replication_endpoint_port' in self || 'rerc_name' in self || \
         'redis.io/db-sec-name' in self || 'redis.io/db-sec-latest' in self || 'redis.io/certs-latest' in self || \
         'redis.io/bu-sec-name' in self || 'redis.io/bu-sec-latest' in self)",
        "tags must not use the operator's own keys (managed_by, redb_name, redb_namespace, db_service_port, oss_cluster_access and those of Active-Active); rename that key",
    ),
];

/// Rules for a RedisEnterpriseDatabase only.
pub const SINGLE: &[Rule] = &[
    Rule::new(
        "",
        "!has(self.shardingEnabled)",
        "shardingEnabled is for Active-Active databases only; remove it, and use shardCount",
    )
    .about(".shardingEnabled"),
    Rule::new(
        "",
        "!has(self.redisEnterpriseCluster) || !has(oldSelf.redisEnterpriseCluster) || \
         self.redisEnterpriseCluster.name == oldSelf.redisEnterpriseCluster.name",
        "redisEnterpriseCluster.name cannot be changed, as a database does not move; set it back, or make a new database",
    )
    .about(".redisEnterpriseCluster"),
    Rule::new(
        "backup.sftp.sftp_url",
        r"self.matches('^sftp://(([^@]+)@)?([^@/:]+)(:([0-9]+))?(/([^@/.]+[/.]?)*)?$')",
        "backup.sftp.sftp_url must look like sftp://user@host:port/folder; correct it",
    ),
    Rule::new(
        "backup.swift.auth_url",
        r"self.matches('^https?://(([^@]+)@)?([^@/:]+)(:([0-9]+))?([/.]([^@/.]+))*/?$')",
        "backup.swift.auth_url must look like https://host:port/folder; correct it",
    ),
    Rule::new(
        "backup.ftp.url",
        r"self.matches('^ftps?://(([^@]+)@)?([^@/:]+)(:([0-9]+))?([/.]/?[^@/.]+)*/?$')",
        "backup.ftp.url must look like ftp://user:password@host:port/folder (or ftps); correct it",
    ),
];

/// Rules for a RedisEnterpriseDatabase that look at its status as well. Paths are relative to the resource.
pub const MADE: &[Rule] = &[
    // Before there is a database, nothing is kept by a port. While the spec is refused it may be what has to be set back.
    Rule::new(
        "",
        "!oldSelf.?spec.?databasePort.hasValue() || self.?spec.?databasePort == oldSelf.?spec.?databasePort || \
         oldSelf.?status.?databaseUID.orValue('') == '' || oldSelf.?status.?status.orValue('') == 'creation-failed' || \
         oldSelf.?status.?specStatus.orValue('') == 'Invalid'",
        PORT_STAYS,
    )
    .about(".spec.databasePort"),
];

/// Rules for the databases of an Active-Active one only.
pub const EVERYWHERE: &[Rule] = &[
    Rule::new(
        "",
        "!has(oldSelf.databasePort) || (has(self.databasePort) && self.databasePort == oldSelf.databasePort)",
        PORT_STAYS,
    )
    .about(".databasePort"),
    Rule::new("", "!self.?isRof.orValue(false)", "isRof is not possible for Active-Active databases; remove it")
        .about(".isRof"),
    Rule::new(
        "",
        "!has(self.upgradeSpec)",
        "upgradeSpec is not possible for Active-Active databases; remove it, and give versions in modulesList",
    )
    .about(".upgradeSpec"),
    Rule::new(
        "modulesList[]",
        "self.?version.orValue('') != ''",
        "modulesList[].version is needed for Active-Active databases, so that all clusters load the same; add it",
    )
    .about(".version"),
];

const PORT_STAYS: &str = "databasePort cannot be changed or removed once the database is there; set it back, and use databaseServicePort for another port of the Services";

const SIZE: &str = "self == '' || self.matches('(?i)^[0-9]+([.][0-9]+)?[KMGT]B$')";
