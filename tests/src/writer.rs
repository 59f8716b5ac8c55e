//! A client that writes to a database all the while something else happens, and counts what was acknowledged.
//!
//! A write counts as acknowledged when the server said `OK` and `WAIT 1` said that a replica has it; of a database without replicas,
//! when the server said `OK`. After anything goes wrong the client connects again and goes on with the next key: what it then finds
//! in the database must be all that was acknowledged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use stepwright_dev_cluster::loopback;

use crate::wait::until;
use crate::world::{SETTLES, World};

/// No answer for so long is as good as a broken connection.
const ANSWERS: Duration = Duration::from_secs(3);
/// Between two writes: some hundred a second are plenty.
const PACE: Duration = Duration::from_millis(5);
/// How long a replica may take to say that it has a write.
const REPLICA_MS: &str = "1000";

/// What an acknowledged write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The server said `OK`: nothing may lose it but the loss of a node.
    Server,
    /// A replica has it, too: nothing may lose it but the loss of two nodes.
    Replica,
}

/// A client at work. It stops with [`Writer::stop`].
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<Written>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What the client has done.
pub struct Written {
    /// Keys whose writes were acknowledged.
    pub acknowledged: BTreeSet<u64>,
    /// Writes whose outcome the client does not know, or that no replica had in time.
    pub uncertain: u64,
    /// The longest time between two acknowledged writes.
    pub longest_gap: Duration,
    prefix: String,
}

/// Where a database can be reached: asked of Kubernetes each time, because pods come and go.
#[derive(Clone)]
struct Way {
    kubectl: std::ffi::OsString,
    kubeconfig: std::path::PathBuf,
    bdb: u32,
    port: u16,
    password: String,
}

impl Way {
    fn of(world: &World, bdb: u32, port: u16, password: &str) -> anyhow::Result<Self> {
        let kubectl = world.cluster.kubectl()?.into_std().get_program().to_owned();
        Ok(Self { kubectl, kubeconfig: world.cluster.kubeconfig(), bdb, port, password: password.to_owned() })
    }

    /// The pods that Kubernetes leads the clients of the database's Service to.
    fn addresses(&self) -> Vec<Ipv4Addr> {
        let label = format!("redis.io/bdb-{}", self.bdb);
        let path = "jsonpath={range .items[*]}{.status.podIP} {end}";
        let output = Command::new(&self.kubectl)
            .args(["get", "pods", "-l", &label, "-o", path])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.split_whitespace().filter_map(|ip| ip.parse().ok()).map(loopback).collect()
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        let mut last = anyhow::anyhow!("no pod serves the database");
        for address in self.addresses() {
            match Connection::open(SocketAddr::from((address, self.port)), &self.password) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr, password: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWERS)?;
        stream.set_read_timeout(Some(ANSWERS))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { reader: BufReader::new(stream.try_clone()?), stream };
        match connection.ask(&["AUTH", password])?.as_str() {
            "+OK" => Ok(connection),
            refused => bail!("{refused}"),
        }
    }

    /// A command and the first line of its answer; of a bulk string, the string.
    fn ask(&mut self, words: &[&str]) -> anyhow::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes())?;
        let line = self.line()?;
        match line.strip_prefix('$') {
            Some("-1") => Ok("(nil)".to_owned()),
            Some(_) => self.line(),
            None => Ok(line),
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Writes a key; whether a replica has it, where that is asked.
    fn write(&mut self, key: &str, value: &str, promise: Promise) -> anyhow::Result<bool> {
        match self.ask(&["SET", key, value])?.as_str() {
            "+OK" => {}
            refused => bail!("{refused}"),
        }
        if promise == Promise::Server {
            return Ok(true);
        }
        match self.ask(&["WAIT", "1", REPLICA_MS])?.as_str() {
            ":0" => Ok(false),
            count if count.starts_with(':') => Ok(true),
            refused => bail!("{refused}"),
        }
    }
}

