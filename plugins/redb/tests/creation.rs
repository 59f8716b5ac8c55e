//! From a new resource to an active database.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bare, bdb, events, plan, redb, secret, violation, world};
use insta::assert_yaml_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepwright_redb::Redb;
use stepwright_sdk::testing::Given;

fn fresh() -> Value {
    redb(&json!({ "metadata": { "generation": 1 }, "spec": { "databaseSecretName": null } }))
}

#[test]
fn a_new_resource_gets_its_secret_and_the_name_of_it() {
    assert_yaml_snapshot!(plan(&bare(&fresh())));
}

#[test]
fn with_its_secret_the_database_is_made() {
    assert_yaml_snapshot!(plan(&world(&redb(&json!({})), &json!([]))));
}

#[test]
fn every_setting_that_is_acted_on_reaches_the_call() {
    let spec = json!({ "spec": {
        "memorySize": "1.5GB", "shardCount": 2, "replication": true, "shardsPlacement": "sparse", "persistence": "aofAlways",
        "evictionPolicy": "noeviction", "tlsMode": "enabled", "ossCluster": true, "databasePort": null,
        "databaseServicePort": 7000, "redisVersion": "7.4", "resp3": false, "dataInternodeEncryption": true,
        "connectionSettings": { "internalConnections": 8, "connectionSchedulingPolicy": "mru" },
        "modulesList": [{ "name": "search", "config": "X 1" }], "tags": { "team": "x" },
    } });
    assert_yaml_snapshot!(plan(&world(&redb(&spec), &json!([])))["calls"][0]["body"]);
}

#[test]
fn snapshots_have_their_interval() {
    for (word, seconds) in
        [("snapshotEvery1Hour", 3_600), ("snapshotEvery6Hour", 21_600), ("snapshotEvery12Hour", 43_200)]
    {
        let plan = plan(&world(&redb(&json!({ "spec": { "persistence": word } })), &json!([])));
        let body = &plan["calls"][0]["body"];
        assert_eq!(body["data_persistence"], "snapshot");
        assert_eq!(body["snapshot_policy"], json!([{ "secs": seconds, "writes": 1 }]));
    }
}

#[test]
fn an_accepted_creation_is_pending_and_told_once() {
    let pending = bdb(&json!({ "status": "pending" }));
    let given = world(&redb(&json!({})), &json!([pending])).reply("create", 200, &pending);
    assert_yaml_snapshot!(plan(&given));
}

#[test]
fn an_accepted_creation_that_is_not_listed_yet_is_known_from_the_reply() {
    let given = world(&redb(&json!({})), &json!([])).reply("create", 200, &bdb(&json!({ "status": "pending" })));
    let plan = plan(&given);
    assert_eq!(plan["calls"], Value::Null);
    assert_eq!(plan["status"]["databaseUID"], "1");
    assert_eq!(plan["status"]["status"], "pending");
}

#[test]
fn a_lost_reply_makes_no_second_database() {
    for (status, body) in [
        (0, json!("connection reset")),
        (307, json!("")),
        (503, json!({ "error_code": "no_quorum" })),
        (504, json!("")),
    ] {
        let lost = plan(&world(&redb(&json!({})), &json!([])).reply("create", status, &body));
        assert_eq!(lost["calls"], Value::Null, "{status}");
        assert_eq!(lost["status"]["status"], "pending");
        assert!(lost["progress"]["waiting"].as_str().unwrap().contains("is not known"), "{lost}");
        assert_eq!(events(&lost), Vec::<&str>::new());
    }
    // The next pass reads the list first.
    let found = plan(&world(&redb(&json!({})), &json!([bdb(&json!({ "status": "pending" }))])));
    assert_eq!(found["calls"], Value::Null);
    assert_eq!(events(&found), ["Normal DatabaseCreated: database `mydb` was created on cluster `rec` with uid 1"]);
}

