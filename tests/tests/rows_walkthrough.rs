//! Row 98 of the checklist: the walkthrough of Redis Enterprise on Kubernetes, command by command (reference, section 4, W1 to W17),
//! with the real kubectl and a real Redis client; and a plugin in a ConfigMap on the way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use serde_json::json;
use stepwright_dev_cluster::repository;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, redis};
use stepwright_tests::{checklist, row};

fn main() {
    let rows = vec![row!(98, row_98_the_whole_walkthrough)];
    // It begins with nothing but the operator.
    checklist::main("rows_walkthrough", |_| Box::pin(async {}), rows);
}

async fn row_98_the_whole_walkthrough(world: &World) {
    // W1: three worker nodes, ready.
    let nodes = world.kubectl(&["get", "nodes", "--no-headers"]).unwrap();
    assert!(nodes.lines().count() >= 3 && nodes.lines().all(|line| line.contains(" Ready ")), "{nodes}");
    // W2: the flag of the old text is gone; the command is not.
    assert!(world.kubectl(&["version", "--short"]).unwrap_err().to_string().contains("unknown flag: --short"));
    let version = world.kubectl(&["version"]).unwrap();
    assert!(version.contains("Client Version:") && version.contains("Server Version:"), "{version}");
    // W3: applying the bundle again changes nothing.
    let bundle = repository().join("deploy/bundle.yaml").display().to_string();
    let again = world.kubectl(&["apply", "-f", &bundle]).unwrap();
    assert!(again.lines().all(|line| line.ends_with(" unchanged") || line.ends_with(" configured")), "{again}");
    for kind in ["clusters", "databases", "remoteclusters", "activeactivedatabases"] {
        assert!(again.contains(&format!("redisenterprise{kind}.app.redislabs.com")), "{again}");
    }
    // W4: one operator pod, running.
    let pods = world.kubectl(&["get", "pods", "--no-headers"]).unwrap();
    assert!(pods.lines().count() == 1 && pods.contains("Running"), "{pods}");

    // W5: the cluster, through its states.
    let said = world.apply_sample("rec.yaml").unwrap();
    assert_eq!(said.trim(), "redisenterprisecluster.app.redislabs.com/rec created");
    world.sample_cluster().await.unwrap();
    let row = world.kubectl(&["get", "rec"]).unwrap();
    for header in
        ["NODES", "SHARDS", "VERSION", "STATE", "SPEC STATUS", "LICENSE STATE", "LICENSE EXPIRATION DATE", "AGE"]
    {
        assert!(row.contains(header), "{row}");
    }
    assert!(row.contains("0/4") && row.contains("Running") && row.contains("Valid"), "{row}");
    let rec = world.get("rec", "rec").unwrap();
    assert_eq!(rec["status"]["clusterCredentialSecretName"], "rec");
    assert_eq!(rec["status"]["persistenceStatus"], json!({"status": "Provisioned", "succeeded": "3/3"}));
    let events = world.kubectl(&["get", "events", "--field-selector=involvedObject.name=rec"]).unwrap();
    assert!(events.contains("StatusChange") && events.contains("-> Running"), "{events}");
    world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "--timeout=180s"]).unwrap();

    // W6: the pods, by the label that people expect.
    let selector = "app.kubernetes.io/name=redis-enterprise";
    until("three ready pods", SETTLES, || async {
        let pods = world.kubectl(&["get", "pods", "-l", selector, "--no-headers"]).unwrap();
        let ready = pods.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count();
        if ready == 3 && pods.lines().count() == 3 { Ok(()) } else { Err(pods) }
    })
    .await;
    // W7: rladmin in the first pod.
    let status = world.kubectl(&["exec", "rec-0", "--", "bash", "-lc", "rladmin status"]).unwrap();
    for section in ["CLUSTER NODES:", "DATABASES:", "ENDPOINTS:", "SHARDS:"] {
        assert!(status.contains(section), "{status}");
    }
    assert_eq!(status.lines().filter(|line| line.contains("node:") && line.trim_end().ends_with("OK")).count(), 3);
    assert!(status.contains("master"), "{status}");

    // W8, W9: the database.
    let said = world.apply_sample("redb.yaml").unwrap();
    assert_eq!(said.trim(), "redisenterprisedatabase.app.redislabs.com/mydb created");
    world.sample_database().await.unwrap();
    world.kubectl(&["wait", "--for=condition=Ready", "redb/mydb", "--timeout=180s"]).unwrap();
    let redb = world.get("redb", "mydb").unwrap();
    let status = &redb["status"];
    assert_eq!(redb["metadata"]["finalizers"], json!(["finalizer.redisenterprisedatabases.app.redislabs.com"]));
    assert_eq!(status["databaseUID"], "1");
    assert_eq!(
        status["internalEndpoints"],
        json!([{"host": "redis-19621.rec.redis.svc.cluster.local", "port": 19621}])
    );
    assert_eq!(status["redisEnterpriseCluster"], "rec");
    assert_eq!(status["shardStatuses"], json!({"active": 1}));
    assert_eq!((&status["specStatus"], &status["status"]), (&json!("Valid"), &json!("active")));
    assert_eq!(status["observedGeneration"], redb["metadata"]["generation"]);
    let row = world.kubectl(&["get", "redb", "mydb", "--no-headers"]).unwrap();
    assert!(row.contains("19621") && row.contains("active"), "{row}");

    // W10, W11: the Secret.
    let name = world.kubectl(&["get", "redb", "mydb", "-o", "jsonpath={.spec.databaseSecretName}"]).unwrap();
    assert_eq!(name, "redb-mydb");
    let password = world.secret("redb-mydb", "password").unwrap();
    assert!(password.len() >= 16, "a password of {} characters", password.len());
    assert_eq!(world.secret("redb-mydb", "port").unwrap(), "19621");
    assert_eq!(world.secret("redb-mydb", "service_names").unwrap(), "mydb,mydb-headless");

    // W12, W13: port-forward, AUTH, INFO.
    until("the Service", SETTLES, || async { world.get("service", "mydb").map(drop) }).await;
    until("a pod behind the Service", SETTLES, || async {
        let pods = world.list("pods", "redis.io/bdb-1").unwrap();
        if pods.len() == 1 { Ok(()) } else { Err(pods.len()) }
    })
    .await;
    let forward = world.database("service/mydb", 19621, &password).await;
    assert_eq!(redis(forward.port, &password, &["PING"]).unwrap(), "PONG");
    let refused = redis(forward.port, "", &["PING"]).unwrap();
    assert!(refused.contains("NOAUTH"), "without a password: {refused:?}");
    let refused = redis(forward.port, "wrong", &["PING"]).unwrap();
    assert!(refused.contains("WRONGPASS"), "with a wrong one: {refused:?}");
    let info = redis(forward.port, &password, &["INFO"]).unwrap();
    for line in ["# Server", "# Clients", "role:master", "redis_version:"] {
        assert!(info.contains(line), "{info}");
    }
    assert_eq!(redis(forward.port, &password, &["SET", "kept", "yes"]).unwrap(), "OK");
    let maxmemory = |want: &'static str| {
        let (forward, password) = (forward.port, password.clone());
        async move {
            until("maxmemory", SETTLES, || async {
                let found = redis(forward, &password, &["CONFIG", "GET", "maxmemory"]).unwrap();
                if found.lines().nth(1) == Some(want) { Ok(()) } else { Err(found) }
            })
            .await;
        }
    };
    maxmemory("268435456").await;

    // W14, W15: a larger database, with a replica; the file does not name the Secret, and the field stays.
    let larger = std::fs::read_to_string(repository().join("deploy/samples/redb.yaml")).unwrap();
    let larger = larger.replace("256MB", "512MB").replace("replication: false", "replication: true");
    let said = world.kubectl_with_input(&["apply", "-f", "-"], &larger).unwrap();
    assert_eq!(said.trim(), "redisenterprisedatabase.app.redislabs.com/mydb configured");
    // 512 MB over a master and a replica.
    maxmemory("268435456").await;
    let redb = world.field("redb", "mydb", "/status/shardStatuses/active", "2", SETTLES).await;
    assert_eq!(redb["spec"]["databaseSecretName"], "redb-mydb");
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
    world.field("rec", "rec", "/status/licenseStatus/shardsUsage", "2/4", SETTLES).await;
    let larger = larger.replace("replication: true", "replication: false").replace("512MB", "1GB");
    world.kubectl_with_input(&["apply", "-f", "-"], &larger).unwrap();
    maxmemory("1073741824").await;
    assert_eq!(redis(forward.port, &password, &["GET", "kept"]).unwrap(), "yes");
    drop(forward);

    // A plugin that adds a label, from a ConfigMap, and back again.
    let component = stepwright_dev_cluster::programs_folder().unwrap().join("../plugins/labelled-rigger.wasm");
    let file = format!("--from-file=plugin.wasm={}", component.display());
    world.kubectl(&["create", "configmap", "my-rigger", &file]).unwrap();
    let label = "stepwright.dev/plugin=true";
    world.kubectl(&["label", "configmap", "my-rigger", label]).unwrap();
    let labelled = "example.com/rigged-by=labelled";
    until("the label on the Services", SETTLES, || async {
        let services = world.list("services", labelled).unwrap();
        if services.len() >= 5 { Ok(()) } else { Err(services.len()) }
    })
    .await;
    world.kubectl(&["delete", "configmap", "my-rigger"]).unwrap();
    until("the label to go", SETTLES, || async {
        let services = world.list("services", labelled).unwrap();
        if services.is_empty() { Ok(()) } else { Err(services.len()) }
    })
    .await;

    // W16: the database goes, and with it its Services and its Secret.
    let said = world.kubectl(&["delete", "redb", "mydb"]).unwrap();
    assert!(said.contains("\"mydb\" deleted"), "{said}");
    for (kind, name) in [("service", "mydb"), ("service", "mydb-headless"), ("secret", "redb-mydb")] {
        world.gone(kind, name).await;
    }
    let status = world.kubectl(&["exec", "rec-0", "--", "bash", "-lc", "rladmin status databases"]).unwrap();
    assert!(!status.contains("db:1"), "{status}");

    // W17: the name of the old text is wrong; the right one leaves the volumes.
    let wrong = world.kubectl(&["delete", "rec", "redis-enterprise"]).unwrap_err().to_string();
    assert!(wrong.contains("NotFound"), "{wrong}");
    world.kubectl(&["delete", "rec", "rec"]).unwrap();
    world.gone("statefulset", "rec").await;
    let claims = world.kubectl(&["get", "pvc", "-o", "jsonpath={.items[*].metadata.name}"]).unwrap();
    let wanted = "redis-enterprise-storage-rec-0 redis-enterprise-storage-rec-1 redis-enterprise-storage-rec-2";
    assert_eq!(claims, wanted);

    let log = world.operator_log();
    assert!(!log.contains(&password), "the operator logged a password");
    // What was stored goes with its claims, and only with them.
    world.kubectl(&["delete", "pvc", "--all"]).unwrap();
}
