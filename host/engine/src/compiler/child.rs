//! The child's side of compiling: gives up what it does not need, reads a component, writes code, and ends.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use crate::config;

/// The exit code that says: it is the component, not the compiler.
pub(crate) const REFUSED: i32 = 3;

/// What the child is told.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    pub memory_mib: u32,
    pub seconds: u32,
    /// Make code that counts fuel.
    pub fuel: bool,
}

/// A task as command line options: what the program that is run for a child must understand.
pub(crate) fn options(memory_mib: u32, seconds: u32, fuel: bool) -> Vec<OsString> {
    let mut options = vec![format!("--memory-mib={memory_mib}").into(), format!("--seconds={seconds}").into()];
    if fuel {
        options.push("--fuel".into());
    }
    options
}

/// Compiles standard input to standard output. Says in one line to standard error why it could not.
pub fn run(task: &Task) -> ExitCode {
    if let Err(error) = limit(task) {
        eprintln!("the compiler could not limit itself: {error}");
        return ExitCode::FAILURE;
    }
    let mut bytes = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut bytes) {
        eprintln!("the component could not be read: {error}");
        return ExitCode::FAILURE;
    }
    let code = wasmtime::Engine::new(&config::compiling(task.fuel)).and_then(|it| it.precompile_component(&bytes));
    let code = match code {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", format!("{error:#}").replace('\n', " "));
            return ExitCode::from(u8::try_from(REFUSED).unwrap_or(1));
        }
    };
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(&code).and_then(|()| out.flush()) {
        eprintln!("the code could not be written: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// `RLIMIT_DATA`, not `RLIMIT_AS`: what is counted is memory that can be written to. Address space that is only reserved,
/// by allocators and for threads, costs nothing.
fn limit(task: &Task) -> rustix::io::Result<()> {
    let most = |number: u64| Rlimit { current: Some(number), maximum: Some(number) };
    let memory = u64::from(task.memory_mib) << 20;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Data, most(memory))?;
    setrlimit(Resource::Fsize, most(memory))?;
    setrlimit(Resource::Nofile, most(16))?;
    // Over all threads. The parent's clock ends it sooner, if it lives.
    let seconds = u64::from(task.seconds).saturating_mul(cores).max(1);
    // At the first number it gets a signal that says so, at the second it is killed.
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) })?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Passes go first. Not to be allowed to step back is no reason not to work.
    let _ = nice(10);
    Ok(())
}