#[test]
fn a_refused_creation_is_told_in_the_servers_words() {
    let refusal = json!({ "error_code": "insufficient_resources", "message": "Not enough resources in cluster to host the database" });
    assert_yaml_snapshot!(plan(&world(&redb(&json!({})), &json!([])).reply("create", 406, &refusal)));
}

#[test]
fn an_active_database_at_rest() {
    assert_yaml_snapshot!(plan(&world(&active_redb(&json!({})), &json!([bdb(&json!({}))]))));
}

#[test]
fn the_status_becomes_active_without_news() {
    let pending = active_redb(&json!({ "status": {
        "status": "pending", "shardStatuses": null, "lastActionStatus": "running", "version": null,
    } }));
    let became = plan(&world(&pending, &json!([bdb(&json!({}))])));
    assert_eq!(became, plan(&world(&active_redb(&json!({})), &json!([bdb(&json!({}))]))));
}

#[test]
fn a_port_that_the_cluster_chose_goes_into_status_and_secret() {
    let chosen = bdb(&json!({ "port": 0, "endpoints": [{ "port": 12_345, "addr": [], "addr_type": "internal" }] }));
    let plan = plan(&world(&redb(&json!({ "spec": { "databasePort": null } })), &json!([chosen])));
    assert_eq!(
        plan["status"]["internalEndpoints"],
        json!([{ "host": "redis-12345.rec.ns.svc.cluster.local", "port": 12_345 }])
    );
    assert_eq!(plan["desired"][0]["body"]["stringData"]["port"], "12345");
}

#[test]
fn names_in_the_secret_follow_the_cluster() {
    let mut rec = common::rec("Running");
    rec["spec"] = json!({ "servicesRiggerSpec": { "serviceNaming": "redis-port", "databaseServiceType": "cluster_ip,load_balancer" } });
    let names = |redb: &Value| {
        let given = Given::new::<Redb>(redb).object("clusters", &rec).fact("bdbs", &json!([]));
        plan(&given)["desired"][0]["body"]["stringData"]["service_names"].clone()
    };
    assert_eq!(names(&fresh()), "redis-19621,redis-19621-load-balancer");
    assert_eq!(names(&redb(&json!({ "spec": { "databasePort": null } }))), Value::Null);
}

#[test]
fn a_cluster_that_does_not_run_is_waited_for() {
    let waiting = |state: &str| {
        let given = Given::new::<Redb>(&redb(&json!({}))).object("clusters", &common::rec(state));
        plan(&secret(given, "redb-mydb", Some("fp:1111"), true))
    };
    let plan = waiting("Initializing");
    assert_eq!(plan["progress"]["waiting"], "cluster `rec` is Initializing, not Running");
    assert_eq!(plan["status"], json!({ "status": "pending", "specStatus": "Valid", "redisEnterpriseCluster": "rec" }));
    assert_eq!(waiting("")["progress"]["waiting"], "cluster `rec` is not started, not Running");
}

#[test]
fn the_status_stays_while_the_cluster_cannot_be_read() {
    let given = world(&active_redb(&json!({})), &json!([])).unknown("bdbs", "no node answers");
    let plan = plan(&given);
    assert_eq!(plan["status"], active_redb(&json!({}))["status"]);
    assert_eq!(plan["desired"][0]["body"]["stringData"]["port"], "19621");
    assert_eq!(plan["calls"], Value::Null);
}

#[test]
fn which_cluster_is_meant_must_be_clear() {
    let named = Given::new::<Redb>(&redb(&json!({ "spec": { "redisEnterpriseCluster": { "name": "other" } } })));
    let violation_named = violation(&named.clone().object("clusters", &common::rec("Running")));
    assert_eq!(violation_named.field, "spec.redisEnterpriseCluster.name");
    assert_eq!(
        violation_named.message,
        "RedisEnterpriseCluster `other` not found in namespace `ns`, which has `rec`: make it, or name another"
    );
    let unnamed = redb(&json!({ "spec": { "redisEnterpriseCluster": null } }));
    let none = plan(&Given::new::<Redb>(&unnamed));
    assert_eq!(
        none["progress"]["waiting"],
        "namespace `ns` has no RedisEnterpriseCluster: make one, or name one of the operator's namespace in \
         spec.redisEnterpriseCluster.name"
    );
    assert_eq!(plan(&world(&unnamed, &json!([])))["calls"][0]["id"], "create");
    let mut second = common::rec("Running");
    second["metadata"]["name"] = json!("second");
    assert!(violation(&world(&unnamed, &json!([])).object("clusters", &second)).message.contains("`rec` and `second`"));
}

