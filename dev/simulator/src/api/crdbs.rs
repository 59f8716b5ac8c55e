//! Active-Active databases and their tasks (REST reference, 11).

use serde_json::{Value, json};

use super::{Ask, Reply, reply, unknown};
use crate::{
    clock,
    crdb::{
        peer::{self, Question, Status},
        work::command_of,
    },
    faults::Kind,
    node::Node,
    state::{
        BdbStatus, ClusterState, Command, Object, Refusal,
        crdb::{Crdb, CrdbCommand, CrdbTask, Work, changed, featureset, first},
        refusal::Shape,
    },
};

/// Finished tasks are kept so long, unless the request says otherwise (REST reference, 11.3).
const RESULT_TTL: u64 = 500;

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    match path {
        [_, _, guid, "_peer"] if ask.call.method == "POST" => from_peer(ask, guid).await,
        ["v1", "crdb_tasks", ..] => tasks(ask, path).await.map_err(|refusal| refusal.shaped(Shape::D)),
        _ => crdbs(ask, path).await.map_err(|refusal| refusal.shaped(Shape::D)),
    }
}

async fn crdbs(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    if !ask.call.reads() {
        if let Some(known) = asked_before(ask) {
            return Ok(known);
        }
        if ask.node.faults.stands(&Kind::LicenseExpired) {
            return Err(Refusal::new(403, "license_expired", "the license has expired"));
        }
    }
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "crdbs"]) => {
            let made = state.crdbs.values().filter(|crdb| crdb.agreed.version > 0);
            Ok(Reply::json(made.map(|crdb| crdb.view(state)).collect()))
        }
        ("POST", ["v1", "crdbs"]) => {
            let body = ask.call.object()?;
            let agreed = first(state, "", &body)?;
            if state.crdbs.values().any(|crdb| crdb.agreed.name == agreed.name)
                || state.bdbs.values().any(|bdb| bdb.name() == agreed.name && bdb.status != BdbStatus::DeletePending)
            {
                return Err(Refusal::new(
                    406,
                    "name_conflict",
                    format!("a database named {} exists on cluster {}", agreed.name, state.name),
                ));
            }
            queue(ask, String::new(), Work::Create(body)).await
        }
        (_, ["v1", "crdbs", guid, rest @ ..]) => match state.crdb(guid)? {
            // One that is being made is not there yet.
            crdb if crdb.agreed.version == 0 => {
                Err(Refusal::not_found("crdb_not_found", format!("Active-Active database {guid} is not made yet")))
            }
            crdb => one(ask, crdb, rest).await,
        },
        _ => Err(unknown(ask.call)),
    }
}

async fn one(ask: &Ask<'_>, crdb: &Crdb, rest: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    let guid = crdb.agreed.guid.clone();
    if let Some(id) = ask.call.query.get("instance_id")
        && !crdb.agreed.instances.iter().any(|one| one.id.to_string() == *id)
    {
        return Err(Refusal::not_found("instance_not_found", format!("instance {id} does not exist")));
    }
    match (ask.call.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::json(crdb.view(state))),
        ("PATCH", []) => {
            let body = ask.call.object()?;
            let body = Object::from_iter([("crdb".to_owned(), Value::Object(body))]);
            changed(state, &crdb.agreed, &body)?;
            queue(ask, guid, Work::Update(body)).await
        }
        ("POST", ["updates"]) => {
            let body = ask.call.object()?;
            changed(state, &crdb.agreed, &body)?;
            queue(ask, guid, Work::Update(body)).await
        }
        ("DELETE", []) => queue(ask, guid, Work::Delete).await,
        ("PUT", ["flush"]) => queue(ask, guid, Work::Flush).await,
        ("PUT", ["purge"]) => {
            let body = ask.call.object()?;
            let ids = body.get("instances").and_then(Value::as_array);
            let ids = ids.ok_or_else(|| Refusal::bad_request("'instances' is a required property"))?;
            if ids.iter().any(|id| id.as_u64() != Some(u64::from(crdb.own))) || ids.is_empty() {
                return Err(Refusal::new(
                    406,
                    "not_local",
                    format!("only this cluster's own instance, {}, is purged here", crdb.own),
                ));
            }
            queue(ask, guid, Work::Purge).await
        }
        ("GET", ["health_report"]) => health_report(ask, crdb).await,
        _ => Err(unknown(ask.call)),
    }
}

/// A task that the caller has chosen the identifier of, and that is known.
fn asked_before(ask: &Ask<'_>) -> Option<Reply> {
    let id = header(ask, "x-task-id")?;
    ask.state.crdb_tasks.get(&id).map(|task| Reply::json(task.view()))
}

fn header(ask: &Ask<'_>, name: &str) -> Option<String> {
    ask.call.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned).filter(|text| !text.is_empty())
}

async fn queue(ask: &Ask<'_>, guid: String, work: Work) -> Result<Reply, Refusal> {
    let ttl = match header(ask, "x-result-ttl") {
        None => RESULT_TTL,
        Some(text) => text.parse().map_err(|_| Refusal::bad_request("X-Result-TTL is a number of seconds"))?,
    };
    let id = header(ask, "x-task-id").unwrap_or_default();
    let mut task = CrdbTask::new(id, guid, work, ttl * 1000, clock::now());
    task.dry_run = ask.call.query.contains_key("dry_run");
    ask.node.propose_one(Command::Crdb(CrdbCommand::Queue(Box::new(task)))).await.map(reply)
}

