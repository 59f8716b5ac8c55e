//! The guard: a tiny process between the cluster and each process it runs. When the cluster ends, however it ends, the
//! guard ends everything below itself. It is the container's "PID namespace": no descendant outlives it.
//!
//! It does not restart anything and knows nothing of Kubernetes. It runs on one thread: the death signal of a child is
//! tied to the thread that made it, so that thread has to be the one that lives longest.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::procfs;

/// Runs `command` below this process until it ends or the lifeline (standard input) closes.
///
/// Answers the exit code as a container runtime would: 128 and the signal's number for a process that was killed.
///
/// # Errors
/// When the command cannot be started.
pub fn run(pid_file: Option<&Path>, command: &[OsString]) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(guard(pid_file, command))?;
    Ok(u8::try_from(code).unwrap_or(255))
}

/// Becomes `command`, which is killed when the guard dies, and writes its process id first.
///
/// # Errors
/// When the command cannot be started; on success it does not return.
pub fn exec(guard: u32, pid_file: Option<&Path>, command: &[OsString]) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if std::os::unix::process::parent_id() != guard {
        bail!("the guard is gone");
    }
    if let Some(path) = pid_file {
        let identity = procfs::Identity::of(std::process::id()).context("failed to read the own start time")?;
        crate::files::write_atomically(path, &serde_json::to_vec(&identity)?)?;
    }
    let (program, arguments) = command.split_first().context("no command given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("failed to start `{}`", Path::new(program).display()))
}

async fn guard(pid_file: Option<&Path>, command: &[OsString]) -> anyhow::Result<i32> {
    // Orphans of the command come to us instead of to init, so that they can be found and ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut children = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut lifeline = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)
        .context("standard input is no pipe: a guard is started by the cluster, not by hand")?;

    let mut arguments: Vec<OsString> = vec!["exec".into(), "--guard".into(), std::process::id().to_string().into()];
    if let Some(path) = pid_file {
        arguments.extend(["--pid-file".into(), path.into()]);
    }
    arguments.push("--".into());
    arguments.extend(command.iter().cloned());
    let child = Command::new(own_executable())
        .arg0("stepwright-dev-cluster")
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .context("failed to start the command")?;
    let main = Pid::from_child(&child);

    let mut byte = [0_u8; 1];
    let code = loop {
        if let Some(code) = reap(main) {
            break code;
        }
        tokio::select! {
            _ = children.recv() => {}
            _ = terminate.recv() => { let _ = rustix::process::kill_process(main, Signal::TERM); }
            _ = interrupt.recv() => { let _ = rustix::process::kill_process(main, Signal::INT); }
            _ = hang_up.recv() => { let _ = rustix::process::kill_process(main, Signal::HUP); }
            read = lifeline.read(&mut byte) => if !matches!(read, Ok(1)) { break 128 + Signal::KILL.as_raw() },
        }
    };
    end_descendants().await;
    if let Some(path) = pid_file {
        let _ = std::fs::remove_file(path);
    }
    Ok(code)
}

/// Collects ended children; the exit code if the main one is among them.
fn reap(main: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == main {
            code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        }
    }
    code
}

async fn end_descendants() {
    loop {
        for pid in procfs::descendants(std::process::id()) {
            crate::procfs::kill(pid, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            // A killed process needs a moment before it can be collected.
            Ok(None) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(_) => return,
        }
    }
}

/// The running program, also after a build has replaced its file.
pub(crate) fn own_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}
