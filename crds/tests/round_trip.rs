//! Manifests through the types and back: nothing is lost, nothing is added.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is a test"
)]

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwright_crds::{
    RedisEnterpriseActiveActiveDatabase, RedisEnterpriseCluster, RedisEnterpriseDatabase, RedisEnterpriseRemoteCluster,
};

#[test]
fn manifests_are_kept_to_the_letter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let manifest: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let back = match manifest["kind"].as_str().unwrap() {
            "RedisEnterpriseCluster" => through::<RedisEnterpriseCluster>(&manifest),
            "RedisEnterpriseDatabase" => through::<RedisEnterpriseDatabase>(&manifest),
            "RedisEnterpriseActiveActiveDatabase" => through::<RedisEnterpriseActiveActiveDatabase>(&manifest),
            "RedisEnterpriseRemoteCluster" => through::<RedisEnterpriseRemoteCluster>(&manifest),
            other => panic!("{other}"),
        };
        assert_eq!(back["spec"], manifest["spec"], "{}", path.display());
        count += 1;
    }
    assert!(count >= 10, "only {count} manifests found");
}

#[test]
fn a_status_is_kept_to_the_letter() {
    let rec: Value = serde_yaml_ng::from_str(
        r#"
        apiVersion: app.redislabs.com/v1
        kind: RedisEnterpriseCluster
        metadata: {name: rec}
        spec: {}
        status:
          state: Running
          specStatus: Valid
          redisEnterpriseVersion: 8.0.20-44.23
          observedGeneration: 4
          licenseStatus: {licenseState: Valid, shardsLimit: 4, shardsUsage: 0/4, ramShards: 0, features: []}
          managedAPIs: {ldap: true}
          modules: [{name: search, displayName: RediSearch 2, versions: ["8.2.0"]}]
          bundledDatabaseVersions:
          - {dbType: Redis, version: 8.0.2, major: true, featureSupport: {activeActive: true, flex: true}}
          redisEnterpriseIPFamily: IPv4
        "#,
    )
    .unwrap();
    assert_eq!(through::<RedisEnterpriseCluster>(&rec)["status"], rec["status"]);

    let redb: Value = serde_yaml_ng::from_str(
        r#"
        apiVersion: app.redislabs.com/v1alpha1
        kind: RedisEnterpriseDatabase
        metadata: {name: mydb}
        spec: {}
        status:
          status: active
          databaseUID: "1"
          internalEndpoints: [{host: redis-19621.rec.ns.svc.cluster.local, port: 19621}]
          shardStatuses: {active: 1}
        "#,
    )
    .unwrap();
    assert_eq!(through::<RedisEnterpriseDatabase>(&redb)["status"], redb["status"]);
}

fn through<T: DeserializeOwned + Serialize>(manifest: &Value) -> Value {
    let typed: T = serde_json::from_value(manifest.clone()).unwrap();
    serde_json::to_value(typed).unwrap()
}
