//! Writes to an Active-Active database: each goes to the script that keeps what other clusters need to merge it.
//!
//! The script runs as the cluster's own user, after redis-server said that the client's may do this. What cannot run in a script, and
//! what is in a transaction, runs as it is, and then the script looks at what came of it.

use std::{collections::BTreeSet, io, sync::OnceLock};

use super::{
    client::{Client, STREAMS},
    merge::error,
};
use crate::{
    crdt::{self, Replica},
    resp::{self, Words},
    slots,
};

/// Run as they are: they wait, or are scripts themselves.
const NATIVE: [&str; 11] =
    ["EVAL", "EVALSHA", "FCALL", "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP"];

/// The names of redis-server's commands that write; those of containers too. The same for all databases of a node.
static WRITES: OnceLock<BTreeSet<String>> = OnceLock::new();

impl Client {
    /// The reply, if the database is Active-Active and the command is one that is treated differently there.
    pub(super) async fn replicated(&mut self, name: &str, words: &Words) -> io::Result<Option<Vec<u8>>> {
        let Some(replica) = self.route.crdt.clone() else { return Ok(None) };
        let tracking = name == "CLIENT" && words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"TRACKING"));
        if STREAMS.contains(&name) || tracking {
            return Ok(Some(error(&format!(
                "ERR the simulator's proxy does not support {name} here on an Active-Active database"
            ))));
        }
        if name == "WAIT" {
            return self.wait(words).await.map(Some);
        }
        if name == "FLUSHALL" || name == "FLUSHDB" {
            return Ok(Some(error(&format!(
                "ERR {name} is not for Active-Active databases: PUT /v1/crdbs/{}/flush empties all clusters",
                replica.guid
            ))));
        }
        let native = NATIVE.contains(&name);
        if !native && !self.writes(&replica).await?.contains(name) {
            return Ok(None);
        }
        let keys = self.written_keys(&replica, words).await?;
        let Some(first) = keys.first() else { return Ok(None) };
        let index = self.index_of(first);
        if self.sharded() && keys.iter().any(|key| slots::slot_of(key) != slots::slot_of(first)) {
            return Ok(Some(error("CROSSSLOT Keys in request don't hash to the same slot")));
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.is_open()) {
            self.later.extend(keys);
            return Ok(None);
        }
        if let Some(refusal) = self.may_not(&replica, index, words).await? {
            return Ok(Some(refusal));
        }
        if native {
            let reply = self.ask(index, words).await?;
            self.inner(&replica, index).await?.demand::<_, &str>("absorb", &keys, &[]).await?;
            return Ok(Some(reply));
        }
        self.inner(&replica, index).await?.ask("run", &keys, words).await.map(Some)
    }

    /// A shard knows what to wait for by the connection that wrote.
    async fn wait(&mut self, words: &Words) -> io::Result<Vec<u8>> {
        let mut least = None;
        for index in 0..self.shards.len() {
            let mut replies = vec![self.ask(index, words).await?];
            if let Some(inner) = self.shards.get_mut(index).and_then(|shard| shard.inner.as_mut()) {
                replies.push(inner.connection.ask(words).await?);
            }
            for reply in replies {
                let Some(count) = resp::integer_of(&reply) else { return Ok(reply) };
                least = Some(least.map_or(count, |least: i64| least.min(count)));
            }
        }
        Ok(format!(":{}\r\n", least.unwrap_or(0)).into_bytes())
    }

    /// Has what a transaction wrote noted.
    pub(super) async fn note_transaction(&mut self) -> io::Result<()> {
        let keys = std::mem::take(&mut self.later);
        let Some(replica) = self.route.crdt.clone() else { return Ok(()) };
        if let Some(first) = keys.first() {
            let index = self.index_of(first);
            self.inner(&replica, index).await?.demand::<_, &str>("absorb", &keys, &[]).await?;
        }
        Ok(())
    }

    async fn inner(&mut self, replica: &Replica, index: usize) -> io::Result<&mut crdt::Shard> {
        let newer = self.speaks_resp3();
        let shard = self.shards.get_mut(index).ok_or(io::ErrorKind::NotFound)?;
        if shard.inner.is_none() {
            let mut fresh = replica.open(&shard.place).await?;
            if newer {
                // What it answers is passed on.
                fresh.connection.demand(&["HELLO", "3"]).await?;
            }
            shard.inner = Some(fresh);
        }
        shard.inner.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn writes(&mut self, replica: &Replica) -> io::Result<&'static BTreeSet<String>> {
        if let Some(known) = WRITES.get() {
            return Ok(known);
        }
        let question = ["COMMAND", "LIST", "FILTERBY", "ACLCAT", "write"];
        let listed = self.inner(replica, 0).await?.connection.demand(&question).await?;
        let names = resp::strings_of(&listed).into_iter().map(|name| {
            let name = String::from_utf8_lossy(&name).to_uppercase();
            name.split('|').next().unwrap_or_default().to_owned()
        });
        Ok(WRITES.get_or_init(|| names.collect()))
    }

    async fn written_keys(&mut self, replica: &Replica, words: &Words) -> io::Result<Vec<Vec<u8>>> {
        let mut question: Words = vec![b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
        question.extend(words.iter().cloned());
        let reply = self.inner(replica, 0).await?.connection.ask(&question).await?;
        Ok(if reply.starts_with(b"-") { Vec::new() } else { resp::strings_of(&reply) })
    }

    /// Why this client may not do this: it has not said who it is, or is one that may not.
    async fn may_not(&mut self, replica: &Replica, index: usize, words: &Words) -> io::Result<Option<Vec<u8>>> {
        if !self.known {
            let reply = self.ask(index, &["PING"]).await?;
            if reply.starts_with(b"-NOAUTH") {
                return Ok(Some(reply));
            }
            self.known = true;
        }
        let mut question: Words = vec![b"ACL".to_vec(), b"DRYRUN".to_vec(), self.user()];
        question.extend(words.iter().cloned());
        let reply = self.inner(replica, index).await?.connection.ask(&question).await?;
        Ok(if reply.starts_with(b"+OK") { None } else { Some(error(&format!("NOPERM {}", resp::text_of(&reply)))) })
    }

    /// The Redis user that the client is.
    fn user(&self) -> Vec<u8> {
        let named = self.greetings.iter().rev().find_map(|(name, words)| match name.as_str() {
            "AUTH" if words.len() > 2 => words.get(1).cloned(),
            "AUTH" => Some(b"default".to_vec()),
            "HELLO" => {
                let at = words.iter().position(|word| word.eq_ignore_ascii_case(b"AUTH"))?;
                words.get(at + 1).cloned()
            }
            _ => None,
        });
        named.unwrap_or_else(|| b"default".to_vec())
    }
}
