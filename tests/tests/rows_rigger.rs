//! Rows 20 and 41 of the checklist, as far as they are about the services manager: a Deployment that runs one step, with an
//! account that may do no more than this step asks for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use serde_json::Value;
use stepwright_tests::checklist;
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, SETTLES, World, http};

const RIGGER: &str = "rec-services-rigger";
const STEP: &str = "services-rigger";

fn main() {
    let rows = vec![
        row!(20, row_20_the_services_manager_is_a_deployment_of_its_own),
        row!(20, row_20_its_account_may_what_its_step_asks_for_and_no_more),
        row!(41, row_41_the_services_manager_is_restored),
    ];
    checklist::main("rows_rigger", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
    let ready = world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "redb/mydb", "--timeout=180s"]);
    if let Err(error) = ready {
        panic!("{error:#}\n{}\n---- the services rigger's log\n{}", world.last_words(), log(world));
    }
}

/// Waits until the Deployment is 1/1.
async fn runs(world: &World) {
    until("the services rigger", SETTLES, || async {
        let seen = world.kubectl(&["get", "deploy", RIGGER])?;
        if seen.contains("1/1") { Ok(()) } else { anyhow::bail!("{seen}") }
    })
    .await;
}

/// Steps of the passes that a pod has recorded.
fn steps_of(world: &World, pod: &str) -> Vec<String> {
    let (status, text) = http(world.address(pod).unwrap(), 8081, "GET", "/v1/passes?limit=1000", None, None).unwrap();
    assert_eq!(status, 200, "{text}");
    let passes: Vec<Value> = serde_json::from_str(&text).unwrap();
    let steps = passes.iter().flat_map(|pass| pass["steps"].as_array().cloned().unwrap_or_default());
    let mut steps: Vec<String> = steps.map(|step| step["step"].as_str().unwrap_or_default().to_owned()).collect();
    steps.sort();
    steps.dedup();
    steps
}

fn rigger_pod(world: &World) -> String {
    let selector = "app=redis-enterprise,name=services-rigger,redis.io/cluster=rec";
    let path = "jsonpath={.items[*].metadata.name}";
    let names = world.kubectl(&["get", "pods", "-l", selector, "--field-selector=status.phase=Running", "-o", path]);
    names.unwrap().split(' ').next().unwrap_or_default().to_owned()
}

fn log(world: &World) -> String {
    let file = world.cluster.container_log(NAMESPACE, &rigger_pod(world), STEP);
    std::fs::read_to_string(file).unwrap_or_default()
}

async fn row_20_the_services_manager_is_a_deployment_of_its_own(world: &World) {
    runs(world).await;
    world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "--timeout=180s"]).unwrap();
    let template = world.get("deploy", RIGGER).unwrap()["spec"]["template"]["spec"].clone();
    let operator = world.get("deploy", "redis-enterprise-operator").unwrap();
    let own = &operator["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!((&template["containers"][0]["image"], &template["serviceAccountName"]), (own, &Value::from(RIGGER)));
    // Something for it to do, so that its journal is not empty after a start.
    until("the database's Service", SETTLES, || async { world.get("service", "mydb") }).await;
    world.kubectl(&["delete", "service", "mydb"]).unwrap();
    until("the Service again", SETTLES, || async { world.get("service", "mydb") }).await;
    until("a pass of it", SETTLES, || async {
        let steps = steps_of(world, &rigger_pod(world));
        if steps == [STEP] { Ok(()) } else { anyhow::bail!("{steps:?}") }
    })
    .await;
    let steps = steps_of(world, &world.operator_pod().unwrap());
    assert!(steps.contains(&"rec".to_owned()) && !steps.contains(&STEP.to_owned()), "{steps:?}");
}

async fn row_20_its_account_may_what_its_step_asks_for_and_no_more(world: &World) {
    let can = |account: &str, verb: &str, what: &str| {
        let user = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
        // It exits with 1 when the answer is no.
        let words: Vec<&str> =
            ["auth", "can-i", verb].into_iter().chain(what.split(' ')).chain([user.as_str()]).collect();
        world.kubectl(&words).is_ok_and(|said| said.trim() == "yes")
    };
    let yes = [
        ("create", "services"),
        ("delete", "services"),
        ("patch", "pods"),
        ("get", "secrets/rec"),
        ("list", "redisenterpriseclusters.app.redislabs.com"),
        ("patch", "redisenterpriseclusters.app.redislabs.com --subresource=status"),
        ("create", "ingresses.networking.k8s.io"),
    ];
    let no = [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "secrets/redb-mydb"),
        ("create", "secrets"),
        ("patch", "statefulsets.apps"),
        ("create", "deployments.apps"),
        ("create", "roles.rbac.authorization.k8s.io"),
        ("delete", "persistentvolumeclaims"),
        ("patch", "redisenterpriseclusters.app.redislabs.com"),
        ("patch", "redisenterprisedatabases.app.redislabs.com"),
    ];
    for (verb, what) in yes {
        assert!(can(RIGGER, verb, what), "the services rigger may not {verb} {what}");
    }
    for (verb, what) in no {
        assert!(!can(RIGGER, verb, what), "the services rigger may {verb} {what}");
    }
    for (verb, what) in yes.into_iter().chain(no) {
        // The operator gives away nothing that it has not.
        assert!(can("redis-enterprise-operator", verb, what), "the operator may not {verb} {what}");
    }
}

async fn row_41_the_services_manager_is_restored(world: &World) {
    runs(world).await;
    let image = world.get("deploy", RIGGER).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let restored = async |what: &str| {
        until(what, SETTLES, || async {
            let deployment = world.get("deploy", RIGGER)?;
            let spec = &deployment["spec"];
            let seen = (&spec["replicas"], &spec["template"]["spec"]["containers"][0]["image"]);
            if seen == (&Value::from(1), &image) { Ok(()) } else { anyhow::bail!("{seen:?}") }
        })
        .await;
        runs(world).await;
    };
    world.kubectl(&["scale", "deploy", RIGGER, "--replicas=0"]).unwrap();
    restored("its one replica").await;
    world.kubectl(&["set", "image", &format!("deploy/{RIGGER}"), "services-rigger=example/other:1"]).unwrap();
    restored("its image").await;
    world.kubectl(&["delete", "deploy", RIGGER]).unwrap();
    restored("the Deployment").await;
    for kind in ["serviceaccount", "role", "rolebinding"] {
        world.kubectl(&["delete", kind, RIGGER]).unwrap();
        until(&format!("its {kind}"), SETTLES, || async { world.get(kind, RIGGER) }).await;
    }
    runs(world).await;
    // Its pod does its work also with an account that was made anew.
    world.kubectl(&["delete", "service", "mydb"]).unwrap();
    until("the Service again", SETTLES, || async { world.get("service", "mydb") }).await;
    world.kubectl(&["wait", "--for=condition=Ready", "rec/rec", "--timeout=180s"]).unwrap();
}
