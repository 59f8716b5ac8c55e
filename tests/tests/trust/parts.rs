//! Components that are compressed, or come in parts, as the command-line tool prints their ConfigMaps.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::Deserialize as _;
use serde_json::Value;
use stepwright_tests::components::noted;

use crate::{answers, apply, component, delete, operator, stepwright, still_answers, told};

/// What `stepwright plugins configmap` prints for a component.
fn printed(name: &str, component: &[u8], compress: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.wasm"), component).unwrap();
    let yaml = stepwright(folder.path(), &["plugins", "configmap", name, "plugin.wasm", "--compress", compress]);
    serde_yaml_ng::Deserializer::from_str(&yaml).map(|it| Value::deserialize(it).unwrap()).collect()
}

/// Bytes that cannot be compressed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_component_is_taken_up() {
    let running = operator(|_| {}).await;
    for (compress, key) in [("zstd", "plugin.wasm.zst"), ("gzip", "plugin.wasm.gz")] {
        let maps = printed("packed", &component(compress), compress);
        assert!(maps.len() == 1 && maps[0]["binaryData"][key].is_string(), "{:?}", maps[0]["metadata"]);
        apply(&running, "packed", &maps[0]).await;
        answers(&running, compress).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_one_plugin_and_half_an_update_is_none() {
    let running = operator(|_| {}).await;
    let versions = ["one", "two"].map(|words| {
        let maps = printed("large", &noted(component(words), &noise(2_000_000)), "none");
        let names: Vec<&str> = maps.iter().map(|map| map["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["large", "large-2", "large-3"]);
        maps
    });
    let name = |map: &Value| map["metadata"]["name"].as_str().unwrap().to_owned();
    let [one, two] = &versions;
    for map in &one[..2] {
        apply(&running, &name(map), map).await;
    }
    let reason = told(&running, "large", "waiting", "PartsMissing: 2 of 3").await;
    assert!(reason.contains("part 3 is still to come"), "{reason}");
    still_answers(&running, "embedded", "2").await;
    apply(&running, "large-3", &one[2]).await;
    told(&running, "large", "active", "PluginActive").await;
    answers(&running, "one").await;

    apply(&running, "large-2", &two[1]).await;
    apply(&running, "large", &two[0]).await;
    let half = told(&running, "large", "waiting", "Parts").await;
    println!("{half}");
    still_answers(&running, "one", "3").await;
    apply(&running, "large-3", &two[2]).await;
    told(&running, "large", "active", "PluginActive").await;
    answers(&running, "two").await;

    let first = running.api::<ConfigMap>().get("large").await.unwrap();
    assert!(first.annotations().contains_key("stepwright.dev/digest"));
    delete(&running, "large-2").await;
    told(&running, "large", "waiting", "PartsMissing").await;
    still_answers(&running, "two", "4").await;
}
