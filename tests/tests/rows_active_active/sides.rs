//! The clusters that the rows speak of, each with what leads to it.

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
use tokio::sync::Mutex;

pub(crate) const OTHER: &str = "redis2";

/// A cluster: its name as a participant, the namespace and the name of its resource.
#[derive(Clone, Copy)]
pub(crate) struct Side<'w> {
    pub(crate) world: &'w World,
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) rec: &'static str,
    pub(crate) domain: &'static str,
}

pub(crate) const HERE: &str = "here.example.com";
pub(crate) const ELSEWHERE: &str = "elsewhere.example.com";

/// Both in one Kubernetes cluster.
pub(crate) fn both(world: &World) -> [Side<'_>; 2] {
    [
        Side { world, name: "one", namespace: NAMESPACE, rec: "rec", domain: HERE },
        Side { world, name: "two", namespace: OTHER, rec: "rec-two", domain: HERE },
    ]
}

impl Side<'_> {
    /// What leads to it from outside.
    pub(crate) fn proxy(self) -> &'static Mutex<Proxy> {
        if self.domain == HERE { proxy() } else { proxy_elsewhere() }
    }

    pub(crate) fn kubectl(self, arguments: &[&str]) -> anyhow::Result<String> {
        self.world.kubectl(&[&["-n", self.namespace], arguments].concat())
    }

    pub(crate) fn apply(self, object: &Value) {
        if let Err(error) =
            self.world.kubectl_with_input(&["-n", self.namespace, "apply", "-f", "-"], &object.to_string())
        {
            panic!("{error:#}");
        }
    }

    pub(crate) fn get(self, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])?)?)
    }

    pub(crate) fn patch(self, kind: &str, name: &str, patch: &Value) {
        if let Err(error) = self.kubectl(&["patch", kind, name, "--type", "merge", "-p", &patch.to_string()]) {
            panic!("{error:#}");
        }
    }

    pub(crate) fn secret(self, name: &str, key: &str) -> anyhow::Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(&["get", "secret", name, "-o", &template])
    }

    pub(crate) fn api(self) -> String {
        format!("api-{}.{}", self.rec, self.domain)
    }

    pub(crate) fn suffix(self) -> String {
        format!(".db-{}.{}", self.rec, self.domain)
    }

    /// A request to the cluster's REST API, past the operator.
    pub(crate) fn rest(self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
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
    pub(crate) fn bdb(self, name: &str) -> anyhow::Result<Value> {
        let all = self.rest("GET", "/v1/bdbs", None)?;
        let found = all.as_array().into_iter().flatten().find(|bdb| bdb["name"] == name).cloned();
        found.with_context(|| format!("cluster {} has no database {name}: {all}", self.rec))
    }

    /// A command to the copy on this cluster, and what was answered.
    pub(crate) fn redis(self, name: &str, password: &str, words: &[&str]) -> anyhow::Result<String> {
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
    pub(crate) async fn says(self, name: &str, password: &str, words: &[&str], answer: &str) {
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
pub(crate) fn proxy() -> &'static Mutex<Proxy> {
    PROXY.get_or_init(|| Mutex::new(Proxy::of(&[NAMESPACE, OTHER])))
}

pub(crate) fn proxy_elsewhere() -> &'static Mutex<Proxy> {
    PROXY_ELSEWHERE.get_or_init(|| Mutex::new(Proxy::of(&[NAMESPACE])))
}

/// Names that no DNS knows, as the option `--resolve` takes them.
async fn leads() -> String {
    let (here, elsewhere) = (proxy().lock().await.port, proxy_elsewhere().lock().await.port);
    format!("*.{HERE}:443:127.0.0.1:{here},*.{ELSEWHERE}:443:127.0.0.1:{elsewhere}")
}

/// Tells an operator how names are reached, and makes its cluster.
pub(crate) async fn begin(side: Side<'_>) {
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

pub(crate) async fn running(side: Side<'_>) {
    until(&format!("cluster {}", side.rec), FORMS, || async {
        let rec = side.get("rec", side.rec)?;
        ensure!(rec["status"]["state"] == "Running", "{}", rec["status"]);
        side.get("ingress", side.rec)?;
        anyhow::Ok(())
    })
    .await;
    // The wrong logins of one row are not counted with those of the next; five within a minute lock an account all the same.
    let policy = json!({"login_lockout_counter_reset_after": 60});
    until("the policy", SETTLES, || async { side.rest("PUT", "/v1/cluster/policy", Some(&policy)) }).await;
}

/// Tells each operator of all clusters, and waits until it has reached them.
pub(crate) async fn acquainted(sides: &[Side<'_>]) {
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

pub(crate) fn login(of: Side<'_>) -> Value {
    let value = |key: &str| of.secret(of.rec, key).unwrap();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("redis-enterprise-{}", of.name)},
        "stringData": {"username": value("username"), "password": value("password")}})
}

/// Tells the operator of one side of a cluster.
pub(crate) fn remote(side: Side<'_>, of: Side<'_>) {
    side.apply(&login(of));
    side.apply(&json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseRemoteCluster",
            "metadata": {"name": of.name}, "spec": {"recName": of.rec, "recNamespace": of.namespace,
            "apiFqdnUrl": of.api(), "dbFqdnSuffix": of.suffix()}}));
}

/// Waits until a remote cluster is said to be so. Returns the resource.
pub(crate) async fn is(side: Side<'_>, name: &str, status: &str) -> Value {
    until(&format!("remote cluster {name} of {} to be {status}", side.name), SETTLES, || async {
        let remote = side.get("rerc", name)?;
        ensure!(remote["status"]["status"] == status, "{}", remote["status"]);
        anyhow::Ok(remote)
    })
    .await
}

pub(crate) fn message(object: &Value) -> String {
    condition(object, "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

/// Reasons of Events about an object.
pub(crate) fn reasons(side: Side<'_>, kind: &str, name: &str) -> Vec<String> {
    let uid = side.get(kind, name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let about = format!("--field-selector=involvedObject.uid={uid}");
    let text = side.kubectl(&["get", "events", &about, "-o", "jsonpath={.items[*].reason}"]).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}
