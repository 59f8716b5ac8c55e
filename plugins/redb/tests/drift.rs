//! Whatever a creation sets is put back when somebody changes it, and nothing else is touched.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{active_redb, bdb, redb, with};
use serde_json::{Map, Value, json};
use stepwright_redb::Redb;
use stepwright_sdk::testing::{Given, readable};

/// Refused instead of put back, or not shown by the API.
const NOT_PUT_BACK: [&str; 6] = ["type", "port", "bigstore", "redis_version", "shard_key_regex", "hash_slots_policy"];

fn spec() -> Value {
    json!({ "spec": {
        "memorySize": "4GB", "shardCount": 2, "replication": true, "rackAware": true, "shardsPlacement": "sparse",
        "persistence": "snapshotEvery6Hour", "evictionPolicy": "noeviction", "tlsMode": "enabled", "ossCluster": true,
        "databasePort": null, "isRof": true, "rofRamSize": "1GB", "rofRamRatio": 40, "dataInternodeEncryption": true,
        "resp3": false, "ossClusterSettings": { "enableExternalAccess": true },
        "connectionSettings": { "internalConnections": 8 }, "modulesList": [{ "name": "search" }],
        "tags": { "team": "x" }, "clientAuthenticationCertificates": ["secret-a", "secret-b"],
        "auditing": { "dbConnsAuditing": true },
        "replicaSources": [{ "replicaSourceType": "SECRET", "replicaSourceName": "secret-a", "compression": 3 }],
        "backup": { "intervalOffset": 60, "s3": { "awsSecretName": "secret-a", "bucketName": "b", "subdir": "d" } },
    } })
}

fn world(redb: &Value, bdbs: &Value, in_force: &Value) -> Given {
    let rec =
        with(&common::rec("Running"), &json!({ "spec": { "rackAwarenessNodeLabel": "zone", "redisOnFlashSpec": {} } }));
    let secret = |name: &str, data: &Value| json!({ "kind": "Secret", "metadata": { "name": name }, "data": data });
    let all = json!({
        "AWS_ACCESS_KEY_ID": "fp:id", "AWS_SECRET_ACCESS_KEY": "fp:secret", "cert": "fp:other", "uri": "fp:other",
    });
    let given = Given::new::<Redb>(redb)
        .object("clusters", &rec)
        .object("statefulsets", &json!({ "kind": "StatefulSet", "metadata": { "name": "rec" } }))
        .object("secrets", &secret("secret-a", &all))
        .object("secrets", &secret("secret-b", &all))
        .object("secrets", &secret("redb-mydb-in-force", in_force))
        .fact("bdbs", bdbs)
        .fact("license", &json!({ "expired": false, "shards_limit": 40 }))
        .fact("cluster", &json!({ "mask_bdb_credentials": false }));
    common::secret(given, "redb-mydb", Some("fp:1111"), true)
}

/// The copies that are kept once the creation was accepted, with the fingerprints that they will have.
fn copies(created: &Value) -> Value {
    let kept = created["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 Secret ns/redb-mydb-in-force");
    let data: Map<String, Value> = kept.unwrap()["body"]["stringData"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| {
            let fingerprint = match value["$secretKeyRef"]["key"].as_str().unwrap() {
                "AWS_ACCESS_KEY_ID" => "fp:id",
                "AWS_SECRET_ACCESS_KEY" => "fp:secret",
                _ => "fp:other",
            };
            (key.clone(), json!(fingerprint))
        })
        .collect();
    Value::Object(data)
}

/// What the cluster lists after such a creation.
fn listed(body: &Value) -> Value {
    let mut shown = with(&bdb(&json!({})), body);
    for hidden in ["access_key_id", "secret_access_key"] {
        shown["backup_location"][hidden] = json!("fp:shown");
    }
    shown["authentication_redis_pass"] = json!("fp:1111");
    shown["authentication_ssl_client_certs"] = json!([{ "client_cert": "PEM" }, { "client_cert": "PEM" }]);
    shown["replica_sources"][0]["uri"] = json!("redis://admin:fp:0@source:12000");
    shown["replica_sources"][0]["status"] = json!("in-sync");
    shown["backup_location"]["unheard_of"] = json!(7);
    shown["port"] = json!(0);
    shown["bigstore_version"] = json!(2);
    shown
}

fn other(value: &Value) -> Value {
    match value {
        Value::Bool(it) => json!(!it),
        Value::Number(it) => json!(it.as_u64().unwrap() + 2),
        Value::String(_) => json!("other"),
        Value::Array(_) => json!([]),
        _ => json!({ "type": "mount_point", "path": "/theirs" }),
    }
}

