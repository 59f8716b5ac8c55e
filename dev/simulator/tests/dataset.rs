//! Data sets on their way: backups, exports, imports, and databases that follow others (REST reference, 6.2 and 6.4).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are no #[test]")]

mod common;

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use common::{
    Node, Nodes, until,
    writer::{Writer, fill, missing},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

fn sharded(name: &str, port: u16, count: u64) -> Value {
    json!({
        "name": name, "memory_size": 104_857_600, "port": port, "shards_count": count, "sharding": true,
        "shard_key_regex": [{"regex": ".*\\{(?<tag>.*)\\}.*"}, {"regex": "(?<tag>.*)"}]
    })
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Waits for a field of a database to be one of the words.
async fn reaches(node: &Node, uid: u64, field: &str, words: &[&str]) -> Value {
    until(field, async || {
        let (_, bdb) = node.get(&format!("/v1/bdbs/{uid}")).await;
        words.contains(&bdb[field].as_str()?).then_some(bdb)
    })
    .await
}

async fn export(node: &Node, uid: u64, place: Value) -> Value {
    let body = json!({"export_location": place, "email_notification": false});
    let (status, error) = node.call("POST", &format!("/v1/bdbs/{uid}/actions/export"), &body).await;
    assert_eq!((status, error), (200, Value::Null));
    reaches(node, uid, "export_status", &["succeeded", "failed"]).await
}

async fn import(node: &Node, uid: u64, places: Vec<Value>) -> Value {
    let body = json!({"dataset_import_sources": places});
    let (status, error) = node.call("POST", &format!("/v1/bdbs/{uid}/actions/import"), &body).await;
    assert_eq!((status, error), (200, Value::Null));
    reaches(node, uid, "import_status", &["succeeded", "failed"]).await
}

fn files(folder: &Path) -> Vec<String> {
    let mut files: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_to_a_folder_comes_back_in_a_database_of_other_shards() {
    let nodes = Nodes::cluster(181, 2).await;
    let node = &nodes.all[0];
    node.license().await;
    let mut body = sharded("from", 14300, 2);
    body["replication"] = json!(true);
    let uid = node.create_bdb(&body).await;
    let fresh = node.get(&format!("/v1/bdbs/{uid}")).await.1;
    assert_eq!((&fresh["export_status"], &fresh["last_export_time"]), (&json!(""), &json!("")));
    let master = nodes.master().await;
    let entry = node.get(&format!("/v1/bdbs/{uid}")).await.1["endpoints"][0]["addr"][0]
        .as_str()
        .unwrap()
        .replacen("10.", "127.", 1);
    fill(&entry, 14300, "k", 3_000).await;
    let at = nodes.all.iter().find(|one| one.host == entry).unwrap();
    at.redis(14300, "", &["SET", "soon", "gone", "EX", "3000"]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let done = export(&nodes.all[master], uid, json!({"type": "mount_point", "path": folder.path()})).await;
    assert_eq!((&done["export_status"], &done["export_progress"]), (&json!("succeeded"), &json!(100.0)), "{done}");
    assert!(done["last_export_time"].as_str().unwrap().ends_with('Z'));
    let found = files(folder.path());
    assert_eq!(found.len(), 2, "one for each shard: {found:?}");
    let (_, actions) = node.get("/v2/actions").await;
    assert!(actions.as_array().unwrap().iter().any(|one| one["name"] == "export" && one["status"] == "completed"));

    // One shard, and four: what comes in finds its place.
    for (name, port, count) in [("one", 14301, 1), ("four", 14302, 4)] {
        let mut body = sharded(name, port, count);
        body["proxy_policy"] = json!("all-nodes");
        let to = node.create_bdb(&body).await;
        node.redis(port, "", &["SET", "other", "v"]).await.unwrap();
        let places =
            found.iter().map(|file| json!({"type": "mount_point", "path": folder.path().join(file)})).collect();
        let done = import(node, to, places).await;
        assert_eq!((&done["import_status"], &done["status"]), (&json!("succeeded"), &json!("active")), "{done}");
        assert_eq!(node.redis_cli(port, &["DBSIZE"]).trim(), "3001", "all was replaced");
        assert_eq!(missing(&node.host, port, &names("k", 3_000)).await, Vec::<String>::new());
        assert!(node.redis_cli(port, &["TTL", "soon"]).trim().parse::<i64>().unwrap() > 2_000);
    }

    // What cannot be had changes nothing.
    let bdbs = node.get("/v1/bdbs").await.1;
    let to = bdbs.as_array().unwrap().iter().find(|bdb| bdb["name"] == "one").unwrap()["uid"].as_u64().unwrap();
    std::fs::write(folder.path().join("broken.rdb"), "REDIS0009 and no more").unwrap();
    for (file, reason) in [("nothing.rdb", "download-error"), ("broken.rdb", "file-corrupted")] {
        let done = import(node, to, vec![json!({"type": "mount_point", "path": folder.path().join(file)})]).await;
        assert_eq!((&done["import_status"], &done["import_failure_reason"]), (&json!("failed"), &json!(reason)));
        assert_eq!(node.redis_cli(14301, &["DBSIZE"]).trim(), "3001");
        assert_eq!(node.call("PUT", &format!("/v1/bdbs/{to}/actions/import_reset_status"), &Value::Null).await.0, 200);
    }
    for (body, status) in [
        (json!({}), 400),
        (json!({"dataset_import_sources": [{"type": "mount_point", "path": "/opt/redislabs/x.rdb"}]}), 406),
        (json!({"dataset_import_sources": [{"type": "tape"}]}), 406),
        (json!({"dataset_import_sources": [{"type": "mount_point", "path": "/x"}], "more": 1}), 400),
    ] {
        assert_eq!(node.call("POST", &format!("/v1/bdbs/{to}/actions/import"), &body).await.0, status, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_run_by_schedule_and_say_why_they_fail() {
    let nodes = Nodes::cluster(182, 1).await;
    let node = &nodes.all[0];
    let uid = node.create_bdb(&json!({"name": "db", "memory_size": 104_857_600, "port": 14303})).await;
    let path = format!("/v1/bdbs/{uid}");
    node.redis(14303, "", &["SET", "k", "v"]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = |path: &Path| json!({"backup": true, "backup_interval": 1, "backup_location": {"type": "mount_point", "path": path}});
    assert_eq!(node.call("PUT", &path, &json!({"backup": true})).await.1["error_code"], "missing_backup_interval");
    assert_eq!(node.call("PUT", &path, &backup(folder.path())).await.0, 200);
    until("two backups", async || (files(folder.path()).len() >= 2).then_some(())).await;
    let bdb = reaches(node, uid, "backup_status", &["succeeded"]).await;
    assert!(bdb["last_backup_time"].as_str().unwrap().ends_with('Z') && bdb["status"] == "active", "{bdb}");

    // F14 on demand, then what a real folder may say.
    node.control("POST", "/_sim/faults", &json!({"kind": "backup-refused"})).await;
    let bdb = reaches(node, uid, "backup_failure_reason", &["no-permission"]).await;
    assert_eq!(bdb["backup_status"], "failed");
    node.control("DELETE", "/_sim/faults", &Value::Null).await;
    reaches(node, uid, "backup_failure_reason", &[""]).await;
    let gone = folder.path().join("gone");
    until("a change", async || (node.call("PUT", &path, &backup(&gone)).await.0 == 200).then_some(())).await;
    reaches(node, uid, "backup_failure_reason", &["wrong-file-path"]).await;
    std::fs::create_dir(&gone).unwrap();
    std::fs::set_permissions(&gone, std::fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere, so that only other users see this one.
    if std::fs::write(gone.join("probe"), "").is_err() {
        reaches(node, uid, "backup_failure_reason", &["no-permission"]).await;
    }
    until("no more backups", async || {
        (node.call("PUT", &path, &json!({"backup": false})).await.0 == 200).then_some(())
    })
    .await;
    until("backups that ended", async || {
        (node.call("PUT", &format!("{path}/actions/backup_reset_status"), &Value::Null).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(node.active(uid).await["backup_status"], "");
}

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A store that keeps what is put for one key, and checks that requests are signed for it.
async fn store(host: &str) -> (String, Objects) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
                        length = number.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                    head += &line;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let mut words = head.split_whitespace();
                let (method, target) = (words.next().unwrap(), words.next().unwrap());
                let (path, query) = target.split_once('?').unwrap();
                let signed = query.contains("X-Amz-Algorithm=AWS4-HMAC-SHA256")
                    && query.contains("X-Amz-Credential=good%2F")
                    && query
                        .split('&')
                        .any(|pair| pair.strip_prefix("X-Amz-Signature=").is_some_and(|it| it.len() == 64));
                let (status, body) = match (signed, method, path.starts_with("/bucket/")) {
                    (false, ..) => (403, Vec::new()),
                    (true, _, false) => (404, Vec::new()),
                    (true, "PUT", true) => {
                        kept.lock().unwrap().insert(path.to_owned(), body);
                        (200, Vec::new())
                    }
                    _ => kept.lock().unwrap().get(path).map_or((404, Vec::new()), |object| (200, object.clone())),
                };
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.get_mut().write_all(head.as_bytes()).await.unwrap();
                stream.get_mut().write_all(&body).await.unwrap();
            });
        }
    });
    (address, objects)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_speaks_s3_takes_exports_and_gives_them_back() {
    let nodes = Nodes::cluster(183, 1).await;
    let node = &nodes.all[0];
    let (address, objects) = store(&node.host).await;
    assert_eq!(node.call("PUT", "/v1/cluster", &json!({"s3_url": address})).await.0, 200);
    let uid = node.create_bdb(&sharded("s3", 14304, 2)).await;
    fill(&node.host, 14304, "k", 500).await;
    let place = |key: &str, bucket: &str| json!({"type": "s3", "bucket_name": bucket, "subdir": "a/b", "access_key_id": key, "secret_access_key": "s"});
    let failed = export(node, uid, place("bad", "bucket")).await;
    assert_eq!(failed["export_failure_reason"], "no-permission");
    let failed = export(node, uid, place("good", "none")).await;
    assert_eq!(failed["export_failure_reason"], "wrong-file-path");
    let done = export(node, uid, place("good", "bucket")).await;
    assert_eq!(done["export_status"], "succeeded", "{done}");
    let kept: Vec<String> = objects.lock().unwrap().keys().cloned().collect();
    assert!(kept.len() == 2 && kept.iter().all(|path| path.starts_with("/bucket/a/b/s3-")), "{kept:?}");
    node.redis(14304, "", &["FLUSHALL"]).await.unwrap();
    let sources = kept.iter().map(|path| {
        let mut source = place("good", "bucket");
        source["filename"] = json!(path.rsplit_once('/').unwrap().1.replace("%3A", ":"));
        source
    });
    let done = import(node, uid, sources.collect()).await;
    assert_eq!(done["import_status"], "succeeded", "{done}");
    assert_eq!(missing(&node.host, 14304, &names("k", 500)).await, Vec::<String>::new());
    assert_eq!(node.redis_cli(14304, &["DBSIZE"]).trim(), "500");
}

/// A redis-server that has nothing to do with any cluster.
struct Foreign(Child, tempfile::TempDir, u16, String);

impl Foreign {
    fn start(host: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(host, port, folder.path());
        Self(child, folder, port, host.to_owned())
    }

    fn spawn(host: &str, port: u16, folder: &Path) -> Child {
        Command::new("redis-server")
            .args(["--bind", host, "--port", &port.to_string(), "--requirepass", "a/b", "--appendonly", "yes"])
            // It waits for more replicas, and says so in its own way, before it answers.
            .args(["--repl-diskless-sync-delay", "2", "--repl-ping-replica-period", "1"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.0 = Self::spawn(&self.3, self.2, self.1.path());
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn source_is(node: &Node, uid: u64, status: &str) -> Value {
    until(status, async || {
        let (_, bdb) = node.get(&format!("/v1/bdbs/{uid}")).await;
        (bdb["replica_sources"][0]["status"] == status).then(|| bdb["replica_sources"][0].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sharded_database_follows_another_of_its_cluster_while_that_is_written() {
    let nodes = Nodes::cluster(184, 1).await;
    let node = &nodes.all[0];
    node.license().await;
    let mut body = sharded("source", 14305, 2);
    body["authentication_admin_pass"] = json!("admin-word");
    let origin = node.create_bdb(&body).await;
    fill(&node.host, 14305, "old", 2_000).await;
    let mut body = sharded("target", 14306, 3);
    body["replica_sync"] = json!("enabled");
    body["replica_sources"] = json!([{"uri": format!("redis://admin:wrong@{}:14305", node.address)}]);
    let uid = node.create_bdb(&body).await;
    node.redis(14306, "", &["SET", "own", "v"]).await.unwrap();
    let refused = source_is(node, uid, "out-of-sync").await;
    until("the reason", async || {
        let (_, bdb) = node.get(&format!("/v1/bdbs/{uid}")).await;
        bdb["replica_sources"][0]["last_error"].as_str()?.contains("password").then_some(())
    })
    .await;
    assert_eq!(refused["uid"], 1);
    let uri = format!("redis://admin:admin-word@redis-14305.{}:14305", common::CLUSTER);
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"replica_sources": [{"uri": uri}]})).await.0, 200);
    let writer = Writer::start(vec![node.host.clone()], 14305, "new", false);
    let synced = source_is(node, uid, "in-sync").await;
    assert!(synced["rdb_size"].as_u64().unwrap() > 0 && synced["lag"].is_u64(), "{synced}");
    assert_eq!(node.redis_cli(14306, &["EXISTS", "own"]).trim(), "0", "a target becomes a copy");
    writer.more(100).await;
    // F17
    node.control("POST", "/_sim/faults", &json!({"kind": "replica-link"})).await;
    let broken = source_is(node, uid, "out-of-sync").await;
    assert!(broken["last_error"].as_str().unwrap().contains("cut"), "{broken}");
    writer.more(100).await;
    node.control("DELETE", "/_sim/faults", &Value::Null).await;
    let healed = source_is(node, uid, "in-sync").await;
    assert_eq!(healed["last_error"], "");
    node.redis(14305, "", &["DEL", "old0", "old1"]).await.unwrap();
    node.redis(14305, "", &["HSET", "hash", "f", "v"]).await.unwrap();
    let written = writer.stop().await;
    let mut keys = written.keys;
    keys.extend(names("old", 2_000).into_iter().skip(2));
    until("the target to be as its source", async || {
        let same = node.redis_cli(14306, &["DBSIZE"]) == node.redis_cli(14305, &["DBSIZE"]);
        same.then_some(())
    })
    .await;
    assert_eq!(missing(&node.host, 14306, &keys).await, Vec::<String>::new());
    assert_eq!(node.redis_cli(14306, &["HGET", "hash", "f"]).trim(), "v");
    assert_eq!(node.redis_cli(14306, &["EXISTS", "old0", "old1"]).trim(), "0");
    // The source's shards multiply; what each of them then trims of the others' keys is no deletion.
    let more = json!({"shards_count": 4});
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{origin}"), &more).await.0, 200);
    node.active(origin).await;
    node.redis(14305, "", &["SET", "last", "v"]).await.unwrap();
    until("the target to follow all of the shards", async || {
        let same = node.redis_cli(14306, &["DBSIZE"]) == node.redis_cli(14305, &["DBSIZE"]);
        (same && node.redis_cli(14306, &["EXISTS", "last"]).trim() == "1").then_some(())
    })
    .await;
    source_is(node, uid, "in-sync").await;
    assert_eq!(missing(&node.host, 14306, &keys).await, Vec::<String>::new());
    // Let go, it keeps what it has and follows no more.
    assert_eq!(node.call("PUT", &format!("/v1/bdbs/{uid}"), &json!({"replica_sync": "disabled"})).await.0, 200);
    node.active(uid).await;
    node.redis(14305, "", &["SET", "late", "v"]).await.unwrap();
    assert_eq!(node.redis_cli(14306, &["EXISTS", "late", "old5"]).trim(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_follows_a_foreign_one_by_its_uri_and_again_after_it_was_gone() {
    let nodes = Nodes::cluster(185, 1).await;
    let node = &nodes.all[0];
    let mut foreign = Foreign::start(&node.host, 16400);
    until("the foreign one", async || node.redis(16400, "a/b", &["PING"]).await.ok()).await;
    for number in 0..100 {
        node.redis(16400, "a/b", &["SET", &format!("k{number}"), &format!("k{number}")]).await.unwrap();
    }
    let mut body = sharded("target", 14307, 2);
    body["replica_sync"] = json!("enabled");
    body["replica_sources"] = json!([{"uri": format!("redis://:a%2Fb@{}:16400", node.host)}]);
    let uid = node.create_bdb(&body).await;
    source_is(node, uid, "in-sync").await;
    assert_eq!(missing(&node.host, 14307, &names("k", 100)).await, Vec::<String>::new());
    node.redis(16400, "a/b", &["INCRBY", "count", "7"]).await.unwrap();
    until("a change", async || (node.redis_cli(14307, &["GET", "count"]).trim() == "7").then_some(())).await;
    foreign.kill();
    let gone = source_is(node, uid, "out-of-sync").await;
    assert!(!gone["last_error"].as_str().unwrap().is_empty());
    assert_eq!(node.redis_cli(14307, &["GET", "count"]).trim(), "7", "what was copied stays");
    foreign.start_again();
    source_is(node, uid, "in-sync").await;
    node.redis(16400, "a/b", &["INCRBY", "count", "1"]).await.unwrap();
    until("a change", async || (node.redis_cli(14307, &["GET", "count"]).trim() == "8").then_some(())).await;
    assert_eq!(node.redis_cli(14307, &["DBSIZE"]).trim(), "101");
}
