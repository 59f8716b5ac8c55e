//! Fields that are settings of the cluster's own: they arrive there, and drift is put back.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_tests::databases::{apply, bdb, number, remove, settled};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, redis};

use crate::{put_back, shows, spec, told};

fn uid(made: &Value) -> u64 {
    made["uid"].as_u64().unwrap()
}

pub(crate) async fn roles_and_acls_decide_who_may_do_what(world: &World) {
    let pairs = json!([{"type": "redis-enterprise", "role": "readers", "acl": "only-reads"}]);
    apply(world, "governed", json!({"databasePort": 14001, "rolesPermissions": pairs}));
    // It is made; who may log in beside the default user has to wait.
    told(world, "governed", &["spec.rolesPermissions.role", "no role `readers`"]).await;
    let role = world.rest("POST", "/v1/roles", Some(&json!({"name": "readers", "management": "none"}))).unwrap();
    let acl = world.rest("POST", "/v1/redis_acls", Some(&json!({"name": "only-reads", "acl": "+@read ~*"}))).unwrap();
    let user =
        json!({"email": "reader@example.com", "name": "reader", "password": "reads-only", "role_uids": [uid(&role)]});
    let user = world.rest("POST", "/v1/users", Some(&user)).unwrap();
    settled(world, "governed").await;
    let wanted = json!([{"role_uid": uid(&role), "redis_acl_uid": uid(&acl)}]);
    shows(world, "governed", "roles_permissions", &wanted).await;

    let password = world.secret("redb-governed", "password").unwrap();
    let forward = world.database("service/governed", 14001, &password).await;
    assert_eq!(redis(forward.port, &password, &["SET", "key", "kept"]).unwrap(), "OK");
    until("the reader to read", SETTLES, || async {
        let said = redis(forward.port, "reads-only", &["--user", "reader@example.com", "GET", "key"])?;
        ensure!(said == "kept", "{said}");
        anyhow::Ok(())
    })
    .await;
    let refused = redis(forward.port, "reads-only", &["--user", "reader@example.com", "SET", "key", "gone"]).unwrap();
    assert!(refused.contains("NOPERM"), "{refused}");
    drop(forward);

    put_back(world, "governed", "roles_permissions", json!([])).await;
    // Somebody renames the role, and makes another of its name: the pair is the new one's, though nobody touched the database.
    let renamed = format!("/v1/roles/{}", uid(&role));
    world.rest("PUT", &renamed, Some(&json!({"name": "once-readers"}))).unwrap();
    told(world, "governed", &["spec.rolesPermissions.role", "no role `readers`"]).await;
    let anew = world.rest("POST", "/v1/roles", Some(&json!({"name": "readers", "management": "none"}))).unwrap();
    let wanted = json!([{"role_uid": uid(&anew), "redis_acl_uid": uid(&acl)}]);
    shows(world, "governed", "roles_permissions", &wanted).await;
    settled(world, "governed").await;
    // Out of the spec, out of the database.
    spec(world, "governed", &json!({"rolesPermissions": null}));
    settled(world, "governed").await;
    shows(world, "governed", "roles_permissions", &json!([])).await;
    remove(world, "governed").await;
    for (path, made) in [("users", &user), ("redis_acls", &acl), ("roles", &role), ("roles", &anew)] {
        world.rest("DELETE", &format!("/v1/{path}/{}", uid(made)), None).unwrap();
    }
}

pub(crate) async fn alerts_are_set_and_put_back(world: &World) {
    let alerts = json!({"bdb_size": {"enabled": true, "threshold": "70"}, "bdb_high_latency": {"enabled": true, "threshold": "3000"}});
    apply(world, "watched", json!({"databasePort": 14002, "alertSettings": alerts}));
    settled(world, "watched").await;
    let path = format!("/v1/bdbs/alerts/{}", number(world, "watched"));
    let alert = async |name: &str, enabled: bool, threshold: &str| {
        until(&format!("the alert {name}"), SETTLES, || async {
            let found = world.rest("GET", &path, None)?[name].clone();
            let right = found["enabled"] == enabled && (threshold.is_empty() || found["threshold"] == threshold);
            if right { Ok(()) } else { bail!("{found}") }
        })
        .await;
    };
    alert("bdb_size", true, "70").await;
    alert("bdb_high_latency", true, "3000").await;
    // Turned off, and set otherwise, by somebody else; one that nobody manages stays as somebody set it.
    let theirs = json!({"bdb_size": {"enabled": false}, "bdb_high_latency": {"enabled": true, "threshold": "9"},
        "bdb_ram_values": {"enabled": true, "threshold": "60"}});
    world.rest("POST", &path, Some(&theirs)).unwrap();
    alert("bdb_size", true, "70").await;
    alert("bdb_high_latency", true, "3000").await;
    alert("bdb_ram_values", true, "60").await;
    spec(world, "watched", &json!({"alertSettings": {"bdb_size": null}}));
    settled(world, "watched").await;
    alert("bdb_size", false, "").await;
    alert("bdb_high_latency", true, "3000").await;
    alert("bdb_ram_values", true, "60").await;
    remove(world, "watched").await;
}

