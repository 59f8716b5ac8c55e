//! Nothing is taken up that is not signed by a trusted key, and the Secret of keys is read as it is now.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stepwright_tests::api_server::Running;
use stepwright_tests::components::{Card, packed};
use tempfile::TempDir;

use crate::{Offered, answers, component, operator, put, stepwright, still_answers, told};

/// Signs a component with `NAME.key`, as people do.
fn sign(folder: &TempDir, key: &str, component: &[u8]) -> String {
    std::fs::write(folder.path().join("plugin.wasm"), component).unwrap();
    let key = format!("{key}.key");
    stepwright(folder.path(), &["plugins", "sign", "--key", &key, "plugin.wasm"]).trim().to_owned()
}

/// Puts these public keys, and no others, into the Secret.
async fn trust(running: &Running, folder: &TempDir, names: &[&str]) {
    let read = |name: &&str| std::fs::read_to_string(folder.path().join(format!("{name}.pub"))).unwrap();
    let keys: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), read(name).into())).collect();
    let body =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "trusted-signers"}, "stringData": keys});
    let secrets = running.api::<Secret>();
    let _ = secrets.delete("trusted-signers", &kube::api::DeleteParams::default()).await;
    let parameters = PatchParams::apply("admin").force();
    secrets.patch("trusted-signers", &parameters, &Patch::Apply(&body)).await.unwrap();
}

async fn offer(running: &Running, name: &str, component: &[u8], signature: &str) {
    let data = json!({"signature": signature});
    put(running, name, Offered { component: Some(component), data, ..Offered::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_a_trusted_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["team", "stranger"] {
        stepwright(folder.path(), &["plugins", "keygen", "--out", name]);
    }
    let running = operator(|settings| {
        settings.require_signatures = true;
        settings.signature_keys = Some("trusted-signers".to_owned());
    })
    .await;

    let good = component("good");
    let signature = sign(&folder, "team", &good);
    offer(&running, "good", &good, &signature).await;
    let reason = told(&running, "good", "refused", "SignatureKeysUnavailable").await;
    assert!(reason.contains("trusted-signers is not there") && reason.contains("--signature-keys"), "{reason}");

    // The remedy lies outside of the ConfigMap, which nobody touches.
    trust(&running, &folder, &["team"]).await;
    told(&running, "good", "active", "PluginActive").await;
    answers(&running, "good").await;

    put(&running, "unsigned", Offered { component: Some(&component("unsigned")), ..Offered::default() }).await;
    let reason = told(&running, "unsigned", "refused", "SignatureMissing").await;
    assert!(reason.contains("stepwright plugins sign"), "{reason}");

    let altered = component("altered");
    offer(&running, "altered", &altered, &signature).await;
    told(&running, "altered", "refused", "SignatureInvalid").await;

    // The same code under the same signature, and another manifest.
    let card = Card { packed: false, ..Card::good("good", "good") };
    let mut manifest = card.manifest.clone();
    manifest["version"] = "6.6.6".into();
    offer(&running, "other-manifest", &packed(card.component(), "0.1.0", "step-plugin", &manifest), &signature).await;
    told(&running, "other-manifest", "refused", "SignatureInvalid").await;

    let strange = component("strange");
    offer(&running, "strange", &strange, &sign(&folder, "stranger", &strange)).await;
    let reason = told(&running, "strange", "refused", "SignatureInvalid").await;
    assert!(reason.contains("(team)"), "{reason}");
    still_answers(&running, "good", "2").await;

    // Changing the Secret acts without a restart, in both directions.
    trust(&running, &folder, &["team", "stranger"]).await;
    told(&running, "strange", "active", "PluginActive").await;
    still_answers(&running, "strange", "3").await;
    trust(&running, &folder, &["stranger"]).await;
    told(&running, "good", "refused", "SignatureInvalid").await;
    told(&running, "strange", "active", "PluginActive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_requirement_a_signature_that_is_there_must_be_right() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["team", "stranger"] {
        stepwright(folder.path(), &["plugins", "keygen", "--out", name]);
    }
    let running = operator(|settings| settings.signature_keys = Some("trusted-signers".to_owned())).await;
    trust(&running, &folder, &["team"]).await;
    put(&running, "unsigned", Offered { component: Some(&component("unsigned")), ..Offered::default() }).await;
    told(&running, "unsigned", "active", "PluginActive").await;
    let strange = component("strange");
    offer(&running, "wrong", &strange, &sign(&folder, "stranger", &strange)).await;
    told(&running, "wrong", "refused", "SignatureInvalid").await;
    still_answers(&running, "unsigned", "2").await;
}
