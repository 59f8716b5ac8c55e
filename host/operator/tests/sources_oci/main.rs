//! Components from a real registry: what is fetched, and each way in which it is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

mod registry;

use std::time::Duration;

use serde_json::json;
use stepwright_operator::sources::oci::{OciError, Registry as Source, RegistrySettings};

use crate::registry::{CONFIG, PASSWORD, Registry, USER, digest, free_address, layer, manifest};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 the bytes of a component";

fn settings(registry: &Registry) -> RegistrySettings {
    RegistrySettings { insecure: vec![registry.address.clone()], ..RegistrySettings::default() }
}

async fn refused(settings: RegistrySettings, reference: &str) -> OciError {
    Source::new(settings).fetch(reference).await.unwrap_err()
}

#[tokio::test]
async fn a_component_comes_back_as_it_was_pushed() {
    let registry = Registry::start();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    for component in [COMPONENT, &large] {
        let reference = registry.push_component(component).await;
        assert_eq!(Source::new(settings(&registry)).fetch(&reference).await.unwrap(), component);
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let registry = Registry::start();
    let reference = format!("{}/team/plugin@{}", registry.address, digest(b"never pushed"));
    assert_eq!(refused(settings(&registry), &reference).await, OciError::NotFound { reference });
}

#[tokio::test]
async fn bytes_that_were_changed_in_the_registry_are_refused() {
    let registry = Registry::start();
    let reference = registry.push_component(COMPONENT).await;
    let mut altered = COMPONENT.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    std::fs::write(registry.file_of(COMPONENT), &altered).unwrap();
    let expected = OciError::DigestMismatch {
        reference: reference.clone(),
        expected: digest(COMPONENT),
        actual: digest(&altered),
    };
    assert_eq!(refused(settings(&registry), &reference).await, expected);
}

#[tokio::test]
async fn a_manifest_that_was_changed_in_the_registry_is_refused() {
    let registry = Registry::start();
    let other = b"another component";
    let reference = registry.push_component(COMPONENT).await;
    registry.push_component(other).await;
    let text = manifest(&[layer("application/wasm", COMPONENT)]).to_string();
    let altered = manifest(&[layer("application/wasm", other)]).to_string();
    std::fs::write(registry.file_of(text.as_bytes()), &altered).unwrap();
    let error = refused(settings(&registry), &reference).await;
    let expected =
        OciError::DigestMismatch { reference, expected: digest(text.as_bytes()), actual: digest(altered.as_bytes()) };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_layer_that_is_longer_than_its_manifest_says_is_not_read_to_its_end() {
    let registry = Registry::start();
    let mut short = layer("application/wasm", COMPONENT);
    short["size"] = json!(8);
    let reference = registry.push(&[CONFIG, COMPONENT], &manifest(&[short])).await;
    let actual = "of a longer file".to_owned();
    let expected = OciError::DigestMismatch { reference: reference.clone(), expected: digest(COMPONENT), actual };
    assert_eq!(refused(settings(&registry), &reference).await, expected);
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_what_it_is() {
    let registry = Registry::start();
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
    });
    for (artifact, found) in [
        (
            manifest(&[layer("application/vnd.oci.image.layer.v1.tar+gzip", COMPONENT)]),
            "its layer is of type `application/vnd.oci.image.layer.v1.tar+gzip`",
        ),
        (manifest(&[layer("application/wasm", COMPONENT), layer("application/wasm", CONFIG)]), "it has 2 layers"),
        (manifest(&[]), "it has 0 layers"),
        (index, "it is an index of 0 manifests; name one of those"),
    ] {
        let reference = registry.push(&[CONFIG, COMPONENT], &artifact).await;
        let expected = OciError::NotWasm { reference: reference.clone(), found: found.to_owned() };
        assert_eq!(refused(settings(&registry), &reference).await, expected);
    }
}

#[tokio::test]
async fn a_component_above_the_bound_is_not_downloaded() {
    let registry = Registry::start();
    let reference = registry.push_component(COMPONENT).await;
    // Gone: had it been asked for, the answer were another.
    std::fs::remove_file(registry.file_of(COMPONENT)).unwrap();
    let most = COMPONENT.len() - 1;
    let error = refused(RegistrySettings { most_bytes: most, ..settings(&registry) }, &reference).await;
    let bytes = u64::try_from(COMPONENT.len()).unwrap();
    assert_eq!(error, OciError::TooLarge { reference, bytes, most });
}

#[tokio::test]
async fn a_registry_with_a_login_takes_the_credentials_of_the_secret() {
    let registry = Registry::start_with_login();
    let reference = registry.push_component(COMPONENT).await;
    let with = |password: &str| {
        let auths = json!({registry.address.clone(): {"username": USER, "password": password}});
        RegistrySettings { docker_config: Some(json!({"auths": auths}).to_string()), ..settings(&registry) }
    };
    assert_eq!(Source::new(with(PASSWORD)).fetch(&reference).await.unwrap(), COMPONENT);

    let wrong = refused(with("hunter2"), &reference).await;
    assert_eq!(wrong.reason(), "OciUnauthorized");
    let text = wrong.to_string();
    assert!(text.ends_with("to user `ann`; check what they may pull"), "{text}");
    assert!(!format!("{text} {wrong:?} {:?}", with("hunter2")).contains("hunter2"));

    let nobody = refused(settings(&registry), &reference).await;
    assert_eq!(nobody.reason(), "OciUnauthorized");
    let text = nobody.to_string();
    assert!(
        text.ends_with("to anybody who does not log in; give the operator a Secret with credentials for it"),
        "{text}"
    );
}

#[tokio::test]
async fn plain_http_is_spoken_only_where_that_was_asked_for() {
    let registry = Registry::start();
    let reference = registry.push_component(COMPONENT).await;
    let error = refused(RegistrySettings::default(), &reference).await;
    assert_eq!(error.reason(), "OciUnreachable");
    assert!(error.to_string().contains("https://"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_away_or_silent_is_unreachable_and_said_to_be_tried_again() {
    let address = free_address();
    let reference = format!("{address}/team/plugin@{}", digest(COMPONENT));
    let away = refused(RegistrySettings { insecure: vec![address], ..RegistrySettings::default() }, &reference).await;
    assert_eq!(away.reason(), "OciUnreachable");
    assert!(away.to_string().contains("Connection refused") && away.is_transient(), "{away}");

    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let reference = format!("{address}/team/plugin@{}", digest(COMPONENT));
    let timeout = Duration::from_millis(200);
    let settings = RegistrySettings { insecure: vec![address], timeout, ..RegistrySettings::default() };
    let message = "it took more than 0.2 s".to_owned();
    assert_eq!(refused(settings, &reference).await, OciError::Unreachable { reference, message });
}
