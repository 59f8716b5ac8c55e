//! Alerts of databases, nodes and the cluster (REST reference, 4.5 and 6.7): what is set, and what is so just now.
//!
//! Computed when somebody asks, from what is measured: there is no history, and `change_time` is that of the cause. Alerts
//! about things that do not exist here (CPU, flash, Active-Active) are listed and never on.

use serde_json::{Value, json};

use super::{Ask, Reply, reply, uid, unknown};
use crate::{
    clock::{self, Millis, iso},
    faults::Kind,
    state::{Bdb, Command, NodeRecord, NodeStatus, Object, Refusal, ShardRole, bdbs::BdbCommand},
};

/// An action that lasts longer is a long one. The product does not tell its limit; this one is scaled like all durations.
const LONG_MS: u64 = 300_000;
const DAY_MS: u64 = 86_400_000;

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    let one = |all: Object, name: &str| {
        let alert = all.get(name).cloned();
        alert.map(Reply::json).ok_or_else(|| Refusal::not_found("alert_not_found", format!("there is no alert {name}")))
    };
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "bdbs", "alerts"]) => {
            let all = state.bdbs.values().map(|bdb| (bdb.uid.to_string(), Value::Object(of_bdb(ask, bdb))));
            Ok(Reply::json(Value::Object(all.collect())))
        }
        ("GET", ["v1", "bdbs", "alerts", id]) => Ok(Reply::json(Value::Object(of_bdb(ask, state.bdb(uid(id)?)?)))),
        ("GET", ["v1", "bdbs", "alerts", id, name]) => one(of_bdb(ask, state.bdb(uid(id)?)?), name),
        ("POST", ["v1", "bdbs", "alerts", id]) => {
            ask.change(Command::Bdb(BdbCommand::Alerts { uid: uid(id)?, alerts: ask.call.object()? })).await.map(reply)
        }
        ("GET", ["v1", "nodes", "alerts"]) => {
            let all = state.nodes.values().map(|node| (node.uid.to_string(), Value::Object(of_node(ask, node))));
            Ok(Reply::json(Value::Object(all.collect())))
        }
        ("GET", ["v1", "nodes", "alerts", id]) => Ok(Reply::json(Value::Object(of_node(ask, state.node(uid(id)?)?)))),
        ("GET", ["v1", "nodes", "alerts", id, name]) => one(of_node(ask, state.node(uid(id)?)?), name),
        ("GET", ["v1", "cluster", "alerts"]) => Ok(Reply::json(Value::Object(of_cluster(ask)))),
        ("GET", ["v1", "cluster", "alerts", name]) => one(of_cluster(ask), name),
        _ => Err(unknown(ask.call)),
    }
}

fn of_bdb(ask: &Ask<'_>, bdb: &Bdb) -> Object {
    let mut alerts = bdb.alerts.clone();
    let limit = ask.node.context().due(LONG_MS).saturating_sub(ask.node.context().now);
    let now = clock::now();
    let running = ask.state.actions.iter().filter(|one| one.ended.is_none());
    let oldest = running.filter(|one| one.object == format!("bdb:{}", bdb.uid)).map(|one| one.created).min();
    let long = oldest.filter(|began| began + limit < now);
    turn_on(&mut alerts, "bdb_long_running_action", long);

    let reports = ask.node.observed();
    let used: u64 = bdb
        .shards
        .iter()
        .filter(|shard| shard.role == ShardRole::Master)
        .filter_map(|shard| reports.get(&shard.node)?.1.shards.get(&shard.uid))
        .map(|report| report.used_memory)
        .sum();
    let room = bdb.shard_memory() * u64::from(bdb.groups());
    let percent = alerts.get("bdb_size").and_then(|one| one.get("threshold")?.as_str()?.parse::<u64>().ok());
    let full = percent.is_some_and(|percent| room > 0 && used * 100 > room * percent);
    turn_on(&mut alerts, "bdb_size", full.then_some(bdb.changed));
    alerts.own()
}

/// Says that an alert is on, if it is enabled.
fn turn_on(alerts: &mut Object, name: &str, since: Option<Millis>) {
    let Some(alert) = alerts.get_mut(name).and_then(Value::as_object_mut) else { return };
    let enabled = alert.get("enabled").and_then(Value::as_bool).unwrap_or(false);
    if let Some(since) = since.filter(|_| enabled) {
        alert.extend([
            ("state".to_owned(), json!(true)),
            ("severity".to_owned(), json!("WARNING")),
            ("change_time".to_owned(), json!(iso(since))),
        ]);
    }
}

fn of_node(ask: &Ask<'_>, node: &NodeRecord) -> Object {
    settings(ask, "node_", |name, _| match name {
        "node_failed" if node.status == NodeStatus::Down => Some(node.down_since.unwrap_or_default()),
        _ => None,
    })
}

fn of_cluster(ask: &Ask<'_>) -> Object {
    let (state, now) = (ask.state, clock::now());
    let forced = ask.node.faults.stands(&Kind::LicenseExpired);
    let down: Vec<Millis> =
        state.nodes.values().filter(|node| !node.is_up()).filter_map(|node| node.down_since).collect();
    let versions = || state.nodes.values().map(|node| &node.software_version);
    settings(ask, "cluster_", |name, threshold| {
        let so = match name {
            "cluster_multiple_nodes_down" => down.len() > 1,
            "cluster_even_node_count" => state.nodes.len().is_multiple_of(2),
            "cluster_too_few_nodes_for_replication" => state.nodes.len() < 2,
            "cluster_inconsistent_rl_sw" => versions().any(|one| Some(one) != versions().next()),
            "cluster_license_about_to_expire" => forced || state.license.expires < now + threshold * DAY_MS,
            _ => false,
        };
        so.then(|| down.iter().copied().max().unwrap_or(state.created))
    })
}

/// The alerts whose names begin so, as the cluster's settings have them; `since` says of each since when it is on.
fn settings(ask: &Ask<'_>, prefix: &str, since: impl Fn(&str, u64) -> Option<Millis>) -> Object {
    let all = ask.state.settings.get("alert_settings").and_then(Value::as_object);
    let ours = all.into_iter().flatten().filter(|(name, _)| name.starts_with(prefix));
    ours.map(|(name, setting)| {
        let enabled = setting.get("enabled").unwrap_or(setting).as_bool().unwrap_or(false);
        let threshold = setting.get("threshold").and_then(Value::as_str).unwrap_or_default();
        let since = since(name, threshold.parse().unwrap_or(0)).filter(|_| enabled);
        let severity = match name.as_str() {
            _ if since.is_none() => "INFO",
            "node_failed" | "cluster_multiple_nodes_down" => "CRITICAL",
            _ => "WARNING",
        };
        let alert = json!({
            "enabled": enabled, "state": since.is_some(), "severity": severity, "threshold": threshold,
            "change_time": since.map(iso).unwrap_or_default(), "change_value": {},
        });
        (name.clone(), alert)
    })
    .collect()
}
