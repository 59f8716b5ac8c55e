//! Test programs side by side: each has a cluster of its own and waits for most of its time, so two cores carry two of them.
//!
//! cargo runs test programs one after the other; here it builds them and names their files.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{capture, output};
use crate::paths::Paths;
use crate::test::{chosen, tests};

/// How many at a time.
const LANES: usize = 2;

/// Runs these test programs. Of one that fails all that it said is printed; the others run all the same. Rows of the checklist
/// run on a fresh cluster, and `twice` once more after the operator was killed.
pub(crate) fn run(paths: &Paths, names: &[String], twice: bool) -> anyhow::Result<()> {
    let programs = programs(paths, names)?;
    let waiting: Mutex<VecDeque<&String>> = Mutex::new(names.iter().collect());
    let failed: Mutex<Vec<String>> = Mutex::default();
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let lane = || {
        while let Some(name) = next() {
            if let Err(error) = run_one(paths, programs.get(name), name, twice) {
                let said = format!("{error:#}");
                println!("{said}");
                let why = said.find("\nfailures:").and_then(|at| said.get(at..)).unwrap_or_default();
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}{why}"));
            }
        }
    };
    std::thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(lane))));
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join("\n")) }
}

fn run_one(paths: &Paths, program: Option<&PathBuf>, name: &str, twice: bool) -> anyhow::Result<()> {
    let program = program.with_context(|| format!("cargo built no test program {name}"))?;
    let started = Instant::now();
    let mut command = Command::new(program);
    command.current_dir(paths.root.join("tests"));
    // What cargo would be given.
    command.envs(tests(paths).get_envs().filter_map(|(key, value)| Some((key, value?))));
    if !twice {
        command.env("STEPWRIGHT_ROWS", "fresh");
    }
    // Where a test waited is in what it says; frames of the runtime would bury that.
    command.env("RUST_BACKTRACE", "0");
    let ended = output(&mut command)?;
    let said = String::from_utf8_lossy(&ended.stdout);
    if !ended.status.success() {
        // What failed and why comes last, where it is looked for.
        bail!("== {name} failed ({})\n{}\n{said}", ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    let result = said.lines().rfind(|line| line.starts_with("test result")).unwrap_or("it said nothing");
    println!("{name}: {result} ({:.0} s)", started.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the test programs, and answers their files by name.
fn programs(paths: &Paths, names: &[String]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut command = tests(paths);
    command.args(chosen(names.iter().cloned())).args(["--no-run", "--message-format=json-render-diagnostics"]);
    let mut found = BTreeMap::new();
    for line in capture(&mut command)?.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        if let (Some(name), Some(file), Some(true)) =
            (text("/target/name"), text("/executable"), message.pointer("/profile/test").and_then(Value::as_bool))
        {
            found.insert(name.to_owned(), PathBuf::from(file));
        }
    }
    Ok(found)
}
