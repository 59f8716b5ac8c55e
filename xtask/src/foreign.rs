//! Builds the examples that are not written in Rust: JavaScript with componentize-qjs, Python with componentize-py.
//!
//! The tools are those that the lock files name, put into the target folder; nothing is installed for the user. What is
//! built is built again only when something that goes into it changed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::command::{answers, output, run};
use crate::setup;

const WORLD: &str = "policy-plugin";

/// A language: where its examples are, and how one becomes a component.
struct Language {
    /// Below the root. Each folder in it is an example.
    folder: &'static str,
    /// What names the tools, beside the examples.
    locks: &'static [&'static str],
    /// Makes the machine ready; not for the tools that `locks` names.
    ready: fn() -> anyhow::Result<()>,
    /// Puts the tools into a folder that holds `locks`.
    install: fn(&Path) -> anyhow::Result<()>,
    /// Tools, contract, the example's sources, and the component to write.
    componentize: fn(&Path, &Path, &Path, &Path) -> anyhow::Result<()>,
    /// Tests of an example, natively.
    test: fn() -> Command,
}

const LANGUAGES: [Language; 2] = [
    Language {
        folder: "plugins/examples-js",
        locks: &["package.json", "package-lock.json"],
        ready: node,
        install: npm,
        componentize: javascript,
        test: test_javascript,
    },
    Language {
        folder: "plugins/examples-python",
        locks: &["requirements.txt"],
        ready: python,
        install: pip,
        componentize: componentize_python,
        test: test_python,
    },
];

/// Builds all of them below `build`; answers the components, each a file of the plugin's name.
pub(crate) fn build(root: &Path, build: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let wit = root.join("wit");
    let mut components = Vec::new();
    for language in &LANGUAGES {
        let folder = root.join(language.folder);
        let work = build.join(folder.file_name().context("a language has a folder")?);
        let tools = work.join("tools");
        let mut are_tools_there = false;
        for example in examples(&folder)? {
            let name = example.file_name().context("an example has a folder")?;
            let component = work.join(name).with_extension("wasm");
            let mut inputs = WORLD.as_bytes().to_vec();
            for lock in language.locks {
                inputs.extend(fs::read(folder.join(lock)).with_context(|| format!("cannot read {lock}"))?);
            }
            collect(&wit, &mut inputs)?;
            collect(&example, &mut inputs)?;
            if !is_same(&component, &inputs) {
                if !are_tools_there {
                    (language.ready)()?;
                    install(language, &folder, &tools)?;
                    are_tools_there = true;
                }
                // From a copy: tools leave caches beside the sources.
                let sources = work.join("sources").join(name);
                copy(&example, &sources)?;
                println!("   Compiling {}", example.display());
                (language.componentize)(&tools, &wit, &sources, &component)?;
                remember(&component, &inputs)?;
            }
            components.push(component);
        }
    }
    Ok(components)
}

/// Runs the examples' own tests.
pub(crate) fn test(root: &Path) -> anyhow::Result<()> {
    for language in &LANGUAGES {
        (language.ready)()?;
        for example in examples(&root.join(language.folder))? {
            run((language.test)().current_dir(&example))?;
        }
    }
    Ok(())
}

fn examples(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut examples = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    examples.retain(|path| path.is_dir() && !is_litter(path));
    examples.sort();
    Ok(examples)
}

fn install(language: &Language, folder: &Path, tools: &Path) -> anyhow::Result<()> {
    let mut locks = Vec::new();
    for lock in language.locks {
        locks.extend(fs::read(folder.join(lock))?);
    }
    let done = tools.join("installed");
    if is_same(&done, &locks) {
        return Ok(());
    }
    if tools.exists() {
        fs::remove_dir_all(tools).with_context(|| format!("cannot remove {}", tools.display()))?;
    }
    fs::create_dir_all(tools).with_context(|| format!("cannot make {}", tools.display()))?;
    for lock in language.locks {
        fs::copy(folder.join(lock), tools.join(lock)).with_context(|| format!("cannot copy {lock}"))?;
    }
    (language.install)(tools)?;
    fs::write(&done, "")?;
    remember(&done, &locks)
}

/// What a file was made from lies beside it, whole: it is small, and nothing can be mistaken for it.
fn inputs_of(made: &Path) -> PathBuf {
    made.with_extension("inputs")
}

