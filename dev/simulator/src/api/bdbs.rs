//! Databases (REST reference, 6).

use serde_json::{Value, json};

use super::{Ask, Reply, reply, uid, unknown};
use crate::{
    clock,
    faults::Kind,
    peers::SyncReport,
    state::{
        Bdb, BdbStatus, Command, NodeRecord, Object, Refusal, ShardRole,
        bdbs::{BdbCommand, PasswordChange},
        crdb::check_crdt_change,
        refusal::Shape,
        transfer::{TransferKind, places_in},
    },
};

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "bdb_groups"]) => Ok(Reply::json(json!([]))),
        ("GET", ["v1", "bdbs"]) => {
            let brief = ask.call.query.get("fields").is_some_and(|fields| fields.split(',').all(is_stored));
            let view = |bdb| if brief { stored(bdb) } else { shown(ask, bdb) };
            Ok(Reply::json(ask.fields(state.bdbs.values().map(view).collect())))
        }
        ("POST", ["v1", "bdbs"]) => create(ask, ask.call.object()?).await,
        ("POST", ["v2", "bdbs"]) => match ask.call.object()?.remove("bdb") {
            Some(Value::Object(body)) => create(ask, body).await,
            _ => Err(Refusal::bad_request("bdb is missing")),
        },
        (_, ["v1", "bdbs", id, rest @ ..]) => one(ask, uid(id)?, rest).await,
        _ => Err(unknown(ask.call)),
    }
}

async fn one(ask: &Ask<'_>, id: u32, rest: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    let bdb = state.bdb(id)?;
    match (ask.call.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::json(ask.fields(shown(ask, bdb)))),
        ("PUT", []) => update(ask, id, ask.call.object()?, false).await,
        ("PUT", ["flush"]) => update(ask, id, ask.call.object()?, true).await,
        ("PUT", ["reset_admin_pass"]) => {
            let mut body = ask.call.object()?;
            body.insert("authentication_admin_pass".to_owned(), json!(bdb.internal_password(state).get(..20)));
            update(ask, id, body, false).await
        }
        ("DELETE", []) if state.crdb_of(id).is_some() => Err(not_on_crdt("delete it with DELETE /v1/crdbs/{guid}")),
        ("DELETE", []) => ask.change(Command::Bdb(BdbCommand::Delete { uid: id })).await.map(reply),
        ("GET", ["shards"]) => Ok(Reply::json(ask.fields(super::shards::list(ask, Some(id))))),
        ("PUT" | "POST" | "DELETE", ["passwords"]) => {
            let body = ask.call.object()?;
            let password = body.get("password").and_then(Value::as_str).unwrap_or_default().to_owned();
            if password.is_empty() {
                return Err(Refusal::bad_request("password is missing"));
            }
            let change = match ask.call.method.as_str() {
                "PUT" => PasswordChange::Replace(password),
                "POST" => PasswordChange::Add(password),
                _ => PasswordChange::Remove(password),
            };
            ask.change(Command::Bdb(BdbCommand::Passwords { uid: id, change })).await.map(reply)
        }
        ("POST", ["upgrade"]) => {
            ask.change(Command::Bdb(BdbCommand::Upgrade { uid: id, body: ask.call.object()? })).await.map(reply)
        }
        ("POST", ["actions", word @ ("stop_traffic" | "resume_traffic")]) => {
            ask.change(Command::Bdb(BdbCommand::Traffic { uid: id, stopped: *word == "stop_traffic" })).await.map(reply)
        }
        ("POST", ["actions", word @ ("export" | "import")]) => {
            let kind = if *word == "import" { TransferKind::Import } else { TransferKind::Export };
            if kind == TransferKind::Import && state.crdb_of(id).is_some() {
                return Err(not_on_crdt("what is imported would not reach the other clusters"));
            }
            let places = places_in(kind, &ask.call.object()?)?;
            ask.change(Command::Bdb(BdbCommand::Transfer { uid: id, kind, places })).await.map(reply)
        }
        ("PUT", ["actions", word @ ("export_reset_status" | "import_reset_status" | "backup_reset_status")]) => {
            let kind = match *word {
                "export_reset_status" => TransferKind::Export,
                "import_reset_status" => TransferKind::Import,
                _ => TransferKind::Backup,
            };
            ask.change(Command::Bdb(BdbCommand::TransferReset { uid: id, kind })).await.map(reply)
        }
        ("GET", ["actions", "recover"]) => Ok(Reply::json(recovery_plan(ask, id)?)),
        ("POST", ["actions", "recover"]) => {
            let body = ask.call.object()?;
            let without_data = body.get("recover_without_data").and_then(Value::as_bool).unwrap_or(false);
            let with_files = files(ask, id).into_iter().map(|(shard, _)| shard).collect();
            ask.change(Command::Bdb(BdbCommand::Recover { uid: id, with_files, without_data })).await.map(reply)
        }
        ("PUT", ["actions", "revamp"]) => update(ask, id, ask.call.object()?, false).await,
        ("PUT", ["actions", "rebalance"]) => Ok(Reply::json(json!({"action_uid": bdb.action}))),
        ("GET", ["peer_stats"]) if state.crdb_of(id).is_none() => {
            Err(Refusal::new(406, "not_supported", "the database is not Active-Active"))
        }
        _ => Err(unknown(ask.call)),
    }
}

