//! How the nodes agree: one of them, the master, changes the state; a majority has it on disk before a change counts.
//!
//! This is Raft with a log of length one. The whole state is small, so it is what is replicated; there is nothing to
//! compact, and a node that was away needs one message. What Raft proves about entries holds for stamps
//! `(term, generation)`: a master is elected only with a state that no newer agreed one exists of, and it agrees on its own
//! state again before it serves. A node votes once it has the state, and members change one at a time.

mod election;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tracing::{info, warn};

use crate::{
    agent, clock,
    node::{Node, Snapshot},
    peers::{self, Append, AppendReply, NodeReport},
    state::{ClusterState, Command, Context, Refusal},
    store::{self, Durable, Stamp},
};

/// Often enough that three are missed before anybody worries.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// How often the other nodes of a cluster without data get the state: it may be large, and is on nobody's disk.
const SELDOM: Duration = Duration::from_secs(30);

/// A peer that has not answered in this time will not.
const PEER_LIMIT: Duration = Duration::from_millis(1000);

/// A change that no majority has after this time is answered with 503; it may still come to be.
const COMMIT_LIMIT: Duration = Duration::from_secs(4);

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows, or looks for somebody to follow.
    Follower,
    /// It was elected; `ready` once its own state is agreed upon.
    Leader {
        /// Whether it serves.
        ready: bool,
    },
}

#[derive(Debug)]
struct Peer {
    accepted: Stamp,
    heard: Instant,
    busy: bool,
    /// What it was last told and when.
    told: Option<(Instant, Stamp, u64)>,
    /// When it was last sent the state.
    sent: Option<Instant>,
}

/// A node's place in the cluster.
pub struct Core {
    /// What is on disk; `None` before the node is a member.
    pub durable: Option<Durable>,
    /// Its role.
    pub role: Role,
    /// The master it follows and where that is.
    pub leader: Option<(u32, String)>,
    /// When it last heard of a master.
    heard: Instant,
    /// Whether it was part of a majority since the process started.
    pub settled: bool,
    /// Where peers said they are, newer than what the state says.
    addresses: BTreeMap<u32, String>,
    peers: BTreeMap<u32, Peer>,
    /// Not to become a candidate before this time: it handed the mastership on.
    pause: Option<Instant>,
    /// Peers' reports, with the time of each; complete on the master only.
    pub reports: BTreeMap<u32, (Instant, NodeReport)>,
    /// Whether peers are cut off on purpose.
    pub isolated: bool,
}

impl Core {
    /// A node that knows what its volume says.
    pub fn new(durable: Option<Durable>) -> Self {
        Self {
            durable,
            role: Role::Follower,
            leader: None,
            heard: Instant::now(),
            settled: false,
            addresses: BTreeMap::new(),
            peers: BTreeMap::new(),
            pause: None,
            reports: BTreeMap::new(),
            isolated: false,
        }
    }

    /// This node's number, once it has one.
    pub fn uid(&self) -> Option<u32> {
        self.durable.as_ref().map(|durable| durable.uid)
    }

    /// Whether it decides for the cluster now.
    pub fn leads(&self) -> bool {
        self.role == (Role::Leader { ready: true })
    }

    /// The master, if it was heard of lately.
    pub fn known_master(&self, lately: Duration) -> Option<(u32, String)> {
        self.leader.clone().filter(|_| self.role != Role::Follower || self.heard.elapsed() < lately)
    }

    fn others(&self) -> Vec<(u32, String)> {
        let Some(durable) = &self.durable else { return Vec::new() };
        let known = durable.state.nodes.values().filter(|node| node.uid != durable.uid);
        known.map(|node| (node.uid, self.addresses.get(&node.uid).unwrap_or(&node.addr).clone())).collect()
    }

    /// Whether the nodes that satisfy `agrees`, and this one, are a majority of voters.
    fn majority(&self, agrees: impl Fn(&Peer) -> bool) -> bool {
        let Some(durable) = &self.durable else { return false };
        let voters = durable.state.nodes.values().filter(|node| node.voter);
        let count =
            voters.filter(|node| node.uid == durable.uid || self.peers.get(&node.uid).is_some_and(&agrees)).count();
        count >= durable.state.majority()
    }

