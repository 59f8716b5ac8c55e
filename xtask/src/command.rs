//! Running other programs: the error names the command, and an interrupt reaches the one that runs.

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

use crate::interrupt;

/// Runs a command whose output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("failed to start `{shown}`"))?;
    let _current = interrupt::Current::new(child.id());
    let status = child.wait().with_context(|| format!("failed to wait for `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and answers its output; the error holds what it wrote to its error stream.
pub(crate) fn capture(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = output(command)?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command and answers all that came of it.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<Output> {
    let shown = show(command);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{shown}`"))?;
    let _current = interrupt::Current::new(child.id());
    child.wait_with_output().with_context(|| format!("failed to wait for `{shown}`"))
}

/// Whether a program is there and answers.
pub(crate) fn answers(program: &str, argument: &str) -> bool {
    output(Command::new(program).arg(argument)).is_ok_and(|output| output.status.success())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
