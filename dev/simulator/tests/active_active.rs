//! Active-Active databases of two simulated clusters: made, changed from either side, widened and narrowed, refused.

mod common;

use common::{
    Nodes, PASSWORD, USER,
    crdb::{CRDBS, bdb, body, ended, get, instance, made, task, two},
    until,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_have_it_change_it_and_lose_it() {
    let (a, b) = two(211).await;
    let guid = made(&a, &b, "aa").await;
    let path = format!("/v1/crdbs/{guid}");
    for (nodes, id) in [(&a, 1), (&b, 2)] {
        let (_, all) = get(nodes, CRDBS).await;
        assert_eq!((all.as_array().unwrap().len(), &all[0]["guid"]), (1, &json!(guid)));
        assert!(!all.to_string().contains(PASSWORD), "credentials are not shown: {all}");
        assert_eq!(all[0]["local_databases"][0]["id"], id);
        let bdb = bdb(nodes, &guid).await;
        assert_eq!(
            (&bdb["crdt"], &bdb["crdt_replica_id"], &bdb["crdt_guid"]),
            (&json!(true), &json!(id), &json!(guid))
        );
        assert_eq!((&bdb["replication"], &bdb["data_persistence"]), (&json!(true), &json!("aof")));
        // It is the coordinator's to change and to delete.
        let uid = bdb["uid"].as_u64().unwrap();
        let node = &nodes.all[nodes.master().await];
        for (patch, code) in [
            (json!({"name": "other"}), "name_violation"),
            (json!({"crdt_sync": "disabled"}), "not_supported_action_on_crdt"),
            (json!({"tls_mode": "enabled"}), "not_supported_action_on_crdt"),
            (json!({"replication": false}), "replication_violation"),
            (
                json!({"sharding": true, "shards_count": 2, "shard_key_regex": [{"regex": "(?<tag>.*)"}]}),
                "crdt_sharding_violation",
            ),
        ] {
            let (status, refusal) = node.call("PUT", &format!("/v1/bdbs/{uid}"), &patch).await;
            assert_eq!((status, &refusal["error_code"]), (406, &json!(code)), "{patch}: {refusal}");
        }
        assert_eq!(node.call("DELETE", &format!("/v1/bdbs/{uid}"), &Value::Null).await.0, 406);
    }
    // From either side, for both or for one.
    let change = json!({"default_db_config": {"memory_size": 200 << 20}});
    assert_eq!(task(&b, "PATCH", &path, &change).await["status"], "finished");
    for nodes in [&a, &b] {
        assert_eq!(bdb(nodes, &guid).await["memory_size"], 200 << 20);
    }
    let change = json!({"instances": [{"id": 2, "db_config": {"memory_size": 300 << 20}}]});
    assert_eq!(task(&a, "PATCH", &path, &change).await["status"], "finished");
    assert_eq!(bdb(&a, &guid).await["memory_size"], 200 << 20);
    assert_eq!(bdb(&b, &guid).await["memory_size"], 300 << 20);
    let change = json!({"instances": [{"id": 2, "db_config": {"memory_size": null}}]});
    assert_eq!(task(&a, "PATCH", &path, &change).await["status"], "finished");
    assert_eq!(bdb(&b, &guid).await["memory_size"], 200 << 20);

    let (_, report) = get(&a, &format!("{path}/health_report")).await;
    assert_eq!(report.as_array().unwrap().len(), 2);
    for one in report.as_array().unwrap() {
        assert_eq!((&one["active_config_version"], &one["connection_error"]), (&json!(4), &Value::Null), "{report}");
    }
    assert_eq!(task(&b, "DELETE", &path, &Value::Null).await["status"], "finished");
    for nodes in [&a, &b] {
        assert_eq!(get(nodes, &path).await.0, 404);
        until("no database", async || get(nodes, "/v1/bdbs").await.1.as_array()?.is_empty().then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_makes_no_second_one() {
    let (a, b) = two(213).await;
    let id = "5d5e6f2a-0000-4000-a000-000000000001";
    let node = &a.all[a.master().await];
    let basic = {
        use base64::{Engine, prelude::BASE64_STANDARD};
        format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")))
    };
    let headers = [("authorization", basic.as_str()), ("x-task-id", id), ("x-result-ttl", "100000")];
    node.control("POST", "/_sim/faults", &json!({"kind": "lose-reply", "path": "/v1/crdbs", "times": 1})).await;
    assert!(node.raw("POST", CRDBS, &headers, &body("aa", &a, &b)).await.is_none(), "the reply is lost");
    let again = node.raw("POST", CRDBS, &headers, &body("aa", &a, &b)).await.unwrap();
    let again: Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!(again["id"], id);
    let done = ended(&a, id).await;
    assert_eq!((&done["status"], &done["operation"]), (&json!("finished"), &json!("create")), "{done}");
    let again = node.raw("POST", CRDBS, &headers, &body("aa", &a, &b)).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&again.body).unwrap()["status"], "finished");
    for nodes in [&a, &b] {
        assert_eq!(get(nodes, CRDBS).await.1.as_array().unwrap().len(), 1);
        assert_eq!(get(nodes, "/v1/bdbs").await.1.as_array().unwrap().len(), 1);
    }
    // Kept for as long as was asked; others go after 500 scaled seconds.
    let short = task(&a, "PATCH", &format!("/v1/crdbs/{}", done["crdb_guid"].as_str().unwrap()), &json!({})).await;
    let path = format!("/v1/crdb_tasks/{}", short["id"].as_str().unwrap());
    until("a forgotten task", async || (get(&a, &path).await.0 == 404).then_some(())).await;
    assert_eq!(get(&a, &format!("/v1/crdb_tasks/{id}")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_when_its_cluster_comes_back() {
    let (mut a, b) = two(231).await;
    let master = a.master().await;
    let id = "5d5e6f2a-0000-4000-a000-000000000002";
    let node = &a.all[master];
    // A phase takes long enough to die in.
    node.control("POST", "/_sim/faults?all", &json!({"kind": "stuck-actions"})).await;
    let basic = {
        use base64::{Engine, prelude::BASE64_STANDARD};
        format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")))
    };
    let headers = [("authorization", basic.as_str()), ("x-task-id", id), ("x-result-ttl", "100000")];
    assert_eq!(node.raw("POST", CRDBS, &headers, &body("aa", &a, &b)).await.unwrap().status, 200);
    until("a database that is prepared on the other side", async || {
        (get(&b, "/v1/bdbs").await.1.as_array()?.len() == 1).then_some(())
    })
    .await;
    a.all[master].kill();
    a.all[master].start();
    let found = a.master().await;
    a.all[found].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    let done = ended(&a, id).await;
    assert_eq!(done["status"], "finished", "{done}");
    for nodes in [&a, &b] {
        assert_eq!(get(nodes, CRDBS).await.1.as_array().unwrap().len(), 1);
        assert_eq!(get(nodes, "/v1/bdbs").await.1.as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_it_too() {
    let (a, b) = two(236).await;
    let say = |words: &[&str]| {
        let said = a.all[0].tool("crdb-cli", words);
        (said.status.success(), String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap())
    };
    let part = |name: &str, nodes: &Nodes| {
        format!("fqdn={name},username={USER},password={PASSWORD},url=https://{}:9443", nodes.all[0].host)
    };
    let (first, second) = (part("a.example", &a), part("b.example", &b));
    let create = ["crdb", "create", "--name", "aa", "--memory-size", "104857600", "--instance", &first];
    let (well, said) = say(&create);
    assert!(well, "{said}");
    let (_, listed) = say(&["crdb", "list"]);
    let guid = get(&a, CRDBS).await.1[0]["guid"].as_str().unwrap().to_owned();
    assert!(listed.contains(&format!("{guid}  aa    1        a.example")), "{listed}");
    let (well, said) = say(&["crdb", "add-instance", "--crdb-guid", &guid, "--instance", &second]);
    assert!(well, "{said}");
    let (well, said) = say(&["crdb", "update", "--crdb-guid", &guid, "--memory-size", "209715200"]);
    assert!(well, "{said}");
    assert_eq!(bdb(&b, &guid).await["memory_size"], 200 << 20);
    assert!(say(&["crdb", "health-report", "--crdb-guid", &guid]).1.contains("\"b.example\""));
    assert!(say(&["task", "list"]).1.contains("finished"));
    let (well, said) = say(&create);
    assert!(!well && said.contains("a database named aa exists"), "{said}");
    let (well, said) = say(&["crdb", "delete", "--crdb-guid", &guid]);
    assert!(well, "{said}");
    assert_eq!(get(&b, CRDBS).await.1, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changed_locks_nobody_out() {
    let (a, b) = two(233).await;
    let guid = made(&a, &b, "aa").await;
    let path = format!("/v1/crdbs/{guid}");
    let node = &b.all[b.master().await];
    assert_eq!(node.call("PUT", "/v1/users/1", &json!({"password": "another-word"})).await.0, 200);
    until("credentials that are refused", async || {
        let (_, report) = get(&a, &format!("{path}/health_report")).await;
        report[1]["connection_error"].as_str()?.contains("refuses the credentials").then_some(())
    })
    .await;
    for _ in 0..8 {
        get(&a, &format!("{path}/health_report")).await;
    }
    assert_eq!(
        node.call_as(USER, "another-word", "GET", CRDBS, &Value::Null).await.0,
        200,
        "the account is not locked"
    );
    let change =
        json!({"instances": [{"id": 2, "cluster": {"credentials": {"username": USER, "password": "another-word"}}}]});
    let done = task(&a, "PATCH", &path, &change).await;
    assert_eq!(done["status"], "finished", "{done}");
    let (_, report) = get(&a, &format!("{path}/health_report")).await;
    assert_eq!(report[1]["connection_error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    let (a, b) = two(215).await;
    let node = &a.all[a.master().await];
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = body("aa", &a, &b);
        change(&mut body);
        body
    };
    let config = |key: &str, value: Value| with(&|body| body["default_db_config"][key] = value.clone());
    for (body, status, part) in [
        (json!(null), 400, "required"),
        (config("replication", json!(false)), 406, "replication"),
        (config("data_persistence", json!("snapshot")), 406, "aof"),
        (config("colour", json!("red")), 400, "colour"),
        (with(&|body| body["instances"][1]["cluster"]["name"] = json!("a.example")), 406, "twice"),
        (with(&|body| body["instances"][0]["cluster"]["name"] = json!("c.example")), 406, "a.example"),
        (with(&|body| body["instances"][1]["db_config"] = json!({"tls_mode": "enabled"})), 406, "tls_mode"),
        (with(&|body| body["instances"][1]["cluster"]["credentials"] = json!({})), 400, "username"),
    ] {
        let (got, refusal) = node.call("POST", CRDBS, &body).await;
        assert_eq!(
            (got, &refusal["type"], &refusal["status"]),
            (status, &json!("about:blank"), &json!(status)),
            "{body}: {refusal}"
        );
        assert!(refusal["detail"].as_str().unwrap().contains(part), "{refusal}");
    }
    // What only the other cluster can say makes the task fail.
    b.all[b.master().await].create_bdb(&json!({"name": "taken", "memory_size": 1 << 20})).await;
    for (body, code) in [
        (
            with(&|body| body["instances"][1]["cluster"]["credentials"]["password"] = json!("wrong")),
            "invalid_credentials",
        ),
        (
            with(&|body| body["instances"][1]["cluster"]["url"] = json!("https://127.215.0.250:9443")),
            "cluster_unreachable",
        ),
        (body("taken", &a, &b), "name_conflict"),
        (
            with(&|body| {
                body["instances"][1]["cluster"]["name"] = json!("c.example");
            }),
            "cluster_name_mismatch",
        ),
    ] {
        let task = task(&a, "POST", CRDBS, &body).await;
        assert_eq!((&task["status"], &task["errors"][0]["error_code"]), (&json!("failed"), &json!(code)), "{task}");
        assert_eq!(task["errors"][0]["cluster_name"], body["instances"][1]["cluster"]["name"]);
    }
    let dry = task(&a, "POST", "/v1/crdbs?dry_run", &body("aa", &a, &b)).await;
    assert_eq!(dry["status"], "finished", "{dry}");
    until("nothing left", async || {
        (get(&a, "/v1/bdbs").await.1.as_array()?.is_empty() && get(&b, "/v1/bdbs").await.1.as_array()?.len() == 1)
            .then_some(())
    })
    .await;
    assert_eq!(get(&a, CRDBS).await.1, json!([]));

    let guid = made(&a, &b, "aa").await;
    let path = format!("/v1/crdbs/{guid}");
    for (patch, part) in [
        (json!({"name": "other"}), "name"),
        (json!({"default_db_config": {"sharding": true, "shards_count": 2}}), "without sharding"),
        (json!({"default_db_config": {"data_persistence": "snapshot"}}), "aof"),
    ] {
        let (status, refusal) = node.call("PATCH", &path, &patch).await;
        assert_eq!(status, 406, "{refusal}");
        assert!(refusal["detail"].as_str().unwrap().contains(part), "{refusal}");
    }
    assert_eq!(
        node.call(
            "POST",
            "/v1/users",
            &json!({"email": "v@b.c", "password": "pw-pw-pw", "name": "v", "role": "db_viewer"})
        )
        .await
        .0,
        200
    );
    assert_eq!(node.call_as("v@b.c", "pw-pw-pw", "DELETE", &path, &Value::Null).await.0, 403);
    assert_eq!(node.call_as("v@b.c", "pw-pw-pw", "GET", &path, &Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_come_and_go_and_f16_shows() {
    let (a, b) = two(217).await;
    let node = &a.all[a.master().await];
    let mut alone = body("aa", &a, &b);
    alone["instances"].as_array_mut().unwrap().pop();
    let first = task(&a, "POST", CRDBS, &alone).await;
    let path = format!("/v1/crdbs/{}", first["crdb_guid"].as_str().unwrap());
    let added =
        task(&a, "POST", &format!("{path}/updates"), &json!({"add_instances": [instance("b.example", &b)]})).await;
    assert_eq!(added["status"], "finished", "{added}");
    assert_eq!(get(&b, &path).await.1["instances"].as_array().unwrap().len(), 2);

    // F16: nobody gets through, so nothing changes anywhere.
    let fault = json!({"kind": "crdb-peer"});
    b.all[0].control("POST", "/_sim/faults?all", &fault).await;
    let change = json!({"default_db_config": {"memory_size": 200 << 20}});
    let failed = task(&a, "PATCH", &path, &change).await;
    assert_eq!(
        (&failed["status"], &failed["errors"][0]["cluster_name"]),
        (&json!("failed"), &json!("b.example")),
        "{failed}"
    );
    assert_eq!(bdb(&a, first["crdb_guid"].as_str().unwrap()).await["memory_size"], 100 << 20);
    let (_, report) = get(&a, &format!("{path}/health_report")).await;
    assert!(report[1]["connection_error"].as_str().unwrap().contains("failed to reach"), "{report}");
    b.all[0].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    assert_eq!(task(&a, "PATCH", &path, &change).await["status"], "finished");

    // A decision that does not reach a cluster is learned when that is back.
    let (status, queued) = node.call("PATCH", &path, &json!({"default_db_config": {"memory_size": 300 << 20}})).await;
    assert_eq!(status, 200, "{queued}");
    until("a change that is prepared on the other side", async || {
        let (_, report) = get(&b, &format!("{path}/health_report?instance_id=2")).await;
        (report[0]["configurations"].as_array()?.len() == 2 || report[0]["active_config_version"] == 4).then_some(())
    })
    .await;
    b.all[0].control("POST", "/_sim/faults?all", &fault).await;
    ended(&a, queued["id"].as_str().unwrap()).await;
    b.all[0].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    until("the same on both sides", async || {
        let (_, report) = get(&a, &format!("{path}/health_report")).await;
        let same = report[0]["active_config_version"] == report[1]["active_config_version"];
        let settled =
            report.as_array()?.iter().all(|one| one["configurations"].as_array().is_some_and(|all| all.len() == 1));
        (same && settled).then_some(())
    })
    .await;
    let guid = first["crdb_guid"].as_str().unwrap();
    assert_eq!(bdb(&a, guid).await["memory_size"], bdb(&b, guid).await["memory_size"]);

    // One that is away for good goes by force, and is cleared away there.
    b.all[0].control("POST", "/_sim/faults?all", &fault).await;
    let gone = json!({"remove_instances": [2]});
    assert_eq!(task(&a, "POST", &format!("{path}/updates"), &gone).await["status"], "failed");
    let gone = json!({"remove_instances": [2], "remove_instances.force_remove": true});
    assert_eq!(task(&a, "POST", &format!("{path}/updates"), &gone).await["status"], "finished");
    b.all[0].control("DELETE", "/_sim/faults?all", &Value::Null).await;
    assert_eq!(task(&b, "PUT", &format!("{path}/purge"), &json!({"instances": [2]})).await["status"], "finished");
    assert_eq!(get(&b, CRDBS).await.1, json!([]));
    // Its number is not given again.
    let added =
        task(&a, "POST", &format!("{path}/updates"), &json!({"add_instances": [instance("b.example", &b)]})).await;
    assert_eq!(added["status"], "finished", "{added}");
    assert_eq!(get(&b, &path).await.1["instances"][1]["id"], 3);
}
