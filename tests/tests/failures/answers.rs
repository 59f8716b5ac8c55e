//! Failures on the way to the cluster: answers that are none, certificates, logins, versions.

use serde_json::{Value, json};
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, SETTLES, World, http};

use crate::nodes::master;
use crate::{PODS, SECOND, SECOND_PASSWORD, bdb, events, heal, inject, resize, told, well};

pub(crate) async fn f12_answers_of_a_broken_gateway_are_no_answers(world: &World) {
    let forms = [("html502", "502"), ("html504", "504"), ("empty", "not JSON"), ("truncated", "not JSON")];
    for (form, words) in forms {
        inject(world, &PODS, &json!({"kind": "gateway", "form": form, "path": "/v1/bdbs"}));
        let heard = told(world, "redb/mydb", "the databases of cluster `rec` are not known").await;
        assert!(heard.contains(words), "{form}: {heard}");
        let shown = world.get("redb", "mydb").unwrap();
        assert_eq!(shown["status"]["databaseUID"], "1", "what was known stays");
        heal(world, &PODS);
        well(world).await;
    }
    // All of the API.
    inject(world, &PODS, &json!({"kind": "gateway", "form": "html502", "path": "/v1"}));
    world.field("rec", "rec", "/status/state", "Error", SETTLES).await;
    let heard = told(world, "rec/rec", "something else answers in the place of its nodes").await;
    assert!(heard.contains("502") && !heard.contains("clusterRecovery"), "{heard}");
    told(world, "redb/mydb", "cluster `rec` is Error, not Running").await;
    heal(world, &PODS);
    well(world).await;
}

pub(crate) async fn f18_an_older_version_is_no_reason_to_change_anything(world: &World) {
    let before = events(world);
    let (_, sent) = world.system_requests().unwrap();
    inject(world, &PODS, &json!({"kind": "old-version"}));
    // The cluster is looked at a few times more, and what a database does not show is what it has by default.
    let (read, _) = world.system_requests().unwrap();
    until("the cluster to be looked at again", SETTLES, || async {
        let (now, _) = world.system_requests()?;
        if now > read + 20.0 { Ok(()) } else { anyhow::bail!("{} reads", now - read) }
    })
    .await;
    well(world).await;
    assert_eq!(world.system_requests().unwrap().1, sent, "something was changed");
    let news: Vec<_> = events(world).into_iter().filter(|event| !before.contains(event)).collect();
    assert_eq!(news, []);
    // And it can be changed as ever.
    resize(world, "mydb", "280MB");
    until("the change", SETTLES, || async {
        let bdb = bdb(world);
        if bdb["memory_size"] == 280u64 << 20 { Ok(()) } else { Err(bdb) }
    })
    .await;
    well(world).await;
    heal(world, &PODS);
    well(world).await;
}

pub(crate) async fn f13_a_certificate_of_another_name_gets_no_password(world: &World) {
    let before = events(world);
    let put = |certificate: &Value| {
        world.rest("PUT", "/v1/cluster/certificates", Some(&json!({"certificates": [certificate]}))).unwrap();
    };
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        json!({"name": "api", "certificate": made.cert.pem(), "key": made.signing_key.serialize_pem()})
    };
    // One that names the cluster is as good as the one before, and so is one that has expired: it is to be renewed over
    // this very connection.
    put(&made("rec.redis.svc.cluster.local"));
    inject(world, &PODS, &json!({"kind": "expired-certificate"}));
    resize(world, "mydb", "290MB");
    until("the change", SETTLES, || async {
        let bdb = bdb(world);
        if bdb["memory_size"] == 290u64 << 20 { Ok(()) } else { Err(bdb) }
    })
    .await;
    heal(world, &PODS);
    well(world).await;
    let failed = |event: &(String, String)| event.0 != "DatabaseUpdated" && !before.contains(event);
    assert_eq!(events(world).into_iter().filter(failed).collect::<Vec<_>>(), []);

    put(&made("rec.elsewhere.example.com"));
    // Connections that are open go on as they are; nodes that are dialled anew show the new one.
    world.cluster.kill_container(NAMESPACE, &master(world), "redis-enterprise-node").unwrap();
    let words = told(world, "rec/rec", "shows a certificate that is neither the one known nor made for").await;
    assert!(words.contains("no credentials were sent"), "{words}");
    put(&made("rec.redis.svc.cluster.local"));
    well(world).await;
}

pub(crate) async fn f04_a_refused_password_is_not_tried_until_it_locks_the_account(world: &World) {
    let before = world.secret("rec", "password").unwrap();
    let user = world.secret("rec", "username").unwrap();
    let second = |method: &str, path: &str, body: Option<&Value>| {
        for pod in PODS {
            let answer =
                http(world.address(pod).unwrap(), 8080, method, path, Some((SECOND, SECOND_PASSWORD)), body).unwrap();
            if answer.0 == 200 {
                return serde_json::from_str(&answer.1).unwrap_or(Value::Null);
            }
        }
        panic!("no node answers {method} {path}");
    };
    second("PUT", "/v1/users/password", Some(&json!({"username": user, "new_password": "changed-by-hand"})));
    let words = told(world, "rec/rec", "was refused").await;
    assert!(words.contains("Secret `rec") && words.contains("until the Secret changes"), "{words}");
    world.field("rec", "rec", "/status/state", "Error", SETTLES).await;
    // Whatever happens meanwhile is no reason to try once more: five would lock the account.
    for look in 0..10 {
        world.kubectl(&["annotate", "rec", "rec", &format!("example.com/look={look}"), "--overwrite"]).unwrap();
        world.kubectl(&["annotate", "redb", "mydb", &format!("example.com/look={look}"), "--overwrite"]).unwrap();
    }
    told(world, "redb/mydb", "cluster `rec` is Error").await;
    assert_eq!(second("GET", "/v1/users/1", None)["status"], "active", "the account is locked");
    assert_eq!(world.secret("rec", "password").unwrap(), before, "the Secret is the user's");
    // The new one is told where the condition says.
    world.patch("secret", "rec", &json!({"stringData": {"password": "changed-by-hand"}})).unwrap();
    well(world).await;
    assert_eq!(world.secret("rec", "password").unwrap(), "changed-by-hand");
}
