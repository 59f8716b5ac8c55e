//! `stepwright compile`: the child in which the operator compiles, and how the operator starts it.

use std::process::ExitCode;

use anyhow::Context as _;
use stepwright_engine::compiler::child::{self, Task};
use stepwright_engine::{ChildCompiler, Compiler};

/// Compiles what stands in standard input.
pub(crate) fn child(memory_mib: u32, seconds: u32, fuel: bool) -> ExitCode {
    child::run(&Task { memory_mib, seconds, fuel })
}

/// A compiler that is this program again.
pub(crate) fn compiler() -> anyhow::Result<Compiler> {
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    Ok(Compiler::Child(ChildCompiler::new(program, ["compile".into()])))
}
