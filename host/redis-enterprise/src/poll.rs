//! One task for each cluster does all its reading, so that a hundred askers wait for one answer.
//!
//! At rest, with the facts of the built-in steps asked for and a cluster of N nodes, the number of requests is constant:
//! `GET /v1/nodes/status` every second, whose `Cluster-State-Id` tells whether any configuration changed; and every 60 s
//! each fact once (eight requests, one for each part of the configuration that the spec names, and one for each node).
//! Without such parts that is 60 + 7 + N a minute. A server that sends no such number is asked for `nodes/status`, `nodes`
//! and `bdbs` every second instead: 180 + 5 + N a minute. While something moves, those three
//! and `bootstrap` are read every 500 ms (`Settings`).

use std::sync::Arc;
use std::time::Instant;

use futures::future::{join, join_all};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepwright_core::part::Difference;
use stepwright_operator::system::{self, News, SystemId};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::client::{Client, Tools};
use crate::connection::Answer;
use crate::error::CallError;
use crate::facts::{self, FactKind, Known, Source};
use crate::snapshot::{Next, Snapshot};

/// One cluster: the way to it, what is known of it, and the task that keeps that fresh.
pub(crate) struct Watched {
    pub(crate) shared: Arc<Shared>,
    task: AbortOnDropHandle<()>,
}

pub(crate) struct Shared {
    pub(crate) system: SystemId,
    pub(crate) client: Client,
    tools: Tools,
    snapshot: Mutex<Snapshot>,
    /// Somebody asked for facts, or made a call.
    wake: Notify,
    /// Counts up with each fact that was read.
    news: watch::Receiver<u64>,
    changes: broadcast::Sender<News>,
}

impl Watched {
    pub(crate) fn start(client: Client, system: SystemId, tools: Tools, changes: broadcast::Sender<News>) -> Self {
        let (news_sender, news) = watch::channel(0);
        let shared = Arc::new(Shared {
            client,
            system,
            tools,
            snapshot: Mutex::new(Snapshot::new(Instant::now())),
            wake: Notify::new(),
            news,
            changes,
        });
        let task = tokio::spawn(shared.clone().run(news_sender));
        Self { shared, task: AbortOnDropHandle::new(task) }
    }

    /// The task came to an end, which it never does by itself.
    pub(crate) fn is_dead(&self) -> bool {
        self.task.is_finished()
    }
}

impl Shared {
    /// The facts, once all are fresh; without them where that takes too long.
    pub(crate) async fn facts(&self, kinds: &[FactKind]) -> Option<Vec<system::Known>> {
        let mut news = self.news.clone();
        let needed = {
            let now = Instant::now();
            let key = self.key();
            let mut snapshot = self.snapshot.lock();
            snapshot.meet(key, now);
            snapshot.ask(kinds, now)
        };
        let wait = async {
            loop {
                news.mark_unchanged();
                if let Some(facts) = self.snapshot.lock().answer(kinds, needed) {
                    return Some(facts);
                }
                self.wake.notify_one();
                // The sender goes only with the task.
                news.changed().await.ok()?;
            }
        };
        tokio::time::timeout(self.tools.settings.patience, wait).await.ok().flatten()
    }

    /// A mutating call begins or has ended: whatever is known may be old.
    pub(crate) fn called(&self, path: &str) {
        self.snapshot.lock().called(path, Instant::now(), &self.tools.settings);
        self.wake.notify_one();
    }

    /// What Kubernetes says of pods and credentials.
    fn key(&self) -> String {
        let members = self.client.members();
        self.client.keep(&members);
        let credentials = self.client.credentials().map_or_else(|error| error.to_string(), |it| it.fingerprint);
        format!("{}|{credentials}", members.key())
    }

    async fn run(self: Arc<Self>, news: watch::Sender<u64>) {
        loop {
            let key = self.key();
            let next = {
                let now = Instant::now();
                let mut snapshot = self.snapshot.lock();
                snapshot.meet(key, now);
                snapshot.next(now, &self.tools.settings)
            };
            match next {
                Next::Sleep(until) => {
                    let _ = tokio::time::timeout_at(until.into(), self.wake.notified()).await;
                }
                Next::GivenUp => self.tell(None),
                Next::Read { kinds, generation } => {
                    self.read(kinds, generation, &news).await;
                    self.snapshot.lock().finished(Instant::now());
                }
            }
        }
    }

