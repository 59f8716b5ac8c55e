//! One client of a database of many shards: each command goes to the shard that holds its key, a few to all.
//!
//! One command at a time, replies in order. Not here: transactions, publish and subscribe, which would need the
//! connection pinned to one shard; they are refused in words.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use crate::{
    resp::{self, Connection, Words},
    slots,
};

/// Commands whose only key is their first argument: asked so often that redis-server is not asked where their key is.
const PLAIN: [&str; 30] = [
    "GET", "SET", "SETEX", "SETNX", "GETSET", "GETDEL", "INCR", "INCRBY", "DECR", "DECRBY", "APPEND", "STRLEN",
    "EXPIRE", "PEXPIRE", "TTL", "PTTL", "TYPE", "HGET", "HSET", "HGETALL", "HDEL", "LPUSH", "RPUSH", "LPOP", "RPOP",
    "LRANGE", "SADD", "SREM", "SMEMBERS", "ZADD",
];

/// Needs of a connection that the proxy cannot meet.
const REFUSED: [&str; 12] = [
    "MULTI",
    "EXEC",
    "WATCH",
    "UNWATCH",
    "DISCARD",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "PUBLISH",
    "SYNC",
    "PSYNC",
];

type Place = ((u16, u16), String, u16);

struct Client {
    shards: Vec<(u16, Connection)>,
}

/// Serves a client until it leaves.
pub(super) async fn attend<S: AsyncRead + AsyncWrite + Unpin>(client: S, places: &[Place]) -> io::Result<()> {
    let mut shards = Vec::new();
    for ((_, last), host, port) in places {
        shards.push((*last, Connection::open(host, *port).await?));
    }
    let mut state = Client { shards };
    let mut client = BufReader::new(client);
    while let Some(words) = resp::read_request(&mut client).await? {
        let leaving = words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"QUIT"));
        let reply = state.answer(words).await?;
        client.get_mut().write_all(&reply).await?;
        client.get_mut().flush().await?;
        if leaving {
            break;
        }
    }
    Ok(())
}

impl Client {
    fn index_of(&self, key: &[u8]) -> usize {
        let slot = slots::slot_of(key);
        self.shards.iter().position(|(last, _)| slot <= *last).unwrap_or(0)
    }

    async fn ask<W: AsRef<[u8]>>(&mut self, index: usize, words: &[W]) -> io::Result<Vec<u8>> {
        let (_, shard) = self.shards.get_mut(index).ok_or(io::ErrorKind::NotFound)?;
        shard.ask(words).await
    }

    /// All replies, or the first that is an error.
    async fn ask_all<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Result<Vec<Vec<u8>>, Vec<u8>>> {
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

    async fn answer(&mut self, words: Words) -> io::Result<Vec<u8>> {
        let Some((name, arguments)) = words.split_first() else { return Ok(error("ERR empty command")) };
        let name = String::from_utf8_lossy(name).to_uppercase();
        if REFUSED.contains(&name.as_str()) {
            return Ok(error(&format!("ERR the simulator's proxy does not support {name} over more than one shard")));
        }
        match name.as_str() {
            "AUTH" | "HELLO" | "CLIENT" | "RESET" | "SELECT" | "QUIT" | "FLUSHALL" | "FLUSHDB" | "SCRIPT"
            | "FUNCTION" => Ok(self
                .ask_all(&words)
                .await?
                .map_or_else(|error| error, |replies| replies.into_iter().next().unwrap_or_default())),
            "DBSIZE" => Ok(match self.ask_all(&words).await? {
                Ok(replies) => sum(&replies),
                Err(error) => error,
            }),
            "KEYS" => Ok(match self.ask_all(&words).await? {
                Ok(replies) => array(
                    &replies
                        .iter()
                        .flat_map(|reply| resp::strings_of(reply))
                        .map(|key| resp::bulk(&key))
                        .collect::<Vec<_>>(),
                ),
                Err(error) => error,
            }),
            "SCAN" => self.scan(words).await,
            "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
                let mut replies = Vec::new();
                for key in arguments {
                    let reply = self.ask(self.index_of(key), &[name.as_bytes(), key]).await?;
                    if reply.starts_with(b"-") {
                        return Ok(reply);
                    }
                    replies.push(reply);
                }
                Ok(if replies.is_empty() { wrong_number(&name) } else { sum(&replies) })
            }
            "MGET" => {
                let mut replies = Vec::new();
                for key in arguments {
                    let reply = self.ask(self.index_of(key), &[b"MGET".as_slice(), key]).await?;
                    let Some(value) = reply.strip_prefix(b"*1\r\n") else { return Ok(reply) };
                    replies.push(value.to_vec());
                }
                Ok(if replies.is_empty() { wrong_number(&name) } else { array(&replies) })
            }
            "MSET" => {
                if arguments.is_empty() || arguments.len() % 2 != 0 {
                    return Ok(wrong_number(&name));
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
            _ => {
                let index = match arguments.first() {
                    Some(key) if PLAIN.contains(&name.as_str()) => self.index_of(key),
                    _ => match self.keys_of(&words).await? {
                        Ok(keys) => {
                            let mut slots: Vec<u16> = keys.iter().map(|key| slots::slot_of(key)).collect();
                            slots.dedup();
                            if slots.len() > 1 {
                                return Ok(error("CROSSSLOT Keys in request don't hash to the same slot"));
                            }
                            keys.first().map_or(0, |key| self.index_of(key))
                        }
                        Err(refusal) => return Ok(refusal),
                    },
                };
                self.ask(index, &words).await
            }
        }
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

    /// A cursor of the database is a shard's cursor times the number of shards, plus the shard.
    async fn scan(&mut self, mut words: Words) -> io::Result<Vec<u8>> {
        let count = self.shards.len() as u64;
        let cursor =
            words.get(1).and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse::<u64>().ok());
        let (Some(cursor), Some(word)) = (cursor, words.get_mut(1)) else { return Ok(error("ERR invalid cursor")) };
        let index = cursor % count.max(1);
        *word = (cursor / count.max(1)).to_string().into_bytes();
        let reply = self.ask(usize::try_from(index).unwrap_or(0), &words).await?;
        if reply.starts_with(b"-") {
            return Ok(reply);
        }
        let mut found = resp::strings_of(&reply).into_iter();
        let inner: u64 =
            found.next().and_then(|text| String::from_utf8(text).ok()).and_then(|text| text.parse().ok()).unwrap_or(0);
        let next = match inner {
            0 if index + 1 < count => index + 1,
            0 => 0,
            inner => inner.saturating_mul(count) + index,
        };
        let keys: Vec<Vec<u8>> = found.map(|key| resp::bulk(&key)).collect();
        Ok(array(&[resp::bulk(next.to_string().as_bytes()), array(&keys)]))
    }
}

fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

fn wrong_number(name: &str) -> Vec<u8> {
    error(&format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()))
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", items.len()).into_bytes();
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

fn sum(replies: &[Vec<u8>]) -> Vec<u8> {
    let sum: i64 = replies.iter().filter_map(|reply| resp::integer_of(reply)).sum();
    format!(":{sum}\r\n").into_bytes()
}
