//! Checks where dependencies come from and under which licences, from what cargo itself knows of them.
//!
//! Advisories are not its subject: they need the network, and change without us. Nor is it `cargo deny`: the releases
//! that can be had without compiling one do not know today's licence names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::build::cargo;
use crate::command::capture;
use crate::paths::Paths;

/// Permissive ones, and the Mozilla licence, whose duties end with the file.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Every workspace of the repository; one that is not there yet is left out.
const WORKSPACES: [&str; 3] = [".", "plugins", "tests/guests"];

pub(crate) fn check(paths: &Paths) -> anyhow::Result<()> {
    let mut wrong = BTreeSet::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for workspace in WORKSPACES {
        let folder = paths.root.join(workspace);
        if !folder.join("Cargo.toml").exists() {
            continue;
        }
        let mut command = cargo(paths, "metadata");
        command.args(["--format-version", "1", "--locked"]).current_dir(&folder);
        let metadata: Value = serde_json::from_str(&capture(&mut command)?).context("cargo metadata is no JSON")?;
        for package in metadata.pointer("/packages").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = format!("{} {}", text("name"), text("version"));
            // Without a source it lies in the repository.
            let Some(source) = package.get("source").and_then(Value::as_str) else { continue };
            if !source.starts_with("registry+") && !source.starts_with("sparse+") {
                wrong.insert(format!("{name}: comes from {source}, not from a registry"));
            }
            let licence = text("license");
            *counts.entry(licence.to_owned()).or_default() += 1;
            if !is_allowed(licence) {
                wrong.insert(format!("{name}: licence `{licence}` is not among those allowed"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("dependencies that may not be used:\n  {}", wrong.into_iter().collect::<Vec<_>>().join("\n  "));
    }
    println!("{} dependencies, {} licence expressions, all allowed", counts.values().sum::<usize>(), counts.len());
    Ok(())
}

/// Whether an SPDX expression can be met with allowed licences alone. What cannot be read is not allowed.
fn is_allowed(expression: &str) -> bool {
    // Before SPDX expressions a slash meant a choice.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest).is_some_and(|allowed| allowed && rest.is_empty())
}

fn any(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = all(words)?;
    while take(words, "OR") {
        allowed |= all(words)?;
    }
    Some(allowed)
}

fn all(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(words)?;
    while take(words, "AND") {
        allowed &= one(words)?;
    }
    Some(allowed)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    if take(words, "(") {
        let allowed = any(words)?;
        return take(words, ")").then_some(allowed);
    }
    let (name, rest) = words.split_first()?;
    *words = rest;
    if take(words, "WITH") {
        let (exception, rest) = words.split_first()?;
        *words = rest;
        return Some(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()));
    }
    Some(ALLOWED.contains(name))
}

fn take(words: &mut &[&str], wanted: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if *first == wanted => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_must_be_met_with_allowed_licences() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-3.0", false),
            ("GPL-3.0 OR MIT AND ISC", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("GPL-3.0 WITH Classpath-exception-2.0", false),
            ("MIT/Apache-2.0", true),
            ("", false),
            ("(MIT", false),
            ("MIT ISC", false),
        ] {
            assert_eq!(is_allowed(expression), expected, "{expression}");
        }
    }
}
