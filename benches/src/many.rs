//! A development cluster with many databases on one simulated cluster whose data path is off, and what is counted while an
//! operator brings them up: requests to the API server and to the REST API, memory, time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::databases::license;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, NAMESPACE, OPERATOR, World, http};

/// The simulator's control port.
const CONTROL: u16 = 3399;
/// Requests that the bench has under way at a time.
const AT_ONCE: usize = 16;
/// How long nothing is written when everything is said to be at rest.
const QUIET: Duration = Duration::from_secs(10);
/// What operators deal with. Of anything else requests are not counted: Leases, what nodes say of themselves, and what controllers of
/// Kubernetes make of Services.
const RESOURCES: [&str; 16] = [
    "redisenterpriseclusters",
    "redisenterprisedatabases",
    "secrets",
    "services",
    "events",
    "pods",
    "statefulsets",
    "deployments",
    "configmaps",
    "persistentvolumeclaims",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "poddisruptionbudgets",
    "ingresses",
    "customresourcedefinitions",
];

/// How many databases, in how many namespaces.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub databases: usize,
    pub namespaces: usize,
}

/// The kind of databases.
pub fn redb() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("app.redislabs.com", "v1alpha1", "RedisEnterpriseDatabase"))
}

/// Namespaces of databases.
pub fn namespaces(size: Size) -> Vec<String> {
    (0..size.namespaces).map(|number| format!("consumer-{number}")).collect()
}

/// A cluster that runs, no operator that does, and databases that nobody has seen yet.
pub struct Many {
    pub world: World,
    pub size: Size,
}

impl Many {
    pub async fn start(size: Size) -> anyhow::Result<Self> {
        let world = World::start().await?;
        let deployment = format!("deployment/{OPERATOR}");
        // One process for all steps, so that there is one to look at.
        world.kubectl(&["set", "env", &deployment, "STEPWRIGHT_DELEGATED_STEPS="])?;
        let environment = [("SIM_WITHOUT_DATA", "true".to_owned()), ("SIM_MEMORY", (1_u64 << 42).to_string())];
        let environment: Vec<Value> =
            environment.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let cluster = json!({
            "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": {"name": "rec"},
            "spec": {"nodes": 3, "extraEnvVars": environment,
                "redisEnterpriseNodeResources": {"limits": {"cpu": "2", "memory": "4Gi"}}},
        });
        world.kubectl_with_input(&["apply", "-f", "-"], &cluster.to_string())?;
        world.field("rec", "rec", "/status/state", "Running", FORMS).await;
        license(&world, 100_000).await;
        world.kubectl(&["scale", &deployment, "--replicas=0"])?;
        until("the operator to end", FORMS, || async {
            match world.operator_pod() {
                Ok(pod) => Err(pod),
                Err(_) => Ok(()),
            }
        })
        .await;
        let many = Self { world, size };
        many.populate().await?;
        Ok(many)
    }

