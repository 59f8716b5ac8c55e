//! What is to be refused, and with which words; and the near misses that are not.

use serde_json::{Value, json};

/// One change to a valid object, as YAML of a spec.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The spec before; empty for creations.
    pub(crate) before: &'static str,
    /// The status before, where it matters.
    pub(crate) status: &'static str,
    /// The spec, or what of it changes.
    pub(crate) spec: &'static str,
    /// Part of the answer; None where it has to be accepted.
    pub(crate) refusal: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Rec,
    Redb,
    Reaadb,
    Rerc,
}
use Kind::{Reaadb, Rec, Redb, Rerc};

const fn no(kind: Kind, name: &'static str, spec: &'static str, refusal: &'static str) -> Case {
    Case { name, kind, before: "", status: "", spec, refusal: Some(refusal) }
}

const fn yes(kind: Kind, name: &'static str, spec: &'static str) -> Case {
    Case { name, kind, before: "", status: "", spec, refusal: None }
}

impl Case {
    const fn after(mut self, before: &'static str) -> Self {
        self.before = before;
        self
    }

    const fn seen_as(mut self, status: &'static str) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn manifest(&self) -> Value {
        self.object(self.spec)
    }

    pub(crate) fn before(&self) -> Value {
        self.object(self.before)
    }

    pub(crate) fn status(&self) -> Option<Value> {
        let status: Value = serde_yaml_ng::from_str(self.status).unwrap();
        (!status.is_null()).then(|| json!({ "status": status }))
    }

    pub(crate) fn change(&self) -> Value {
        let spec: Value = serde_yaml_ng::from_str(self.spec).unwrap();
        json!({ "spec": spec })
    }

    fn object(&self, spec: &str) -> Value {
        let spec: Value = serde_yaml_ng::from_str(spec).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let (api_version, kind) = match self.kind {
            Rec => ("app.redislabs.com/v1", "RedisEnterpriseCluster"),
            Redb => ("app.redislabs.com/v1alpha1", "RedisEnterpriseDatabase"),
            Reaadb => ("app.redislabs.com/v1alpha1", "RedisEnterpriseActiveActiveDatabase"),
            Rerc => ("app.redislabs.com/v1alpha1", "RedisEnterpriseRemoteCluster"),
        };
        let name = if self.name.starts_with("name ") { "1-begins-with-a-digit" } else { "case" };
        base(api_version, kind, name, spec)
    }
}

