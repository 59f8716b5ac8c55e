//! Data to a place and back: backups that the resource asks for, and their restoration by an import. That has no field of its own
//! (reference, 3.17): it is asked of the REST API.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_tests::databases::{States, apply, number, remove, settled};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};
use stepwright_tests::writer::Written;

use crate::store::Store;
use crate::{SHARED, answers, nothing_lost, password, session, shared, spec, writing, writing_as};

/// Seconds between backups: soon enough to wait for one, and seldom enough to look at it.
const INTERVAL: u64 = 6;

/// Waits until a backup has ended that began after this call; what is written before is in it.
async fn backed_up(world: &World, name: &str) -> Value {
    let last = |redb: &Value| redb["status"]["backupInfo"]["lastBackupTime"].clone();
    let mut seen = last(&world.get("redb", name).unwrap());
    // The first that ends may have begun before.
    for _ in 0..2 {
        seen = until("a backup to end", SETTLES, || async {
            let redb = world.get("redb", name)?;
            let now = last(&redb);
            if now != seen && !now.is_null() { Ok(now) } else { bail!("{}", redb["status"]) }
        })
        .await;
    }
    world.field("redb", name, "/status/backupInfo/backupStatus", "succeeded", SETTLES).await
}

/// Asks for an import and waits for its end, which the resource tells of.
async fn import(world: &World, name: &str, sources: &[Value]) {
    let states = States::of(world, name);
    let path = format!("/v1/bdbs/{}", number(world, name));
    let body = json!({"dataset_import_sources": sources, "email_notification": false});
    until("the import to begin", SETTLES, || async {
        world.rest("POST", &format!("{path}/actions/import"), Some(&body))
    })
    .await;
    until("the import to end", SETTLES, || async {
        let bdb = world.rest("GET", &path, None)?;
        let over = bdb["import_status"] == "succeeded" && bdb["status"] == "active";
        assert_ne!(bdb["import_status"], "failed", "{bdb}");
        if over { Ok(()) } else { bail!("{} {}", bdb["import_status"], bdb["status"]) }
    })
    .await;
    settled(world, name).await;
    assert_eq!(states.seen().last().map(String::as_str), Some("active"), "{:?}", states.seen());
}

/// All is there that was written before the backup, with its values.
async fn holds(world: &World, name: &str, port: u16, written: &Written) {
    let mut session = session(world, name, port).await;
    let lost: Vec<String> = written
        .keys()
        .filter(|(key, value)| session.ask(&["GET", key]).unwrap() != *value)
        .map(|(key, _)| key)
        .collect();
    assert!(lost.is_empty(), "{} keys are not restored: {lost:?}", lost.len());
}

pub(crate) async fn a_backup_to_a_folder_is_restored(world: &World) {
    let folder = shared(world).join("backups");
    std::fs::create_dir_all(&folder).unwrap();
    let backup = json!({"interval": INTERVAL, "mount": {"path": format!("{SHARED}/backups")}});
    apply(world, "saved", json!({"memorySize": "200MB", "shardCount": 2, "databasePort": 13011, "backup": backup}));
    settled(world, "saved").await;
    let written = writing(world, "saved", 13011).await.stop().unwrap();
    let redb = backed_up(world, "saved").await;
    assert_eq!(redb["status"]["backupInfo"]["backupInterval"], INTERVAL, "{redb}");
    // A backup under load takes nothing away.
    let writer = writing_as("later-", world, "saved", 13011).await;
    backed_up(world, "saved").await;
    nothing_lost(world, "saved", 13011, writer);
    // No more of them: what is there is what is restored.
    spec(world, "saved", &json!({"backup": null}));
    settled(world, "saved").await;
    assert_eq!(world.rest("GET", &format!("/v1/bdbs/{}", number(world, "saved")), None).unwrap()["backup"], false);
    let newest = |part: &str| {
        let all = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        all.filter(|name| name.contains(part)).max().unwrap_or_else(|| panic!("no file of {part}"))
    };
    // One for each shard, with its slots in the name.
    let files = [newest("_0_"), newest("_8192_")];

    // Into another database, of other shards; and into the one that lost all.
    apply(world, "restored", json!({"memorySize": "200MB", "databasePort": 13012}));
    settled(world, "restored").await;
    let sources: Vec<Value> =
        files.iter().map(|file| json!({"type": "mount_point", "path": format!("{SHARED}/backups/{file}")})).collect();
    import(world, "restored", &sources).await;
    holds(world, "restored", 13012, &written).await;
    assert_eq!(session(world, "saved", 13011).await.ask(&["FLUSHALL"]).unwrap(), "+OK");
    import(world, "saved", &sources).await;
    holds(world, "saved", 13011, &written).await;
    remove(world, "restored").await;
    remove(world, "saved").await;
}

pub(crate) async fn a_backup_to_a_store_is_restored(world: &World) {
    let store = Store::start("our-key", "bucket");
    world.patch("rec", "rec", &json!({"spec": {"backup": {"s3": {"url": store.url()}}}})).unwrap();
    let keys = ["--from-literal=AWS_ACCESS_KEY_ID=a-wrong-key", "--from-literal=AWS_SECRET_ACCESS_KEY=our-word"];
    world.kubectl(&["create", "secret", "generic", "store-login", keys[0], keys[1]]).unwrap();
    let backup = json!({"interval": INTERVAL, "s3": {"awsSecretName": "store-login", "bucketName": "bucket", "subdir": "of/ours"}});
    apply(world, "stored", json!({"databasePort": 13013, "backup": backup}));
    settled(world, "stored").await;
    until("the address of the store", SETTLES, || async {
        let cluster = world.rest("GET", "/v1/cluster", None)?;
        ensure!(cluster["s3_url"] == store.url(), "{}", cluster["s3_url"]);
        anyhow::Ok(())
    })
    .await;
    // Why it does not work is told; the Secret put right is enough for it to work.
    world.field("redb", "stored", "/status/backupInfo/backupFailureReason", "no-permission", SETTLES).await;
    let right = json!({"stringData": {"AWS_ACCESS_KEY_ID": "our-key"}});
    world.patch("secret", "store-login", &right).unwrap();
    let written = writing(world, "stored", 13013).await.stop().unwrap();
    until("a backup that succeeds", SETTLES, || async {
        let redb = world.get("redb", "stored")?;
        let info = &redb["status"]["backupInfo"];
        if info["backupStatus"] == "succeeded" { Ok(()) } else { bail!("{info}") }
    })
    .await;
    backed_up(world, "stored").await;
    spec(world, "stored", &json!({"backup": null}));
    settled(world, "stored").await;
    let names = store.names();
    let newest = names.iter().max().unwrap_or_else(|| panic!("the store is empty"));
    let name = newest.strip_prefix("/bucket/of/ours/").unwrap_or_else(|| panic!("{names:?}")).replace("%3A", ":");
    assert_eq!(session(world, "stored", 13013).await.ask(&["FLUSHALL"]).unwrap(), "+OK");
    let source = json!({"type": "s3", "bucket_name": "bucket", "subdir": "of/ours", "filename": name,
        "access_key_id": "our-key", "secret_access_key": "our-word"});
    import(world, "stored", &[source]).await;
    holds(world, "stored", 13013, &written).await;
    // The password of the database is as it was.
    answers(world, "stored", 13013, &["PING"], "+PONG").await;
    assert!(!password(world, "stored").is_empty());
    remove(world, "stored").await;
    world.kubectl(&["delete", "secret", "store-login"]).unwrap();
    world.patch("rec", "rec", &json!({"spec": {"backup": null}})).unwrap();
}