    async fn populate(&self) -> anyhow::Result<()> {
        let world = &self.world;
        let names = namespaces(self.size);
        let rights = repository().join("deploy/consumer-namespace.yaml").display().to_string();
        for name in &names {
            world.kubectl(&["create", "namespace", name])?;
            world.kubectl(&["apply", "-n", name, "-f", &rights])?;
        }
        let listed = format!("--from-literal=REDB_NAMESPACES={}", names.join(","));
        world.kubectl(&["create", "configmap", "operator-environment-config", &listed])?;
        let client = world.cluster.client().await?;
        let create = |number: usize| {
            let (client, names) = (client.clone(), &names);
            async move {
                let namespace = names.get(number % names.len().max(1)).context("no namespace")?;
                let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &redb());
                let database = json!({
                    "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
                    "metadata": {"name": format!("db-{number}")},
                    "spec": {"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "100MB"},
                });
                api.create(&PostParams::default(), &serde_json::from_value(database)?).await?;
                anyhow::Ok(())
            }
        };
        futures::stream::iter((0..self.size.databases).map(create)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Follows all databases by one watch, since to list thousands of them again and again would be most of what is measured.
    async fn follow(&self) -> anyhow::Result<Store<DynamicObject>> {
        let api: Api<DynamicObject> = Api::all_with(self.world.cluster.client().await?, &redb());
        let writer = Writer::new(redb());
        let store = writer.as_reader();
        let events = watcher(api, watcher::Config::default()).default_backoff();
        // Ends with the bench.
        tokio::spawn(reflector(writer, events).for_each(|_| async {}));
        store.wait_until_ready().await?;
        Ok(store)
    }

    /// Waits until all are settled; how long it took since `start`, and how long until nothing was written any more.
    pub async fn settle(&self, start: Instant, within: Duration) -> anyhow::Result<(Duration, Duration)> {
        let store = self.follow().await?;
        let mut told = 0;
        let all = loop {
            let (count, other) = settled(&store);
            if count == self.size.databases {
                break start.elapsed();
            }
            if start.elapsed() > within {
                bail!(
                    "{count} of {} databases are settled after {within:?}; one of the others: {other:?}",
                    self.size.databases
                );
            }
            if count >= told + self.size.databases / 10 {
                told = count;
                eprintln!("{count} of {} settled after {:.0?}", self.size.databases, start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let (mut last, mut since) = (self.writes()?, Instant::now());
        while since.elapsed() < QUIET {
            if start.elapsed() > within * 2 {
                bail!("writes do not end");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.writes()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok((all, since.duration_since(start)))
    }

    fn writes(&self) -> anyhow::Result<u64> {
        let requests = self.api_requests()?;
        Ok(requests.iter().filter(|(verb, _)| !is_read(verb)).map(|(_, count)| count).sum())
    }

    /// Requests to the API server so far, by verb.
    pub fn api_requests(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let of_operators = |line: &str| RESOURCES.iter().any(|it| line.contains(&format!("resource=\"{it}\"")));
        // Watches are counted when they end; forwarded ports last as long.
        let passes = |line: &str| of_operators(line) && !line.contains("subresource=\"portforward\"");
        let mut sums = BTreeMap::new();
        for (series, value) in self.world.api_server_series("apiserver_request_total", passes)? {
            let verb = series.split("verb=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            *sums.entry(verb.to_owned()).or_insert(0) += value as u64;
        }
        Ok(sums)
    }

    /// Requests to the REST API so far, by method, as the simulated nodes count them.
    pub fn rest_requests(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut sums = BTreeMap::new();
        for pod in ["rec-0", "rec-1", "rec-2"] {
            let (status, text) = http(self.world.address(pod)?, CONTROL, "GET", "/_sim/requests", None, None)?;
            if status != 200 {
                bail!("the simulator answers {status}: {text}");
            }
            let counts: BTreeMap<String, u64> = serde_json::from_str(&text)?;
            counts.into_iter().for_each(|(method, count)| *sums.entry(method).or_insert(0) += count);
        }
        Ok(sums)
    }

    /// Starts the operator of the Deployment, and returns its process.
    pub async fn start_operator(&self) -> anyhow::Result<(Instant, u32)> {
        self.world.kubectl(&["scale", &format!("deployment/{OPERATOR}"), "--replicas=1"])?;
        let pid = until("the operator's process", FORMS, || async {
            let pod = self.world.operator_pod()?;
            self.world.cluster.container_process(NAMESPACE, &pod, OPERATOR).context("no process")
        })
        .await
        .pid;
        Ok((Instant::now(), pid))
    }
}

/// Databases that are active and have their spec sent as a whole, and one of the others as it is.
fn settled(store: &Store<DynamicObject>) -> (usize, Option<Value>) {
    let all = store.state();
    let is_settled = |redb: &Arc<DynamicObject>| {
        let status = |field: &str| redb.data.pointer(&format!("/status/{field}"));
        status("status").and_then(Value::as_str) == Some("active")
            && status("observedGeneration").and_then(Value::as_i64) == redb.metadata.generation
    };
    let other = all.iter().find(|redb| !is_settled(redb));
    let count = all.iter().filter(|redb| is_settled(redb)).count();
    (count, other.map(|redb| redb.data.get("status").cloned().unwrap_or_default()))
}

/// Whether a verb changes nothing.
pub fn is_read(verb: &str) -> bool {
    ["GET", "LIST", "WATCH", "CONNECT"].contains(&verb)
}

/// What was counted since.
pub fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = after.iter().map(|(key, count)| (key.clone(), count - before.get(key).unwrap_or(&0)));
    grown.filter(|(_, count)| *count > 0).collect()
}

/// Memory of a process: resident now, and at most so far, in MiB.
pub fn memory(pid: u32) -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the operator is gone")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 10
    };
    Ok((field("VmRSS:"), field("VmHWM:")))
}

/// Processor time that a process has used so far, its children that ended included.
pub fn processor(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the operator is gone")?;
    let (_, fields) = stat.rsplit_once(')').context("no such file")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(4).filter_map(|it| it.parse::<u64>().ok()).sum();
    // Linux shows them in hundredths of a second (`sysconf(_SC_CLK_TCK)`), whatever the kernel counts in.
    Ok(Duration::from_millis(ticks * 10))
}
