//! An Active-Active database from its creation to its end: which requests are sent, under which ids, and what is told meanwhile.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{
    FIRST, SECOND, active, changing, crdb, health, looked, plan, reaadb, remote, settled, task, waiting, with, world,
};
use serde_json::{Value, json};
use stepwright_reaadb::Reaadb;
use stepwright_sdk::Failure;
use stepwright_sdk::testing::Given;

#[test]
fn the_id_of_a_creation_is_written_down_before_anything_is_sent() {
    let first = plan(&world(&reaadb(&json!({}))));
    assert_eq!(first["calls"], Value::Null);
    assert_eq!((&first["status"]["lastTaskUid"], &first["status"]["status"]), (&json!(FIRST), &json!("pending")));
    // Then it is looked for, as if it had been sent; and sent, as it was not.
    let chosen = world(&reaadb(&json!({"status": first["status"]})));
    let sent = plan(&looked(&chosen, None, &json!([])));
    insta::assert_yaml_snapshot!(sent["calls"]);
    assert_eq!(sent["calls"][0]["id"], format!("task:{FIRST}"));
}

#[test]
fn a_lost_reply_is_a_lookup() {
    let chosen = world(&reaadb(&json!({"status": {"lastTaskUid": FIRST}})));
    let lost = looked(&chosen, None, &json!([])).reply(&format!("task:{FIRST}"), 0, &json!("connection closed"));
    let plan_of_loss = plan(&lost);
    assert_eq!(plan_of_loss["status"]["lastTaskUid"], FIRST);
    assert!(waiting(&plan_of_loss).contains("is not known"), "{plan_of_loss}");
    // It did come through.
    let under_way = plan(&looked(&chosen, Some(&task("started")), &json!([])));
    assert_eq!(under_way["calls"], Value::Null);
    assert!(waiting(&under_way).contains("rec.ns 35%"), "{under_way}");
    // It was over before anybody looked.
    let over = plan(&looked(&chosen, Some(&task("finished")), &json!([crdb()])));
    assert_eq!((&over["status"]["guid"], &over["status"]["status"]), (&json!("g-1"), &json!("active")));
}

#[test]
fn a_creation_that_failed_is_told_and_tried_again_under_another_id() {
    let chosen = world(&reaadb(&json!({"status": {"lastTaskUid": FIRST}})));
    let mut failed = task("failed");
    failed["errors"] = json!([{"cluster_name": "rec-far.ns-far", "description": "no room", "error_code": "x"}]);
    let told = plan(&looked(&chosen, Some(&failed), &json!([])));
    assert_eq!((&told["status"]["status"], &told["status"]["lastTaskUid"]), (&json!("creation-failed"), &json!(FIRST)));
    assert!(waiting(&told).contains("rec-far.ns-far: no room"), "{told}");
    assert!(told["events"][0].as_str().unwrap().contains("DatabaseFailed"));
    let later = plan(&looked(&chosen.now("2026-01-01T00:02:00Z"), Some(&failed), &json!([])));
    assert_eq!(later["status"]["lastTaskUid"], "0b4b4d3c-9f53-4a1c-8d20-100000000002");
}

#[test]
fn nothing_is_made_before_all_that_take_part_can_be_reached_and_secrets_are_there() {
    let given = world(&reaadb(&json!({}))).object("remote-clusters", &remote("third", false, "Error"));
    let more = json!({"spec": {"participatingClusters": [{"name": "near"}, {"name": "third"}]}});
    let waits = plan(&world(&reaadb(&more)).object("remote-clusters", &remote("third", false, "Error")));
    assert!(waiting(&waits).contains("`third` cannot be worked with: third is not reachable"), "{waits}");
    assert_eq!(plan(&given)["status"]["lastTaskUid"], FIRST, "one that does not take part is in nobody's way");
    let secret = json!({"spec": {"globalConfigurations": {"databaseSecretName": "other"}}});
    let waits = plan(&world(&reaadb(&secret)));
    assert!(waiting(&waits).contains("names Secret `other`"), "{waits}");
    assert_eq!(waits["status"]["secretsStatus"], json!([{"name": "other", "status": "Invalid"}]));
}

#[test]
fn at_rest_nothing_is_asked_and_all_is_told() {
    insta::assert_yaml_snapshot!(plan(&settled(&json!({}), &crdb())));
}

