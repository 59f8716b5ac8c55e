//! One client: each command goes to the shard that holds its key, a few to all.
//!
//! One command at a time, replies in order. A client that subscribes is led to the first shard for the rest of its
//! connection; so is one of a database of one shard that asks for what needs a connection of its own.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{OwnedRwLockReadGuard, watch},
};

use super::{
    Hall, Place, Route,
    merge::{array, error, sum, wrong_number},
    transaction::Transaction,
};
use crate::{
    crdt::{self, GREETING, feed},
    resp::{self, Connection, Words},
    slots,
};

/// Commands whose only key is their first argument: asked so often that redis-server is not asked where their key is.
const PLAIN: [&str; 30] = [
    "GET", "SET", "SETEX", "SETNX", "GETSET", "GETDEL", "INCR", "INCRBY", "DECR", "DECRBY", "APPEND", "STRLEN",
    "EXPIRE", "PEXPIRE", "TTL", "PTTL", "TYPE", "HGET", "HSET", "HGETALL", "HDEL", "LPUSH", "RPUSH", "LPOP", "RPOP",
    "LRANGE", "SADD", "SREM", "SMEMBERS", "ZADD",
];

/// After these a connection carries what was not asked for one by one.
pub(super) const STREAMS: [&str; 6] = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC"];

/// A command or transaction under way may keep a resharding waiting for so long; then its connection is cut.
const PATIENCE: Duration = Duration::from_millis(500);

/// A connection to a shard, opened when it is first needed.
pub(super) struct Shard {
    pub(super) place: Place,
    connection: Option<Connection>,
    /// As the cluster itself, for what is written to an Active-Active database.
    pub(super) inner: Option<crdt::Shard>,
}

pub(super) struct Client {
    hall: Hall,
    pub(super) route: Arc<Route>,
    pub(super) shards: Vec<Shard>,
    /// What a new connection to a shard is to be told: who the client is and which protocol it speaks.
    pub(super) greetings: Vec<(String, Words)>,
    pub(super) transaction: Option<Transaction>,
    /// Whether it is known who the client is.
    pub(super) known: bool,
    /// Keys that a transaction writes.
    pub(super) later: Vec<Vec<u8>>,
    pass: Option<OwnedRwLockReadGuard<()>>,
}

/// Serves a client until it leaves.
pub(super) async fn attend<S: AsyncRead + AsyncWrite + Unpin>(stream: S, hall: Hall) -> io::Result<()> {
    let route = hall.routes.borrow().clone();
    let mut client = Client {
        hall,
        shards: connect(&route, Vec::new()),
        route,
        greetings: Vec::new(),
        transaction: None,
        known: false,
        later: Vec::new(),
        pass: None,
    };
    let mut stream = BufReader::new(stream);
    loop {
        let overdue = overdue(client.hall.routes.clone(), client.pass.is_some());
        let words = tokio::select! {
            words = resp::read_request(&mut stream) => words?,
            failure = overdue => return Err(failure),
        };
        let Some(words) = words else { return Ok(()) };
        client.enter().await?;
        let name = words.first().map(|name| String::from_utf8_lossy(name).to_uppercase()).unwrap_or_default();
        if name == GREETING {
            return client.feed(stream, &words).await;
        }
        if client.streams(&name, &words) {
            return client.relay(stream, &words).await;
        }
        let overdue = overdue_command(client.hall.routes.clone());
        let reply = tokio::select! {
            reply = client.answer(&name, words) => reply?,
            failure = overdue => return Err(failure),
        };
        // The reply is on its way before the command counts as done.
        stream.get_mut().write_all(&reply).await?;
        stream.get_mut().flush().await?;
        if client.transaction.is_none() {
            client.pass = None;
        }
        if name == "QUIT" {
            return Ok(());
        }
    }
}

async fn overdue(routes: watch::Receiver<Arc<Route>>, under_way: bool) -> io::Error {
    if under_way { overdue_command(routes).await } else { std::future::pending().await }
}

