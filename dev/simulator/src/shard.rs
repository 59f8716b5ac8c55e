//! Keeps one redis-server as the cluster's state wants it, and tells what it sees.
//!
//! The keeper starts the process only when told (see [`crate::state::Shard::start`]); it decides nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Child,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    node::Node,
    peers::{DataFile, ShardReport},
    resp::{Connection, text_of},
    settings::dial,
    state::{Bdb, ClusterState, Shard, ShardRole, password_hash, reshard::Stage},
    trim::Trim,
};

/// The Redis user of the cluster itself.
pub const INTERNAL_USER: &str = "__cluster";

/// What clients may do: everything but what would take a shard out of the cluster's hands (REST reference, 16.8).
/// `CONFIG GET` stays, so that a changed setting can be seen.
const CLIENT_RULE: &str = "~* &* +@all -shutdown -replicaof -slaveof -failover -debug -cluster -module -save -bgsave \
                           -bgrewriteaof -config +config|get -acl +acl|whoami";

/// How often a running shard is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A redis-server on loopback answers at once or is in trouble.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What a shard should be.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardSpec {
    /// Number.
    pub uid: u32,
    /// Port.
    pub port: u16,
    /// Launch allowed.
    pub start: Option<String>,
    /// Configuration version.
    pub version: u64,
    /// Master or replica.
    pub role: ShardRole,
    /// The master, for a replica: where to dial it.
    pub master: Option<(String, u16)>,
    /// `maxmemory`.
    pub maxmemory: u64,
    /// `maxmemory-policy`.
    pub policy: String,
    /// `appendonly`.
    pub aof: bool,
    /// `appendfsync always`.
    pub fsync_always: bool,
    /// `save` points.
    pub save: String,
    /// `maxclients`.
    pub maxclients: u64,
    /// Secret of the internal user.
    pub internal: String,
    /// Redis users: name, and rules as `ACL SETUSER` takes them.
    pub users: Vec<(String, Vec<String>)>,
    /// Flushes asked for so far.
    pub flushes: u32,
    /// Whether it is a copy that will be a shard of its own.
    pub copying: bool,
    /// The slots outside of which its keys are foreign and must go.
    pub trim: Option<(u16, u16)>,
    /// Whether this is its first launch, so that files in its folder are another's.
    pub fresh: bool,
}

impl ShardSpec {
    /// What the state says of a shard.
    pub fn of(state: &ClusterState, bdb: &Bdb, shard: &Shard) -> Self {
        let master = bdb.source_of(shard);
        let rules = |enabled: bool, hashes: &[String], rule: &str| {
            let mut rules = vec!["reset".to_owned(), if enabled { "on" } else { "off" }.to_owned()];
            rules.extend(hashes.iter().map(|hash| format!("#{hash}")));
            rules.extend(rule.split_whitespace().map(str::to_owned));
            rules
        };
        let hashes: Vec<String> = bdb.passwords.iter().map(|password| password_hash(password)).collect();
        let anyone = if hashes.is_empty() { format!("nopass {CLIENT_RULE}") } else { CLIENT_RULE.to_owned() };
        let internal = bdb.internal_password(state);
        let mut users = vec![
            (INTERNAL_USER.to_owned(), rules(true, &[password_hash(&internal)], "~* &* +@all")),
            ("default".to_owned(), rules(bdb.flag("default_user"), &hashes, &anyone)),
        ];
        let admin = bdb.text("authentication_admin_pass");
        if !admin.is_empty() {
            users.push(("admin".to_owned(), rules(true, &[password_hash(admin)], CLIENT_RULE)));
        }
        users.extend(state.redis_users(bdb).into_iter().map(|(name, hashes, acl)| (name, rules(true, &hashes, &acl))));
        let points = bdb.config.get("snapshot_policy").and_then(serde_json::Value::as_array);
        let points: Vec<String> = points
            .into_iter()
            .flatten()
            .filter_map(|point| Some(format!("{} {}", point.get("secs")?.as_u64()?, point.get("writes")?.as_u64()?)))
            .collect();
        let trims = shard.role == ShardRole::Master && bdb.reshard.as_ref().is_some_and(|one| one.stage == Stage::Trim);
        Self {
            uid: shard.uid,
            port: shard.port,
            start: shard.start.clone(),
            version: bdb.version,
            role: shard.role,
            master: master.and_then(|master| Some((dial(&state.nodes.get(&master.node)?.addr), master.port))),
            maxmemory: bdb.shard_limit(),
            policy: bdb.text("eviction_policy").to_owned(),
            aof: bdb.text("data_persistence") == "aof",
            fsync_always: bdb.text("aof_policy") == "appendfsync-always",
            save: match bdb.text("data_persistence") {
                "snapshot" if points.is_empty() => "3600 1".to_owned(),
                "snapshot" => points.join(" "),
                _ => String::new(),
            },
            maxclients: bdb.number("maxclients").max(1),
            internal,
            users,
            flushes: shard.flushes,
            copying: bdb.parent_group(shard).is_some(),
            trim: trims.then_some(shard.slots),
            fresh: shard.fresh,
        }
    }

