//! Reads a data set by having a redis-server of its own load it.

use std::{
    fs, io,
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

use super::{Trouble, targets::Targets};
use crate::{
    node::Node,
    resp::{Connection, encode, integer_of, strings_of, text_of},
};

/// Keys moved in one go.
const BATCH: &str = "500";

/// A data set that cannot be loaded in this time never will.
const LONGEST_LOAD: Duration = Duration::from_secs(120);

/// A loaded data set. Its redis-server and its file go when this goes.
pub(crate) struct Loaded {
    child: Child,
    folder: PathBuf,
    connection: Connection,
}

struct Half {
    child: Option<Child>,
    folder: PathBuf,
}

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            remove(&mut child, &self.folder);
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        remove(&mut self.child, &self.folder);
    }
}

fn remove(child: &mut Child, folder: &PathBuf) {
    let _ = child.kill();
    let _ = child.wait();
    let _ = fs::remove_dir_all(folder);
}

impl Loaded {
    /// Loads `rdb`, under a name that nothing else on this node uses now.
    pub(crate) async fn new(node: &Node, name: &str, rdb: &[u8]) -> Result<Self, Trouble> {
        if !rdb.starts_with(b"REDIS") {
            return Err(Trouble::new("file-corrupted", "it is not a data set"));
        }
        let failed = |error: io::Error| Trouble::general(format!("failed to load a data set: {error}"));
        let folder = node.settings.data.join("incoming").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(folder.join("dump.rdb"), rdb).map_err(failed)?;
        let free = std::net::TcpListener::bind((node.settings.bind.as_str(), 0)).map_err(failed)?;
        let port = free.local_addr().map_err(failed)?.port();
        drop(free);
        let config = format!(
            "bind {}\nport {port}\nprotected-mode no\ndaemonize no\nlogfile redis.log\ndir .\nsave \"\"\nappendonly no\n",
            node.settings.bind
        );
        fs::write(folder.join("redis.conf"), config).map_err(failed)?;
        let child = node
            .nursery
            .spawn(&node.settings.redis_server, &folder, &["redis.conf".to_owned()])
            .await
            .map_err(failed)?;
        let mut half = Half { child: Some(child), folder: folder.clone() };
        let started = Instant::now();
        loop {
            let gone = half.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if gone {
                return Err(Trouble::new("file-corrupted", "redis-server cannot load it"));
            }
            if let Ok(mut connection) = Connection::open(&node.settings.bind, port).await
                && let Ok(info) = connection.demand(&["INFO", "persistence"]).await
                && text_of(&info).lines().any(|line| line.trim() == "loading:0")
                && let Some(child) = half.child.take()
            {
                return Ok(Self { child, folder, connection });
            }
            if started.elapsed() > LONGEST_LOAD {
                return Err(Trouble::general("a data set took too long to load"));
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Writes every key to the shard that holds its slot, and tells how far it is in percent.
    pub(crate) async fn pour(&mut self, targets: &mut Targets, tell: impl Fn(u32)) -> Result<(), Trouble> {
        let failed = |error: io::Error| Trouble::general(format!("failed to read a loaded data set: {error}"));
        let source = &mut self.connection;
        let size = integer_of(&source.demand(&["DBSIZE"]).await.map_err(failed)?).unwrap_or(0).max(1);
        let (mut cursor, mut moved) = (b"0".to_vec(), 0i64);
        loop {
            let words = [b"SCAN".as_slice(), &cursor, b"COUNT".as_slice(), BATCH.as_bytes()];
            let mut found = strings_of(&source.demand(&words).await.map_err(failed)?).into_iter();
            cursor = found.next().unwrap_or_default();
            let keys: Vec<Vec<u8>> = found.collect();
            let mut bytes = Vec::new();
            for key in &keys {
                bytes.extend(encode(&[b"DUMP".as_slice(), key]));
                bytes.extend(encode(&[b"PTTL".as_slice(), key]));
            }
            source.send(&bytes).await.map_err(failed)?;
            let mut commands = Vec::new();
            for key in &keys {
                let dump = source.reply().await.map_err(failed)?;
                let life = integer_of(&source.reply().await.map_err(failed)?).unwrap_or(0).max(0);
                // One that expired in between has none.
                if let Some(value) = strings_of(&dump).into_iter().next() {
                    let life = life.to_string().into_bytes();
                    let words = vec![b"RESTORE".to_vec(), key.clone(), life, value, b"REPLACE".to_vec()];
                    commands.push((key.clone(), words));
                }
            }
            targets.write(&commands).await?;
            moved += i64::try_from(keys.len()).unwrap_or(0);
            tell(u32::try_from((moved * 100 / size).clamp(0, 99)).unwrap_or(0));
            if cursor == b"0" {
                return Ok(());
            }
        }
    }
}