pub(crate) fn base(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

pub(crate) const CREATIONS: &[Case] = &[
    no(Rec, "one node", "{nodes: 1}", "spec.nodes: Invalid value: 1: spec.nodes must be at least 3"),
    no(Rec, "four nodes", "{nodes: 4}", "spec.nodes must be odd"),
    yes(Rec, "five nodes", "{nodes: 5}"),
    yes(Rec, "empty spec", "{}"),
    no(Rec, "both licenses", "{license: a, licenseSecretName: b}", "spec.license and spec.licenseSecretName exclude"),
    yes(Rec, "an empty license beside a Secret", "{license: '', licenseSecretName: b}"),
    no(
        Rec,
        "both routings",
        "{activeActive: {method: ingress, apiIngressUrl: a, dbIngressSuffix: b}, \
          ingressOrRouteSpec: {method: istio, apiFqdnUrl: a, dbFqdnSuffix: b}}",
        "spec.ingressOrRouteSpec and spec.activeActive exclude",
    ),
    no(
        Rec,
        "resize with flash",
        "{persistentSpec: {enablePersistentVolumeResize: true}, redisOnFlashSpec: {enabled: true, storageClassName: a}}",
        "enablePersistentVolumeResize and spec.redisOnFlashSpec exclude",
    ),
    no(
        Rec,
        "recovery without volumes",
        "{clusterRecovery: true, persistentSpec: {enabled: false}}",
        "spec.clusterRecovery needs volumes",
    ),
    yes(Rec, "recovery with the default of volumes", "{clusterRecovery: true}"),
    no(
        Rec,
        "digest with upgrades",
        "{upgradeSpec: {autoUpgradeRedisEnterprise: true}, bootstrapperImageSpec: {digestHash: a, versionTag: b}}",
        "autoUpgradeRedisEnterprise cannot be true while",
    ),
    no(
        Rec,
        "node digest",
        "{redisEnterpriseImageSpec: {digestHash: a}}",
        "redisEnterpriseImageSpec.digestHash needs versionTag",
    ),
    no(
        Rec,
        "rigger digest",
        "{redisEnterpriseServicesRiggerImageSpec: {digestHash: a}}",
        "redisEnterpriseServicesRiggerImageSpec.digestHash needs versionTag",
    ),
    no(
        Rec,
        "bootstrapper digest",
        "{bootstrapperImageSpec: {digestHash: a}}",
        "bootstrapperImageSpec.digestHash needs versionTag",
    ),
    no(
        Rec,
        "call home digest",
        "{usageMeter: {callHomeClient: {imageSpec: {digestHash: a}}}}",
        "callHomeClient.imageSpec.digestHash needs versionTag",
    ),
    no(Rec, "user name", "{username: admin}", "spec.username must look like an e-mail address"),
    no(
        Rec,
        "two time zones",
        "{containerTimezone: {propagateHost: {}, timezoneName: UTC}}",
        "propagateHost and timezoneName exclude",
    ),
    no(
        Rec,
        "unknown Service type",
        "{servicesRiggerSpec: {databaseServiceType: 'cluster_ip,ingress'}}",
        "databaseServiceType must be a list of cluster_ip, headless, load_balancer",
    ),
    no(
        Rec,
        "ingress without class",
        "{ingressOrRouteSpec: {method: ingress, apiFqdnUrl: a, dbFqdnSuffix: b, ingressAnnotations: {x: y}}}",
        "ingressAnnotations needs kubernetes.io/ingress.class",
    ),
    yes(Rec, "route without class", "{ingressOrRouteSpec: {method: openShiftRoute, apiFqdnUrl: a, dbFqdnSuffix: b}}"),
    no(
        Rec,
        "URL for a host name",
        "{ingressOrRouteSpec: {method: istio, apiFqdnUrl: 'https://a', dbFqdnSuffix: b}}",
        "spec.ingressOrRouteSpec.apiFqdnUrl must be a host name alone",
    ),
    no(Rec, "not a network", "{ossClusterSettings: {podCIDRs: [10.0.0.0]}}", "podCIDRs must hold networks"),
    no(
        Rec,
        "no module source",
        "{userDefinedModules: [{name: a, source: {}}]}",
        "source needs exactly one of http and https",
    ),
    no(
        Rec,
        "module by http",
        "{userDefinedModules: [{name: a, source: {http: {url: 'https://a'}}}]}",
        "source.http.url must begin with http://",
    ),
    no(
        Rec,
        "module by https",
        "{userDefinedModules: [{name: a, source: {https: {url: 'http://a'}}}]}",
        "source.https.url must begin with https://",
    ),
    no(
        Rec,
        "LDAP with no way from user to DN",
        "{ldap: {protocol: LDAP, servers: [{host: a}], authenticationQuery: {}, authorizationQuery: {attribute: a}}}",
        "spec.ldap.authenticationQuery needs exactly one of",
    ),
    no(
        Rec,
        "LDAP with two ways to groups",
        "{ldap: {protocol: LDAP, servers: [{host: a}], authenticationQuery: {template: a}, \
          authorizationQuery: {attribute: a, query: {base: a, filter: b, scope: BaseObject}}}}",
        "spec.ldap.authorizationQuery needs exactly one of",
    ),
    no(
        Rec,
        "SSO without certificates",
        "{sso: {enabled: true, saml: {idpMetadataSecretName: i}}}",
        "spec.sso.enabled needs certificates",
    ),
    no(
        Rec,
        "SSO without provider",
        "{sso: {enabled: true, saml: {}}}",
        "spec.sso.saml needs to know the identity provider",
    ),
    yes(Rec, "SSO prepared but off", "{sso: {enabled: false, saml: {}}}"),
    no(Rec, "unknown word", "{redisUpgradePolicy: minor}", "Unsupported value: \"minor\""),
    no(
        Rec,
        "not a quantity",
        "{persistentSpec: {volumeSize: 20GB}}",
        "spec.persistentSpec.volumeSize in body should match",
    ),
    no(Rec, "OCSP too often", "{ocspConfiguration: {queryFrequency: 59}}", "should be greater than or equal to 60"),
    //
    no(Redb, "memory without unit", "{memorySize: '256'}", "memorySize must be a number with MB or GB"),
    no(Redb, "little memory", "{memorySize: 99MB}", "memorySize must be at least 100MB"),
    no(Redb, "little memory in another unit", "{memorySize: 0.05gb}", "memorySize must be at least 100MB"),
    yes(Redb, "a tenth of a GB", "{memorySize: 0.1GB}"),
    no(Redb, "RAM without unit", "{rofRamSize: lots}", "rofRamSize must be a number with MB or GB"),
    no(Redb, "little flash", "{isRof: true, memorySize: 900MB}", "memorySize must be at least 1GB with isRof"),
    yes(Redb, "enough flash", "{isRof: true, memorySize: 1GB}"),
    no(Redb, "RAM ratio without flash", "{rofRamRatio: 50}", "rofRamRatio has a meaning only with isRof"),
    no(Redb, "RAM ratio", "{isRof: true, memorySize: 1GB, rofRamRatio: 101}", "should be less than or equal to 100"),
    no(Redb, "search without flash", "{searchOnBigstore: true}", "searchOnBigstore needs isRof"),
    no(
        Redb,
        "eviction policy",
        "{evictionPolicy: illegal}",
        "'illegal' is an invalid value for 'eviction_policy'. Possible values are ['volatile-lru', 'volatile-ttl', \
         'volatile-random', 'allkeys-lru', 'allkeys-random', 'noeviction', 'volatile-lfu', 'allkeys-lfu']",
    ),
    no(Redb, "proxy policy", "{proxyPolicy: some}", "proxyPolicy must be one of single, all-master-shards, all-nodes"),
    no(Redb, "low port", "{databasePort: 6379}", "databasePort must be from 10000 to 19999"),
    no(Redb, "reserved port", "{databasePort: 10050}", "databasePort must be from 10000 to 19999"),
    no(Redb, "version", "{redisVersion: newest}", "redisVersion must be a version such as 7.4, or major, or latest"),
    no(
        Redb,
        "fixed module and upgrades",
        "{upgradeSpec: {upgradeModulesToLatest: true}, modulesList: [{name: a, version: '1'}]}",
        "upgradeModulesToLatest and fixed versions in modulesList exclude",
    ),
    no(Redb, "backup to nowhere", "{backup: {interval: 3600}}", "backup needs exactly one target"),
    no(
        Redb,
        "backup to two places",
        "{backup: {mount: {path: /a}, ftp: {url: 'ftp://a/b'}}}",
        "backup needs exactly one target",
    ),
    no(
        Redb,
        "backup offset",
        "{backup: {interval: 3600, intervalOffset: 1, mount: {path: /a}}}",
        "backup.intervalOffset is only possible with an interval of 86400 or 43200",
    ),
    yes(Redb, "backup offset with the default interval", "{backup: {intervalOffset: 1, mount: {path: /a}}}"),
    no(
        Redb,
        "replica source",
        "{replicaSources: [{replicaSourceType: URI, replicaSourceName: a}]}",
        "replicaSourceType must be SECRET or REDB",
    ),
    no(Redb, "reserved tag", "{tags: {redb_name: a}}", "tags must not use the operator's own keys"),
    no(Redb, "sharding switch", "{shardingEnabled: true}", "shardingEnabled is for Active-Active databases only"),
    no(
        Redb,
        "SFTP place",
        "{backup: {sftp: {sftpSecretName: a, sftp_url: 'ssh://a'}}}",
        "backup.sftp.sftp_url must look like",
    ),
    no(
        Redb,
        "Swift place",
        "{backup: {swift: {swiftSecretName: a, container: b, auth_url: 'ftp://a'}}}",
        "backup.swift.auth_url must look like",
    ),
    yes(Redb, "Swift by version", "{backup: {swift: {swiftSecretName: a, container: b, auth_url: 'https://a/v3'}}}"),
    no(Redb, "FTP place", "{backup: {ftp: {url: 'http://a'}}}", "backup.ftp.url must look like"),
    yes(Redb, "FTP with login", "{backup: {ftp: {url: 'ftps://user:pass@a:990/b/c'}}}"),
    no(Redb, "no shards", "{shardCount: 0}", "should be greater than or equal to 1"),
    //
    no(
        Reaadb,
        "name with a digit first",
        "{participatingClusters: [{name: a}]}",
        "metadata.name must begin with a letter",
    ),
    no(Reaadb, "no clusters", "{participatingClusters: []}", "should have at least 1 items"),
    no(Reaadb, "a cluster twice", "{participatingClusters: [{name: a}, {name: a}]}", "Duplicate value"),
    no(
        Reaadb,
        "flash",
        "{participatingClusters: [{name: a}], globalConfigurations: {isRof: true, memorySize: 1GB}}",
        "isRof is not possible for Active-Active",
    ),
    no(
        Reaadb,
        "module upgrades",
        "{participatingClusters: [{name: a}], globalConfigurations: {upgradeSpec: {upgradeModulesToLatest: true}}}",
        "upgradeSpec is not possible for Active-Active",
    ),
    no(
        Reaadb,
        "module without version",
        "{participatingClusters: [{name: a}], globalConfigurations: {modulesList: [{name: search}]}}",
        "modulesList[].version is needed for Active-Active",
    ),
    no(
        Reaadb,
        "alert without threshold",
        "{participatingClusters: [{name: a}], globalConfigurations: {alertSettings: {bdb_size: {enabled: true}}}}",
        "threshold: Required value",
    ),
    no(
        Reaadb,
        "rule of any database",
        "{participatingClusters: [{name: a}], globalConfigurations: {evictionPolicy: illegal}}",
        "spec.globalConfigurations.evictionPolicy: Invalid value: \"illegal\": 'illegal' is an invalid value",
    ),
    //
    no(
        Rerc,
        "name of the Secret",
        "{recName: a, recNamespace: b, apiFqdnUrl: c, secretName: d}",
        "spec.secretName must be redis-enterprise- and the name of this object",
    ),
    yes(Rerc, "no Secret", "{recName: a, recNamespace: b, apiFqdnUrl: c}"),
    no(
        Rerc,
        "URL",
        "{recName: a, recNamespace: b, apiFqdnUrl: 'https://c'}",
        "spec.apiFqdnUrl must be a host name alone",
    ),
    no(Rerc, "no cluster", "{apiFqdnUrl: c}", "spec.recName: Required value"),
];

pub(crate) const TRANSITIONS: &[Case] = &[
    no(Rec, "fewer nodes", "{nodes: 3}", "spec.nodes: Invalid value").after("{nodes: 5}"),
    no(Rec, "fewer nodes by default", "{nodes: null}", "spec.nodes must not shrink (empty means 3)")
        .after("{nodes: 5}"),
    yes(Rec, "fewer nodes, allowed", "{nodes: 3, allowScaleDown: true}").after("{nodes: 5}"),
    yes(Rec, "more nodes than the default", "{nodes: 5}").after("{}"),
    no(Rec, "volumes off", "{persistentSpec: {enabled: false}}", "spec.persistentSpec.enabled cannot be changed")
        .after("{}"),
    yes(Rec, "volumes said to be on", "{persistentSpec: {enabled: true}}").after("{}"),
    no(
        Rec,
        "another class",
        "{persistentSpec: {storageClassName: b}}",
        "spec.persistentSpec.storageClassName cannot be changed once set",
    )
    .after("{persistentSpec: {storageClassName: a}}"),
    // Whoever named a class too late gets rid of it again; whether it may go, the operator judges by the volumes.
    yes(Rec, "class removed", "{persistentSpec: null}").after("{persistentSpec: {storageClassName: a}}"),
    yes(Rec, "class named later", "{persistentSpec: {storageClassName: a}}").after("{persistentSpec: {enabled: true}}"),
    no(Rec, "smaller volumes", "{persistentSpec: {volumeSize: 1000Mi}}", "volumeSize must not shrink")
        .after("{persistentSpec: {volumeSize: 1Gi}}"),
    yes(Rec, "the same size in other words", "{persistentSpec: {volumeSize: 1536Mi}}")
        .after("{persistentSpec: {volumeSize: 1.5Gi}}"),
    no(Rec, "larger volumes", "{persistentSpec: {volumeSize: 2Gi}}", "volumeSize can only grow with resizing allowed")
        .after("{persistentSpec: {volumeSize: 1073741824}}"),
    yes(Rec, "larger volumes, allowed", "{persistentSpec: {volumeSize: 2Gi, enablePersistentVolumeResize: true}}")
        .after("{persistentSpec: {volumeSize: 1Gi}}"),
    no(Redb, "other port", "{databasePort: 12001}", "databasePort cannot be changed or removed")
        .after("{databasePort: 12000}")
        .seen_as("{databaseUID: '1', status: active, specStatus: Valid}"),
    no(Redb, "port removed", "{databasePort: null}", "databasePort cannot be changed or removed")
        .after("{databasePort: 12000}")
        .seen_as("{databaseUID: '1', status: pending}"),
    yes(Redb, "another size of a database with a port", "{memorySize: 2GB}")
        .after("{databasePort: 12000}")
        .seen_as("{databaseUID: '1', status: active}"),
    yes(Redb, "other port of what was never made", "{databasePort: 12001}").after("{databasePort: 12000}"),
    yes(Redb, "other port of what was refused", "{databasePort: null}")
        .after("{databasePort: 12000}")
        .seen_as("{specStatus: Invalid}"),
    yes(Redb, "port set back", "{databasePort: 12001}")
        .after("{databasePort: 12000}")
        .seen_as("{databaseUID: '1', status: active, specStatus: Invalid}"),
    yes(Redb, "other port of what could not be made", "{databasePort: 12001}")
        .after("{databasePort: 12000}")
        .seen_as("{databaseUID: '1', status: creation-failed}"),
    yes(Redb, "port set later", "{databasePort: 12000}").after("{}"),
    no(Redb, "fewer shards", "{shardCount: 1}", "shardCount must not shrink").after("{shardCount: 2}"),
    yes(Redb, "more shards", "{shardCount: 4}").after("{shardCount: 2}"),
    no(Redb, "other cluster", "{redisEnterpriseCluster: {name: b}}", "redisEnterpriseCluster.name cannot be changed")
        .after("{redisEnterpriseCluster: {name: a}}"),
];
