//! A client that writes to a database all the while, and knows what was acknowledged: for rows in which nodes go and
//! come. A write counts when the replica has it, too (`WAIT 1`), since replication is asynchronous.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use stepwright_dev_cluster::loopback;

use crate::world::World;

/// No answer may take longer.
const ANSWERS: Duration = Duration::from_secs(5);
/// Between two attempts to find the database.
const RETRY: Duration = Duration::from_millis(200);
/// Between two writes, so that they are spread over whatever happens.
const PAUSE: Duration = Duration::from_millis(5);

/// A running writer. It ends with the value.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Written>>,
    database: Database,
}

/// What a writer did.
#[derive(Debug, Default)]
pub struct Written {
    /// Numbers whose writes were acknowledged; each is a key and its value.
    pub acknowledged: Vec<u64>,
    /// Connections that it made.
    pub connections: u32,
    /// The longest time without an acknowledgement.
    pub longest_gap: Duration,
}

/// How to reach a database: by the pods that its Services select.
#[derive(Clone)]
struct Database {
    uid: String,
    port: u16,
    password: String,
    kubectl: std::path::PathBuf,
    kubeconfig: std::path::PathBuf,
}

impl Writer {
    /// Begins to write.
    ///
    /// # Errors
    /// When kubectl cannot be found.
    pub fn start(world: &World, uid: &str, port: u16, password: &str) -> anyhow::Result<Self> {
        let database = Database {
            uid: uid.to_owned(),
            port,
            password: password.to_owned(),
            kubectl: world.command(&[])?.get_program().into(),
            kubeconfig: world.cluster.kubeconfig(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (database, stop) = (database.clone(), stop.clone());
            std::thread::spawn(move || write_on(&database, &stop))
        };
        Ok(Self { stop, thread: Some(thread), database })
    }

    /// Ends it, and reads everything that was acknowledged.
    ///
    /// # Errors
    /// When the database cannot be read, or something that was acknowledged is missing.
    pub fn finish(mut self) -> anyhow::Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the writer was finished already")?;
        let written = thread.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        let mut connection = self.database.connect()?;
        let mut lost = Vec::new();
        for number in &written.acknowledged {
            if connection.ask(&["GET", &key(*number)])? != number.to_string() {
                lost.push(*number);
            }
        }
        if !lost.is_empty() {
            bail!("{} of {} acknowledged writes are lost: {lost:?}", lost.len(), written.acknowledged.len());
        }
        Ok(written)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn key(number: u64) -> String {
    format!("written:{number}")
}

fn write_on(database: &Database, stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut number = 0;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = database.connect() else {
            std::thread::sleep(RETRY);
            continue;
        };
        written.connections += 1;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let set = connection.ask(&["SET", &key(number), &number.to_string()]);
            if !set.is_ok_and(|said| said == "OK") {
                break;
            }
            match connection.ask(&["WAIT", "1", "1000"]) {
                Ok(replicas) if replicas != "0" => {
                    written.acknowledged.push(number);
                    written.longest_gap = written.longest_gap.max(last.elapsed());
                    last = Instant::now();
                }
                // No replica had it in time.
                Ok(_) => {}
                Err(_) => break,
            }
            std::thread::sleep(PAUSE);
        }
    }
    written
}

impl Database {
    fn connect(&self) -> anyhow::Result<Connection> {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig);
        let label = format!("redis.io/bdb-{0}={0}", self.uid);
        command.args(["get", "pods", "-l", &label, "-o", "jsonpath={.items[0].status.podIP}"]);
        let said = String::from_utf8(command.output()?.stdout)?;
        let address: Ipv4Addr = said.parse().with_context(|| format!("no pod serves the database: {said:?}"))?;
        let stream = TcpStream::connect_timeout(&(loopback(address), self.port).into(), ANSWERS)?;
        stream.set_read_timeout(Some(ANSWERS))?;
        let mut connection = Connection { stream: BufReader::new(stream) };
        let said = connection.ask(&["AUTH", &self.password])?;
        if said == "OK" { Ok(connection) } else { bail!("AUTH: {said}") }
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// One command, one answer, which is no list. Redis's own error is an `Err`.
    fn ask(&mut self, words: &[&str]) -> anyhow::Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        let line = line.trim_end();
        let Some(kind) = line.chars().next() else { bail!("an empty answer") };
        let rest = line[kind.len_utf8()..].to_owned();
        match kind {
            '+' | ':' => Ok(rest),
            '$' => match rest.parse::<i64>()? {
                -1 => Ok(String::new()),
                length => {
                    let mut bytes = vec![0; usize::try_from(length)? + 2];
                    self.stream.read_exact(&mut bytes)?;
                    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
                }
            },
            _ => bail!("{rest}"),
        }
    }
}
