//! The cluster: settings, policy, license, certificates, health, logs (REST reference, 4).

use serde_json::{Value, json};

use super::{Ask, Reply, acknowledged, nodes, reply, unknown};
use crate::{
    clock::{self, iso},
    conductor,
    faults::Kind,
    state::{BdbStatus, Certificate, Command, NodeRecord, NodeStatus, Object, Refusal, optional::Part, refusal::Shape},
    tls,
};

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    let now = clock::now();
    match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "cluster"]) => Ok(Reply::json(settings(ask))),
        ("PUT", ["v1", "cluster"]) => {
            ask.change(Command::Settings(ask.call.object()?)).await?;
            let settings = ask.node.snapshot().map(|snapshot| Value::Object(snapshot.state.settings.clone()));
            Ok(Reply::json(settings.unwrap_or_default()))
        }
        ("GET", ["v1", "cluster", "policy"]) => Ok(Reply::json(Value::Object(state.policy.clone()))),
        ("PUT", ["v1", "cluster", "policy"]) => ask.change(Command::Policy(ask.call.object()?)).await.map(reply),
        ("GET", ["v1", "license"]) => {
            let forced = ask.node.faults.stands(&Kind::LicenseExpired);
            Ok(Reply::json(state.license.view(state.shards_in_use(), now, forced)))
        }
        ("PUT", ["v1", "license"]) => {
            let body = ask.call.object()?;
            let text = body
                .get("license")
                .and_then(Value::as_str)
                .ok_or_else(|| Refusal::bad_request("license is missing"))?;
            ask.change(Command::License(text.to_owned())).await.map(reply)
        }
        ("GET", ["v1", "cluster", "certificates"]) => Ok(Reply::json(certificates(ask))),
        ("PUT", ["v1", "cluster", "certificates"]) => {
            let body = ask.call.object()?;
            let list = body
                .get("certificates")
                .and_then(Value::as_array)
                .ok_or_else(|| Refusal::bad_request("certificates is missing"))?;
            put_certificates(ask, list).await
        }
        ("PUT", ["v1", "cluster", "update_cert"]) => put_certificates(ask, &[Value::Object(ask.call.object()?)]).await,
        ("DELETE", ["v1", "cluster", "certificates", name]) => {
            ask.change(Command::DropCertificate((*name).to_owned())).await.map(reply)
        }
        ("GET", ["v1", "ocsp", "status"]) => Ok(Reply::json(json!({"cert_status": "UNKNOWN", "responder_url": ""}))),
        ("POST", ["v1", "cluster", "sso", "saml", "metadata", "idp"]) => {
            let body = ask.call.object()?;
            let metadata = body.get("idp_metadata").and_then(Value::as_str);
            let metadata = metadata.ok_or_else(|| Refusal::bad_request("idp_metadata is missing"))?;
            ask.change(Command::IdentityProvider(metadata.to_owned())).await.map(reply)
        }
        ("GET", ["v1", "cluster", "sso", "saml", "metadata", "sp"]) => {
            let entity = format!("https://{}/sp", state.name);
            let mut reply = Reply::text(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{entity}\"/>\n"
            ));
            reply.content_type = "application/samlmetadata+xml";
            Ok(reply)
        }
        ("GET", ["v1", "cluster", "check"]) => {
            let nodes: Vec<Value> = state.nodes.values().map(nodes::check).collect();
            Ok(Reply::json(json!({"cluster_test_result": state.nodes.values().all(NodeRecord::is_up), "nodes": nodes})))
        }
        ("GET", ["v1", "cluster", "actions"]) => Ok(Reply::json(json!({"actions": []}))),
        ("POST", ["v1", "cluster", "actions", "change_master"]) => change_master(ask).await,
        ("GET", ["v1", "cluster", "module-capabilities"]) => Ok(Reply::json(json!({"all_capabilities": []}))),
        ("GET", ["v1", "modules"]) => Ok(Reply::json(json!(state.all_modules()))),
        ("GET", ["v1", "modules", id]) => {
            let found = state.all_modules().into_iter().find(|one| one.get("uid").and_then(Value::as_str) == Some(id));
            found
                .map(Reply::json)
                .ok_or_else(|| Refusal::not_found("module_not_exist", format!("module {id} does not exist")))
        }
        ("POST", ["v2", "modules"] | ["v2", "modules", "user-defined"]) => {
            if !ask.call.body.starts_with(b"{") {
                let why = "the simulator takes the description of a module as JSON, and no package";
                return Err(Refusal::bad_request(why));
            }
            ask.change(Command::Module(ask.call.object()?)).await.map(reply)
        }
        ("GET", ["v1", "logs"]) => Ok(Reply::json(logs(ask))),
        ("GET", ["v1", "suffixes"]) => Ok(Reply::json(json!([suffix(ask)]))),
        ("GET", ["v1", "suffix", name]) if *name == state.name => Ok(Reply::json(suffix(ask))),
        ("GET", ["v1", "cm_settings"]) => Ok(Reply::json(json!({"timezone": "UTC"}))),
        ("GET", ["v1", "proxies"]) => {
            let proxies = state
                .nodes
                .keys()
                .map(|uid| json!({"uid": uid, "threads": 3, "max_threads": 8, "conns": 0, "backlog": 1024}));
            Ok(Reply::json(proxies.collect()))
        }
        ("GET", ["v4", "cluster", "health"]) => Ok(Reply::json(health(ask))),
        ("GET", ["v4", "db" | "bdb", id, "health"]) => {
            let bdb = id.parse().ok().and_then(|uid| state.bdbs.get(&uid));
            let bdb = bdb.ok_or_else(|| {
                Refusal::not_found("db_not_found", format!("database {id} does not exist")).shaped(Shape::C)
            })?;
            Ok(Reply::json(database_health(ask, bdb)))
        }
        (method, path) => match (method, Part::at(path)) {
            ("GET", Some(part)) => Ok(Reply::json(state.part_view(part))),
            ("PUT", Some(part)) => ask.change(Command::Part(part, ask.call.object()?)).await.map(reply),
            ("DELETE", Some(part)) if part.can_be_deleted() => ask.change(Command::DropPart(part)).await.map(reply),
            _ => Err(unknown(ask.call)),
        },
    }
}

