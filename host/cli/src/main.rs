//! The binary `stepwright`: arguments in, exit code out. The work is in the crates it puts together.

mod args;
mod compile;
mod installation;
mod pack;
mod plugins;
mod rbac;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Args, Command, PluginsCommand};

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().command {
        Command::Compile { memory_mib, seconds, fuel } => return Ok(compile::child(memory_mib, seconds, fuel)),
        Command::Run(args) => run::run(*args),
        Command::Inspect { component } => plugins::inspect(&component),
        Command::Plugins(PluginsCommand::Pack { file, output }) => pack::pack(&file, output.as_deref()),
        Command::Rbac => {
            print(&rbac::role()?);
            Ok(())
        }
        Command::Docs => {
            let options = clap_markdown::MarkdownOptions::new().show_footer(false);
            print(&clap_markdown::help_markdown_command_custom(&Args::command(), &options));
            Ok(())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// To standard output; a reader that went away is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