impl Writer {
    /// Begins to write keys `<prefix><number>` to the database of this number and port.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub fn start(world: &World, bdb: u32, port: u16, password: &str, prefix: &str) -> anyhow::Result<Self> {
        Self::with(Promise::Replica, world, bdb, port, password, prefix)
    }

    /// The same, where the server's word is enough.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub fn alone(world: &World, bdb: u32, port: u16, password: &str, prefix: &str) -> anyhow::Result<Self> {
        Self::with(Promise::Server, world, bdb, port, password, prefix)
    }

    fn with(
        promise: Promise,
        world: &World,
        bdb: u32,
        port: u16,
        password: &str,
        prefix: &str,
    ) -> anyhow::Result<Self> {
        let way = Way::of(world, bdb, port, password)?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (ends, counts, prefix) = (stop.clone(), acknowledged.clone(), prefix.to_owned());
        let thread = std::thread::spawn(move || write_on(&way, promise, &ends, &counts, prefix));
        Ok(Self { stop, acknowledged, thread: Some(thread) })
    }

    /// Acknowledged writes so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes were acknowledged.
    pub async fn goes_on(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        until("writes to be acknowledged", SETTLES, || async {
            let seen = self.acknowledged();
            if seen >= wanted { Ok(()) } else { Err(format!("{seen} of {wanted}")) }
        })
        .await;
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the client broke down.
    pub fn stop(mut self) -> anyhow::Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it was stopped before")?;
        thread.join().map_err(|_| anyhow::anyhow!("the writing client broke down"))
    }
}

/// A connection that stays open, as an application holds one.
pub struct Session(Connection);

impl Session {
    /// Opens one to the database of this number and port, and logs in.
    ///
    /// # Errors
    /// When nothing answers, or the password is refused.
    pub fn open(world: &World, bdb: u32, port: u16, password: &str) -> anyhow::Result<Self> {
        Ok(Self(Way::of(world, bdb, port, password)?.connect()?))
    }

    /// A command, and the first line of what is answered; of a bulk string, the string.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ask(&mut self, words: &[&str]) -> anyhow::Result<String> {
        self.0.ask(words)
    }
}

fn write_on(way: &Way, promise: Promise, ends: &AtomicBool, counts: &AtomicU64, prefix: String) -> Written {
    let mut written = Written { acknowledged: BTreeSet::new(), uncertain: 0, longest_gap: Duration::ZERO, prefix };
    let mut connection: Option<Connection> = None;
    let mut last = Instant::now();
    let mut number = 0;
    while !ends.load(Ordering::Relaxed) {
        let Some(open) = connection.as_mut() else {
            connection = way.connect().ok();
            std::thread::sleep(PACE);
            continue;
        };
        number += 1;
        match open.write(&format!("{}{number}", written.prefix), &number.to_string(), promise) {
            Ok(true) => {
                written.acknowledged.insert(number);
                counts.fetch_add(1, Ordering::Relaxed);
                written.longest_gap = written.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            Ok(false) => written.uncertain += 1,
            Err(_) => {
                written.uncertain += 1;
                connection = None;
            }
        }
        std::thread::sleep(PACE);
    }
    written
}

impl Written {
    /// The keys of acknowledged writes, each with its value.
    pub fn keys(&self) -> impl Iterator<Item = (String, String)> {
        self.acknowledged.iter().map(|number| (format!("{}{number}", self.prefix), number.to_string()))
    }

    /// Acknowledged keys that the database does not have, with their values; the keys are removed from it afterwards.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn lost(&self, world: &World, bdb: u32, port: u16, password: &str) -> anyhow::Result<Vec<u64>> {
        let mut connection = Way::of(world, bdb, port, password)?.connect().context("the database does not answer")?;
        let mut lost = Vec::new();
        for number in &self.acknowledged {
            let key = format!("{}{number}", self.prefix);
            if connection.ask(&["GET", &key])? != number.to_string() {
                lost.push(*number);
            }
            connection.ask(&["DEL", &key])?;
        }
        Ok(lost)
    }
}