/// Fields that are shown as they were given: whoever asks for no others is answered at once, however many databases there are.
fn is_stored(field: &str) -> bool {
    ["uid", "name", "memory_size", "shards_count", "replication", "bigstore"].contains(&field)
}

fn stored(bdb: &Bdb) -> Value {
    let mut fields: Object =
        bdb.config.iter().filter(|(key, _)| is_stored(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    fields.insert("uid".to_owned(), json!(bdb.uid));
    Value::Object(fields)
}

/// The object with what nodes tell of its sources.
fn shown(ask: &Ask<'_>, bdb: &Bdb) -> Value {
    let mut view = bdb.view(ask.state);
    show_instances(ask, bdb, &mut view);
    let Some(sources) = view.get_mut("replica_sources").and_then(Value::as_array_mut).filter(|list| !list.is_empty())
    else {
        return view;
    };
    let reports = ask.node.observed();
    for (index, source) in sources.iter_mut().enumerate() {
        let links = reports.values().flat_map(|(_, report)| &report.syncs);
        let links: Vec<_> = links.filter(|(id, _)| (id.0, id.1) == (bdb.uid, index)).map(|(_, link)| link).collect();
        // A source is as far as the last of its shards.
        let status = ["out-of-sync", "syncing", "in-sync"]
            .into_iter()
            .find(|word| links.iter().any(|link| link.status == *word))
            .unwrap_or("out-of-sync");
        let text =
            |of: fn(&SyncReport) -> &String| links.iter().map(|link| of(link)).max().cloned().unwrap_or_default();
        let sum = |of: fn(&SyncReport) -> u64| links.iter().map(|link| of(link)).sum::<u64>();
        if let Some(source) = source.as_object_mut() {
            source.insert("uid".to_owned(), json!(index + 1));
            source.insert("status".to_owned(), json!(status));
            source.insert("lag".to_owned(), json!(links.iter().map(|link| link.lag).max()));
            source.insert("last_error".to_owned(), json!(text(|link| &link.last_error)));
            source.insert("last_update".to_owned(), json!(text(|link| &link.last_update)));
            source.insert("rdb_size".to_owned(), json!(sum(|link| link.rdb_size)));
            source.insert("rdb_transferred".to_owned(), json!(sum(|link| link.rdb_transferred)));
        }
    }
    view
}

/// How the other instances of an Active-Active database are followed.
fn show_instances(ask: &Ask<'_>, bdb: &Bdb, view: &mut Value) {
    let Some(sources) = view.get_mut("crdt_sources").and_then(Value::as_array_mut).filter(|list| !list.is_empty())
    else {
        return;
    };
    let reports = ask.node.observed();
    for source in sources.iter_mut().filter_map(Value::as_object_mut) {
        let id = source.get("uid").and_then(Value::as_u64).unwrap_or(0);
        let mut links = reports.values().flat_map(|(_, report)| &report.links);
        let link = links.find(|((uid, instance), _)| *uid == bdb.uid && u64::from(*instance) == id);
        let link = link.map(|(_, link)| link.clone()).unwrap_or_default();
        let status = if link.status.is_empty() { "out-of-sync".to_owned() } else { link.status };
        for (key, value) in [
            ("status", json!(status)),
            ("lag", json!(link.lag)),
            ("last_error", json!(link.last_error)),
            ("last_update", json!(link.last_update)),
        ] {
            source.insert(key.to_owned(), value);
        }
    }
}

fn stopped_by_fault(ask: &Ask<'_>) -> Result<(), Refusal> {
    let faults = &ask.node.faults;
    if faults.stands(&Kind::LicenseExpired) {
        return Err(Refusal::new(403, "license_expired", "the license has expired"));
    }
    if faults.stands(&Kind::NoMemory) {
        return Err(Refusal::new(
            406,
            "insufficient_resources",
            "Not enough resources in cluster to host the database",
        ));
    }
    Ok(())
}

fn not_on_crdt(why: &str) -> Refusal {
    Refusal::new(
        406,
        "not_supported_action_on_crdt",
        format!("the database is a part of an Active-Active database: {why}"),
    )
}

async fn create(ask: &Ask<'_>, body: Object) -> Result<Reply, Refusal> {
    stopped_by_fault(ask)?;
    if body.get("crdt") == Some(&json!(true)) {
        return Err(Refusal::bad_request("an Active-Active database is made with POST /v1/crdbs"));
    }
    ask.change(Command::Bdb(BdbCommand::Create { body })).await.map(reply)
}

async fn update(ask: &Ask<'_>, uid: u32, patch: Object, flush: bool) -> Result<Reply, Refusal> {
    stopped_by_fault(ask)?;
    if ask.node.faults.strikes(&Kind::Busy) {
        return Err(Refusal::busy(format!("database {uid} is busy")));
    }
    if ask.state.crdb_of(uid).is_some() {
        ask.state.bdb(uid).and_then(|bdb| check_crdt_change(bdb, &patch))?;
        if flush {
            return Err(not_on_crdt("flush it with PUT /v1/crdbs/{guid}/flush"));
        }
    }
    ask.change(Command::Bdb(BdbCommand::Update { uid, patch, flush })).await.map(reply)
}

/// Data files of a database's shards, as the nodes report them.
fn files(ask: &Ask<'_>, uid: u32) -> Vec<(u32, Value)> {
    let Some(bdb) = ask.state.bdbs.get(&uid) else { return Vec::new() };
    let reports = ask.node.observed();
    let mut found = Vec::new();
    for shard in &bdb.shards {
        let files = reports.get(&shard.node).and_then(|(_, report)| report.files.get(&shard.uid));
        for file in files.into_iter().flatten() {
            found.push((
                shard.uid,
                json!({
                    "filename": file.filename, "node_uid": shard.node.to_string(), "shard_role": shard.role,
                    "shard_slots": format!("{}-{}", shard.slots.0, shard.slots.1), "shard_uid": shard.uid.to_string(),
                    "last_modified": clock::iso(file.modified), "size": file.size,
                }),
            ));
        }
    }
    found
}

/// `ready` when every part of the database has files, or none are needed (REST reference, 12).
fn recovery_plan(ask: &Ask<'_>, uid: u32) -> Result<Value, Refusal> {
    let bdb = ask.state.bdb(uid)?;
    if bdb.status != BdbStatus::Recovery {
        return Err(Refusal::new(409, "not_recoverable", "the database is not waiting for recovery"));
    }
    let files = files(ask, uid);
    let has = |group: u32| {
        bdb.shards.iter().any(|shard| shard.group == group && files.iter().any(|(uid, _)| *uid == shard.uid))
    };
    let ready = bdb.text("data_persistence") == "disabled" || (0..bdb.groups()).all(has);
    Ok(json!({
        "status": if ready { "ready" } else { "missing-files" },
        "data_files": files.into_iter().map(|(_, file)| file).collect::<Vec<_>>(),
    }))
}

/// `GET /v1/bdbs/{uid}/availability`: answered by any node from what it knows (REST reference, 6.8).
pub(super) fn availability(ask: &Ask<'_>, uid: u32, local_only: bool) -> Result<Reply, Refusal> {
    let refuse = |code: &'static str, why: &str| Refusal::new(503, code, why).shaped(Shape::B);
    let quorum = {
        let core = ask.node.core.lock();
        core.leads() || core.known_master(ask.node.settings.election_timeout() * 2).is_some()
    };
    if !quorum {
        return Err(Refusal::no_quorum().shaped(Shape::B));
    }
    let bdb = ask.state.bdb(uid).map_err(|refusal| refusal.shaped(Shape::B))?;
    let own = ask.node.report();
    let serves = bdb.endpoint.nodes.contains(&ask.own);
    if serves && !own.endpoints.get(&uid).is_some_and(|endpoint| endpoint.bound) {
        return Err(refuse("bdb_unavailable_port_unbound", "the proxy does not listen"));
    }
    let alive = |node: u32| ask.state.nodes.get(&node).is_some_and(NodeRecord::is_up);
    if (local_only && !serves) || !bdb.endpoint.nodes.iter().any(|node| alive(*node)) {
        return Err(refuse("bdb_endpoint_unavailable", "no endpoint is available"));
    }
    let dead = bdb.shards.iter().filter(|shard| shard.role == ShardRole::Master).any(|shard| {
        !alive(shard.node)
            || (shard.node == ask.own && !own.shards.get(&shard.uid).is_some_and(|report| report.running))
    });
    if dead || !bdb.runs() {
        return Err(refuse("bdb_unavailable_shard_unreachable", "a shard cannot be reached"));
    }
    Ok(Reply::empty())
}
