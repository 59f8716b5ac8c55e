//! `stepwright explain`: what the last passes over an object saw, planned and did; or who decided one of its fields.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};
use stepwright_core::explain::{self, Decision, Manager};
use stepwright_core::field_path::FieldPath;
use stepwright_core::journal::PassRecord;
use stepwright_core::object::ObjectRef;

use crate::print;
use crate::remote::kinds::{Kinds, Served, kind_and_name};
use crate::remote::{Cluster, ClusterArgs, block_on, query};

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The object that is reconciled: KIND/NAME, the kind as kubectl takes it.
    object: String,
    /// How many passes, the newest first.
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// Say who decided this field instead: `spec.replicas`, `spec.ports[0].port`, `metadata.labels[example.com/team]`.
    #[arg(long, value_name = "PATH")]
    field: Option<String>,
    /// The object that has the field: KIND/NAME. Default: every object of the plans that has it.
    #[arg(long, value_name = "KIND/NAME", requires = "field")]
    of: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

pub(crate) fn run(args: ExplainArgs) -> anyhow::Result<()> {
    block_on(explain(args))
}

async fn explain(args: ExplainArgs) -> anyhow::Result<()> {
    let ExplainArgs { object, passes, field, of, output, cluster } = args;
    // What was typed is read before anything is asked.
    let (kind, name) = kind_and_name(&object)?;
    let of = of.as_deref().map(kind_and_name).transpose()?;
    let field = field.as_deref().map(FieldPath::parse).transpose()?;
    let cluster = Cluster::connect(cluster).await?;
    let kinds = Kinds::discover(&cluster.client).await?;
    let kind = kinds.resolve(kind)?;
    let of = of
        .map(|(kind, name)| Ok::<_, anyhow::Error>((kinds.resolve(kind)?.resource.kind.clone(), name)))
        .transpose()?;

    let namespace = kind.namespaced.then_some(cluster.namespace.as_str());
    // A field may have been decided long before the newest passes.
    let most = if field.is_some() { usize::MAX } else { passes };
    let limit = most.to_string();
    let wanted = [
        ("kind", Some(kind.resource.kind.as_str())),
        ("namespace", namespace),
        ("name", Some(name)),
        ("limit", Some(limit.as_str())),
    ];
    let records = cluster.passes(&format!("/v1/passes{}", query(&wanted)), most).await?;
    let primary = ObjectRef {
        api_version: kind.resource.api_version.clone(),
        kind: kind.resource.kind.clone(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    if records.is_empty() {
        bail!("{}", unknown(&cluster, kind, &primary).await);
    }
    match field {
        None => passes_of(&primary, &records, output),
        Some(field) => {
            let of = of.as_ref().map(|(kind, name)| (kind.as_str(), *name));
            field_of(&cluster, &kinds, &primary, &records, of, &field, output).await
        }
    }
}

fn passes_of(primary: &ObjectRef, records: &[Arc<PassRecord>], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        print(&serde_json::to_string_pretty(records)?);
        return Ok(());
    }
    let texts: Vec<String> = records.iter().map(|it| explain::pass(it)).collect();
    print(&format!("{primary}\n\n{}", texts.join("\n")));
    Ok(())
}

/// Why there is no record.
async fn unknown(cluster: &Cluster, kind: &Served, primary: &ObjectRef) -> String {
    match api(cluster, kind, primary.namespace.as_deref()).get_opt(&primary.name).await {
        Ok(None) => format!("there is no {primary}, and no pass over one is recorded"),
        Ok(Some(_)) => format!(
            "no pass over {primary} is recorded. The operator in namespace {} may not watch it, may have no pipeline for {}, or \
             may have had no pass over it since it began to lead",
            cluster.operator_namespace, primary.kind
        ),
        Err(error) => format!("no pass over {primary} is recorded, and it could not be read: {error}"),
    }
}

fn api(cluster: &Cluster, kind: &Served, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace.filter(|_| kind.namespaced) {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &kind.resource),
        None => Api::all_with(cluster.client.clone(), &kind.resource),
    }
}