#[test]
fn a_foreign_database_of_the_same_name_is_refused() {
    let refused = |tags: Value| {
        violation(&world(
            &redb(&json!({})),
            &json!([bdb(&json!({ "uid": 7, "port": 0, "endpoints": [], "tags": tags }))]),
        ))
    };
    let untagged = refused(json!([]));
    assert_eq!(untagged.field, "metadata.name");
    assert!(untagged.message.contains("another database `mydb` (uid 7), and no resource made it"), "{untagged:?}");
    let theirs =
        refused(json!([{ "key": "redb_name", "value": "mydb" }, { "key": "redb_namespace", "value": "other" }]));
    assert!(theirs.message.contains("RedisEnterpriseDatabase `other/mydb` made it"), "{theirs:?}");
}

#[test]
fn a_uid_that_now_means_another_database_is_not_ours() {
    let other = bdb(&json!({ "name": "other", "tags": [], "port": 0, "endpoints": [] }));
    let plan = plan(&world(&active_redb(&json!({})), &json!([other])));
    assert_eq!(plan["calls"][0]["id"], "create");
}

#[test]
fn the_license_is_asked_before_the_cluster() {
    let other = bdb(&json!({ "uid": 2, "name": "other", "tags": [], "shards_count": 3, "port": 0, "endpoints": [] }));
    let replicated = redb(&json!({ "spec": { "replication": true } }));
    let violation = violation(&world(&replicated, &json!([other])));
    assert_eq!(violation.field, "spec.replication");
    assert!(
        violation.message.contains("License permits 4 total shards, but there are 5 total shards in use"),
        "{violation:?}"
    );
    assert_eq!(plan(&world(&redb(&json!({})), &json!([other])))["calls"][0]["id"], "create");

    // Others that do not concern this resource are no part of its fact; they are looked for before anything is sent.
    let listed = json!([{ "uid": 2, "name": "other", "shards_count": 2, "replication": true }]);
    let looked = world(&redb(&json!({})), &json!([])).reply("look", 200, &listed);
    let violation = common::violation(&looked);
    assert!(violation.message.contains("there are 5 total shards in use"), "{violation:?}");

    let expired = world(&redb(&json!({})), &json!([])).fact("license", &json!({ "expired": true, "shards_limit": 4 }));
    let held = plan(&expired);
    assert_eq!(held["calls"], Value::Null);
    assert!(held["progress"]["waiting"].as_str().unwrap().contains("has expired"));
}

#[test]
fn a_users_own_secret_is_adopted_and_never_owned() {
    let redb = redb(&json!({ "spec": { "databaseSecretName": "mine" } }));
    let plan = plan(&secret(bare(&redb), "mine", Some("fp:4444"), false));
    assert_yaml_snapshot!(json!({
        "desired": plan["desired"], "amended": plan["amended"], "defaults": plan["defaults"],
        "password": plan["calls"][0]["body"]["authentication_redis_pass"],
    }));
    let empty = common::plan(&secret(bare(&redb), "mine", None, false));
    assert_eq!(empty["progress"]["waiting"], "Secret `mine` has no key `password`: add it, even if it is empty");
}

