//! Tasks on Active-Active databases (REST reference, 11.3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::CrdbCommand;
use crate::{
    clock::{Millis, iso},
    state::{ClusterState, Context, Object, Refusal},
};

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Waits.
    Queued,
    /// Is at work.
    Started,
    /// Done.
    Finished,
    /// Ended without success; nothing was changed, unless it says so.
    Failed,
}

/// What stood in the way, and on which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Cluster.
    pub cluster_name: String,
    /// Words.
    pub description: String,
    /// Stable word.
    pub error_code: String,
}

/// What a task does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// `POST /v1/crdbs`.
    Create(Object),
    /// `PATCH`, and `POST …/updates`, whose form both have here.
    Update(Object),
    /// `DELETE`.
    Delete,
    /// `PUT …/flush`.
    Flush,
    /// `PUT …/purge` on the cluster that is concerned.
    Purge,
}

impl Work {
    fn word(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Delete => "delete",
            Self::Flush => "flush",
            Self::Purge => "purge",
        }
    }
}

/// A task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CrdbTask {
    /// Identifier; the caller's, if it gave one.
    pub id: String,
    /// Database.
    pub guid: String,
    /// What it does.
    pub work: Work,
    /// Whether it only looks whether it could.
    pub dry_run: bool,
    /// How far it is.
    pub status: TaskStatus,
    /// In percent, by cluster.
    pub progress: BTreeMap<String, u32>,
    /// Whether the change is decided.
    pub committed: bool,
    /// Whether somebody wants it to end.
    pub cancelled: bool,
    /// What stood in the way.
    pub errors: Vec<Trouble>,
    /// How long it is kept once it is over; documented milliseconds.
    pub ttl: u64,
    /// When it came.
    pub created: Millis,
    /// When work on it began.
    pub started: Option<Millis>,
    /// When it was over.
    pub ended: Option<Millis>,
}

impl CrdbTask {
    /// A new one.
    pub fn new(id: String, guid: String, work: Work, ttl: u64, now: Millis) -> Self {
        Self {
            id,
            guid,
            work,
            dry_run: false,
            status: TaskStatus::Queued,
            progress: BTreeMap::new(),
            committed: false,
            cancelled: false,
            errors: Vec::new(),
            ttl,
            created: now,
            started: None,
            ended: None,
        }
    }

    /// Whether it is over.
    pub fn ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The object.
    pub fn view(&self) -> Value {
        let clusters: Vec<Value> =
            self.progress.iter().map(|(name, progress)| json!({"name": name, "progress": progress})).collect();
        json!({
            "id": self.id, "crdb_guid": self.guid, "operation": self.work.word(), "status": self.status,
            "progress": {"clusters": clusters, "worker": "crdb_worker"}, "errors": self.errors,
            "started": self.started.map(iso), "ended": self.ended.map(iso), "worker_name": "crdb_worker",
        })
    }
}

impl ClusterState {
    /// The task, or the refusal that names it.
    pub fn crdb_task(&self, id: &str) -> Result<&CrdbTask, Refusal> {
        self.crdb_tasks.get(id).ok_or_else(|| Refusal::not_found("task_not_found", format!("task {id} does not exist")))
    }

    fn crdb_task_mut(&mut self, id: &str) -> Result<&mut CrdbTask, Refusal> {
        let missing = || Refusal::not_found("task_not_found", format!("task {id} does not exist"));
        self.crdb_tasks.get_mut(id).ok_or_else(missing)
    }

    pub(super) fn apply_crdb_task(&mut self, command: CrdbCommand, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            CrdbCommand::Queue(mut task) => {
                self.crdb_tasks
                    .retain(|_, task| task.ended.is_none_or(|ended| ended + (ctx.due(task.ttl) - ctx.now) > ctx.now));
                // A task that is known is answered again, so that a lost reply makes no second database.
                if let Some(known) = self.crdb_tasks.get(&task.id) {
                    return Ok(known.view());
                }
                if task.id.is_empty() {
                    task.id = self.next_id(ctx);
                }
                if task.guid.is_empty() {
                    task.guid = self.next_id(ctx);
                }
                let reply = json!({"id": task.id, "status": task.status});
                self.crdb_tasks.insert(task.id.clone(), *task);
                return Ok(reply);
            }
            CrdbCommand::Progress { task, cluster, percent, committed } => {
                let task = self.crdb_task_mut(&task)?;
                task.status = TaskStatus::Started;
                task.started.get_or_insert(ctx.now);
                task.committed |= committed;
                if let Some(cluster) = cluster {
                    task.progress.insert(cluster, percent);
                }
            }
            CrdbCommand::End { task, troubles } => {
                let task = self.crdb_task_mut(&task)?;
                task.status = if troubles.is_empty() { TaskStatus::Finished } else { TaskStatus::Failed };
                task.errors = troubles;
                task.started.get_or_insert(ctx.now);
                task.ended = Some(ctx.now);
                let (name, id, guid) =
                    (format!("crdb_{}_{:?}", task.work.word(), task.status), task.id.clone(), task.guid.clone());
                self.event(ctx, &name.to_lowercase(), json!({"task_id": id, "crdb_guid": guid}));
            }
            CrdbCommand::Cancel { task, force } => {
                let task = self.crdb_task_mut(&task)?;
                if task.ended() {
                    return Err(Refusal::new(406, "task_ended", format!("task {} is over", task.id)));
                }
                if task.committed && !force {
                    return Err(Refusal::new(
                        409,
                        "task_committed",
                        format!("task {} is past its commit; force ends it", task.id),
                    ));
                }
                task.cancelled = true;
            }
            _ => {}
        }
        Ok(Value::Null)
    }
}
