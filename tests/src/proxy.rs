//! A real proxy (HAProxy) that hands TLS through by its server name, and its controller: the configuration is made of Ingress objects
//! and of the EndpointSlices behind their Services, as ingress controllers do.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use stepwright_dev_cluster::{loopback, programs_folder};

use crate::wait::until;
use crate::world::{SETTLES, World};

/// The proxy. It ends with the value.
pub struct Proxy {
    child: Option<Child>,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    namespaces: Vec<String>,
    /// What it was told last.
    told: String,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// One for the Ingresses of these namespaces. It does not run before it is told to look at them.
    #[must_use]
    pub fn of(namespaces: &[&str]) -> Self {
        // One that nobody has right now.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        Self { child: None, port, namespaces, told: String::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// Looks at the Ingresses, and runs with what they say from now on.
    pub async fn look(&mut self, world: &World) {
        // An Ingress is served as soon as there is something behind it.
        let text = until("something behind each Ingress", SETTLES, || async { self.configuration(world) }).await;
        self.run(text).await;
    }

    /// Looks again, as a controller does whenever something changes, and runs anew where that says something else.
    ///
    /// # Errors
    /// When there is nothing behind an Ingress. It then stays as it is.
    pub async fn follow(&mut self, world: &World) -> anyhow::Result<()> {
        let text = self.configuration(world)?;
        if text != self.told {
            self.run(text).await;
        }
        Ok(())
    }

    async fn run(&mut self, text: String) {
        self.stop();
        let file = self.folder.path().join("haproxy.cfg");
        std::fs::write(&file, &text).unwrap();
        self.told = text;
        // It is in a folder for daemons, which is not on everybody's path.
        let program = ["/usr/sbin/haproxy", "haproxy"].into_iter().find(|it| Path::new(it).exists());
        // Below a guard, which ends it when this process ends, however it does.
        let mut command = Command::new(programs_folder().unwrap().join("stepwright-dev-cluster"));
        command.args(["guard", "--", program.unwrap_or("haproxy"), "-db", "-f"]).arg(&file).stdin(Stdio::piped());
        self.child = Some(command.spawn().unwrap());
        let what = "the proxy to listen (apt-get install haproxy)";
        until(what, SETTLES, || async { TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) }).await;
    }

    /// Nobody is led anywhere any more.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// What the proxy is told: each host of an Ingress that asks for it is led, unopened, to what is behind its Service.
    fn configuration(&self, world: &World) -> anyhow::Result<String> {
        let mut text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend tls\n  bind 127.0.0.1:{}\n  tcp-request inspect-delay 5s\n  \
             tcp-request content accept if {{ req.ssl_hello_type 1 }}\n",
            self.port
        );
        let mut backends = String::new();
        for namespace in &self.namespaces {
            let all: Value = serde_json::from_str(&world.kubectl(&["get", "ingress", "-n", namespace, "-o", "json"])?)?;
            for ingress in all["items"].as_array().into_iter().flatten() {
                let annotations = &ingress["metadata"]["annotations"];
                if annotations["ingress.kubernetes.io/ssl-passthrough"] != "true" {
                    continue;
                }
                for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
                    let service = &rule["http"]["paths"][0]["backend"]["service"];
                    let name = service["name"].as_str().unwrap_or_default();
                    let wanted = service["port"]["name"].as_str().unwrap_or_default();
                    let host = rule["host"].as_str().unwrap_or_default();
                    text.push_str(&format!("  use_backend {namespace}-{name} if {{ req.ssl_sni -i {host} }}\n"));
                    let (addresses, target) = behind(world, namespace, name, wanted)?;
                    backends.push_str(&format!("backend {namespace}-{name}\n"));
                    for (number, address) in addresses.iter().enumerate() {
                        backends.push_str(&format!("  server pod-{number} {address}:{target}\n"));
                    }
                }
            }
        }
        Ok(text + &backends)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Addresses and port behind a port of a Service, by its EndpointSlices.
fn behind(world: &World, namespace: &str, service: &str, port: &str) -> anyhow::Result<(Vec<Ipv4Addr>, u64)> {
    let selector = format!("kubernetes.io/service-name={service}");
    let text = world.kubectl(&["get", "endpointslices", "-n", namespace, "-l", &selector, "-o", "json"])?;
    let slices: Value = serde_json::from_str(&text)?;
    let (mut addresses, mut number) = (Vec::new(), None);
    for slice in slices["items"].as_array().into_iter().flatten() {
        let ports = slice["ports"].as_array().into_iter().flatten();
        number = ports.filter(|it| it["name"] == port).find_map(|it| it["port"].as_u64()).or(number);
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let address = endpoint["addresses"][0].as_str().filter(|_| endpoint["conditions"]["ready"] == true);
            addresses.extend(address.map(str::parse::<Ipv4Addr>).transpose()?.map(loopback));
        }
    }
    ensure!(!addresses.is_empty(), "nothing is behind Service {namespace}/{service}: {slices}");
    Ok((addresses, number.context("no such port")?))
}
