//! Row 90: what clusters tell one another of themselves: the login of an administrator, and certificates.

use std::process::Command;

use anyhow::ensure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};

use crate::database::{agreed, gone, made, settled};
use crate::sides::{both, is, login, message, proxy};

pub(crate) async fn row_90_all_clusters_are_told_a_new_login(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90-login";
    made(&sides, name).await;

    // The administrator of one has another password.
    let new = format!("{}-2", two.secret(two.rec, "password").unwrap());
    two.patch("secret", two.rec, &json!({"stringData": {"password": new}}));
    until("the new password to be the only one in force", SETTLES, || async {
        let kept = two.get("secret", &format!("{}-in-force", two.rec))?;
        let taken = kept["data"]["credentials.password"] == BASE64_STANDARD.encode(&new);
        ensure!(taken && kept["data"].get("credentials.previous").is_none(), "taken: {taken}");
        anyhow::Ok(())
    })
    .await;
    for side in sides {
        let told = message(&is(side, "two", "Error").await);
        assert!(told.contains("`redis-enterprise-two`"), "{told}");
    }
    // A change waits for as long as the cluster cannot be worked with.
    one.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": "150MB"}}}));
    until("the change to wait", SETTLES, || async {
        let told = message(&one.get("reaadb", name)?);
        ensure!(told.contains("stays as it is for now") && told.contains("`two`"), "{told}");
        anyhow::Ok(())
    })
    .await;
    // It was tried once, so that nobody is locked out.
    two.rest("GET", "/v1/cluster", None).unwrap();

    for side in sides {
        side.apply(&login(two));
    }
    for side in sides {
        let secret = is(side, "two", "Active").await["status"]["internalObservedSecretResourceVersion"].clone();
        until(&format!("{} to have told of the login", side.name), SETTLES, || async {
            let status = side.get("reaadb", name)?["status"].clone();
            ensure!(status["participatingClusters"][1]["internalObservedSecretResourceVersion"] == secret, "{status}");
            anyhow::Ok(())
        })
        .await;
    }
    // The clusters work with it: what waited is there, and the next change from the other side as well.
    for (side, size, bytes) in [(one, None, 157_286_400), (two, Some("200MB"), 209_715_200)] {
        if let Some(size) = size {
            side.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": size}}}));
        }
        for of in sides {
            until(&format!("the change on {}", of.name), SETTLES, || async {
                let now = of.bdb(name)?["memory_size"].clone();
                ensure!(now == bytes, "{now}");
                anyhow::Ok(())
            })
            .await;
        }
        agreed(&sides, name).await;
    }

    one.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    proxy().lock().await.look(world).await;
}

/// The text of a new certificate, and of its key.
fn certificate(name: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |end: &str| folder.path().join(end).display().to_string();
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout", &file("key"), "-out", &file("crt")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |end: &str| std::fs::read_to_string(file(end)).unwrap();
    (read("crt"), read("key"))
}

pub(crate) async fn row_90_all_clusters_are_told_new_certificates(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90-certificates";
    made(&sides, name).await;
    let generation =
        || two.get("rec", two.rec).unwrap()["status"]["certificatesStatus"]["generation"].as_i64().unwrap_or_default();
    let before = generation();
    let told = |status: &serde_json::Value| status["clusterCertificatesGeneration"].as_i64();
    assert_eq!(told(&two.get("reaadb", name).unwrap()["status"]), Some(before));

    let (text, key) = certificate("syncer.rec-two.redis2.svc.cluster.local");
    two.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "syncer-tls"},
        "stringData": {"tls.crt": text, "tls.key": key}}));
    two.patch("rec", two.rec, &json!({"spec": {"certificates": {"syncerCertificateSecretName": "syncer-tls"}}}));
    until("the copies to be told", SETTLES, || async {
        let status = two.get("reaadb", name)?["status"].clone();
        ensure!(told(&status) == Some(before + 1), "{status}, cluster: {}", generation());
        // What the other cluster takes for this one's.
        let trusted = one.bdb(name)?["authentication_ssl_crdt_certs"].clone();
        let same = trusted[0]["client_cert"].as_str().is_some_and(|known| known.trim() == text.trim());
        ensure!(same, "{trusted}");
        anyhow::Ok(())
    })
    .await;
    settled(&sides, name).await;
    two.says(name, "", &["SET", "from-two", "1"], "OK").await;
    one.says(name, "", &["GET", "from-two"], "1").await;

    two.patch("rec", two.rec, &json!({"spec": {"certificates": null}}));
    one.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    proxy().lock().await.look(world).await;
}
