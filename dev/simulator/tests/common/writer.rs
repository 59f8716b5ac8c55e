//! A client that writes without pause and remembers what was acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis_enterprise_simulator::resp::{Connection, Words, encode, strings_of};
use tokio::task::JoinHandle;

/// A writer at work.
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<Written>,
}

/// What a writer did.
pub struct Written {
    /// Keys whose `SET` was answered with OK. The value of each is its name.
    pub keys: Vec<String>,
    /// How often it had to connect again.
    pub reconnected: usize,
}

impl Writer {
    /// Starts one at any of the hosts. With `wait`, a write counts only once a replica has it.
    pub fn start(hosts: Vec<String>, port: u16, prefix: &'static str, wait: bool) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(write(hosts, port, prefix, wait, Arc::clone(&stop), Arc::clone(&acknowledged)));
        Self { stop, acknowledged, task }
    }

    /// Waits until so many more writes are acknowledged.
    pub async fn more(&self, count: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        super::until("more acknowledged writes", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn write(
    hosts: Vec<String>,
    port: u16,
    prefix: &str,
    wait: bool,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Written {
    let mut written = Written { keys: Vec::new(), reconnected: 0 };
    let (mut connection, mut turn) = (None, 0);
    for number in 0usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if connection.is_none() {
            let host = &hosts[turn % hosts.len()];
            turn += 1;
            let opened = tokio::time::timeout(Duration::from_secs(2), Connection::open(host, port)).await;
            match opened {
                Ok(Ok(fresh)) => connection = Some(fresh),
                _ => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
        }
        let Some(open) = &mut connection else { continue };
        let key = format!("{prefix}{number}");
        let set = async {
            let fine = open.demand(&["SET", &key, &key]).await? == b"+OK\r\n";
            let copied = !wait || open.demand(&["WAIT", "1", "500"]).await? == b":1\r\n";
            std::io::Result::Ok(fine && copied)
        };
        match tokio::time::timeout(Duration::from_secs(8), set).await {
            Ok(Ok(true)) => {
                written.keys.push(key);
                // Room for others on a machine with few cores: what matters is that writes never stop, not how many there are.
                tokio::time::sleep(Duration::from_millis(1)).await;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ok(false)) => {}
            Ok(Err(_)) | Err(_) => {
                connection = None;
                written.reconnected += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    written
}

/// Writes many keys quickly; the value of each is its name.
pub async fn fill(host: &str, port: u16, prefix: &str, count: usize) {
    let mut connection = Connection::open(host, port).await.unwrap();
    for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
        let mut words = vec!["MSET".to_owned()];
        words.extend(chunk.iter().flat_map(|number| [format!("{prefix}{number}"), format!("{prefix}{number}")]));
        connection.demand(&words).await.unwrap();
    }
}

/// Those of the keys that are not there, or not with their name as value.
pub async fn missing(host: &str, port: u16, keys: &[String]) -> Vec<String> {
    let mut connection = Connection::open(host, port).await.unwrap();
    let mut missing = Vec::new();
    for chunk in keys.chunks(200) {
        let mut words: Words = vec![b"MGET".to_vec()];
        words.extend(chunk.iter().map(|key| key.clone().into_bytes()));
        connection.send(&encode(&words)).await.unwrap();
        let reply = connection.reply().await.unwrap();
        let values = strings_of(&reply);
        if values.len() == chunk.len() {
            missing.extend(
                chunk.iter().zip(&values).filter(|(key, value)| key.as_bytes() != *value).map(|(key, _)| key.clone()),
            );
        } else {
            missing.extend(chunk.iter().filter(|key| !values.iter().any(|value| value == key.as_bytes())).cloned());
        }
    }
    missing
}
