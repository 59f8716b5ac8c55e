//! Compiles components, by default in a child process that can be killed: a stranger's component can attack the compiler,
//! be it for time, for memory, or to crash it. The host then lives, and names plugin and limit.
//!
//! The component goes in and the code comes out through memory files, so neither side waits for the other and a child that
//! hangs holds nothing. The child limits itself before it reads a byte ([`child`]). A compiler that was taken over could
//! still return code of its own making: the limits contain crashes and exhaustion, not a breach of the compiler.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use stepwright_core::guest::GuestError;

use crate::sealed::{SealedCode, memory_file};

pub mod child;

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// In this process, without limits: for components of one's own.
    #[default]
    InProcess,
    Child(ChildCompiler),
}

/// A program that compiles what it is given: it calls [`child::run`] and nothing else.
#[derive(Debug, Clone)]
pub struct ChildCompiler {
    pub program: PathBuf,
    /// Before the options that [`child::run`] takes.
    pub arguments: Vec<OsString>,
    /// Memory that it may fill.
    pub memory_mib: u32,
    /// Time that one component may take.
    pub seconds: u32,
}

impl ChildCompiler {
    /// With the default limits of 1 GiB and two minutes: a component of 18 MiB (Python) takes one on a busy machine.
    pub fn new(program: PathBuf, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self { program, arguments: arguments.into_iter().collect(), memory_mib: 1024, seconds: 120 }
    }

    /// `plugin`: what errors call it. Blocks for at most the time limit.
    pub(crate) fn compile(&self, plugin: &str, bytes: &[u8], fuel: bool) -> Result<SealedCode, GuestError> {
        let host = |what: &str, error: &dyn std::fmt::Display| GuestError::Host {
            plugin: plugin.to_owned(),
            message: format!("failed to {what}: {error}"),
        };
        let files = Files::new(bytes).map_err(|error| host("make memory files for its compiler", &error))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(child::options(self.memory_mib, self.seconds, fuel));
        command.env_clear().current_dir("/");
        let started = files.lend(&mut command).and_then(|()| command.spawn());
        let mut child = started.map_err(|error| host(&format!("start `{}`", self.program.display()), &error))?;
        let limit = Duration::from_secs(self.seconds.into());
        let ended = wait(&mut child, limit).map_err(|error| host("wait for its compiler", &error))?;
        let Files { code, mut words, .. } = files;
        let last = last_line(&mut words);
        match ended {
            Some(status) if status.success() => SealedCode::new(code).map_err(|error| host("seal its code", &error)),
            Some(status) => Err(self.failure(plugin, status, last)),
            None => Err(GuestError::CompileTimeout { plugin: plugin.to_owned(), limit }),
        }
    }

    fn failure(&self, plugin: &str, status: ExitStatus, last: String) -> GuestError {
        let plugin = plugin.to_owned();
        let limit_mib = self.memory_mib;
        match (status.code(), status.signal()) {
            (Some(child::REFUSED), _) if !is_memory(&last) => {
                GuestError::Incompatible { plugin, message: format!("it cannot be compiled: {last}") }
            }
            (_, Some(signal)) if signal == Signal::XCPU.as_raw() => {
                GuestError::CompileTimeout { plugin, limit: Duration::from_secs(self.seconds.into()) }
            }
            (_, Some(signal)) if signal == Signal::XFSZ.as_raw() => {
                let message = "its code alone is larger".to_owned();
                GuestError::CompileMemory { plugin, limit_mib, message }
            }
            _ if is_memory(&last) => GuestError::CompileMemory { plugin, limit_mib, message: last },
            _ if last.is_empty() => GuestError::CompileCrashed { plugin, message: status.to_string() },
            _ => GuestError::CompileCrashed { plugin, message: format!("{last} ({status})") },
        }
    }
}

/// Rust's allocator says the first when it gives up, the kernel the second when a mapping is refused.
fn is_memory(words: &str) -> bool {
    words.contains("memory allocation of") || words.contains("Cannot allocate memory") || words.contains("os error 12")
}

struct Files {
    component: File,
    code: File,
    words: File,
}

impl Files {
    fn new(bytes: &[u8]) -> std::io::Result<Self> {
        let mut component = memory_file("stepwright-component")?;
        component.write_all(bytes)?;
        component.seek(SeekFrom::Start(0))?;
        Ok(Self { component, code: memory_file("stepwright-code")?, words: memory_file("stepwright-words")? })
    }

    /// As the child's three standard streams.
    fn lend(&self, command: &mut Command) -> std::io::Result<()> {
        command.stdin(Stdio::from(self.component.try_clone()?));
        command.stdout(Stdio::from(self.code.try_clone()?));
        command.stderr(Stdio::from(self.words.try_clone()?));
        Ok(())
    }
}

/// Waits for a child and kills it when its time is over; `None` then. Either way it is gone afterwards.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    // By this handle nobody else can be hit, even if the child's number is given away anew.
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let (ended, watched) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let in_time = watched.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout);
            // The only way to fail is that it has ended by itself.
            in_time || pidfd_send_signal(&handle, Signal::KILL).is_err()
        });
        let status = child.wait();
        drop(ended);
        let in_time = watch.join().unwrap_or(true);
        status.map(|status| in_time.then_some(status))
    })
}

/// What it said last, or of memory, of limited length.
fn last_line(words: &mut File) -> String {
    const MOST: u64 = 4096;
    let length = words.metadata().map_or(0, |it| it.len());
    let mut text = Vec::new();
    // A message that cannot be had is no reason to fail differently.
    let read =
        words.seek(SeekFrom::Start(length.saturating_sub(MOST))).and_then(|_| words.take(MOST).read_to_end(&mut text));
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: "));
    // Out of memory, other threads may have had more to say.
    let line = lines().find(|line| is_memory(line)).or_else(|| lines().next()).unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(300).collect()
}
