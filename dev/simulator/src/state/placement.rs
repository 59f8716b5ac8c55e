//! Where shards and endpoints go (REST reference, 16.4): before any change of state, so that a refusal changes nothing.

use super::{Bdb, ClusterState, NodeRecord, Refusal, Shard, ShardRole};
use crate::slots;

/// Shards listen from here on; each has its own port in the cluster.
const FIRST_SHARD_PORT: u16 = 20_000;
const SHARD_PORTS: u16 = 10_000;

/// What a database wants placed.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// How many shard groups.
    pub groups: u32,
    /// Whether each has a replica.
    pub replication: bool,
    /// Memory of one shard.
    pub shard_memory: u64,
    /// Fill the fewest nodes, or spread.
    pub dense: bool,
    /// Master and replica on different racks.
    pub rack_aware: bool,
    /// Only these nodes, unless empty.
    pub use_nodes: &'a [u32],
    /// Not these nodes.
    pub avoid_nodes: &'a [u32],
}

impl ClusterState {
    /// Memory of `node` that no shard has been promised.
    pub fn free_provisional(&self, node: &NodeRecord) -> u64 {
        let promised: u64 = self
            .bdbs
            .values()
            .map(|bdb| bdb.shard_memory() * bdb.shards.iter().filter(|shard| shard.node == node.uid).count() as u64)
            .sum();
        node.provisional_memory().saturating_sub(promised)
    }

    /// Nodes for each group's master and replica.
    pub fn place(&self, wish: &Wish<'_>) -> Result<Vec<(u32, Option<u32>)>, Refusal> {
        let refuse =
            || Refusal::new(406, "insufficient_resources", "Not enough resources in cluster to host the database");
        // Said only if it is the racks alone that stand in the way.
        let refuse_racks = || match self.place(&Wish { rack_aware: false, ..wish.clone() }) {
            Ok(_) if wish.rack_aware => {
                Refusal::new(406, "rack_awareness_violation", "no node on another rack has room for the replica")
            }
            _ => refuse(),
        };
        // (node, free memory, shards placed now)
        let mut room: Vec<(&NodeRecord, u64, u32)> = self
            .nodes
            .values()
            .filter(|node| node.accepts_shards() && node.is_up() && node.voter)
            .filter(|node| wish.use_nodes.is_empty() || wish.use_nodes.contains(&node.uid))
            .filter(|node| !wish.avoid_nodes.contains(&node.uid))
            .map(|node| (node, self.free_provisional(node), 0))
            .collect();
        let mut pick = |taken: Option<(u32, String)>| {
            let fits = |(node, free, _): &(&NodeRecord, u64, u32)| {
                *free >= wish.shard_memory
                    && taken
                        .as_ref()
                        .is_none_or(|(uid, rack)| *uid != node.uid && !(wish.rack_aware && *rack == node.rack_id))
            };
            let best = room.iter_mut().filter(|entry| fits(entry)).max_by_key(|(node, free, placed)| {
                let spread = if wish.dense { i64::from(*placed) } else { -i64::from(*placed) };
                (spread, *free, u32::MAX - node.uid)
            })?;
            best.1 -= wish.shard_memory;
            best.2 += 1;
            Some((best.0.uid, best.0.rack_id.clone()))
        };
        (0..wish.groups)
            .map(|_| {
                let master = pick(None).ok_or_else(refuse)?;
                let uid = master.0;
                let replica =
                    if wish.replication { Some(pick(Some(master)).ok_or_else(refuse_racks)?.0) } else { None };
                Ok((uid, replica))
            })
            .collect()
    }

    /// Adds a replica of `group` on a node that is neither in `avoid` nor holds the group already.
    pub(super) fn add_replica(&mut self, bdb: &mut Bdb, group: u32, avoid: &[u32]) -> Result<(), Refusal> {
        let mut avoid = avoid.to_vec();
        let family: Vec<u32> = bdb.shards.iter().filter(|shard| shard.group == group).map(|shard| shard.node).collect();
        let racks: Vec<&str> =
            family.iter().filter_map(|uid| self.nodes.get(uid)).map(|one| one.rack_id.as_str()).collect();
        // A shard that only moves has no other copy whose rack would be in the way.
        if bdb.flag("rack_aware") && bdb.replication() {
            avoid.extend(self.nodes.values().filter(|one| racks.contains(&one.rack_id.as_str())).map(|one| one.uid));
        }
        avoid.extend(&family);
        let wish = Wish {
            groups: 1,
            replication: false,
            shard_memory: bdb.shard_memory(),
            dense: false,
            rack_aware: false,
            use_nodes: &[],
            avoid_nodes: &avoid,
        };
        let node = self.place(&wish)?.first().map(|(node, _)| *node);
        if let Some(node) = node {
            let shard = self.new_shard(node, ShardRole::Slave, group, bdb.groups());
            bdb.shards.push(shard);
        }
        Ok(())
    }

