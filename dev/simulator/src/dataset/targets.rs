//! The shards of a database as a place to write to: each key goes where its slot is.

use std::io;

use super::Trouble;
use crate::{
    proxy::Place,
    resp::{Connection, encode, text_of},
    shard::INTERNAL_USER,
    slots,
};

/// Connections to all masters of a database, as the cluster itself.
pub(crate) struct Targets {
    shards: Vec<(Place, Connection)>,
    /// Keys of other slots are left alone.
    accepts: (u16, u16),
}

impl Targets {
    /// Connects.
    pub(crate) async fn open(places: &[Place], secret: &str) -> io::Result<Self> {
        let mut shards = Vec::new();
        for place in places {
            let mut connection = Connection::open(&place.host, place.port).await?;
            connection.demand(&["AUTH", INTERNAL_USER, secret]).await?;
            shards.push((place.clone(), connection));
        }
        Ok(Self { shards, accepts: (0, slots::SLOTS - 1) })
    }

    /// For what comes from one shard of several: after its database was resharded it has keys of the others, old ones, and deletes
    /// them in its own time.
    pub(crate) fn only(self, slots: (u16, u16)) -> Self {
        Self { accepts: slots, ..self }
    }

    /// The same on every shard.
    pub(crate) async fn on_all<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        for (_, shard) in &mut self.shards {
            shard.demand(words).await?;
        }
        Ok(())
    }

    /// Commands, each with the key that says where it goes.
    pub(crate) async fn write(&mut self, commands: &[(Vec<u8>, Vec<Vec<u8>>)]) -> Result<(), Trouble> {
        let broken = |error: io::Error| Trouble::general(format!("a shard broke off: {error}"));
        let accepts = self.accepts;
        for (place, shard) in &mut self.shards {
            let (first, last) = (place.slots.0.max(accepts.0), place.slots.1.min(accepts.1));
            let own = commands.iter().filter(|(key, _)| (first..=last).contains(&slots::slot_of(key)));
            let mut bytes = Vec::new();
            let count = own.map(|(_, words)| bytes.extend(encode(words))).count();
            if count == 0 {
                continue;
            }
            shard.send(&bytes).await.map_err(broken)?;
            for _ in 0..count {
                let reply = shard.reply().await.map_err(broken)?;
                if reply.starts_with(b"-OOM") {
                    return Err(Trouble::new("out-of-memory", text_of(&reply)));
                }
                if reply.starts_with(b"-") {
                    return Err(Trouble::general(text_of(&reply)));
                }
            }
        }
        Ok(())
    }

    /// The keys of a command, as redis-server sees them.
    pub(crate) async fn keys_of(&mut self, words: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
        let Some((_, shard)) = self.shards.first_mut() else { return Ok(Vec::new()) };
        let mut question: Vec<Vec<u8>> = vec![b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
        question.extend(words.iter().cloned());
        let reply = shard.ask(&question).await?;
        Ok(if reply.starts_with(b"-") { Vec::new() } else { crate::resp::strings_of(&reply) })
    }
}

impl Targets {
    /// Removes all keys of a range of slots.
    pub(crate) async fn clear(&mut self, range: (u16, u16)) -> Result<(), Trouble> {
        let broken = |error: io::Error| Trouble::general(format!("a shard broke off: {error}"));
        for (_, shard) in &mut self.shards {
            let mut cursor = b"0".to_vec();
            loop {
                let question = [b"SCAN".as_slice(), &cursor, b"COUNT", b"1000"];
                let mut found = crate::resp::strings_of(&shard.demand(&question).await.map_err(broken)?).into_iter();
                cursor = found.next().unwrap_or_default();
                let mut words = vec![b"UNLINK".to_vec()];
                words.extend(found.filter(|key| (range.0..=range.1).contains(&slots::slot_of(key))));
                if words.len() > 1 {
                    shard.demand(&words).await.map_err(broken)?;
                }
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(())
    }
}
