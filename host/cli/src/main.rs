//! The binary `stepwright`: arguments in, exit code out. The work is in the crates it puts together.

mod args;
mod broker;
mod compile;
mod configmap;
mod delegation;
mod explain;
mod installation;
mod journal;
mod pack;
mod plugins;
mod plugins_remote;
mod rbac;
mod remote;
mod replay;
mod run;
mod sign;
mod table;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Args, Command, PluginsCommand};

fn main() -> anyhow::Result<ExitCode> {
    match arguments().command {
        Command::Compile { memory_mib, seconds, fuel } => return Ok(compile::child(memory_mib, seconds, fuel)),
        Command::Run(args) => run::run(*args),
        Command::Inspect { component } => plugins::inspect(&component),
        Command::Explain(args) => explain::run(*args),
        Command::Journal(command) => journal::run(command),
        Command::Replay(args) => return Ok(replay::run(&args)),
        Command::Plugins(PluginsCommand::Pack { file, output }) => pack::pack(&file, output.as_deref()),
        Command::Plugins(PluginsCommand::Remote(command)) => plugins_remote::run(command),
        Command::Plugins(PluginsCommand::Keygen { out }) => sign::keygen(&out),
        Command::Plugins(PluginsCommand::Sign { key, file, out }) => sign::sign(&key, &file, out.as_deref()),
        Command::Plugins(PluginsCommand::Configmap(args)) => configmap::print(*args),
        Command::ServiceBroker(args) => broker::run(*args),
        Command::Rbac { guests } => {
            print(&if guests { rbac::guest_role()? } else { rbac::role()? });
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

/// Under the name `kubectl-stepwright`, a link to this binary, it is kubectl's plugin `kubectl stepwright`.
fn arguments() -> Args {
    let as_plugin = std::env::args_os().next().is_some_and(|it| {
        Path::new(&it).file_stem().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("kubectl-"))
    });
    let command = Args::command();
    let command = if as_plugin { command.bin_name("kubectl stepwright") } else { command };
    Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// To standard output; a reader that went away is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", plain(text.trim_end()));
}

/// Without what a terminal would act on: messages of plugins are a stranger's words.
pub(crate) fn plain(text: &str) -> String {
    let shown = |it: char| if it.is_control() && it != '\n' && it != '\t' { char::REPLACEMENT_CHARACTER } else { it };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_strangers_words_do_not_steer_the_terminal() {
        assert_eq!(super::plain("a\u{1b}[2Jb\tc\nd\u{9b}\r"), "a\u{fffd}[2Jb\tc\nd\u{fffd}\u{fffd}");
    }
}
