//! Rows 81 to 83, 86 to 89 and 93 to 96 of the checklist: the life of a cluster, from upgrades over the loss of its quorum to its
//! end, with a database that has a replica and keeps every write on disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use stepwright_dev_cluster::repository;
use stepwright_tests::checklist;
use stepwright_tests::life::{
    NODES, PORT, States, condition, cordon, databases_come_back, event, events, in_order, key_is, login, lose_two,
    next_version, patch, prepare, put_key, reset, spec, status_with, uids, volumes, well,
};
use stepwright_tests::plugins::{offer, stepwright};
use stepwright_tests::row;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, NAMESPACE, OPERATOR, SETTLES, World, http};
use stepwright_tests::writer::Writer;

fn main() {
    let rows = vec![
        row!(94, row_94_credentials_are_in_a_secret_of_the_clusters_name),
        row!(95, row_95_metrics_are_served_by_every_node),
        row!(81, row_81_a_new_operator_leaves_the_nodes_alone).instead(
            "the bundle with another image tag: images are a table of local programs, so that the new operator is the same program",
        ),
        row!(83, row_83_a_bad_upgrade_is_refused_and_touches_no_pod),
        row!(82, row_82_an_upgrade_by_tag_loses_no_write),
        row!(82, row_82_an_upgrade_by_itself_follows_the_operator).instead(
            "the newer default comes with a version of the step `upgrade`, in a ConfigMap, as it would with a newer operator",
        ),
        row!(94, row_94_the_password_changes_by_one_edit_of_the_secret),
        row!(93, row_93_the_licence_limits_shards_and_changes_at_run_time),
        row!(86, row_86_a_lost_majority_is_recovered_from_its_volumes),
        row!(87, row_87_a_cluster_recovers_by_itself_and_keeps_its_volumes),
        row!(88, row_88_deletion_waits_for_databases),
        row!(89, row_89_only_the_volumes_remain),
        row!(96, row_96_no_password_in_any_output),
    ];
    checklist::main("rows_life", |world| Box::pin(prepare(world)), rows);
}

async fn row_94_credentials_are_in_a_secret_of_the_clusters_name(world: &World) {
    let (user, password) = login(world);
    assert_eq!(user, "demo@redis.com");
    assert!(password.len() >= 16);
    let rec = world.get("rec", "rec").unwrap();
    assert_eq!(rec["status"]["clusterCredentialSecretName"], "rec");
    assert_eq!(status_with(world, &user, &password), 200);
}

