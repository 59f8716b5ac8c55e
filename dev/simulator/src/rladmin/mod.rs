//! The look-alike of `rladmin`: a client of the local node that prints what the product prints (REST reference, 15).
//!
//! It has no state of its own. Like the real tool it needs no password: it reads a token that only the node's own
//! user can read.

pub mod crdb_cli;
mod status;
mod table;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    rest_client::{self, Target},
    settings::etc_folder,
};

/// What the user is told before exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum RladminError {
    /// Nobody listens.
    #[error("the node at {0} does not answer")]
    NoNode(String),
    /// There is no cluster here yet.
    #[error("node is not bootstrapped: run cluster create or cluster join first")]
    NotBootstrapped,
    /// The node refused.
    #[error("{0}")]
    Refused(String),
    /// No such node, database or shard.
    #[error("Object does not exist: {0}")]
    NoObject(String),
    /// Not a command.
    #[error("{0}")]
    Usage(String),
}

/// The local node.
pub struct Local {
    bind: String,
    token: String,
}

/// How long something that the user waits for may take.
const PATIENCE: Duration = Duration::from_secs(600);

impl Local {
    /// The node that the environment names, as the node itself was told.
    pub fn from_environment() -> Self {
        let bind = std::env::var("STEPWRIGHT_DEV_BIND").unwrap_or_else(|_| "127.0.0.1".to_owned());
        let root = std::env::var_os("STEPWRIGHT_DEV_ROOT").map(PathBuf::from);
        let data = std::env::var_os("SIM_DATA").map(PathBuf::from);
        let token = std::fs::read_to_string(etc_folder(root.as_deref(), data.as_deref()).join("rladmin.token"))
            .unwrap_or_default();
        Self { bind, token }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, RladminError> {
        let authorization = format!("Bearer rladmin:{}", self.token);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let target = Target::plain(&self.bind, 8080);
        let answer = rest_client::send(&target, method, path, &[("authorization", &authorization)], body).await;
        let answer = answer.map_err(|_| RladminError::NoNode(self.bind.clone()))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        match answer.status {
            200 => Ok(value),
            503 if text("error_code").as_deref() == Some("node_not_bootstrapped") => Err(RladminError::NotBootstrapped),
            status => Err(RladminError::Refused(
                text("message")
                    .or_else(|| text("description"))
                    .or_else(|| text("detail"))
                    .unwrap_or_else(|| format!("the node answered {status}")),
            )),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, RladminError> {
        self.ask("GET", path, &Value::Null).await
    }
}

fn say(text: &str) {
    use std::io::Write;
    // A closed pipe, as in `rladmin status | head`, is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs one command line.
pub async fn run(words: &[String]) -> Result<(), RladminError> {
    let local = Local::from_environment();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "--help"] => {
            say(USAGE);
            Ok(())
        }
        ["status", options @ ..] => {
            say(status::render(&local, options).await?.trim_end());
            Ok(())
        }
        ["cluster", "master"] => {
            let nodes = local.get("/v1/nodes/status").await?;
            let master =
                nodes.as_object().into_iter().flatten().find(|(_, node)| node.get("role") == Some(&json!("master")));
            let (uid, _) = master.ok_or_else(|| RladminError::Refused("no master is known".to_owned()))?;
            say(&format!("Node {uid} is the cluster master node"));
            Ok(())
        }
        ["node", uid, "remove"] => remove(&local, uid).await,
        ["node", uid, "maintenance_mode", switch @ ("on" | "off")] => {
            known_node(&local, uid).await?;
            local.ask("POST", &format!("/v1/nodes/{uid}/actions/maintenance_{switch}"), &json!({})).await?;
            say("OK");
            Ok(())
        }
        ["failover", "shard", uid] => {
            local.ask("POST", &format!("/v1/shards/{uid}/actions/failover"), &json!({})).await?;
            say("Executing shard fail-over: OOO.\nFinished successfully");
            Ok(())
        }
        ["recover", "list"] => {
            say(&recover_list(&local).await?);
            Ok(())
        }
        ["recover", "all", options @ ..] => recover(&local, None, options).await,
        ["recover", "db", name, options @ ..] => recover(&local, Some(name), options).await,
        _ => Err(RladminError::Usage(format!("unknown command: {}\n{USAGE}", words.join(" ")))),
    }
}

const USAGE: &str = "usage: rladmin status [nodes|databases|endpoints|shards] [extra all]
       rladmin cluster master
       rladmin node <uid> remove | maintenance_mode on|off
       rladmin failover shard <uid>
       rladmin recover list | all [only_configuration] | db <name|db:id> [only_configuration]";

async fn known_node(local: &Local, uid: &str) -> Result<(), RladminError> {
    let nodes = local.get("/v1/nodes").await?;
    let known = nodes.as_array().into_iter().flatten().any(|node| table::cell(node, "uid") == uid);
    if known { Ok(()) } else { Err(RladminError::NoObject(format!("node:{uid}"))) }
}

async fn remove(local: &Local, uid: &str) -> Result<(), RladminError> {
    known_node(local, uid).await?;
    local.ask("POST", &format!("/v1/nodes/{uid}/actions/remove"), &json!({})).await?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match local.get(&format!("/v1/nodes/{uid}/actions/remove")).await {
            Ok(action) if action.get("status") == Some(&json!("failed")) => {
                let error = action.get("error").and_then(Value::as_str).unwrap_or("unknown").to_owned();
                return Err(RladminError::Refused(format!("node {uid} was not removed: {error}")));
            }
            // Gone from the list of nodes, or the node that was asked left the cluster itself.
            Ok(action) if action.get("status") == Some(&json!("completed")) => break,
            Err(_) if known_node(local, uid).await.is_err_and(|error| !matches!(error, RladminError::Refused(_))) => {
                break;
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    say(&format!("Performing remove action on node:{uid}: 100%\nOK"));
    Ok(())
}

async fn in_recovery(local: &Local) -> Result<Vec<(Value, String)>, RladminError> {
    let bdbs = local.get("/v1/bdbs").await?;
    let mut found = Vec::new();
    for bdb in bdbs.as_array().into_iter().flatten().filter(|bdb| bdb.get("status") == Some(&json!("recovery"))) {
        let uid = bdb.get("uid").cloned().unwrap_or_default();
        let plan = local.get(&format!("/v1/bdbs/{uid}/actions/recover")).await;
        let status = plan.ok().and_then(|plan| plan.get("status")?.as_str().map(str::to_owned));
        found.push((bdb.clone(), status.unwrap_or_else(|| "missing-files".to_owned())));
    }
    Ok(found)
}

async fn recover_list(local: &Local) -> Result<String, RladminError> {
    let found = in_recovery(local).await?;
    if found.is_empty() {
        return Ok("No recoverable databases found".to_owned());
    }
    let mut table = table::Table::new(&["DB:ID", "NAME", "TYPE", "SHARDS", "REPLICATION", "PERSISTENCE", "STATUS"]);
    for (bdb, status) in found {
        table.row(vec![
            format!("db:{}", table::cell(&bdb, "uid")),
            table::cell(&bdb, "name"),
            table::cell(&bdb, "type"),
            table::cell(&bdb, "shards_count"),
            table::on_off(&bdb, "replication"),
            table::cell(&bdb, "data_persistence"),
            status,
        ]);
    }
    Ok(format!("DATABASES IN RECOVERY STATE:\n{table}"))
}

async fn recover(local: &Local, name: Option<&str>, options: &[&str]) -> Result<(), RladminError> {
    let found = in_recovery(local).await?;
    let wanted: Vec<Value> = found
        .into_iter()
        .map(|(bdb, _)| bdb)
        .filter(|bdb| {
            name.is_none_or(|name| {
                table::cell(bdb, "name") == name || format!("db:{}", table::cell(bdb, "uid")) == name
            })
        })
        .collect();
    if wanted.is_empty() {
        return match name {
            Some(name) => Err(RladminError::NoObject(name.to_owned())),
            None => {
                say("No recoverable databases found");
                Ok(())
            }
        };
    }
    let started = Instant::now();
    let (mut done, mut failed) = (0, 0);
    let total = wanted.len();
    for bdb in wanted {
        let title = format!("[{} (db:{}) recovery]", table::cell(&bdb, "name"), table::cell(&bdb, "uid"));
        say(&format!("{title} Initiated."));
        match recover_one(local, &bdb, options.contains(&"only_configuration")).await {
            Ok(()) => {
                done += 1;
                say(&format!("{title} Completed successfully"));
            }
            Err(error) => {
                failed += 1;
                say(&format!("{title} Failed: {error}"));
            }
        }
        let percent = (done + failed) * 100 / total;
        let seconds = started.elapsed().as_secs();
        let bar = "#".repeat(percent / 5);
        let clock = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        say(&format!("{percent}% [ {done} recovered | {failed} failed ] |{bar:<20}| Elapsed Time: {clock}"));
    }
    if failed == 0 { Ok(()) } else { Err(RladminError::Refused(format!("{failed} databases were not recovered"))) }
}

async fn recover_one(local: &Local, bdb: &Value, only_configuration: bool) -> Result<(), RladminError> {
    let path = format!("/v1/bdbs/{}", table::cell(bdb, "uid"));
    local.ask("POST", &format!("{path}/actions/recover"), &json!({"recover_without_data": only_configuration})).await?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if local.get(&path).await?.get("status") == Some(&json!("active")) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(RladminError::Refused("it takes too long".to_owned()))
}