#[test]
fn a_change_here_is_sent_and_what_was_agreed_goes_with_it() {
    let over = json!({"spec": {"globalConfigurations": {"memorySize": "300MB"}}});
    let chosen = plan(&looked(&settled(&over, &crdb()), None, &json!([crdb()])));
    assert_eq!((&chosen["status"]["lastTaskUid"], &chosen["calls"]), (&json!(SECOND), &Value::Null));
    let changed = changing(&over, &crdb());
    let sent = plan(&looked(&changed, None, &json!([crdb()])));
    insta::assert_yaml_snapshot!(sent["calls"]);
}

#[test]
fn a_change_elsewhere_is_followed() {
    let mut theirs = crdb();
    theirs["default_db_config"]["memory_size"] = json!(314_572_800);
    for tag in theirs["default_db_config"]["tags"].as_array_mut().unwrap() {
        if tag["key"] == "global_configurations_spec" {
            tag["value"] = json!(r#"{"databaseSecretName":"aa-password","memorySize":"300MB"}"#);
        }
    }
    let followed = plan(&settled(&json!({}), &theirs));
    assert_eq!(followed["defaults"]["globalConfigurations"]["memorySize"], "300MB");
    assert_eq!(followed["calls"], Value::Null);
    // Once it says so, all is agreed.
    let mut status = active();
    status["globalConfigurations"] = followed["status"]["globalConfigurations"].clone();
    let spec = json!({"spec": {"globalConfigurations": {"memorySize": "300MB"}}, "status": status});
    assert_eq!(plan(&settled(&spec, &theirs))["progress"], "done");
    // Changed on both sides, the one that is asked last has its way, and the other follows it.
    let both = changing(&json!({"spec": {"globalConfigurations": {"memorySize": "400MB"}}}), &theirs);
    let sent = plan(&looked(&both, None, &json!([theirs])));
    assert_eq!(sent["calls"][0]["body"]["default_db_config"]["memory_size"], 419_430_400);
}

#[test]
fn clusters_are_added_and_removed() {
    let third = json!({"spec": {"participatingClusters": [{"name": "near"}, {"name": "third", "externalReplicationPort": 12000}]}});
    let given = changing(&third, &crdb()).object("remote-clusters", &remote("third", false, "Active"));
    let sent = plan(&looked(&given, None, &json!([crdb()])));
    insta::assert_yaml_snapshot!(sent["calls"]);
    // One that is lost for good is removed without being asked, where a person says so.
    let alone = json!({"metadata": {"annotations": {"app.redislabs.com/force-remove": "far"}},
        "spec": {"participatingClusters": [{"name": "near"}]}});
    let sent = plan(&looked(&changing(&alone, &crdb()), None, &json!([crdb()])));
    assert_eq!(sent["calls"][0]["body"]["remove_instances.force_remove"], true);
    assert_eq!(sent["calls"][0]["body"]["remove_instances"], json!([2]));
}

#[test]
fn a_cluster_that_is_lost_can_be_left_out_and_the_way_is_told() {
    let mut three = crdb();
    let third = json!({"id": 3, "cluster": {"name": "rec-third.ns-third.svc.cluster.local",
        "url": "https://api-third.example.com:443"}});
    three["instances"].as_array_mut().unwrap().push(third);
    let mut failed = task("failed");
    failed["errors"] = json!([{"cluster_name": "rec-third.ns-third", "description": "cannot be reached"}]);
    let lost = |over: &Value| changing(over, &three).object("remote-clusters", &remote("third", false, "Error"));
    let way_out = "annotation app.redislabs.com/force-remove=third";
    for given in [lost(&json!({})), lost(&json!({})).deleting()] {
        let told = plan(&looked(&given, Some(&failed), &json!([three])));
        assert!(waiting(&told).contains(way_out), "{told}");
    }
    // One that answers is not given up for it: it is asked, once the other one is out.
    let alone = json!({"metadata": {"annotations": {"app.redislabs.com/force-remove": "third"}},
        "spec": {"participatingClusters": [{"name": "near"}]}});
    let sent = plan(&looked(&lost(&alone), None, &json!([three])));
    assert_eq!(sent["calls"][0]["body"]["remove_instances"], json!([3]));
    assert_eq!(sent["calls"][0]["body"]["remove_instances.force_remove"], true);
    let sent = plan(&looked(&lost(&alone), None, &json!([crdb()])));
    assert_eq!(sent["calls"][0]["body"]["remove_instances"], json!([2]));
    assert_eq!(sent["calls"][0]["body"]["remove_instances.force_remove"], Value::Null);
    // Nobody is left out who can be asked.
    let told = plan(&looked(&changing(&alone, &crdb()), Some(&failed), &json!([crdb()])));
    assert!(waiting(&told).contains("failed") && !waiting(&told).contains("annotation"), "{told}");
}

#[test]
fn a_participant_that_is_lost_shows_and_changes_wait_for_it() {
    let lost = |over: &Value| {
        let mut health = health("up");
        health["g-1"][1] = json!({"cluster_name": "rec-far.ns-far.svc.cluster.local", "connections": [],
            "connection_error": "failed to reach it"});
        health["g-1"][0]["connections"][0]["replication_links"][0]["status"] = json!("down");
        let status = json!({"status": active()});
        let primary = with(&reaadb(&status), over);
        let rec = json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
            "status": {"state": "Running"}});
        let secret =
            |name: &str| json!({"kind": "Secret", "metadata": {"name": name}, "data": {"password": "fp:1111"}});
        Given::new::<Reaadb>(&primary)
            .object("clusters", &rec)
            .object("remote-clusters", &remote("near", true, "Active"))
            .object("remote-clusters", &remote("far", false, "Error"))
            .object("secrets", &secret("aa-password"))
            .object("secrets", &secret("reaadb-aa-in-force"))
            .fact("crdbs", &json!([crdb()]))
            .fact("bdbs", &json!([]))
            .fact("crdb-health", &health)
    };
    let told = plan(&lost(&json!({})));
    assert!(waiting(&told).contains("`far` cannot be worked with"), "{told}");
    assert_eq!(told["progress"]["word"], "ParticipantUnavailable");
    assert_eq!((&told["status"]["status"], &told["status"]["replicationStatus"]), (&json!("active"), &json!("down")));
    let statuses: Vec<&Value> =
        told["status"]["participatingClusters"].as_array().unwrap().iter().map(|it| &it["replicationStatus"]).collect();
    assert_eq!(statuses, ["up", "down"]);
    let waits = plan(&lost(&json!({"spec": {"globalConfigurations": {"memorySize": "300MB"}}})));
    assert!(waiting(&waits).contains("stays as it is for now"), "{waits}");
    assert_eq!(waits["calls"], Value::Null);
}

