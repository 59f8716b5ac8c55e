//! Carries out one task, as the cluster that was asked: prepared everywhere, decided, and then told to all.
//!
//! A change that one cluster cannot prepare is given up on all (REST reference, 11.3). What is decided is not taken back: whoever
//! cannot be told then learns it from [`super::watch`].

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::peer::{self, Question, Status};
use crate::{
    api::own_status,
    node::Node,
    state::{
        ClusterState, Command, Refusal,
        crdb::{Agreed, CrdbCommand, CrdbTask, Instance, Proposal, Trouble, Work, changed, first},
    },
};

/// Between two looks at a participant.
const LOOK: Duration = Duration::from_millis(100);

/// A participant that takes longer than this to make its database never will.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A participant that is busy with its database is waited for.
const BUSY_LIMIT: Duration = Duration::from_secs(20);

/// A cluster without a master for so long is none that can be asked.
const ELECTION_LIMIT: Duration = Duration::from_secs(10);

/// One phase of a creation: four of them are the 14 s that two clusters take (REST reference, 16.6).
const PHASE: Duration = Duration::from_millis(3_500);

/// One phase of a change.
const SHORT_PHASE: Duration = Duration::from_millis(700);

type Outcome<T> = Result<T, Vec<Trouble>>;

/// Works on a task until it is over.
pub(super) async fn carry_out(node: Arc<Node>, id: String) {
    let Some(snapshot) = node.snapshot() else { return };
    let Some(task) = snapshot.state.crdb_tasks.get(&id).cloned() else { return };
    let worker = Worker { node, task };
    let outcome = worker.work(&snapshot.state).await;
    let troubles = outcome.err().unwrap_or_default();
    for trouble in &troubles {
        info!(task = %id, cluster = %trouble.cluster_name, code = %trouble.error_code, "{}", trouble.description);
    }
    worker.change(CrdbCommand::End { task: id, troubles }).await;
}

struct Worker {
    node: Arc<Node>,
    task: CrdbTask,
}

/// A change on its way.
struct Change {
    proposal: Proposal,
    participants: Vec<Instance>,
    phase: Duration,
}

impl Worker {
    async fn work(&self, state: &ClusterState) -> Outcome<()> {
        self.progress(None, 0, false).await;
        let (guid, own) = (&self.task.guid, state.name.as_str());
        let here = |refusal: Refusal| vec![at(own, &refusal)];
        let known = state.crdb(guid).cloned();
        if let Work::Purge = &self.task.work {
            let purged = Command::Crdb(CrdbCommand::Purge { guid: guid.clone() });
            return self.node.propose_one(purged).await.map(|_| ()).map_err(here);
        }
        // A master that takes over finds what is decided, and tells it.
        if self.task.committed {
            let pending = known.ok().and_then(|known| Some((known.agreed, known.pending?)));
            if let Some((agreed, proposal)) = pending.filter(|(_, proposal)| proposal.task == self.task.id) {
                let participants = proposal.next.as_ref().unwrap_or(&agreed).instances.clone();
                let change = Change { proposal, participants, phase: SHORT_PHASE };
                self.decide(&change, own).await;
                self.await_settled(&change).await;
            }
            return Ok(());
        }
        let before = match &self.task.work {
            Work::Create(_) => None,
            _ => Some(known.map_err(here)?.agreed),
        };
        let next = match (&self.task.work, &before) {
            (Work::Create(body), _) => Some(first(state, guid, body).map_err(here)?),
            (Work::Update(body), Some(before)) => Some(changed(state, before, body).map_err(here)?),
            (Work::Flush, Some(before)) => {
                Some(Agreed { version: before.version + 1, flushes: before.flushes + 1, ..before.clone() })
            }
            _ => None,
        };
        let forced = matches!(&self.task.work, Work::Update(body) if is_forced(body));
        let mut participants: Vec<Instance> = Vec::new();
        for instance in before.iter().chain(&next).flat_map(|agreed| &agreed.instances) {
            let stays = next.as_ref().is_none_or(|next| next.instances.iter().any(|one| one.id == instance.id));
            if stays || !forced {
                // Credentials as they will be, where they change.
                participants.retain(|one| one.id != instance.id);
                participants.push(instance.clone());
            }
        }
        // This cluster first: whoever asks it whether a change is open gets the right answer.
        participants.sort_by_key(|instance| (instance.name != own, instance.id));
        let creates = before.is_none();
        let version = before.as_ref().map_or(1, |before| before.version + 1);
        let statuses = self.greet(&participants, &before, state).await?;
        let next = next.map(|mut next| {
            for (id, status) in &statuses {
                if next.instances.iter().any(|one| one.id == *id) {
                    next.certificates.insert(*id, status.certificate.clone());
                }
            }
            next
        });
        if self.task.dry_run {
            return Ok(());
        }
        let proposal =
            Proposal { task: self.task.id.clone(), guid: guid.clone(), coordinator: own.to_owned(), version, next };
        let change = Change { proposal, participants, phase: if creates { PHASE } else { SHORT_PHASE } };
        let ready = match self.prepare(&change).await {
            Ok(()) => self.await_ready(&change).await,
            failed => failed,
        };
        if let Err(troubles) = ready {
            self.give_up(&change).await;
            return Err(troubles);
        }
        self.progress(None, 0, true).await;
        self.decide(&change, own).await;
        self.await_settled(&change).await;
        Ok(())
    }