#[test]
fn without_default_user_there_is_no_secret() {
    let redb = redb(&json!({ "spec": { "defaultUser": false } }));
    let plan = plan(&bare(&redb));
    assert_eq!(plan["desired"], Value::Null);
    assert_eq!(plan["calls"][0]["body"]["default_user"], false);
    assert_eq!(plan["calls"][0]["body"]["authentication_redis_pass"], Value::Null);
    // One that was made before is not listed, so the host deletes it.
    assert_eq!(common::plan(&world(&redb, &json!([bdb(&json!({ "default_user": false }))])))["desired"], Value::Null);
}

#[test]
fn a_creation_that_failed_is_told_and_tried_again_with_another_spec() {
    let failed = bdb(&json!({ "status": "creation-failed", "endpoints": [], "shard_list": [] }));
    let was_pending = active_redb(&json!({ "status": { "status": "pending" } }));
    let told = plan(&world(&was_pending, &json!([failed])));
    assert_eq!(told["status"]["status"], "creation-failed");
    assert_eq!(told["status"]["lastActionStatus"], "failed");
    assert!(events(&told)[0].starts_with("Warning DatabaseFailed: "));
    let known = active_redb(&json!({ "status": { "status": "creation-failed" } }));
    let known = plan(&world(&known, &json!([failed])));
    assert_eq!((events(&known).len(), &known["calls"]), (0, &Value::Null));
    let changed = active_redb(&json!({ "metadata": { "generation": 3 }, "status": { "status": "creation-failed" } }));
    assert_eq!(plan(&world(&changed, &json!([failed])))["calls"][0]["request"], "DELETE /v1/bdbs/1 to -");
}

#[test]
fn rules_name_field_and_remedy() {
    #[track_caller]
    fn check(spec: Value, field: &str, word: &str) {
        let violation = violation(&world(&redb(&json!({ "spec": spec })), &json!([])));
        assert_eq!(violation.field, field);
        assert!(violation.message.contains(word), "{violation:?}");
    }
    check(json!({ "memorySize": "99MB" }), "spec.memorySize", "at least 100MB");
    check(json!({ "memorySize": "lots" }), "spec.memorySize", "`lots`");
    check(
        json!({ "evictionPolicy": "illegal" }),
        "spec.evictionPolicy",
        "'illegal' is an invalid value for 'eviction_policy'",
    );
    check(json!({ "databasePort": 6379 }), "spec.databasePort", "10000 to 19999");
    check(json!({ "shardCount": 0 }), "spec.shardCount", "1 to 512");
    check(json!({ "shardingEnabled": true }), "spec.shardingEnabled", "Active-Active");
    check(json!({ "rackAware": true }), "spec.rackAware", "rackAwarenessNodeLabel");
    check(json!({ "isRof": true, "memorySize": "2GB" }), "spec.isRof", "redisOnFlashSpec");
    check(json!({ "tags": { "redb_name": "x" } }), "spec.tags", "`redb_name`");
    check(json!({ "proxyPolicy": "any" }), "spec.proxyPolicy", "all-nodes");
    check(json!({ "type": "memcached", "ossCluster": true }), "spec.type", "OSS cluster");
    check(json!({ "memcachedSaslSecretName": "x" }), "spec.memcachedSaslSecretName", "set type to memcached");
    check(json!({ "rofRamRatio": 20 }), "spec.isRof", "rofRamRatio");
    check(json!({ "backup": { "interval": 60 } }), "spec.backup", "one of s3");
    check(
        json!({ "backup": { "interval": 60, "intervalOffset": 5, "mount": { "path": "/b" } } }),
        "spec.backup.intervalOffset",
        "86400 or 43200",
    );
    check(
        json!({ "replicaSources": [{ "replicaSourceType": "DNS", "replicaSourceName": "x" }] }),
        "spec.replicaSources.replicaSourceType",
        "SECRET or REDB",
    );
    check(
        json!({ "ossClusterSettings": { "enableExternalAccess": true } }),
        "spec.ossClusterSettings.enableExternalAccess",
        "set ossCluster",
    );
}

