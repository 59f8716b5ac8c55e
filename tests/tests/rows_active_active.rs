//! Rows 90 and 91 of the checklist: Active-Active databases and remote clusters. Two clusters in two namespaces, each with an operator of
//! its own, which know of each other only what a proxy leads to: the other's REST API, and the other's copies. A third is in another
//! Kubernetes cluster.
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
struct Side<'w> {
    world: &'w World,
    name: &'static str,
    namespace: &'static str,
    rec: &'static str,
    domain: &'static str,
}

const HERE: &str = "here.example.com";
const ELSEWHERE: &str = "elsewhere.example.com";

/// Both in one Kubernetes cluster.
fn both(world: &World) -> [Side<'_>; 2] {
    [
        Side { world, name: "one", namespace: NAMESPACE, rec: "rec", domain: HERE },
        Side { world, name: "two", namespace: OTHER, rec: "rec-two", domain: HERE },
    ]
}

impl Side<'_> {
    fn kubectl(self, arguments: &[&str]) -> anyhow::Result<String> {
        self.world.kubectl(&[&["-n", self.namespace], arguments].concat())
    }

    fn apply(self, object: &Value) {
        if let Err(error) =
            self.world.kubectl_with_input(&["-n", self.namespace, "apply", "-f", "-"], &object.to_string())
        {
            panic!("{error:#}");
        }
    }

    fn get(self, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])?)?)
    }

    fn patch(self, kind: &str, name: &str, patch: &Value) {
        if let Err(error) = self.kubectl(&["patch", kind, name, "--type", "merge", "-p", &patch.to_string()]) {
            panic!("{error:#}");
        }
    }

    fn secret(self, name: &str, key: &str) -> anyhow::Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(&["get", "secret", name, "-o", &template])
    }

    fn api(self) -> String {
        format!("api-{}.{}", self.rec, self.domain)
    }

    fn suffix(self) -> String {
        format!(".db-{}.{}", self.rec, self.domain)
    }

    /// A request to the cluster's REST API, past the operator.
    fn rest(self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (user, password) = (self.secret(self.rec, "username")?, self.secret(self.rec, "password")?);
        let mut last = None;
        for number in 0..3 {
            let pod = format!("{}-{number}", self.rec);
            let ip = self.kubectl(&["get", "pod", &pod, "-o", "jsonpath={.status.podIP}"])?;
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
    fn bdb(self, name: &str) -> anyhow::Result<Value> {
        let all = self.rest("GET", "/v1/bdbs", None)?;
        let found = all.as_array().into_iter().flatten().find(|bdb| bdb["name"] == name).cloned();
        found.with_context(|| format!("cluster {} has no database {name}: {all}", self.rec))
    }

    /// A command to the copy on this cluster, and what was answered.
    fn redis(self, name: &str, password: &str, words: &[&str]) -> anyhow::Result<String> {
        let bdb = self.bdb(name)?;
        let label = format!("redis.io/bdb-{}", bdb["uid"]);
        let path = "jsonpath={.items[0].status.podIP}";
        let ip: Ipv4Addr = self.kubectl(&["get", "pods", "-l", &label, "-o", path])?.parse()?;
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
    async fn says(self, name: &str, password: &str, words: &[&str], answer: &str) {
        let what = format!("{} to answer {answer:?} to {words:?}", self.name);
        until(&what, SETTLES, || async {
            let said = self.redis(name, password, words)?;
            if said == answer { Ok(()) } else { bail!("{said:?}") }
        })
        .await;
    }
}

static PROXY: OnceLock<Mutex<Proxy>> = OnceLock::new();
static PROXY_ELSEWHERE: OnceLock<Mutex<Proxy>> = OnceLock::new();

/// That of the Kubernetes cluster with both.
fn proxy() -> &'static Mutex<Proxy> {
    PROXY.get_or_init(|| Mutex::new(Proxy::of(&[NAMESPACE, OTHER])))
}

fn proxy_elsewhere() -> &'static Mutex<Proxy> {
    PROXY_ELSEWHERE.get_or_init(|| Mutex::new(Proxy::of(&[NAMESPACE])))
}

/// Names that no DNS knows, as the option `--resolve` takes them.
async fn leads() -> String {
    let (here, elsewhere) = (proxy().lock().await.port, proxy_elsewhere().lock().await.port);
    format!("*.{HERE}:443:127.0.0.1:{here},*.{ELSEWHERE}:443:127.0.0.1:{elsewhere}")
}

