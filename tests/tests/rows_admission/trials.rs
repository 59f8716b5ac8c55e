//! Checks that are tried out beside the built-in ones, and checks of one's own.

use std::path::Path;

use anyhow::bail;
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::components::guest;
use stepwright_tests::databases::manifest;
use stepwright_tests::plugins::offer;
use stepwright_tests::wait::until;
use stepwright_tests::world::{OPERATOR, SETTLES, World, http};

use super::{DENIED, denied, elsewhere, judging, offered, rolled_out};

/// A ConfigMap with this component, taken up in this state.
async fn plugin(world: &World, name: &str, component: &Path, annotations: &[&str], state: &str) {
    let file = format!("--from-file=plugin.wasm={}", component.display());
    world.kubectl(&["create", "configmap", name, &file]).unwrap();
    for annotation in annotations {
        world.kubectl(&["annotate", "configmap", name, annotation]).unwrap();
    }
    world.kubectl(&["label", "configmap", name, "stepwright.dev/plugin=true"]).unwrap();
    world.field("configmap", name, "/metadata/annotations/stepwright.dev~1state", state, SETTLES).await;
}

/// One whose name the other rules refuse, and nobody else.
fn bad(labels: &Value) -> Value {
    let mut object = manifest("bad", json!({"memorySize": "100MB"}));
    object["metadata"]["labels"] = labels.clone();
    object
}

pub(crate) async fn row_62_other_rules_are_tried_as_a_shadow_and_for_a_few(world: &World) {
    judging(world).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.wasm");
    std::fs::write(&file, guest("admission-pass")).unwrap();
    plugin(world, "tried", &file, &["stepwright.dev/mode=shadow"], "shadow").await;
    offered(world, &bad(&json!({}))).unwrap();
    denied(world, &elsewhere("offered"), &[DENIED, "not found in namespace"]);
    until("the shadow's answer to be compared", SETTLES, || async {
        offered(world, &bad(&json!({}))).map_err(anyhow::Error::msg)?;
        let (_, metrics) = http(world.address(&world.operator_pod()?)?, 8080, "GET", "/metrics", None, None)?;
        let differs = |line: &str| line.contains("shadow_differences") && line.contains("admit-redb");
        if metrics.lines().any(differs) { Ok(()) } else { bail!("no difference is counted") }
    })
    .await;

    // The others go on being judged by the built-in rules.
    world.kubectl(&["annotate", "configmap", "tried", "stepwright.dev/mode=canary", "--overwrite"]).unwrap();
    world.kubectl(&["annotate", "configmap", "tried", "stepwright.dev/canary-labels=tier=dev"]).unwrap();
    world.field("configmap", "tried", "/metadata/annotations/stepwright.dev~1state", "canary", SETTLES).await;
    until("the few to be judged by other rules", SETTLES, || async {
        match offered(world, &bad(&json!({"tier": "dev"}))) {
            Err(said) if said.contains("metadata.name: bad is a bad name") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await;
    offered(world, &bad(&json!({"tier": "production"}))).unwrap();
    denied(world, &elsewhere("offered"), &[DENIED, "not found in namespace"]);
    world.kubectl(&["delete", "configmap", "tried"]).unwrap();
    judging(world).await;
}

/// As `docs/plugins/checks.md` says.
pub(crate) async fn row_62_a_check_of_ones_own_is_asked_too(world: &World) {
    judging(world).await;
    let own = json!([{
        "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase", "steps": ["redb"],
        "admission": ["admit-redb", "database-names"],
        "finalizer": "finalizer.redisenterprisedatabases.app.redislabs.com", "inGuests": true,
        "invalidStatus": {"specStatus": "Invalid"},
    }]);
    let built_in = std::fs::read_to_string(repository().join("host/redis-enterprise/pipelines.json")).unwrap();
    let built_in: Value = serde_json::from_str(&built_in).unwrap();
    let mut expected = built_in.as_array().unwrap().iter().find(|it| it["kind"] == own[0]["kind"]).unwrap().clone();
    expected["admission"] = own[0]["admission"].clone();
    assert_eq!(own[0], expected, "the page shows the built-in pipeline with one check more");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipelines.json");
    std::fs::write(&file, own.to_string()).unwrap();
    // Its containers are processes of this machine: a file that they can read stands for the volume of a ConfigMap.
    let variable = format!("STEPWRIGHT_PIPELINES={}", file.display());
    world.kubectl(&["set", "env", &format!("deployment/{OPERATOR}"), &variable]).unwrap();
    rolled_out(world).await;
    let database = |name: &str| manifest(name, json!({"memorySize": "100MB"}));
    // Nobody answers for the check yet, which is a warning; the built-in one answers as before.
    offered(world, &database("orders")).unwrap();
    denied(world, &elsewhere("orders"), &[DENIED, "not found in namespace"]);
    let settings = json!({"prefixes": {stepwright_tests::world::NAMESPACE: "a-"}}).to_string();
    offer(world, "database-names", "plugins/database-names.wasm", &settings, &[]).unwrap();
    world.field("configmap", "database-names", "/metadata/annotations/stepwright.dev~1state", "active", SETTLES).await;
    until("both checks to be asked", SETTLES, || async {
        offered(world, &database("a-orders")).map_err(anyhow::Error::msg)?;
        match offered(world, &elsewhere("orders")) {
            Err(said) if said.contains("must begin with `a-`") && said.contains("not found in namespace") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await;
    world.kubectl(&["delete", "configmap", "database-names"]).unwrap();
    world.kubectl(&["set", "env", &format!("deployment/{OPERATOR}"), "STEPWRIGHT_PIPELINES-"]).unwrap();
    rolled_out(world).await;
    judging(world).await;
}