    async fn read(&self, kinds: Vec<FactKind>, generation: u64, news: &watch::Sender<u64>) {
        let bootstrap = async {
            if kinds.contains(&FactKind::Bootstrap) {
                let known = self.read_bootstrap().await;
                if let Some(news) = self.store(FactKind::Bootstrap, generation, known, None, news) {
                    // A node became a member, or is none any more: what the cluster says may have been asked too early.
                    self.snapshot.lock().doubt_unknown();
                    self.tell(Some(vec![news]));
                }
            }
        };
        let cluster = async {
            let kinds = kinds.iter().copied().filter(|kind| *kind != FactKind::Bootstrap);
            let changed = self.read_cluster(kinds, generation, news).await;
            if !changed.is_empty() {
                self.tell(Some(changed));
            }
        };
        join(bootstrap, cluster).await;
    }

    /// One request to each pod, all at once.
    async fn read_bootstrap(&self) -> Known {
        let members = self.client.members();
        let asked = members
            .reachable
            .iter()
            .map(|member| async { (member.pod.pod.clone(), self.client.bootstrap(&member.pod).await) });
        facts::know_bootstrap(join_all(asked).await, &members.pending, &self.tools.fingerprinter)
    }

    /// One request after another; says what changed.
    async fn read_cluster(
        &self,
        kinds: impl Iterator<Item = FactKind>,
        generation: u64,
        news: &watch::Sender<u64>,
    ) -> Vec<(String, Difference)> {
        let mut left: Vec<FactKind> = kinds.collect();
        left.reverse();
        let mut failure: Option<CallError> = None;
        let mut changed = Vec::new();
        while let Some(kind) = left.pop() {
            let Some(source) = Source::of(kind) else { continue };
            let answer = match &failure {
                // Nobody answered the question before this one: nobody is asked again right now.
                Some(error) => Err(error.clone()),
                None if kind == FactKind::CrdbHealth => self.crdb_health().await,
                None => self.client.get(source.path).await,
            };
            let (known, raw, state_id) = match answer {
                Ok(answer) => {
                    let raw: [u8; 32] = Sha256::new_with_prefix(answer.status.to_le_bytes())
                        .chain_update(&answer.body)
                        .finalize()
                        .into();
                    let same = self.snapshot.lock().same(kind, &raw);
                    let known = same.unwrap_or_else(|| facts::know(source, &answer, &self.tools.fingerprinter));
                    (known, Some(raw), answer.state_id)
                }
                Err(error) => {
                    debug!(system = %self.system, fact = source.name, %error, "fact is not known");
                    failure.get_or_insert(error.clone());
                    (Known::from(error), None, None)
                }
            };
            let good = known.value.is_ok();
            let differs = self.store(kind, generation, known, raw, news);
            if kind == FactKind::NodesStatus && good {
                let more = self.snapshot.lock().note_state(state_id, differs.is_some());
                left.extend(more);
                left.sort();
                left.dedup();
                left.reverse();
            }
            changed.extend(differs);
        }
        changed
    }

    /// What the clusters say of each Active-Active database, as one answer: by id, or why that is not known.
    async fn crdb_health(&self) -> Result<Answer, CallError> {
        let mut answer = self.client.get(facts::CRDBS).await?;
        if answer.status != 200 {
            return Ok(answer);
        }
        let mut all = serde_json::Map::new();
        for guid in facts::guids(&answer) {
            let report = self.client.get(&format!("{}/{guid}/health_report", facts::CRDBS)).await;
            let report = match report.map(|it| (it.status, serde_json::from_slice::<Value>(&it.body))) {
                Ok((200, Ok(report))) => report,
                Ok((status, _)) => json!({"error": format!("HTTP status {status}")}),
                Err(error) => json!({"error": error.to_string()}),
            };
            all.insert(guid, report);
        }
        answer.body = Value::Object(all).to_string().into();
        Ok(answer)
    }

    fn store(
        &self,
        kind: FactKind,
        generation: u64,
        known: Known,
        raw: Option<[u8; 32]>,
        news: &watch::Sender<u64>,
    ) -> Option<(String, Difference)> {
        let changed = self.snapshot.lock().store(kind, generation, known, raw, Instant::now());
        news.send_modify(|count| *count = count.wrapping_add(1));
        Some((Source::of(kind)?.name.to_owned(), changed?))
    }

    /// Tells what changed; `None`: anything may have.
    fn tell(&self, facts: Option<Vec<(String, Difference)>>) {
        // Nobody listens while the operator starts; whoever comes then looks at everything anyway.
        let _ = self.changes.send(News { system: self.system.clone(), facts: facts.map(Arc::new) });
    }
}
