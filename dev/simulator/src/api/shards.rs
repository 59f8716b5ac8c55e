//! Shards and actions (REST reference, 7 and 8).

use serde_json::{Value, json};

use super::{Ask, Reply, reply, uid, unknown};
use crate::{
    clock::{self, iso},
    peers::ShardReport,
    state::{
        ActionKind, Bdb, Command, NodeRecord, Refusal, Shard, ShardRole, bdbs::BdbCommand, migration::MigrationCommand,
    },
};

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "shards"]) => Ok(Reply::json(ask.fields(list(ask, None)))),
        ("GET", ["v1", "shards", id]) => {
            let all = list(ask, None);
            let found =
                all.as_array().into_iter().flatten().find(|shard| shard.get("uid").and_then(Value::as_str) == Some(id));
            let found = found
                .cloned()
                .ok_or_else(|| Refusal::not_found("shard_not_exist", format!("shard {id} does not exist")))?;
            Ok(Reply::json(ask.fields(found)))
        }
        ("POST", ["v1", "shards", id, "actions", "failover"]) => failover(ask, vec![uid(id)?]).await,
        ("POST", ["v1", "shards", "actions", "failover"]) => failover(ask, shard_uids(ask)?).await,
        ("POST", ["v1", "shards", id, "actions", "migrate"]) => migrate(ask, vec![uid(id)?]).await,
        ("POST", ["v1", "shards", "actions", "migrate"]) => migrate(ask, shard_uids(ask)?).await,
        _ => Err(unknown(ask.call)),
    }
}

/// `shard_uids` of a body: strings.
fn shard_uids(ask: &Ask<'_>) -> Result<Vec<u32>, Refusal> {
    let body = ask.call.object()?;
    let uids = body.get("shard_uids").and_then(Value::as_array);
    let uids: Vec<u32> = uids.into_iter().flatten().filter_map(|uid| uid.as_str()?.parse().ok()).collect();
    if uids.is_empty() { Err(Refusal::new(400, "shard_uids_required", "shard_uids is missing")) } else { Ok(uids) }
}

async fn migrate(ask: &Ask<'_>, shards: Vec<u32>) -> Result<Reply, Refusal> {
    let mut body = ask.call.object()?;
    let target = body.get("target_node_uid").and_then(Value::as_u64).and_then(|uid| u32::try_from(uid).ok());
    let target = target.ok_or_else(|| Refusal::bad_request("target_node_uid is missing or no number"))?;
    let flag = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
    let (override_rack, preserve_roles) = (flag("override_rack_policy"), flag("preserve_roles"));
    let command = Command::Migration(MigrationCommand::Begin { shards, target, override_rack, preserve_roles });
    // Here the body asks for a rehearsal, elsewhere the query does.
    if body.remove("dry_run") == Some(Value::Bool(true)) {
        return ask.state.clone().apply(command, &ask.node.context()).map(reply);
    }
    ask.change(command).await.map(reply)
}

async fn failover(ask: &Ask<'_>, shards: Vec<u32>) -> Result<Reply, Refusal> {
    let bdbs =
        shards.iter().map(|shard| ask.state.bdb_of_shard(*shard).map(|bdb| bdb.uid)).collect::<Result<Vec<_>, _>>()?;
    if bdbs.windows(2).any(|pair| matches!(pair, [one, other] if one != other)) {
        return Err(Refusal::new(400, "failover_shards_different_bdb", "the shards belong to different databases"));
    }
    let mut last = Value::Null;
    for shard in shards {
        last = ask.change(Command::Bdb(BdbCommand::Failover { shard, track: true })).await?;
    }
    Ok(reply(last))
}

/// Shards, of one database or of all; what they are doing is what their nodes report.
pub(super) fn list(ask: &Ask<'_>, bdb: Option<u32>) -> Value {
    let reports = ask.node.observed();
    let bdbs = ask.state.bdbs.values().filter(|one| bdb.is_none_or(|uid| uid == one.uid));
    let shards = bdbs.flat_map(|bdb| bdb.shards.iter().map(move |shard| (bdb, shard)));
    shards
        .map(|(bdb, shard)| {
            let up = ask.state.nodes.get(&shard.node).is_some_and(NodeRecord::is_up);
            let report = reports.get(&shard.node).filter(|_| up).and_then(|(_, report)| report.shards.get(&shard.uid));
            view(bdb, shard, report)
        })
        .collect()
}

fn view(bdb: &Bdb, shard: &Shard, report: Option<&ShardReport>) -> Value {
    let (status, detailed) = match report {
        Some(report) if report.running && report.trimming => ("trimming", "trimming"),
        Some(report) if report.running && bdb.parent_group(shard).is_some() => ("inactive", "importing"),
        Some(report) if report.running => ("active", "ok"),
        _ => ("inactive", "down"),
    };
    let mut view = json!({
        "uid": shard.uid.to_string(), "bdb_uid": bdb.uid, "node_uid": shard.node.to_string(), "role": shard.role,
        "status": status, "detailed_status": detailed,
        "assigned_slots": format!("{}-{}", shard.slots.0, shard.slots.1), "loading": {"status": "idle"},
        "redis_info": {
            "used_memory": report.map_or(0, |report| report.used_memory), "keys": report.map_or(0, |report| report.keys),
            "maxmemory": bdb.shard_limit(), "connected_clients": report.map_or(0, |report| report.clients),
        },
        "backup": {}, "report_timestamp": iso(clock::now()),
    });
    if let (Some(view), ShardRole::Slave) = (view.as_object_mut(), shard.role) {
        let link = match report {
            // In sync is what the cluster has taken note of: by that it chooses who may be a master.
            Some(report) if report.link_up && shard.synced => "idle",
            Some(report) if report.running => "in_progress",
            _ => "link_down",
        };
        view.insert("sync".to_owned(), json!({"status": link, "progress": 0}));
    }
    view
}

/// `/v1/actions` and `/v2/actions`.
pub(super) fn actions(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let all = &ask.state.actions;
    let missing = |id: &str| Refusal::not_found("action_not_found", format!("action {id} does not exist"));
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "actions"]) => {
            let of = |kind: ActionKind| {
                all.iter().filter(move |action| action.kind == kind).map(|action| action.v1()).collect::<Value>()
            };
            Ok(Reply::json(json!({"actions": of(ActionKind::Task), "state-machines": of(ActionKind::StateMachine)})))
        }
        ("GET", ["v1", "actions", "bdb", id]) => {
            let object = format!("bdb:{id}");
            Ok(Reply::json(all.iter().filter(|action| action.object == object).map(|action| action.v1()).collect()))
        }
        ("GET", ["v1", "actions", id]) => all
            .iter()
            .find(|action| action.uid == *id)
            .map(|action| Reply::json(action.v1()))
            .ok_or_else(|| missing(id)),
        ("GET", ["v2", "actions"]) => Ok(Reply::json(all.iter().map(|action| action.v2()).collect())),
        ("GET", ["v2", "actions", id]) => all
            .iter()
            .find(|action| action.uid == *id)
            .map(|action| Reply::json(action.v2()))
            .ok_or_else(|| missing(id)),
        _ => Err(unknown(ask.call)),
    }
}