async fn row_95_metrics_are_served_by_every_node(world: &World) {
    let ask = |port: u16, path: &str| {
        let url = format!("https://127.0.0.1:{port}{path}");
        let output = Command::new("curl").args(["-sk", "--max-time", "10", &url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // A line of Prometheus text: name, labels, number.
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_default();
        series.contains('{') && series.ends_with('}') && value.parse::<f64>().is_ok()
    };
    until("metrics of the cluster from one node, and of its own from each", SETTLES, || async {
        let (mut whole, mut own) = (0, 0);
        for pod in ["rec-0", "rec-1", "rec-2"] {
            let forward = world.port_forward(&format!("pod/{pod}"), 8070)?;
            // The master tells; the others say where that is.
            let text = ask(forward.port, "/");
            let nodes = text.lines().filter(|line| line.starts_with("node_up{") && line.ends_with(" 1")).count();
            whole += usize::from(nodes == 3 && text.contains("bdb_up{") && text.lines().all(sample));
            let text = ask(forward.port, "/v2/node");
            own += usize::from(!text.is_empty() && text.lines().all(sample));
        }
        if (whole, own) == (1, 3) { Ok(()) } else { anyhow::bail!("{whole}, {own}") }
    })
    .await;
}

async fn row_81_a_new_operator_leaves_the_nodes_alone(world: &World) {
    let (before, operator) = (uids(world, "pods", NODES), world.operator_pod().unwrap());
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    let now = world.kubectl(&["get", "deployment", OPERATOR, "-o", image]).unwrap();
    let newer = if now.ends_with(":0.1.0") { "stepwright/operator:0.1.1" } else { "stepwright/operator:0.1.0" };
    let bundle = std::fs::read_to_string(repository().join("deploy/bundle.yaml")).unwrap();
    assert!(bundle.contains("stepwright/operator:0.1.0"));
    let said =
        world.kubectl_with_input(&["apply", "-f", "-"], &bundle.replace("stepwright/operator:0.1.0", newer)).unwrap();
    assert!(said.contains("deployment.apps/redis-enterprise-operator configured"), "{said}");
    until("the new operator alone", FORMS, || async {
        let pods = uids(world, "pods", "name=redis-enterprise-operator");
        if pods.len() == 1 && !pods.contains_key(&operator) { Ok(()) } else { Err(pods) }
    })
    .await;
    world.operator_ready().await;
    // It manages the cluster: what it now wants, is done.
    spec(world, &json!({ "uiServiceType": "NodePort" }));
    world.field("service", "rec-ui", "/spec/type", "NodePort", SETTLES).await;
    spec(world, &json!({ "uiServiceType": null }));
    world.field("service", "rec-ui", "/spec/type", "ClusterIP", SETTLES).await;
    well(world).await;
    assert_eq!(uids(world, "pods", NODES), before, "pods of nodes were replaced");
    let other = world.operator_pod().unwrap();
    world.kubectl_with_input(&["apply", "-f", "-"], &bundle).unwrap();
    until("the operator of before", FORMS, || async {
        let pods = uids(world, "pods", "name=redis-enterprise-operator");
        if pods.len() == 1 && !pods.contains_key(&other) { Ok(()) } else { Err(pods) }
    })
    .await;
    world.operator_ready().await;
}

async fn row_83_a_bad_upgrade_is_refused_and_touches_no_pod(world: &World) {
    let before = uids(world, "pods", NODES);
    // A tag that cannot be compared with what runs; one that is older; both healed by taking them back.
    for (tag, why) in [("latest", "is not a version"), ("8.0.2-2", "a cluster cannot go back")] {
        spec(world, &json!({ "redisEnterpriseImageSpec": { "versionTag": tag } }));
        until("the refusal", SETTLES, || async {
            let rec = world.get("rec", "rec").unwrap();
            let told = condition(&rec, "Ready")["message"].as_str().unwrap_or_default().contains(why);
            if told && rec["status"]["state"] == "InvalidUpgrade" { Ok(()) } else { Err(rec["status"].clone()) }
        })
        .await;
        event(world, "rec", &["UpgradeBlocked", why]).await;
        assert_eq!(uids(world, "pods", NODES), before);
        spec(world, &json!({ "redisEnterpriseImageSpec": null }));
        well(world).await;
    }
    // A pinned image cannot upgrade itself: that is refused before it is stored, and nothing changes.
    let both = json!({ "spec": { "upgradeSpec": { "autoUpgradeRedisEnterprise": true },
        "redisEnterpriseImageSpec": { "versionTag": "8.0.20-44.23", "digestHash": "00" } } });
    let refused = world.kubectl(&["patch", "rec", "rec", "--type=merge", "-p", &both.to_string()]).unwrap_err();
    assert!(refused.to_string().contains("autoUpgradeRedisEnterprise"), "{refused}");
    well(world).await;
    assert_eq!(uids(world, "pods", NODES), before, "pods of nodes were replaced");
}

/// Begins, waits until every pod has the version, and looks on the way: one pod at a time is away, the highest first, with the node
/// of each back in the cluster before the next goes; and a client loses no write.
async fn upgraded(world: &World, version: &str, begin: impl FnOnce()) {
    let password = world.secret("redb-mydb", "password").unwrap();
    let before = uids(world, "pods", NODES);
    let writer = Writer::start(world, 1, PORT, &password, "during-upgrade:").unwrap();
    until("the first writes", SETTLES, || async {
        let count = writer.acknowledged();
        if count > 20 { Ok(()) } else { Err(count) }
    })
    .await;
    begin();
    let mut order: Vec<String> = Vec::new();
    let mut states: Vec<String> = Vec::new();
    let start = Instant::now();
    loop {
        let rec = world.get("rec", "rec").unwrap();
        let state = rec["status"]["state"].as_str().unwrap().to_owned();
        if states.last() != Some(&state) {
            states.push(state.clone());
        }
        let pods = world.list("pods", NODES).unwrap();
        let mut away = 3 - pods.len();
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let ready = condition(pod, "Ready")["status"] == "True" && pod["metadata"]["deletionTimestamp"].is_null();
            away += usize::from(!ready);
            if pod["metadata"]["uid"] != before[&name].as_str() && !order.contains(&name) {
                order.push(name);
            }
        }
        assert!(away <= 1, "{away} pods are away at a time: {order:?}");
        if state == "Running" && rec["status"]["redisEnterpriseVersion"] == version {
            break;
        }
        assert!(start.elapsed() < 2 * FORMS, "the upgrade takes too long: {order:?}, {}", rec["status"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    well(world).await;
    assert_eq!(order, ["rec-2", "rec-1", "rec-0"]);
    assert!(states.contains(&"Upgrade".to_owned()), "{states:?}");
    let done = writer.acknowledged();
    until("writes after the upgrade", SETTLES, || async {
        let count = writer.acknowledged();
        if count > done + 20 { Ok(()) } else { Err(count) }
    })
    .await;
    let written = writer.stop().unwrap();
    let lost = written.lost(world, 1, PORT, &password).unwrap();
    println!(
        "{} acknowledged writes, {} of unknown outcome, {} lost, longest gap {:?}",
        written.acknowledged.len(),
        written.uncertain,
        lost.len(),
        written.longest_gap
    );
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(written.longest_gap < Duration::from_secs(20), "a gap of {:?}", written.longest_gap);
    let nodes = world.rest("GET", "/v1/nodes", None).unwrap();
    for node in nodes.as_array().unwrap() {
        assert!(node["software_version"].as_str().unwrap().starts_with(version), "{node}");
    }
    let status = world.rest("GET", "/v1/nodes/status", None).unwrap();
    assert!(!status.to_string().contains("maintenance_snapshot"), "a node was left in maintenance: {status}");
    let started = format!("-> {version}: pods are replaced one by one");
    event(world, "rec", &["UpgradeStarted", &started]).await;
    event(world, "rec", &["UpgradeCompleted", &format!("-> {version}")]).await;
}

async fn row_82_an_upgrade_by_tag_loses_no_write(world: &World) {
    let version = next_version(world);
    let wish = json!({ "redisEnterpriseImageSpec": { "versionTag": version } });
    upgraded(world, &version, || spec(world, &wish)).await;
    // A version once taken is kept when the field is taken away.
    let pods = uids(world, "pods", NODES);
    spec(world, &json!({ "redisEnterpriseImageSpec": null }));
    well(world).await;
    assert_eq!(world.get("rec", "rec").unwrap()["status"]["redisEnterpriseVersion"], version.as_str());
    assert_eq!(uids(world, "pods", NODES), pods);
}

async fn row_82_an_upgrade_by_itself_follows_the_operator(world: &World) {
    let version = next_version(world);
    let pods = uids(world, "pods", NODES);
    // Allowed, but the operator's default is not newer: nothing happens.
    spec(world, &json!({ "upgradeSpec": { "autoUpgradeRedisEnterprise": true } }));
    well(world).await;
    assert_eq!(uids(world, "pods", NODES), pods);
    let settings = json!({ "nodeImage": { "repository": "redislabs/redis", "tag": version } }).to_string();
    let newer = || offer(world, "newer-upgrade", "plugins/upgrade.wasm", &settings, &[]).unwrap();
    upgraded(world, &version, newer).await;
    world.kubectl(&["delete", "configmap", "newer-upgrade"]).unwrap();
    spec(world, &json!({ "upgradeSpec": null }));
    well(world).await;
    assert_eq!(world.get("rec", "rec").unwrap()["status"]["redisEnterpriseVersion"], version.as_str());
}

async fn row_94_the_password_changes_by_one_edit_of_the_secret(world: &World) {
    let (user, old) = login(world);
    let pods = uids(world, "pods", NODES);
    let number = old.strip_prefix("changed-").map_or(1, |number| number.parse::<u32>().unwrap() + 1);
    let new = format!("changed-{number}");
    patch(world, "secret", "rec", &json!({ "stringData": { "password": new } }));
    // Looked at where the step keeps it: wrong logins are counted, so that none is made before the end.
    until("the new password to be the only one in force", SETTLES, || async {
        let kept = world.get("secret", "rec-in-force")?;
        let taken = kept["data"]["credentials.password"] == BASE64_STANDARD.encode(&new);
        let previous = kept["data"].get("credentials.previous").is_some();
        if taken && !previous { Ok(()) } else { anyhow::bail!("taken: {taken}, the one before still kept: {previous}") }
    })
    .await;
    assert_eq!(status_with(world, &user, &old), 401, "the old password still works");
    assert_eq!(status_with(world, &user, &new), 200);
    // The operator serves all the while, with the new one: a change goes through, and nothing is locked.
    spec(world, &json!({ "slaveHA": { "slaveHAGracePeriod": 1234 } }));
    until("a setting that is made with the new password", SETTLES, || async {
        let policy = world.rest("GET", "/v1/cluster/policy", None)?;
        if policy["slave_ha_grace_period"] == 1234 { Ok(()) } else { anyhow::bail!("{policy}") }
    })
    .await;
    well(world).await;
    spec(world, &json!({ "slaveHA": null }));
    assert_eq!(uids(world, "pods", NODES), pods, "no pod restarts for it");
    let users = world.rest("GET", "/v1/users", None).unwrap();
    assert_eq!(users[0]["status"], "active", "{users}");
    assert!(!events(world, "rec").contains(&new) && !world.operator_log().contains(&new), "the password was shown");
}

/// A licence text that the simulator obeys.
fn license(shards: u32) -> String {
    let content = BASE64_STANDARD.encode(json!({ "shards_limit": shards, "expires_in_days": 90 }).to_string());
    format!("----- LICENSE START -----\n{content}\n----- LICENSE END -----\n")
}

async fn shards(world: &World, usage: &str) {
    world.field("rec", "rec", "/status/licenseStatus/shardsUsage", usage, SETTLES).await;
    let row = world.kubectl(&["get", "rec", "rec"]).unwrap();
    assert!(row.contains(usage), "{row}");
}

async fn row_93_the_licence_limits_shards_and_changes_at_run_time(world: &World) {
    let pods = uids(world, "pods", NODES);
    // The database and its replica, of four.
    shards(world, "2/4").await;
    let more = json!({ "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
        "metadata": { "name": "more" },
        "spec": { "memorySize": "300MB", "shardCount": 3, "redisEnterpriseCluster": { "name": "rec" } } });
    let said = world.kubectl_with_input(&["apply", "-f", "-"], &more.to_string());
    let text = "Total shards count exceeds amount of total shards permitted by license. \
                License permits 4 total shards, but there are 5 total shards in use";
    until("the refusal of a fifth shard", SETTLES, || async {
        // Either it is not stored at all, or the resource says why it gets no database.
        let told = match &said {
            Ok(_) => world.get("redb", "more")?["status"].to_string(),
            Err(error) => error.to_string(),
        };
        if told.contains(text) { Ok(()) } else { anyhow::bail!("{told}") }
    })
    .await;
    spec(world, &json!({ "license": license(8) }));
    until("the licence of the field", SETTLES, || async {
        let rec = world.get("rec", "rec")?;
        let limit = &rec["status"]["licenseStatus"]["shardsLimit"];
        if *limit == 8 { Ok(()) } else { anyhow::bail!("{}", rec["status"]) }
    })
    .await;
    if said.is_err() {
        world.kubectl_with_input(&["apply", "-f", "-"], &more.to_string()).unwrap();
    }
    world.field("redb", "more", "/status/status", "active", SETTLES).await;
    shards(world, "5/8").await;
    // The other way to say it, with another licence; then that changes, too.
    let text = format!("--from-literal=license={}", license(12));
    world.kubectl(&["create", "secret", "generic", "bought", &text]).unwrap();
    spec(world, &json!({ "license": null, "licenseSecretName": "bought" }));
    shards(world, "5/12").await;
    world.kubectl(&["delete", "redb", "more"]).unwrap();
    patch(world, "secret", "bought", &json!({ "stringData": { "license": license(4) } }));
    shards(world, "2/4").await;
    spec(world, &json!({ "licenseSecretName": null }));
    world.kubectl(&["delete", "secret", "bought"]).unwrap();
    well(world).await;
    assert_eq!(uids(world, "pods", NODES), pods, "no pod restarts for a licence");
}

async fn row_86_a_lost_majority_is_recovered_from_its_volumes(world: &World) {
    let volumes_before = volumes(world);
    put_key(world, "before-the-loss", "kept").await;
    lose_two(world).await;
    let mut states = States::watch(world);
    spec(world, &json!({ "clusterRecovery": true }));
    reset(&mut states).await;
    // Only now: pods that come back before could find one another, and there would be nothing to recover.
    cordon(world, "uncordon");
    let wanted = ["RecoveryReset", "RecoveringFirstPod", "Initializing", "Running"];
    until("the states of a recovery", FORMS, || {
        let seen = states.seen().to_vec();
        async move { if in_order(&seen, &wanted) { Ok(()) } else { Err(seen) } }
    })
    .await;
    event(world, "rec", &["RecoveryStarted"]).await;
    event(world, "rec", &["RecoveryCompleted", "rladmin recover all"]).await;
    assert_eq!(volumes(world), volumes_before, "a volume was exchanged");
    databases_come_back(world).await;
    key_is(world, "before-the-loss", "kept").await;
    // The wish is noted as fulfilled, so that it is never carried out again, and then taken back; the note goes with it.
    until("the wish to be taken back", SETTLES, || async {
        let rec = world.get("rec", "rec").unwrap();
        if rec["spec"]["clusterRecovery"] == false { Ok(()) } else { Err(rec) }
    })
    .await;
    until("the note to go with the wish", SETTLES, || async {
        let board = world.get("configmap", "rec-bulletin-board").unwrap();
        if board["data"]["recovery"].is_null() { Ok(()) } else { Err(board) }
    })
    .await;
    well(world).await;
}

async fn row_87_a_cluster_recovers_by_itself_and_keeps_its_volumes(world: &World) {
    let volumes_before = volumes(world);
    put_key(world, "before-all-went", "kept").await;
    spec(world, &json!({ "autoRecovery": true }));
    let mut states = States::watch(world);
    world.kubectl(&["delete", "pods", "-l", NODES, "--wait=false"]).unwrap();
    let wanted = ["RecoveryReset", "RecoveringFirstPod", "Initializing", "Running"];
    until("a recovery that nobody asked for", FORMS, || {
        let seen = states.seen().to_vec();
        async move { if in_order(&seen, &wanted) { Ok(()) } else { Err(seen) } }
    })
    .await;
    assert_eq!(volumes(world), volumes_before, "a volume was exchanged");
    databases_come_back(world).await;
    key_is(world, "before-all-went", "kept").await;
    spec(world, &json!({ "autoRecovery": null }));
    well(world).await;
}

async fn row_88_deletion_waits_for_databases(world: &World) {
    let pods = uids(world, "pods", NODES);
    put_key(world, "before-the-deletion", "kept").await;
    world.kubectl(&["delete", "rec", "rec", "--wait=false"]).unwrap();
    world.field("rec", "rec", "/status/state", "Deleting", SETTLES).await;
    event(world, "rec", &["DeletionBlocked", "Cannot delete REC", "mydb"]).await;
    // Everything still works meanwhile.
    key_is(world, "before-the-deletion", "kept").await;
    assert_eq!(uids(world, "pods", NODES), pods);
    world.kubectl(&["delete", "redb", "mydb"]).unwrap();
    world.gone("rec", "rec").await;
    born_again(world).await;
}

async fn row_89_only_the_volumes_remain(world: &World) {
    let volumes_before = volumes(world);
    world.kubectl(&["delete", "redb", "mydb"]).unwrap();
    for (kind, name) in [("service", "mydb"), ("service", "mydb-headless"), ("secret", "redb-mydb")] {
        world.gone(kind, name).await;
    }
    world.kubectl(&["delete", "rec", "rec"]).unwrap();
    let kinds = "statefulset,deployment,service,secret,configmap,serviceaccount,role,rolebinding,pdb,pods";
    until("everything else to go", SETTLES, || async {
        let left = world.kubectl(&["get", kinds, "-l", "redis.io/cluster=rec", "-o", "name"]).unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(volumes(world), volumes_before);
    born_again(world).await;
}

/// A new cluster for the rows after this one, on new volumes.
async fn born_again(world: &World) {
    until("the pods to go", SETTLES, || async {
        let pods = uids(world, "pods", NODES);
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    })
    .await;
    world.kubectl(&["delete", "pvc", "--all"]).unwrap();
    prepare(world).await;
}

/// Every password of the cluster: of the administrator, of the database, and those that are kept.
fn passwords(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for secret in
        world.list("secrets", "redis.io/cluster=rec").unwrap().into_iter().chain(world.get("secret", "redb-mydb"))
    {
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let value = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
            let value = String::from_utf8_lossy(&value).into_owned();
            if key.contains("password") && !value.is_empty() && !found.contains(&value) {
                found.push(value);
            }
        }
    }
    assert!(found.len() >= 2, "only {} passwords were found", found.len());
    found
}

async fn row_96_no_password_in_any_output(world: &World) {
    let mut outputs = BTreeMap::new();
    let kinds = "rec,redb,pods,statefulsets,deployments,services,configmaps,events,leases,pvc,roles,ingresses";
    outputs.insert("what kubectl shows".to_owned(), world.kubectl(&["get", kinds, "-o", "yaml"]).unwrap());
    outputs.insert("kubectl describe".to_owned(), world.kubectl(&["describe", "rec,redb,pods"]).unwrap());
    let journal = stepwright(world, &["journal", "export"]).unwrap();
    assert!(journal.contains("rec"), "an empty journal");
    outputs.insert("the journal".to_owned(), journal);
    for object in ["rec/rec", "redb/mydb"] {
        outputs.insert(format!("explain {object}"), stepwright(world, &["explain", object]).unwrap());
    }
    outputs.insert("plugins list".to_owned(), stepwright(world, &["plugins", "list"]).unwrap());
    let operator = world.address(&world.operator_pod().unwrap()).unwrap();
    let (status, metrics) = http(operator, 8080, "GET", "/metrics", None, None).unwrap();
    assert_eq!(status, 200);
    outputs.insert("the operator's metrics".to_owned(), metrics);
    // Every log of every container, those of former pods too.
    let logs = world.cluster.container_log(NAMESPACE, "rec-0", OPERATOR);
    let logs = logs.parent().and_then(|pod| pod.parent()).unwrap();
    for pod in std::fs::read_dir(logs).unwrap() {
        for file in std::fs::read_dir(pod.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            outputs.insert(
                path.display().to_string(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
            );
        }
    }
    assert!(outputs.keys().any(|name| name.contains(OPERATOR)) && outputs.len() > 8, "{:?}", outputs.keys());
    for password in passwords(world) {
        for (name, text) in &outputs {
            assert!(!text.is_empty(), "{name} is empty");
            for form in [password.clone(), BASE64_STANDARD.encode(&password)] {
                let start = text.find(&form);
                assert!(
                    start.is_none(),
                    "{name} shows a password: {:?}",
                    start.map(|at| &text[at.saturating_sub(200)..at])
                );
            }
        }
    }
}
