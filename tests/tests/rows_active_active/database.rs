//! An Active-Active database as its resources say, for the rows about one.

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use stepwright_tests::databases::condition;
use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES};

use crate::sides::Side;

/// An Active-Active database on all of these.
pub(crate) fn database(sides: &[Side<'_>], name: &str, global: Value) -> Value {
    json!({"apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseActiveActiveDatabase",
        "metadata": {"name": name}, "spec": {
            "participatingClusters": participants(sides),
            "globalConfigurations": global}})
}

/// One on all of these, made on the first, through which data passes.
pub(crate) async fn made(sides: &[Side<'_>], name: &str) {
    sides[0].apply(&database(sides, name, json!({"memorySize": "100MB", "tlsMode": "enabled"})));
    routed(sides, name).await;
    settled(sides, name).await;
}

pub(crate) fn participants(sides: &[Side<'_>]) -> Value {
    sides.iter().map(|side| json!({"name": side.name, "namespace": side.namespace})).collect()
}

/// The password's Secret, on both.
pub(crate) fn passwords(sides: &[Side<'_>], name: &str, password: &str) {
    for side in sides {
        side.apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}}),
        );
    }
}

/// Waits until both resources are as their spec says.
pub(crate) async fn agreed(sides: &[Side<'_>], name: &str) {
    for side in sides {
        until(&format!("database {name} of {} to be as it should be", side.name), FORMS, || async {
            let database = side.get("reaadb", name)?;
            let status = &database["status"];
            let good = status["status"] == "active"
                && status["specStatus"] == "Valid"
                && status["observedGeneration"] == database["metadata"]["generation"];
            ensure!(good, "{status}");
            anyhow::Ok(())
        })
        .await;
    }
}

/// The same, and data passes, so that both are ready.
pub(crate) async fn settled(sides: &[Side<'_>], name: &str) {
    agreed(sides, name).await;
    for side in sides {
        until(&format!("database {name} of {} to settle", side.name), FORMS, || async {
            let database = side.get("reaadb", name)?;
            let good =
                database["status"]["replicationStatus"] == "up" && condition(&database, "Ready")["status"] == "True";
            if !good {
                // Pods and Services may have changed since the proxy was told of them.
                side.proxy().lock().await.follow(side.world).await?;
            }
            ensure!(good, "{}", database["status"]);
            anyhow::Ok(())
        })
        .await;
    }
}

/// The way to the copies, once they have one.
pub(crate) async fn routed(sides: &[Side<'_>], name: &str) {
    for side in sides {
        until(&format!("the Ingress of {name} on {}", side.name), FORMS, || async { side.get("ingress", name) }).await;
        side.proxy().lock().await.look(side.world).await;
    }
}

pub(crate) async fn gone(sides: &[Side<'_>], name: &str) {
    for side in sides {
        until(&format!("database {name} of {} to go", side.name), SETTLES, || async {
            match side.kubectl(&["get", "reaadb", name]) {
                Err(error) if error.to_string().contains("NotFound") => {}
                other => bail!("{other:?}"),
            }
            if let Ok(bdb) = side.bdb(name) {
                bail!("{bdb}");
            }
            // Nor is anything left that leads to it, which a copy that is made anew would be looked for behind.
            let left = side.kubectl(&["get", "ingress,service", "-o", "name"])?;
            if left.lines().any(|it| it.ends_with(&format!("/{name}"))) {
                bail!("{left}");
            }
            anyhow::Ok(())
        })
        .await;
    }
}
