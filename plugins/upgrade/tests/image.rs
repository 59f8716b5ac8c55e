//! Which image a cluster gets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use serde_json::{Value, json};
use stepwright_sdk::testing::{Given, readable};
use stepwright_sdk::{Failure, Plugin};
use stepwright_upgrade::Upgrade;

fn rec(spec: &Value, version: Option<&str>) -> Value {
    json!({
        "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" },
        "spec": spec, "status": { "redisEnterpriseVersion": version },
    })
}

#[track_caller]
fn check(spec: Value, version: Option<&str>, image: &str, tag: &str) {
    let plan = Given::new::<Upgrade>(&rec(&spec, version)).run::<Upgrade>().unwrap();
    let plan = readable(&plan);
    assert_eq!(plan["notes"], json!({ "image": image, "tag": tag, "pullPolicy": "IfNotPresent" }));
    assert_eq!(plan["status"], json!({ "redisEnterpriseVersion": tag }));
    assert_eq!(plan["progress"], "done");
}

#[test]
fn without_a_spec_the_default_is_taken() {
    check(json!({}), None, "redislabs/redis:8.0.20-44.23", "8.0.20-44.23");
}

#[test]
fn the_spec_overrides_each_part() {
    let digest = "sha256:aa";
    let spec = json!({ "redisEnterpriseImageSpec": { "repository": "r/x" } });
    check(spec, None, "r/x:8.0.20-44.23", "8.0.20-44.23");
    check(json!({ "redisEnterpriseImageSpec": { "versionTag": "9" } }), Some("8"), "redislabs/redis:9", "9");
    let pinned = json!({ "redisEnterpriseImageSpec": { "versionTag": "9", "digestHash": digest } });
    check(pinned, None, "redislabs/redis@sha256:aa", "9");
}

#[test]
fn a_running_cluster_keeps_its_version_unless_it_may_upgrade_itself() {
    check(json!({}), Some("7.22.0-250"), "redislabs/redis:7.22.0-250", "7.22.0-250");
    let auto = json!({ "upgradeSpec": { "autoUpgradeRedisEnterprise": true } });
    check(auto.clone(), Some("7.22.0-250"), "redislabs/redis:8.0.20-44.23", "8.0.20-44.23");
    // By itself it never goes back.
    check(auto, Some("8.2.0-46.13"), "redislabs/redis:8.2.0-46.13", "8.2.0-46.13");
}

#[test]
fn settings_replace_the_default() {
    let settings = json!({ "nodeImage": { "repository": "mirror/redis", "tag": "1" } });
    let plan = Given::new::<Upgrade>(&rec(&json!({}), None)).settings(&settings).run::<Upgrade>().unwrap();
    assert_eq!(readable(&plan)["notes"]["image"], "mirror/redis:1");
}

#[test]
fn a_misspelt_setting_is_a_violation() {
    assert!(Upgrade::validate_settings("").is_empty());
    assert!(Upgrade::validate_settings("null").is_empty());
    assert_eq!(Upgrade::validate_settings(r#"{"nodeImag":{}}"#).len(), 1);
}

#[test]
fn a_digest_needs_a_tag_and_excludes_automatic_upgrades() {
    let spec = json!({
        "bootstrapperImageSpec": { "digestHash": "aa" }, "upgradeSpec": { "autoUpgradeRedisEnterprise": true },
    });
    let given = Given::new::<Upgrade>(&rec(&spec, None));
    let Err(Failure::Invalid(violations)) = given.run::<Upgrade>() else { panic!("must be refused") };
    assert_eq!(violations.len(), 2);
    assert!(violations.iter().all(|violation| violation.field == "spec.bootstrapperImageSpec.digestHash"));
    assert!(given.deleting().run::<Upgrade>().is_ok(), "a cluster that goes away is not judged");
}
