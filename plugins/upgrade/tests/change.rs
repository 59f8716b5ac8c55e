//! A running cluster gets another version, or does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use serde_json::{Value, json};
use stepwright_sdk::testing::{Given, readable};
use stepwright_upgrade::Upgrade;

const OLD: &str = "8.0.18-11";
const NEW: &str = "8.0.20-44.23";

struct Running {
    spec: Value,
    state: &'static str,
    image: String,
    rolling: bool,
    bdbs: Value,
    nodes: Value,
    license: Value,
}

/// A cluster of the old version is asked to take this tag.
fn asked(tag: &str) -> Running {
    Running {
        spec: json!({ "redisEnterpriseImageSpec": { "versionTag": tag } }),
        state: "Running",
        image: format!("redislabs/redis:{OLD}"),
        rolling: false,
        bdbs: json!([{ "name": "mydb", "status": "active", "redis_version": "7.4" }]),
        nodes: json!([{ "uid": 1, "status": "active" }, { "uid": 2, "status": "active" }]),
        license: json!({ "expired": false }),
    }
}

impl Running {
    fn plan(&self) -> Value {
        let rec = json!({
            "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" },
            "spec": self.spec, "status": { "redisEnterpriseVersion": OLD, "state": self.state },
        });
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "rec", "generation": 1 },
            "spec": { "template": { "spec": { "containers": [{ "name": "redis-enterprise-node", "image": self.image }] } } },
            "status": { "observedGeneration": 1, "currentRevision": "a", "updateRevision": if self.rolling { "b" } else { "a" } },
        });
        let given = Given::new::<Upgrade>(&rec)
            .object("statefulsets", &set)
            .fact("bdbs", &self.bdbs)
            .fact("nodes", &self.nodes)
            .fact("license", &self.license);
        readable(&given.run::<Upgrade>().unwrap())
    }

    /// The image stays, and this is why.
    #[track_caller]
    fn refused(&self, why: &str) {
        let plan = self.plan();
        assert_eq!(plan["notes"]["image"], self.image);
        let reason = plan["notes"]["refused"].as_str().unwrap();
        assert!(reason.contains(why), "{reason}");
        assert_eq!(plan["progress"]["waiting"], reason);
        assert_eq!(plan["status"]["redisEnterpriseVersion"], OLD);
        assert!(plan["events"][0].as_str().unwrap().starts_with("Warning UpgradeBlocked"));
    }

    /// The image stays until this has passed.
    #[track_caller]
    fn waits(&self, why: &str) {
        let plan = self.plan();
        assert_eq!((&plan["notes"]["image"], &plan["notes"]["refused"]), (&json!(self.image), &Value::Null));
        assert_eq!(plan["progress"]["waiting"], why);
    }
}

#[test]
fn the_old_version_is_in_force_until_the_last_pod_has_the_new_one() {
    let mut cluster = asked(NEW);
    let plan = cluster.plan();
    assert_eq!(plan["notes"]["image"], format!("redislabs/redis:{NEW}"));
    assert_eq!(plan["notes"]["upgrading"], true);
    assert_eq!(plan["status"]["redisEnterpriseVersion"], OLD);
    assert!(plan["events"][0].as_str().unwrap().starts_with("Normal UpgradeStarted: 8.0.18-11 -> 8.0.20-44.23"));
    cluster.image = format!("redislabs/redis:{NEW}");
    cluster.rolling = true;
    cluster.state = "Upgrade";
    let plan = cluster.plan();
    assert_eq!((&plan["notes"]["upgrading"], &plan["events"]), (&json!(true), &Value::Null));
    assert_eq!(plan["status"]["redisEnterpriseVersion"], OLD);
    cluster.rolling = false;
    let plan = cluster.plan();
    assert_eq!(plan["status"]["redisEnterpriseVersion"], NEW);
    assert_eq!(plan["notes"]["upgrading"], Value::Null);
    assert_eq!(plan["events"], json!(["Normal UpgradeCompleted: 8.0.18-11 -> 8.0.20-44.23"]));
}

#[test]
fn on_the_way_the_old_version_may_be_taken_again() {
    let mut cluster = asked(OLD);
    cluster.image = format!("redislabs/redis:{NEW}");
    cluster.rolling = true;
    cluster.state = "Upgrade";
    cluster.nodes[1]["status"] = json!("down");
    let plan = cluster.plan();
    assert_eq!(plan["notes"]["image"], format!("redislabs/redis:{OLD}"));
    assert_eq!(plan["notes"]["upgrading"], true);
    assert_eq!(plan["progress"], "done");
}

#[test]
fn a_version_that_does_not_start_may_be_replaced_by_another() {
    let mut cluster = asked(NEW);
    cluster.image = "redislabs/redis:8.0.99-1".to_owned();
    cluster.rolling = true;
    cluster.state = "Upgrade";
    cluster.nodes[1]["status"] = json!("down");
    assert_eq!(cluster.plan()["notes"]["image"], format!("redislabs/redis:{NEW}"));
}

#[test]
fn what_the_cluster_cannot_do_is_refused_with_the_reason() {
    asked("8.0.2-2").refused("8.0.2-2 is older than 8.0.18-11, which runs: a cluster cannot go back");
    asked("latest").refused("`latest` is not a version");
    let mut cluster = asked(NEW);
    cluster.license["expired"] = json!(true);
    cluster.refused("the license has expired");
    let mut cluster = asked(NEW);
    cluster.spec["clusterRecovery"] = json!(true);
    cluster.refused("spec.clusterRecovery is true");
    let mut cluster = asked(NEW);
    cluster.bdbs[0]["redis_version"] = json!("6.0");
    cluster.refused("database `mydb` has Redis 6.0");
}

#[test]
fn a_refusal_is_told_once() {
    let mut cluster = asked("latest");
    cluster.state = "InvalidUpgrade";
    assert_eq!(cluster.plan()["events"], Value::Null);
}

#[test]
fn it_begins_when_every_node_and_database_is_active() {
    let mut cluster = asked(NEW);
    cluster.nodes[1]["status"] = json!("down");
    cluster.waits("the upgrade begins once node 2 is active (it is down)");
    let mut cluster = asked(NEW);
    cluster.bdbs[0]["status"] = json!("active-change-pending");
    cluster.waits("the upgrade begins once database `mydb` is active (it is active-change-pending)");
}

#[test]
fn pods_that_never_served_take_any_image() {
    let mut cluster = asked("8.0.2-2");
    cluster.state = "BootstrappingFirstPod";
    let plan = cluster.plan();
    assert_eq!(plan["notes"]["image"], "redislabs/redis:8.0.2-2");
    assert_eq!((&plan["notes"]["upgrading"], &plan["events"]), (&Value::Null, &Value::Null));
}

#[test]
fn another_template_with_the_same_image_is_no_upgrade() {
    let mut cluster = asked(OLD);
    cluster.rolling = true;
    assert_eq!(cluster.plan()["notes"]["upgrading"], Value::Null);
}
