//! The OSS cluster API: a proxy plays one node of a Redis cluster, which holds the slots of the master shards on its own
//! node (REST reference, 16.8).

use super::merge::array;
use crate::{
    resp::bulk,
    state::{Bdb, ClusterState, ShardRole, digest},
};

/// What a proxy tells of the database as a Redis cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oss {
    port: u16,
    own: u32,
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    uid: u32,
    id: String,
    host: String,
    slots: Vec<(u16, u16)>,
}

fn number(value: impl Into<i64>) -> Vec<u8> {
    format!(":{}\r\n", value.into()).into_bytes()
}

fn text(value: &str) -> Vec<u8> {
    bulk(value.as_bytes())
}

impl Oss {
    /// As the proxy on node `own` sees it; none unless the database has the API on.
    pub(super) fn of(state: &ClusterState, bdb: &Bdb, own: u32) -> Option<Self> {
        if !bdb.flag("oss_cluster") {
            return None;
        }
        let external = bdb.text("oss_cluster_api_preferred_ip_type") == "external";
        let member = |uid: &u32| {
            let node = state.nodes.get(uid)?;
            let outside = node.external_addr.first().filter(|_| external);
            let here = bdb.shards.iter().filter(|one| one.node == *uid && one.role == ShardRole::Master);
            let mut slots: Vec<_> = here.map(|shard| shard.slots).collect();
            slots.sort_unstable();
            let id = digest(&[&state.incarnation, "oss", &uid.to_string()]).get(..40).unwrap_or_default().to_owned();
            Some(Member { uid: *uid, id, host: outside.unwrap_or(&node.addr).clone(), slots })
        };
        let members = bdb.endpoint.nodes.iter().filter_map(member).collect();
        Some(Self { port: bdb.endpoint.port, own, members })
    }

    fn ranges(&self) -> impl Iterator<Item = (&Member, (u16, u16))> {
        let mut ranges: Vec<_> =
            self.members.iter().flat_map(|member| member.slots.iter().map(move |range| (member, *range))).collect();
        ranges.sort_by_key(|(_, range)| *range);
        ranges.into_iter()
    }

    /// The refusal that names the right proxy, if this is not the one for a slot.
    pub(super) fn moved(&self, slot: u16) -> Option<Vec<u8>> {
        let (owner, _) = self.ranges().find(|(_, (first, last))| (*first..=*last).contains(&slot))?;
        (owner.uid != self.own).then(|| format!("-MOVED {slot} {}:{}\r\n", owner.host, self.port).into_bytes())
    }

    /// The answer to `CLUSTER` and a word; none if that is for the shard to answer.
    pub(super) fn answer(&self, word: &str) -> Option<Vec<u8>> {
        match word {
            "SLOTS" => {
                let entry = |(member, (first, last)): (&Member, (u16, u16))| {
                    let node = array(&[text(&member.host), number(self.port), text(&member.id), array(&[])]);
                    array(&[number(first), number(last), node])
                };
                Some(array(&self.ranges().map(entry).collect::<Vec<_>>()))
            }
            "SHARDS" => {
                let shard = |member: &Member| {
                    let slots = member.slots.iter().flat_map(|(first, last)| [number(*first), number(*last)]);
                    let node = array(&[
                        text("id"),
                        text(&member.id),
                        text("port"),
                        number(self.port),
                        text("ip"),
                        text(&member.host),
                        text("endpoint"),
                        text(&member.host),
                        text("role"),
                        text("master"),
                        text("replication-offset"),
                        number(0),
                        text("health"),
                        text("online"),
                    ]);
                    array(&[text("slots"), array(&slots.collect::<Vec<_>>()), text("nodes"), array(&[node])])
                };
                Some(array(&self.members.iter().map(shard).collect::<Vec<_>>()))
            }
            "NODES" => {
                let line = |member: &Member| {
                    let flags = if member.uid == self.own { "myself,master" } else { "master" };
                    let slots: Vec<String> =
                        member.slots.iter().map(|(first, last)| format!("{first}-{last}")).collect();
                    let (host, port) = (&member.host, self.port);
                    let bus = u32::from(port) + 10_000;
                    format!("{} {host}:{port}@{bus} {flags} - 0 0 1 connected {}\n", member.id, slots.join(" "))
                };
                Some(text(&self.members.iter().map(line).collect::<String>()))
            }
            "MYID" => self.members.iter().find(|member| member.uid == self.own).map(|member| text(&member.id)),
            "INFO" => Some(text(&format!(
                "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\ncluster_known_nodes:{0}\r\ncluster_size:{0}\r\n",
                self.members.len()
            ))),
            _ => None,
        }
    }
}
