//! Builds plugins and test guests for `wasm32-wasip2`, and puts the components where the rest looks for them.
//!
//! With rustup's target where there is one; else with Debian's toolchain, which brings the standard library as source.
//! Nothing here knows what a plugin does.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::foreign;

const TARGET: &str = "wasm32-wasip2";

/// Stack of a guest. The linker's default of 1 MiB lies below the heap and would be most of what the host keeps
/// resident; much less, and code that decodes deeply nested JSON overflows.
const STACK: &str = "-C link-arg=-zstack-size=262144";

/// Debian's packages: a compiler, its standard library as source, and the C library below that.
const PACKAGES: [(&str, &str); 4] = [
    ("rustc-web", "/usr/bin/rustc"),
    ("cargo-web", "/usr/bin/cargo"),
    ("rust-web-src", "/usr/src"),
    ("wasi-libc", "/usr/lib/wasm32-wasi/libc.a"),
];

/// Builds `plugins/` into `<target>/plugins/<name>.wasm` and `tests/guests/` into `<target>/guests/<name>.wasm`, and packs
/// them: each then carries its manifest. Test guests that cannot be packed stay as they were built.
pub fn build_plugins(root: &Path) -> anyhow::Result<()> {
    let target = target_dir(root);
    let build = target.join("wasm");
    fs::create_dir_all(&build).with_context(|| format!("cannot make {}", build.display()))?;
    let toolchain = Toolchain::find(root, &build)?;
    let mut folders = Vec::new();
    for (workspace, into) in [("plugins", "plugins"), ("tests/guests", "guests")] {
        let workspace = root.join(workspace);
        let crates = components(&workspace)?;
        if crates.is_empty() {
            continue;
        }
        toolchain.build(&workspace, &build)?;
        let from = build.join(TARGET).join("release");
        let mut built: Vec<Built> = crates.iter().map(|package| Built::of_crate(package, &from)).collect();
        if into == "plugins" {
            built.extend(foreign::build(root, &build)?.into_iter().filter_map(Built::of_file));
        }
        let unpacked = build.join("unpacked").join(into);
        publish(&built, &unpacked)?;
        folders.extend([unpacked, target.join(into)]);
    }
    pack(root, &target, &folders)
}

/// With the engine itself, in a small program of its own: the host embeds what comes out of this, and this crate is to stay
/// quick to compile. Built with the features that the rest of the workspace has, so that libraries are compiled once.
fn pack(root: &Path, target: &Path, folders: &[PathBuf]) -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bin", "stepwright-pack"]);
    cargo.current_dir(root).env("CARGO_TARGET_DIR", target);
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "building stepwright-pack failed");
    let program = target.join("debug/stepwright-pack");
    let status = Command::new(&program).args(folders).current_dir(root).status();
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "packing the plugins failed");
    Ok(())
}

/// Where cargo builds to: `$CARGO_TARGET_DIR`, or `target` in the root.
fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

enum Toolchain {
    /// The one that builds the rest, with a standard library for the target.
    Rustup,
    /// `bin` holds the linkers, which Debian does not package.
    Debian { bin: PathBuf },
}

impl Toolchain {
    fn find(root: &Path, build: &Path) -> anyhow::Result<Self> {
        let sysroot = sysroot(root)?;
        if has_target(&sysroot) || (add_target(root, build) && has_target(&sysroot)) {
            return Ok(Self::Rustup);
        }
        install_debian()?;
        let host = host_triple(root)?;
        let bin = sysroot.join("lib/rustlib").join(host).join("bin");
        for linker in ["wasm-component-ld", "gcc-ld/wasm-ld"] {
            let linker = bin.join(linker);
            ensure!(linker.exists(), "{} is missing: it comes with rustup's toolchains", linker.display());
        }
        Ok(Self::Debian { bin })
    }

    fn build(&self, workspace: &Path, build: &Path) -> anyhow::Result<()> {
        let mut command;
        match self {
            Self::Rustup => {
                command = clean("cargo");
                command.env("RUSTFLAGS", STACK);
                command.args(["build", "--release", "--target", TARGET]);
            }
            Self::Debian { bin } => {
                command = clean("/usr/bin/cargo");
                let mut path = vec![bin.clone(), bin.join("gcc-ld")];
                path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
                command.env("PATH", std::env::join_paths(path)?);
                // Else cargo would run the `rustc` that is first on the path, and that may be rustup's.
                command.env("RUSTC", "/usr/bin/rustc");
                command.env("RUSTC_BOOTSTRAP", "1");
                command.env("RUSTFLAGS", format!("-L native=/usr/lib/wasm32-wasi {STACK}"));
                command.args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"]);
            }
        }
        command.current_dir(workspace).env("CARGO_TARGET_DIR", build);
        let status = command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        ensure!(status.success(), "building {} for {TARGET} failed", workspace.display());
        Ok(())
    }
}

