//! Row 78 of the checklist: databases behind one port, told apart by the server name of TLS.
//!
//! A real proxy (HAProxy) hands TLS through. The test is its controller: it makes the proxy's configuration of Ingress objects and
//! of the EndpointSlices behind their Services, as ingress controllers do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stepwright_dev_cluster::loopback;
use stepwright_tests::databases::{apply, remove, settled};
use stepwright_tests::tls::Tls;
use stepwright_tests::wait::until;
use stepwright_tests::world::{SETTLES, World};
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

/// A port that nobody has right now.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Addresses and port behind a port of a Service, by its EndpointSlices.
fn behind(world: &World, service: &str, port: &str) -> anyhow::Result<(Vec<Ipv4Addr>, u64)> {
    let slices = world.list("endpointslices", &format!("kubernetes.io/service-name={service}"))?;
    let (mut addresses, mut number) = (Vec::new(), None);
    for slice in &slices {
        let ports = slice["ports"].as_array().into_iter().flatten();
        number = ports.filter(|it| it["name"] == port).find_map(|it| it["port"].as_u64()).or(number);
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let address = endpoint["addresses"][0].as_str().filter(|_| endpoint["conditions"]["ready"] == true);
            addresses.extend(address.map(str::parse::<Ipv4Addr>).transpose()?.map(loopback));
        }
    }
    ensure!(!addresses.is_empty(), "nothing is behind Service {service}: {slices:?}");
    Ok((addresses, number.context("no such port")?))
}

/// What the proxy is told: each host of an Ingress that asks for it is led, unopened, to what is behind its Service.
fn configuration(world: &World, port: u16) -> anyhow::Result<String> {
    let all: Value = serde_json::from_str(&world.kubectl(&["get", "ingress", "-o", "json"])?)?;
    let mut text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend tls\n  bind 127.0.0.1:{port}\n  tcp-request inspect-delay 5s\n  \
         tcp-request content accept if {{ req.ssl_hello_type 1 }}\n"
    );
    let mut backends = String::new();
    for ingress in all["items"].as_array().into_iter().flatten() {
        let annotations = &ingress["metadata"]["annotations"];
        if annotations["ingress.kubernetes.io/ssl-passthrough"] != "true" {
            continue;
        }
        for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
            let service = &rule["http"]["paths"][0]["backend"]["service"];
            let (name, wanted) =
                (service["name"].as_str().unwrap_or_default(), service["port"]["name"].as_str().unwrap_or_default());
            let host = rule["host"].as_str().unwrap_or_default();
            text.push_str(&format!("  use_backend {name} if {{ req.ssl_sni -i {host} }}\n"));
            let (addresses, target) = behind(world, name, wanted)?;
            backends.push_str(&format!("backend {name}\n"));
            for (number, address) in addresses.iter().enumerate() {
                backends.push_str(&format!("  server pod-{number} {address}:{target}\n"));
            }
        }
    }
    Ok(text + &backends)
}

/// The proxy. It ends with the value.
struct Proxy {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Proxy {
    async fn start(world: &World) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        // An Ingress is served as soon as there is something behind it.
        let text = until("something behind each Ingress", SETTLES, || async { configuration(world, port) }).await;
        std::fs::write(&file, text).unwrap();
        // It is in a folder for daemons, which is not on everybody's path.
        let program = ["/usr/sbin/haproxy", "haproxy"].into_iter().find(|it| Path::new(it).exists());
        let mut command = Command::new(program.unwrap_or("haproxy"));
        let child = command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("haproxy does not start: {error}; apt-get install haproxy"));
        let proxy = Self { child, port, _folder: folder };
        until("the proxy to listen", SETTLES, || async { TcpStream::connect((Ipv4Addr::LOCALHOST, port)) }).await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    let proxy = Proxy::start(world).await;

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