#[test]
fn other_certificates_are_passed_on_once() {
    let mut status = active();
    status["clusterCertificatesGeneration"] = json!(0);
    let given = settled(&json!({"status": status}), &crdb());
    let chosen = plan(&looked(&given, Some(&task("finished")), &json!([crdb()])));
    let id = "0b4b4d3c-9f53-4a1c-8d20-400100000002";
    assert_eq!(chosen["status"]["lastTaskUid"], id);
    status["lastTaskUid"] = json!(id);
    let given = settled(&json!({"status": status}), &crdb());
    let sent = plan(&looked(&given, None, &json!([crdb()])));
    assert_eq!(sent["calls"][0]["request"], "POST /v1/crdbs/g-1/updates to -");
    assert_eq!(sent["calls"][0]["body"], json!({"force_update": true}));
    let over = plan(&looked(&given, Some(&task("finished")), &json!([crdb()])));
    assert_eq!(over["status"]["clusterCertificatesGeneration"], 1);
    assert_eq!(over["progress"], "done");
}

#[test]
fn a_password_is_told_by_the_side_where_it_was_changed_only() {
    let secret = |given: Given, password: &str| {
        given
            .object("secrets", &json!({"kind": "Secret", "metadata": {"name": "mine"}, "data": {"password": password}}))
    };
    let over = json!({"spec": {"globalConfigurations": {"databaseSecretName": "mine"}}});
    let changed = secret(changing(&over, &crdb()), "fp:2222");
    let sent = plan(&looked(&changed, None, &json!([crdb()])));
    let expected = json!({"$secretKeyRef": {"name": "mine", "key": "password"}});
    assert_eq!(sent["calls"][0]["body"]["default_db_config"]["authentication_redis_pass"], expected);
    // It was changed elsewhere, and here it is as it was.
    let mut theirs = crdb();
    theirs["default_db_config"]["authentication_redis_pass"] = json!("fp:3333");
    let told = plan(&settled(&json!({}), &theirs));
    assert_eq!(told["calls"], Value::Null);
    assert!(waiting(&told).contains("has another `password` than the database"), "{told}");
    assert_eq!(told["status"]["secretsStatus"], json!([{"name": "aa-password", "status": "Invalid"}]));
}

