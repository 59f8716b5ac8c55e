//! Row 90: who takes part. Clusters are taken out and added, lost for good, in another namespace, in another Kubernetes cluster.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_dev_cluster::repository;
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, SETTLES, World};

use crate::database::{agreed, database, gone, made, participants, routed, settled};
use crate::sides::{ELSEWHERE, OTHER, Side, acquainted, begin, both, message, proxy, proxy_elsewhere, running};

pub(crate) async fn row_90_a_cluster_is_taken_out_and_added_again(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90-out";
    made(&sides, name).await;
    one.says(name, "", &["SET", "before", "1"], "OK").await;
    two.says(name, "", &["GET", "before"], "1").await;

    // Taken out: there the database goes, and its resource; here it stays, with its data.
    take_part(one, name, &[one]);
    gone(&[two], name).await;
    agreed(&[one], name).await;
    let status = one.get("reaadb", name).unwrap()["status"].clone();
    let left: Vec<&Value> = status["participatingClusters"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(left, ["one"], "{status}");
    one.says(name, "", &["SET", "alone", "2"], "OK").await;

    // Added again: a new copy has everything.
    take_part(one, name, &sides);
    routed(&sides, name).await;
    settled(&sides, name).await;
    two.says(name, "", &["MGET", "before", "alone"], "1\n2").await;

    one.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    proxy().lock().await.look(world).await;
}

pub(crate) async fn row_90_on_two_control_planes(world: &World) {
    let elsewhere = World::start().await.unwrap();
    let one = both(world)[0];
    let far = Side { world: &elsewhere, name: "far", namespace: NAMESPACE, rec: "rec-far", domain: ELSEWHERE };
    let sides = [one, far];
    begin(far).await;
    running(far).await;
    proxy_elsewhere().lock().await.look(&elsewhere).await;
    acquainted(&sides).await;

    let name = "row90-far";
    made(&sides, name).await;
    one.says(name, "", &["SET", "from-one", "1"], "OK").await;
    far.says(name, "", &["GET", "from-one"], "1").await;
    far.says(name, "", &["SET", "from-far", "2"], "OK").await;
    one.says(name, "", &["GET", "from-far"], "2").await;
    far.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": "200MB"}}}));
    until("the change on the other control plane", SETTLES, || async {
        let size = one.get("reaadb", name)?["spec"]["globalConfigurations"]["memorySize"].clone();
        let bytes = one.bdb(name)?["memory_size"].clone();
        ensure!(size == "200MB" && bytes == 209_715_200, "{size} {bytes}");
        anyhow::Ok(())
    })
    .await;

    far.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    one.kubectl(&["delete", "rerc", "far", "--timeout=180s"]).unwrap();
    one.kubectl(&["delete", "secret", "redis-enterprise-far"]).unwrap();
    proxy().lock().await.look(world).await;
    proxy_elsewhere().lock().await.stop();
    elsewhere.cluster.stop().await.unwrap();
}

fn take_part(of: Side<'_>, name: &str, sides: &[Side<'_>]) {
    of.patch("reaadb", name, &json!({"spec": {"participatingClusters": participants(sides)}}));
}

pub(crate) async fn row_90_one_that_is_lost_for_good_is_removed_unasked(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    let name = "row90-lost";
    made(&sides, name).await;
    one.says(name, "", &["SET", "before", "1"], "OK").await;

    // Nobody can ask it, so that taking it out does not come about; the resource says why.
    proxy().lock().await.stop();
    take_part(one, name, &[one]);
    until("the removal to fail for want of the other cluster", SETTLES, || async {
        let database = one.get("reaadb", name)?;
        let told = message(&database);
        let names = told.contains("removing two")
            && told.contains("failed")
            && told.contains("app.redislabs.com/force-remove=two");
        ensure!(names && database["status"]["status"] == "error", "{}", database["status"]);
        anyhow::Ok(())
    })
    .await;
    one.kubectl(&["annotate", "reaadb", name, "app.redislabs.com/force-remove=two"]).unwrap();
    until("the lost cluster to be out", SETTLES, || async {
        let database = one.get("reaadb", name)?;
        let left: Vec<&Value> = database["status"]["participatingClusters"].as_array().into_iter().flatten().collect();
        ensure!(left.len() == 1 && database["status"]["status"] == "active", "{}", database["status"]);
        anyhow::Ok(())
    })
    .await;
    one.says(name, "", &["SET", "alone", "2"], "OK").await;

    // It comes back after all. What it still has goes with its resource, and nobody else is asked for that.
    proxy().lock().await.look(world).await;
    two.bdb(name).unwrap();
    two.kubectl(&["annotate", "reaadb", name, "app.redislabs.com/force-remove=one"]).unwrap();
    two.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&[two], name).await;
    agreed(&[one], name).await;
    one.says(name, "", &["MGET", "before", "alone"], "1\n2").await;

    one.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&sides, name).await;
    proxy().lock().await.look(world).await;
}

/// The rights of an operator in another namespace, and its word that databases there are its own.
fn listed(side: Side<'_>, guest: &str) {
    let rights = std::fs::read_to_string(repository().join("deploy/consumer-namespace.yaml")).unwrap();
    let rights = rights.replace(&format!("namespace: {NAMESPACE}}}"), &format!("namespace: {}}}", side.namespace));
    side.world.kubectl_with_input(&["apply", "-n", guest, "-f", "-"], &rights).unwrap();
    side.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "operator-environment-config"}, "data": {"REDB_NAMESPACES": guest}}));
}

pub(crate) async fn row_90_a_copy_in_another_namespace(world: &World) {
    let [one, two] = both(world);
    let (name, guest) = ("row90-guest", "apps");
    world.kubectl(&["create", "namespace", guest]).unwrap();
    listed(two, guest);
    let there = Side { namespace: guest, ..two };
    one.apply(&database(&[one, there], name, json!({"memorySize": "100MB", "tlsMode": "enabled"})));
    // What leads to the copies is beside the clusters; the resource is where the participant says.
    routed(&[one, two], name).await;
    settled(&[one, there], name).await;
    assert!(two.get("reaadb", name).is_err());
    let port = two.bdb(name).unwrap()["endpoints"][0]["port"].clone();
    let service = there.get("service", name).unwrap();
    assert_eq!(service["spec"]["externalName"], format!("{name}.{OTHER}.svc.cluster.local"));
    assert_eq!(service["spec"]["ports"][0]["port"], port);
    one.says(name, "", &["SET", "from-one", "1"], "OK").await;
    two.says(name, "", &["GET", "from-one"], "1").await;
    // It is heard like any other.
    there.patch("reaadb", name, &json!({"spec": {"globalConfigurations": {"memorySize": "200MB"}}}));
    until("the change on the other cluster", SETTLES, || async {
        let bytes = one.bdb(name)?["memory_size"].clone();
        ensure!(bytes == 209_715_200, "{bytes}");
        anyhow::Ok(())
    })
    .await;
    agreed(&[one, there], name).await;

    there.kubectl(&["delete", "reaadb", name, "--timeout=180s"]).unwrap();
    gone(&[one, two], name).await;
    until("the Service beside the resource to go", SETTLES, || async {
        match there.get("service", name) {
            Err(error) if error.to_string().contains("NotFound") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .await;
    two.kubectl(&["delete", "configmap", "operator-environment-config"]).unwrap();
    world.kubectl(&["delete", "namespace", guest, "--timeout=180s"]).unwrap();
    proxy().lock().await.look(world).await;
}
