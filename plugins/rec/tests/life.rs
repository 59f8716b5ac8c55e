//! What happens to a cluster that exists: new templates for its pods, fewer nodes, the loss of its quorum.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod world;

use serde_json::{Value, json};
use stepwright_sdk::Failure;
use stepwright_sdk::testing::readable;
use world::{World, answers, ip, says, statefulset};

fn set(world: &World) -> Value {
    let plan = world.plan();
    let set = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "apps/v1 StatefulSet ns/rec");
    set.map_or(Value::Null, |set| set["body"]["spec"].clone())
}

fn partition(world: &World) -> u64 {
    set(world)["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap()
}

fn waits(world: &World) -> String {
    world.plan()["progress"]["waiting"].as_str().unwrap_or_default().to_owned()
}

fn events(world: &World) -> String {
    world.plan()["events"].to_string()
}

fn bdb(status: &str) -> (String, Value) {
    ("bdbs".to_owned(), json!([{ "uid": 1, "name": "mydb", "status": status }]))
}

/// A running cluster whose pods have these revisions; `b` is the newest.
fn rolling(revisions: [&str; 3]) -> World {
    let mut world = World::running();
    let mut set = statefulset(3);
    set["spec"]["replicas"] = json!(3);
    set["status"]["updateRevision"] = json!("b");
    world.statefulset = Some(set);
    world.revisions = revisions.map(str::to_owned).to_vec();
    world.facts.push(bdb("active"));
    world
}

/// The node of this ordinal is not active any more.
fn down(world: &mut World, ordinal: usize) {
    for (name, fact) in &mut world.facts {
        match name.as_str() {
            "nodes" => fact[ordinal]["status"] = json!("down"),
            "nodes-status" => fact[(ordinal + 1).to_string()]["node_status"] = json!("down"),
            _ => {}
        }
    }
}

#[test]
fn at_rest_no_template_replaces_a_pod() {
    assert_eq!(partition(&World::running()), 3);
    assert_eq!(partition(&World::default()), 3);
}

/// The node of this ordinal was put into maintenance by this step, and has this many masters left.
fn drained(mut world: World, ordinal: usize, masters: usize) -> World {
    world.configmaps = vec![board(&json!({ "drained": format!("rec-{ordinal}") }))];
    for (name, fact) in &mut world.facts {
        if name == "nodes-status" {
            let status = &mut fact[(ordinal + 1).to_string()];
            status["maintenance_snapshot"] = json!({ "name": "maintenance_mode" });
            status["master_shards"] = json!((0..masters).collect::<Vec<_>>());
        }
    }
    master(world, if ordinal == 2 { 0 } else { 2 })
}

/// The cluster's master is the node of this ordinal.
fn master(mut world: World, ordinal: usize) -> World {
    for (name, fact) in &mut world.facts {
        if name == "nodes-status" {
            for other in 0..3 {
                let role = if other == ordinal { "master" } else { "slave" };
                fact[(other + 1).to_string()]["role"] = json!(role);
            }
        }
    }
    world
}

fn board(data: &Value) -> Value {
    json!({ "kind": "ConfigMap", "metadata": { "name": "rec-bulletin-board" }, "data": data })
}

/// What the plan keeps on the board under a key.
fn noted(world: &World, key: &str) -> Value {
    let plan = world.plan();
    let boards = plan["desired"].as_array().unwrap().iter().find(|it| it["id"] == "v1 ConfigMap ns/rec-bulletin-board");
    boards.unwrap()["body"]["data"][key].clone()
}

#[test]
fn pods_are_replaced_from_the_highest_one_by_one() {
    assert_eq!(partition(&drained(rolling(["a", "a", "a"]), 2, 0)), 2);
    assert_eq!(partition(&drained(rolling(["a", "a", "b"]), 1, 0)), 1);
    assert_eq!(partition(&drained(rolling(["a", "b", "b"]), 0, 0)), 0);
    let world = drained(rolling(["a", "a", "b"]), 1, 0);
    assert_eq!(world.state(), "RunningRollingUpdate");
    assert_eq!(waits(&world), "rec-1 is being replaced");
}

#[test]
fn a_node_is_emptied_before_its_pod_goes_and_serves_again_after() {
    // First the cluster's mastership, to a node whose pod is replaced already.
    let world = master(rolling(["a", "a", "b"]), 1);
    assert_eq!(partition(&world), 2);
    assert_eq!(world.requests(), ["POST /v1/cluster/actions/change_master to -"]);
    assert_eq!(world.plan()["calls"][0]["body"], json!({ "node_uid": "3" }));

    let mut world = master(rolling(["a", "a", "b"]), 2);
    assert_eq!(partition(&world), 2);
    assert_eq!(world.requests(), ["POST /v1/nodes/2/actions/maintenance_on to -"]);
    assert_eq!(noted(&world, "drained"), "rec-1");
    // The answer says that it has begun; the next pass, that masters are left; then the pod may go.
    world.round = 1;
    world.replies = vec![("drain 2".into(), 200, json!({ "status": "queued" }))];
    assert_eq!((partition(&world), noted(&world, "drained")), (2, json!("rec-1")));
    let world = drained(rolling(["a", "a", "b"]), 1, 2);
    assert_eq!(partition(&world), 2);
    assert_eq!(world.requests(), ["GET /v1/nodes/2/actions/maintenance_on to -"]);
    assert!(waits(&world).contains("2 master shards are to move"), "{}", waits(&world));
    assert_eq!(partition(&drained(rolling(["a", "a", "b"]), 1, 0)), 1);

    // But not while Kubernetes still leads clients to it.
    let mut world = drained(rolling(["a", "a", "b"]), 1, 0);
    world.labels = vec![("rec-1".into(), "redis.io/bdb-1".into())];
    world.facts.retain(|(name, _)| name != "bdbs");
    let served =
        |at: u32| json!([{ "uid": 1, "name": "mydb", "status": "active", "endpoints": [{ "addr": [ip(at)] }] }]);
    world.facts.push(("bdbs".into(), served(0)));
    assert_eq!(partition(&world), 2);
    assert!(waits(&world).contains("clients of database `mydb`"), "{}", waits(&world));
    world.facts.push(("bdbs".into(), served(1)));
    assert_eq!(partition(&world), 1, "every node serves it");

    // Its pod is replaced: not before it is back does it serve again, and not before that does the next one go.
    let world = drained(rolling(["a", "b", "b"]), 1, 0);
    assert_eq!(partition(&world), 1);
    assert_eq!(world.requests(), ["POST /v1/nodes/2/actions/maintenance_off to -"]);
    let mut world = drained(rolling(["a", "b", "b"]), 1, 0);
    down(&mut world, 1);
    assert_eq!((partition(&world), world.requests()), (1, vec![]));
    assert_eq!(noted(&world, "drained"), "rec-1");
    // It serves again: the next one is emptied, too, before its pod goes.
    let mut world = master(rolling(["a", "b", "b"]), 2);
    world.configmaps = vec![board(&json!({ "drained": "rec-1" }))];
    assert_eq!(partition(&world), 1);
    assert_eq!(world.requests(), ["POST /v1/nodes/1/actions/maintenance_on to -"]);
    assert_eq!(noted(&world, "drained"), "rec-0");
    // What a user put into maintenance is left there.
    let mut world = drained(World::running(), 1, 0);
    world.facts.push(bdb("active"));
    world.configmaps.clear();
    assert_eq!(world.requests(), [""; 0]);
    assert_eq!(world.state(), "Running");
}

#[test]
fn a_node_that_cannot_be_emptied_is_replaced_all_the_same_and_that_is_told() {
    let mut world = master(rolling(["a", "a", "b"]), 2);
    world.round = 1;
    world.replies = vec![("drain 2".into(), 406, json!({ "error_code": "insufficient_resources" }))];
    assert_eq!(noted(&world, "drained"), "rec-1 as it is");
    assert!(events(&world).contains("NodeNotEmptied: rec-1 could not be emptied"), "{}", events(&world));
    let mut world = master(rolling(["a", "a", "b"]), 2);
    world.configmaps = vec![board(&json!({ "drained": "rec-1 as it is" }))];
    assert_eq!((partition(&world), world.requests()), (1, vec![]));
    assert_eq!(noted(&world, "drained"), "rec-1 as it is");
    // It began and failed.
    let mut world = master(rolling(["a", "a", "b"]), 2);
    world.configmaps = vec![board(&json!({ "drained": "rec-1" }))];
    world.round = 1;
    world.replies = vec![("drain-of 2".into(), 200, json!({ "status": "failed", "error": "insufficient_resources" }))];
    assert_eq!(noted(&world, "drained"), "rec-1 as it is");
}

#[test]
fn the_next_pod_waits_until_every_other_node_is_active() {
    let mut world = rolling(["a", "a", "b"]);
    down(&mut world, 2);
    assert_eq!(partition(&world), 2);
    assert_eq!(waits(&world), "rec-1 is to be replaced once rec-2 is active");
    let mut world = rolling(["a", "a", "b"]);
    world.facts.push(bdb("active-change-pending"));
    assert_eq!(partition(&world), 2);
    assert!(waits(&world).contains("database `mydb` is active (it is active-change-pending)"));
    let mut world = rolling(["a", "a", "b"]);
    world.facts.retain(|(name, _)| name != "bdbs");
    assert_eq!(partition(&world), 2, "what is not known is not risked");
}

#[test]
fn a_pod_whose_node_is_down_anyway_may_be_replaced() {
    let mut world = rolling(["a", "a", "c"]);
    down(&mut world, 2);
    assert_eq!(partition(&world), 2);
    let mut world = rolling(["a", "a", "a"]);
    down(&mut world, 0);
    assert_eq!(partition(&world), 3, "but no other one");
}

#[test]
fn a_replaced_pod_that_does_not_start_is_told_and_holds_up_the_others() {
    let mut world = rolling(["a", "a", "b"]);
    down(&mut world, 2);
    world.stuck = vec![String::new(), String::new(), "ImagePullBackOff".into()];
    assert_eq!(partition(&world), 2);
    assert_eq!(waits(&world), "rec-2 does not start: ImagePullBackOff");
    assert!(events(&world).contains("Warning RolloutStuck: rec-2 does not start: ImagePullBackOff"));
}

#[test]
fn a_change_of_version_is_an_upgrade_and_a_refused_one_says_so() {
    let mut world = rolling(["a", "a", "b"]);
    world.upgrade = json!({ "upgrading": true });
    assert_eq!(world.state(), "Upgrade");
    let mut world = World::running();
    world.upgrade = json!({ "refused": "8.0 is older than 8.2" });
    assert_eq!(world.state(), "InvalidUpgrade");
    assert_eq!(waits(&world), "8.0 is older than 8.2");
}

#[test]
fn a_cluster_that_never_formed_gets_new_pods_all_at_once() {
    let mut world = World::pods_up();
    let mut set = statefulset(0);
    set["status"]["updateRevision"] = json!("b");
    world.statefulset = Some(set);
    world.revisions = ["a", "a", "a"].map(str::to_owned).to_vec();
    world.stuck = vec!["ErrImagePull".into(); 3];
    for pod in &mut world.pods {
        pod.1 = None;
    }
    assert_eq!(world.state(), "ClusterRecreating");
    assert_eq!(self::set(&world), Value::Null, "the StatefulSet goes, and its pods with it");
    world.status["state"] = json!("ClusterRecreating");
    world.statefulset = None;
    assert_eq!(self::set(&world), Value::Null, "as long as pods are there");
    world.pods.clear();
    assert_eq!(self::set(&world)["replicas"], 3);
}

/// Five nodes run and three are wanted.
fn shrinking() -> World {
    let mut world = World::running();
    world.spec = json!({ "nodes": 3, "allowScaleDown": true });
    for ordinal in 3..5 {
        world.pods.push((format!("rec-{ordinal}"), Some(ip(ordinal)), says("completed")));
    }
    world.facts = answers(0..5);
    world.facts.push(bdb("active"));
    let mut set = statefulset(5);
    set["spec"]["replicas"] = json!(5);
    world.statefulset = Some(set);
    world
}

#[test]
fn without_consent_no_node_goes() {
    let mut world = shrinking();
    world.spec = json!({ "nodes": 3 });
    let Err(Failure::Invalid(violations)) = world.run() else { panic!("must be refused") };
    assert!(violations[0].message.contains("spec.allowScaleDown"), "{violations:?}");
}

#[test]
fn the_highest_node_is_removed_first_and_its_pod_goes_last() {
    let mut world = shrinking();
    assert_eq!(set(&world)["replicas"], 5);
    assert_eq!(world.requests(), ["GET /v1/nodes/5/actions/remove to -"]);
    world.round = 1;
    world.replies = vec![("removal-of 5".into(), 404, json!({ "error_code": "action_not_found" }))];
    assert_eq!(world.requests(), ["POST /v1/nodes/5/actions/remove to -"]);
    assert_eq!(world.plan()["calls"][0]["body"], json!({ "wait_for_persistence": true }));

    let mut world = shrinking();
    for (name, fact) in &mut world.facts {
        match name.as_str() {
            "nodes" => fact[4]["status"] = json!("decommissioning"),
            "nodes-status" => fact["5"]["node_status"] = json!("decommissioning"),
            _ => {}
        }
    }
    assert_eq!(world.requests(), [""; 0]);
    assert_eq!(waits(&world), "rec-4 is leaving the cluster: its shards move to other nodes");

    let mut world = shrinking();
    world.facts = answers(0..4);
    world.facts.push(bdb("active"));
    let spec = set(&world);
    assert_eq!(spec["replicas"], 4);
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"], "Delete");
    world.facts = answers(0..3);
    world.facts.push(bdb("active"));
    assert_eq!(set(&world)["replicas"], 3);
    let policy = |world: &World| set(world)["persistentVolumeClaimRetentionPolicy"]["whenScaled"].clone();
    assert_eq!(policy(&World::running()), "Retain");

    // Until the last of them is gone; a claim of nobody is no reason.
    let mut after = World::running();
    after.spec = json!({ "nodes": 3, "allowScaleDown": true });
    assert_eq!(policy(&after), "Retain");
    let claim = |owners: Value| {
        let metadata = json!({ "name": "redis-enterprise-storage-rec-4", "ownerReferences": owners });
        json!({ "kind": "PersistentVolumeClaim", "metadata": metadata, "status": { "phase": "Bound" } })
    };
    after.sized_claims = vec![claim(json!([]))];
    assert_eq!(policy(&after), "Retain");
    after.sized_claims = vec![claim(json!([{ "kind": "Pod", "name": "rec-4" }]))];
    assert_eq!(policy(&after), "Delete");
    after.pods.push(("rec-4".into(), None, says("idle")));
    after.sized_claims.clear();
    assert_eq!(policy(&after), "Delete");
}

#[test]
fn a_master_hands_over_before_it_leaves() {
    let mut world = shrinking();
    for (name, fact) in &mut world.facts {
        if name == "nodes-status" {
            fact["1"]["role"] = json!("slave");
            fact["5"]["role"] = json!("master");
        }
    }
    assert_eq!(world.requests(), ["POST /v1/cluster/actions/change_master to -"]);
    assert_eq!(world.plan()["calls"][0]["body"], json!({ "node_uid": "1" }));
}

#[test]
fn a_doubt_stops_the_removal() {
    let mut world = shrinking();
    down(&mut world, 1);
    assert_eq!(world.requests(), [""; 0]);
    let mut world = shrinking();
    world.facts.push(bdb("active-change-pending"));
    assert_eq!(world.requests(), [""; 0]);
    assert!(waits(&world).contains("rec-4 is to leave the cluster once database `mydb` is active"));
    let mut world = shrinking();
    for (name, fact) in &mut world.facts {
        if name == "nodes-status" {
            fact["5"]["total_provisional_ram"] = json!(4000);
        }
    }
    assert_eq!(world.requests(), [""; 0]);
    assert!(events(&world).contains("ScaleDownBlocked: rec-4 cannot leave the cluster: its shards take 4000 bytes"));
    let mut world = shrinking();
    world.round = 1;
    let failed = json!({ "name": "remove_node", "status": "failed", "error": "insufficient_resources" });
    world.replies = vec![("removal-of 5".into(), 200, failed)];
    assert_eq!(world.requests(), [""; 0]);
    assert!(events(&world).contains("rec-4 could not leave the cluster: insufficient_resources"));
}

#[test]
fn a_removal_that_failed_is_tried_again_after_a_pause() {
    let failed = json!({ "name": "remove_node", "status": "failed", "error": "insufficient_resources" });
    let at = |now: &str, note: &str, replies: &[(&str, u16, &Value)]| {
        let mut world = shrinking();
        world.now = now.to_owned();
        if !note.is_empty() {
            world.configmaps = vec![board(&json!({ "removal": note }))];
        }
        world.round = u32::from(!replies.is_empty());
        world.replies = replies.iter().map(|(id, status, body)| ((*id).to_owned(), *status, (*body).clone())).collect();
        world
    };
    let none = json!({});
    // Told once, and not touched until the pause is over, however often it is looked at.
    let world = at("2026-01-01T00:00:00Z", "", &[("removal-of 5", 200, &failed)]);
    assert!(events(&world).contains("Warning ScaleDownBlocked"));
    assert_eq!((world.requests(), noted(&world, "removal")), (vec![], json!("5 2026-01-01T00:00:00Z failed")));
    let note = "5 2026-01-01T00:00:00Z failed";
    let world = at("2026-01-01T00:00:05Z", note, &[("removal-of 5", 200, &failed)]);
    assert_eq!((events(&world).contains("ScaleDownBlocked"), noted(&world, "removal")), (false, json!(note)));
    assert!(waits(&world).contains("it is tried again every 60 seconds"), "{}", waits(&world));
    let world = at("2026-01-01T00:00:59Z", note, &[]);
    assert_eq!(world.requests(), ["GET /v1/nodes/5/actions/remove to -"]);
    // What is kept of the attempt is cleared, and the next one begins in the same pass.
    let world = at("2026-01-01T00:01:00Z", note, &[]);
    assert_eq!(
        (world.requests(), noted(&world, "removal")),
        (vec!["DELETE /v1/nodes/5/actions/remove to -".to_owned()], json!(note))
    );
    for status in [200, 404] {
        let world = at("2026-01-01T00:01:00Z", note, &[("clear-removal 5", status, &none)]);
        assert_eq!(world.requests(), ["POST /v1/nodes/5/actions/remove to -"]);
        assert_eq!(noted(&world, "removal"), "5 2026-01-01T00:01:00Z again");
        assert!(!events(&world).contains("ScaleDownBlocked"));
    }
    let world = at("2026-01-01T00:01:00Z", note, &[("clear-removal 5", 500, &none)]);
    assert_eq!(world.requests(), [""; 0]);
    // It fails as before: no news. What was cleared by hand is tried at once; another node begins anew.
    let world = at("2026-01-01T00:01:05Z", "5 2026-01-01T00:01:00Z again", &[("removal-of 5", 200, &failed)]);
    assert_eq!(
        (events(&world).contains("ScaleDownBlocked"), noted(&world, "removal")),
        (false, json!("5 2026-01-01T00:01:00Z failed"))
    );
    let world = at("2026-01-01T00:00:10Z", note, &[("removal-of 5", 404, &none)]);
    assert_eq!(world.requests(), ["POST /v1/nodes/5/actions/remove to -"]);
    let world = at("2026-01-01T00:00:10Z", "4 2026-01-01T00:00:00Z failed", &[("removal-of 5", 200, &failed)]);
    assert!(events(&world).contains("ScaleDownBlocked"));
    // It is kept while the cluster does not answer, and goes with the node.
    let mut world = at("2026-01-01T00:00:10Z", note, &[]);
    world.facts.clear();
    assert_eq!(noted(&world, "removal"), note);
    let mut world = World::running();
    world.configmaps = vec![board(&json!({ "removal": note }))];
    assert_eq!(noted(&world, "removal"), Value::Null);
}

#[test]
fn while_members_are_not_known_no_pod_is_taken_away() {
    let mut world = shrinking();
    world.facts.clear();
    world.pods.truncate(3);
    assert_eq!(set(&world)["replicas"], 5);
}

/// Two of three nodes are gone for good.
fn lost() -> World {
    let mut world = World::running();
    world.statefulset = Some(statefulset(1));
    world.facts.clear();
    for ordinal in 1..3 {
        world.says(ordinal, json!({ "error": "connection refused" }));
    }
    world
}

#[test]
fn a_master_that_goes_with_its_pod_is_no_lost_quorum() {
    let mut world = rolling(["a", "b", "b"]);
    world.facts.clear();
    for ordinal in 0..3 {
        world.says(ordinal, json!({ "error": "503 no_quorum" }));
    }
    world.statefulset.as_mut().unwrap()["status"]["readyReplicas"] = json!(2);
    assert_eq!(world.state(), "RunningRollingUpdate");
    assert!(!events(&world).contains("QuorumLost"));
    world.statefulset.as_mut().unwrap()["status"]["readyReplicas"] = json!(1);
    assert_eq!(world.state(), "Error");
    assert!(events(&world).contains("QuorumLost"));
}

#[test]
fn a_lost_quorum_is_told_with_the_command_that_helps() {
    let world = lost();
    assert_eq!(world.state(), "Error");
    let command = r#"kubectl -n ns patch rec rec --type merge -p '{"spec":{"clusterRecovery":true}}'"#;
    assert!(waits(&world).ends_with(command), "{}", waits(&world));
    assert_eq!(readable(&world.run().unwrap())["progress"]["word"], "QuorumLost");
    assert!(events(&world).contains("Warning QuorumLost"));
    let mut again = lost();
    again.status["state"] = json!("Error");
    again.configmaps = vec![board(&json!({ "quorum": noted(&world, "quorum") }))];
    assert!(!events(&again).contains("QuorumLost"), "told once");
}

#[test]
fn nodes_that_do_not_reach_one_another_are_no_reason_to_recover() {
    let mut world = World::running();
    world.facts.clear();
    world.unknown = Some("GET /v1/nodes: HTTP status 503, no_quorum: the cluster has no quorum".into());
    world.statefulset.as_mut().unwrap()["status"]["readyReplicas"] = json!(3);
    assert!(!events(&world).contains("QuorumLost"), "they may be electing a master");
    world.status["state"] = json!("Error");
    world.statefulset.as_mut().unwrap()["status"]["readyReplicas"] = json!(0);
    assert!(waits(&world).contains("look at the network between the pods"), "{}", waits(&world));
    assert!(events(&world).contains("Warning QuorumLost"));
}

#[test]
fn what_a_proxy_answers_is_no_reason_to_recover() {
    let mut world = World::running();
    world.facts.clear();
    let said = "HTTP status 502, <html><h1>502 Bad Gateway</h1></html>";
    world.unknown = Some(format!("GET /v1/nodes: {said}"));
    for ordinal in 0..3 {
        world.says(ordinal, json!({ "error": said }));
    }
    world.statefulset.as_mut().unwrap()["status"]["readyReplicas"] = json!(0);
    assert_eq!(world.state(), "Error");
    assert!(waits(&world).contains("502 Bad Gateway") && waits(&world).contains("port 9443"), "{}", waits(&world));
    assert!(!waits(&world).contains("clusterRecovery") && !events(&world).contains("QuorumLost"));
}

#[test]
fn a_majority_that_is_lost_in_two_steps_is_lost_all_the_same() {
    let mut world = lost();
    world.status["state"] = json!("Initializing");
    assert_eq!(world.state(), "Initializing", "a cluster that never had a majority is only beginning");
    world.configmaps = vec![board(&json!({ "newest": "rec-0,rec-1" }))];
    assert_eq!(world.state(), "Error");
    assert!(events(&world).contains("Warning QuorumLost"));
}

#[test]
fn a_recovery_that_has_restored_the_configuration_resets_nothing_any_more() {
    let mut world = World::running();
    world.spec["clusterRecovery"] = json!(true);
    world.status["state"] = json!("Initializing");
    down(&mut world, 2);
    assert_eq!(noted(&world, "recovery"), "rejoining");
    // The cluster does not answer for a moment, as when it elects a master.
    let mut world = lost();
    world.spec["clusterRecovery"] = json!(true);
    world.status["state"] = json!("Initializing");
    world.configmaps = vec![board(&json!({ "newest": "rec-0,rec-1,rec-2", "recovery": "rejoining" }))];
    assert_eq!((world.state().as_str(), noted(&world, "recovery")), ("Initializing", json!("rejoining")));
    world.spec["clusterRecovery"] = json!(false);
    assert_eq!(noted(&world, "recovery"), Value::Null, "a wish that is taken back may be made again");
}

#[test]
fn recovery_resets_then_restores_the_first_then_joins_the_others() {
    let mut world = lost();
    world.status["state"] = json!("Error");
    world.spec["clusterRecovery"] = json!(true);
    assert_eq!(world.state(), "RecoveryReset");
    assert_eq!(set(&world), Value::Null);
    assert!(events(&world).contains("RecoveryStarted"));

    world.status["state"] = json!("RecoveryReset");
    world.statefulset = None;
    assert_eq!(set(&world), Value::Null, "pods are still there");
    world.pods.clear();
    assert_eq!(world.state(), "RecoveringFirstPod");
    assert_eq!(set(&world)["replicas"], 3);

    let mut world = lost();
    world.spec["clusterRecovery"] = json!(true);
    world.status["state"] = json!("RecoveringFirstPod");
    for ordinal in 0..3 {
        world.says(ordinal, says("joining_cluster"));
    }
    let plan = world.plan();
    assert_eq!(plan["calls"][0]["request"], "POST /v1/bootstrap/recover_cluster to rec-0");
    assert_eq!(plan["calls"][0]["body"]["recovery_filename"], "/opt/persistent/ccs/ccs-redis.rdb");

    // Whose configuration is the newest was noted while the cluster answered.
    world.configmaps = vec![board(&json!({ "newest": "rec-1,rec-0" }))];
    assert_eq!(world.requests(), ["POST /v1/bootstrap/recover_cluster to rec-1"]);
    assert_eq!(noted(&world, "newest"), "rec-1,rec-0", "it is not forgotten on the way");
    // It is waited for; one that cannot is followed by the next; two never restore at a time.
    world.says(1, json!({ "error": "connection refused" }));
    assert_eq!(world.requests(), [""; 0]);
    assert!(waits(&world).contains("rec-1 does not answer"), "{}", waits(&world));
    let failed = json!({ "bootstrap_status": { "state": "error", "error_code": "path_error", "error_details": { "message": "gone" } } });
    world.says(1, failed.clone());
    assert_eq!(world.requests(), ["POST /v1/bootstrap/recover_cluster to rec-0"]);
    world.says(0, says("recovering_cluster"));
    assert_eq!(world.requests(), [""; 0]);
    for ordinal in 0..3 {
        world.says(ordinal, failed.clone());
    }
    assert_eq!(world.requests(), [""; 0]);
    assert!(waits(&world).contains("rec-2: path_error gone"), "{}", waits(&world));
    world.configmaps.clear();
    for ordinal in 1..3 {
        world.says(ordinal, says("joining_cluster"));
    }

    world.says(0, says("completed"));
    world.facts = answers(0..3);
    down(&mut world, 1);
    down(&mut world, 2);
    assert_eq!(noted(&world, "newest"), Value::Null, "a minority says nothing of the newest");
    let join = world.plan()["calls"][0].clone();
    assert_eq!(join["request"], "POST /v1/bootstrap/join_cluster to rec-1");
    assert_eq!(join["body"]["node"]["identity"]["uid"], 2, "as its former self");
}

#[test]
fn a_node_that_became_a_member_meanwhile_is_no_failure() {
    let mut world = World::formed(2);
    world.round = 1;
    world.replies = vec![("rec-2".into(), 401, json!("<html>401</html>"))];
    assert!(!events(&world).contains("BootstrapFailed"));
    world.replies = vec![("rec-2".into(), 500, json!(""))];
    assert!(events(&world).contains("BootstrapFailed"));
}

#[test]
fn a_recovery_happens_once_for_each_wish() {
    let mut world = World::running();
    world.spec["clusterRecovery"] = json!(true);
    world.status["state"] = json!("Initializing");
    let plan = world.plan();
    assert_eq!(plan["status"]["state"], "Running");
    assert!(plan["events"].to_string().contains("RecoveryCompleted"));
    assert!(plan["desired"].to_string().contains(r#""recovery":"done""#));
    // Also where the same plan asks the cluster for something: what is on the board by then is not told any more.
    world.spec["slaveHA"] = json!({ "slaveHAGracePeriod": 1234 });
    world.facts.push(("policy".into(), json!({ "slave_ha_grace_period": 900, "rack_aware": false })));
    assert_ne!(world.requests(), [""; 0]);
    assert!(events(&world).contains("RecoveryCompleted"));

    let done =
        json!({ "kind": "ConfigMap", "metadata": { "name": "rec-bulletin-board" }, "data": { "recovery": "done" } });
    let mut world = lost();
    world.status["state"] = json!("Error");
    world.spec["clusterRecovery"] = json!(true);
    world.configmaps = vec![done.clone()];
    assert_eq!(world.state(), "Error", "the wish was fulfilled before");
    assert_eq!(world.plan()["defaults"], json!({ "clusterRecovery": false }), "it is taken back");
    world.spec["clusterRecovery"] = json!(false);
    assert!(!world.plan()["desired"].to_string().contains(r#""recovery":"done""#), "taken back, it may be made again");
    assert_eq!(world.plan()["defaults"], Value::Null);
}

#[test]
fn the_wish_for_a_recovery_is_taken_back_once_its_end_is_noted() {
    let mut world = World::running();
    world.spec["clusterRecovery"] = json!(true);
    world.status["state"] = json!("Initializing");
    let ends = world.plan();
    assert!(ends["events"].to_string().contains("RecoveryCompleted"));
    assert_eq!(ends["defaults"], Value::Null, "first the note, then the wish");
    world.status["state"] = json!("Running");
    world.configmaps = vec![board(&json!({ "recovery": "done" }))];
    insta::assert_yaml_snapshot!(world.answer());
}

#[test]
fn recovery_is_refused_without_volumes_and_while_a_majority_lives() {
    let mut world = World::running();
    world.spec["clusterRecovery"] = json!(true);
    assert_eq!(world.state(), "Running", "there is nothing to recover");
    world.facts.clear();
    world.status["state"] = json!("Error");
    assert_eq!(world.state(), "Error");
    assert!(events(&world).contains("RecoveryBlocked"));
}

#[test]
fn it_recovers_by_itself_only_if_allowed_and_nobody_serves() {
    let mut world = lost();
    world.status["state"] = json!("Error");
    world.spec["autoRecovery"] = json!(true);
    assert_eq!(world.state(), "Error", "one member may still serve");
    for ordinal in 0..3 {
        world.says(ordinal, says("joining_cluster"));
    }
    assert_eq!(world.state(), "RecoveryReset");
    world.spec["autoRecovery"] = json!(false);
    assert_eq!(world.state(), "Error");
}
