//! The world that a guest's standard library finds: present, so that it starts, and empty.
//!
//! No files, no environment, no arguments, no input. The wall clock stands at the observation's time, the other one
//! moves only when it is looked at or waited for, randomness comes from the observation's digest: so a call can be
//! repeated exactly. Waiting takes no time: epochs do not interrupt the host, so nothing in here may ever block.
//! What is printed goes to the log. Written out by hand, rather than taken from `wasmtime-wasi`, for these reasons, and
//! because it keeps the host free of the code for files and sockets.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, Val};

use crate::lines::Flood;
use crate::state::HostState;
use crate::worlds::log::Level;

/// Functions within one minor version of WASI only ever were added, so this serves all guests of 0.2.
macro_rules! interface {
    ($name:literal) => {
        concat!("wasi:", $name, "@0.2.6")
    };
}

/// Most bytes of randomness for one request, and most bytes of a line that is still being printed.
const MOST: usize = 64 << 10;

/// A request that this world does not answer. Ends the call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("it ended its process instead of answering (status {0})")]
    Exit(u8),
    #[error("it asked for {0}, which it cannot have")]
    Refused(&'static str),
}

/// What a guest can find out, and what it has printed.
pub(crate) struct EmptyWorld {
    wall: Duration,
    monotonic: u64,
    random: Random,
    printed: [String; 2],
}

impl EmptyWorld {
    pub(crate) fn new(now: Duration, seed: [u8; 32]) -> Self {
        Self { wall: now, monotonic: 0, random: Random::new(seed), printed: [String::new(), String::new()] }
    }
}

/// `SplitMix64`: even, repeatable, and not secret; nothing that a guest makes may be.
struct Random(u64);

impl Random {
    fn new(seed: [u8; 32]) -> Self {
        let (words, _) = seed.as_chunks::<8>();
        Self(words.iter().fold(0, |mixed, word| mixed.rotate_left(17) ^ u64::from_le_bytes(*word)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MOST {
            return Err(Stop::Refused("too many random bytes at once").into());
        }
        let mut bytes = Vec::with_capacity(count.next_multiple_of(8));
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        Ok(bytes)
    }
}

// What handles stand for. There is nothing behind them but a number, so a guest that hoards them costs the host little.
struct Failure;
struct Input;
struct Output;
struct Ready;
struct Terminal;
struct File;

const STDOUT: u32 = 0;
const STDERR: u32 = 1;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "part of the interface; streams here never fail")]
    LastOperationFailed(Resource<Failure>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Context<'a> = StoreContextMut<'a, HostState>;
type Interface<'a> = LinkerInstance<'a, HostState>;

pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    io(linker)?;
    cli(linker)?;
    clocks(linker)?;
    random(linker)?;
    filesystem(linker)
}

fn resource<T: 'static>(interface: &mut Interface<'_>, name: &str) -> wasmtime::Result<()> {
    interface.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}