fn main() {
    let rows = vec![
        row!(91, row_91_a_remote_cluster_says_how_it_is),
        row!(90, row_90_one_database_is_made_changed_and_deleted_on_two_clusters),
        row!(90, row_90_what_is_written_on_one_cluster_is_read_on_the_other),
        row!(90, row_90_f16_a_participant_goes_and_comes_back),
        row!(90, row_90_a_cluster_is_taken_out_and_added_again),
        row!(90, row_90_on_two_control_planes),
    ];
    checklist::main("rows_active_active", |world| Box::pin(prepare(world)), rows);
}

/// Two clusters, each under an operator of its own, and the proxy between them.
async fn prepare(world: &World) {
    let sides = both(world);
    world.kubectl(&["create", "namespace", OTHER]).unwrap();
    for part in ["bundle.yaml", "dev"] {
        let path = repository().join("deploy").join(part).display().to_string();
        sides[1].kubectl(&["apply", "-f", &path]).unwrap();
    }
    for side in sides {
        begin(side).await;
    }
    for side in sides {
        running(side).await;
    }
    proxy().lock().await.look(world).await;
    acquainted(&sides).await;
}

/// Tells an operator how names are reached, and makes its cluster.
async fn begin(side: Side<'_>) {
    let leads = leads().await;
    let variable = format!("STEPWRIGHT_RESOLVE={leads}");
    side.kubectl(&["set", "env", &format!("deployment/{OPERATOR}"), &variable]).unwrap();
    let sample = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    let mut rec: Value = serde_yaml_ng::from_str(&sample).unwrap();
    let annotations =
        json!({"kubernetes.io/ingress.class": "haproxy", "ingress.kubernetes.io/ssl-passthrough": "true"});
    rec["metadata"]["name"] = json!(side.rec);
    rec["spec"]["extraEnvVars"] = json!([{"name": "SIM_RESOLVE", "value": leads}]);
    rec["spec"]["ingressOrRouteSpec"] = json!({"method": "ingress", "apiFqdnUrl": side.api(),
        "dbFqdnSuffix": side.suffix(), "ingressAnnotations": annotations});
    side.apply(&rec);
}

async fn running(side: Side<'_>) {
    until(&format!("cluster {}", side.rec), FORMS, || async {
        let rec = side.get("rec", side.rec)?;
        ensure!(rec["status"]["state"] == "Running", "{}", rec["status"]);
        side.get("ingress", side.rec)?;
        anyhow::Ok(())
    })
    .await;
}

/// Tells each operator of all clusters, and waits until it has reached them.
async fn acquainted(sides: &[Side<'_>]) {
    for side in sides {
        for of in sides {
            remote(*side, *of);
        }
    }
    for side in sides {
        for of in sides {
            is(*side, of.name, "Active").await;
        }
    }
}

fn login(of: Side<'_>) -> Value {
    let value = |key: &str| of.secret(of.rec, key).unwrap();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("redis-enterprise-{}", of.name)},
        "stringData": {"username": value("username"), "password": value("password")}})
}

/// Tells the operator of one side of a cluster.
fn remote(side: Side<'_>, of: Side<'_>) {
    side.apply(&login(of));
    side.apply(&json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
            "metadata": {"name": of.name}, "spec": {"recName": of.rec, "recNamespace": of.namespace,
            "apiFqdnUrl": of.api(), "dbFqdnSuffix": of.suffix()}}));
}

/// Waits until a remote cluster is said to be so. Returns the resource.
async fn is(side: Side<'_>, name: &str, status: &str) -> Value {
    until(&format!("remote cluster {name} of {} to be {status}", side.name), SETTLES, || async {
        let remote = side.get("rerc", name)?;
        ensure!(remote["status"]["status"] == status, "{}", remote["status"]);
        anyhow::Ok(remote)
    })
    .await
}

