//! Databases that are copies of others (reference, 3.17): by an address in a Secret, and by the name of another resource.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use anyhow::bail;
use serde_json::json;
use stepwright_tests::databases::{apply, condition, number, remove, settled};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, redis};
use stepwright_tests::writer::{Session, Written};

use crate::{answers, password, session, spec, writing, writing_as};

/// A redis-server that has nothing to do with any cluster. It ends with the value.
struct Foreign {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Foreign {
    async fn start(word: &str) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--requirepass",
            word,
            "--dir",
        ]);
        command.arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let foreign = Self { child: command.spawn().unwrap(), port, _folder: folder };
        until("a redis-server", SETTLES, || async {
            let said = redis(port, word, &["PING"])?;
            if said == "PONG" { Ok(()) } else { bail!("{said}") }
        })
        .await;
        foreign
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn in_sync(world: &World, name: &str) {
    world.field("redb", name, "/status/replicaSourceStatuses/0/status", "in-sync", SETTLES).await;
}

pub(crate) async fn a_copy_follows_a_source_by_its_address(world: &World) {
    // A word that an address cannot hold as it is.
    let word = "p@ss/w:rd";
    let source = Foreign::start(word).await;
    let set = |key: &str, value: &str| assert_eq!(redis(source.port, word, &["SET", key, value]).unwrap(), "OK");
    set("before", "1");
    let address = format!("--from-literal=uri=redis://:p%40ss%2Fw%3Ard@127.0.0.1:{}", source.port);
    world.kubectl(&["create", "secret", "generic", "foreign", &address]).unwrap();
    let sources = json!([{"replicaSourceType": "SECRET", "replicaSourceName": "foreign"}]);
    apply(world, "copy", json!({"databasePort": 13021, "replicaSources": sources}));
    settled(world, "copy").await;
    in_sync(world, "copy").await;
    answers(world, "copy", 13021, &["GET", "before"], "1").await;
    set("after", "2");
    answers(world, "copy", 13021, &["GET", "after"], "2").await;
    let status = world.get("redb", "copy").unwrap()["status"].clone();
    assert_eq!(status["replicaSourceStatuses"][0]["endpointHost"], format!("127.0.0.1:{}", source.port), "{status}");
    assert!(!status.to_string().contains("p%40ss"), "the status shows the password: {status}");
    // Not a copy any more: what it has it keeps, and it follows no longer.
    spec(world, "copy", &json!({"replicaSources": null}));
    settled(world, "copy").await;
    set("later", "3");
    let mut session = session(world, "copy", 13021).await;
    assert_eq!(session.ask(&["GET", "after"]).unwrap(), "2");
    assert_eq!(session.ask(&["SET", "own", "4"]).unwrap(), "+OK");
    assert_eq!(session.ask(&["GET", "later"]).unwrap(), "(nil)");
    drop(session);
    remove(world, "copy").await;
    world.kubectl(&["delete", "secret", "foreign"]).unwrap();
}

/// All of it arrives.
async fn arrives(world: &World, name: &str, port: u16, written: &Written) {
    let (uid, password) = (number(world, name), password(world, name));
    until("all writes in the copy", SETTLES, || async {
        let mut session = Session::open(world, uid, port, &password)?;
        for (key, value) in written.keys() {
            let found = session.ask(&["GET", &key])?;
            if found != value {
                bail!("{key}: {found}");
            }
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn a_copy_follows_another_database(world: &World) {
    let sources = json!([{"replicaSourceType": "REDB", "replicaSourceName": "origin"}]);
    // The source may come later: what is waited for is said.
    apply(world, "mirror", json!({"databasePort": 13023, "replicaSources": sources}));
    until("word of the source that is not there", SETTLES, || async {
        let ready = condition(&world.get("redb", "mirror")?, "Ready");
        let said = ready["message"].as_str().unwrap_or_default();
        if said.contains("spec.replicaSources") && said.contains("`origin`") { Ok(()) } else { bail!("{ready}") }
    })
    .await;
    apply(world, "origin", json!({"memorySize": "200MB", "shardCount": 2, "databasePort": 13022}));
    settled(world, "origin").await;
    let writer = writing(world, "origin", 13022).await;
    settled(world, "mirror").await;
    in_sync(world, "mirror").await;
    writer.goes_on(crate::SOME).await;
    let written = writer.stop().unwrap();
    arrives(world, "mirror", 13023, &written).await;
    let hidden = password(world, "origin");
    let shown = world.kubectl(&["get", "redb", "mirror", "-o", "json"]).unwrap();
    assert!(!shown.contains(&hidden) && !world.operator_log().contains(&hidden), "the password was shown");
    // The source grows, and is followed on.
    spec(world, "origin", &json!({"shardCount": 4}));
    settled(world, "origin").await;
    let more = writing_as("more-", world, "origin", 13022).await.stop().unwrap();
    arrives(world, "mirror", 13023, &more).await;
    arrives(world, "mirror", 13023, &written).await;
    in_sync(world, "mirror").await;
    spec(world, "mirror", &json!({"replicaSources": null}));
    settled(world, "mirror").await;
    assert_eq!(session(world, "origin", 13022).await.ask(&["FLUSHALL"]).unwrap(), "+OK");
    arrives(world, "mirror", 13023, &written).await;
    remove(world, "mirror").await;
    remove(world, "origin").await;
}
