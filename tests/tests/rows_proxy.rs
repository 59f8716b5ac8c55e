//! Row 78 of the checklist: databases behind one port, told apart by the server name of TLS.
//!
//! A real proxy (HAProxy) hands TLS through.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::{Value, json};
use stepwright_tests::databases::{apply, remove, settled};
use stepwright_tests::proxy::Proxy;
use stepwright_tests::tls::Tls;
use stepwright_tests::wait::until;
use stepwright_tests::world::{NAMESPACE, SETTLES, World};
use stepwright_tests::{checklist, row};

const API: &str = "api-rec-redis.example.com";
const FIRST: &str = "first.db-rec-redis.example.com";
const SECOND: &str = "second.db-rec-redis.example.com";

fn main() {
    let rows = vec![row!(78, row_78_databases_by_name_through_a_proxy)];
    checklist::main("rows_proxy", |world| Box::pin(prepare(world)), rows);
}

async fn prepare(world: &World) {
    world.sample_cluster().await.unwrap();
}

/// An Ingress as users write it for a database (reference, 2.8).
fn ingress(name: &str, host: &str) -> Value {
    let backend = json!({"service": {"name": name, "port": {"name": "redis"}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "annotations": {"ingress.kubernetes.io/ssl-passthrough": "true"}},
        "spec": {"ingressClassName": "haproxy", "rules": [{"host": host, "http": {
            "paths": [{"path": "/", "pathType": "ImplementationSpecific", "backend": backend}]}}]},
    })
}

/// As the documentation has people try it: `openssl s_client` and words of the protocol. What was answered, errors too.
fn s_client(port: u16, host: &str, authority: &Path, words: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-connect", &format!("127.0.0.1:{port}")])
        .args(["-servername", host, "-CAfile"])
        .arg(authority)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("failed to run openssl: {error}"));
    // The last word has the server end the connection.
    let _ = child.stdin.take().unwrap().write_all(format!("{words}QUIT\r\n").as_bytes());
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

async fn row_78_databases_by_name_through_a_proxy(world: &World) {
    // The API gets its Ingress from the operator, databases get theirs from whoever runs them.
    let annotations =
        json!({"kubernetes.io/ingress.class": "haproxy", "ingress.kubernetes.io/ssl-passthrough": "true"});
    let routing = json!({"method": "ingress", "apiFqdnUrl": API, "dbFqdnSuffix": ".db-rec-redis.example.com",
        "ingressAnnotations": annotations});
    world.patch("rec", "rec", &json!({"spec": {"ingressOrRouteSpec": routing}})).unwrap();
    for (name, port) in [("row78-first", 12078), ("row78-second", 12178)] {
        apply(world, name, json!({"tlsMode": "enabled", "databasePort": port}));
    }
    for (name, host) in [("row78-first", FIRST), ("row78-second", SECOND)] {
        settled(world, name).await;
        world.kubectl_with_input(&["apply", "-f", "-"], &ingress(name, host).to_string()).unwrap();
    }
    until("the Ingress of the API", SETTLES, || async { world.get("ingress", "rec") }).await;
    let mut proxy = Proxy::of(&[NAMESPACE]);
    proxy.look(world).await;

    // Each host is another database, though address and port are the same.
    let tls = Tls::of(world).unwrap();
    for (name, host) in [("row78-first", FIRST), ("row78-second", SECOND)] {
        let password = world.secret(&format!("redb-{name}"), "password").unwrap();
        let words = format!("AUTH {password}\r\nPING\r\nSET who {name}\r\n");
        until("an answer through the proxy", SETTLES, || async {
            let said = s_client(proxy.port, host, &tls.authority(), &words);
            if said.contains("+PONG") { Ok(()) } else { Err(said) }
        })
        .await;
        let client = Tls::of(world).unwrap().named(host);
        assert_eq!(client.redis(Ipv4Addr::LOCALHOST, proxy.port, &password, &["GET", "who"]).unwrap(), name);
    }
    // The password of one opens no other, and a name that nobody has leads nowhere.
    let password = world.secret("redb-row78-first", "password").unwrap();
    let second = Tls::of(world).unwrap().named(SECOND);
    let refused = second.redis(Ipv4Addr::LOCALHOST, proxy.port, &password, &["GET", "who"]).unwrap();
    assert!(refused.contains("WRONGPASS"), "{refused}");
    let nowhere = s_client(proxy.port, "nobody.example.com", &tls.authority(), "PING\r\n");
    assert!(!nowhere.contains("PONG") && !nowhere.contains("NOAUTH"), "{nowhere}");
    // Without TLS there is no name to go by.
    let plain = stepwright_tests::world::redis(proxy.port, &password, &["PING"]).unwrap();
    assert!(!plain.contains("PONG"), "{plain}");

    // The REST API, through the same port.
    let login = format!("{}:{}", world.secret("rec", "username").unwrap(), world.secret("rec", "password").unwrap());
    until("the API through the proxy", SETTLES, || async {
        let resolve = format!("{API}:{}:127.0.0.1", proxy.port);
        let url = format!("https://{API}:{}/v1/bdbs", proxy.port);
        let output = Command::new("curl")
            .args(["-sSk", "--max-time", "20", "--resolve", &resolve, "-u", &login])
            .arg(url)
            .output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(said.contains("row78-first") && said.contains("row78-second"), "{said}");
        anyhow::Ok(())
    })
    .await;

    drop(proxy);
    for name in ["row78-first", "row78-second"] {
        world.kubectl(&["delete", "ingress", name]).unwrap();
        remove(world, name).await;
    }
    world.patch("rec", "rec", &json!({"spec": {"ingressOrRouteSpec": null}})).unwrap();
    world.gone("ingress", "rec").await;
}