fn message(object: &Value) -> String {
    condition(object, "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

/// Reasons of Events about an object.
fn reasons(side: Side<'_>, kind: &str, name: &str) -> Vec<String> {
    let uid = side.get(kind, name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let about = format!("--field-selector=involvedObject.uid={uid}");
    let text = side.kubectl(&["get", "events", &about, "-o", "jsonpath={.items[*].reason}"]).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

async fn row_91_a_remote_cluster_says_how_it_is(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    // The cluster of its own namespace, and the other one.
    for side in sides {
        for of in sides {
            let remote = is(side, of.name, "Active").await;
            let own = side.namespace == of.namespace;
            assert_eq!((&remote["status"]["local"], &remote["status"]["specStatus"]), (&json!(own), &json!("Valid")));
            assert_eq!(remote["status"]["clusterName"], format!("{}.{}.svc.cluster.local", of.rec, of.namespace));
            let secret = side.get("secret", &format!("redis-enterprise-{}", of.name)).unwrap();
            let version = &remote["status"]["internalObservedSecretResourceVersion"];
            assert_eq!(*version, secret["metadata"]["resourceVersion"]);
        }
    }
    let line = one.kubectl(&["get", "rerc", "two", "--no-headers"]).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["two", "Active", "Valid", "false"]);

    // A wrong password, which is tried once, and the right one again.
    let mut wrong = login(two);
    wrong["stringData"]["password"] = json!("wrong");
    one.apply(&wrong);
    is(one, "two", "Error").await;
    until("the password to rest", SETTLES, || async {
        let told = message(&one.get("rerc", "two")?);
        ensure!(told.contains("Secret `redis-enterprise-two` was refused; it is not tried again"), "{told}");
        anyhow::Ok(())
    })
    .await;
    assert!(reasons(one, "rerc", "two").contains(&"RemoteClusterError".to_owned()));
    one.apply(&login(two));
    is(one, "two", "Active").await;
    // Nobody was locked out by trying again and again.
    two.rest("GET", "/v1/cluster", None).unwrap();

    // A Secret that goes, and a name that leads to another cluster.
    one.kubectl(&["delete", "secret", "redis-enterprise-two"]).unwrap();
    let told = message(&is(one, "two", "Error").await);
    assert!(told.contains("make it"), "{told}");
    one.apply(&login(two));
    is(one, "two", "Active").await;
    one.patch("rerc", "two", &json!({"spec": {"recName": "somebody"}}));
    let told = message(&is(one, "two", "Error").await);
    assert!(told.contains("rec-two.redis2.svc"), "{told}");
    one.patch("rerc", "two", &json!({"spec": {"recName": two.rec}}));
    is(one, "two", "Active").await;

    // Nothing leads there.
    proxy().lock().await.stop();
    let told = message(&is(one, "two", "Error").await);
    assert!(told.contains("api-rec-two.here.example.com:443 is not reachable"), "{told}");
    // The cluster beside it is not asked by that name.
    assert_eq!(one.get("rerc", "one").unwrap()["status"]["status"], "Active");
    proxy().lock().await.look(world).await;
    is(one, "two", "Active").await;
}

/// An Active-Active database on all of these.
fn database(sides: &[Side<'_>], name: &str, global: Value) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
        "metadata": {"name": name}, "spec": {
            "participatingClusters": participants(sides),
            "globalConfigurations": global}})
}

fn participants(sides: &[Side<'_>]) -> Value {
    sides.iter().map(|side| json!({"name": side.name, "namespace": side.namespace})).collect()
}

/// The password's Secret, on both.
fn passwords(sides: &[Side<'_>], name: &str, password: &str) {
    for side in sides {
        side.apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}}),
        );
    }
}