fn io(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut error = linker.instance(interface!("io/error"))?;
    resource::<Failure>(&mut error, "error")?;
    error.func_wrap("[method]error.to-debug-string", |_: Context<'_>, (_,): (Resource<Failure>,)| {
        Ok((String::new(),))
    })?;

    let mut poll = linker.instance(interface!("io/poll"))?;
    resource::<Ready>(&mut poll, "pollable")?;
    poll.func_wrap("[method]pollable.ready", |_: Context<'_>, (_,): (Resource<Ready>,)| Ok((true,)))?;
    poll.func_wrap("[method]pollable.block", |_: Context<'_>, (_,): (Resource<Ready>,)| Ok(()))?;
    poll.func_wrap("poll", |_: Context<'_>, (all,): (Vec<Resource<Ready>>,)| {
        if all.is_empty() {
            return Err(Stop::Refused("the first of no events").into());
        }
        Ok(((0..u32::try_from(all.len())?).collect::<Vec<u32>>(),))
    })?;

    let mut streams = linker.instance(interface!("io/streams"))?;
    resource::<Input>(&mut streams, "input-stream")?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(name, |_: Context<'_>, (_, _): (Resource<Input>, u64)| {
            Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
        })?;
    }
    for name in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        streams.func_wrap(name, |_: Context<'_>, (_, _): (Resource<Input>, u64)| {
            Ok((Err::<u64, _>(StreamError::Closed),))
        })?;
    }
    streams.func_wrap("[method]input-stream.subscribe", |_: Context<'_>, (_,): (Resource<Input>,)| Ok((ready(),)))?;

    resource::<Output>(&mut streams, "output-stream")?;
    streams.func_wrap("[method]output-stream.check-write", |_: Context<'_>, (_,): (Resource<Output>,)| {
        Ok((Ok::<_, StreamError>(MOST as u64),))
    })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(name, |mut cx: Context<'_>, (to, bytes): (Resource<Output>, Vec<u8>)| {
            // More than `check-write` said.
            if bytes.len() > MOST {
                return Err(Stop::Refused("printing too much at once").into());
            }
            cx.data_mut().print(to.rep(), &bytes);
            Ok((Ok::<(), StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams.func_wrap(name, |_: Context<'_>, (_,): (Resource<Output>,)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    for name in ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"] {
        streams.func_wrap(name, |_: Context<'_>, (_, _): (Resource<Output>, u64)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    for name in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        streams.func_wrap(name, |_: Context<'_>, (_, _, _): (Resource<Output>, Resource<Input>, u64)| {
            Ok((Err::<u64, _>(StreamError::Closed),))
        })?;
    }
    streams.func_wrap("[method]output-stream.subscribe", |_: Context<'_>, (_,): (Resource<Output>,)| Ok((ready(),)))
}

fn ready() -> Resource<Ready> {
    Resource::new_own(0)
}

fn cli(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut environment = linker.instance(interface!("cli/environment"))?;
    environment.func_wrap("get-environment", |_: Context<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Context<'_>, (): ()| Ok((None::<String>,)))?;

    let mut exit = linker.instance(interface!("cli/exit"))?;
    exit.func_wrap("exit", |_: Context<'_>, (status,): (Result<(), ()>,)| {
        Err::<(), _>(Stop::Exit(u8::from(status.is_err())).into())
    })?;
    exit.func_wrap("exit-with-code", |_: Context<'_>, (status,): (u8,)| Err::<(), _>(Stop::Exit(status).into()))?;

    linker
        .instance(interface!("cli/stdin"))?
        .func_wrap("get-stdin", |_: Context<'_>, (): ()| Ok((Resource::<Input>::new_own(0),)))?;
    linker
        .instance(interface!("cli/stdout"))?
        .func_wrap("get-stdout", |_: Context<'_>, (): ()| Ok((Resource::<Output>::new_own(STDOUT),)))?;
    linker
        .instance(interface!("cli/stderr"))?
        .func_wrap("get-stderr", |_: Context<'_>, (): ()| Ok((Resource::<Output>::new_own(STDERR),)))?;

    resource::<Terminal>(&mut linker.instance(interface!("cli/terminal-input"))?, "terminal-input")?;
    resource::<Terminal>(&mut linker.instance(interface!("cli/terminal-output"))?, "terminal-output")?;
    let none = |_: Context<'_>, (): ()| Ok((None::<Resource<Terminal>>,));
    linker.instance(interface!("cli/terminal-stdin"))?.func_wrap("get-terminal-stdin", none)?;
    linker.instance(interface!("cli/terminal-stdout"))?.func_wrap("get-terminal-stdout", none)?;
    linker.instance(interface!("cli/terminal-stderr"))?.func_wrap("get-terminal-stderr", none)
}

fn clocks(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut wall = linker.instance(interface!("clocks/wall-clock"))?;
    wall.func_wrap("now", |cx: Context<'_>, (): ()| {
        let now = cx.data().world.wall;
        Ok((Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() },))
    })?;
    wall.func_wrap("resolution", |_: Context<'_>, (): ()| Ok((Datetime { seconds: 1, nanoseconds: 0 },)))?;

    // Waiting begins and is over in the same moment, of which the guest sees the end.
    let mut monotonic = linker.instance(interface!("clocks/monotonic-clock"))?;
    monotonic.func_wrap("now", |mut cx: Context<'_>, (): ()| {
        let clock = &mut cx.data_mut().world.monotonic;
        // A microsecond for each look, so that what loops until a time has come ends.
        *clock = clock.saturating_add(1_000);
        Ok((*clock,))
    })?;
    monotonic.func_wrap("resolution", |_: Context<'_>, (): ()| Ok((1_000_u64,)))?;
    monotonic.func_wrap("subscribe-instant", |mut cx: Context<'_>, (when,): (u64,)| {
        let clock = &mut cx.data_mut().world.monotonic;
        *clock = (*clock).max(when);
        Ok((ready(),))
    })?;
    monotonic.func_wrap("subscribe-duration", |mut cx: Context<'_>, (nanos,): (u64,)| {
        let clock = &mut cx.data_mut().world.monotonic;
        *clock = clock.saturating_add(nanos);
        Ok((ready(),))
    })
}

fn random(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let bytes = |mut cx: Context<'_>, (count,): (u64,)| Ok((cx.data_mut().world.random.bytes(count)?,));
    let number = |mut cx: Context<'_>, (): ()| Ok((cx.data_mut().world.random.next(),));
    let mut secure = linker.instance(interface!("random/random"))?;
    secure.func_wrap("get-random-bytes", bytes)?;
    secure.func_wrap("get-random-u64", number)?;
    let mut insecure = linker.instance(interface!("random/insecure"))?;
    insecure.func_wrap("get-insecure-random-bytes", bytes)?;
    insecure.func_wrap("get-insecure-random-u64", number)?;
    linker.instance(interface!("random/insecure-seed"))?.func_wrap("insecure-seed", |mut cx: Context<'_>, (): ()| {
        let random = &mut cx.data_mut().world.random;
        Ok(((random.next(), random.next()),))
    })
}

/// Methods of files and folders. A guest has no folder to begin with, so none of them can be reached.
const FILE_METHODS: [&str; 28] = [
    "[method]descriptor.read-via-stream",
    "[method]descriptor.write-via-stream",
    "[method]descriptor.append-via-stream",
    "[method]descriptor.advise",
    "[method]descriptor.sync-data",
    "[method]descriptor.get-flags",
    "[method]descriptor.get-type",
    "[method]descriptor.set-size",
    "[method]descriptor.set-times",
    "[method]descriptor.read",
    "[method]descriptor.write",
    "[method]descriptor.read-directory",
    "[method]descriptor.sync",
    "[method]descriptor.create-directory-at",
    "[method]descriptor.stat",
    "[method]descriptor.stat-at",
    "[method]descriptor.set-times-at",
    "[method]descriptor.link-at",
    "[method]descriptor.open-at",
    "[method]descriptor.readlink-at",
    "[method]descriptor.remove-directory-at",
    "[method]descriptor.rename-at",
    "[method]descriptor.symlink-at",
    "[method]descriptor.unlink-file-at",
    "[method]descriptor.is-same-object",
    "[method]descriptor.metadata-hash",
    "[method]descriptor.metadata-hash-at",
    "[method]directory-entry-stream.read-directory-entry",
];

fn filesystem(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut types = linker.instance(interface!("filesystem/types"))?;
    resource::<File>(&mut types, "descriptor")?;
    resource::<File>(&mut types, "directory-entry-stream")?;
    for method in FILE_METHODS {
        types.func_new(method, |_, _, _, _| Err(Stop::Refused("a file").into()))?;
    }
    types.func_new("filesystem-error-code", |_, _, _, results| {
        if let Some(code) = results.first_mut() {
            *code = Val::Option(None);
        }
        Ok(())
    })?;
    linker
        .instance(interface!("filesystem/preopens"))?
        .func_wrap("get-directories", |_: Context<'_>, (): ()| Ok((Vec::<(Resource<File>, String)>::new(),)))
}

/// What is left of a call when its instance is gone.
pub(crate) struct Ending {
    /// What the guest last said of an error.
    pub(crate) last_words: Option<String>,
    pub(crate) log_lines: u32,
    pub(crate) flood: Option<Flood>,
    /// The most that its memories and tables came to.
    pub(crate) memory_bytes: u64,
}

impl HostState {
    /// Whole lines go to the log; the rest waits for its end. Takes time in proportion to `bytes`, whatever they are.
    fn print(&mut self, to: u32, bytes: &[u8]) {
        let to_stderr = to == STDERR;
        let [stdout, stderr] = &mut self.world.printed;
        let pending = if to_stderr { stderr } else { stdout };
        pending.push_str(&String::from_utf8_lossy(bytes));
        let Some((lines, rest)) = pending.rsplit_once('\n') else {
            // A line without an end is cut in the log anyway.
            if pending.len() > MOST {
                pending.clear();
            }
            return;
        };
        for line in lines.split('\n') {
            if to_stderr { self.lines.printed_error(line) } else { self.lines.write(Level::Info, line, &[]) }
        }
        *pending = rest.to_owned();
    }

    /// Ends the call's log, and says what remains to be told of the call.
    pub(crate) fn finish(mut self) -> Ending {
        let [stdout, stderr] = std::mem::take(&mut self.world.printed);
        if !stdout.is_empty() {
            self.lines.write(Level::Info, &stdout, &[]);
        }
        if !stderr.is_empty() {
            self.lines.printed_error(&stderr);
        }
        let (log_lines, memory_bytes) = (self.lines.written(), self.limiter.peak() as u64);
        let flood = self.lines.flood();
        Ending { last_words: self.lines.finish(), log_lines, flood, memory_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_that_of_its_seed() {
        let draw = |seed| Random::new(seed).bytes(20).unwrap();
        assert_eq!(draw([1; 32]), draw([1; 32]));
        assert_eq!(draw([1; 32]).len(), 20);
        let mut other = [1; 32];
        other[31] = 2;
        assert_ne!(draw([1; 32]), draw(other));
        assert!(Random::new([0; 32]).bytes(u64::MAX).is_err());
    }
}