async fn field_of(
    cluster: &Cluster,
    kinds: &Kinds,
    primary: &ObjectRef,
    records: &[Arc<PassRecord>],
    of: Option<(&str, &str)>,
    field: &FieldPath,
    output: Output,
) -> anyhow::Result<()> {
    let decisions = explain::decided(records, primary, of, field);
    if decisions.is_empty() {
        return undecided(cluster, kinds, primary, records.len(), of, field).await;
    }
    let mut texts = Vec::new();
    let mut values = Vec::new();
    for decision in &decisions {
        let live = live(cluster, kinds, primary, &decision.kind, &decision.name).await;
        let managers = live.as_ref().map(|it| explain::managers(it, field)).unwrap_or_default();
        match output {
            Output::Json => values.push(as_json(decision, &managers)),
            Output::Text => {
                let live = live.map(|live| live_text(&live, &decision.kind, field, &managers));
                texts.push(format!(
                    "{decision}{}",
                    live.unwrap_or_else(|| "\n  live         could not be read".to_owned())
                ));
            }
        }
    }
    match output {
        Output::Json => print(&serde_json::to_string_pretty(&values)?),
        Output::Text => print(&texts.join("\n\n")),
    }
    Ok(())
}

async fn live(cluster: &Cluster, kinds: &Kinds, primary: &ObjectRef, kind: &str, name: &str) -> Option<Value> {
    let kind = kinds.resolve(kind).ok()?;
    let live = api(cluster, kind, primary.namespace.as_deref()).get(name).await.ok()?;
    serde_json::to_value(live).ok()
}

/// What the API server has, and who it says set it; for whoever does not believe the records.
fn live_text(live: &Value, kind: &str, field: &FieldPath, managers: &[Manager]) -> String {
    // Whoever may read a Secret may do so with kubectl; here its values have no place.
    let value = match field.find(live) {
        _ if kind == "Secret" => "not shown of a Secret".to_owned(),
        Some(value) => value.to_string(),
        None => "not there".to_owned(),
    };
    let mut text = format!("\n  live        {value}");
    for it in managers {
        text.push_str(&format!("\n  managed by  {} ({}) since {}", it.name, it.operation, it.time));
    }
    text
}

fn as_json(decision: &Decision, managers: &[Manager]) -> Value {
    json!({
        "object": format!("{}/{}", decision.kind, decision.name),
        "field": decision.field.to_string(),
        "value": decision.value,
        "step": decision.step,
        "plugin": decision.plugin,
        "role": decision.role,
        "policy": decision.policy.as_ref().map(|(plugin, before)| json!({"plugin": plugin, "before": before})),
        "pass": decision.pass.0,
        "time": decision.pass.1,
        "since": {"pass": decision.since.0, "time": decision.since.1},
        "before": decision.before,
        "effect": decision.effect,
        "managers": managers.iter().map(|it| json!({"name": it.name, "operation": it.operation, "time": it.time})).collect::<Vec<_>>(),
    })
}

/// No plan has the field: then the API server is the only one who can tell.
async fn undecided(
    cluster: &Cluster,
    kinds: &Kinds,
    primary: &ObjectRef,
    passes: usize,
    of: Option<(&str, &str)>,
    field: &FieldPath,
) -> anyhow::Result<()> {
    let (kind, name) = of.unwrap_or((&primary.kind, &primary.name));
    let none = format!("no step decided {field} of {kind}/{name} in the {passes} recorded passes");
    let served = kinds.resolve(kind)?;
    let live = api(cluster, served, primary.namespace.as_deref()).get_opt(name).await;
    let live = live.with_context(|| format!("{none}, and the object could not be read"))?;
    let Some(live) = live else { bail!("{none}, and there is no such object") };
    let shown = live.name_any();
    let live = serde_json::to_value(live)?;
    let managers = explain::managers(&live, field);
    if managers.is_empty() {
        bail!("{none}, and nobody has set it on {kind}/{shown}");
    }
    print(&format!("{none}; as the API server has it:{}", live_text(&live, kind, field, &managers)));
    Ok(())
}
