//! Asynchronous work as the API shows it (REST reference, 7), in both versions of its form.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ClusterState, Context};
use crate::clock::Millis;

/// Tasks and state machines are shown in different lists and with different fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionKind {
    /// A task, such as the removal of a node.
    Task,
    /// A state machine of a database.
    StateMachine,
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionStatus {
    /// At work.
    Running,
    /// Done.
    Completed,
    /// Ended without success.
    Failed,
    /// Ended on request.
    Cancelled,
}

/// One action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    /// Identifier.
    pub uid: String,
    /// Name such as `SMCreateBDB` or `remove_node`.
    pub name: String,
    /// Task or state machine.
    pub kind: ActionKind,
    /// What it works on: `bdb:1` or `node:2`.
    pub object: String,
    /// How far it is.
    pub status: ActionStatus,
    /// Percent.
    pub progress: u32,
    /// When it began.
    pub created: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Action {
    fn status_word(&self, running: &str) -> String {
        match self.status {
            ActionStatus::Running => running.to_owned(),
            ActionStatus::Completed => "completed".to_owned(),
            ActionStatus::Failed => "failed".to_owned(),
            ActionStatus::Cancelled => "cancelled".to_owned(),
        }
    }

    /// The uid in `bdb:1` or `node:2`.
    pub fn object_uid(&self) -> &str {
        self.object.split_once(':').map_or("", |(_, uid)| uid)
    }

    /// The form of `/v1/actions`: progress of tasks is a string there (REST reference, 0).
    pub fn v1(&self) -> Value {
        let mut view = match self.kind {
            ActionKind::Task => json!({
                "action_uid": self.uid, "task_id": self.uid, "name": self.name,
                "status": self.status_word("running"), "progress": self.progress.to_string(),
                "creation_time": (self.created / 1000).to_string(),
            }),
            ActionKind::StateMachine => json!({
                "action_uid": self.uid, "name": self.name, "object_name": self.object,
                "status": self.status_word("active"), "progress": f64::from(self.progress),
                "heartbeat": self.ended.unwrap_or(self.created) / 1000,
            }),
        };
        if let Some(view) = view.as_object_mut() {
            if self.object.starts_with("node:") {
                view.insert("node_uid".to_owned(), json!(self.object_uid()));
            }
            if let Some(error) = &self.error {
                view.insert("error".to_owned(), json!(error));
            }
        }
        view
    }

    /// The form of `/v2/actions`.
    pub fn v2(&self) -> Value {
        let (object_type, object_uid) = self.object.split_once(':').unwrap_or((&self.object, ""));
        let mut info = json!({"description": self.name, "object_type": object_type, "object_uid": object_uid});
        if let (Some(info), Some(error)) = (info.as_object_mut(), &self.error) {
            info.insert("error".to_owned(), json!(error));
        }
        json!({
            "action_uid": self.uid, "name": self.name, "progress": f64::from(self.progress),
            "action_type": match self.kind { ActionKind::Task => "task", ActionKind::StateMachine => "state-machine" },
            "status": self.status_word("running"), "creation_time": self.created / 1000, "additional_info": info,
        })
    }

    /// The form of `/v1/nodes/{uid}/actions` (REST reference, 5.3): progress is a number.
    pub fn node_view(&self) -> Value {
        let mut view = json!({
            "name": self.name, "node_uid": self.object_uid(), "status": self.status_word("running"),
            "progress": self.progress, "task_id": self.uid,
        });
        if let (Some(view), Some(error)) = (view.as_object_mut(), &self.error) {
            view.insert("error".to_owned(), json!(error));
        }
        view
    }
}

impl ClusterState {
    /// Notes that an action began and returns its identifier.
    pub fn begin(&mut self, ctx: &Context, kind: ActionKind, name: &str, object: String) -> String {
        self.forget_old_actions(ctx);
        let uid = self.next_id(ctx);
        self.actions.push(Action {
            uid: uid.clone(),
            name: name.to_owned(),
            kind,
            object,
            status: ActionStatus::Running,
            progress: 0,
            created: ctx.now,
            ended: None,
            error: None,
        });
        uid
    }

    /// Notes that an action ended; an unknown one is ignored, since recovery forgets actions.
    pub fn end(&mut self, ctx: &Context, uid: &str, error: Option<String>) {
        if let Some(action) = self.actions.iter_mut().find(|action| action.uid == uid && action.ended.is_none()) {
            action.status = if error.is_some() { ActionStatus::Failed } else { ActionStatus::Completed };
            action.progress = if error.is_some() { action.progress } else { 100 };
            action.ended = Some(ctx.now);
            action.error = error;
        }
    }
}