#[test]
fn every_setting_is_put_back_alone() {
    let new = redb(&spec());
    let body = common::plan(&world(&new, &json!([]), &json!({})))["calls"][0]["body"].clone();
    let shown = listed(&body);
    let accepted = common::plan(&world(&new, &json!([shown]), &json!({})).reply("create", 200, &shown));
    let in_force = copies(&accepted);
    let there = active_redb(&with(&spec(), &json!({ "status": accepted["status"] })));

    let at_rest = readable(&world(&there, &json!([shown]), &in_force).run::<Redb>().unwrap());
    assert_eq!((&at_rest["calls"], &at_rest["progress"]), (&Value::Null, &json!("done")));
    assert_eq!(
        at_rest["status"]["replicaSourceStatuses"],
        json!([{ "endpointHost": "source:12000", "status": "in-sync" }])
    );
    let kept =
        |plan: &Value| plan["desired"].as_array().map(|all| all.iter().map(|it| it["id"].clone()).collect::<Vec<_>>());
    assert_eq!(kept(&at_rest), kept(&accepted), "copies are kept as long as they are needed");

    for (field, value) in body.as_object().unwrap() {
        if NOT_PUT_BACK.contains(&field.as_str()) {
            continue;
        }
        let mut theirs = shown.clone();
        let changed = if field == "authentication_redis_pass" { json!("fp:8888") } else { other(value) };
        theirs[field] = if field == "shards_count" { json!(1) } else { changed };
        theirs["action_uid"] = json!("theirs");
        let plan = common::plan(&world(&there, &json!([theirs]), &in_force));
        let sent = plan["calls"][0]["body"].as_object().unwrap_or_else(|| unreachable!("{field} is left: {plan}"));
        let expected =
            if field == "name" || field == "tags" { plan["calls"][0]["body"][field].clone() } else { value.clone() };
        assert_eq!(sent.get(field), Some(&expected), "{field}");
        let more: Vec<&String> = sent.keys().filter(|name| *name != field && *name != "shard_key_regex").collect();
        assert_eq!(more, Vec::<&String>::new(), "{field} was put back with others");
    }
}

#[test]
fn another_value_in_a_secret_is_given_to_the_cluster() {
    let new = redb(&spec());
    let body = common::plan(&world(&new, &json!([]), &json!({})))["calls"][0]["body"].clone();
    let shown = listed(&body);
    let accepted = common::plan(&world(&new, &json!([shown]), &json!({})).reply("create", 200, &shown));
    let mut in_force = copies(&accepted);
    let there = active_redb(&with(&spec(), &json!({ "status": accepted["status"] })));
    in_force["backup_location.secret-a.AWS_SECRET_ACCESS_KEY"] = json!("fp:before");
    let given = world(&there, &json!([shown]), &in_force);
    let rotated = common::plan(&given);
    assert_eq!(rotated["calls"][0]["id"], "update:backup_location");
    assert_eq!(rotated["calls"][0]["body"], json!({ "backup_location": body["backup_location"] }));
    // Accepted: the copy is taken anew from the Secret, and nothing more is sent.
    let after = common::plan(&given.reply("update:backup_location", 200, &shown));
    let copy = |plan: &Value| {
        let all = plan["desired"].as_array().unwrap();
        let kept = all.iter().find(|it| it["id"] == "v1 Secret ns/redb-mydb-in-force").unwrap();
        kept["body"]["stringData"]["backup_location.secret-a.AWS_SECRET_ACCESS_KEY"]["$secretKeyRef"]["name"].clone()
    };
    assert_eq!((copy(&rotated), copy(&after)), (json!("redb-mydb-in-force"), json!("secret-a")));
    assert_eq!(after["calls"], Value::Null);
}

#[test]
fn what_is_taken_out_of_the_spec_is_turned_off_once() {
    let less = json!({ "spec": {
        "backup": null, "replicaSources": null, "clientAuthenticationCertificates": null, "ossClusterSettings": null,
        "auditing": null, "connectionSettings": null,
    }, "metadata": { "generation": 3 } });
    let new = redb(&spec());
    let body = common::plan(&world(&new, &json!([]), &json!({})))["calls"][0]["body"].clone();
    let shown = listed(&body);
    let accepted = common::plan(&world(&new, &json!([shown]), &json!({})).reply("create", 200, &shown));
    let there = with(&active_redb(&with(&spec(), &json!({ "status": accepted["status"] }))), &less);
    let plan = common::plan(&world(&there, &json!([shown]), &copies(&accepted)));
    assert_eq!(
        plan["calls"][0]["body"],
        json!({
            "backup": false, "replica_sync": "disabled", "replica_sources": [], "authentication_ssl_client_certs": [],
            "enforce_client_authentication": "disabled", "oss_cluster_api_preferred_ip_type": "internal",
            "db_conns_auditing": false, "conns": 5,
        })
    );
    let off = with(&shown, &plan["calls"][0]["body"]);
    let id = plan["calls"][0]["id"].as_str().unwrap();
    let settled = common::plan(&world(&there, &json!([off]), &json!({})).reply(id, 200, &off));
    assert_eq!(settled["status"]["managedFields"], Value::Null);
    // From now on it is whoever's in the cluster sets it.
    let after = with(&there, &json!({ "status": settled["status"] }));
    let theirs = with(&shown, &json!({ "status": "active" }));
    let after = active_redb(&with(&after, &json!({ "status": { "managedFields": null } })));
    assert_eq!(common::plan(&world(&after, &json!([theirs]), &json!({})))["calls"], Value::Null);
}
