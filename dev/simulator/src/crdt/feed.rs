//! Gives another cluster's link what changed on one shard: all of it first, or what came after what it has.
//!
//! Frames are arrays of strings: `K key state`, `F` before everything is sent, and `P position` when all up to there is.

use std::{collections::BTreeMap, io, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::{Replica, Shard};
use crate::{
    faults::Kind,
    node::Node,
    proxy::Place,
    resp::{Connection, Words, encode, integer_of, strings_of, text_of},
    shard::INTERNAL_USER,
    slots,
};

/// Where the log of a shard begins.
const START: &str = "0-0";

/// From this length on the log may have lost its beginning: the script keeps some 100 000 entries.
const LOSES: i64 = 90_000;

/// Keys that changed, each with the elements that did, or none for all of them.
type Changed = BTreeMap<Vec<u8>, Option<Vec<Vec<u8>>>>;

/// A shard, and what is said to the link.
struct Feed<'a, S> {
    stream: &'a mut BufReader<S>,
    place: Place,
    shard: Shard,
    /// A connection of its own, since it waits.
    log: Connection,
}

/// Serves a link for as long as `stands` says that nothing changed. The words are those of its greeting: the database, its secret,
/// the instance, the shard, how often it was flushed, and which run of the shard it followed up to where.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    node: &Arc<Node>,
    stream: &mut BufReader<S>,
    words: &Words,
    replica: &Replica,
    shards: &[Place],
    stands: impl Fn() -> bool,
) -> io::Result<()> {
    let word =
        |index: usize| words.get(index).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    let invited = word(1) == replica.guid
        && word(2) == replica.secret
        && word(3).parse().is_ok_and(|id| replica.others.contains(&id));
    let place = word(4).parse().ok().and_then(|index: usize| shards.get(index));
    let refusal = match place {
        _ if node.faults.stands(&Kind::CrdbPeer) => "cut off on demand",
        _ if !invited => "not a part of the database",
        _ if word(5) != replica.flushes.to_string() => "the databases were not flushed equally often",
        None => "there is no such shard",
        Some(place) => {
            let mut shard = replica.open(place).await?;
            let mut log = Connection::open(&place.host, place.port).await?;
            log.demand(&["AUTH", INTERNAL_USER, &replica.internal]).await?;
            let info = text_of(&log.demand(&["INFO", "server"]).await?);
            let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim().to_owned();
            log.demand(&["SELECT", "1"]).await?;
            shard.demand::<&str, &str>("state", &[], &[]).await?;
            let known = Some(word(7)).filter(|from| word(6) == run && !from.is_empty());
            let hello = encode(&["OK", &shards.len().to_string(), &run]);
            stream.get_mut().write_all(&hello).await?;
            let feed = Feed { stream, place: place.clone(), shard, log };
            return feed.go_on(known, || stands() && !node.faults.stands(&Kind::CrdbPeer)).await;
        }
    };
    stream.get_mut().write_all(format!("-ERR {refusal}\r\n").as_bytes()).await?;
    stream.get_mut().flush().await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Feed<'_, S> {
    async fn go_on(mut self, known: Option<String>, stands: impl Fn() -> bool) -> io::Result<()> {
        let mut from = match known {
            Some(from) if self.still_has(&from).await? => from,
            _ => self.everything().await?,
        };
        while stands() {
            let words = ["XREAD", "COUNT", "500", "BLOCK", "500", "STREAMS", "log", &from];
            let found = strings_of(&self.log.demand(&words).await?);
            let (changed, last) = entries(&found);
            for (key, names) in changed {
                self.send(&key, &names.unwrap_or_default()).await?;
            }
            from = last.unwrap_or(from);
            self.say(&[b"P", from.as_bytes()]).await?;
        }
        Ok(())
    }

    async fn still_has(&mut self, from: &str) -> io::Result<bool> {
        let length = integer_of(&self.log.demand(&["XLEN", "log"]).await?).unwrap_or(0);
        let first = strings_of(&self.log.demand(&["XRANGE", "log", "-", from, "COUNT", "1"]).await?);
        Ok(length < LOSES || !first.is_empty())
    }

    /// Every key that ever was, and where the log stood before.
    async fn everything(&mut self) -> io::Result<String> {
        let last = strings_of(&self.log.demand(&["XREVRANGE", "log", "+", "-", "COUNT", "1"]).await?);
        let last = last.first().map_or_else(|| START.to_owned(), |id| String::from_utf8_lossy(id).into_owned());
        self.say(&[b"F"]).await?;
        let mut cursor = b"0".to_vec();
        loop {
            let words = [b"SCAN".as_slice(), &cursor, b"MATCH", b"k:*", b"COUNT", b"500"];
            let mut found = strings_of(&self.log.demand(&words).await?).into_iter();
            cursor = found.next().unwrap_or_default();
            for home in found {
                self.send(home.get(2..).unwrap_or_default(), &[]).await?;
            }
            if cursor == b"0" {
                return Ok(last);
            }
        }
    }

    /// The state of a key: of some elements, or of all.
    async fn send(&mut self, key: &[u8], names: &[Vec<u8>]) -> io::Result<()> {
        // After a resharding there is what belongs to another shard.
        if !(self.place.slots.0..=self.place.slots.1).contains(&slots::slot_of(key)) {
            return Ok(());
        }
        let state = strings_of(&self.shard.demand("export", &[key], names).await?);
        match state.first() {
            Some(state) => self.say(&[b"K", key, state]).await,
            None => Ok(()),
        }
    }

    async fn say(&mut self, words: &[&[u8]]) -> io::Result<()> {
        self.stream.get_mut().write_all(&encode(words)).await?;
        self.stream.get_mut().flush().await
    }
}

/// What entries of the log say, and the position of the last.
fn entries(found: &[Vec<u8>]) -> (Changed, Option<String>) {
    let mut changed = Changed::new();
    let mut last = None;
    // The name of the stream, then for each entry its position, `k` and the key, and `e` and an element any number of times.
    let mut rest = found.get(1..).unwrap_or_default();
    while let [id, _, key, tail @ ..] = rest {
        last = Some(String::from_utf8_lossy(id).into_owned());
        rest = tail;
        let mut names = Vec::new();
        while let [mark, name, tail @ ..] = rest {
            if mark != b"e" {
                break;
            }
            names.push(name.clone());
            rest = tail;
        }
        let known = changed.entry(key.clone()).or_insert_with(|| Some(Vec::new()));
        match known {
            Some(all) if !names.is_empty() => all.extend(names),
            _ => *known = None,
        }
    }
    (changed, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_log_are_told_apart() {
        let words = ["log", "1-0", "k", "e", "e", "k", "e", "m", "2-0", "k", "key", "3-0", "k", "e", "e", "n"];
        let found: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let (changed, last) = entries(&found);
        let names = ["k", "m", "n"].map(|name| name.as_bytes().to_vec()).to_vec();
        assert_eq!(changed, BTreeMap::from([(b"e".to_vec(), Some(names)), (b"key".to_vec(), None)]));
        assert_eq!(last.as_deref(), Some("3-0"));
        assert_eq!(entries(&[]), (BTreeMap::new(), None));
    }
}
