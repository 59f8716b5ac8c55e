//! A node's part of backups, exports and imports: done because the state says that one is under way, told in the node's report.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{
    Trouble,
    load::Loaded,
    place,
    source::{self, Started},
    targets::Targets,
};
use crate::{
    clock,
    faults::Kind,
    node::{Node, Snapshot},
    peers::TransferReport,
    proxy::{Place, Route},
    resp::Connection,
    settings::dial,
    shard::INTERNAL_USER,
    state::{
        Bdb, Shard,
        transfer::{Transfer, TransferKind},
    },
};

/// The parts that a node works on or has done: by transfer and shard.
#[derive(Default)]
pub struct Parts(BTreeMap<(String, u32), JoinHandle<()>>);

impl Drop for Parts {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

impl Parts {
    /// Begins what is new and drops what is over.
    pub fn converge(&mut self, node: &Arc<Node>, snapshot: &Snapshot) {
        let mut wanted: BTreeMap<(String, u32), (&Bdb, &Transfer)> = BTreeMap::new();
        for bdb in snapshot.state.bdbs.values() {
            let Some(transfer) = &bdb.transfer else { continue };
            let own = bdb.transfer_parts(transfer).into_iter().filter(|(_, home)| *home == snapshot.uid);
            wanted.extend(own.map(|(shard, _)| ((transfer.id.clone(), shard), (bdb, transfer))));
        }
        self.0.retain(|key, task| {
            let stays = wanted.contains_key(key);
            if !stays {
                task.abort();
                node.local.lock().transfers.remove(key);
            }
            stays
        });
        for (key, (bdb, transfer)) in wanted {
            if self.0.contains_key(&key) {
                continue;
            }
            let Some(shard) = bdb.shards.iter().find(|shard| shard.uid == key.1) else { continue };
            let job = Job {
                node: Arc::clone(node),
                key: key.clone(),
                transfer: transfer.clone(),
                name: bdb.name().to_owned(),
                own: shard.clone(),
                host: snapshot.state.nodes.get(&shard.node).map(|home| dial(&home.addr)).unwrap_or_default(),
                shards: Route::of(&snapshot.state, bdb).shards,
                secret: bdb.internal_password(&snapshot.state),
                s3: snapshot.state.settings.get("s3_url").and_then(Value::as_str).unwrap_or_default().to_owned(),
            };
            self.0.insert(key, tokio::spawn(job.run()));
        }
    }
}

struct Job {
    node: Arc<Node>,
    key: (String, u32),
    transfer: Transfer,
    name: String,
    own: Shard,
    host: String,
    shards: Vec<Place>,
    secret: String,
    s3: String,
}

impl Job {
    async fn run(self) {
        self.tell(0, None);
        let outcome = match self.transfer.kind {
            TransferKind::Import => self.bring_in().await,
            _ => self.take_out().await,
        };
        match &outcome {
            Ok(()) => info!(kind = self.transfer.kind.word(), shard = self.own.uid, "a transfer is done"),
            Err(trouble) => {
                warn!(kind = self.transfer.kind.word(), shard = self.own.uid, %trouble, "a transfer failed")
            }
        }
        self.tell(100, Some(outcome.map_err(|trouble| trouble.reason.to_owned())));
    }

    fn tell(&self, percent: u32, outcome: Option<Result<(), String>>) {
        self.node.local.lock().transfers.insert(self.key.clone(), TransferReport { percent, outcome });
    }

    async fn take_out(&self) -> Result<(), Trouble> {
        // F14
        if self.node.faults.strikes(&Kind::BackupRefused) {
            return Err(Trouble::new("no-permission", "refused on demand"));
        }
        let mut shard = Connection::open(&self.host, self.own.port).await.map_err(Trouble::general)?;
        shard.demand(&["AUTH", INTERNAL_USER, &self.secret]).await.map_err(Trouble::general)?;
        let Started::Whole { rdb, .. } = source::start(&mut shard, None).await? else {
            return Err(Trouble::general("the shard sent no data set"));
        };
        drop(shard);
        self.tell(50, None);
        let (first, last) = self.own.slots;
        let stamp = clock::snapshot_time(self.transfer.started).replace(' ', "_");
        let name = format!("{}-{stamp}_{first}_{last}.rdb.gz", self.name);
        for place in &self.transfer.places {
            place::write(&self.node, place, &name, &rdb, &self.s3).await?;
        }
        Ok(())
    }

    async fn bring_in(&self) -> Result<(), Trouble> {
        let mut targets = Targets::open(&self.shards, &self.secret).await.map_err(Trouble::general)?;
        let count = u32::try_from(self.transfer.places.len()).unwrap_or(1).max(1);
        for (index, place) in (0u32..).zip(&self.transfer.places) {
            let rdb = place::read(&self.node, place, &self.s3).await?;
            let mut loaded = Loaded::new(&self.node, &format!("{}-{index}", self.key.0), &rdb).await?;
            // What is there goes only once something else can come.
            if index == 0 {
                targets.on_all(&["FLUSHALL"]).await.map_err(Trouble::general)?;
            }
            loaded.pour(&mut targets, |percent| self.tell((index * 100 + percent) / count, None)).await?;
        }
        Ok(())
    }
}