fn is_same(made: &Path, inputs: &[u8]) -> bool {
    made.exists() && fs::read(inputs_of(made)).is_ok_and(|known| known == inputs)
}

fn remember(made: &Path, inputs: &[u8]) -> anyhow::Result<()> {
    let path = inputs_of(made);
    fs::write(&path, inputs).with_context(|| format!("cannot write {}", path.display()))
}

/// Names and contents of all files of a folder, each with its length, so that no two folders give the same bytes.
fn collect(folder: &Path, into: &mut Vec<u8>) -> anyhow::Result<()> {
    for path in files(folder)? {
        let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
        for part in [name.into_bytes(), fs::read(&path)?] {
            into.extend((part.len() as u64).to_le_bytes());
            into.extend(part);
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    for path in files(from)? {
        let copied = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(copied.parent().unwrap_or(to))?;
        fs::copy(&path, &copied).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    Ok(())
}

/// Without what is only for people to read.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("md")) {
                continue;
            }
            if path.is_file() {
                found.push(path);
            } else if path.is_dir() && !is_litter(&path) {
                folders.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Folders that tools make when a person runs them by hand.
fn is_litter(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| matches!(name, "node_modules" | "__pycache__"))
}

fn node() -> anyhow::Result<()> {
    if (answers("node", "--version") && answers("npm", "--version")) || setup::install(&["nodejs", "npm"])? {
        return Ok(());
    }
    bail!("examples in JavaScript need Node.js 18 or newer with npm (Debian: apt-get install nodejs npm)");
}

fn npm(tools: &Path) -> anyhow::Result<()> {
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(tools))
}

fn javascript(tools: &Path, wit: &Path, sources: &Path, component: &Path) -> anyhow::Result<()> {
    run(Command::new("node")
        .arg(tools.join("node_modules/componentize-qjs/cli.mjs"))
        // The host has no asynchronous guests, and a policy needs no clock: it is told the time.
        .args(["--sync", "--stub-wasi", "--opt-size", "--minify", "--world", WORLD, "--wit"])
        .arg(wit)
        .arg("--module-root")
        .arg(sources)
        .arg("--js")
        .arg(sources.join("plugin.js"))
        .arg("--output")
        .arg(component))
}

fn test_javascript() -> Command {
    let mut command = Command::new("node");
    command.arg("--test");
    command
}

fn python() -> anyhow::Result<()> {
    let is_there =
        || output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok_and(|out| out.status.success());
    if is_there() || setup::install(&["python3", "python3-venv"])? {
        return Ok(());
    }
    bail!("examples in Python need Python 3.10 or newer with venv (Debian: apt-get install python3 python3-venv)");
}

fn pip(tools: &Path) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(tools))?;
    let hashed =
        ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary=:all:"];
    run(Command::new(tools.join("venv/bin/pip")).args(hashed).args(["-r", "requirements.txt"]).current_dir(tools))
}

fn componentize_python(tools: &Path, wit: &Path, sources: &Path, component: &Path) -> anyhow::Result<()> {
    let venv = tools.join("venv");
    run(Command::new(venv.join("bin/componentize-py"))
        // Else it would look through the packages of the user's own Python.
        .env("VIRTUAL_ENV", &venv)
        .args(["--quiet", "--world", WORLD, "--wit-path"])
        .arg(wit)
        .args(["componentize", "--stub-wasi", "--python-path"])
        .arg(sources)
        .arg("--output")
        .arg(component)
        .arg("plugin"))
}

fn test_python() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "unittest", "--quiet"]).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_made_again_when_a_name_or_a_byte_changes() {
        let folder = std::env::temp_dir().join(format!("stepwright-foreign-{}", std::process::id()));
        let sources = folder.join("sources");
        fs::create_dir_all(sources.join("__pycache__")).unwrap();
        let made = folder.join("made.wasm");
        let inputs = || {
            let mut inputs = Vec::new();
            collect(&sources, &mut inputs).unwrap();
            inputs
        };
        fs::write(sources.join("a"), "bc").unwrap();
        assert!(!is_same(&made, &inputs()));
        fs::write(&made, "").unwrap();
        remember(&made, &inputs()).unwrap();
        fs::write(sources.join("__pycache__/x"), "").unwrap();
        assert!(is_same(&made, &inputs()));
        fs::rename(sources.join("a"), sources.join("ab")).unwrap();
        fs::write(sources.join("ab"), "c").unwrap();
        assert!(!is_same(&made, &inputs()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
