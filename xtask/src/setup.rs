//! What the other tasks need of the machine: found, installed where that is ours to do, or named.
//!
//! The toolchain for WebAssembly is not among it: `plugins` finds or installs that when it builds.

use std::process::Command;

use anyhow::bail;

use crate::command::{answers, output, run};

pub(crate) fn ensure() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (program, argument, remedy) in [
        ("go", "version", "Go 1.24 or newer, from https://go.dev/dl"),
        ("cc", "--version", "a C compiler (Debian: apt-get install gcc)"),
        ("git", "--version", "git (Debian: apt-get install git)"),
        ("bash", "--version", "bash"),
    ] {
        if !answers(program, argument) {
            missing.push(remedy.to_owned());
        }
    }
    if !answers("redis-server", "--version") && !install(&["redis-server"])? {
        missing.push("redis-server 7 or newer (Debian: apt-get install redis-server)".into());
    }
    if !answers("docker-registry", "--version") && !install(&["docker-registry"])? {
        missing.push("docker-registry 2 (Debian: apt-get install docker-registry)".into());
    }
    // A daemon's package: its program is not on the path of everybody.
    let has_haproxy = ["haproxy", "/usr/sbin/haproxy"].iter().any(|program| answers(program, "-v"));
    if !has_haproxy && !install(&["haproxy"])? {
        missing.push("haproxy 2.2 or newer (Debian: apt-get install haproxy)".into());
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks:\n  - {}", missing.join("\n  - "));
}

pub(crate) fn say() -> anyhow::Result<()> {
    ensure()?;
    println!("everything that is needed is there");
    Ok(())
}

/// Installs Debian packages; false where that is not ours to do.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<bool> {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|output| output.stdout == b"0\n");
    if !is_root || !answers("apt-get", "--version") {
        return Ok(false);
    }
    println!("installing {}", packages.join(", "));
    let apt =
        |arguments: &[&str]| run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"));
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages].concat())?;
    for server in ["redis-server", "docker-registry", "haproxy"] {
        if packages.contains(&server) && answers("systemctl", "--version") {
            // The package starts a server of its own, which nobody asked for.
            let _ = output(Command::new("systemctl").args(["disable", "--now", server]));
        }
    }
    Ok(true)
}