/// Ends when a hold has lasted longer than something under way may.
async fn overdue_command(mut routes: watch::Receiver<Arc<Route>>) -> io::Error {
    if routes.wait_for(|route| route.held.is_some()).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(PATIENCE).await;
    io::Error::new(io::ErrorKind::TimedOut, "under way for too long while the database is resharded")
}

fn connect(route: &Route, mut old: Vec<Shard>) -> Vec<Shard> {
    let mut shards = Vec::new();
    for place in &route.shards {
        let known = old.iter_mut().find(|one| (&one.place.host, one.place.port) == (&place.host, place.port));
        let (connection, inner) = known.map(|one| (one.connection.take(), one.inner.take())).unwrap_or_default();
        shards.push(Shard { place: place.clone(), connection, inner });
    }
    shards
}

impl Client {
    /// Waits until commands may begin, notes that one does, and takes up the newest route.
    async fn enter(&mut self) -> io::Result<()> {
        while self.pass.is_none() {
            let pass = Arc::clone(&self.hall.gate).read_owned().await;
            if self.hall.routes.borrow().held.is_none() {
                self.pass = Some(pass);
            } else {
                drop(pass);
                self.hall.routes.wait_for(|route| route.held.is_none()).await.map_err(io::Error::other)?;
            }
        }
        let newest = self.hall.routes.borrow().clone();
        if newest != self.route {
            self.shards = connect(&newest, std::mem::take(&mut self.shards));
            if newest.crdt != self.route.crdt {
                self.shards.iter_mut().for_each(|shard| shard.inner = None);
            }
            self.route = newest;
        }
        Ok(())
    }

    pub(super) fn sharded(&self) -> bool {
        self.shards.len() > 1
    }