    /// A shard with a number and a port of its own.
    pub(super) fn new_shard(&mut self, node: u32, role: ShardRole, group: u32, groups: u32) -> Shard {
        self.counters.shard += 1;
        let taken: Vec<u16> = self.bdbs.values().flat_map(|bdb| &bdb.shards).map(|shard| shard.port).collect();
        let offset = u16::try_from(self.counters.shard % u32::from(SHARD_PORTS)).unwrap_or(0);
        let port = (0..SHARD_PORTS)
            .map(|step| FIRST_SHARD_PORT + (offset + step) % SHARD_PORTS)
            .find(|port| !taken.contains(port))
            .unwrap_or(FIRST_SHARD_PORT);
        Shard {
            uid: self.counters.shard,
            node,
            role,
            port,
            group,
            slots: slots::range(group, groups),
            synced: false,
            start: None,
            born: false,
            fresh: false,
            flushes: 0,
        }
    }

    /// A database port that nobody has: the one asked for, or a free one that the database's number suggests.
    pub(super) fn choose_port(&self, wanted: u16, uid: u32, seed: u64) -> Result<u16, Refusal> {
        let taken = |port: u16| self.bdbs.values().any(|bdb| bdb.endpoint.port == port) || self.port_reserved(port);
        if wanted != 0 {
            let system = [
                3333..=3354,
                8001..=8001,
                8070..=8071,
                8080..=8080,
                8443..=8443,
                9080..=9081,
                9443..=9443,
                10_050..=10_050,
            ];
            if !(1024..FIRST_SHARD_PORT).contains(&wanted)
                || taken(wanted)
                || system.iter().any(|range| range.contains(&wanted))
            {
                return Err(Refusal::new(406, "port_unavailable", format!("Port {wanted} is in use or reserved")));
            }
            return Ok(wanted);
        }
        let start = u16::try_from((u64::from(uid) * 4871 + seed * 97 + 4968) % 10_000).unwrap_or(0);
        (0..10_000u16)
            .map(|step| 10_000 + (start + step) % 10_000)
            .find(|port| *port != 10_050 && !taken(*port))
            .ok_or_else(|| Refusal::new(406, "port_unavailable", "no port is free"))
    }

    /// Whether `reserved_ports` (strings, ranges allowed) names the port.
    fn port_reserved(&self, port: u16) -> bool {
        let entries = self.settings.get("reserved_ports").and_then(serde_json::Value::as_array);
        entries.into_iter().flatten().filter_map(serde_json::Value::as_str).any(|entry| {
            let (from, to) = entry.split_once('-').unwrap_or((entry, entry));
            matches!((from.trim().parse::<u16>(), to.trim().parse::<u16>()), (Ok(from), Ok(to)) if (from..=to).contains(&port))
        })
    }

    /// Nodes whose proxies listen for the database, by its proxy policy (REST reference, 6.2).
    pub(super) fn endpoint_nodes(&self, bdb: &Bdb) -> Vec<u32> {
        let serves = |uid: &u32| self.nodes.get(uid).is_some_and(|node| node.is_up() && node.voter);
        let mut masters: Vec<u32> =
            bdb.shards.iter().filter(|shard| shard.role == ShardRole::Master).map(|shard| shard.node).collect();
        masters.sort_unstable();
        masters.dedup();
        match bdb.text("proxy_policy") {
            "all-nodes" => self.nodes.keys().copied().filter(serves).collect(),
            "all-master-shards" => masters.into_iter().filter(serves).collect(),
            // Stay where it is while that node lives and still holds a master, so that clients are not moved for nothing.
            _ => {
                let stays = bdb.endpoint.nodes.iter().copied().find(|uid| serves(uid) && masters.contains(uid));
                stays.or_else(|| masters.into_iter().find(serves)).into_iter().collect()
            }
        }
    }

    /// Recomputes which proxies serve which database.
    pub(super) fn rebind_endpoints(&mut self) {
        let ids: Vec<u32> = self.bdbs.keys().copied().collect();
        for id in ids {
            let Some(mut bdb) = self.bdbs.remove(&id) else { continue };
            let nodes = self.endpoint_nodes(&bdb);
            // With nobody left to serve it, the last binding stays on record, as the address it will come back at.
            if !nodes.is_empty() {
                bdb.endpoint.nodes = nodes;
            }
            self.bdbs.insert(id, bdb);
        }
    }
}