    fn follow(&mut self, leader: Option<(u32, String)>) {
        self.role = Role::Follower;
        self.leader = leader;
    }
}

impl Node {
    fn persist(&self, core: &Core) -> Result<(), Refusal> {
        let Some(durable) = core.durable.as_ref().filter(|_| !self.settings.without_data) else { return Ok(()) };
        store::save(&store::path(&self.settings.data), durable).map_err(|error| {
            warn!(%error, "failed to write the configuration store");
            Refusal::new(500, "internal_error", "the configuration store cannot be written")
        })
    }

    /// Makes what is agreed upon visible to everything on this node.
    fn publish(&self, core: &mut Core) {
        core.settled = true;
        if let Some(durable) = &core.durable {
            let snapshot =
                Snapshot { uid: durable.uid, generation: durable.committed, state: Arc::clone(&durable.state) };
            self.committed.send_replace(Some(Arc::new(snapshot)));
        }
    }

    /// Becomes the only member of a cluster.
    pub fn adopt_alone(&self, uid: u32, state: ClusterState) -> Result<(), Refusal> {
        let mut core = self.core.lock();
        let term = core.durable.as_ref().map_or(1, |durable| durable.term + 1);
        let generation = core.durable.as_ref().map_or(1, |durable| durable.accepted.1 + 1);
        core.durable = Some(Durable {
            uid,
            term,
            voted_for: Some(uid),
            accepted: (term, generation),
            committed: generation,
            removed: false,
            state: Arc::new(state),
        });
        self.persist(&core)?;
        core.peers.clear();
        core.reports.clear();
        core.leader = Some((uid, self.settings.address.clone()));
        core.role = Role::Leader { ready: true };
        self.publish(&mut core);
        self.stir.notify_one();
        Ok(())
    }

    /// Becomes a member of a cluster that accepted it; it has no vote until the master says so.
    pub fn adopt_membership(
        &self,
        uid: u32,
        entry: Stamp,
        state: ClusterState,
        leader: (u32, String),
    ) -> Result<(), Refusal> {
        let mut core = self.core.lock();
        core.durable = Some(Durable {
            uid,
            term: entry.0,
            voted_for: None,
            accepted: entry,
            committed: entry.1,
            removed: false,
            state: Arc::new(state),
        });
        self.persist(&core)?;
        core.heard = Instant::now();
        core.follow(Some(leader));
        self.publish(&mut core);
        Ok(())
    }

