//! A guarded child process: started below a guard, ended with everything that it started.
//!
//! Dropping a [`Guarded`] closes the guard's lifeline, so the process cannot outlive the value, nor this process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::process::{Child, ChildStdin, Command};

use crate::guard::own_executable;
use crate::procfs::{Identity, MARK};

/// What to start, and how.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) working_directory: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    /// The cluster's folder, carried as a mark by the process and all that it starts.
    pub(crate) cluster_folder: PathBuf,
}

/// A running process and its guard.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    lifeline: Option<ChildStdin>,
    guard: Option<Identity>,
}

impl Guarded {
    /// Starts it with nothing of our environment but what the spec names.
    pub(crate) fn spawn(spec: &Spec, stdout: Stdio, stderr: Stdio) -> anyhow::Result<Self> {
        let mut command = Command::new(own_executable());
        command.arg0("stepwright-dev-cluster").arg("guard");
        if let Some(path) = &spec.pid_file {
            command.arg("--pid-file").arg(path);
        }
        command.arg("--").arg(&spec.program).args(&spec.arguments);
        command.env_clear().envs(spec.environment.iter().map(|(name, value)| (name, value)));
        command.env(MARK, &spec.cluster_folder);
        command.current_dir(&spec.working_directory);
        // A group of its own: Ctrl-C in a terminal goes to us, and we end the others in order.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        let mut child =
            command.spawn().with_context(|| format!("failed to start `{}`", Path::new(&spec.program).display()))?;
        let lifeline = child.stdin.take();
        let guard = child.id().and_then(Identity::of);
        Ok(Self { child, lifeline, guard })
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        if let Some(guard) = self.guard {
            guard.signal(Signal::TERM);
        }
    }

    /// Ends it and everything below it at once.
    pub(crate) fn kill(&mut self) {
        self.lifeline = None;
    }

    /// Waits for the end; 137 if even the guard cannot say how it ended. Safe to be cancelled.
    pub(crate) async fn wait(&mut self) -> i32 {
        // Not `child.wait()`: it would close the lifeline first, had we not taken it.
        match self.child.wait().await {
            Ok(status) => status.code().unwrap_or(137),
            Err(_) => 137,
        }
    }

    pub(crate) fn outputs(&mut self) -> (Option<tokio::process::ChildStdout>, Option<tokio::process::ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }
}