#[test]
fn a_port_that_another_database_has_is_refused() {
    let other = bdb(&json!({ "uid": 2, "name": "other", "tags": [] }));
    let violation = violation(&world(&redb(&json!({})), &json!([other])));
    assert_eq!(violation.field, "spec.databasePort");
    assert!(violation.message.contains("`other`"));
}

#[test]
fn fields_that_are_not_acted_on_are_named() {
    let spec = json!({ "spec": { "backup": { "swift": {} }, "alertSettings": {}, "activeActive": { "name": "aa" }, "rolesPermissions": [] } });
    let plan = plan(&world(&redb(&spec), &json!([])));
    let fields: Vec<&str> =
        plan["notes"]["unsupported"].as_array().unwrap().iter().map(|entry| entry["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.backup.swift", "spec.activeActive"]);
}

fn any_bdb() -> impl Strategy<Value = Value> {
    (
        1u64..4,
        "mydb|other",
        "active|pending|delete-pending|creation-failed|recovery|active-change-pending",
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(uid, name, status, ours, drift)| {
            let mut one = bdb(&json!({ "uid": uid, "name": name, "status": status }));
            if !ours {
                one["tags"] = json!([]);
            }
            if drift {
                one["memory_size"] = json!(1);
                one["authentication_redis_pass"] = json!("fp:8888");
            }
            one
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Never a second database of the name, never one while the list is not known; never a fingerprint; same answer twice.
    #[test]
    fn no_second_database(
        bdbs in proptest::option::of(proptest::collection::vec(any_bdb(), 0..3)),
        status in "active|pending||creation-failed", uid in proptest::option::of("[1-3]"), generation in 1i64..4,
        reply in proptest::option::of(("create|update:memory_size|upgrade:redis_version|alerts:bdb_size|delete|remove", prop_oneof![Just(0u16), Just(200), Just(307), Just(404), Just(406), Just(409), Just(503), Just(504)])),
        state in "Running|Initializing", deleting in any::<bool>(), has_secret in any::<bool>(),
    ) {
        let redb = active_redb(&json!({
            "metadata": { "generation": generation }, "status": { "status": status, "databaseUID": uid },
        }));
        let mut given = Given::new::<Redb>(&redb).object("clusters", &common::rec(&state))
            .object("statefulsets", &json!({ "kind": "StatefulSet", "metadata": { "name": "rec" } }));
        if has_secret {
            given = secret(given, "redb-mydb", Some("fp:1111"), true);
        }
        if let Some(bdbs) = &bdbs {
            given = given.fact("bdbs", &json!(bdbs));
        }
        if let Some((id, status)) = &reply {
            given = given.reply(id, *status, &json!({ "error_code": "x" }));
        }
        if deleting {
            given = given.deleting();
        }
        let answer = given.run::<Redb>();
        prop_assert_eq!(&answer, &given.run::<Redb>());
        prop_assert!(!deleting || answer.is_ok(), "what goes away is not judged");
        let Ok(planned) = answer else { return Ok(()) };
        common::admitted::check::<Redb>(&planned, &given.observation().primary.id);
        let shown = stepwright_sdk::testing::readable(&planned);
        prop_assert!(!shown.to_string().contains("fp:"));
        prop_assert!(planned.calls.len() <= 1);
        let named = bdbs.iter().flatten().any(|bdb| bdb["name"] == "mydb");
        for call in &planned.calls {
            if call.method == "POST" {
                prop_assert!(bdbs.is_some() && !named && !deleting && state == "Running" && has_secret);
            }
            if call.method == "DELETE" {
                let target = call.path.trim_start_matches("/v1/bdbs/");
                let tagged = |bdb: &Value| bdb["tags"].as_array().is_some_and(|tags| !tags.is_empty());
                let ours = bdbs.iter().flatten().any(|bdb| {
                    let remembered = uid.as_deref() == Some(target) && bdb["name"] == "mydb";
                    bdb["uid"].as_u64() == target.parse().ok() && (tagged(bdb) || remembered)
                });
                prop_assert!(ours);
            }
        }
    }
}
