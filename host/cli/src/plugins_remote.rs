//! `stepwright plugins list | show | diff | promote | rollback | history`: plugins of a running operator, with the user's own
//! rights.

mod decide;
mod differ;
mod seen;

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use serde::Deserialize;

use crate::print;
use crate::remote::{Cluster, ClusterArgs, block_on};
use crate::table::table;
use seen::{Seen, look};

/// Where the host keeps the last swaps, a line of JSON each.
const HISTORY: &str = "stepwright-history";

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// List the plugins of the running operator.
    List {
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one plugin: manifest, account, how it fared, its rehearsal.
    Show {
        /// The name of its ConfigMap, or of the plugin.
        name: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show what a plugin would change: what its rehearsal found, and where its plans differ as a shadow.
    Diff {
        /// The name of its ConfigMap, or of the plugin.
        name: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Let a shadow or a canary answer for every primary.
    Promote(DecideArgs),
    /// Use a version no more; what answered before it answers again.
    Rollback(DecideArgs),
    /// List the last swaps.
    History {
        /// Only those of this step.
        step: Option<String>,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct DecideArgs {
    /// The name of its ConfigMap.
    name: String,
    /// Why, for whoever looks later.
    #[arg(long)]
    reason: Option<String>,
    /// How long to wait until the operator did it, in seconds. 0: do not wait.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(crate) fn run(command: RemoteCommand) -> anyhow::Result<()> {
    block_on(async {
        match command {
            RemoteCommand::List { cluster } => list(&Cluster::connect(cluster).await?).await,
            RemoteCommand::Show { name, cluster } => show(&Cluster::connect(cluster).await?, &name).await,
            RemoteCommand::Diff { name, cluster } => differ::diff(&Cluster::connect(cluster).await?, &name).await,
            RemoteCommand::Promote(args) => decide(args, decide::Decision::Promote).await,
            RemoteCommand::Rollback(args) => decide(args, decide::Decision::RollBack).await,
            RemoteCommand::History { step, cluster } => {
                history(&Cluster::connect(cluster).await?, step.as_deref()).await
            }
        }
    })
}

async fn decide(args: DecideArgs, decision: decide::Decision) -> anyhow::Result<()> {
    let DecideArgs { name, reason, timeout, cluster } = args;
    let cluster = Cluster::connect(cluster).await?;
    let patience = (timeout > 0).then(|| Duration::from_secs(timeout));
    decide::decide(&cluster, &name, decision, reason.as_deref(), patience).await
}

async fn list(cluster: &Cluster) -> anyhow::Result<()> {
    let (all, operator) = look(cluster).await?;
    if let Err(error) = operator {
        eprintln!(
            "The operator could not be asked; this is what it wrote on the ConfigMaps, without what is embedded.\n  {error:#}\n"
        );
    }
    if all.is_empty() {
        print(&format!("no plugins in namespace {}", cluster.operator_namespace));
        return Ok(());
    }
    let row = |it: &Seen| {
        let digest = it.digest.get(..12).unwrap_or(&it.digest).to_owned();
        let name = it.config_map.clone().unwrap_or_else(|| it.name.clone());
        let age = it.since.as_deref().map(age).unwrap_or_default();
        let passes = it.passes().map(|it| it.to_string()).unwrap_or_default();
        [name, it.steps.join(","), it.mode.clone(), it.state.clone(), digest, it.source.clone(), passes, age]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    print(&table(["NAME", "STEPS", "MODE", "STATE", "DIGEST", "SOURCE", "PASSES", "AGE"], &rows));
    let told = |it: &&Seen| matches!(it.state.as_str(), "refused" | "waiting" | "rolled-back");
    for it in all.iter().filter(told) {
        let name = it.config_map.as_ref().unwrap_or(&it.name);
        print(&format!("\n{name} is {}: {}", it.state, it.reason.as_deref().unwrap_or("no reason was given")));
    }
    Ok(())
}

async fn show(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let (all, operator) = look(cluster).await?;
    let found: Vec<&Seen> = all.iter().filter(|it| it.is_called(name)).collect();
    if found.is_empty() {
        operator.context("the operator could not be asked, and no ConfigMap has that name")?;
        bail!("there is no plugin `{name}`; `stepwright plugins list` shows those that there are");
    }
    if let Err(error) = operator {
        eprintln!("The operator could not be asked; this is what it wrote on the ConfigMap.\n  {error:#}\n");
    }
    let texts = found.iter().map(|it| serde_yaml_ng::to_string(&it.all)).collect::<Result<Vec<_>, _>>()?;
    print(&texts.join("---\n"));
    Ok(())
}

/// As the host writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Swap {
    time: String,
    #[serde(default)]
    steps: Vec<String>,
    #[serde(default)]
    plugin: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    what: String,
    #[serde(default)]
    reason: String,
}

async fn history(cluster: &Cluster, step: Option<&str>) -> anyhow::Result<()> {
    let namespace = &cluster.operator_namespace;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let found = maps.get_opt(HISTORY).await.with_context(|| {
        format!("failed to read ConfigMap {namespace}/{HISTORY}; that needs the right `get configmaps` in namespace {namespace}")
    })?;
    let Some(map) = found else {
        bail!(
            "there is no ConfigMap {namespace}/{HISTORY}: nothing was swapped yet, or the operator is in another namespace"
        )
    };
    let texts: Vec<String> = map.data.unwrap_or_default().into_values().collect();
    let swaps = texts.iter().flat_map(|text| text.lines()).filter_map(|line| serde_json::from_str::<Swap>(line).ok());
    // Each process has a key of its own, in which they are in order.
    let mut swaps: Vec<Swap> = swaps.collect();
    swaps.sort_by(|a, b| a.time.cmp(&b.time));
    let short = |digest: Option<String>| digest.map(|it| it.chars().take(12).collect()).unwrap_or_default();
    let rows: Vec<[String; 8]> = swaps
        .into_iter()
        .filter(|swap| step.is_none_or(|step| swap.steps.iter().any(|it| it == step)))
        .map(|swap| {
            let Swap { time, steps, plugin, from, to, source, what, reason } = swap;
            [time, steps.join(","), what, plugin, short(from), short(to), source, reason]
        })
        .collect();
    if rows.is_empty() {
        bail!("no swap{} is recorded", step.map(|it| format!(" of step {it}")).unwrap_or_default());
    }
    print(&table(["TIME", "STEPS", "WHAT", "PLUGIN", "FROM", "TO", "SOURCE", "REASON"], &rows));
    Ok(())
}

/// `45s`, `12m`, `3h`, `9d` since a time; empty if it cannot be read.
fn age(since: &str) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return String::new() };
    let seconds = (Timestamp::now().as_second() - since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
