//! The commands that make what the operator reads: keys, signatures, ConfigMaps. Each is run as people run it, and its output
//! is read with the operator's own functions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize as _;
use stepwright_core::slot::{Mode, OnFailure, Share};
use stepwright_operator::offer::{Component, Offer};
use stepwright_operator::sources::unpack::MOST_BYTES;
use stepwright_operator::sources::{maps, signature};
use tempfile::TempDir;

const MANIFEST: &[u8] = b"{}";

/// A component of nothing but its manifest and that many bytes that do not compress.
fn component(ballast: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    });
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend(custom("stepwright:manifest", MANIFEST));
    bytes.extend(custom("ballast", &noise.take(ballast).collect::<Vec<u8>>()));
    bytes
}

fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let content = [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), data].concat();
    // LEB128 may be longer than it has to be.
    let size: Vec<u8> =
        (0..5).map(|n| ((content.len() >> (7 * n)) as u8 & 0x7f) | if n < 4 { 0x80 } else { 0 }).collect();
    [&[0], size.as_slice(), &content].concat()
}

/// Runs it in the folder; what it printed, or its complaint.
fn stepwright(folder: &TempDir, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwright"));
    let output = command.current_dir(folder.path()).env("RUST_BACKTRACE", "0").arg("plugins").args(arguments).output();
    let output = output.unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap().trim().to_owned())
    }
}

