//! Writes the CustomResourceDefinitions as YAML, or with `--check` says whether they are up to date.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stepwright_crds::generate;

const USAGE: &str = "usage: crdgen [--check] [FOLDER]   (FOLDER: where the YAML is; this crate's own if left out)";
const REMEDY: &str = "to write them anew: cargo run -p stepwright-crds --bin crdgen";

fn main() -> ExitCode {
    let mut check = false;
    let mut folder = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => check = true,
            option if option.starts_with('-') => return fail(USAGE),
            path if folder.is_none() => folder = Some(PathBuf::from(path)),
            _ => return fail(USAGE),
        }
    }
    // Set by `cargo run`; without cargo, the folder as seen from the repository's root.
    let own = || std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("crds"), PathBuf::from);
    match run(check, &folder.unwrap_or_else(own)) {
        Ok(done) => done,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            fail(&text)
        }
    }
}

fn run(check: bool, folder: &Path) -> Result<ExitCode, generate::GenerateError> {
    if !check {
        for file in generate::write(folder)? {
            println!("{} ({} bytes)", file.name, file.text.len());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let differences = generate::differences(folder)?;
    if differences.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(fail(&format!("{}\n{REMEDY}", differences.join("\n"))))
}

fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
