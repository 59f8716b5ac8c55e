//! Databases in other namespaces than their cluster: taken up and dropped while the operator runs, each with its own rights,
//! beside a second operator. Rows 64 and 65 of the checklist, and what goes wrong around them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::checklist;
use stepwright_tests::databases::{self, bdb, condition, settled, settled_in};
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, SETTLES, World, redis};

const CONFIG: &str = "operator-environment-config";

fn main() {
    let rows = vec![
        row!(64, row_64_databases_in_other_namespaces),
        row!(65, row_65_namespaces_by_label),
        row!(64, row_64_a_namespace_without_rights_is_told_and_holds_up_nobody),
        row!(64, row_64_a_dropped_namespace_is_left_as_it_is),
        row!(64, row_64_two_operators_keep_to_their_own),
    ];
    checklist::main("rows_namespaces", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    databases::license(world, 100).await;
    world.sample_database().await.unwrap();
}

/// A namespace, and the operator's rights in it.
fn namespace(world: &World, name: &str, rights: bool) {
    world.kubectl(&["create", "namespace", name]).unwrap();
    if rights {
        give_rights(world, name);
    }
}

fn give_rights(world: &World, namespace: &str) {
    let file = repository().join("deploy/consumer-namespace.yaml").display().to_string();
    world.kubectl(&["apply", "-n", namespace, "-f", &file]).unwrap();
}

fn configure(world: &World, data: &Value) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG}, "data": data});
    world.kubectl_with_input(&["apply", "-f", "-"], &map.to_string()).unwrap();
}

fn apply_in(world: &World, namespace: &str, name: &str, spec: Value) {
    let manifest = databases::manifest(name, spec).to_string();
    world.kubectl_with_input(&["apply", "-n", namespace, "-f", "-"], &manifest).unwrap();
}

fn on_rec() -> Value {
    json!({"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "100MB"})
}

fn get_in(world: &World, namespace: &str, kind: &str, name: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&world.kubectl(&["get", kind, name, "-n", namespace, "-o", "json"])?)?)
}

/// Deletes a namespace with all that is in it; nothing may hold it back.
fn delete_namespace(world: &World, name: &str) {
    world.kubectl(&["delete", "redb", "--all", "-n", name, "--timeout=180s"]).unwrap();
    world.kubectl(&["delete", "namespace", name, "--timeout=180s"]).unwrap();
}

/// All that a database in another namespace comes with.
async fn complete(world: &World, namespace: &str, name: &str) {
    let redb = settled_in(world, namespace, name).await;
    assert_eq!(redb["metadata"]["annotations"]["stepwright.dev/operator"], NAMESPACE);
    let found = bdb(world, name).unwrap();
    assert_eq!(redb["status"]["databaseUID"], found["uid"].to_string());
    let port = found["endpoints"][0]["port"].as_u64().unwrap();
    assert_eq!(
        redb["status"]["internalEndpoints"][0]["host"],
        format!("redis-{port}.rec.{NAMESPACE}.svc.cluster.local")
    );
    // A name for the Service beside the cluster, and that one.
    let service = get_in(world, namespace, "service", name).unwrap();
    let host = format!("redis-{port}.{NAMESPACE}.svc.cluster.local");
    assert_eq!((&service["spec"]["type"], &service["spec"]["externalName"]), (&json!("ExternalName"), &json!(host)));
    assert_eq!(service["spec"]["ports"][0]["port"], port);
    let twin = format!("redis-{port}");
    until("the Service beside the cluster", SETTLES, || async { world.get("service", &twin) }).await;
    assert!(world.get("service", name).is_err(), "another namespace chose the name of a Service beside the cluster");
    // Secret, with which a client gets in.
    let secret = format!("redb-{name}");
    let value = |key: &str| {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        world.kubectl(&["get", "secret", &secret, "-n", namespace, "-o", &template]).unwrap()
    };
    assert_eq!((value("port"), value("service_names")), (port.to_string(), name.to_owned()));
    let password = value("password");
    let forward = world.database(&format!("service/{twin}"), port.try_into().unwrap(), &password).await;
    assert_eq!(redis(forward.port, &password, &["PING"]).unwrap(), "PONG");
    let listed = world.kubectl(&["exec", "rec-0", "--", "bash", "-lc", "rladmin status databases"]).unwrap();
    assert!(listed.contains(name), "{listed}");
}

