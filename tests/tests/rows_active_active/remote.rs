//! Row 91: what a remote cluster says of itself.

use anyhow::ensure;
use serde_json::json;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};

use crate::sides::{both, is, login, message, proxy, reasons};

pub(crate) async fn row_91_a_remote_cluster_says_how_it_is(world: &World) {
    let sides = both(world);
    let [one, two] = sides;
    // The cluster of its own namespace, and the other one.
    for side in sides {
        for of in sides {
            let remote = is(side, of.name, "Active").await;
            let own = side.namespace == of.namespace;
            assert_eq!((&remote["status"]["local"], &remote["status"]["specStatus"]), (&json!(own), &json!("Valid")));
            assert_eq!(remote["status"]["clusterName"], format!("{}.{}.svc.cluster.local", of.rec, of.namespace));
            let secret = side.get("secret", &format!("redis-enterprise-{}", of.name)).unwrap();
            let version = &remote["status"]["internalObservedSecretResourceVersion"];
            assert_eq!(*version, secret["metadata"]["resourceVersion"]);
        }
    }
    let line = one.kubectl(&["get", "rerc", "two", "--no-headers"]).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["two", "Active", "Valid", "false"]);

    // A wrong password, which is tried once, and the right one again.
    let mut wrong = login(two);
    wrong["stringData"]["password"] = json!("wrong");
    one.apply(&wrong);
    is(one, "two", "Error").await;
    until("the password to rest", SETTLES, || async {
        let told = message(&one.get("rerc", "two")?);
        ensure!(told.contains("Secret `redis-enterprise-two` was refused; it is not tried again"), "{told}");
        anyhow::Ok(())
    })
    .await;
    assert!(reasons(one, "rerc", "two").contains(&"RemoteClusterError".to_owned()));
    one.apply(&login(two));
    is(one, "two", "Active").await;
    // Nobody was locked out by trying again and again.
    two.rest("GET", "/v1/cluster", None).unwrap();

    // A Secret that goes, and a name that leads to another cluster.
    one.kubectl(&["delete", "secret", "redis-enterprise-two"]).unwrap();
    let told = message(&is(one, "two", "Error").await);
    assert!(told.contains("make it"), "{told}");
    one.apply(&login(two));
    is(one, "two", "Active").await;
    one.patch("rerc", "two", &json!({"spec": {"recName": "somebody"}}));
    let told = message(&is(one, "two", "Error").await);
    assert!(told.contains("rec-two.redis2.svc"), "{told}");
    one.patch("rerc", "two", &json!({"spec": {"recName": two.rec}}));
    is(one, "two", "Active").await;

    // Nothing leads there.
    proxy().lock().await.stop();
    let told = message(&is(one, "two", "Error").await);
    assert!(told.contains("api-rec-two.here.example.com:443 is not reachable"), "{told}");
    // The cluster beside it is not asked by that name.
    assert_eq!(one.get("rerc", "one").unwrap()["status"]["status"], "Active");
    proxy().lock().await.look(world).await;
    is(one, "two", "Active").await;
}
