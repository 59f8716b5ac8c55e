//! A component is read before anything of it is compiled, and whatever its bytes are, that ends with an answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod support;

use std::sync::LazyLock;

use proptest::prelude::*;
use stepwright_core::guest::GuestError;
use stepwright_engine::{Bounds, World, inspect, section};

use support::{component, engine, packed, sectioned};

static ECHO: LazyLock<Vec<u8>> = LazyLock::new(|| component("echo"));

fn refusal(bytes: &[u8]) -> GuestError {
    inspect(bytes, &Bounds::default()).unwrap_err()
}

#[track_caller]
fn refused(bytes: &[u8], reason: &str, words: &str) {
    let error = refusal(bytes);
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_packed_component_says_what_it_is_and_loading_agrees() {
    let read = inspect(&ECHO, &Bounds::default()).unwrap();
    assert_eq!((read.world, read.contract.as_str()), (World::Step, "0.1.0"));
    let loaded = engine().load(&ECHO).unwrap();
    use stepwright_core::guest::Guest as _;
    assert_eq!((loaded.manifest(), loaded.digest()), (&read.manifest, &read.digest));
    assert_eq!(inspect(&component("policy-pass"), &Bounds::default()).unwrap().world, World::Policy);
}

#[test]
fn packing_again_changes_nothing() {
    let bare = section::strip(&ECHO);
    assert!(bare.len() < ECHO.len());
    assert_eq!(engine().pack(&bare).unwrap(), *ECHO);
    assert_eq!(engine().pack(&ECHO).unwrap(), *ECHO);
}

#[test]
fn what_does_not_carry_its_manifest_is_refused_with_the_remedy() {
    refused(&section::strip(&ECHO), "PluginNotPacked", "stepwright plugins pack");
}

#[test]
fn each_flaw_is_named() {
    refused(b"", "PluginIncompatible", "not a whole one");
    refused(b"not wasm", "PluginIncompatible", "build it for wasm32-wasip2");
    refused(b"\0asm\x01\0\0\0", "PluginIncompatible", "this is a core module");
    refused(&ECHO[..ECHO.len() / 2], "PluginIncompatible", "not a whole one");
    refused(&component("newer-contract"), "PluginIncompatible", "stepwright:plugin@0.2.0, and this host speaks 0.1.0");
    refused(&vec![0; (32 << 20) + 1], "PluginTooLarge", "33554433, and at most 33554432");
    let step = r#"(export "stepwright:plugin/step@0.1.0" (instance 0))"#;
    let with = |section: &str| sectioned(&format!("(instance) {step}"), section);
    refused(&with("{"), "PluginGarbled", "EOF");
    refused(&with(&"[".repeat(10_000)), "PluginGarbled", "stepwright:manifest");
    refused(&with(&" ".repeat(70_000)), "PluginTooLarge", "70000, and at most 65536");
    let manifest = r#"{"name":"a","version":"1","steps":[{"name":"s","primary":[]}]}"#;
    refused(
        &with(&format!(r#"{{"contract":"0.1.0","world":"policy-plugin","manifest":{manifest}}}"#)),
        "PluginIncompatible",
        "the world is policy-plugin in the manifest that it carries, and step-plugin by its exports",
    );
    refused(
        &with(&format!(r#"{{"contract":"0.1.9","world":"step-plugin","manifest":{manifest}}}"#)),
        "PluginIncompatible",
        "0.1.9 in the manifest that it carries, and 0.1.0 by its exports",
    );
    let twice = manifest.replace(r#""version":"1""#, r#""version":"1","version":"2""#);
    refused(
        &with(&format!(r#"{{"contract":"0.1.0","world":"step-plugin","manifest":{twice}}}"#)),
        "PluginGarbled",
        "duplicate field `version`",
    );
    let mut doubled = ECHO.clone();
    doubled.extend_from_slice(&ECHO[section::strip(&ECHO).len()..]);
    refused(&doubled, "PluginIncompatible", "more than once");
}

#[test]
fn a_manifest_that_describe_does_not_return_is_refused_by_the_first_difference() {
    let lying = support::with_limits("echo", r#"{"memoryMib":1}"#);
    let error = engine().load(&lying).map(|_| ()).unwrap_err();
    assert_eq!(error.reason(), "PluginManifestDiffers");
    assert!(error.to_string().contains("`steps.0.limits."), "{error}");
}

#[test]
fn what_would_make_the_compiler_suffer_is_refused_by_its_size() {
    let error = refusal(&packed(&format!("(core module (func {}))", "(local i32)".repeat(20_001))));
    assert!(matches!(error, GuestError::TooLarge { size: 20_001, limit: 20_000, .. }), "{error}");
    let bounds = Bounds { functions: 10, types: 3, depth: 2, ..Bounds::default() };
    let read = |text: &str| inspect(&packed(text), &bounds).map(drop).map_err(|error| error.to_string());
    read(&format!("(core module {})", "(func)".repeat(10))).unwrap();
    assert!(read(&format!("(core module {})", "(func)".repeat(11))).unwrap_err().contains("functions comes to 11"));
    let types =
        |count: usize| (0..count).map(|at| format!("(type (func (param{})))", " i32".repeat(at))).collect::<String>();
    assert!(read(&format!("(core module {})", types(4))).unwrap_err().contains("types comes to 4"));
    assert!(read("(component (component (component)))").unwrap_err().contains("depth"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Ends, and does not panic, whatever was done to a real component; what is accepted is accepted by name.
    #[test]
    fn nothing_that_a_stranger_sends_is_more_than_an_answer(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        insert in prop::option::of((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..64))),
        // Near the end is the manifest.
        near_end in any::<bool>(),
    ) {
        let mut bytes = ECHO.clone();
        let from = if near_end { section::strip(&bytes).len() } else { 0 };
        for (at, value) in flips {
            let at = from + at.index(bytes.len() - from);
            bytes[at] ^= value;
        }
        if let Some((at, more)) = insert {
            let at = from + at.index(bytes.len() - from);
            bytes.splice(at..at, more);
        }
        if let Some(at) = cut {
            let at = from + at.index(bytes.len() - from);
            bytes.truncate(at);
        }
        match inspect(&bytes, &Bounds::default()) {
            Ok(read) => prop_assert!(!read.manifest.name.is_empty()),
            Err(error) => prop_assert!(error.to_string().len() < 4096, "{}", error),
        }
        // What is stripped stays stripped.
        let bare = section::strip(&bytes);
        prop_assert_eq!(section::strip(&bare), bare);
    }

    #[test]
    fn nor_are_any_bytes_behind_a_component_s_header(tail in prop::collection::vec(any::<u8>(), 0..512)) {
        let bytes = [b"\0asm\x0d\0\x01\0".as_slice(), &tail].concat();
        prop_assert!(inspect(&bytes, &Bounds::default()).is_err());
        section::strip(&bytes);
    }
}