    /// Changes the state: all commands or none. Returns once a majority has the result on disk.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Value>, Refusal> {
        let _one_at_a_time = self.writing.lock().await;
        let (generation, values) = {
            let mut core = self.core.lock();
            if !core.leads() {
                return Err(Refusal::no_quorum());
            }
            let Some(durable) = &core.durable else { return Err(Refusal::no_quorum()) };
            let mut state = ClusterState::clone(&durable.state);
            let ctx = self.context();
            let values =
                commands.into_iter().map(|command| state.apply(command, &ctx)).collect::<Result<Vec<_>, _>>()?;
            (self.accept(&mut core, state)?, values)
        };
        self.stir.notify_one();
        let mut committed = self.committed.subscribe();
        let agreed =
            committed.wait_for(|snapshot| snapshot.as_ref().is_some_and(|snapshot| snapshot.generation >= generation));
        match tokio::time::timeout(COMMIT_LIMIT, agreed).await {
            Ok(Ok(_)) => Ok(values),
            _ => Err(Refusal::no_quorum()),
        }
    }

    /// Changes the state by one command.
    pub async fn propose_one(&self, command: Command) -> Result<Value, Refusal> {
        Ok(self.propose(vec![command]).await?.pop().unwrap_or(Value::Null))
    }

    /// The time and the seed, for commands.
    pub fn context(&self) -> Context {
        Context { now: clock::now(), scale: self.settings.scale, seed: self.settings.seed }
    }

    /// As master: writes a new state here; the others follow.
    fn accept(&self, core: &mut Core, state: ClusterState) -> Result<u64, Refusal> {
        let Some(durable) = &mut core.durable else { return Err(Refusal::no_quorum()) };
        let before = durable.clone();
        durable.accepted = (durable.term, durable.accepted.1 + 1);
        durable.state = Arc::new(state);
        let generation = durable.accepted.1;
        if let Err(refusal) = self.persist(core) {
            core.durable = Some(before);
            return Err(refusal);
        }
        self.advance(core);
        Ok(generation)
    }

    /// As master: notes agreement when a majority has the newest state.
    fn advance(&self, core: &mut Core) {
        let Some(entry) = core.durable.as_ref().map(|durable| durable.accepted) else { return };
        // Without data nothing outlives the master anyway.
        let agreed = || self.settings.without_data || core.majority(|peer| peer.accepted == entry);
        if core.role == Role::Follower || !agreed() {
            return;
        }
        let Some(durable) = &mut core.durable else { return };
        let news = durable.committed != entry.1;
        durable.committed = entry.1;
        if core.role == (Role::Leader { ready: false }) {
            info!(term = entry.0, generation = entry.1, "this node is the master now");
            core.role = Role::Leader { ready: true };
        }
        if news {
            self.publish(core);
            self.stir.notify_one();
        }
    }

    /// Runs for as long as the process: heartbeats as master, watching for them otherwise.
    pub async fn run_consensus(self: Arc<Self>) {
        loop {
            let stirred = self.stir.notified();
            tokio::select! {
                () = stirred => {}
                () = tokio::time::sleep(HEARTBEAT / 4) => {}
            }
            let role = self.core.lock().role;
            match role {
                Role::Leader { .. } => self.lead(),
                // Without data no other node has the newest state, so none takes over.
                Role::Follower if self.settings.without_data => {}
                Role::Follower => self.watch_master().await,
            }
        }
    }

    /// One round as master: steps down if alone, else speaks to whom it is time to.
    fn lead(self: &Arc<Self>) {
        let mut core = self.core.lock();
        let lease = self.settings.election_timeout();
        let fresh = |peer: &Peer| peer.heard.elapsed() < lease;
        let started = core.heard;
        if !self.settings.without_data && !core.majority(fresh) && started.elapsed() > lease {
            warn!("no majority answers: this node is no longer the master");
            core.follow(None);
            return;
        }
        let now = Instant::now();
        let commit = core.durable.as_ref().map(|durable| durable.committed).unwrap_or_default();
        for (uid, address) in core.others() {
            let entry = core.durable.as_ref().map(|durable| durable.accepted).unwrap_or_default();
            let peer = core.peers.entry(uid).or_insert(Peer {
                accepted: (0, 0),
                heard: started,
                busy: false,
                told: None,
                sent: None,
            });
            let due = peer.told.is_none_or(|(when, stamp, told)| {
                now.duration_since(when) >= HEARTBEAT || stamp != entry || told != commit
            });
            if peer.busy || !due {
                continue;
            }
            peer.busy = true;
            peer.told = Some((now, entry, commit));
            let lacks = peer.accepted != entry
                && !(self.settings.without_data && peer.sent.is_some_and(|sent| sent.elapsed() < SELDOM));
            if lacks {
                peer.sent = Some(now);
            }
            let Some(durable) = &core.durable else { return };
            let message = Append {
                incarnation: durable.state.incarnation.clone(),
                term: durable.term,
                leader: durable.uid,
                leader_addr: self.settings.address.clone(),
                to: uid,
                entry,
                commit: durable.committed,
                state: lacks.then(|| ClusterState::clone(&durable.state)),
            };
            let node = Arc::clone(self);
            let isolated = core.isolated;
            // Bounded by PEER_LIMIT, and at most one for each peer.
            tokio::spawn(async move {
                let reply = if isolated {
                    Err("isolated".to_owned())
                } else {
                    peers::ask(&address, "/peer/append", &message, PEER_LIMIT).await
                };
                node.heard_of(uid, message.term, reply);
            });
        }
    }

    fn heard_of(&self, uid: u32, term: u64, reply: Result<AppendReply, String>) {
        let mut core = self.core.lock();
        let Some(peer) = core.peers.get_mut(&uid) else { return };
        peer.busy = false;
        let Ok(reply) = reply else { return };
        let Some(durable) = &mut core.durable else { return };
        if durable.term != term {
            return;
        }
        if reply.term > durable.term {
            durable.term = reply.term;
            durable.voted_for = None;
            core.follow(None);
            let _ = self.persist(&core);
            return;
        }
        if let Some(peer) = core.peers.get_mut(&uid) {
            peer.heard = Instant::now();
            peer.accepted = reply.accepted;
        }
        core.addresses.insert(uid, reply.report.addr.clone());
        core.reports.insert(uid, (Instant::now(), reply.report));
        let behind = core.durable.as_ref().is_some_and(|durable| durable.accepted != reply.accepted);
        self.advance(&mut core);
        if behind {
            self.stir.notify_one();
        }
    }

    /// Answers the master.
    pub fn on_append(&self, append: Append) -> Option<AppendReply> {
        let report = self.report();
        let mut core = self.core.lock();
        let durable = core.durable.as_mut().filter(|durable| !durable.removed)?;
        if durable.state.incarnation != append.incarnation || durable.uid != append.to {
            return None;
        }
        if append.term < durable.term {
            return Some(AppendReply { term: durable.term, accepted: durable.accepted, report });
        }
        let before = durable.clone();
        if append.term > durable.term {
            (durable.term, durable.voted_for) = (append.term, None);
        }
        let mut changed = append.term > before.term;
        if let Some(state) = append.state.filter(|_| append.entry > durable.accepted) {
            (durable.accepted, durable.state) = (append.entry, Arc::new(state));
            changed = true;
        }
        if changed && self.persist(&core).is_err() {
            core.durable = Some(before);
            return None;
        }
        core.heard = Instant::now();
        core.follow(Some((append.leader, append.leader_addr)));
        let durable = core.durable.as_mut()?;
        let reply = AppendReply { term: durable.term, accepted: durable.accepted, report };
        if durable.accepted == append.entry
            && append.commit == append.entry.1
            && (durable.committed != append.commit || !core.settled)
        {
            if let Some(durable) = &mut core.durable {
                durable.committed = append.commit;
            }
            self.publish(&mut core);
        }
        Some(reply)
    }

    /// Hands the mastership on: stops leading, and does not stand again for a while.
    pub fn abdicate(&self) {
        let mut core = self.core.lock();
        core.follow(None);
        core.pause = Some(Instant::now() + self.settings.election_timeout() * 2);
    }

    /// How long ago each node was heard of, with its report; for the master.
    pub fn observed(&self) -> BTreeMap<u32, (Duration, NodeReport)> {
        let own = self.report();
        let core = self.core.lock();
        let mut all: BTreeMap<_, _> =
            core.reports.iter().map(|(uid, (when, report))| (*uid, (when.elapsed(), report.clone()))).collect();
        if let Some(uid) = core.uid() {
            all.insert(uid, (Duration::ZERO, own));
        }
        if let (true, Some(durable)) = (self.settings.without_data, &core.durable) {
            for (uid, (_, report)) in &mut all {
                (report.shards, report.endpoints) = agent::pretended(&durable.state, *uid);
            }
        }
        all
    }

    /// For how long this node has been master.
    pub fn leading_for(&self) -> Option<Duration> {
        let core = self.core.lock();
        core.leads().then(|| core.heard.elapsed())
    }

    /// Peers that have the newest state on disk.
    pub fn caught_up(&self) -> BTreeSet<u32> {
        let core = self.core.lock();
        let entry = core.durable.as_ref().map(|durable| durable.accepted);
        core.peers.iter().filter(|(_, peer)| Some(peer.accepted) == entry).map(|(uid, _)| *uid).collect()
    }
}