async fn row_64_databases_in_other_namespaces(world: &World) {
    namespace(world, "ns-b", true);
    namespace(world, "ns-c", true);
    // Nobody looks at it before its namespace is listed.
    apply_in(world, "ns-b", "row64", on_rec());
    configure(world, &json!({"REDB_NAMESPACES": "ns-b,ns-c"}));
    complete(world, "ns-b", "row64").await;

    // The name is taken, whoever asks.
    apply_in(world, "ns-c", "row64", on_rec());
    until("a refusal by name of the first", SETTLES, || async {
        let redb = get_in(world, "ns-c", "redb", "row64")?;
        let ready = condition(&redb, "Ready");
        let told = ready["message"].as_str().unwrap_or_default();
        if redb["status"]["specStatus"] == "Invalid" && told.contains("`ns-b/row64`") {
            Ok(())
        } else {
            anyhow::bail!("{}", redb["status"])
        }
    })
    .await;
    world.kubectl(&["delete", "redb", "row64", "-n", "ns-c", "--timeout=180s"]).unwrap();
    assert!(bdb(world, "row64").is_some(), "the second resource took the first one's database along");

    // What somebody breaks there is put right.
    world.kubectl(&["delete", "service", "row64", "-n", "ns-b"]).unwrap();
    until("the Service to be made again", SETTLES, || async { get_in(world, "ns-b", "service", "row64") }).await;

    delete_namespace(world, "ns-b");
    delete_namespace(world, "ns-c");
    assert!(bdb(world, "row64").is_none());
    world.kubectl(&["delete", "configmap", CONFIG]).unwrap();
}

async fn row_65_namespaces_by_label(world: &World) {
    let cluster_role = repository().join("deploy/namespaces-by-label.yaml").display().to_string();
    configure(world, &json!({"REDB_NAMESPACES_LABEL": "team=a"}));
    // Without the right to list namespaces it is said what is missing.
    event(world, "NamespacesNotListed", "namespaces-by-label.yaml").await;
    world.kubectl(&["apply", "-f", &cluster_role]).unwrap();
    namespace(world, "ns-l", true);
    apply_in(world, "ns-l", "row65", on_rec());
    world.kubectl(&["label", "namespace", "ns-l", "team=a"]).unwrap();
    complete(world, "ns-l", "row65").await;
    delete_namespace(world, "ns-l");
    assert!(bdb(world, "row65").is_none());
    world.kubectl(&["delete", "configmap", CONFIG]).unwrap();
    world.kubectl(&["delete", "-f", &cluster_role]).unwrap();
}

/// Waits for an Event about the ConfigMap that lists namespaces.
async fn event(world: &World, reason: &str, word: &str) {
    until(&format!("an Event {reason}"), SETTLES, || async {
        let events = world.kubectl(&["get", "events", &format!("--field-selector=reason={reason}")])?;
        if events.contains(word) && events.contains(CONFIG) { Ok(()) } else { anyhow::bail!("{events:?}") }
    })
    .await;
}

async fn row_64_a_namespace_without_rights_is_told_and_holds_up_nobody(world: &World) {
    namespace(world, "ns-without", false);
    namespace(world, "ns-with", true);
    configure(world, &json!({"REDB_NAMESPACES": "ns-without, ns-missing ,ns-with"}));
    apply_in(world, "ns-without", "row64-later", on_rec());
    apply_in(world, "ns-with", "row64-now", on_rec());
    complete(world, "ns-with", "row64-now").await;
    event(world, "NamespaceNotReadable", "ns-without").await;
    event(world, "NamespaceNotReadable", "ns-missing").await;
    let metrics = |state: &str| -> anyhow::Result<String> {
        let address = world.address(&world.operator_pod()?)?;
        let (_, text) = stepwright_tests::world::http(address, 8080, "GET", "/metrics", None, None)?;
        let line = format!("stepwright_guest_namespaces{{state=\"{state}\"}} ");
        Ok(text.lines().find_map(|it| it.strip_prefix(&line)).unwrap_or_default().to_owned())
    };
    assert_eq!((metrics("forbidden").unwrap(), metrics("watched").unwrap()), ("2".to_owned(), "1".to_owned()));
    assert!(bdb(world, "row64-later").is_none());
    settled(world, "mydb").await;
    // Rights that come later are enough.
    give_rights(world, "ns-without");
    complete(world, "ns-without", "row64-later").await;
    // Some of them go: the database says what is missing.
    let without_secrets = json!([{"op": "replace", "path": "/rules", "value": [
        {"apiGroups": ["app.redislabs.com"], "resources": ["redisenterprisedatabases", "redisenterprisedatabases/status"],
         "verbs": ["get", "list", "watch", "patch"]}]}]);
    world
        .kubectl(&["patch", "role", "redb-role", "-n", "ns-without", "--type=json", "-p", &without_secrets.to_string()])
        .unwrap();
    world.kill_operator().unwrap();
    world.operator_ready().await;
    until("the condition", SETTLES, || async {
        let redb = get_in(world, "ns-without", "redb", "row64-later")?;
        let ready = condition(&redb, "Ready");
        let told = ready["message"].as_str().unwrap_or_default();
        if ready["reason"] == "NamespaceNotReadable" && told.contains("consumer-namespace.yaml") {
            Ok(())
        } else {
            anyhow::bail!("{}", redb["status"])
        }
    })
    .await;
    settled_in(world, "ns-with", "row64-now").await;
    give_rights(world, "ns-without");
    complete(world, "ns-without", "row64-later").await;
    delete_namespace(world, "ns-without");
    delete_namespace(world, "ns-with");
    world.kubectl(&["delete", "configmap", CONFIG]).unwrap();
}

