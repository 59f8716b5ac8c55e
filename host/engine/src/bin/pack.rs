//! Packs what was just built: `stepwright-pack FROM INTO [FROM INTO …]`, folder by folder.
//!
//! For the build of this repository, where the program `stepwright` does not exist yet: it embeds what is packed here.
//! Elsewhere, `stepwright plugins pack` does it for one file. A component that cannot be packed is copied as it is, for
//! tests of components that nobody would want, and named with the reason.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use stepwright_engine::{Engine, EngineConfig, section};

fn main() -> Result<(), Box<dyn Error>> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (pairs, []) = folders.as_chunks::<2>() else { return Err("give folders in pairs: from, into".into()) };
    let mut engine = None;
    for [from, into] in pairs {
        fs::create_dir_all(into)?;
        let mut fresh = BTreeSet::new();
        for file in components(from)? {
            let name = file.file_name().unwrap_or_default().to_owned();
            pack(&mut engine, &file, &into.join(&name))?;
            fresh.insert(name);
        }
        for file in components(into)? {
            if file.file_name().is_some_and(|name| !fresh.contains::<OsString>(&name.to_owned())) {
                fs::remove_file(file)?;
            }
        }
    }
    Ok(())
}

fn components(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What is packed already keeps its time, so that nothing that embeds it is built again.
fn pack(engine: &mut Option<Engine>, from: &Path, into: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(from)?;
    let there = fs::read(into).unwrap_or_default();
    if there != bytes && section::strip(&there) == section::strip(&bytes) {
        return Ok(());
    }
    let engine = match engine {
        Some(engine) => engine,
        None => engine.insert(Engine::new(EngineConfig::default())?),
    };
    let packed = engine.pack(&bytes).unwrap_or_else(|error| {
        println!("left unpacked: {}: {error}", into.display());
        bytes
    });
    if packed != there {
        // Beside it and then renamed: nobody ever reads half a component.
        let beside = into.with_extension(format!("{}.partial", std::process::id()));
        fs::write(&beside, &packed)?;
        fs::rename(&beside, into)?;
    }
    Ok(())
}
