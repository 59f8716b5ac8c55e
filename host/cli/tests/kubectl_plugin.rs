//! The binary under the name by which kubectl finds its plugins: a link to it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::path::Path;
use std::process::Command;

/// What the binary says, called through a link of this name.
fn called(name: &str, folder: &Path, arguments: &[&str]) -> (String, String) {
    let link = folder.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stepwright"), &link).unwrap();
    }
    let output = Command::new(link).args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_link_by_kubectl_s_rule_calls_itself_as_people_call_it() {
    let folder = tempfile::tempdir().unwrap();
    let (help, _) = called("kubectl-stepwright", folder.path(), &["--help"]);
    assert!(help.contains("Usage: kubectl stepwright <COMMAND>"), "{help}");
    let (help, _) = called("kubectl-stepwright", folder.path(), &["plugins", "promote", "--help"]);
    assert!(help.contains("Usage: kubectl stepwright plugins promote"), "{help}");
    let (_, error) = called("kubectl-stepwright", folder.path(), &["plugins", "promot"]);
    assert!(error.contains("kubectl stepwright plugins"), "{error}");

    let (help, _) = called("stepwright", folder.path(), &["plugins", "promote", "--help"]);
    assert!(help.contains("Usage: stepwright plugins promote"), "{help}");
}

#[test]
fn it_does_under_that_name_what_it_does_under_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let both = ["kubectl-stepwright", "stepwright"].map(|name| called(name, folder.path(), &["rbac"]));
    assert!(both[0].0.contains("kind: ClusterRole") || both[0].0.contains("kind: Role"), "{both:?}");
    assert_eq!(both[0], both[1]);
}
