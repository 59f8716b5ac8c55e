//! Changes that are refused (reference, 3.2): what runs stays as it is, and whoever made them is told field, rule and
//! remedy.

use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};

use crate::steady::{Steady, at_rest};

/// The sample cluster under another name, in one of both versions, with so many nodes.
fn apply(world: &World, name: &str, version: &str, nodes: i64) -> anyhow::Result<String> {
    let sample = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    let text = sample.replace("app.redislabs.com/v1", &format!("app.redislabs.com/{version}"));
    let text = text.replace("name: rec", &format!("name: {name}")).replace("nodes: 3", &format!("nodes: {nodes}"));
    assert!(text.contains(&format!("nodes: {nodes}")) && text.contains(&format!("name: {name}")), "{text}");
    world.kubectl_with_input(&["apply", "-f", "-"], &text)
}

/// Neither a cluster nor anything of it is there.
fn absent(world: &World, name: &str) {
    for kind in ["rec", "statefulset", "service", "secret", "role"] {
        let error = world.get(kind, name).unwrap_err().to_string();
        assert!(error.contains("NotFound"), "{kind} {name}: {error}");
    }
}

pub(crate) async fn row_34_an_even_number_of_nodes_is_refused(world: &World) {
    for (version, nodes) in [("v1", 4), ("v1alpha1", 4), ("v1", 6)] {
        let refused = apply(world, "even", version, nodes).unwrap_err().to_string();
        assert!(refused.contains("spec.nodes must be odd") && refused.contains("add or leave out"), "{refused}");
    }
    absent(world, "even");
}

pub(crate) async fn row_35_fewer_than_three_nodes_are_refused(world: &World) {
    for (version, nodes) in [("v1", 1), ("v1alpha1", 1), ("v1", 0), ("v1", -3)] {
        let refused = apply(world, "few", version, nodes).unwrap_err().to_string();
        assert!(refused.contains("spec.nodes must be at least 3") && refused.contains("set 3"), "{refused}");
    }
    absent(world, "few");
}

/// A change of the cluster that the API server refuses, with these words about field, rule and remedy.
fn refused(world: &World, spec: &Value, words: [&str; 3]) {
    let before = world.get("rec", "rec").unwrap();
    let said = world.patch("rec", "rec", &json!({"spec": spec})).unwrap_err().to_string();
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not all in: {said}");
    let after = world.get("rec", "rec").unwrap();
    assert_eq!((&after["spec"], &after["status"]), (&before["spec"], &before["status"]));
}

pub(crate) async fn row_36_what_the_api_server_refuses_changes_nothing(world: &World) {
    let steady = Steady::of(world);
    refused(world, &json!({"nodes": 4}), ["spec.nodes", "must be odd", "add or leave out one"]);
    refused(world, &json!({"username": "nobody"}), ["spec.username", "must look like an e-mail", "correct it"]);
    let twice = json!({"license": "a", "licenseSecretName": "b"});
    refused(world, &twice, ["spec.license", "exclude each other", "remove one"]);
    let routing = json!({"ingressOrRouteSpec": {"method": "ingress", "apiFqdnUrl": "api.example.com", "dbFqdnSuffix": ".example.com"}});
    refused(
        world,
        &routing,
        ["spec.ingressOrRouteSpec.ingressAnnotations", "needs kubernetes.io/ingress.class", "add that"],
    );
    let digest = json!({"redisEnterpriseImageSpec": {"digestHash": "sha256:00"}});
    refused(world, &digest, ["spec.redisEnterpriseImageSpec.digestHash", "needs versionTag", "add the tag"]);
    // The schema refuses, too.
    refused(world, &json!({"uiServiceType": "Tunnel"}), ["spec.uiServiceType", "Unsupported value", "ClusterIP"]);
    steady.check(world).await;
}