    /// Looks whether all are there, who they say they are, and able.
    async fn greet(
        &self,
        participants: &[Instance],
        before: &Option<Agreed>,
        state: &ClusterState,
    ) -> Outcome<BTreeMap<u32, Status>> {
        let (mut statuses, mut troubles) = (BTreeMap::new(), Vec::new());
        let version = before.as_ref().map_or(0, |before| before.version);
        for instance in participants {
            let trouble = |code: &str, text: String| Trouble {
                cluster_name: instance.name.clone(),
                description: text,
                error_code: code.to_owned(),
            };
            match self.ask(instance, &Question::Status(version)).await {
                Err(one) => troubles.push(one),
                Ok(status) if status.cluster != instance.name => {
                    let text = format!("{} is cluster {}, not {}", instance.url, status.cluster, instance.name);
                    troubles.push(trouble("cluster_name_mismatch", text));
                }
                Ok(status) if status.featureset != crate::state::crdb::featureset(state) => {
                    let text = format!("featureset version {} does not fit", status.featureset);
                    troubles.push(trouble("incompatible_featureset", text));
                }
                Ok(status) if status.version > version => {
                    let text =
                        format!("version {} of the configuration is not known here yet: try again", status.version);
                    troubles.push(trouble("config_version_conflict", text));
                }
                Ok(status) => {
                    statuses.insert(instance.id, status);
                }
            }
        }
        if troubles.is_empty() { Ok(statuses) } else { Err(troubles) }
    }

    async fn prepare(&self, change: &Change) -> Outcome<()> {
        let question = Question::Prepare(Box::new(change.proposal.clone()));
        for instance in &change.participants {
            let began = Instant::now();
            loop {
                self.still_wanted()?;
                match self.ask(instance, &question).await {
                    Ok(_) => break,
                    // Another change of its database may be under way there.
                    Err(trouble) if trouble.error_code == "busy" && began.elapsed() < BUSY_LIMIT => {
                        tokio::time::sleep(LOOK).await;
                    }
                    Err(trouble) => return Err(vec![trouble]),
                }
            }
            self.progress(Some(&instance.name), 10, false).await;
        }
        self.node.take_time(change.phase).await;
        Ok(())
    }

    async fn await_ready(&self, change: &Change) -> Outcome<()> {
        let began = Instant::now();
        for instance in &change.participants {
            loop {
                self.still_wanted()?;
                let trouble = |code: &str, text: String| {
                    Err(vec![Trouble {
                        cluster_name: instance.name.clone(),
                        description: text,
                        error_code: code.to_owned(),
                    }])
                };
                match self.ask(instance, &Question::Status(change.proposal.version)).await {
                    Ok(status) if status.settled || change.proposal.next.is_none() => break,
                    Ok(Status { failed: Some(why), .. }) => return trouble("creation_failed", why),
                    Ok(_) if began.elapsed() > READY_LIMIT => {
                        return trouble("not_ready", "the database did not become ready in time".to_owned());
                    }
                    Ok(_) => tokio::time::sleep(LOOK).await,
                    Err(one) => return Err(vec![one]),
                }
            }
            self.progress(Some(&instance.name), 35, false).await;
        }
        self.node.take_time(change.phase).await;
        self.still_wanted()
    }

    async fn decide(&self, change: &Change, own: &str) {
        let leaves = change.proposal.next.as_ref().is_none_or(|next| next.of_cluster(own).is_none());
        let mut order: Vec<&Instance> = change.participants.iter().collect();
        // Where this cluster itself leaves, it is asked until the others know.
        if leaves {
            order.reverse();
        }
        for instance in order {
            let told = self.ask(instance, &Question::Commit(change.proposal.version)).await;
            if let Err(trouble) = told {
                warn!(cluster = %instance.name, error = %trouble.description, "a cluster learns of a decision later");
            }
            self.progress(Some(&instance.name), 80, true).await;
        }
        self.node.take_time(change.phase).await;
    }

