//! Clients of databases with TLS: redis-cli with what it trusts, whom it names and what it shows.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::world::World;

/// Files in PEM for redis-cli, kept as long as the value.
pub struct Tls {
    folder: tempfile::TempDir,
    client: Option<[PathBuf; 2]>,
    name: Option<String>,
}

impl Tls {
    /// Trusts the certificate that the cluster's proxies show now.
    ///
    /// # Errors
    /// When the cluster shows none.
    pub fn of(world: &World) -> anyhow::Result<Self> {
        let certificates = world.rest("GET", "/v1/cluster/certificates", None)?;
        let shown = certificates["proxy_cert"].as_str().context("the cluster shows no proxy_cert")?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), shown)?;
        Ok(Self { folder, client: None, name: None })
    }

    /// The file with what is trusted.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Asks for the host of this name (SNI).
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Shows this certificate, of this key.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn with_client(mut self, certificate: &str, key: &str) -> anyhow::Result<Self> {
        let files = ["client.pem", "client.key"].map(|name| self.folder.path().join(name));
        for (file, text) in files.iter().zip([certificate, key]) {
            std::fs::write(file, text)?;
        }
        self.client = Some(files);
        Ok(self)
    }

    /// Runs `redis-cli --tls` and returns what it printed, errors too.
    ///
    /// # Errors
    /// When there is no redis-cli.
    pub fn redis(&self, address: Ipv4Addr, port: u16, password: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", &address.to_string(), "-p", &port.to_string(), "--no-auth-warning", "--tls", "--cacert"]);
        command.arg(self.authority());
        if let Some([certificate, key]) = &self.client {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if let Some(name) = &self.name {
            command.args(["--sni", name]);
        }
        if !password.is_empty() {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command.args(arguments).output().context("failed to run redis-cli; is redis-tools installed?")?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned())
    }
}
