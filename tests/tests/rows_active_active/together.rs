//! Row 90: a database on two clusters, its data, and what a participant that is away holds up.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};

use crate::database::{agreed, database, gone, made, passwords, routed, settled};
use crate::sides::{both, is, message, proxy, remote};

pub(crate) async fn row_90_one_database_is_made_changed_and_deleted_on_two_clusters(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90";
    passwords(&sides, "row90-password", "pa55");
    let global = json!({"memorySize": "100MB", "tlsMode": "enabled", "databaseSecretName": "row90-password"});
    one.apply(&database(&sides, name, global));
    // The other operator makes the same resource.
    routed(&sides, name).await;
    agreed(&sides, name).await;
    let (first, second) = (one.get("reaadb", name).unwrap(), two.get("reaadb", name).unwrap());
    assert_eq!(first["spec"]["globalConfigurations"], second["spec"]["globalConfigurations"]);
    assert_eq!(first["status"]["guid"], second["status"]["guid"]);
    for database in [&first, &second] {
        let participants = database["status"]["participatingClusters"].as_array().unwrap();
        let names: Vec<&Value> = participants.iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(database["status"]["secretsStatus"], json!([{"name": "row90-password", "status": "Valid"}]));
    }
    let crdbs = one.rest("GET", "/v1/crdbs", None).unwrap();
    assert_eq!(crdbs.as_array().unwrap().len(), 1, "{crdbs}");
    // A database of the cluster's own kind is not taken for its own by anybody else.
    assert!(one.kubectl(&["get", "redb", name]).is_err());

    // Changed from either side, it is the same on both.
    for (side, size, bytes) in [(one, "200MB", 209_715_200), (two, "300MB", 314_572_800)] {
        side.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": size}}}));
        for of in sides {
            until(&format!("{size} on {}", of.name), SETTLES, || async {
                let database = of.get("reaadb", name)?;
                let bdb = of.bdb(name)?;
                ensure!(database["spec"]["globalConfigurations"]["memorySize"] == size, "{}", database["spec"]);
                ensure!(bdb["memory_size"] == bytes, "{}", bdb["memory_size"]);
                anyhow::Ok(())
            })
            .await;
        }
        agreed(&sides, name).await;
    }
    // The password, on one after the other.
    one.patch("secret", "row90-password", &json!({"stringData": {"password": "n3w"}}));
    one.says(name, "n3w", &["PING"], "PONG").await;
    until("the other side to say that its Secret is old", SETTLES, || async {
        let database = two.get("reaadb", name)?;
        ensure!(database["status"]["secretsStatus"][0]["status"] == "Invalid", "{}", database["status"]);
        anyhow::Ok(())
    })
    .await;
    two.patch("secret", "row90-password", &json!({"stringData": {"password": "n3w"}}));
    until("both Secrets to be good", SETTLES, || async {
        for side in sides {
            let database = side.get("reaadb", name)?;
            ensure!(database["status"]["secretsStatus"][0]["status"] == "Valid", "{}", database["status"]);
        }
        anyhow::Ok(())
    })
    .await;

    // For as long as it is listed, a remote cluster stays.
    one.kubectl(&["delete", "rerc", "two", "--wait=false"]).unwrap();
    until("the remote cluster to say why it stays", SETTLES, || async {
        let told = message(&one.get("rerc", "two")?);
        ensure!(told.contains("`redis/row90`"), "{told}");
        anyhow::Ok(())
    })
    .await;

    // Deleted on one, it is gone on both; and then the remote cluster is.
    two.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    until("the remote cluster to go", SETTLES, || async {
        match one.get("rerc", "two") {
            Err(error) if error.to_string().contains("NotFound") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await;
    remote(one, two);
    is(one, "two", "Active").await;
    for side in sides {
        side.kubectl(&["delete", "secret", "row90-password"]).unwrap();
    }
    proxy().lock().await.look(world).await;
}

pub(crate) async fn row_90_what_is_written_on_one_cluster_is_read_on_the_other(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90-data";
    passwords(&sides, "row90-data-password", "pa55");
    let global = json!({"memorySize": "100MB", "tlsMode": "enabled", "databaseSecretName": "row90-data-password"});
    one.apply(&database(&sides, name, global));
    routed(&sides, name).await;
    settled(&sides, name).await;
    let line = two.kubectl(&["get", "reaadb", name, "--no-headers"]).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [name, "active", "Valid", "up"]);
    for side in sides {
        let database = side.get("reaadb", name).unwrap();
        let participants = database["status"]["participatingClusters"].as_array().unwrap();
        assert!(participants.iter().all(|it| it["replicationStatus"] == "up"), "{participants:?}");
    }
    one.says(name, "pa55", &["SET", "from-one", "1"], "OK").await;
    two.says(name, "pa55", &["GET", "from-one"], "1").await;
    two.says(name, "pa55", &["SET", "from-two", "2"], "OK").await;
    one.says(name, "pa55", &["GET", "from-two"], "2").await;
    // Both at once.
    for side in sides {
        side.redis(name, "pa55", &["INCRBY", "count", "5"]).unwrap();
        side.redis(name, "pa55", &["SET", "same", side.name]).unwrap();
        side.redis(name, "pa55", &["SADD", "members", side.name]).unwrap();
    }
    for side in sides {
        side.says(name, "pa55", &["GET", "count"], "10").await;
        side.says(name, "pa55", &["SCARD", "members"], "2").await;
    }
    until("one value of what both wrote", SETTLES, || async {
        let (one, two) = (one.redis(name, "pa55", &["GET", "same"])?, two.redis(name, "pa55", &["GET", "same"])?);
        if one == two && !one.is_empty() { Ok(()) } else { bail!("{one:?} {two:?}") }
    })
    .await;

    two.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    for side in sides {
        side.kubectl(&["delete", "secret", "row90-data-password"]).unwrap();
    }
    proxy().lock().await.look(world).await;
}

pub(crate) async fn row_90_f16_a_participant_goes_and_comes_back(world: &World) {
    let sides = both(world);
    let [one, _] = sides;
    let name = "row90-f16";
    made(&sides, name).await;
    // Nothing leads from one to the other.
    proxy().lock().await.stop();
    until("the participant to be told as lost", SETTLES, || async {
        let database = one.get("reaadb", name)?;
        let told = message(&database);
        let down = database["status"]["participatingClusters"][1]["replicationStatus"] == "down";
        ensure!(
            told.contains("`two`") && down && database["status"]["replicationStatus"] == "down",
            "{}",
            database["status"]
        );
        anyhow::Ok(())
    })
    .await;
    // The copies go on by themselves, and so does everything else.
    for side in sides {
        side.says(name, "", &["SET", side.name, "alone"], "OK").await;
    }
    one.apply(&json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": "row90-beside"}, "spec": {"memorySize": "100MB"}}));
    until("a database beside it", SETTLES, || async {
        let database = one.get("redb", "row90-beside")?;
        ensure!(database["status"]["status"] == "active", "{}", database["status"]);
        anyhow::Ok(())
    })
    .await;
    // A change waits, and says for whom.
    one.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": "150MB"}}}));
    until("the change to wait", SETTLES, || async {
        let told = message(&one.get("reaadb", name)?);
        ensure!(told.contains("stays as it is for now") && told.contains("`two`"), "{told}");
        anyhow::Ok(())
    })
    .await;
    proxy().lock().await.look(world).await;
    settled(&sides, name).await;
    for side in sides {
        assert_eq!(side.bdb(name).unwrap()["memory_size"], 157_286_400);
        side.says(name, "", &["MGET", "one", "two"], "alone\nalone").await;
    }
    one.kubectl(&["delete", "redb", "row90-beside", "--timeout=180s"]).unwrap();
    one.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    proxy().lock().await.look(world).await;
}
