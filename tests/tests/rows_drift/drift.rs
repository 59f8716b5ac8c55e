//! What somebody changes or deletes behind the operator's back (reference, 3.4).

use serde_json::{Value, json};
use stepwright_tests::children::content;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};

use crate::steady::{Steady, answers, at_rest};

/// Waits for an Event about the cluster that says what was put back.
async fn corrected(world: &World, words: &str) {
    until(&format!("the Event `{words}`"), SETTLES, || async {
        let events = world.events("rec", "rec")?;
        let told = events.iter().any(|(reason, text)| reason == "DriftCorrected" && text.contains(words));
        if told { Ok(()) } else { anyhow::bail!("{events:?}") }
    })
    .await;
}

pub(crate) async fn row_40_a_changed_number_of_replicas_is_put_back(world: &World) {
    let steady = Steady::of(world);
    let generation = || world.get("statefulset", "rec").unwrap()["metadata"]["generation"].as_u64().unwrap();
    let before = generation();
    world.kubectl(&["scale", "statefulset", "rec", "--replicas=5"]).unwrap();
    // There and back is two.
    until("the number to be put back", SETTLES, || async {
        let set = world.get("statefulset", "rec")?;
        let (now, replicas) = (&set["metadata"]["generation"], &set["spec"]["replicas"]);
        if now.as_u64() >= Some(before + 2) && *replicas == 3 { Ok(()) } else { anyhow::bail!("{now} {replicas}") }
    })
    .await;
    corrected(world, "put StatefulSet rec back: spec.replicas").await;
    at_rest(world, 3).await;
    // Pods that came meanwhile left volumes behind, which is right; here nobody wants them.
    world
        .kubectl(&[
            "delete",
            "pvc",
            "--ignore-not-found",
            "redis-enterprise-storage-rec-3",
            "redis-enterprise-storage-rec-4",
        ])
        .unwrap();
    steady.check(world).await;
}

pub(crate) async fn row_41_deleted_objects_are_made_again(world: &World) {
    let steady = Steady::of(world);
    let objects = [
        ("Service", "rec"),
        ("Service", "rec-ui"),
        ("Service", "rec-headless"),
        ("Service", "mydb"),
        ("PodDisruptionBudget", "rec"),
        ("Role", "rec"),
        ("RoleBinding", "rec"),
        ("ServiceAccount", "rec"),
        ("ConfigMap", "rec-health-check"),
        // With the same password, or nobody could log in any more.
        ("Secret", "rec"),
    ];
    for (kind, name) in objects {
        let before = world.get(kind, name).unwrap();
        world.kubectl(&["delete", kind, name]).unwrap();
        let after = until(&format!("{kind} {name}"), SETTLES, || async {
            let after = world.get(kind, name)?;
            if after["metadata"]["uid"] != before["metadata"]["uid"] { Ok(after) } else { anyhow::bail!("still there") }
        })
        .await;
        assert!(content(&after) == content(&before), "{kind} {name} is not what it was");
        corrected(world, &format!("made {kind} {name} again")).await;
    }
    at_rest(world, 3).await;
    steady.check(world).await;
    // The login still is the cluster's.
    world.rest("GET", "/v1/cluster", None).unwrap();
}

fn bdb(world: &World) -> anyhow::Result<Value> {
    world.rest("GET", "/v1/bdbs/1", None)
}

/// Changes settings of the database past the operator, and waits until one is what it was.
async fn change(world: &World, settings: &Value, back: (&str, &Value)) {
    // It may still be busy with what was put back before.
    until("the change to be taken", SETTLES, || async { world.rest("PUT", "/v1/bdbs/1", Some(settings)) }).await;
    until(&format!("{} to be put back", back.0), FORMS, || async {
        let bdb = bdb(world)?;
        if bdb[back.0] == *back.1 { Ok(()) } else { anyhow::bail!("{}", bdb[back.0]) }
    })
    .await;
}

pub(crate) async fn row_42_a_managed_setting_is_put_back(world: &World) {
    let before = bdb(world).unwrap();
    let events = || {
        let events = world.events("redb", "mydb").unwrap();
        events.into_iter().filter(|(reason, _)| matches!(reason.as_str(), "DatabaseUpdated" | "DriftCorrected")).count()
    };
    change(world, &json!({"memory_size": 536_870_912}), ("memory_size", &before["memory_size"])).await;
    change(world, &json!({"eviction_policy": "noeviction"}), ("eviction_policy", &before["eviction_policy"])).await;
    assert!(events() > 0, "nobody was told");
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
    answers(world).await;
}

pub(crate) async fn row_43_another_setting_is_left_alone(world: &World) {
    let before = bdb(world).unwrap();
    assert_ne!(before["max_connections"], 7);
    // One change of both: that the first is put back shows that the operator looked at the second.
    let both = json!({"max_connections": 7, "memory_size": 536_870_912});
    change(world, &both, ("memory_size", &before["memory_size"])).await;
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
    assert_eq!(bdb(world).unwrap()["max_connections"], 7);
    // Nor is it by a change of the resource.
    world.patch("redb", "mydb", &json!({"spec": {"memorySize": "300MB"}})).unwrap();
    until("the larger database", SETTLES, || async {
        let size = bdb(world)?["memory_size"].clone();
        if size == 300 * 1024 * 1024 { Ok(()) } else { anyhow::bail!("{size}") }
    })
    .await;
    assert_eq!(bdb(world).unwrap()["max_connections"], 7);
    world.apply_sample("redb.yaml").unwrap();
    let restored = json!({"max_connections": before["max_connections"]});
    change(world, &restored, ("memory_size", &before["memory_size"])).await;
    world.field("redb", "mydb", "/status/status", "active", SETTLES).await;
}
