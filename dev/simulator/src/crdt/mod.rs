//! The data of Active-Active databases: what clients write on one cluster is merged into the redis-servers of the others.
//!
//! A proxy has each write run by a script on its shard ([`Replica`]), which keeps beside the data what is needed to merge it, and a
//! log of the keys that changed. Another cluster's [`link`] asks the proxy for these ([`feed`]) and has the same script merge them. What
//! is sent is the state of what changed, not the command: it may come twice, late, or after a newer one.

pub(crate) mod feed;
pub mod link;
mod way;

use std::io;

use crate::{
    proxy::Place,
    resp::{Connection, text_of},
    shard::INTERNAL_USER,
    state::{Bdb, ClusterState},
};

/// What runs on the shards.
const SCRIPT: &str = include_str!("replica.lua");

/// The word by which another cluster's link opens a proxy.
pub(crate) const GREETING: &str = "_CRDB";

/// What a proxy, or a link, knows of the instance that its shards are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The Active-Active database.
    pub guid: String,
    /// The instance.
    pub id: u32,
    /// How often all data was flushed.
    pub flushes: u32,
    /// What opens the shards.
    pub internal: String,
    /// What opens the proxy for links.
    pub secret: String,
    /// The instances whose links may come.
    pub others: Vec<u32>,
}

impl Replica {
    /// What the state says of a database; none of one that is not Active-Active, or not yet.
    pub fn of(state: &ClusterState, bdb: &Bdb) -> Option<Self> {
        let crdb = state.crdb_of(bdb.uid)?;
        Some(Self {
            guid: crdb.agreed.guid.clone(),
            id: crdb.own,
            flushes: crdb.agreed.flushes,
            internal: bdb.internal_password(state),
            secret: crdb.agreed.secret.clone(),
            others: crdb.others().map(|instance| instance.id).collect(),
        })
    }

    /// Connects to a shard.
    pub(crate) async fn open(&self, place: &Place) -> io::Result<Shard> {
        let mut connection = Connection::open(&place.host, place.port).await?;
        connection.demand(&["AUTH", INTERNAL_USER, &self.internal]).await?;
        let sha = text_of(&connection.demand(&["SCRIPT", "LOAD", SCRIPT]).await?);
        Ok(Shard { connection, sha, id: self.id.to_string(), flushes: self.flushes.to_string() })
    }
}

/// A shard that runs the script.
pub(crate) struct Shard {
    pub(crate) connection: Connection,
    sha: String,
    id: String,
    flushes: String,
}

impl Shard {
    /// Has the script do something with keys. The reply may be an error.
    pub(crate) async fn ask<K: AsRef<[u8]>, W: AsRef<[u8]>>(
        &mut self,
        verb: &str,
        keys: &[K],
        more: &[W],
    ) -> io::Result<Vec<u8>> {
        let mut words: Vec<&[u8]> = vec![b"EVALSHA", self.sha.as_bytes()];
        let count = keys.len().to_string();
        words.push(count.as_bytes());
        words.extend(keys.iter().map(AsRef::as_ref));
        words.extend([verb.as_bytes(), self.id.as_bytes(), self.flushes.as_bytes()]);
        words.extend(more.iter().map(AsRef::as_ref));
        self.connection.ask(&words).await
    }

    /// The same; an error reply is an error.
    pub(crate) async fn demand<K: AsRef<[u8]>, W: AsRef<[u8]>>(
        &mut self,
        verb: &str,
        keys: &[K],
        more: &[W],
    ) -> io::Result<Vec<u8>> {
        let reply = self.ask(verb, keys, more).await?;
        if reply.starts_with(b"-") { Err(io::Error::other(text_of(&reply))) } else { Ok(reply) }
    }
}