/// A command without what `cargo xtask` says of itself to its children: it would reach another toolchain's cargo.
fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if leaks(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn leaks(name: &OsStr) -> bool {
    // Where things are fetched from and how may well be set by the user for a reason.
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_"];
    let Some(name) = name.to_str() else { return false };
    let ours = name == "CARGO" || name.starts_with("CARGO_") || name.starts_with("RUSTC") || name == "RUSTFLAGS";
    let rustup = ["RUSTUP_TOOLCHAIN", "RUSTUP_TOOLCHAIN_SOURCE", "RUST_RECURSION_COUNT", "RUSTDOC", "LD_LIBRARY_PATH"];
    (ours && !KEPT.iter().any(|kept| name.starts_with(kept))) || rustup.contains(&name)
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let out = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(out.status.success(), "{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

/// Of the toolchain that `rust-toolchain.toml` names, if rustup is there to read it.
fn rustc(root: &Path) -> Command {
    let mut command = clean("rustc");
    command.current_dir(root);
    command
}

fn sysroot(root: &Path) -> anyhow::Result<PathBuf> {
    let mut command = rustc(root);
    command.args(["--print", "sysroot"]);
    Ok(PathBuf::from(output(command)?))
}

fn host_triple(root: &Path) -> anyhow::Result<String> {
    let mut command = rustc(root);
    command.arg("-vV");
    let version = output(command)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

fn has_target(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

/// Asks rustup for the target, once for each build folder: where there is no network, asking takes its time.
fn add_target(root: &Path, build: &Path) -> bool {
    let asked = build.join("rustup-has-no-target");
    if asked.exists() {
        return false;
    }
    let mut command = clean("rustup");
    command.current_dir(root).args(["target", "add", TARGET]);
    let added = command.output().is_ok_and(|out| out.status.success());
    if !added {
        eprintln!(
            "rustup cannot add {TARGET}; building with Debian's toolchain (remove {} to ask again)",
            asked.display()
        );
        // Only saves time; without it rustup is asked again.
        let _ = fs::write(&asked, "");
    }
    added
}

fn install_debian() -> anyhow::Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(package, file)| !installed(package, Path::new(file)))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    let advice = format!(
        "plugins need `rustup target add {TARGET}`, or on Debian `apt-get install --no-install-recommends {wanted}`"
    );
    let root = output({
        let mut id = Command::new("id");
        id.arg("-u");
        id
    });
    if root.is_ok_and(|uid| uid != "0") || !Path::new("/usr/bin/apt-get").exists() {
        bail!(advice);
    }
    eprintln!("installing {wanted}");
    let apt = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        let status = command.status().context("cannot run apt-get")?;
        ensure!(status.success(), "apt-get {} failed; {advice}", arguments.join(" "));
        Ok(())
    };
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat())
}

fn installed(package: &str, file: &Path) -> bool {
    if package != "rust-web-src" {
        return file.exists();
    }
    // Its folder carries the compiler's version.
    let Ok(entries) = fs::read_dir(file) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("rustc-") && entry.path().join("library/std").is_dir()
    })
}

/// The packages below a workspace that become components: those with a `cdylib`.
fn components(workspace: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![workspace.to_owned()];
    // Two levels: `plugins/rec` and `plugins/examples/…`.
    for _ in 0..2 {
        for folder in std::mem::take(&mut folders) {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                let manifest = path.join("Cargo.toml");
                if manifest.is_file() {
                    let text = fs::read_to_string(&manifest)?;
                    if let Some(name) = component_name(&text) {
                        found.insert(name.to_owned());
                    }
                } else if path.is_dir() {
                    folders.push(path);
                }
            }
        }
    }
    Ok(found)
}

/// The package's name, if its manifest asks for a `cdylib`.
fn component_name(manifest: &str) -> Option<&str> {
    if !manifest.lines().any(|line| line.starts_with("crate-type") && line.contains("\"cdylib\"")) {
        return None;
    }
    let package = manifest.split("[package]").nth(1)?;
    let line = package.lines().find(|line| line.split('=').next().is_some_and(|key| key.trim() == "name"))?;
    line.split('"').nth(1)
}

/// A component that was built, and the file's name under which the rest looks for it.
struct Built {
    name: OsString,
    path: PathBuf,
}

impl Built {
    fn of_crate(package: &str, from: &Path) -> Self {
        // A plugin whose logic others use as well is exported by a package of its own.
        let name = package.strip_prefix("stepwright-").unwrap_or(package);
        let name = format!("{}.wasm", name.strip_suffix("-component").unwrap_or(name));
        Self { name: name.into(), path: from.join(package.replace('-', "_")).with_extension("wasm") }
    }

    fn of_file(path: PathBuf) -> Option<Self> {
        Some(Self { name: path.file_name()?.to_owned(), path })
    }
}

/// Copies what was built, under the plugin's name, and removes what is no longer built.
fn publish(built: &[Built], into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut fresh: BTreeSet<OsString> = BTreeSet::new();
    for Built { name, path: built } in built {
        let bytes = fs::read(built).with_context(|| format!("the build made no {}", built.display()))?;
        let path = into.join(name);
        // What did not change keeps its time, so that nothing that embeds it is built again.
        if fs::read(&path).ok().as_deref() != Some(&bytes) {
            // Beside it and then renamed: nobody ever reads half a component.
            let beside = into.join(format!(".{}.{}", name.display(), std::process::id()));
            fs::write(&beside, &bytes).with_context(|| format!("cannot write {}", beside.display()))?;
            fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        fresh.insert(name.clone());
    }
    for entry in fs::read_dir(into)? {
        let entry = entry?;
        if entry.path().extension() == Some(OsStr::new("wasm")) && !fresh.contains(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_a_package_with_a_cdylib() {
        let manifest = |lib| format!("[package]\nname = \"stepwright-rec\"\ndescription = \"x\"\n\n[lib]\n{lib}\n");
        assert_eq!(component_name(&manifest("crate-type = [\"cdylib\", \"rlib\"]")), Some("stepwright-rec"));
        assert_eq!(component_name(&manifest("")), None);
    }

    #[test]
    fn nothing_of_the_calling_cargo_reaches_another_one() {
        for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTC", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN"] {
            assert!(leaks(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_HOME", "CARGO_REGISTRIES_X_INDEX"] {
            assert!(!leaks(OsStr::new(name)), "{name}");
        }
    }
}
