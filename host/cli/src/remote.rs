//! A cluster as the user's own kubeconfig reaches it, for the commands that ask a running operator.

pub(crate) mod kinds;
mod leader;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use stepwright_core::journal::PassRecord;
use stepwright_operator::local_api;

pub(crate) use leader::Answer;

/// Which cluster, and where its operator is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClusterArgs {
    /// A kubeconfig. Default: KUBECONFIG, or the one in the home folder.
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig. Default: its current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Default: that of the context.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// The operator's own namespace. Default: the same as the namespace.
    #[arg(long, env = "STEPWRIGHT_OPERATOR_NAMESPACE", value_name = "NAMESPACE", global = true)]
    operator_namespace: Option<String>,
    /// The Lease by which one operator leads.
    #[arg(long, env = "STEPWRIGHT_LEASE", default_value = "stepwright", global = true)]
    lease: String,
    /// The port on loopback on which the operator serves its journal.
    #[arg(long, env = "STEPWRIGHT_LOCAL_PORT", default_value_t = local_api::PORT, global = true)]
    operator_port: u16,
    /// Ask this address instead of forwarding a port: for an operator that runs as a process of this machine.
    #[arg(long, env = "STEPWRIGHT_OPERATOR_ADDRESS", value_name = "ADDRESS:PORT", global = true)]
    operator_address: Option<SocketAddr>,
}

impl ClusterArgs {
    /// What was given, if anything.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}

/// A cluster that can be asked.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) operator_namespace: String,
    lease: String,
    operator_port: u16,
    operator_address: Option<SocketAddr>,
}

impl Cluster {
    pub(crate) async fn connect(args: ClusterArgs) -> anyhow::Result<Self> {
        let ClusterArgs { kubeconfig, context, namespace, operator_namespace, lease, operator_port, operator_address } =
            args;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Some(file) => {
                let read =
                    Kubeconfig::read_from(&file).with_context(|| format!("failed to read {}", file.display()))?;
                Config::from_custom_kubeconfig(read, &options).await?
            }
            None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => {
                Config::infer().await.context("failed to find a cluster: no kubeconfig and no in-cluster account")?
            }
        };
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let operator_namespace = operator_namespace.unwrap_or_else(|| namespace.clone());
        let client = Client::try_from(config).context("failed to set up the client of the API server")?;
        Ok(Self { client, namespace, operator_namespace, lease, operator_port, operator_address })
    }

    /// Asks the leading operator for a path of its local API. The body comes as it is read.
    async fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        let answer = match self.operator_address {
            Some(address) => leader::at(address, path).await?,
            None => {
                let pod = leader::pod(&self.client, &self.operator_namespace, &self.lease).await?;
                return self.ask_pod(&pod, path).await;
            }
        };
        Self::good(answer, path).await
    }

    async fn ask_pod(&self, pod: &str, path: &str) -> anyhow::Result<Answer> {
        let answer = leader::through(&self.client, &self.operator_namespace, pod, self.operator_port, path).await?;
        Self::good(answer, path).await
    }

    /// Asks the leading operator, and every process that runs some steps alone. One of those that cannot be asked is told of
    /// on standard error, and left out. Each answer comes with the steps that its process runs alone; the operator's with none,
    /// and first.
    pub(crate) async fn ask_all(&self, path: &str) -> anyhow::Result<Vec<(Vec<String>, Answer)>> {
        let mut answers = vec![(Vec::new(), self.ask(path).await?)];
        if self.operator_address.is_some() {
            return Ok(answers);
        }
        for lone in leader::lone(&self.client, &self.operator_namespace, &self.lease).await {
            let asked = match lone.holder {
                Ok(pod) => self.ask_pod(&pod, path).await,
                Err(why) => Err(anyhow::anyhow!(why)),
            };
            match asked {
                Ok(answer) => answers.push((lone.steps, answer)),
                Err(error) => {
                    eprintln!("The process that runs {} could not be asked.\n  {error:#}", lone.steps.join(", "))
                }
            }
        }
        Ok(answers)
    }

    /// An answer that is what was asked for.
    async fn good(answer: Answer, path: &str) -> anyhow::Result<Answer> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let text = answer.text().await?;
        let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        match told.get("message").and_then(serde_json::Value::as_str) {
            Some(message) => bail!("the operator says: {message}"),
            None => bail!("the operator answers {path} with {status}: it may be of another version than this command"),
        }
    }

    /// The same, as JSON of a known shape.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<(Vec<String>, T)>> {
        let mut all = Vec::new();
        for (steps, answer) in self.ask_all(path).await? {
            let read = serde_json::from_str(&answer.text().await?).with_context(|| {
                format!("the operator's answer to {path} has another shape than this version reads")
            })?;
            all.push((steps, read));
        }
        Ok(all)
    }

    /// The newest recorded passes of all processes, the newest first.
    pub(crate) async fn passes(&self, path: &str, limit: usize) -> anyhow::Result<Vec<Arc<PassRecord>>> {
        let all: Vec<(_, Vec<Arc<PassRecord>>)> = self.read_all(path).await?;
        let mut passes: Vec<Arc<PassRecord>> = all.into_iter().flat_map(|(_, passes)| passes).collect();
        // Stable: passes of one process are in order already, also those of one moment.
        passes.sort_by(|a, b| b.started.cmp(&a.started));
        passes.truncate(limit);
        Ok(passes)
    }
}

/// Runs a command that waits for others.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// `?a=b&c=d` of what is given, escaped.
pub(crate) fn query(parts: &[(&str, Option<&str>)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (key, value) in parts {
        if let Some(value) = value {
            text.append_pair(key, value);
        }
    }
    let text = text.finish();
    if text.is_empty() { text } else { format!("?{text}") }
}