#[test]
fn one_that_was_deleted_elsewhere_retires() {
    let given = settled(&json!({}), &crdb()).fact("crdbs", &json!([]));
    let looks = plan(&given);
    assert_eq!(looks["calls"][0]["request"], "GET /v1/crdbs to -");
    assert_eq!(looks["notes"], Value::Null);
    let gone = plan(&given.clone().reply("list", 200, &json!([])));
    assert!(gone["notes"]["retire"].as_str().unwrap().contains("was deleted through another cluster"), "{gone}");
    // A list that cannot be read proves nothing.
    let unknown = plan(&given.clone().reply("list", 503, &json!({})));
    assert_eq!(unknown["notes"], Value::Null);
    // A resource that was begun for a database never makes another.
    let copy = json!({"metadata": {"annotations": {"app.redislabs.com/crdb-guid": "g-9"}}});
    let begun = plan(&world(&reaadb(&copy)).reply("list", 200, &json!([])));
    assert!(begun["notes"]["retire"].is_string(), "{begun}");
}

#[test]
fn it_is_deleted_everywhere_and_only_then_is_the_resource_gone() {
    let given = settled(&json!({}), &crdb()).deleting();
    let chosen = plan(&looked(&given, Some(&task("finished")), &json!([crdb()])));
    let id = "0b4b4d3c-9f53-4a1c-8d20-500000000002";
    assert_eq!((&chosen["status"]["lastTaskUid"], &chosen["status"]["status"]), (&json!(id), &json!("delete-pending")));
    let mut status = active();
    status["lastTaskUid"] = json!(id);
    let given = settled(&json!({"status": status}), &crdb()).deleting();
    let sent = plan(&looked(&given, None, &json!([crdb()])));
    assert_eq!(sent["calls"][0]["request"], "DELETE /v1/crdbs/g-1 to -");
    let under_way = plan(&looked(&given, Some(&task("started")), &json!([crdb()])));
    assert!(waiting(&under_way).contains("under way"), "{under_way}");
    let gone = plan(&looked(&given.fact("crdbs", &json!([])), Some(&task("finished")), &json!([])));
    assert_eq!((&gone["progress"], &gone["desired"]), (&json!("done"), &Value::Null));
    // Nothing was ever sent.
    assert_eq!(plan(&world(&reaadb(&json!({}))).deleting())["progress"], "done");
    // Nor from here, of one that was begun for a database of others.
    let copy = json!({"metadata": {"annotations": {"app.redislabs.com/crdb-guid": "g-9"}}});
    let begun = world(&reaadb(&copy)).deleting();
    assert_eq!(plan(&begun)["calls"][0]["request"], "GET /v1/crdbs to -");
    assert_eq!(plan(&begun.reply("list", 200, &json!([])))["progress"], "done");
}

#[test]
fn rules_are_those_of_databases_and_a_few_more() {
    let broken = |global: Value| {
        let spec = json!({"spec": {"globalConfigurations": global}});
        let mut primary = reaadb(&spec);
        primary["spec"]["participatingClusters"] = json!([{"name": "near"}, {"name": "nobody"}]);
        match world(&primary).run::<Reaadb>() {
            Err(Failure::Invalid(broken)) => broken.into_iter().map(|it| it.field).collect::<Vec<_>>(),
            other => unreachable!("it was taken: {other:?}"),
        }
    };
    let missing = "spec.participatingClusters.name".to_owned();
    let global = |field: &str| vec![missing.clone(), format!("spec.globalConfigurations.{field}")];
    assert_eq!(broken(json!({"evictionPolicy": "illegal"})), global("evictionPolicy"));
    assert_eq!(broken(json!({"isRof": true, "memorySize": "2GB"})), global("isRof"));
    assert_eq!(broken(json!({"replication": false})), global("replication"));
    assert_eq!(broken(json!({"persistence": "snapshotEvery1Hour"})), global("persistence"));
    assert_eq!(broken(json!({"type": "memcached"})), global("type"));
    assert_eq!(broken(json!({"modulesList": [{"name": "search"}]})), global("modulesList.version"));
    assert_eq!(broken(json!({"shardingEnabled": false, "shardCount": 2})), global("shardingEnabled"));
}

