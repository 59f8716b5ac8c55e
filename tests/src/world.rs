//! A whole development cluster with the operator installed from its manifests, and the tools that a user has: kubectl and a
//! Redis client. Everything ends with the value.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use serde_json::Value;
use stepwright_dev_cluster::{Cluster, ClusterOptions, loopback, repository};

use crate::wait::until;

/// How long a cluster may take from its manifest to `Running`. A quarter of a minute as a rule: this is for machines that are busy
/// with much else, and only a failure waits for it.
pub const FORMS: Duration = Duration::from_secs(360);
/// How long anything else may take, likewise.
pub const SETTLES: Duration = Duration::from_secs(180);
/// How long one command of kubectl may take.
const KUBECTL: Duration = Duration::from_secs(240);
/// The namespace in which everything happens.
pub const NAMESPACE: &str = "redis";
/// The container that holds the operator.
pub const OPERATOR: &str = "redis-enterprise-operator";

/// A development cluster with the operator in it.
pub struct World {
    pub cluster: Cluster,
}

impl World {
    /// A fresh cluster, with CRDs and operator installed by `kubectl apply`, and the operator ready.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(ClusterOptions::default()).await
    }

    /// The same, of other size or with other images.
    ///
    /// With `STEPWRIGHT_TEST_LOG=<filter>` in the environment the operator logs so much, and logs stay when the cluster ends.
    pub async fn start_with(mut options: ClusterOptions) -> anyhow::Result<Self> {
        let filter = std::env::var("STEPWRIGHT_TEST_LOG").ok();
        options.keep_folder |= filter.is_some();
        let cluster = Cluster::start(options).await?;
        let world = Self { cluster };
        world.kubectl(&["create", "namespace", NAMESPACE])?;
        world.kubectl(&["config", "set-context", "--current", &format!("--namespace={NAMESPACE}")])?;
        let deploy = repository().join("deploy");
        world.kubectl(&["apply", "-f", &deploy.join("bundle.yaml").display().to_string()])?;
        if let Some(filter) = filter {
            eprintln!("logs are kept in {}", world.cluster.folder().display());
            world.kubectl(&["set", "env", &format!("deployment/{OPERATOR}"), &format!("RUST_LOG={filter}")])?;
        }
        world.kubectl(&["apply", "-f", &deploy.join("dev").display().to_string()])?;
        world.operator_ready().await;
        Ok(world)
    }

    /// Waits until the operator's pod is ready.
    pub async fn operator_ready(&self) {
        // It compiles its plugins first, on a busy machine for a while.
        until("the operator", FORMS, || async {
            let seen = self.kubectl(&["get", "deployment", OPERATOR, "-o", "jsonpath={.status.readyReplicas}"])?;
            if seen == "1" { Ok(()) } else { bail!("ready replicas: {seen:?}") }
        })
        .await;
    }

    /// What a person would look at first when something failed: resources, pods, Events, the end of the operator's log.
    pub fn last_words(&self) -> String {
        let kubectl = |arguments: &[&str]| self.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
        let end = |log: String| {
            let start = log.char_indices().rev().nth(6_000).map_or(0, |(start, _)| start);
            log.get(start..).unwrap_or_default().to_owned()
        };
        let rigger = kubectl(&["logs", "deployment/rec-services-rigger", "--tail=60"]);
        let conditions =
            "jsonpath={range .items[*].status.conditions[*]}{.type} {.status} {.reason} {.message}{\"\\n\"}{end}";
        format!(
            "---- resources\n{}\n---- conditions\n{}\n---- Events\n{}\n---- the operator's log\n{}\n---- the rigger's log\n{}",
            kubectl(&["get", "rec,redb,pods,sts,deploy,svc,pvc", "-o", "wide"]),
            kubectl(&["get", "rec,redb", "-o", conditions]),
            kubectl(&["get", "events", "--sort-by=.lastTimestamp"]),
            end(self.operator_log()),
            end(rigger),
        )
    }

    /// Runs kubectl and returns what it printed; an error holds what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with_input(arguments, "")
    }

    /// The same with standard input.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = self
            .command(arguments)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        // Read while it runs, so that a full pipe never stops it.
        let read = |mut pipe: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = read(Box::new(child.stdout.take().context("no output")?));
        let stderr = read(Box::new(child.stderr.take().context("no output")?));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed() > KUBECTL {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (text, said) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        match status {
            Some(status) if status.success() => Ok(text),
            Some(_) => bail!("kubectl {}: {said}{text}", arguments.join(" ")),
            None => bail!("kubectl {} had not ended after {KUBECTL:?}: {said}{text}", arguments.join(" ")),
        }
    }

    /// kubectl with these arguments, to be started by whoever asks.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.cluster.kubectl()?.into_std();
        command.args(arguments);
        Ok(command)
    }

    /// An object as JSON.
    pub fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])?)?)
    }

    /// Objects of a kind by label selector, as JSON.
    pub fn list(&self, kind: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
        let text = self.kubectl(&["get", kind, "-l", selector, "-o", "json"])?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Merges into an object, as `kubectl patch --type merge`. Returns what kubectl printed.
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) -> anyhow::Result<String> {
        self.kubectl(&["patch", kind, name, "--type", "merge", "-p", &patch.to_string()])
    }

    /// Objects of a kind by label selector: name to uid.
    pub fn uids(&self, kind: &str, selector: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let all = self.list(kind, selector)?;
        Ok(all.iter().map(|object| (text(object, "name"), text(object, "uid"))).collect())
    }

    /// Events about an object as it is now, not about an earlier one of its name: reason and message, oldest first.
    pub fn events(&self, kind: &str, name: &str) -> anyhow::Result<Vec<(String, String)>> {
        let uid = self.kubectl(&["get", kind, name, "-o", "jsonpath={.metadata.uid}"])?;
        let about = format!("--field-selector=involvedObject.uid={uid}");
        let list: Value = serde_json::from_str(&self.kubectl(&["get", "events", &about, "-o", "json"])?)?;
        let mut events = list["items"].as_array().cloned().unwrap_or_default();
        events.sort_by_key(|event| event["eventTime"].as_str().unwrap_or_default().to_owned());
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        Ok(events.iter().map(|event| (text(event, "reason"), text(event, "message"))).collect())
    }

    /// A condition of an object's status: status, reason, message.
    pub fn condition(&self, kind: &str, name: &str, type_: &str) -> anyhow::Result<[String; 3]> {
        let object = self.get(kind, name)?;
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = all.iter().find(|condition| condition["type"] == type_);
        let condition = condition.with_context(|| format!("{kind}/{name} has no condition {type_}"))?;
        Ok(["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or_default().to_owned()))
    }

    /// Runs `rladmin` in a pod, as `kubectl exec POD -- bash -lc 'rladmin …'`.
    pub fn rladmin(&self, pod: &str, words: &str) -> anyhow::Result<String> {
        self.kubectl(&["exec", pod, "--", "bash", "-lc", &format!("rladmin {words}")])
    }

    /// A command of kubectl that goes on, as `get --watch`. Its lines are collected until the value ends.
    pub fn watch(&self, arguments: &[&str]) -> anyhow::Result<Watch> {
        let mut child = self
            .command(arguments)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start kubectl")?;
        let stdout = child.stdout.take().context("no output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        // Ends with the pipe, and so the process.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                seen.lock().push(line);
            }
        });
        Ok(Watch { child, lines })
    }

    /// Applies the sample cluster and waits until it is `Running`.
    pub async fn sample_cluster(&self) -> anyhow::Result<()> {
        self.apply_sample("rec.yaml")?;
        self.field("rec", "rec", "/status/state", "Running", FORMS).await;
        Ok(())
    }

    /// Applies the sample database and waits until it is `active`.
    pub async fn sample_database(&self) -> anyhow::Result<()> {
        self.apply_sample("redb.yaml")?;
        self.field("redb", "mydb", "/status/status", "active", SETTLES).await;
        Ok(())
    }

    pub fn apply_sample(&self, file: &str) -> anyhow::Result<String> {
        let path = repository().join("deploy/samples").join(file);
        self.kubectl(&["apply", "-f", &path.display().to_string()])
    }

    /// Waits until a field, by JSON pointer, has a value. Returns the object.
    pub async fn field(&self, kind: &str, name: &str, pointer: &str, value: &str, within: Duration) -> Value {
        let what = format!("{kind}/{name} {pointer} = {value}");
        until(&what, within, || async {
            let object = self.get(kind, name)?;
            match object.pointer(pointer) {
                Some(Value::String(found)) if found == value => Ok(object),
                Some(Value::Number(found)) if value.parse().is_ok_and(|value: f64| found.as_f64() == Some(value)) => {
                    Ok(object)
                }
                _ => bail!("{}", object.get("status").cloned().unwrap_or_default()),
            }
        })
        .await
    }

    /// Waits until a command of kubectl fails with `NotFound`.
    pub async fn gone(&self, kind: &str, name: &str) {
        until(&format!("{kind}/{name} to go"), SETTLES, || async {
            match self.kubectl(&["get", kind, name]) {
                Err(error) if error.to_string().contains("NotFound") => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// A decoded value of a Secret.
    pub fn secret(&self, name: &str, key: &str) -> anyhow::Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(&["get", "secret", name, "-o", &template])
    }

    /// `kubectl port-forward`, listening. Ends with the value.
    pub fn port_forward(&self, target: &str, remote: u16) -> anyhow::Result<Forward> {
        let mut child = self
            .command(&["port-forward", target, &format!(":{remote}")])?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start kubectl port-forward")?;
        let stdout = child.stdout.take().context("no output")?;
        let (sender, lines) = mpsc::channel();
        // Reads on when nobody listens any more: kubectl ends when it cannot print. Ends with the pipe, and so the process.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut forward = Forward { child, port: 0 };
        let line = lines.recv_timeout(Duration::from_secs(20)).context("kubectl port-forward said nothing")?;
        let port = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
        forward.port = port.and_then(|port| port.parse().ok()).with_context(|| format!("not a port: {line}"))?;
        Ok(forward)
    }

    /// A port-forward over which a database answers. A new Service's port is known to the development cluster's nodes a
    /// moment after the Service is there; until then they reset the connection, which ends kubectl.
    pub async fn database(&self, target: &str, remote: u16, password: &str) -> Forward {
        until("a database that answers", SETTLES, || async {
            let forward = self.port_forward(target, remote)?;
            for _ in 0..3 {
                let said = redis(forward.port, password, &["PING"])?;
                if said != "PONG" {
                    bail!("{said:?}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(forward)
        })
        .await
    }

    /// The loopback address on which a pod of the cluster serves.
    pub fn address(&self, pod: &str) -> anyhow::Result<Ipv4Addr> {
        let ip = self.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])?;
        Ok(loopback(ip.parse().with_context(|| format!("pod {pod} has no address: {ip:?}"))?))
    }

    /// A request to the cluster's REST API, as its own admin, past the operator. `Err` unless it is answered with 200.
    pub fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let user = self.secret("rec", "username")?;
        let password = self.secret("rec", "password")?;
        let mut last = None;
        for pod in ["rec-0", "rec-1", "rec-2"] {
            match http(self.address(pod)?, 8080, method, path, Some((&user, &password)), body) {
                Ok((200, text)) => return Ok(serde_json::from_str(&text).unwrap_or(Value::Null)),
                // A node that does not lead says so; one of the others will.
                Ok((307 | 503, _)) => {}
                Ok((status, text)) => bail!("{method} {path}: {status} {text}"),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no node answered for the cluster")))
    }

    /// The name of the operator's pod.
    pub fn operator_pod(&self) -> anyhow::Result<String> {
        let text = self.kubectl(&[
            "get",
            "pods",
            "-l",
            "name=redis-enterprise-operator",
            "--field-selector=status.phase=Running",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ])?;
        if text.is_empty() { bail!("the operator has no running pod") } else { Ok(text) }
    }

    /// Kills the operator's process with SIGKILL; the node agent starts it again as a kubelet would.
    pub fn kill_operator(&self) -> anyhow::Result<()> {
        self.cluster.kill_container(NAMESPACE, &self.operator_pod()?, OPERATOR)
    }

    /// Requests that the operator sent to the managed system so far: those that only read, and those that may change.
    pub fn system_requests(&self) -> anyhow::Result<(f64, f64)> {
        let (status, text) = http(self.address(&self.operator_pod()?)?, 8080, "GET", "/metrics", None, None)?;
        if status != 200 {
            bail!("/metrics: {status}");
        }
        let (mut reads, mut changes) = (0.0, 0.0);
        for line in text.lines().filter(|line| line.starts_with("stepwright_system_requests_total{")) {
            let count: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            *(if line.contains("method=\"GET\"") { &mut reads } else { &mut changes }) += count;
        }
        if reads == 0.0 {
            bail!("the operator counts no request, though it forms clusters: {text}");
        }
        Ok((reads, changes))
    }

    /// Everything that the operator logged.
    pub fn operator_log(&self) -> String {
        self.operator_pod()
            .and_then(|pod| Ok(std::fs::read_to_string(self.cluster.container_log(NAMESPACE, &pod, OPERATOR))?))
            .unwrap_or_else(|error| format!("no log: {error:#}"))
    }

    /// Series of the API server's metrics of this name whose labels pass, with their values.
    pub fn api_server_series(
        &self,
        name: &str,
        passes: impl Fn(&str) -> bool,
    ) -> anyhow::Result<BTreeMap<String, f64>> {
        let text = self.kubectl(&["get", "--raw", "/metrics"])?;
        let lines = text.lines().filter(|line| line.starts_with(name) && passes(line));
        let series = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Ok(series.collect())
    }
}

/// A port that kubectl forwards.
pub struct Forward {
    child: Child,
    pub port: u16,
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command of kubectl that goes on has printed so far. Ends with the value.
pub struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs curl, which accepts any certificate, and returns the status and the body. `login` is `user:password`.
pub fn curl(url: &str, login: Option<&str>) -> anyhow::Result<(u16, String)> {
    let mut command = Command::new("curl");
    command.args(["-sSk", "--max-time", "20", "-w", "\n%{http_code}"]);
    if let Some(login) = login {
        command.args(["-u", login]);
    }
    let output = command.arg(url).output().context("failed to run curl; is it installed?")?;
    if !output.status.success() {
        bail!("curl {url}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').context("curl printed nothing")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Runs `redis-cli` against a port on 127.0.0.1 and returns what it printed, errors too.
pub fn redis(port: u16, password: &str, arguments: &[&str]) -> anyhow::Result<String> {
    redis_at(Ipv4Addr::LOCALHOST, port, password, arguments)
}

/// The same against any address.
pub fn redis_at(address: Ipv4Addr, port: u16, password: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("redis-cli");
    command.args(["-h", &address.to_string(), "-p", &port.to_string(), "--no-auth-warning"]);
    if !password.is_empty() {
        command.env("REDISCLI_AUTH", password);
    }
    let output = command.args(arguments).output().context("failed to run redis-cli; is redis-tools installed?")?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}

/// A small HTTP client: one request, one answer, no redirects. Status and body.
pub fn http(
    address: Ipv4Addr,
    port: u16,
    method: &str,
    path: &str,
    login: Option<(&str, &str)>,
    body: Option<&Value>,
) -> anyhow::Result<(u16, String)> {
    http_with(address, port, method, path, login, &[], body)
}

/// The same with more headers.
pub fn http_with(
    address: Ipv4Addr,
    port: u16,
    method: &str,
    path: &str,
    login: Option<(&str, &str)>,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> anyhow::Result<(u16, String)> {
    use base64::Engine as _;
    let mut stream = TcpStream::connect((address, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some((user, password)) = login {
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        head.push_str(&format!("Authorization: Basic {token}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer that is no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).context("an answer without a status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { unchunk(body) } else { body.to_owned() }))
}

fn unchunk(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        out.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    out
}

/// How long something took.
pub async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let value = work.await;
    (start.elapsed(), value)
}
