//! Rows 90 and 91 of the checklist: Active-Active databases and remote clusters. Two clusters in two namespaces, each with an operator of
//! its own, which know of each other only what a proxy leads to: the other's REST API, and the other's copies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use stepwright_dev_cluster::{loopback, repository};
use stepwright_tests::databases::condition;
use stepwright_tests::proxy::Proxy;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, NAMESPACE, OPERATOR, SETTLES, World, http};
use stepwright_tests::{checklist, row};
use tokio::sync::Mutex;

const OTHER: &str = "redis2";

/// A cluster: its name as a participant, the namespace and the name of its resource.
#[derive(Clone, Copy)]
struct Side {
    name: &'static str,
    namespace: &'static str,
    rec: &'static str,
}

const ONE: Side = Side { name: "one", namespace: NAMESPACE, rec: "rec" };
const TWO: Side = Side { name: "two", namespace: OTHER, rec: "rec-two" };
const BOTH: [Side; 2] = [ONE, TWO];

impl Side {
    fn kubectl(self, world: &World, arguments: &[&str]) -> anyhow::Result<String> {
        world.kubectl(&[&["-n", self.namespace], arguments].concat())
    }

    fn apply(self, world: &World, object: &Value) {
        if let Err(error) = world.kubectl_with_input(&["-n", self.namespace, "apply", "-f", "-"], &object.to_string()) {
            panic!("{error:#}");
        }
    }

    fn get(self, world: &World, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(world, &["get", kind, name, "-o", "json"])?)?)
    }

    fn patch(self, world: &World, kind: &str, name: &str, patch: &Value) {
        if let Err(error) = self.kubectl(world, &["patch", kind, name, "--type", "merge", "-p", &patch.to_string()]) {
            panic!("{error:#}");
        }
    }

    fn secret(self, world: &World, name: &str, key: &str) -> anyhow::Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(world, &["get", "secret", name, "-o", &template])
    }

    fn api(self) -> String {
        format!("api-{}.example.com", self.rec)
    }

    fn suffix(self) -> String {
        format!(".db-{}.example.com", self.rec)
    }

    /// A request to the cluster's REST API, past the operator.
    fn rest(self, world: &World, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (user, password) = (self.secret(world, self.rec, "username")?, self.secret(world, self.rec, "password")?);
        let mut last = None;
        for number in 0..3 {
            let pod = format!("{}-{number}", self.rec);
            let ip = self.kubectl(world, &["get", "pod", &pod, "-o", "jsonpath={.status.podIP}"])?;
            match http(loopback(ip.parse()?), 8080, method, path, Some((&user, &password)), body) {
                Ok((200, text)) => return Ok(serde_json::from_str(&text).unwrap_or(Value::Null)),
                Ok((307 | 503, _)) => {}
                Ok((status, text)) => bail!("{method} {path}: {status} {text}"),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no node answered for the cluster")))
    }

    /// The copy of a database on this cluster.
    fn bdb(self, world: &World, name: &str) -> anyhow::Result<Value> {
        let all = self.rest(world, "GET", "/v1/bdbs", None)?;
        let found = all.as_array().into_iter().flatten().find(|bdb| bdb["name"] == name).cloned();
        found.with_context(|| format!("cluster {} has no database {name}: {all}", self.rec))
    }

    /// A command to the copy on this cluster, and what was answered.
    fn redis(self, world: &World, name: &str, password: &str, words: &[&str]) -> anyhow::Result<String> {
        let bdb = self.bdb(world, name)?;
        let label = format!("redis.io/bdb-{}", bdb["uid"]);
        let path = "jsonpath={.items[0].status.podIP}";
        let ip: Ipv4Addr = self.kubectl(world, &["get", "pods", "-l", &label, "-o", path])?.parse()?;
        let port = bdb["endpoints"][0]["port"].to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-h", &loopback(ip).to_string(), "-p", &port, "--no-auth-warning", "--tls", "--insecure"]);
        if !password.is_empty() {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command.args(words).output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned())
    }

    /// Waits until a command is answered so.
    async fn says(self, world: &World, name: &str, password: &str, words: &[&str], answer: &str) {
        let what = format!("{} to answer {answer:?} to {words:?}", self.name);
        until(&what, SETTLES, || async {
            let said = self.redis(world, name, password, words)?;
            if said == answer { Ok(()) } else { bail!("{said:?}") }
        })
        .await;
    }
}

static PROXY: OnceLock<Mutex<Proxy>> = OnceLock::new();

fn proxy() -> &'static Mutex<Proxy> {
    PROXY.get_or_init(|| Mutex::new(Proxy::of(&[ONE.namespace, TWO.namespace])))
}