    /// Settings that can be changed while it runs.
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("maxmemory", self.maxmemory.to_string()),
            ("maxmemory-policy", self.policy.clone()),
            ("appendfsync", if self.fsync_always { "always" } else { "everysec" }.to_owned()),
            ("appendonly", if self.aof { "yes" } else { "no" }.to_owned()),
            ("save", self.save.clone()),
            ("maxclients", self.maxclients.to_string()),
        ]
    }
}

/// The folder of a shard on the node's volume.
pub fn folder(data: &Path, uid: u32) -> PathBuf {
    data.join("redis").join(uid.to_string())
}

/// The files that hold a shard's data.
pub fn data_files(folder: &Path) -> Vec<DataFile> {
    let mut files = Vec::new();
    for sub in ["", "appendonlydir"] {
        for entry in fs::read_dir(folder.join(sub)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() || !(name.ends_with(".rdb") || name.ends_with(".aof")) {
                continue;
            }
            let modified = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            files.push(DataFile {
                filename: Path::new(sub).join(name).to_string_lossy().into_owned(),
                size: meta.len(),
                modified: modified.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0)),
            });
        }
    }
    files
}

/// A process and what was last told to it.
struct Running {
    child: Child,
    connection: Option<Connection>,
    carried_out: Option<ShardSpec>,
    trim: Option<Trim>,
    trimmed: u64,
    /// Whether a copy in the making was told to write its snapshot.
    saved: bool,
}

impl Running {
    fn new(child: Child) -> Self {
        Self { child, connection: None, carried_out: None, trim: None, trimmed: 0, saved: false }
    }
}

/// Keeps a shard until the sender of its specification is gone; then ends the process, and removes its files if the
/// last word was `None`.
pub async fn keep(node: Arc<Node>, uid: u32, mut wanted: watch::Receiver<Option<ShardSpec>>) {
    let mut running: Option<Running> = None;
    let mut launches = 0u32;
    loop {
        let spec = wanted.borrow_and_update().clone();
        let Some(spec) = spec else { break };
        let mut report = ShardReport::default();
        if let Some(process) = &mut running
            && let Ok(Some(status)) = process.child.try_wait()
        {
            warn!(shard = uid, %status, "redis-server ended");
            running = None;
        }
        if running.is_none() {
            let token = format!("{}-{launches}", node.boot);
            if spec.start.as_ref() == Some(&token) {
                launches += 1;
                match launch(&node, &spec).await {
                    Ok(child) => running = Some(Running::new(child)),
                    Err(error) => {
                        warn!(shard = uid, %error, "failed to start redis-server");
                        report.error = Some(error.to_string());
                    }
                }
            } else {
                report.wants = Some(token);
            }
        }
        if let Some(process) = &mut running {
            match tokio::time::timeout(ANSWER_LIMIT, attend(&node, process, &spec, &mut report)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    process.connection = None;
                    report.error = Some(error.to_string());
                }
                Err(_) => {
                    process.connection = None;
                    report.error = Some("redis-server does not answer".to_owned());
                }
            }
        }
        let settled = report.running && report.version == spec.version && !report.trimming;
        node.local.lock().shards.insert(uid, report);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(if settled { LOOK } else { LOOK / 8 }) => {}
        }
    }
    if let Some(process) = running {
        end(process).await;
    }
    node.local.lock().shards.remove(&uid);
    if wanted.borrow().is_none() {
        info!(shard = uid, "removing the files of a shard that is gone");
        let _ = fs::remove_dir_all(folder(&node.settings.data, uid));
    }
}

async fn launch(node: &Node, spec: &ShardSpec) -> io::Result<Child> {
    let folder = folder(&node.settings.data, spec.uid);
    if spec.fresh && folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut config = format!(
        "bind {}\nport {}\nprotected-mode no\ndaemonize no\nlogfile redis.log\ndir .\nrepl-diskless-sync yes\n\
         repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\nrepl-timeout 10\nmasteruser {INTERNAL_USER}\nmasterauth {}\n\
         replica-serve-stale-data yes\nshutdown-timeout 1\n",
        node.settings.bind, spec.port, spec.internal
    );
    for (key, value) in spec.settings() {
        config += &format!("{key} {}\n", if value.is_empty() { "\"\"".to_owned() } else { value });
    }
    for (name, rules) in &spec.users {
        config += &format!("user {name} {}\n", rules.join(" "));
    }
    if let Some((host, port)) = &spec.master {
        config += &format!("replicaof {host} {port}\n");
    }
    fs::write(folder.join("redis.conf"), config)?;
    info!(shard = spec.uid, port = spec.port, role = ?spec.role, "starting redis-server");
    node.nursery.spawn(&node.settings.redis_server, &folder, &["redis.conf".to_owned()]).await
}

