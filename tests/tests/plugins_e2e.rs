//! Plugins on a whole development cluster, with kubectl, real ConfigMaps and the command-line tool: shadow, canary, promotion,
//! rollback by hand and by itself, policies, and a search for passwords in everything that leaves the operator.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use stepwright_tests::plugins::{events, offer, state, stepwright};
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World, http};

const RIGGER: &str = "plugins/labelled-rigger.wasm";

#[tokio::test(flavor = "multi_thread")]
async fn plugins_through_their_lives() {
    let world = World::start().await.unwrap();
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
    world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "redb/mydb", "--timeout=180s"]).unwrap();

    a_shadow_is_compared_and_then_promoted(&world).await;
    a_canary_is_taken_back_by_hand(&world).await;
    a_canary_that_fails_is_taken_back_by_itself(&world).await;
    a_version_that_fails_in_rehearsal_is_never_swapped_in(&world).await;
    a_policy_amends_and_explain_says_so(&world).await;
    a_policy_in_another_language_denies(&world).await;
    no_password_is_anywhere(&world);
    world.cluster.stop().await.unwrap();
}

/// Of the operator, and of the process that runs the services rigger alone.
fn metrics(world: &World) -> anyhow::Result<String> {
    let mut pods = vec![world.operator_pod()?];
    let riggers = world.list("pods", "name=services-rigger")?;
    pods.extend(riggers.iter().filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned())));
    let mut all = String::new();
    for pod in pods {
        all.push_str(&http(world.address(&pod)?, 8080, "GET", "/metrics", None, None)?.1);
    }
    Ok(all)
}

/// How many Services carry the label that the example plugin sets.
async fn labelled(world: &World, wanted: bool) {
    until(&format!("label on Services: {wanted}"), SETTLES, || async {
        let count = world.list("services", "example.com/rigged-by=labelled")?.len();
        if (count > 0) == wanted { Ok(()) } else { anyhow::bail!("{count} Services have it") }
    })
    .await;
}

fn gone(world: &World, name: &str) {
    world.kubectl(&["delete", "configmap", name]).unwrap();
}

async fn a_shadow_is_compared_and_then_promoted(world: &World) {
    offer(world, "shadowed", RIGGER, "{}", &["stepwright.dev/mode=shadow"]).unwrap();
    state(world, "shadowed", "shadow").await;
    // A question that nobody answered before: the plan is compared.
    world.kubectl(&["label", "rec", "rec", "asked=again"]).unwrap();
    until("differences of the shadow", SETTLES, || async {
        let text = metrics(world)?;
        let differing = |line: &&str| line.starts_with("stepwright_plugin_shadow_differences") && !line.ends_with(" 0");
        text.lines().find(differing).map(str::to_owned).ok_or_else(|| anyhow::anyhow!("none is counted"))
    })
    .await;
    assert!(
        world.list("services", "example.com/rigged-by=labelled").unwrap().is_empty(),
        "a shadow's plan was carried out"
    );
    assert!(stepwright(world, &["plugins", "diff", "shadowed"]).unwrap().contains("example.com/rigged-by"));
    stepwright(world, &["plugins", "promote", "shadowed"]).unwrap();
    state(world, "shadowed", "active").await;
    labelled(world, true).await;
    let said = events(world, "shadowed").unwrap();
    assert!(said.contains("PluginShadow") && said.contains("PluginPromoted"), "{said}");
    let service = world.get("service", "rec").unwrap();
    let plugin = service["metadata"]["annotations"]["stepwright.dev/plugin"].as_str().unwrap_or_default().to_owned();
    assert!(plugin.starts_with("labelled-rigger@"), "{plugin}");
    gone(world, "shadowed");
    labelled(world, false).await;
}

async fn a_canary_is_taken_back_by_hand(world: &World) {
    let annotations = ["stepwright.dev/mode=canary", "stepwright.dev/canary-percent=100"];
    offer(world, "tried", RIGGER, "{}", &annotations).unwrap();
    state(world, "tried", "canary").await;
    labelled(world, true).await;
    stepwright(world, &["plugins", "rollback", "tried"]).unwrap();
    let reason = state(world, "tried", "rolled-back").await;
    assert!(reason.starts_with("PluginRolledBack") && reason.contains("services-rigger"), "{reason}");
    labelled(world, false).await;
    let said = events(world, "tried").unwrap();
    assert!(said.contains("PluginCanary") && said.contains("PluginRolledBack"), "{said}");
    gone(world, "tried");
}

async fn a_canary_that_fails_is_taken_back_by_itself(world: &World) {
    let annotations = ["stepwright.dev/mode=canary", "stepwright.dev/canary-percent=100"];
    offer(world, "traps", "guests/traps.wasm", "{}", &annotations).unwrap();
    let reason = state(world, "traps", "rolled-back").await;
    assert!(reason.starts_with("PluginRolledBack") && reason.contains("no idea what to do about mydb"), "{reason}");
    let said = events(world, "traps").unwrap();
    assert!(said.contains("PluginRolledBack") && said.contains("within 5 minutes"), "{said}");
    world.kubectl(&["wait", "--for=condition=Ready", "redb/mydb", "--timeout=180s"]).unwrap();
    gone(world, "traps");
}