/// A change of the spec that only the step can judge.
struct Wrong {
    wrong: Value,
    right: Value,
    field: &'static str,
    /// Words of the rule and of the remedy.
    words: [&'static str; 2],
}

/// What was told about an invalid spec, wherever one looks: condition, Event, log.
async fn told(world: &World, wrong: &Wrong) {
    let complete = |text: &str| text.contains(wrong.field) && wrong.words.iter().all(|word| text.contains(word));
    until("the condition", SETTLES, || async {
        let [status, reason, message] = world.condition("rec", "rec", "Ready")?;
        if (status.as_str(), reason.as_str()) == ("False", "InvalidConfiguration") && complete(&message) {
            return Ok(());
        }
        anyhow::bail!("{status} {reason} {message}")
    })
    .await;
    world.field("rec", "rec", "/status/specStatus", "Invalid", SETTLES).await;
    world.field("rec", "rec", "/status/state", "Invalid", SETTLES).await;
    until("the Event", SETTLES, || async {
        let events = world.events("rec", "rec")?;
        if events.iter().any(|(reason, text)| reason == "InvalidConfiguration" && complete(text)) {
            Ok(())
        } else {
            anyhow::bail!("{events:?}")
        }
    })
    .await;
    until("the log", SETTLES, || async {
        let log = world.operator_log();
        if log.lines().any(|line| line.contains("WARN") && complete(line)) {
            Ok(())
        } else {
            Err("not in the operator's log")
        }
    })
    .await;
}

pub(crate) async fn row_36_what_the_step_refuses_changes_nothing_and_heals(world: &World) {
    let steady = Steady::of(world);
    let class = Wrong {
        wrong: json!({"persistentSpec": {"storageClassName": "other"}}),
        right: json!({"persistentSpec": {"storageClassName": null}}),
        field: "spec.persistentSpec.storageClassName",
        words: ["cannot be changed", "set it back"],
    };
    let size = Wrong {
        wrong: json!({"persistentSpec": {"volumeSize": "5Gi"}}),
        right: json!({"persistentSpec": {"volumeSize": null}}),
        field: "spec.persistentSpec.volumeSize",
        words: ["cannot shrink", "set it back"],
    };
    for wrong in [class, size] {
        // Without a size of its own there is none that the API server could compare with.
        world.patch("rec", "rec", &json!({"spec": {"persistentSpec": {"volumeSize": null}}})).unwrap();
        world.patch("rec", "rec", &json!({"spec": wrong.wrong})).unwrap();
        told(world, &wrong).await;
        // Also for what is wrong only as long as something else is: nothing of the spec is taken.
        world.patch("rec", "rec", &json!({"spec": {"uiServiceType": "NodePort"}})).unwrap();
        told(world, &wrong).await;
        assert_eq!(world.get("service", "rec-ui").unwrap()["spec"]["type"], "ClusterIP");
        steady.check(world).await;
        world.patch("rec", "rec", &json!({"spec": {"uiServiceType": null}})).unwrap();
        world.patch("rec", "rec", &json!({"spec": wrong.right})).unwrap();
        world.field("rec", "rec", "/status/specStatus", "Valid", SETTLES).await;
        world.field("rec", "rec", "/status/state", "Running", FORMS).await;
        at_rest(world, 3).await;
        steady.check(world).await;
    }
    world.apply_sample("rec.yaml").unwrap();
    at_rest(world, 3).await;
}

pub(crate) async fn row_37_unsafe_changes_are_refused(world: &World) {
    let steady = Steady::of(world);
    let smaller = json!({"persistentSpec": {"volumeSize": "10Gi"}});
    refused(world, &smaller, ["spec.persistentSpec.volumeSize", "must not shrink", "set it to the former size"]);
    refused(world, &json!({"nodes": 1}), ["spec.nodes", "must not shrink", "allowScaleDown"]);
    let without = json!({"persistentSpec": {"enabled": false}});
    refused(world, &without, ["spec.persistentSpec.enabled", "cannot be changed", "set it back"]);
    // The step knows which class the volumes have.
    let wrong = Wrong {
        wrong: json!({"persistentSpec": {"storageClassName": "fast"}}),
        right: json!({"persistentSpec": {"storageClassName": null}}),
        field: "spec.persistentSpec.storageClassName",
        words: ["the volumes have the default class", "set it back"],
    };
    world.patch("rec", "rec", &json!({"spec": wrong.wrong})).unwrap();
    told(world, &wrong).await;
    steady.check(world).await;
    let other = json!({"persistentSpec": {"storageClassName": "slow"}});
    refused(world, &other, ["spec.persistentSpec.storageClassName", "cannot be changed", "set it back"]);
    world.patch("rec", "rec", &json!({"spec": wrong.right})).unwrap();
    at_rest(world, 3).await;
    steady.check(world).await;
}
