//! Who becomes master: standing for election, and voting.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tracing::{info, warn};

use super::{Core, HEARTBEAT, PEER_LIMIT, Role};
use crate::{
    node::Node,
    peers::{self, Vote, VoteReply},
    state::ClusterState,
};

impl Node {
    /// As follower: asks to be elected when no master is heard of. The lower the number, the sooner.
    pub(super) async fn watch_master(self: &Arc<Self>) {
        let go = {
            let core = self.core.lock();
            let Some(durable) = core.durable.as_ref().filter(|durable| !durable.removed) else { return };
            let rank = u32::try_from(durable.state.nodes.keys().filter(|uid| **uid < durable.uid).count()).unwrap_or(0);
            // A process that has just started waits less: nobody can have been master through it.
            let patience = if core.settled { self.settings.election_timeout() } else { HEARTBEAT * 3 };
            let paused = core.pause.is_some_and(|until| Instant::now() < until);
            !paused && core.heard.elapsed() > patience + HEARTBEAT * rank
        };
        if go {
            self.stand(false).await;
        }
    }

    /// Stands for election.
    pub async fn stand(self: &Arc<Self>, transfer: bool) {
        if !transfer && !self.canvass(true, false).await {
            // Asked again after a pause, so that a lonely node does not spin.
            let mut core = self.core.lock();
            let pause = HEARTBEAT * 2 + HEARTBEAT * (core.uid().unwrap_or(0) % 5);
            core.pause = Some(Instant::now() + pause);
            return;
        }
        if !self.canvass(false, transfer).await {
            return;
        }
        let mut core = self.core.lock();
        let Some(durable) = &core.durable else { return };
        let (uid, state) = (durable.uid, ClusterState::clone(&durable.state));
        info!(term = durable.term, "elected");
        core.role = Role::Leader { ready: false };
        core.leader = Some((uid, self.settings.address.clone()));
        core.heard = Instant::now();
        core.peers.clear();
        core.reports.clear();
        if let Err(refusal) = self.accept(&mut core, state) {
            warn!(%refusal, "failed to begin as master");
            core.follow(None);
        }
        drop(core);
        self.stir.notify_one();
    }

    /// Asks all for their vote; true when a majority agrees. Only a real election moves the term.
    async fn canvass(self: &Arc<Self>, preliminary: bool, transfer: bool) -> bool {
        let (vote, others, voters, need) = {
            let mut core = self.core.lock();
            let isolated = core.isolated;
            let Some(durable) = &mut core.durable else { return false };
            let voters: BTreeSet<u32> =
                durable.state.nodes.values().filter(|node| node.voter).map(|node| node.uid).collect();
            if durable.removed || isolated && voters.len() > 1 {
                return false;
            }
            if !preliminary {
                durable.term += 1;
                durable.voted_for = Some(durable.uid);
            }
            let vote = Vote {
                incarnation: durable.state.incarnation.clone(),
                term: durable.term + u64::from(preliminary),
                candidate: durable.uid,
                addr: self.settings.address.clone(),
                last: durable.accepted,
                preliminary,
                transfer,
            };
            let need = durable.state.majority();
            if !preliminary {
                core.follow(None);
                if self.persist(&core).is_err() {
                    return false;
                }
            }
            (Arc::new(vote), core.others(), voters, need)
        };
        let mut asked = tokio::task::JoinSet::new();
        for (uid, address) in others {
            let vote = Arc::clone(&vote);
            asked.spawn(
                async move { (uid, peers::ask::<_, VoteReply>(&address, "/peer/vote", &*vote, PEER_LIMIT).await) },
            );
        }
        let mut granted = usize::from(voters.contains(&vote.candidate));
        let mut removed = 0;
        while granted < need {
            let Some(answer) = asked.join_next().await else { break };
            let Ok((uid, Ok(reply))) = answer else { continue };
            granted += usize::from(reply.granted && voters.contains(&uid));
            removed += usize::from(reply.removed);
            let mut core = self.core.lock();
            if let Some(durable) = core.durable.as_mut().filter(|durable| reply.term > durable.term) {
                (durable.term, durable.voted_for) = (reply.term, None);
                let _ = self.persist(&core);
            }
        }
        let mut core = self.core.lock();
        if removed > 0 {
            self.mark_removed(&mut core);
        }
        let same_term = core.durable.as_ref().is_some_and(|durable| durable.term + u64::from(preliminary) == vote.term);
        granted >= need && same_term && core.role == Role::Follower
    }

    /// This node is no member any more.
    pub fn mark_removed(&self, core: &mut Core) {
        if let Some(durable) = &mut core.durable {
            info!("this node was removed from its cluster");
            durable.removed = true;
            core.follow(None);
            let _ = self.persist(core);
        }
        self.committed.send_replace(None);
    }

    /// Answers a request for a vote.
    pub fn on_vote(&self, vote: &Vote) -> VoteReply {
        let mut core = self.core.lock();
        let quiet = core.heard.elapsed() > self.settings.election_timeout() / 2;
        let leads = core.leads();
        let no = |term| VoteReply { term, granted: false, removed: false };
        let Some(durable) = core.durable.as_mut().filter(|durable| !durable.removed) else { return no(0) };
        if durable.state.incarnation != vote.incarnation {
            return no(0);
        }
        if !durable.state.nodes.contains_key(&vote.candidate) {
            // Only who knows the newest agreed state may say so.
            return VoteReply { term: durable.term, granted: false, removed: leads };
        }
        let newer = vote.last >= durable.accepted;
        let term = durable.term;
        let free = vote.term > durable.term || durable.voted_for.is_none_or(|uid| uid == vote.candidate);
        let granted = newer && vote.term >= durable.term && free && (vote.transfer || (quiet && !leads));
        let was = core.addresses.insert(vote.candidate, vote.addr.clone());
        if was.as_ref() != Some(&vote.addr)
            && let Some(peer) = core.peers.get_mut(&vote.candidate)
        {
            // It restarted elsewhere: what was asked of its old address will not be answered.
            peer.busy = false;
        }
        if vote.preliminary || !granted {
            return VoteReply { term, granted, removed: false };
        }
        if let Some(durable) = &mut core.durable {
            (durable.term, durable.voted_for) = (vote.term, Some(vote.candidate));
        }
        core.follow(None);
        core.heard = Instant::now();
        let granted = self.persist(&core).is_ok();
        VoteReply { term: vote.term, granted, removed: false }
    }
}