async fn a_version_that_fails_in_rehearsal_is_never_swapped_in(world: &World) {
    offer(world, "rehearsed", "guests/traps.wasm", "{}", &[]).unwrap();
    let reason = state(world, "rehearsed", "refused").await;
    assert!(reason.starts_with("RehearsalFailed") && reason.contains("no idea what to do about mydb"), "{reason}");
    assert!(events(world, "rehearsed").unwrap().contains("RehearsalFailed"));
    let degraded = world.get("redb", "mydb").unwrap();
    let conditions = degraded["status"]["conditions"].as_array().cloned().unwrap_or_default();
    assert!(conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"), "{conditions:?}");
    gone(world, "rehearsed");
}

async fn a_policy_amends_and_explain_says_so(world: &World) {
    let settings = r#"{"labels": {"example.com/team": "data"}}"#;
    offer(world, "team", "plugins/service-labels.wasm", settings, &[]).unwrap();
    state(world, "team", "active").await;
    until("the policy's label", SETTLES, || async {
        let services = world.list("services", "example.com/team=data")?.len();
        if services >= 3 { Ok(()) } else { anyhow::bail!("{services} Services have it") }
    })
    .await;
    let decided = ["explain", "rec/rec", "--field", "metadata.labels[example.com/team]"];
    let explained = stepwright(world, &decided).unwrap();
    assert!(explained.contains("service-labels"), "{explained}");
    gone(world, "team");
    until("the policy's label to go", SETTLES, || async {
        let services = world.list("services", "example.com/team=data")?.len();
        if services == 0 { Ok(()) } else { anyhow::bail!("{services} Services have it") }
    })
    .await;
}

async fn a_policy_in_another_language_denies(world: &World) {
    offer(world, "no-balancer", "plugins/no-load-balancer.wasm", "{}", &[]).unwrap();
    state(world, "no-balancer", "active").await;
    // It reviews every step, so the process that runs one alone takes it up too, when it has compiled it.
    until("the rigger's process to take the policy up", SETTLES, || async {
        let log = world.kubectl(&["logs", "deployment/rec-services-rigger"])?;
        let taken_up = |line: &str| line.contains("plugin activated") && line.contains("no-balancer");
        if log.lines().any(taken_up) { Ok(()) } else { anyhow::bail!("it has not yet") }
    })
    .await;
    world
        .kubectl(&["patch", "rec", "rec", "--type=merge", "-p", r#"{"spec":{"uiServiceType":"LoadBalancer"}}"#])
        .unwrap();
    until("the denial", SETTLES, || async {
        let said = events(world, "rec")?;
        if said.contains("PolicyDenied") && said.contains("LoadBalancer") { Ok(()) } else { anyhow::bail!("{said}") }
    })
    .await;
    let kind = world.kubectl(&["get", "service", "rec-ui", "-o", "jsonpath={.spec.type}"]).unwrap();
    assert_eq!(kind, "ClusterIP", "what the policy denies was carried out");
    world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", r#"{"spec":{"uiServiceType":"ClusterIP"}}"#]).unwrap();
    world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "--timeout=180s"]).unwrap();
    gone(world, "no-balancer");
}

/// In nothing that plugins were shown, nor in logs, metrics, Events, ConfigMaps and conditions.
fn no_password_is_anywhere(world: &World) {
    let secrets: serde_json::Value =
        serde_json::from_str(&world.kubectl(&["get", "secrets", "-A", "-o", "json"]).unwrap()).unwrap();
    let mut passwords: Vec<(String, String)> = Vec::new();
    for secret in secrets["items"].as_array().unwrap() {
        let name = secret["metadata"]["name"].as_str().unwrap();
        for (key, encoded) in secret["data"].as_object().into_iter().flatten() {
            let encoded = encoded.as_str().unwrap();
            // Keys of TLS and of this installation as well; not what is no secret: ports, names, certificates.
            let public = ["port", "service_names", "username", "tls.crt", "ca.crt", "namespace"];
            if public.contains(&key.as_str()) || key.ends_with("username") || key.ends_with(".pub") || encoded.len() < 8
            {
                continue;
            }
            passwords.push((format!("{name}/{key}, encoded"), encoded.to_owned()));
            let plain = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap();
            if let Ok(plain) = String::from_utf8(plain) {
                passwords.push((format!("{name}/{key}"), plain));
            }
        }
    }
    let named = |wanted: &str| passwords.iter().any(|(name, _)| name == wanted);
    assert!(named("rec/password") && named("redb-mydb/password"), "the search has nothing to look for");

    let metrics = metrics(world).unwrap();
    let everywhere = [
        ("the journal", stepwright(world, &["journal", "export"]).unwrap()),
        ("explain", stepwright(world, &["explain", "rec/rec", "--passes", "50"]).unwrap()),
        ("the log", world.operator_log()),
        ("the metrics", metrics),
        ("Events", world.kubectl(&["get", "events", "-A", "-o", "json"]).unwrap()),
        ("ConfigMaps", world.kubectl(&["get", "configmaps", "-A", "-o", "json"]).unwrap()),
        ("resources", world.kubectl(&["get", "rec,redb", "-A", "-o", "json"]).unwrap()),
    ];
    for (place, text) in &everywhere {
        assert!(text.len() > 100, "{place} says nothing: {text}");
        for (name, password) in &passwords {
            assert!(!text.contains(password.as_str()), "{name} is in {place}");
        }
    }
}