    async fn await_settled(&self, change: &Change) {
        let began = Instant::now();
        for instance in &change.participants {
            let stays = change.proposal.next.as_ref().is_some_and(|next| next.of_cluster(&instance.name).is_some());
            while stays && began.elapsed() < READY_LIMIT && !self.is_cancelled() {
                match self.ask(instance, &Question::Status(change.proposal.version)).await {
                    Ok(status) if status.settled && status.version >= change.proposal.version => break,
                    Ok(status) => {
                        if status.version < change.proposal.version {
                            let _ = self.ask(instance, &Question::Commit(change.proposal.version)).await;
                        }
                        tokio::time::sleep(LOOK).await;
                    }
                    // It catches up when it is back.
                    Err(_) => break,
                }
            }
            self.progress(Some(&instance.name), 100, true).await;
        }
        self.node.take_time(change.phase).await;
    }

    async fn give_up(&self, change: &Change) {
        for instance in change.participants.iter().rev() {
            if let Err(trouble) = self.ask(instance, &Question::Abort(change.proposal.version)).await {
                warn!(cluster = %instance.name, error = %trouble.description, "a cluster learns later that a change was given up");
            }
        }
    }

    /// Asks a participant. One that is electing its master is waited for.
    async fn ask(&self, instance: &Instance, question: &Question) -> Result<Status, Trouble> {
        let began = Instant::now();
        loop {
            match self.ask_once(instance, question).await {
                Err(trouble) if trouble.error_code == "no_quorum" && began.elapsed() < ELECTION_LIMIT => {
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer,
            }
        }
    }

    /// This cluster itself is asked without a detour.
    async fn ask_once(&self, instance: &Instance, question: &Question) -> Result<Status, Trouble> {
        let guid = &self.task.guid;
        let Some(snapshot) = self.node.snapshot().filter(|snapshot| snapshot.state.name == instance.name) else {
            return peer::ask(&self.node, guid, instance, question).await;
        };
        if let Some(command) = command_of(guid, question) {
            let changed = self.node.propose_one(Command::Crdb(command)).await;
            changed.map_err(|refusal| at(&instance.name, &refusal))?;
        }
        let snapshot = self.node.snapshot().unwrap_or(snapshot);
        Ok(own_status(&self.node, &snapshot.state, guid, u64::MAX))
    }

    fn is_cancelled(&self) -> bool {
        let snapshot = self.node.snapshot();
        snapshot
            .and_then(|snapshot| snapshot.state.crdb_tasks.get(&self.task.id).map(|task| task.cancelled))
            .unwrap_or(true)
    }

    fn still_wanted(&self) -> Outcome<()> {
        if !self.is_cancelled() {
            return Ok(());
        }
        let cluster_name = self.node.snapshot().map(|snapshot| snapshot.state.name.clone()).unwrap_or_default();
        Err(vec![Trouble {
            cluster_name,
            description: "the task was cancelled".to_owned(),
            error_code: "cancelled".to_owned(),
        }])
    }

    async fn progress(&self, cluster: Option<&str>, percent: u32, committed: bool) {
        let (task, cluster) = (self.task.id.clone(), cluster.map(str::to_owned));
        self.change(CrdbCommand::Progress { task, cluster, percent, committed }).await;
    }

    async fn change(&self, command: CrdbCommand) {
        if let Err(refusal) = self.node.propose_one(Command::Crdb(command)).await {
            warn!(task = %self.task.id, %refusal, "how a task stands could not be noted");
        }
    }
}

/// The command that a question comes to on the cluster that is asked.
pub(crate) fn command_of(guid: &str, question: &Question) -> Option<CrdbCommand> {
    let guid = guid.to_owned();
    match question {
        Question::Status(_) => None,
        Question::Prepare(proposal) => Some(CrdbCommand::Prepare(proposal.clone())),
        Question::Commit(version) => Some(CrdbCommand::Commit { guid, version: *version }),
        Question::Abort(version) => Some(CrdbCommand::Abort { guid, version: *version }),
    }
}

/// Whether instances are removed without being asked.
fn is_forced(body: &crate::state::Object) -> bool {
    let on = |key: &str| body.get(key).and_then(serde_json::Value::as_bool) == Some(true);
    on("remove_instances.force_remove") || on("force_remove")
}

fn at(cluster: &str, refusal: &Refusal) -> Trouble {
    Trouble {
        cluster_name: cluster.to_owned(),
        description: refusal.message.clone(),
        error_code: refusal.code.to_owned(),
    }
}