/// A module of the cluster and a version of it, as the cluster's resource tells them.
async fn module(world: &World) -> (String, String) {
    until("modules of the cluster", SETTLES, || async {
        let rec = world.get("rec", "rec")?;
        let module = &rec["status"]["modules"][0];
        let (Some(name), Some(version)) = (module["name"].as_str(), module["versions"][0].as_str()) else {
            bail!("{}", rec["status"])
        };
        Ok((name.to_owned(), version.to_owned()))
    })
    .await
}

pub(crate) async fn tags_modules_and_places_are_set_and_put_back(world: &World) {
    let (module, version) = module(world).await;
    apply(
        world,
        "placed",
        json!({
            "databasePort": 14003, "memorySize": "200MB", "shardCount": 2, "shardsPlacement": "sparse",
            "proxyPolicy": "all-nodes", "tags": {"team": "a", "stage": "test"},
            "modulesList": [{"name": module, "version": version}],
        }),
    );
    settled(world, "placed").await;
    let found = bdb(world, "placed").unwrap();
    assert_eq!((&found["shards_placement"], &found["proxy_policy"]), (&json!("sparse"), &json!("all-nodes")));
    assert_eq!(found["endpoints"][0]["addr"].as_array().map(Vec::len), Some(3), "{found}");
    let loaded = &found["module_list"][0];
    assert_eq!((&loaded["module_name"], &loaded["semantic_version"]), (&json!(module), &json!(version)), "{found}");
    // Sparse: on more than one node.
    let shards = world.rest("GET", "/v1/shards", None).unwrap();
    let nodes: std::collections::BTreeSet<String> = shards
        .as_array()
        .unwrap()
        .iter()
        .filter(|shard| shard["bdb_uid"] == found["uid"])
        .map(|shard| shard["node_uid"].to_string())
        .collect();
    assert_eq!(nodes.len(), 2, "{shards}");
    let has = |key: &str, value: &str| {
        let tags = bdb(world, "placed").unwrap()["tags"].as_array().cloned().unwrap_or_default();
        tags.iter().any(|tag| tag["key"] == key && tag["value"] == value)
    };
    assert!(has("team", "a") && has("stage", "test") && has("redb_name", "placed"));

    // A field that no resource has stays as somebody set it, through all of the changes below.
    let path = format!("/v1/bdbs/{}", number(world, "placed"));
    let theirs = json!({"max_connections": 77});
    until("the field to be taken", SETTLES, || async { world.rest("PUT", &path, Some(&theirs)) }).await;
    put_back(world, "placed", "shards_placement", json!("dense")).await;
    put_back(world, "placed", "proxy_policy", json!("single")).await;
    // Somebody's own tag stays, one of the resource's comes back.
    let mut tags = found["tags"].as_array().unwrap().clone();
    tags.retain(|tag| tag["key"] != "team");
    tags.push(json!({"key": "theirs", "value": "stays"}));
    until("the tags to be taken", SETTLES, || async { world.rest("PUT", &path, Some(&json!({"tags": tags}))) }).await;
    let tagged = async |wanted: &[(&str, &str)], gone: &str| {
        until("the tags", SETTLES, || async {
            let tags = bdb(world, "placed").unwrap()["tags"].clone();
            let gone = tags.as_array().unwrap().iter().all(|tag| tag["key"] != gone);
            if gone && wanted.iter().all(|(key, value)| has(key, value)) { Ok(()) } else { Err(tags) }
        })
        .await;
    };
    tagged(&[("team", "a"), ("stage", "test"), ("theirs", "stays")], "-").await;
    spec(world, "placed", &json!({"tags": {"stage": null, "team": "b"}}));
    settled(world, "placed").await;
    tagged(&[("team", "b"), ("theirs", "stays")], "stage").await;
    shows(world, "placed", "max_connections", &json!(77)).await;
    remove(world, "placed").await;
}