fn main() {
    let rows = vec![
        row!(91, row_91_a_remote_cluster_says_how_it_is),
        row!(90, row_90_one_database_is_made_changed_and_deleted_on_two_clusters),
        row!(90, row_90_what_is_written_on_one_cluster_is_read_on_the_other),
        row!(90, row_90_f16_a_participant_goes_and_comes_back),
    ];
    checklist::main("rows_active_active", |world| Box::pin(prepare(world)), rows);
}

/// Two clusters, each under an operator of its own, and the proxy between them.
async fn prepare(world: &World) {
    world.kubectl(&["create", "namespace", OTHER]).unwrap();
    for part in ["bundle.yaml", "dev"] {
        let path = repository().join("deploy").join(part).display().to_string();
        TWO.kubectl(world, &["apply", "-f", &path]).unwrap();
    }
    let port = proxy().lock().await.port;
    let leads = format!("*.example.com:443:127.0.0.1:{port}");
    let sample = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    for side in BOTH {
        // Names that no DNS knows.
        let variable = format!("STEPWRIGHT_RESOLVE={leads}");
        side.kubectl(world, &["set", "env", &format!("deployment/{OPERATOR}"), &variable]).unwrap();
        let mut rec: Value = serde_yaml_ng::from_str(&sample).unwrap();
        let annotations =
            json!({"kubernetes.io/ingress.class": "haproxy", "ingress.kubernetes.io/ssl-passthrough": "true"});
        rec["metadata"]["name"] = json!(side.rec);
        rec["spec"]["extraEnvVars"] = json!([{"name": "SIM_RESOLVE", "value": leads}]);
        rec["spec"]["ingressOrRouteSpec"] = json!({"method": "ingress", "apiFqdnUrl": side.api(),
            "dbFqdnSuffix": side.suffix(), "ingressAnnotations": annotations});
        side.apply(world, &rec);
    }
    for side in BOTH {
        until(&format!("cluster {}", side.rec), FORMS, || async {
            let rec = side.get(world, "rec", side.rec)?;
            ensure!(rec["status"]["state"] == "Running", "{}", rec["status"]);
            side.get(world, "ingress", side.rec)?;
            anyhow::Ok(())
        })
        .await;
    }
    proxy().lock().await.look(world).await;
    for side in BOTH {
        for of in BOTH {
            remote(world, side, of);
        }
    }
    for side in BOTH {
        for of in BOTH {
            is(world, side, of.name, "Active").await;
        }
    }
}

fn login(world: &World, of: Side) -> Value {
    let value = |key: &str| of.secret(world, of.rec, key).unwrap();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("redis-enterprise-{}", of.name)},
        "stringData": {"username": value("username"), "password": value("password")}})
}

/// Tells the operator of one side of a cluster.
fn remote(world: &World, side: Side, of: Side) {
    side.apply(world, &login(world, of));
    side.apply(
        world,
        &json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
            "metadata": {"name": of.name}, "spec": {"recName": of.rec, "recNamespace": of.namespace,
            "apiFqdnUrl": of.api(), "dbFqdnSuffix": of.suffix()}}),
    );
}

/// Waits until a remote cluster is said to be so. Returns the resource.
async fn is(world: &World, side: Side, name: &str, status: &str) -> Value {
    until(&format!("remote cluster {name} of {} to be {status}", side.name), SETTLES, || async {
        let remote = side.get(world, "rerc", name)?;
        ensure!(remote["status"]["status"] == status, "{}", remote["status"]);
        anyhow::Ok(remote)
    })
    .await
}