fn settings(ask: &Ask<'_>) -> Value {
    let state = ask.state;
    let mut settings = state.settings.clone();
    // Read-only copies of policy, and what the cluster was made with.
    for key in ["slave_ha", "default_sharded_proxy_policy", "default_non_sharded_proxy_policy", "rack_aware"] {
        if let Some(value) = state.policy.get(key) {
            settings.insert(key.to_owned(), value.clone());
        }
    }
    settings.insert("created_time".to_owned(), json!(iso(state.created)));
    for (field, name) in [("proxy_certificate", "proxy"), ("syncer_certificate", "syncer")] {
        settings.insert(field.to_owned(), json!(state.certificates.get(name).map(|one| one.certificate.clone())));
    }
    Value::Object(settings)
}

fn certificates(ask: &Ask<'_>) -> Value {
    let mut map = Object::new();
    for (name, certificate) in &ask.state.certificates {
        map.insert(format!("{name}_cert"), json!(certificate.certificate));
        if let Some(key) = &certificate.key {
            map.insert(format!("{name}_key"), json!(key));
        }
    }
    Value::Object(map)
}

async fn put_certificates(ask: &Ask<'_>, list: &[Value]) -> Result<Reply, Refusal> {
    let mut parsed = Vec::new();
    for one in list {
        let text = |key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(name), Some(certificate)) = (text("name"), text("certificate")) else {
            return Err(Refusal::bad_request("name or certificate is missing"));
        };
        let certificate = Certificate { certificate, key: text("key") };
        // A pair that no listener could use would close the door to whoever could put it right.
        if certificate.key.is_some()
            && let Err(error) = tls::server_config(&certificate)
        {
            return Err(Refusal::new(406, "invalid_certificate", error.to_string()));
        }
        parsed.push((name, certificate));
    }
    ask.change(Command::Certificates(parsed)).await?;
    Ok(acknowledged())
}

async fn change_master(ask: &Ask<'_>) -> Result<Reply, Refusal> {
    let body = ask.call.object()?;
    let uid = body.get("node_uid").and_then(|uid| uid.as_str().and_then(|uid| uid.parse().ok()));
    let node = ask.state.node(uid.ok_or_else(|| Refusal::bad_request("node_uid is missing"))?)?;
    if node.status != NodeStatus::Active || !node.voter {
        return Err(Refusal::new(406, "node_not_active", format!("node {} is not active", node.uid)));
    }
    if node.uid != ask.own {
        conductor::hand_over(ask.node, &node.addr).await;
    }
    Ok(acknowledged())
}

fn logs(ask: &Ask<'_>) -> Value {
    let number = |key: &str| ask.call.query.get(key).and_then(|text| text.parse::<usize>().ok());
    let mut entries: Vec<Value> = ask.state.log.clone();
    if ask.call.query.get("order").map(String::as_str) == Some("desc") {
        entries.reverse();
    }
    entries.into_iter().skip(number("offset").unwrap_or(0)).take(number("limit").unwrap_or(usize::MAX)).collect()
}

fn suffix(ask: &Ask<'_>) -> Value {
    json!({"name": ask.state.name, "default": true, "internal": false, "mdns": false, "use_aaaa_ns": false, "slaves": []})
}

fn database_health(ask: &Ask<'_>, bdb: &crate::state::Bdb) -> Value {
    let status = match bdb.status {
        BdbStatus::Active | BdbStatus::ActiveChangePending | BdbStatus::ImportPending => "active",
        BdbStatus::Pending => "warning",
        _ => "down",
    };
    let version = ask.state.nodes.values().next().map(|node| node.redis_version.clone());
    json!({
        "id": bdb.uid.to_string(), "name": bdb.name(), "status": status, "detailed_status": bdb.status.word(), "version": version,
        "high_availability": {"status": if bdb.replication() { "up" } else { "disabled" }},
        "availability": if status == "active" { "up" } else { "down" }, "persistence": bdb.text("data_persistence"),
    })
}

fn health(ask: &Ask<'_>) -> Value {
    let state = ask.state;
    let now = clock::now();
    let healthy = state.nodes.values().all(NodeRecord::is_up);
    let forced = ask.node.faults.stands(&Kind::LicenseExpired);
    let nodes: Vec<Value> = state
        .nodes
        .values()
        .map(|node| {
            json!({
                "id": node.uid.to_string(), "role": if node.uid == ask.own { "leader" } else { "follower" },
                "status": if node.is_up() { "active" } else { "down" }, "detailed_status": node.status,
                "in_maintenance": node.maintenance.is_some(), "quorum_only": !node.accept_servers, "version": node.software_version,
                "observed_at": iso(now),
            })
        })
        .collect();
    json!({
        "fqdn": state.name, "status": if healthy { "ok" } else { "warning" }, "version": ask.node.settings.version,
        "license": {
            "expired": forced || state.license.expired(now), "valid_until": iso(state.license.expires),
            "shards_in_use": state.shards_in_use(), "shards_limit": state.license.shards_limit,
        },
        "certificates": [], "nodes": nodes, "active_alerts": [],
        "database_infos": state.bdbs.values().map(|bdb| database_health(ask, bdb)).collect::<Vec<_>>(),
    })
}
