//! More of a cluster's life than the rows of the checklist name (`rows_life`): fewer nodes, an upgrade that gets stuck and is
//! taken back, other certificates, and an operator that is killed in the middle of an upgrade and of a recovery.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stepwright_tests::life::{
    NODES, States, condition, cordon, databases_come_back, event, in_order, key_is, lose_two, next_version, patch,
    prepare, put_key, reset, spec, uids, volumes, well,
};
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World, http};

/// For what takes several nodes one after another.
const LONG: Duration = Duration::from_secs(360);

async fn started() -> World {
    let world = World::start().await.unwrap();
    prepare(&world).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_leave_from_the_highest_by_consent_only_and_no_key_is_lost() {
    let world = World::start().await.unwrap();
    // Five nodes on three machines.
    let near = json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": {
        "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "redis.io/role": "node" } } } }] });
    let rec = json!({ "apiVersion": "app.redislabs.com/v1", "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" },
        "spec": { "nodes": 5, "podAntiAffinity": near } });
    world.kubectl_with_input(&["apply", "-f", "-"], &rec.to_string()).unwrap();
    world.field("rec", "rec", "/status/state", "Running", LONG).await;
    stepwright_tests::life::database(&world).await;
    for number in 0..5 {
        put_key(&world, &format!("key:{number}"), "kept").await;
    }
    let (pods, kept) = (uids(&world, "pods", NODES), volumes(&world));
    assert_eq!((pods.len(), kept.len()), (5, 5));

    // Nobody has consented.
    let fewer = json!({ "spec": { "nodes": 3 } }).to_string();
    let refused = world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &fewer]).unwrap_err().to_string();
    assert!(refused.contains("must not shrink") && refused.contains("allowScaleDown"), "{refused}");
    assert_eq!(uids(&world, "pods", NODES), pods);

    // The other nodes have no room: nothing goes, and that is said.
    for pod in pods.keys() {
        let fault = json!({ "kind": "no-room" });
        http(world.address(pod).unwrap(), 3399, "POST", "/_sim/faults", None, Some(&fault)).unwrap();
    }
    spec(&world, &json!({ "nodes": 3, "allowScaleDown": true }));
    event(&world, "rec", &["ScaleDownBlocked", "insufficient_resources"]).await;
    assert_eq!(uids(&world, "pods", NODES), pods);
    assert_eq!(world.rest("GET", "/v1/nodes", None).unwrap().as_array().unwrap().len(), 5);
    for pod in pods.keys() {
        http(world.address(pod).unwrap(), 3399, "DELETE", "/_sim/faults", None, None).unwrap();
    }

    // There is room: they leave, and their volumes with them.
    world.kubectl(&["annotate", "rec", "rec", "example.com/room=made"]).unwrap();
    until("three nodes", LONG, || async {
        let pods = uids(&world, "pods", NODES);
        let status = world.get("rec", "rec").unwrap()["status"].clone();
        if pods.len() == 3 && status["state"] == "Running" { Ok(()) } else { Err((pods, status)) }
    })
    .await;
    well(&world).await;
    let left = uids(&world, "pods", NODES);
    assert!(left.iter().all(|(name, uid)| pods.get(name) == Some(uid)), "{pods:?}, {left:?}");
    let nodes = world.rest("GET", "/v1/nodes", None).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 3, "{nodes}");
    until("the volumes of three nodes", SETTLES, || async {
        let now = volumes(&world);
        let as_before = now.iter().all(|(name, uid)| kept.get(name) == Some(uid));
        if now.len() == 3 && as_before { Ok(()) } else { Err(now) }
    })
    .await;
    for number in 0..5 {
        key_is(&world, &format!("key:{number}"), "kept").await;
    }
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_node_pauses_the_upgrade_and_the_old_version_may_be_taken_again() {
    let world = started().await;
    put_key(&world, "before", "kept").await;
    let pods = uids(&world, "pods", NODES);
    let before = world.get("rec", "rec").unwrap()["status"]["redisEnterpriseVersion"].clone();
    // The image of the new version cannot be had.
    let tag = next_version(&world);
    spec(&world, &json!({ "redisEnterpriseImageSpec": { "repository": "example.com/not-there", "versionTag": tag } }));
    event(&world, "rec", &["RolloutStuck", "rec-2 does not start"]).await;
    let rec = world.field("rec", "rec", "/status/state", "Upgrade", SETTLES).await;
    let ready = condition(&rec, "Ready");
    assert!(ready["status"] == "False" && ready["message"].as_str().unwrap().contains("rec-2"), "{ready}");
    assert_eq!(rec["status"]["redisEnterpriseVersion"], before, "the old version is in force");
    key_is(&world, "before", "kept").await;
    let now = uids(&world, "pods", NODES);
    for pod in ["rec-0", "rec-1"] {
        assert_eq!(now.get(pod), pods.get(pod), "{pod} waits for rec-2");
    }
    // Back again: nothing is a downgrade before the last node has the new version.
    spec(&world, &json!({ "redisEnterpriseImageSpec": null }));
    well(&world).await;
    let rec = world.get("rec", "rec").unwrap();
    assert_eq!(rec["status"]["redisEnterpriseVersion"], before);
    let now = uids(&world, "pods", NODES);
    for pod in ["rec-0", "rec-1"] {
        assert_eq!(now.get(pod), pods.get(pod), "{pod} was replaced");
    }
    key_is(&world, "before", "kept").await;
    world.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_goes_on_with_the_upgrade_and_the_recovery_where_it_was() {
    let world = started().await;
    put_key(&world, "before", "kept").await;
    let pods = uids(&world, "pods", NODES);
    let version = next_version(&world);
    spec(&world, &json!({ "redisEnterpriseImageSpec": { "versionTag": version } }));
    until("the first pod to be replaced", FORMS, || async {
        let now = uids(&world, "pods", NODES);
        if now.get("rec-2").is_some_and(|uid| pods.get("rec-2") != Some(uid)) { Ok(()) } else { Err(now) }
    })
    .await;
    world.kill_operator().unwrap();
    let rec = world.get("rec", "rec").unwrap();
    assert_eq!(rec["status"]["state"], "Upgrade");
    world.field("rec", "rec", "/status/redisEnterpriseVersion", &version, LONG).await;
    well(&world).await;
    event(&world, "rec", &["UpgradeCompleted", &version]).await;
    key_is(&world, "before", "kept").await;
    // Of each pod there was one replacement.
    let restarts = |pod: &Value| pod["metadata"]["generation"].as_u64();
    assert_eq!(world.list("pods", NODES).unwrap().iter().filter_map(restarts).max(), Some(1));

    let kept = volumes(&world);
    for moment in ["RecoveryReset", "RecoveringFirstPod"] {
        lose_two(&world).await;
        let mut states = States::watch(&world);
        spec(&world, &json!({ "clusterRecovery": true }));
        reset(&mut states).await;
        cordon(&world, "uncordon");
        until(moment, FORMS, || {
            let seen = states.seen().to_vec();
            async move { if seen.iter().any(|state| state == moment) { Ok(()) } else { Err(seen) } }
        })
        .await;
        world.kill_operator().unwrap();
        until("the end of the recovery", FORMS, || {
            let seen = states.seen().to_vec();
            let wanted = ["RecoveryReset", "RecoveringFirstPod", "Initializing", "Running"];
            async move { if in_order(&seen, &wanted) { Ok(()) } else { Err(seen) } }
        })
        .await;
        assert_eq!(states.seen().iter().filter(|state| *state == "RecoveryReset").count(), 1, "{:?}", states.seen());
        drop(states);
        assert_eq!(volumes(&world), kept);
        databases_come_back(&world).await;
        key_is(&world, "before", "kept").await;
        spec(&world, &json!({ "clusterRecovery": false }));
        well(&world).await;
    }
    world.cluster.stop().await.unwrap();
}

/// A certificate and its key, as files; the certificate's text.
fn certificate(world: &World, name: &str) -> (String, [String; 2]) {
    let file = |end: &str| world.cluster.folder().join(format!("{name}.{end}")).display().to_string();
    let (certificate, key) = (file("crt"), file("key"));
    let subject = format!("/CN={name}.redis.svc.cluster.local");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", &subject, "-addext", &format!("subjectAltName=DNS:{name}.redis.svc.cluster.local")])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (std::fs::read_to_string(&certificate).unwrap(), [certificate, key])
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_without_a_restart_and_proxy_and_syncer_count() {
    let world = started().await;
    let pods = uids(&world, "pods", NODES);
    let generation =
        |world: &World| world.get("rec", "rec").unwrap()["status"]["certificatesStatus"]["generation"].clone();
    let served = |name: &str| -> Value { world.rest("GET", "/v1/cluster/certificates", None).unwrap()[name].clone() };
    assert_eq!(generation(&world), 0);
    let mut texts = Vec::new();
    for (name, field, count) in [
        ("proxy", "proxyCertificateSecretName", 1),
        ("syncer", "syncerCertificateSecretName", 2),
        ("cm", "cmCertificateSecretName", 2),
    ] {
        let (text, [certificate, key]) = certificate(&world, name);
        let secret = format!("{name}-tls");
        let (certificate, key) = (format!("--cert={certificate}"), format!("--key={key}"));
        world.kubectl(&["create", "secret", "tls", &secret, &certificate, &key]).unwrap();
        spec(&world, &json!({ "certificates": { field: secret } }));
        until(&format!("the certificate `{name}`"), SETTLES, || async {
            let (served, generation) = (served(&format!("{name}_cert")), generation(&world));
            let same = served.as_str().is_some_and(|served| served.trim() == text.trim());
            if same && generation == count { Ok(()) } else { Err(format!("{generation}, {served}")) }
        })
        .await;
        texts.push(text);
    }
    // An edit of the Secret alone.
    let (text, [certificate, key]) = certificate(&world, "proxy-again");
    let read = |file: &str| std::fs::read_to_string(file).unwrap();
    patch(&world, "secret", "proxy-tls", &json!({ "stringData": { "tls.crt": text, "tls.key": read(&key) } }));
    until("the newer certificate", SETTLES, || async {
        let (served, generation) = (served("proxy_cert"), generation(&world));
        let same = served.as_str().is_some_and(|served| served.trim() == read(&certificate).trim());
        if same && generation == 3 { Ok(()) } else { Err(format!("{generation}, {served}")) }
    })
    .await;
    // A reference that goes leaves the last certificate where it is.
    spec(&world, &json!({ "certificates": null }));
    well(&world).await;
    assert_eq!(served("proxy_cert").as_str().unwrap().trim(), text.trim());
    assert_eq!(served("syncer_cert").as_str().unwrap().trim(), texts[1].trim());
    let status = world.get("rec", "rec").unwrap()["status"]["certificatesStatus"].clone();
    assert_eq!(status["updateStatus"], "Completed");
    assert_eq!(uids(&world, "pods", NODES), pods, "a pod was replaced");
    world.cluster.stop().await.unwrap();
}