fn message(object: &Value) -> String {
    condition(object, "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

/// Reasons of Events about an object.
fn reasons(world: &World, side: Side, kind: &str, name: &str) -> Vec<String> {
    let uid = side.get(world, kind, name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let about = format!("--field-selector=involvedObject.uid={uid}");
    let text = side.kubectl(world, &["get", "events", &about, "-o", "jsonpath={.items[*].reason}"]).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

async fn row_91_a_remote_cluster_says_how_it_is(world: &World) {
    // The cluster of its own namespace, and the other one.
    for side in BOTH {
        for of in BOTH {
            let remote = is(world, side, of.name, "Active").await;
            let own = side.namespace == of.namespace;
            assert_eq!((&remote["status"]["local"], &remote["status"]["specStatus"]), (&json!(own), &json!("Valid")));
            assert_eq!(remote["status"]["clusterName"], format!("{}.{}.svc.cluster.local", of.rec, of.namespace));
            let secret = side.get(world, "secret", &format!("redis-enterprise-{}", of.name)).unwrap();
            let version = &remote["status"]["internalObservedSecretResourceVersion"];
            assert_eq!(*version, secret["metadata"]["resourceVersion"]);
        }
    }
    let line = ONE.kubectl(world, &["get", "rerc", "two", "--no-headers"]).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["two", "Active", "Valid", "false"]);

    // A wrong password, which is tried once, and the right one again.
    let mut wrong = login(world, TWO);
    wrong["stringData"]["password"] = json!("wrong");
    ONE.apply(world, &wrong);
    is(world, ONE, "two", "Error").await;
    until("the password to rest", SETTLES, || async {
        let told = message(&ONE.get(world, "rerc", "two")?);
        ensure!(told.contains("Secret `redis-enterprise-two` was refused; it is not tried again"), "{told}");
        anyhow::Ok(())
    })
    .await;
    assert!(reasons(world, ONE, "rerc", "two").contains(&"RemoteClusterError".to_owned()));
    ONE.apply(world, &login(world, TWO));
    is(world, ONE, "two", "Active").await;
    // Nobody was locked out by trying again and again.
    TWO.rest(world, "GET", "/v1/cluster", None).unwrap();

    // A Secret that goes, and a name that leads to another cluster.
    ONE.kubectl(world, &["delete", "secret", "redis-enterprise-two"]).unwrap();
    let told = message(&is(world, ONE, "two", "Error").await);
    assert!(told.contains("make it"), "{told}");
    ONE.apply(world, &login(world, TWO));
    is(world, ONE, "two", "Active").await;
    ONE.patch(world, "rerc", "two", &json!({"spec": {"recName": "somebody"}}));
    let told = message(&is(world, ONE, "two", "Error").await);
    assert!(told.contains("rec-two.redis2.svc"), "{told}");
    ONE.patch(world, "rerc", "two", &json!({"spec": {"recName": TWO.rec}}));
    is(world, ONE, "two", "Active").await;

    // Nothing leads there.
    proxy().lock().await.stop();
    let told = message(&is(world, ONE, "two", "Error").await);
    assert!(told.contains("api-rec-two.example.com:443 is not reachable"), "{told}");
    // The cluster beside it is not asked by that name.
    assert_eq!(ONE.get(world, "rerc", "one").unwrap()["status"]["status"], "Active");
    proxy().lock().await.look(world).await;
    is(world, ONE, "two", "Active").await;
}

/// An Active-Active database on both.
fn database(name: &str, global: Value) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
        "metadata": {"name": name}, "spec": {
            "participatingClusters": [{"name": "one", "namespace": ONE.namespace}, {"name": "two", "namespace": TWO.namespace}],
            "globalConfigurations": global}})
}

/// The password's Secret, on both.
fn passwords(world: &World, name: &str, password: &str) {
    for side in BOTH {
        side.apply(
            world,
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}}),
        );
    }
}

/// Waits until both resources are as their spec says.
async fn agreed(world: &World, name: &str) {
    for side in BOTH {
        until(&format!("database {name} of {} to be as it should be", side.name), FORMS, || async {
            let database = side.get(world, "reaadb", name)?;
            let status = &database["status"];
            let good = status["status"] == "active"
                && status["specStatus"] == "Valid"
                && status["observedGeneration"] == database["metadata"]["generation"];
            ensure!(good, "{status}");
            anyhow::Ok(())
        })
        .await;
    }
}

/// The same, and data passes, so that both are ready.
async fn settled(world: &World, name: &str) {
    agreed(world, name).await;
    for side in BOTH {
        until(&format!("database {name} of {} to settle", side.name), FORMS, || async {
            let database = side.get(world, "reaadb", name)?;
            let good =
                database["status"]["replicationStatus"] == "up" && condition(&database, "Ready")["status"] == "True";
            ensure!(good, "{}", database["status"]);
            anyhow::Ok(())
        })
        .await;
    }
}