#[test]
fn in_another_namespace_clients_find_it_by_its_name() {
    let elsewhere = json!({"metadata": {"namespace": "apps"}, "status": active()});
    let given = |primary: &Value| {
        let bdb = json!({"uid": 7, "name": "aa", "crdt": true, "port": 0, "endpoints": [{"port": 12345}]});
        world(primary).fact("crdbs", &json!([crdb()])).fact("bdbs", &json!([bdb])).fact("crdb-health", &health("up"))
    };
    let planned = plan(&given(&reaadb(&elsewhere)));
    let service = planned["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 Service apps/aa").unwrap();
    assert_eq!(service["body"]["spec"]["externalName"], "aa.ns.svc.cluster.local");
    assert_eq!(service["body"]["spec"]["ports"][0]["port"], 12345);
    // Beside the cluster, the services-rigger makes it.
    let beside = plan(&given(&reaadb(&json!({"status": active()}))));
    assert!(!beside["desired"].to_string().contains("Service"), "{beside}");
}

#[test]
fn a_new_login_of_a_cluster_is_told_to_all_once() {
    let with_version = |name: &str, version: &str| {
        with(
            &remote(name, name == "near", "Active"),
            &json!({"status": {"internalObservedSecretResourceVersion": version}}),
        )
    };
    let mut status = active();
    status["lastTaskUid"] = json!("0b4b4d3c-9f53-4a1c-8d20-300300000002");
    status["participatingClusters"] = json!([
        {"name": "near", "internalObservedSecretResourceVersion": "1"},
        {"name": "far", "internalObservedSecretResourceVersion": "1"},
    ]);
    let rec = json!({"apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
        "status": {"state": "Running"}});
    let given_over = |over: &Value, version: &str| {
        Given::new::<Reaadb>(&with(&reaadb(&json!({"status": status})), over))
            .object("clusters", &rec)
            .object("remote-clusters", &with_version("near", "1"))
            .object("remote-clusters", &with_version("far", version))
            .object(
                "secrets",
                &json!({"kind": "Secret", "metadata": {"name": "aa-password"}, "data": {"password": "fp:1111"}}),
            )
            .fact("crdbs", &json!([crdb()]))
            .fact("crdb-health", &health("up"))
    };
    let given = |version: &str| given_over(&json!({}), version);
    assert_eq!(plan(&given("1"))["progress"], "done");
    // Before anything else, which would not come about without it.
    let larger = json!({"spec": {"globalConfigurations": {"memorySize": "300MB"}}});
    let sent = plan(&looked(&given_over(&larger, "2"), None, &json!([crdb()])));
    let body = sent["calls"][0]["body"].as_object().unwrap();
    assert_eq!(body.keys().collect::<Vec<_>>(), ["instances"], "{sent}");
    let looked = looked(&given("2"), None, &json!([crdb()]));
    let sent = plan(&looked);
    assert_eq!(sent["calls"][0]["body"]["instances"][0]["id"], 2);
    let password = &sent["calls"][0]["body"]["instances"][0]["cluster"]["credentials"]["password"];
    assert_eq!(*password, json!({"$secretKeyRef": {"name": "redis-enterprise-far", "key": "password"}}));
    let over = common::looked(&given("2"), Some(&task("finished")), &json!([crdb()]));
    assert_eq!(plan(&over)["status"]["participatingClusters"][1]["internalObservedSecretResourceVersion"], "2");
    // One that failed told nobody.
    let failed =
        plan(&common::looked(&given("2").now("2026-01-01T00:09:00Z"), Some(&task("failed")), &json!([crdb()])));
    assert_eq!(failed["status"]["participatingClusters"][1]["internalObservedSecretResourceVersion"], "1");
    assert_eq!(failed["status"]["lastTaskUid"], "0b4b4d3c-9f53-4a1c-8d20-300300000003");
}