/// Waits until both resources are as their spec says.
async fn agreed(sides: &[Side<'_>], name: &str) {
    for side in sides {
        until(&format!("database {name} of {} to be as it should be", side.name), FORMS, || async {
            let database = side.get("reaadb", name)?;
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
async fn settled(sides: &[Side<'_>], name: &str) {
    agreed(sides, name).await;
    for side in sides {
        until(&format!("database {name} of {} to settle", side.name), FORMS, || async {
            let database = side.get("reaadb", name)?;
            let good =
                database["status"]["replicationStatus"] == "up" && condition(&database, "Ready")["status"] == "True";
            ensure!(good, "{}", database["status"]);
            anyhow::Ok(())
        })
        .await;
    }
}

/// The way to the copies, once they have one.
async fn routed(sides: &[Side<'_>], name: &str) {
    for side in sides {
        until(&format!("the Ingress of {name} on {}", side.name), FORMS, || async { side.get("ingress", name) }).await;
        let proxy = if side.domain == HERE { proxy() } else { proxy_elsewhere() };
        proxy.lock().await.look(side.world).await;
    }
}

async fn gone(sides: &[Side<'_>], name: &str) {
    for side in sides {
        until(&format!("database {name} of {} to go", side.name), SETTLES, || async {
            match side.kubectl(&["get", "reaadb", name]) {
                Err(error) if error.to_string().contains("NotFound") => {}
                other => bail!("{other:?}"),
            }
            if let Ok(bdb) = side.bdb(name) {
                bail!("{bdb}");
            }
            // Nor is anything left that leads to it, which a copy that is made anew would be looked for behind.
            let left = side.kubectl(&["get", "ingress,service", "-o", "name"])?;
            if left.lines().any(|it| it.ends_with(&format!("/{name}"))) {
                bail!("{left}");
            }
            anyhow::Ok(())
        })
        .await;
    }
}

async fn row_90_one_database_is_made_changed_and_deleted_on_two_clusters(world: &World) {
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

async fn row_90_what_is_written_on_one_cluster_is_read_on_the_other(world: &World) {
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

async fn row_90_f16_a_participant_goes_and_comes_back(world: &World) {
    let sides = both(world);
    let [one, _] = sides;
    let name = "row90-f16";
    one.apply(&database(&sides, name, json!({"memorySize": "100MB", "tlsMode": "enabled"})));
    routed(&sides, name).await;
    settled(&sides, name).await;
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

async fn row_90_a_cluster_is_taken_out_and_added_again(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90-out";
    one.apply(&database(&sides, name, json!({"memorySize": "100MB", "tlsMode": "enabled"})));
    routed(&sides, name).await;
    settled(&sides, name).await;
    one.says(name, "", &["SET", "before", "1"], "OK").await;
    two.says(name, "", &["GET", "before"], "1").await;
    let take_part = |sides: &[Side<'_>]| {
        one.patch("reaadb", name, &json!({"spec": {"participatingClusters": participants(sides)}}));
    };

    // Taken out: there the database goes, and its resource; here it stays, with its data.
    take_part(&[one]);
    gone(&[two], name).await;
    agreed(&[one], name).await;
    let status = one.get("reaadb", name).unwrap()["status"].clone();
    let left: Vec<&Value> = status["participatingClusters"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(left, ["one"], "{status}");
    one.says(name, "", &["SET", "alone", "2"], "OK").await;

    // Added again: a new copy has everything.
    take_part(&sides);
    routed(&sides, name).await;
    settled(&sides, name).await;
    two.says(name, "", &["MGET", "before", "alone"], "1\n2").await;

    one.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    proxy().lock().await.look(world).await;
}

async fn row_90_on_two_control_planes(world: &World) {
    let elsewhere = World::start().await.unwrap();
    let one = both(world)[0];
    let far = Side { world: &elsewhere, name: "far", namespace: NAMESPACE, rec: "rec-far", domain: ELSEWHERE };
    let sides = [one, far];
    begin(far).await;
    running(far).await;
    proxy_elsewhere().lock().await.look(&elsewhere).await;
    acquainted(&sides).await;

    let name = "row90-far";
    one.apply(&database(&sides, name, json!({"memorySize": "100MB", "tlsMode": "enabled"})));
    routed(&sides, name).await;
    settled(&sides, name).await;
    one.says(name, "", &["SET", "from-one", "1"], "OK").await;
    far.says(name, "", &["GET", "from-one"], "1").await;
    far.says(name, "", &["SET", "from-far", "2"], "OK").await;
    one.says(name, "", &["GET", "from-far"], "2").await;
    far.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": "200MB"}}}));
    until("the change on the other control plane", SETTLES, || async {
        let size = one.get("reaadb", name)?["spec"]["globalConfigurations"]["memorySize"].clone();
        let bytes = one.bdb(name)?["memory_size"].clone();
        ensure!(size == "200MB" && bytes == 209_715_200, "{size} {bytes}");
        anyhow::Ok(())
    })
    .await;

    far.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    one.kubectl(&["delete", "rerc", "far", "--timeout=180s"]).unwrap();
    one.kubectl(&["delete", "secret", "redis-enterprise-far"]).unwrap();
    proxy().lock().await.look(world).await;
    proxy_elsewhere().lock().await.stop();
    elsewhere.cluster.stop().await.unwrap();
}