async fn row_64_a_dropped_namespace_is_left_as_it_is(world: &World) {
    namespace(world, "ns-d", true);
    configure(world, &json!({"REDB_NAMESPACES": "ns-d"}));
    apply_in(world, "ns-d", "row64-d", on_rec());
    complete(world, "ns-d", "row64-d").await;
    let secret = get_in(world, "ns-d", "secret", "redb-row64-d").unwrap();
    configure(world, &json!({"REDB_NAMESPACES": ""}));
    until("the namespace to be dropped", SETTLES, || async {
        let log = world.operator_log();
        let last =
            log.lines().rfind(|line| line.contains("watching namespaces besides")).unwrap_or_default().to_owned();
        if last.contains("namespaces=\"\"") { Ok(()) } else { anyhow::bail!("{last}") }
    })
    .await;
    // A change there is not acted on, and what is there stays.
    apply_in(world, "ns-d", "row64-d", json!({"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "200MB"}));
    apply_in(world, "ns-d", "row64-e", on_rec());
    databases::apply(world, "row64-here", json!({"memorySize": "100MB"}));
    settled(world, "row64-here").await;
    databases::remove(world, "row64-here").await;
    assert_eq!(bdb(world, "row64-d").unwrap()["memory_size"], 104_857_600);
    assert!(bdb(world, "row64-e").is_none());
    let after = get_in(world, "ns-d", "secret", "redb-row64-d").unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], secret["metadata"]["resourceVersion"]);
    // Taken up again, all of it is.
    configure(world, &json!({"REDB_NAMESPACES": "ns-d"}));
    complete(world, "ns-d", "row64-d").await;
    complete(world, "ns-d", "row64-e").await;
    assert_eq!(bdb(world, "row64-d").unwrap()["memory_size"], 209_715_200);
    delete_namespace(world, "ns-d");
    world.kubectl(&["delete", "configmap", CONFIG]).unwrap();
}

/// A second operator with a cluster of its own, and a namespace that both of them watch.
async fn row_64_two_operators_keep_to_their_own(world: &World) {
    let second = ["-n", "redis2"];
    let apply = |file: &str| {
        let path = repository().join("deploy").join(file).display().to_string();
        world.kubectl(&[second.as_slice(), &["apply", "-f", &path]].concat()).unwrap();
    };
    world.kubectl(&["create", "namespace", "redis2"]).unwrap();
    apply("bundle.yaml");
    apply("dev");
    namespace(world, "ns-s", true);
    let rights = std::fs::read_to_string(repository().join("deploy/consumer-namespace.yaml")).unwrap();
    let (role, binding) = rights.split_once("\n---\n").unwrap();
    let binding = binding
        .replacen("  name: redb-role\n", "  name: redb-role-two\n", 1)
        .replace("namespace: redis}", "namespace: redis2}");
    let rights = format!("{role}\n---\n{binding}");
    world.kubectl_with_input(&["apply", "-n", "ns-s", "-f", "-"], &rights).unwrap();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG}, "data": {"REDB_NAMESPACES": "ns-s"}});
    configure(world, &map["data"]);
    world.kubectl_with_input(&["apply", "-n", "redis2", "-f", "-"], &map.to_string()).unwrap();
    let rec = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    let rec = rec.replace("name: rec\n", "name: rec-two\n");
    world.kubectl_with_input(&["apply", "-n", "redis2", "-f", "-"], &rec).unwrap();

    apply_in(world, "ns-s", "of-one", on_rec());
    apply_in(world, "ns-s", "of-two", json!({"redisEnterpriseCluster": {"name": "rec-two"}, "memorySize": "100MB"}));
    apply_in(world, "ns-s", "of-none", json!({"redisEnterpriseCluster": {"name": "elsewhere"}}));
    complete(world, "ns-s", "of-one").await;
    let two = settled_in(world, "ns-s", "of-two").await;
    assert_eq!(two["metadata"]["annotations"]["stepwright.dev/operator"], "redis2");
    assert_eq!(two["status"]["redisEnterpriseCluster"], "rec-two");
    let host = get_in(world, "ns-s", "service", "of-two").unwrap()["spec"]["externalName"].clone();
    assert!(host.as_str().unwrap().ends_with(".redis2.svc.cluster.local"), "{host}");
    assert!(bdb(world, "of-two").is_none(), "it was made on the other cluster");
    until("a refusal", SETTLES, || async {
        let redb = get_in(world, "ns-s", "redb", "of-none")?;
        if redb["status"]["specStatus"] == "Invalid" { Ok(()) } else { anyhow::bail!("{redb}") }
    })
    .await;
    // Nobody writes what the other one wrote.
    let versions = || {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion} {end}";
        world.kubectl(&["get", "redb,secrets,services", "-n", "ns-s", "-o", path]).unwrap()
    };
    until("rest", SETTLES, || async {
        let before = versions();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let after = versions();
        if before == after { Ok(()) } else { Err(format!("{before} {after}")) }
    })
    .await;
    delete_namespace(world, "ns-s");
    world.kubectl(&["delete", "configmap", CONFIG]).unwrap();
    world.kubectl(&["delete", "rec", "rec-two", "-n", "redis2", "--timeout=180s"]).unwrap();
    world.kubectl(&["delete", "namespace", "redis2", "--timeout=180s"]).unwrap();
}
