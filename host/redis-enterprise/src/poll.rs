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
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepwright_core::part::Difference;
use stepwright_operator::system::{self, News, ResolvedCall, SystemId};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::client::{Client, Tools};
use crate::connection::Answer;
use crate::error::CallError;
use crate::facts::{self, FactKind, Known, Source};
use crate::snapshot::{self, Next, Snapshot};

/// Facts that are read at the same time; calls go between them.
const AT_ONCE: usize = 2;

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

    /// Sends a call that changes something. What it may have changed is not taken for known afterwards; a single database is read
    /// before the call counts as answered.
    pub(crate) async fn change(&self, call: &ResolvedCall) -> Result<Answer, CallError> {
        let one = snapshot::database_of(&call.path);
        let creates = call.method == "POST" && Source::of(FactKind::Bdbs).is_some_and(|it| it.path == call.path);
        if one.is_none() && !creates {
            // What is read while the call is under way may be from before it.
            self.called(&call.path);
        }
        let answer = self.client.call(call).await;
        let changed = match &answer {
            Ok(answer) if creates && answer.status == 200 => uid_of(answer),
            Ok(_) => one,
            Err(_) => None,
        };
        let seen = match changed {
            Some(uid) => self.look_at(uid).await,
            None => false,
        };
        if seen {
            self.snapshot.lock().stirred(Instant::now(), &self.tools.settings);
            self.wake.notify_one();
        } else {
            self.called(&call.path);
        }
        answer
    }

    /// Whatever is known may be old.
    fn called(&self, path: &str) {
        self.snapshot.lock().called(path, Instant::now(), &self.tools.settings);
        self.wake.notify_one();
    }

    /// Reads one database; whether it is known now how that is.
    async fn look_at(&self, uid: u64) -> bool {
        let Some(source) = Source::of(FactKind::Bdbs) else { return false };
        let began = self.snapshot.lock().begin_alone();
        let Ok(answer) = self.client.get(&format!("{}/{uid}", source.path)).await else { return false };
        let Some(item) = facts::know_item(source, &answer, &self.tools.fingerprinter) else { return false };
        let stored = self.snapshot.lock().store_alone(uid, began, item, Instant::now());
        let Ok(changed) = stored else { return false };
        if let Some(difference) = changed {
            self.tell(Some(vec![(source.name.to_owned(), difference)]));
        }
        true
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

    /// The first alone, since what it says may add to the rest; then these, some at a time. Once nobody answered, nobody is asked
    /// again right now. Says what changed.
    async fn read_cluster(
        &self,
        kinds: impl Iterator<Item = FactKind>,
        generation: u64,
        news: &watch::Sender<u64>,
    ) -> Vec<(String, Difference)> {
        let mut left: Vec<FactKind> = kinds.collect();
        left.sort_by_key(|kind| (*kind != FactKind::NodesStatus, *kind));
        let Some(first) = left.first().copied() else { return Vec::new() };
        let (known, raw, state_id) = self.read_one(first).await;
        let failure = known.value.as_ref().err().filter(|_| raw.is_none()).cloned();
        let good = known.value.is_ok();
        let difference = self.store(first, generation, known, raw, news);
        left.remove(0);
        if first == FactKind::NodesStatus && good {
            left.extend(self.snapshot.lock().note_state(state_id, difference.is_some()));
            left.sort();
            left.dedup();
        }
        let failure = &Mutex::new(failure);
        let rest = stream::iter(left).map(|kind| async move {
            let reason = failure.lock().clone();
            let (known, raw) = match reason {
                Some(reason) => (Known::unanswered(reason), None),
                None => {
                    let (known, raw, _) = self.read_one(kind).await;
                    if let (Err(reason), None) = (&known.value, raw) {
                        failure.lock().get_or_insert_with(|| reason.clone());
                    }
                    (known, raw)
                }
            };
            self.store(kind, generation, known, raw, news)
        });
        let rest: Vec<_> = rest.buffered(AT_ONCE).collect().await;
        difference.into_iter().chain(rest.into_iter().flatten()).collect()
    }

    /// A fact of the cluster; the digest of what it was made of, if anybody answered; the number of the configuration.
    async fn read_one(&self, kind: FactKind) -> (Known, Option<[u8; 32]>, Option<String>) {
        let Some(source) = Source::of(kind) else { return (Known::unanswered("no such fact".to_owned()), None, None) };
        let answer = match kind {
            FactKind::CrdbHealth => self.crdb_health().await,
            _ => self.client.get(source.path).await,
        };
        match answer {
            Ok(answer) => {
                let raw: [u8; 32] =
                    Sha256::new_with_prefix(answer.status.to_le_bytes()).chain_update(&answer.body).finalize().into();
                let (same, items) = {
                    let snapshot = self.snapshot.lock();
                    (snapshot.same(kind, &raw), snapshot.items(kind))
                };
                let known = same.unwrap_or_else(|| facts::know(source, &answer, &items, &self.tools.fingerprinter));
                (known, Some(raw), answer.state_id)
            }
            Err(error) => {
                debug!(system = %self.system, fact = source.name, %error, "fact is not known");
                (Known::from(error), None, None)
            }
        }
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

/// The uid of what was made, by the reply.
fn uid_of(answer: &Answer) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(&answer.body).ok()?.get("uid")?.as_u64()
}