/// The way to the copies, once they have one.
async fn routed(world: &World, name: &str) {
    for side in BOTH {
        until(&format!("the Ingress of {name} on {}", side.name), FORMS, || async { side.get(world, "ingress", name) })
            .await;
    }
    proxy().lock().await.look(world).await;
}

async fn gone(world: &World, name: &str) {
    for side in BOTH {
        until(&format!("database {name} of {} to go", side.name), SETTLES, || async {
            match side.kubectl(world, &["get", "reaadb", name]) {
                Err(error) if error.to_string().contains("NotFound") => {}
                other => bail!("{other:?}"),
            }
            if let Ok(bdb) = side.bdb(world, name) {
                bail!("{bdb}");
            }
            anyhow::Ok(())
        })
        .await;
    }
}

async fn row_90_one_database_is_made_changed_and_deleted_on_two_clusters(world: &World) {
    let name = "row90";
    passwords(world, "row90-password", "pa55");
    let global = json!({"memorySize": "100MB", "tlsMode": "enabled", "databaseSecretName": "row90-password"});
    ONE.apply(world, &database(name, global));
    // The other operator makes the same resource.
    routed(world, name).await;
    agreed(world, name).await;
    let (one, two) = (ONE.get(world, "reaadb", name).unwrap(), TWO.get(world, "reaadb", name).unwrap());
    assert_eq!(one["spec"]["globalConfigurations"], two["spec"]["globalConfigurations"]);
    assert_eq!(one["status"]["guid"], two["status"]["guid"]);
    for database in [&one, &two] {
        let participants = database["status"]["participatingClusters"].as_array().unwrap();
        let names: Vec<&Value> = participants.iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(database["status"]["secretsStatus"], json!([{"name": "row90-password", "status": "Valid"}]));
    }
    let crdbs = ONE.rest(world, "GET", "/v1/crdbs", None).unwrap();
    assert_eq!(crdbs.as_array().unwrap().len(), 1, "{crdbs}");
    // A database of the cluster's own kind is not taken for its own by anybody else.
    assert!(ONE.kubectl(world, &["get", "redb", name]).is_err());

    // Changed from either side, it is the same on both.
    for (side, size, bytes) in [(ONE, "200MB", 209_715_200), (TWO, "300MB", 314_572_800)] {
        side.patch(world, "reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": size}}}));
        for of in BOTH {
            until(&format!("{size} on {}", of.name), SETTLES, || async {
                let database = of.get(world, "reaadb", name)?;
                let bdb = of.bdb(world, name)?;
                ensure!(database["spec"]["globalConfigurations"]["memorySize"] == size, "{}", database["spec"]);
                ensure!(bdb["memory_size"] == bytes, "{}", bdb["memory_size"]);
                anyhow::Ok(())
            })
            .await;
        }
        agreed(world, name).await;
    }
    // The password, on one after the other.
    ONE.patch(world, "secret", "row90-password", &json!({"stringData": {"password": "n3w"}}));
    ONE.says(world, name, "n3w", &["PING"], "PONG").await;
    until("the other side to say that its Secret is old", SETTLES, || async {
        let database = TWO.get(world, "reaadb", name)?;
        ensure!(database["status"]["secretsStatus"][0]["status"] == "Invalid", "{}", database["status"]);
        anyhow::Ok(())
    })
    .await;
    TWO.patch(world, "secret", "row90-password", &json!({"stringData": {"password": "n3w"}}));
    until("both Secrets to be good", SETTLES, || async {
        for side in BOTH {
            let database = side.get(world, "reaadb", name)?;
            ensure!(database["status"]["secretsStatus"][0]["status"] == "Valid", "{}", database["status"]);
        }
        anyhow::Ok(())
    })
    .await;

    // For as long as it is listed, a remote cluster stays.
    ONE.kubectl(world, &["delete", "rerc", "two", "--wait=false"]).unwrap();
    until("the remote cluster to say why it stays", SETTLES, || async {
        let told = message(&ONE.get(world, "rerc", "two")?);
        ensure!(told.contains("`redis/row90`"), "{told}");
        anyhow::Ok(())
    })
    .await;

    // Deleted on one, it is gone on both; and then the remote cluster is.
    TWO.kubectl(world, &["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(world, name).await;
    until("the remote cluster to go", SETTLES, || async {
        match ONE.get(world, "rerc", "two") {
            Err(error) if error.to_string().contains("NotFound") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await;
    remote(world, ONE, TWO);
    is(world, ONE, "two", "Active").await;
    for side in BOTH {
        side.kubectl(world, &["delete", "secret", "row90-password"]).unwrap();
    }
    proxy().lock().await.look(world).await;
}

async fn row_90_what_is_written_on_one_cluster_is_read_on_the_other(world: &World) {
    let name = "row90-data";
    passwords(world, "row90-data-password", "pa55");
    let global = json!({"memorySize": "100MB", "tlsMode": "enabled", "databaseSecretName": "row90-data-password"});
    ONE.apply(world, &database(name, global));
    routed(world, name).await;
    settled(world, name).await;
    let line = TWO.kubectl(world, &["get", "reaadb", name, "--no-headers"]).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [name, "active", "Valid", "up"]);
    for side in BOTH {
        let database = side.get(world, "reaadb", name).unwrap();
        let participants = database["status"]["participatingClusters"].as_array().unwrap();
        assert!(participants.iter().all(|it| it["replicationStatus"] == "up"), "{participants:?}");
    }
    ONE.says(world, name, "pa55", &["SET", "from-one", "1"], "OK").await;
    TWO.says(world, name, "pa55", &["GET", "from-one"], "1").await;
    TWO.says(world, name, "pa55", &["SET", "from-two", "2"], "OK").await;
    ONE.says(world, name, "pa55", &["GET", "from-two"], "2").await;
    // Both at once.
    for side in BOTH {
        side.redis(world, name, "pa55", &["INCRBY", "count", "5"]).unwrap();
        side.redis(world, name, "pa55", &["SET", "same", side.name]).unwrap();
        side.redis(world, name, "pa55", &["SADD", "members", side.name]).unwrap();
    }
    for side in BOTH {
        side.says(world, name, "pa55", &["GET", "count"], "10").await;
        side.says(world, name, "pa55", &["SCARD", "members"], "2").await;
    }
    until("one value of what both wrote", SETTLES, || async {
        let (one, two) =
            (ONE.redis(world, name, "pa55", &["GET", "same"])?, TWO.redis(world, name, "pa55", &["GET", "same"])?);
        if one == two && !one.is_empty() { Ok(()) } else { bail!("{one:?} {two:?}") }
    })
    .await;

    TWO.kubectl(world, &["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(world, name).await;
    for side in BOTH {
        side.kubectl(world, &["delete", "secret", "row90-data-password"]).unwrap();
    }
    proxy().lock().await.look(world).await;
}

async fn row_90_f16_a_participant_goes_and_comes_back(world: &World) {
    let name = "row90-f16";
    ONE.apply(world, &database(name, json!({"memorySize": "100MB", "tlsMode": "enabled"})));
    routed(world, name).await;
    settled(world, name).await;
    // Nothing leads from one to the other.
    proxy().lock().await.stop();
    until("the participant to be told as lost", SETTLES, || async {
        let database = ONE.get(world, "reaadb", name)?;
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
    for side in BOTH {
        side.says(world, name, "", &["SET", side.name, "alone"], "OK").await;
    }
    ONE.apply(
        world,
        &json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": {"name": "row90-beside"}, "spec": {"memorySize": "100MB"}}),
    );
    until("a database beside it", SETTLES, || async {
        let database = ONE.get(world, "redb", "row90-beside")?;
        ensure!(database["status"]["status"] == "active", "{}", database["status"]);
        anyhow::Ok(())
    })
    .await;
    // A change waits, and says for whom.
    ONE.patch(world, "reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": "150MB"}}}));
    until("the change to wait", SETTLES, || async {
        let told = message(&ONE.get(world, "reaadb", name)?);
        ensure!(told.contains("stays as it is for now") && told.contains("`two`"), "{told}");
        anyhow::Ok(())
    })
    .await;
    proxy().lock().await.look(world).await;
    settled(world, name).await;
    for side in BOTH {
        assert_eq!(side.bdb(world, name).unwrap()["memory_size"], 157_286_400);
        side.says(world, name, "", &["MGET", "one", "two"], "alone\nalone").await;
    }
    ONE.kubectl(world, &["delete", "redb", "row90-beside", "--timeout=180s"]).unwrap();
    ONE.kubectl(world, &["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(world, name).await;
    proxy().lock().await.look(world).await;
}
