//! A ConfigMap that is no plugin any more says nothing of one.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stepwright_tests::api_server::SOON;
use stepwright_tests::wait::until;

use crate::{Offered, answers, component, operator, put, told};

#[tokio::test(flavor = "multi_thread")]
async fn one_that_loses_its_label_loses_what_was_told_on_it() {
    let running = operator(|_| {}).await;
    let annotations = [("example.com/mine", "kept"), ("stepwright.dev/mode", "active")];
    put(&running, "p", Offered { component: Some(&component("p")), annotations: &annotations, ..Offered::default() })
        .await;
    told(&running, "p", "active", "PluginActive").await;
    answers(&running, "p").await;
    let body = json!({"metadata": {"labels": {"stepwright.dev/plugin": null}}});
    running.api::<ConfigMap>().patch("p", &PatchParams::default(), &Patch::Merge(&body)).await.unwrap();
    answers(&running, "embedded").await;
    until("what was told to be gone", SOON, || async {
        let map = running.api::<ConfigMap>().get("p").await.unwrap();
        let keys: Vec<&str> = map.annotations().keys().map(String::as_str).collect();
        if keys == ["example.com/mine", "stepwright.dev/mode"] { Ok(()) } else { Err(format!("{keys:?}")) }
    })
    .await;
}
