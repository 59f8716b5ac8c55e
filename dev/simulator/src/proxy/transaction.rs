//! Transactions: all keys of one must be in one slot, and its commands go over one connection to that slot's shard.
//!
//! `MULTI` is kept back until the first key is known.

use std::io;

use super::{client::Client, merge::error};
use crate::resp::Words;

/// A transaction, or keys watched before one.
#[derive(Debug, Clone, Default)]
pub(super) struct Transaction {
    /// The shard, once a key was seen.
    shard: Option<usize>,
    /// Whether `MULTI` was said.
    opened: bool,
    /// Whether the shard was told of it.
    told: bool,
    /// Whether it can only fail.
    spoiled: bool,
}

impl Transaction {
    /// Whether commands are kept back now.
    pub(super) fn is_open(&self) -> bool {
        self.opened
    }
}

impl Client {
    /// The reply, if the command is a part of a transaction.
    pub(super) async fn in_transaction(&mut self, name: &str, words: &Words) -> io::Result<Option<Vec<u8>>> {
        let mut transaction = match (&self.transaction, name) {
            (Some(transaction), _) => transaction.clone(),
            (None, "MULTI" | "WATCH") => Transaction::default(),
            (None, _) => return Ok(None),
        };
        let reply = match name {
            "MULTI" if transaction.opened => error("ERR MULTI calls can not be nested"),
            "MULTI" => {
                transaction.opened = true;
                b"+OK\r\n".to_vec()
            }
            "WATCH" if transaction.opened => error("ERR WATCH inside MULTI is not allowed"),
            "EXEC" | "DISCARD" if !transaction.opened => return Ok(None),
            "EXEC" | "DISCARD" => {
                self.transaction = None;
                return self.close(name, &transaction, words).await.map(Some);
            }
            "UNWATCH" if !transaction.opened => {
                self.transaction = None;
                return Ok(None);
            }
            _ if !transaction.opened && name != "WATCH" => return Ok(None),
            _ => match self.home_of(name, words).await? {
                Err(refusal) => {
                    transaction.spoiled |= transaction.opened;
                    refusal
                }
                Ok(home) => {
                    let shard = transaction.shard.or(home).unwrap_or(0);
                    transaction.shard = Some(shard);
                    if home.is_some_and(|home| home != shard) {
                        transaction.spoiled |= transaction.opened;
                        error("CROSSSLOT Keys in request don't hash to the same slot")
                    } else {
                        if transaction.opened && !transaction.told {
                            self.ask(shard, &["MULTI"]).await?;
                            transaction.told = true;
                        }
                        self.ask(shard, words).await?
                    }
                }
            },
        };
        self.transaction = Some(transaction);
        Ok(Some(reply))
    }

    async fn close(&mut self, name: &str, transaction: &Transaction, words: &Words) -> io::Result<Vec<u8>> {
        let Some(shard) = transaction.shard else {
            return Ok(if name == "EXEC" { b"*0\r\n" } else { b"+OK\r\n".as_slice() }.to_vec());
        };
        if !transaction.told {
            // Nothing but keys watched: the shard must forget them.
            self.ask(shard, &["UNWATCH"]).await?;
            return Ok(if name == "EXEC" { b"*0\r\n" } else { b"+OK\r\n".as_slice() }.to_vec());
        }
        if transaction.spoiled && name == "EXEC" {
            self.ask(shard, &["DISCARD"]).await?;
            return Ok(error("EXECABORT Transaction discarded because of previous errors."));
        }
        self.ask(shard, words).await
    }
}