    fn streams(&self, name: &str, words: &Words) -> bool {
        let tracking = name == "CLIENT" && words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"TRACKING"));
        if self.sharded() || self.route.crdt.is_some() {
            // With the newer protocol such a client could go on with commands that belong elsewhere.
            matches!(name, "SUBSCRIBE" | "PSUBSCRIBE") && !self.speaks_resp3()
        } else {
            STREAMS.contains(&name) || tracking
        }
    }

    pub(super) fn speaks_resp3(&self) -> bool {
        self.greetings.iter().any(|(name, words)| name == "HELLO" && words.get(1).is_some_and(|word| word == b"3"))
    }

    /// The client is another cluster's link.
    async fn feed<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        mut stream: BufReader<S>,
        words: &Words,
    ) -> io::Result<()> {
        self.pass = None;
        let Some(replica) = &self.route.crdt else { return Ok(()) };
        let places: Vec<Place> = self.route.shards.clone();
        let stands = || {
            let newest = self.hall.routes.borrow();
            newest.shards == places && newest.crdt.as_ref() == Some(replica)
        };
        feed::serve(&self.hall.node, &mut stream, words, replica, &places, stands).await
    }

    /// Passes bytes between the client and the first shard. A subscriber stays where it is when shards are added.
    async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        mut stream: BufReader<S>,
        words: &Words,
    ) -> io::Result<()> {
        let subscriber = words.first().is_some_and(|word| word.to_ascii_uppercase().ends_with(b"SUBSCRIBE"));
        let stays = subscriber && !self.speaks_resp3();
        self.open(0).await?;
        self.pass = None;
        let mut routes = self.hall.routes.clone();
        let count = self.shards.len();
        let shard = self.shards.first_mut().and_then(|shard| shard.connection.as_mut());
        let shard = shard.ok_or(io::ErrorKind::NotFound)?;
        shard.send(&resp::encode(words)).await?;
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut stream, shard.stream()) => ended.map(|_| ()),
            _ = routes.wait_for(|route| !stays && route.shards.len() != count) => Ok(()),
        }
    }

    /// The shard that holds a key.
    pub(super) fn index_of(&self, key: &[u8]) -> usize {
        let slot = slots::slot_of(key);
        self.shards.iter().position(|shard| slot <= shard.place.slots.1).unwrap_or(0)
    }

    async fn open(&mut self, index: usize) -> io::Result<&mut Connection> {
        let shard = self.shards.get_mut(index).ok_or(io::ErrorKind::NotFound)?;
        if shard.connection.is_none() {
            let mut fresh = Connection::open(&shard.place.host, shard.place.port).await?;
            for (_, words) in &self.greetings {
                fresh.demand(words).await?;
            }
            shard.connection = Some(fresh);
        }
        shard.connection.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) async fn ask<W: AsRef<[u8]>>(&mut self, index: usize, words: &[W]) -> io::Result<Vec<u8>> {
        self.open(index).await?.ask(words).await
    }

    /// All replies, or the first that is an error.
    pub(super) async fn ask_all<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Result<Vec<Vec<u8>>, Vec<u8>>> {
        let mut replies = Vec::new();
        for index in 0..self.shards.len() {
            let reply = self.ask(index, words).await?;
            if reply.starts_with(b"-") {
                return Ok(Err(reply));
            }
            replies.push(reply);
        }
        Ok(Ok(replies))
    }

    async fn answer(&mut self, name: &str, words: Words) -> io::Result<Vec<u8>> {
        if let Some(reply) = self.as_cluster(name, &words).await? {
            return Ok(reply);
        }
        if let Some(reply) = self.replicated(name, &words).await? {
            return Ok(reply);
        }
        if let Some(reply) = self.in_transaction(name, &words).await? {
            if self.transaction.is_none() {
                self.note_transaction().await?;
            }
            return Ok(reply);
        }
        match name {
            "AUTH" | "HELLO" => {
                self.known = false;
                self.shards.iter_mut().for_each(|shard| shard.inner = None);
                self.greet(name, words).await
            }
            "CLIENT" if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"SETNAME")) => {
                self.greet("CLIENT SETNAME", words).await
            }
            "RESET" => {
                self.greetings.clear();
                self.known = false;
                self.first_of_all(&words).await
            }
            "SELECT" if words.get(1).is_some_and(|word| word != b"0") => Ok(error("ERR DB index is out of range")),
            "SWAPDB" | "MOVE" => Ok(error("ERR DB index is out of range")),
            // Keys that are not a shard's own would show.
            "SCAN" => self.scan(words).await,
            "KEYS" | "DBSIZE" | "RANDOMKEY" if self.route.trimming || self.sharded() => self.survey(name, &words).await,
            _ if self.sharded() => self.spread(name, words).await,
            _ => self.ask(0, &words).await,
        }
    }

    /// A command by which a client says who it is; told again to shards that are spoken to later.
    async fn greet(&mut self, name: &str, words: Words) -> io::Result<Vec<u8>> {
        let open: Vec<usize> = (0..self.shards.len())
            .filter(|index| *index == 0 || self.shards.get(*index).is_some_and(|shard| shard.connection.is_some()))
            .collect();
        let mut first = None;
        for index in open {
            let reply = self.ask(index, &words).await?;
            if reply.starts_with(b"-") {
                return Ok(reply);
            }
            first.get_or_insert(reply);
        }
        self.greetings.retain(|(known, _)| known != name);
        self.greetings.push((name.to_owned(), words));
        Ok(first.unwrap_or_default())
    }

    async fn first_of_all(&mut self, words: &Words) -> io::Result<Vec<u8>> {
        let replies = self.ask_all(words).await?;
        Ok(replies.map_or_else(|error| error, |replies| replies.into_iter().next().unwrap_or_default()))
    }

    /// A command for one of several shards, or for all of them.
    async fn spread(&mut self, name: &str, words: Words) -> io::Result<Vec<u8>> {
        let arguments = words.get(1..).unwrap_or_default();
        if STREAMS.contains(&name) {
            return Ok(error(&format!(
                "ERR the simulator's proxy does not support {name} here over more than one shard"
            )));
        }
        match name {
            "CLIENT" | "SELECT" | "QUIT" | "FLUSHALL" | "FLUSHDB" | "SCRIPT" | "FUNCTION" => {
                self.first_of_all(&words).await
            }
            "WAIT" => Ok(match self.ask_all(&words).await? {
                Ok(replies) => {
                    let least = replies.iter().filter_map(|reply| resp::integer_of(reply)).min();
                    format!(":{}\r\n", least.unwrap_or(0)).into_bytes()
                }
                Err(error) => error,
            }),
            "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
                let mut replies = Vec::new();
                for key in arguments {
                    let reply = self.ask(self.index_of(key), &[name.as_bytes(), key]).await?;
                    if reply.starts_with(b"-") {
                        return Ok(reply);
                    }
                    replies.push(reply);
                }
                Ok(if replies.is_empty() { wrong_number(name) } else { sum(&replies) })
            }
            "MGET" => {
                let mut replies = Vec::new();
                for key in arguments {
                    let reply = self.ask(self.index_of(key), &[b"MGET".as_slice(), key]).await?;
                    let Some(value) = reply.strip_prefix(b"*1\r\n") else { return Ok(reply) };
                    replies.push(value.to_vec());
                }
                Ok(if replies.is_empty() { wrong_number(name) } else { array(&replies) })
            }
            "MSET" => {
                if arguments.is_empty() || arguments.len() % 2 != 0 {
                    return Ok(wrong_number(name));
                }
                for pair in arguments.chunks(2) {
                    let [key, value] = pair else { continue };
                    let reply = self.ask(self.index_of(key), &[b"SET".as_slice(), key, value]).await?;
                    if reply.starts_with(b"-") {
                        return Ok(reply);
                    }
                }
                Ok(b"+OK\r\n".to_vec())
            }
            _ => match self.home_of(name, &words).await? {
                Ok(index) => self.ask(index.unwrap_or(0), &words).await,
                Err(refusal) => Ok(refusal),
            },
        }
    }

    /// What a proxy says as a node of a Redis cluster: where slots are, and that a key is elsewhere.
    async fn as_cluster(&mut self, name: &str, words: &Words) -> io::Result<Option<Vec<u8>>> {
        let Some(oss) = self.route.oss.clone() else { return Ok(None) };
        let word = words.get(1).map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default();
        if name == "CLUSTER" {
            // Only for who may speak to the database at all.
            let known = self.ask(0, &["PING"]).await?;
            if known.starts_with(b"-") {
                return Ok(Some(known));
            }
            return Ok(match (word.as_str(), words.get(2)) {
                ("KEYSLOT", Some(key)) => Some(format!(":{}\r\n", slots::slot_of(key)).into_bytes()),
                _ => oss.answer(&word),
            });
        }
        let key = if PLAIN.contains(&name) {
            words.get(1).cloned()
        } else {
            self.keys_of(words).await?.ok().and_then(|keys| keys.into_iter().next())
        };
        Ok(key.and_then(|key| oss.moved(slots::slot_of(&key))))
    }

    /// The shard that a command's keys are on; none if it has no keys.
    pub(super) async fn home_of(&mut self, name: &str, words: &Words) -> io::Result<Result<Option<usize>, Vec<u8>>> {
        if !self.sharded() {
            return Ok(Ok(Some(0)));
        }
        if let Some(key) = words.get(1).filter(|_| PLAIN.contains(&name)) {
            return Ok(Ok(Some(self.index_of(key))));
        }
        let keys = match self.keys_of(words).await? {
            Ok(keys) => keys,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut slots: Vec<u16> = keys.iter().map(|key| slots::slot_of(key)).collect();
        slots.dedup();
        if slots.len() > 1 {
            return Ok(Err(error("CROSSSLOT Keys in request don't hash to the same slot")));
        }
        Ok(Ok(keys.first().map(|key| self.index_of(key))))
    }

    /// The keys of a command, as redis-server itself sees them; none if it says that there are none.
    async fn keys_of(&mut self, words: &Words) -> io::Result<Result<Vec<Vec<u8>>, Vec<u8>>> {
        let mut question: Words = vec![b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
        question.extend(words.iter().cloned());
        let reply = self.ask(0, &question).await?;
        let refused = reply.starts_with(b"-NOAUTH") || reply.starts_with(b"-NOPERM");
        Ok(if refused {
            Err(reply)
        } else {
            Ok(if reply.starts_with(b"-") { Vec::new() } else { resp::strings_of(&reply) })
        })
    }

    fn is_own(&self, index: usize, key: &[u8]) -> bool {
        let slot = slots::slot_of(key);
        self.shards.get(index).is_some_and(|shard| (shard.place.slots.0..=shard.place.slots.1).contains(&slot))
    }

    /// `KEYS`, `DBSIZE` and `RANDOMKEY` over shards that may hold what is not theirs.
    async fn survey(&mut self, name: &str, words: &Words) -> io::Result<Vec<u8>> {
        if name == "DBSIZE" && !self.route.trimming {
            return Ok(self.ask_all(words).await?.map_or_else(|error| error, |replies| sum(&replies)));
        }
        let question = if name == "KEYS" { words.clone() } else { vec![b"KEYS".to_vec(), b"*".to_vec()] };
        let replies = match self.ask_all(&question).await? {
            Ok(replies) => replies,
            Err(error) => return Ok(error),
        };
        let found = replies.iter().enumerate().flat_map(|(index, reply)| {
            resp::strings_of(reply).into_iter().filter(|key| self.is_own(index, key)).collect::<Vec<_>>()
        });
        Ok(match name {
            "DBSIZE" => format!(":{}\r\n", found.count()).into_bytes(),
            "RANDOMKEY" => {
                let keys: Vec<Vec<u8>> = found.collect();
                // Any will do: which comes first depends on the tables of the shards.
                keys.first().map_or_else(|| b"$-1\r\n".to_vec(), |key| resp::bulk(key))
            }
            _ => array(&found.map(|key| resp::bulk(&key)).collect::<Vec<_>>()),
        })
    }

    /// A cursor of the database is a shard's cursor times the number of slots, plus the shard's first slot: so it means
    /// the same after a resharding, which leaves a part of the parent's keys where they are.
    async fn scan(&mut self, mut words: Words) -> io::Result<Vec<u8>> {
        let slots = u64::from(slots::SLOTS);
        let cursor =
            words.get(1).and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse::<u64>().ok());
        let (Some(cursor), Some(word)) = (cursor, words.get_mut(1)) else { return Ok(error("ERR invalid cursor")) };
        let index = self.shards.iter().position(|shard| cursor % slots <= u64::from(shard.place.slots.1)).unwrap_or(0);
        *word = (cursor / slots).to_string().into_bytes();
        let reply = self.ask(index, &words).await?;
        if reply.starts_with(b"-") {
            return Ok(reply);
        }
        let mut found = resp::strings_of(&reply).into_iter();
        let inner: u64 =
            found.next().and_then(|text| String::from_utf8(text).ok()).and_then(|text| text.parse().ok()).unwrap_or(0);
        let start = |index: usize| self.shards.get(index).map(|shard| u64::from(shard.place.slots.0));
        let next = match inner {
            0 => start(index + 1).unwrap_or(0),
            inner => inner.saturating_mul(slots) + start(index).unwrap_or(0),
        };
        let keys: Vec<Vec<u8>> = found.filter(|key| self.is_own(index, key)).map(|key| resp::bulk(&key)).collect();
        Ok(array(&[resp::bulk(next.to_string().as_bytes()), array(&keys)]))
    }
}