async fn tasks(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let now = clock::now();
    let kept = |task: &&CrdbTask| task.ended.is_none_or(|ended| ended + ask.node.settings.scaled_ms(task.ttl) > now);
    let find = |id: &str| {
        let missing = || Refusal::not_found("task_not_found", format!("task {id} does not exist"));
        ask.state.crdb_tasks.get(id).filter(kept).ok_or_else(missing)
    };
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "crdb_tasks"]) => {
            Ok(Reply::json(ask.state.crdb_tasks.values().filter(kept).map(CrdbTask::view).collect()))
        }
        ("GET", ["v1", "crdb_tasks", id]) => Ok(Reply::json(find(id)?.view())),
        ("POST", ["v1", "crdb_tasks", id, "actions", "cancel"]) => {
            find(id)?;
            let force = ask.call.query.get("force").is_some_and(|value| value != "false");
            ask.change(Command::Crdb(CrdbCommand::Cancel { task: (*id).to_owned(), force })).await.map(reply)
        }
        _ => Err(unknown(ask.call)),
    }
}

/// One entry for each cluster; of those that do not answer, why.
async fn health_report(ask: &Ask<'_>, crdb: &Crdb) -> Result<Reply, Refusal> {
    let wanted = ask.call.query.get("instance_id");
    let mut report = Vec::new();
    for instance in crdb.agreed.instances.iter().filter(|one| wanted.is_none_or(|id| one.id.to_string() == *id)) {
        if instance.id == crdb.own {
            report.push(own_status(ask.node, ask.state, &crdb.agreed.guid, u64::MAX).health);
            continue;
        }
        let status =
            peer::ask_gently(ask.node, &crdb.agreed.guid, instance, &Question::Status(crdb.agreed.version)).await;
        let broken = |why: String| {
            json!({
                "cluster_name": instance.name, "name": crdb.agreed.name, "active_config_version": null,
                "configurations": [], "connections": [], "connection_error": why,
            })
        };
        report.push(match status {
            Ok(status) if status.known => status.health,
            Ok(_) => broken("the cluster does not know the database".to_owned()),
            Err(trouble) => broken(trouble.description),
        });
    }
    Ok(Reply::json(Value::Array(report)))
}

/// What another cluster asks.
async fn from_peer(ask: &Ask<'_>, guid: &str) -> Result<Reply, Refusal> {
    if ask.node.faults.stands(&Kind::CrdbPeer) {
        return Err(Refusal::new(503, "cluster_unreachable", "cut off on demand"));
    }
    // What is agreed holds credentials of all clusters.
    if !ask.caller.is_admin() {
        return Err(Refusal::new(
            403,
            "forbidden",
            "clusters open each other with the credentials of an administrator",
        ));
    }
    let question: Question =
        serde_json::from_slice(&ask.call.body).map_err(|error| Refusal::bad_request(error.to_string()))?;
    if let Some(command) = command_of(guid, &question) {
        ask.node.propose_one(Command::Crdb(command)).await?;
    }
    let version = if let Question::Status(version) = question { version } else { u64::MAX };
    let snapshot = ask.node.snapshot().ok_or_else(Refusal::no_quorum)?;
    let status = own_status(ask.node, &snapshot.state, guid, version);
    serde_json::to_value(status)
        .map(Reply::json)
        .map_err(|error| Refusal::new(500, "internal_error", error.to_string()))
}

/// How this cluster is, for another one that is at `version`, or for itself.
pub(crate) fn own_status(node: &Node, state: &ClusterState, guid: &str, version: u64) -> Status {
    let crdb = state.crdbs.get(guid);
    let bdb = crdb.and_then(|crdb| state.bdbs.get(&crdb.bdb));
    let nodes = bdb.into_iter().flat_map(|bdb| &bdb.endpoint.nodes).filter_map(|uid| state.nodes.get(uid));
    Status {
        cluster: state.name.clone(),
        featureset: featureset(state),
        known: crdb.is_some(),
        version: crdb.map_or(0, |crdb| crdb.agreed.version),
        pending: crdb.and_then(|crdb| crdb.pending.as_ref()).map(|pending| (pending.task.clone(), pending.version)),
        settled: crdb.is_some_and(|crdb| crdb.settled(state)),
        failed: bdb
            .filter(|bdb| bdb.status == BdbStatus::CreationFailed)
            .map(|_| format!("cluster {} could not make the database", state.name)),
        endpoints: nodes.map(|node| (node.addr.clone(), bdb.map_or(0, |bdb| bdb.endpoint.port))).collect(),
        tls: bdb.is_some_and(|bdb| bdb.text("tls_mode") != "disabled"),
        certificate: state.certificates.get("syncer").map(|one| one.certificate.clone()).unwrap_or_default(),
        health: crdb.map(|crdb| crdb.health(state, &links(node, crdb))).unwrap_or_default(),
        agreed: crdb.filter(|crdb| crdb.agreed.version > version).map(|crdb| Box::new(crdb.agreed.clone())),
    }
}

/// Whether the links to the other instances are up.
fn links(node: &Node, crdb: &Crdb) -> Vec<(u32, bool)> {
    if node.settings.without_data {
        let reached = |id: &u32| crdb.peers.get(id).is_some_and(|peer| peer.error.is_empty());
        return crdb.others().map(|one| (one.id, reached(&one.id))).collect();
    }
    let reports = node.observed();
    let all = reports.values().flat_map(|(_, report)| &report.links);
    all.filter(|((bdb, _), _)| *bdb == crdb.bdb).map(|((_, id), link)| (*id, link.status == "in-sync")).collect()
}
