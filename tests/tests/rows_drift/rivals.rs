//! Several clusters: one in a namespace, each with an operator of its own.

use serde_json::json;
use stepwright_dev_cluster::repository;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, OPERATOR, SETTLES, World};

use crate::steady::{Steady, at_rest};

fn sample(name: &str) -> String {
    let sample = std::fs::read_to_string(repository().join("deploy/samples/rec.yaml")).unwrap();
    sample.replace("name: rec", &format!("name: {name}"))
}

pub(crate) async fn row_38_a_second_cluster_in_the_namespace_is_refused(world: &World) {
    let steady = Steady::of(world);
    world.kubectl_with_input(&["apply", "-f", "-"], &sample("rec2")).unwrap();
    world.field("rec", "rec2", "/status/state", "Invalid", SETTLES).await;
    world.field("rec", "rec2", "/status/specStatus", "Invalid", SETTLES).await;
    let said = |text: &str| text.contains("only one") && text.contains("`rec`") && text.contains("another namespace");
    until("the Event", SETTLES, || async {
        let events = world.events("rec", "rec2")?;
        let told = events.iter().any(|(reason, text)| reason == "MultipleClustersInNamespace" && said(text));
        if told { Ok(()) } else { anyhow::bail!("{events:?}") }
    })
    .await;
    let [ready, _, message] = world.condition("rec", "rec2", "Ready").unwrap();
    assert!(ready == "False" && said(&message), "{ready} {message}");
    let everything =
        "statefulsets,deployments,services,secrets,roles,rolebindings,serviceaccounts,configmaps,pdb,pvc,pods";
    let children = world.kubectl(&["get", everything, "-l", "redis.io/cluster=rec2", "-o", "name"]).unwrap();
    assert_eq!(children, "", "a refused cluster has children");
    // The first does not notice.
    at_rest(world, 3).await;
    steady.check(world).await;
    world.kubectl(&["delete", "rec", "rec2", "--timeout=180s"]).unwrap();
    at_rest(world, 3).await;
    steady.check(world).await;
}

/// kubectl in the other namespace.
fn there(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    world.kubectl(&[&["--namespace", "redis-2"], arguments].concat())
}

pub(crate) async fn row_39_a_cluster_elsewhere_with_its_own_operator(world: &World) {
    let steady = Steady::of(world);
    let here = world.secret("rec", "password").unwrap();
    world.kubectl(&["create", "namespace", "redis-2"]).unwrap();
    let deploy = repository().join("deploy");
    for file in ["bundle.yaml", "dev", "samples/rec.yaml"] {
        there(world, &["apply", "-f", &deploy.join(file).display().to_string()]).unwrap();
    }
    let seen = |what: &'static str, path: &'static str, wanted: &'static str| {
        until(what, FORMS, move || async move {
            let found = there(world, &["get", what, "-o", path])?;
            if found == wanted { Ok(()) } else { anyhow::bail!("{found:?}") }
        })
    };
    seen("deployment/redis-enterprise-operator", "jsonpath={.status.readyReplicas}", "1").await;
    seen("rec/rec", "jsonpath={.status.state}", "Running").await;
    let status = there(world, &["exec", "rec-0", "--", "bash", "-lc", "rladmin status nodes"]).unwrap();
    assert_eq!(status.lines().filter(|line| line.contains("node:") && line.trim_end().ends_with(" OK")).count(), 3);
    let name = "go-template={{.data.password | base64decode}}";
    assert_ne!(there(world, &["get", "secret", "rec", "-o", name]).unwrap(), here, "two clusters, one password");
    assert_eq!(world.get("rec", "rec").unwrap()["status"]["state"], "Running");
    steady.check(world).await;

    // Without its operator nothing happens to it, whoever else is there; the first one is still looked after.
    there(world, &["scale", "deployment", OPERATOR, "--replicas=0"]).unwrap();
    seen("deployment/redis-enterprise-operator", "jsonpath={.status.readyReplicas}", "").await;
    let change = json!({"spec": {"uiServiceType": "NodePort"}}).to_string();
    there(world, &["patch", "rec", "rec", "--type=merge", "-p", &change]).unwrap();
    world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &change]).unwrap();
    world.field("service", "rec-ui", "/spec/type", "NodePort", SETTLES).await;
    assert_eq!(there(world, &["get", "service", "rec-ui", "-o", "jsonpath={.spec.type}"]).unwrap(), "ClusterIP");
    there(world, &["scale", "deployment", OPERATOR, "--replicas=1"]).unwrap();
    seen("service/rec-ui", "jsonpath={.spec.type}", "NodePort").await;
    world.patch("rec", "rec", &json!({"spec": {"uiServiceType": null}})).unwrap();
    world.field("service", "rec-ui", "/spec/type", "ClusterIP", SETTLES).await;

    // Its end is nothing to the first.
    there(world, &["delete", "rec", "rec", "--timeout=180s"]).unwrap();
    world.kubectl(&["delete", "namespace", "redis-2", "--timeout=120s"]).unwrap();
    at_rest(world, 3).await;
    steady.check(world).await;
}
