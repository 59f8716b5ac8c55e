//! Runs redis-server so that it dies with the node process, however that dies.
//!
//! The kernel sends the signal when the *thread* that started the child ends, so children are started by one thread
//! that never ends: [`Nursery`]. Between that thread and redis-server stands `guard`, this program run again, which asks
//! the kernel for the signal and then becomes redis-server.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Becomes `program`, after making sure that it dies with the process `parent`. Returns only on failure.
pub fn become_guarded(parent: i32, program: &str, arguments: &[String]) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The parent may have died before the signal was asked for.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return io::Error::other("the node process is gone");
    }
    Command::new(program).args(arguments).exec()
}

type Request = (Command, tokio::sync::oneshot::Sender<io::Result<Child>>);

/// The thread that starts children.
pub struct Nursery {
    requests: mpsc::Sender<Request>,
}

impl Nursery {
    /// Starts the thread, which lives as long as the process: the sender is never dropped before.
    pub fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("nursery".to_owned()).spawn(move || {
            for (mut command, reply) in inbox {
                let child = command.spawn();
                if let Err(Ok(mut orphan)) = reply.send(child) {
                    let _ = orphan.kill();
                    let _ = orphan.wait();
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts `program` under guard, in `folder`.
    pub async fn spawn(&self, program: &Path, folder: &Path, arguments: &[String]) -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg0("redis-enterprise-simulator")
            .args(["guard", "--parent", &getpid().as_raw_nonzero().to_string(), "--"])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (reply, answer) = tokio::sync::oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.requests.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