/// Brings a running process in line and reads how it is.
async fn attend(node: &Node, process: &mut Running, spec: &ShardSpec, report: &mut ShardReport) -> io::Result<()> {
    if process.connection.is_none() {
        let mut fresh = Connection::open(&node.settings.bind, spec.port).await?;
        fresh.demand(&["AUTH", INTERNAL_USER, &spec.internal]).await?;
        process.connection = Some(fresh);
    }
    let Some(connection) = &mut process.connection else { return Ok(()) };
    if process.carried_out.as_ref() != Some(spec) {
        carry_out(connection, spec, process.carried_out.as_ref()).await?;
        process.carried_out = Some(spec.clone());
    }
    if spec.copying && !process.saved && !spec.save.is_empty() {
        let link = text_of(&connection.demand(&["INFO", "replication"]).await?);
        if link.contains("master_link_status:up") {
            connection.demand(&["BGSAVE"]).await?;
            process.saved = true;
        }
    }
    match spec.trim {
        Some(slots) if process.trim.as_ref().is_none_or(|trim| trim.slots != slots) => {
            process.trim = Some(Trim::new(slots));
        }
        Some(_) => {}
        None => process.trim = None,
    }
    if let Some(trim) = &mut process.trim {
        process.trimmed += trim.go_on(connection).await?;
        report.trimming = !trim.done;
    }
    report.trimmed = process.trimmed;
    let info = text_of(&connection.demand(&["INFO"]).await?);
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    let number = |name: &str| field(name).parse().unwrap_or(0);
    report.running = field("loading") == "0";
    report.version = spec.version;
    report.role = Some(if field("role") == "master" { ShardRole::Master } else { ShardRole::Slave });
    report.link_up = field("master_link_status") == "up" && field("master_sync_in_progress") == "0";
    report.offset = number(if spec.role == ShardRole::Master { "master_repl_offset" } else { "slave_repl_offset" });
    let writing = ["aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress"];
    report.persisted = writing.iter().all(|name| field(name) != "1") && (spec.save.is_empty() || process.saved);
    report.used_memory = number("used_memory");
    report.clients = number("connected_clients");
    report.ops = number("instantaneous_ops_per_sec");
    report.keys = field("db0")
        .strip_prefix("keys=")
        .and_then(|rest| rest.split(',').next())
        .and_then(|keys| keys.parse().ok())
        .unwrap_or(0);
    Ok(())
}

async fn carry_out(connection: &mut Connection, spec: &ShardSpec, before: Option<&ShardSpec>) -> io::Result<()> {
    let kept = |setting: &(&str, String)| before.is_some_and(|before| before.settings().contains(setting));
    for setting in spec.settings() {
        if !kept(&setting) {
            connection.demand(&["CONFIG", "SET", setting.0, &setting.1]).await?;
        }
    }
    if before.is_none_or(|before| before.users != spec.users) {
        for (name, rules) in &spec.users {
            let mut words = vec!["ACL", "SETUSER", name];
            words.extend(rules.iter().map(String::as_str));
            if let Err(error) = connection.demand(&words).await {
                // An ACL that redis-server refuses costs its own user the access, not the database its life.
                warn!(shard = spec.uid, user = %name, %error, "failed to set a Redis user");
            }
        }
        let gone = before
            .into_iter()
            .flat_map(|before| &before.users)
            .filter(|(name, _)| !spec.users.iter().any(|(one, _)| one == name));
        for (name, _) in gone {
            connection.demand(&["ACL", "DELUSER", name]).await?;
        }
    }
    if before.is_none_or(|before| (before.role, &before.master) != (spec.role, &spec.master)) {
        match &spec.master {
            Some((host, port)) => connection.demand(&["REPLICAOF", host, &port.to_string()]).await?,
            None => connection.demand(&["REPLICAOF", "NO", "ONE"]).await?,
        };
    }
    if spec.role == ShardRole::Master && before.is_some_and(|before| before.flushes < spec.flushes) {
        connection.demand(&["FLUSHALL"]).await?;
    }
    Ok(())
}

/// Ends a process so that it can write what it must, and waits until it is gone.
async fn end(mut process: Running) {
    let pid = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    for _ in 0..100 {
        if matches!(process.child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let _ = process.child.kill();
    let _ = process.child.wait();
}