fn folder_with(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn read(folder: &TempDir, file: &str) -> Vec<u8> {
    std::fs::read(folder.path().join(file)).unwrap()
}

fn parse(yaml: &str) -> Vec<ConfigMap> {
    serde_yaml_ng::Deserializer::from_str(yaml).map(|it| ConfigMap::deserialize(it).unwrap()).collect()
}

fn offered(maps: &[ConfigMap]) -> Offer {
    let maps: Vec<Arc<ConfigMap>> = maps.iter().cloned().map(Arc::new).collect();
    let (mut offers, errors) = maps::offers(&maps, MOST_BYTES);
    assert_eq!((offers.len(), errors), (1, Vec::new()));
    offers.remove(0)
}

#[test]
fn what_is_signed_with_a_new_key_is_verified_with_its_public_half() {
    let component = component(0);
    let folder = folder_with(&[("plugin.wasm", &component)]);
    stepwright(&folder, &["keygen", "--out", "team"]).unwrap();
    let printed = stepwright(&folder, &["sign", "--key", "team.key", "plugin.wasm"]).unwrap();
    stepwright(&folder, &["sign", "--key", "team.key", "plugin.wasm", "--out", "signature"]).unwrap();
    assert_eq!(read(&folder, "signature"), printed.as_bytes());

    let yaml = stepwright(&folder, &["configmap", "p", "plugin.wasm", "--signature", "signature"]).unwrap();
    let offer = offered(&parse(&yaml));
    let keys = signature::keys(&BTreeMap::from([("team.pub".to_owned(), read(&folder, "team.pub"))])).unwrap();
    assert_eq!(signature::verify(&component, MANIFEST, offer.signature.as_deref(), &keys), Ok("team.pub"));
    assert!(signature::verify(&component, b"{ }", offer.signature.as_deref(), &keys).is_err());

    let mode = std::fs::metadata(folder.path().join("team.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_is_never_written_over() {
    let folder = folder_with(&[("team.pub", b"in use")]);
    let refused = stepwright(&folder, &["keygen", "--out", "team"]).unwrap_err();
    assert_eq!(
        refused,
        "Error: team.pub is there already, and a key that is in use must not get lost; choose another name"
    );
    assert!(!Path::exists(&folder.path().join("team.key")));
    assert_eq!(read(&folder, "team.pub"), b"in use");
}

#[test]
fn what_cannot_be_signed_is_refused_with_what_to_do() {
    let folder = folder_with(&[("plugin.wasm", &component(0)), ("bare.wasm", b"\0asm\x0d\0\x01\0"), ("bad.key", b"x")]);
    stepwright(&folder, &["keygen", "--out", "team"]).unwrap();
    let refused = |key: &str, file: &str| stepwright(&folder, &["sign", "--key", key, file]).unwrap_err();
    assert_eq!(
        refused("team.key", "bare.wasm"),
        "Error: bare.wasm carries no section `stepwright:manifest`, which is signed with it; run `stepwright plugins pack` on it first"
    );
    for key in ["bad.key", "team.pub", "none.key"] {
        let start =
            format!("Error: failed to read {key} as a secret key in PEM, as `stepwright plugins keygen` writes it");
        assert!(refused(key, "plugin.wasm").starts_with(&start), "{}", refused(key, "plugin.wasm"));
    }
}

#[test]
fn a_small_component_is_one_config_map_with_its_wishes() {
    let component = component(1_000);
    let folder = folder_with(&[
        ("plugin.wasm", &component),
        ("settings.json", b"{\"a\": 1}"),
        ("calls", b"# read\nGET /v1/bdbs\n"),
    ]);
    let arguments = [
        "configmap",
        "p",
        "plugin.wasm",
        "-n",
        "ops",
        "--mode",
        "canary",
        "--canary-percent",
        "25",
        "--promote-after",
        "50",
        "--priority",
        "-3",
        "--on-failure",
        "stop",
        "--service-account",
        "rigger",
        "--rehearse",
        "live",
        "--settings",
        "settings.json",
        "--calls",
        "calls",
    ];
    for compress in ["auto", "zstd", "gzip", "none"] {
        let yaml = stepwright(&folder, &[&arguments[..], &["--compress", compress]].concat()).unwrap();
        let maps = parse(&yaml);
        assert_eq!(maps.len(), 1);
        assert_eq!(maps[0].metadata.labels.as_ref().unwrap()["stepwright.dev/plugin"], "true");
        let offer = offered(&maps);
        assert_eq!((offer.namespace.as_str(), offer.name.as_str()), ("ops", "p"));
        assert_eq!(offer.component, Component::Inline(component.clone()), "{compress}");
        assert_eq!(offer.settings, "{\"a\": 1}");
        assert_eq!(offer.wishes.mode, Mode::Canary(Share::Percent(25)));
        assert_eq!((offer.wishes.promote_after, offer.wishes.priority), (Some(50), -3));
        assert_eq!((offer.wishes.on_failure, offer.wishes.rehearse_live), (OnFailure::Stop, true));
        assert_eq!(offer.wishes.service_account.as_deref(), Some("rigger"));
        assert_eq!(offer.wishes.calls, Some(vec!["GET /v1/bdbs".to_owned()]));
    }
}

#[test]
fn a_large_component_is_cut_into_config_maps_that_the_api_server_takes() {
    let component = component(2_000_000);
    let folder = folder_with(&[("plugin.wasm", &component)]);
    for compress in ["auto", "gzip", "none"] {
        let yaml = stepwright(&folder, &["configmap", "p", "plugin.wasm", "--compress", compress]).unwrap();
        let maps = parse(&yaml);
        let names: Vec<&str> = maps.iter().filter_map(|map| map.metadata.name.as_deref()).collect();
        assert_eq!(names, ["p", "p-2", "p-3"]);
        let sizes = maps.iter().flat_map(|map| map.binary_data.iter().flatten()).map(|(_, bytes)| bytes.0.len());
        assert!(sizes.into_iter().all(|size| size <= 900 << 10));
        assert_eq!(offered(&maps).component, Component::Inline(component.clone()));
    }
}

#[test]
fn what_the_operator_would_refuse_is_not_printed() {
    let folder = folder_with(&[("plugin.wasm", &component(0)), ("bare.wasm", b"")]);
    let refused = |arguments: &[&str]| stepwright(&folder, &[&["configmap", "p"], arguments].concat()).unwrap_err();
    assert_eq!(
        refused(&["plugin.wasm", "--mode", "Canary"]),
        "Error: the operator would refuse this (AnnotationInvalid): annotation `stepwright.dev/mode` is `Canary`; what is accepted is `active`, `shadow`, `canary`"
    );
    assert_eq!(
        refused(&["bare.wasm"]),
        "Error: bare.wasm carries no manifest; run `stepwright plugins pack` on it first"
    );
}
